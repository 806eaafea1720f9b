"""What Postgres said of an account, shared by all of its sessions in this process.

Rules:

- An account is read for the first session that wants it; the others that ask within half of
  ``REREAD_SECONDS`` are given the same reading, and rely on it no longer than the first.
- Whether an app password still exists, and which addresses are the account's, belongs to a reading
  and is asked once for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from posthorn.ports.sending import Credentials, Senders

REREAD_SECONDS = 1.5
"""How long what was read of an account is relied upon."""

_MOST_READINGS = 10_000


@dataclass(slots=True)
class AccountReading:
    """What was read of an account, and what was asked about it since."""

    read_at: float
    """Monotonic seconds."""
    credentials: asyncio.Future[Credentials | None]
    owned: set[str] = field(default_factory=set)
    """Addresses that were found to be the account's."""
    app_passwords: dict[tuple[bytes, str], asyncio.Future[bool]] = field(default_factory=dict)
    """Whether the account has these app passwords, by their SHA-256 and the client."""


class AccountReadings:
    """The latest readings by address."""

    def __init__(self, senders: Senders, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._senders = senders
        self._clock = clock
        self._readings: OrderedDict[str, AccountReading] = OrderedDict()

    async def read(self, address: str) -> tuple[AccountReading, Credentials | None]:
        """Return a recent reading of an account, and its credentials; None: there is no such
        account. Raises Unavailable."""
        now = self._clock()
        known = self._readings.get(address)
        if (
            known is None
            or known.read_at < now - REREAD_SECONDS / 2
            or _has_failed(known.credentials)
        ):
            asked = asyncio.ensure_future(self._senders.credentials(address))
            asked.add_done_callback(_seen)
            known = self._readings[address] = AccountReading(now, asked)
        self._readings.move_to_end(address)
        while len(self._readings) > _MOST_READINGS:
            self._readings.popitem(last=False)
        return known, await asyncio.shield(known.credentials)

    async def has_app_password(
        self, reading: AccountReading, account: int, digest: bytes, scope: str, client: str
    ) -> bool:
        """Return whether the account has an app password that may be used from ``client``, an IP
        address. Raises Unavailable."""
        asked = reading.app_passwords.get((digest, client))
        if asked is None or _has_failed(asked):
            asked = asyncio.ensure_future(
                self._senders.app_password(account, digest, scope, client)
            )
            asked.add_done_callback(_seen)
            reading.app_passwords[digest, client] = asked
        return await asyncio.shield(asked)


def _has_failed(asked: asyncio.Future[Credentials | None] | asyncio.Future[bool]) -> bool:
    return asked.done() and asked.exception() is not None


def _seen(asked: asyncio.Future[Credentials | None] | asyncio.Future[bool]) -> None:
    """Mark a fault as seen: whoever waits is told of it; there may be nobody any more."""
    if not asked.cancelled():
        asked.exception()
