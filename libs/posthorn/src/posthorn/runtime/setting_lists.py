"""Settings that are lists."""

from __future__ import annotations

import json


def listed(value: object) -> object:
    """Read a list whose parts are separated by commas, or a JSON list; for a BeforeValidator."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return (
        json.loads(text)
        if text.startswith("[")
        else [part.strip() for part in text.split(",") if part.strip()]
    )
