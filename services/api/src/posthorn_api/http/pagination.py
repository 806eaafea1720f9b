"""Lists by pages.

A cursor is the last key of a page in a form that invites nobody to make one, with a tag of the list
that it belongs to: another list may have keys of the same kind, and would begin anywhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel

from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.listing import Key, Listed, ListQuery
from posthorn_api.http.schemas import Line, Page

Limit = Annotated[int, Query(ge=1, le=500, description="Maximum number of items in the answer.")]
Cursor = Annotated[
    str | None, Query(max_length=2000, description="The `next_cursor` of the previous page.")
]


Part = Annotated[
    Line | None,
    Query(alias="q", description="Text that the names of the item contain, in any case."),
]
Total = Annotated[
    bool,
    Query(
        alias="total",
        description="Also count all items that match: exact up to 100,000, estimated beyond.",
    ),
]
OfTenant = Annotated[
    Line | None, Query(description="Name or id of the tenant that owns the items.")
]
listing: ContextVar[str] = ContextVar("listing", default="")
"""The operation that runs, whose list cursors belong to; set by ``guarded_route``."""
SORT = "Order of the items; with `-`, the other way round."
"""What a parameter ``sort`` is described by. A cursor belongs to its order."""

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of any list, apart from filters of its noun."""

    limit: int
    cursor: str | None
    part: str | None
    with_total: bool

    def query(
        self, order: str | None = None, *, state: str | None = None, owner: str | None = None
    ) -> ListQuery:
        """Return the query in this order; None: the noun's own. Raises ValidationFailed for a
        cursor of another order."""
        after = None if self.cursor is None else _place_in(self.cursor, order)
        return ListQuery(self.limit, after, order or "", self.part, state, owner, self.with_total)


async def _asked(
    limit: Limit = 50, cursor: Cursor = None, part: Part = None, total: Total = False
) -> Asked:
    return Asked(limit, cursor, part, total)


AskedList = Annotated[Asked, Depends(_asked)]
"""Parameters ``limit``, ``cursor``, ``q`` and ``total``."""


def listed[T, V: BaseModel](
    found: Listed[T], view: Callable[[T], V], order: str | None = None
) -> Page[V]:
    """Make the page of a list that was asked for in this order."""
    return Page(
        items=[view(item) for item in found.items],
        next_cursor=None if found.last is None else _cursor_of(found.last, order),
        total=found.total,
    )


def _cursor_of(last: Key, order: str | None) -> str:
    # of the noun's own order as releases before had it
    return _encode(last[0] if order is None else [order, *last])


def _place_in(cursor: str, order: str | None) -> Key:
    match _decode(cursor):
        case str() | int() as key if order is None:
            return (key,)
        case [str(made_for), *place] if made_for == order:
            return tuple(place)
    raise _bad()


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


def _encode(key: str | int | list[str | int]) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps([_tag(), key], ensure_ascii=False).encode())
        .decode()
        .rstrip("=")
    )


def _tag() -> str:
    return hashlib.sha256(listing.get().encode()).hexdigest()[:8]


def _decode(cursor: str) -> str | int | list[str | int]:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        match json.loads(data):
            case [tag, list(parts)] if tag == _tag() and all(_is_part(part) for part in parts):
                return parts
            case [tag, part] if tag == _tag() and _is_part(part):
                key: str | int = part
                return key
    except (binascii.Error, ValueError, RecursionError):
        pass
    raise _bad()


def _is_part(part: object) -> bool:
    """Return whether this can be a key. Raises ValueError for broken Unicode."""
    if isinstance(part, str):
        part.encode()
        return "\0" not in part
    return isinstance(part, int) and not isinstance(part, bool)


def _bad() -> ValidationFailed:
    return ValidationFailed(FieldError("cursor", "not a next_cursor of this list"))
