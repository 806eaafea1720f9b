"""Lists: what a caller asks of one, and the page that comes back, for every noun alike.

Rules:

- An order is a name that the noun documents, such as ``created``; ``-created`` is the other way
  round.
- A page ends with the key of its last item. The next page begins after that key, so that no item is
  skipped or repeated while others are created and deleted.
- A key is valid for the order that it was made in.
- A total is exact up to a bound of rows read, and an estimate beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

type Key = tuple[str | int, ...]
"""Place in a list: what the order compares of an item."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What is asked of a list; None: any."""

    limit: int
    after: Key | None = None
    """Begin after this item; None: with the first."""
    order: str = ""
    """Empty: the noun's own order."""
    part: str | None = None
    """Text that one of the noun's searched fields contains, in any case."""
    state: str | None = None
    owner: str | None = None
    """Name or id of the owning tenant."""
    with_total: bool = False


@dataclass(frozen=True, slots=True)
class Listed[T]:
    """A page of a list."""

    items: Sequence[T]
    last: Key | None = None
    """Key of the last item; None: the list ends here."""
    total: int | None = None
    """Number of all items that match, if it was asked for."""
