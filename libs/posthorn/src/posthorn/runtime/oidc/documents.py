"""Documents of an issuer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posthorn.ports.errors import Unavailable


def document_in(data: bytes) -> Mapping[str, Any]:
    """Return the JSON object that an issuer answered. Raises Unavailable."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Unavailable("oidc", "the issuer's document is no JSON object")
    return document
