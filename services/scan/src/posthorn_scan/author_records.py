"""DMARC records of the authors of the last seconds.

To find a policy takes a question for each label of the author's domain, and mail of one author comes
in bursts. What a lookup that failed left open is not kept. An answer may so be used for
``KEPT_SECONDS`` longer than DNS allows, as it may by any resolver between two messages of a burst.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from posthorn.wire.auth.dmarc import Records
from posthorn.wire.auth.lookup import Lookup

KEPT_SECONDS: Final = 30.0
_MOST_AUTHORS = 1000
_MOST_RECORDS = 16  # names of one author; a message can name more by its signatures


class AuthorRecords:
    """Keeps records by the domains of From."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, ...], tuple[float, Records]] = OrderedDict()

    def of(self, lookup: Lookup, authors: Sequence[str]) -> Records:
        """Return what is known for a message; ``lookup`` finds the rest."""
        kept = self._kept.get(tuple(authors))
        if kept is None or kept[0] <= self._clock():
            return Records(lookup)
        return Records(lookup, kept[1])

    def keep(self, authors: Sequence[str], records: Records) -> None:
        """Keep what the check of a message has found, unless something was known before."""
        key, now = tuple(authors), self._clock()
        kept = self._kept.get(key)
        if kept is not None and kept[0] > now:
            return
        if not key or not records.is_known(authors) or not records.can_be_kept(_MOST_RECORDS):
            return
        self._kept[key] = now + KEPT_SECONDS, records
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_AUTHORS:
            self._kept.popitem(last=False)
