"""What is said of a value that pydantic refuses, in settings and in problem documents."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from posthorn.runtime.fault_texts import fault_text


class Shape(BaseModel):
    """An object."""


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Shape, [], "must be a JSON object"),
        (dict[str, int], 1, "must be a JSON object"),
        (list[int], 1, "must be a JSON list"),
        (int, "x", "must be an integer"),
        (int, 1.5, "must be an integer"),
        (float, "x", "must be a number"),
        (bool, "x", "must be true or false"),
        (str, 1, "must be a string"),
        (UUID, "x", "must be a UUID"),
        (datetime, "x", "must be a time with an offset, such as 2026-01-31T12:00:00Z"),
        (
            AwareDatetime,
            "2026-01-31T12:00:00",
            "must be a time with an offset, such as 2026-01-31T12:00:00Z",
        ),
        (Literal["a", "b"], "c", "must be 'a' or 'b'"),
        (Annotated[int, Field(le=500)], 501, "must be less than or equal to 500"),
        (Annotated[str, Field(min_length=8)], "x", "must have at least 8 characters"),
        (Annotated[str, Field(pattern="^a$")], "x", "must match the regular expression '^a$'"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "must have at most 1 item, not 2"),
    ],
)
def test_the_text_says_what_would_be_valid(kind: Any, value: object, said: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(kind).validate_python(value)
    assert [fault_text(fault) for fault in refusal.value.errors()] == [said]
