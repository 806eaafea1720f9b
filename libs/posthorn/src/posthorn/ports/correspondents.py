"""Whom accounts have written to, as the inbound tier asks for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Correspondents(Protocol):
    """The answer is delivery's, which has the database."""

    async def is_protected(self, author: str, recipients: Collection[str]) -> bool:
        """Return whether an account that one of the recipients leads to has written to the author
        and, by its policy, protects its correspondents. Addresses are canonical. Raises
        Unavailable."""
        ...
