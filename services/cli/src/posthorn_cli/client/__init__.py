"""A client of the REST API, with types: ``with Client("https://mail.example.org", key) as api:
api.list_domains()``.

Each operation of the API is a method, named as in its OpenAPI document but in snake case. Answers
are the JSON as it came, typed as in ``posthorn_cli.client.types``. Everything that goes wrong is a
``ClientError``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from posthorn_cli.client.faults import ApiError, ClientError, FieldFault, Unreachable, UnsafeUrl
from posthorn_cli.client.operations import Operations
from posthorn_cli.client.types import Page

__all__ = ["ApiError", "Client", "ClientError", "FieldFault", "Unreachable", "UnsafeUrl", "every"]

LARGEST_PAGE = 500


class Client(Operations):
    """The API with one key."""


class Lists[T](Protocol):
    """An operation that lists by pages."""

    def __call__(self, *, limit: int | None = None, cursor: str | None = None) -> Page[T]:
        """Return a page of a list."""


def every[T](
    pages: Lists[T] | Callable[..., Page[T]], limit: int | None = None, **filters: object
) -> Iterator[T]:
    """Yield the items of a list, page by page as they are asked for: ``every(api.list_accounts,
    domain="example.test")``.

    ``limit`` is how many at most; without it, all. Raises ApiError and Unreachable.
    """
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        page = pages(
            limit=LARGEST_PAGE if left is None else min(left, LARGEST_PAGE),
            cursor=cursor,
            **filters,
        )
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
        left = None if left is None else left - len(page["items"])
