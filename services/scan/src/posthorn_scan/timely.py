"""DNS questions with one deadline for all those of a message."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from posthorn.runtime.at_once import Begun
from posthorn.wire.auth.lookup import DnsUnavailable, Lookup

type _Answer[T] = Coroutine[Any, Any, T]


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

    def texts(self, name: str) -> _Answer[Sequence[bytes] | None]:
        """Return the TXT records."""
        return self._in_time(self._lookup.texts(name))

    def addresses(self, name: str, *, v6: bool) -> _Answer[Sequence[str] | None]:
        """Return the A records, or with ``v6`` the AAAA records."""
        return self._in_time(self._lookup.addresses(name, v6=v6))

    def exchangers(self, name: str) -> _Answer[Sequence[tuple[int, str]] | None]:
        """Return the MX records."""
        return self._in_time(self._lookup.exchangers(name))

    def names(self, address: str) -> _Answer[Sequence[str] | None]:
        """Return the PTR records of an IP address."""
        return self._in_time(self._lookup.names(address))

    async def _in_time[T](self, answer: _Answer[T]) -> T:
        try:
            asking = Begun(answer)
            if asking.is_done:
                return await asking.result()
            async with asyncio.timeout_at(self._ends):
                return await asking.result()
        except TimeoutError:
            self.is_late = True
            raise DnsUnavailable("the time for this message is over") from None
