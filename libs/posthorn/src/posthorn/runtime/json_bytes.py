"""JSON between our own parts: by orjson, and by the standard library what orjson refuses, such as
the lone surrogates of a stranger's text.

``wire`` and ``model`` know the standard library alone; where a record or an event is encoded for
each message, these functions are handed to them.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def dumps(document: Any) -> bytes:
    """Return a document as JSON without white space. Raises TypeError, ValueError,
    RecursionError."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return _ENCODER.encode(document).encode()


def loads(text: bytes | str) -> Any:
    """Return what a JSON text holds. Raises ValueError, RecursionError."""
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)
