"""DNS questions with one deadline for all those of a message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from posthorn.wire.auth.lookup import DnsUnavailable, Lookup


class TimelyLookup:
    """The port ``Lookup`` for one message: after ``seconds`` no question has an answer any more.

    So checks always come to their end, each with what it has found. If they were cut off instead,
    a sender could name hosts that answer slowly in signatures of his own, and nothing would be
    known of the policy of the author that he forges.
    """

    def __init__(self, lookup: Lookup, seconds: float) -> None:
        """Begin now; call it in the event loop."""
        self._lookup = lookup
        self._ends = asyncio.get_running_loop().time() + seconds
        self.is_late = False
        """Whether a question had no answer in time."""

    async def texts(self, name: str) -> Sequence[bytes] | None:
        """Return the TXT records."""
        return await self._in_time(self._lookup.texts(name))

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str] | None:
        """Return the A records, or with ``v6`` the AAAA records."""
        return await self._in_time(self._lookup.addresses(name, v6=v6))

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]] | None:
        """Return the MX records."""
        return await self._in_time(self._lookup.exchangers(name))

    async def names(self, address: str) -> Sequence[str] | None:
        """Return the PTR records of an IP address."""
        return await self._in_time(self._lookup.names(address))

    async def _in_time[T](self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(self._ends):
                return await answer
        except TimeoutError:
            self.is_late = True
            raise DnsUnavailable("the time for this message is over") from None
