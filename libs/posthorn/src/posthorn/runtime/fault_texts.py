"""What is said of a value that pydantic refuses: what would be valid, in words of JSON and of the
value itself, where pydantic speaks of Python, of parsing and of input."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BOOLEAN = "must be true or false"
_INTEGER = "must be an integer"
_LIST = "must be a JSON list"
_NUMBER = "must be a number"
_OBJECT = "must be a JSON object"
_TIME = "must be a time with an offset, such as 2026-01-31T12:00:00Z"
_WORDS = {
    "bool_parsing": _BOOLEAN,
    "bool_type": _BOOLEAN,
    "dataclass_type": _OBJECT,
    "datetime_from_date_parsing": _TIME,
    "datetime_parsing": _TIME,
    "datetime_type": _TIME,
    "date_from_datetime_parsing": "must be a date such as 2026-01-31",
    "date_parsing": "must be a date such as 2026-01-31",
    "dict_type": _OBJECT,
    "finite_number": "must be a finite number",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "int_from_float": _INTEGER,
    "int_parsing": _INTEGER,
    "int_type": _INTEGER,
    "list_type": _LIST,
    "mapping_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "model_type": _OBJECT,
    "string_type": "must be a string",
    "string_unicode": "must be a string of valid Unicode characters",
    "timezone_aware": _TIME,
    "tuple_type": _LIST,
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
}


def fault_text(fault: Mapping[str, Any]) -> str:
    """Return the text for one of the errors of a ValidationError."""
    if fault["type"] == "value_error":
        error = fault["ctx"]["error"]
        return "must be JSON" if isinstance(error, json.JSONDecodeError) else str(error)
    if fault["type"] in _WORDS:
        return _WORDS[fault["type"]]
    text = re.sub(
        r"^[A-Z]\w+ should (be|have|match)( a valid)?",
        lambda found: f"must {found[1]}{' a' if found[2] else ''}",
        str(fault["msg"]),
    )
    text = text.replace("match pattern", "match the regular expression")
    text = text.replace(" after validation, not ", ", not ")
    return text[:1].lower() + text[1:]
