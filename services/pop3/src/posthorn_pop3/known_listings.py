"""The listings of maildrops that were opened last, so that a login to one in which nothing has
changed reads no listing.

They are kept in arrays within a number of bytes; the one that was not used for longest goes first.
Each login compares the version, so a listing is never out of date.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import replace

from posthorn.ports.maildrops import Listing

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of all listings kept: half a million messages."""
_OVERHEAD_BYTES = 500
_MESSAGE_BYTES = 16


class KnownListings:
    """The listings of this process, by account."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._listings: OrderedDict[int, Listing] = OrderedDict()

    def __len__(self) -> int:
        """Listings kept."""
        return len(self._listings)

    def get(self, account: int) -> Listing | None:
        """Return the listing read last, if it is still kept."""
        return self._listings.get(account)

    def keep(self, account: int, listing: Listing) -> Listing:
        """Keep what a login has found, and return it in the compact form."""
        if listing is self._listings.get(account):
            self._listings.move_to_end(account)
            return listing
        compact = replace(listing, uids=array("Q", listing.uids), sizes=array("Q", listing.sizes))
        self._forget(account)
        if compact.version and _cost(compact) <= self._most_bytes:
            self._listings[account] = compact
            self._bytes += _cost(compact)
            while self._bytes > self._most_bytes:
                self._forget(next(iter(self._listings)))
        return compact

    def _forget(self, account: int) -> None:
        gone = self._listings.pop(account, None)
        if gone is not None:
            self._bytes -= _cost(gone)


def _cost(listing: Listing) -> int:
    return _OVERHEAD_BYTES + _MESSAGE_BYTES * len(listing)
