"""Lists by pages. A cursor is the last key of a page in a form that invites nobody to make one."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel

from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn_api.http.schemas import Page

Limit = Annotated[int, Query(ge=1, le=500, description="Maximum number of items in the answer.")]
Cursor = Annotated[
    str | None, Query(max_length=2000, description="The `next_cursor` of the previous page.")
]

_LARGEST = 2**63 - 1


def text_after(cursor: str | None) -> str:
    """Return the key in a cursor of a list by name. Raises ValidationFailed."""
    if cursor is None:
        return ""
    key = _decode(cursor)
    if not isinstance(key, str):
        raise _bad()
    return key


def number_in(cursor: str | None) -> int | None:
    """Return the key in a cursor of a list by number. Raises ValidationFailed."""
    if cursor is None:
        return None
    key = _decode(cursor)
    if not isinstance(key, int) or not 0 <= key <= _LARGEST:
        raise _bad()
    return key


def id_in(cursor: str | None) -> UUID | None:
    """Return the key in a cursor of a list by id. Raises ValidationFailed."""
    key = text_after(cursor)
    try:
        return UUID(key) if key else None
    except ValueError:
        raise _bad() from None


def page[T, V: BaseModel](
    items: Sequence[T], limit: int, view: Callable[[T], V], key: Callable[[T], str | int]
) -> Page[V]:
    """Make a page of up to ``limit`` items of a list that was asked for one more than that."""
    cursor = _encode(key(items[limit - 1])) if len(items) > limit else None
    return Page(items=[view(item) for item in items[:limit]], next_cursor=cursor)


def part_of_list[T, V: BaseModel](
    items: Sequence[T], view: Callable[[T], V], after: str | int | None
) -> Page[V]:
    """Make a page of a list that says by itself where it goes on; None: it is over."""
    return Page(
        items=[view(item) for item in items], next_cursor=None if after is None else _encode(after)
    )


def _encode(key: str | int) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps([1, key], ensure_ascii=False).encode())
        .decode()
        .rstrip("=")
    )


def _decode(cursor: str) -> object:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        match json.loads(data):
            case [1, str(key)] if "\0" not in key:
                key.encode()
                return key
            case [1, int(key)] if not isinstance(key, bool):
                return key
    except (binascii.Error, ValueError, RecursionError):
        pass
    raise _bad()


def _bad() -> ValidationFailed:
    return ValidationFailed(FieldError("cursor", "not a next_cursor of this list"))
