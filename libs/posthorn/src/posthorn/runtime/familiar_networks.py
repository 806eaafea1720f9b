"""The networks that accounts have logged in from lately, recorded in a store that all processes and
protocols share.

Rules:

- The network around a client is an IPv4 /24 or an IPv6 /64. It is kept as a hash together with the
  account: what is stored does not tell where people were, unless it is guessed.
- A login from a network is recorded once a day. What is recorded meanwhile goes together, and no
  login waits for it.
- Whether a network is familiar is read with the account, in the statement that a login makes
  anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress

import structlog

from posthorn.ports.access import NOTED_SECONDS, FamiliarNetwork, FamiliarNetworks
from posthorn.ports.errors import Unavailable
from posthorn.wire.proxy import plain_address

log = structlog.get_logger()

_MOST_WAITING = 10_000


def client_network_of(account: str, client: str) -> bytes:
    """Return the network key of a canonical account address and a client's IP address."""
    try:
        ip = plain_address(ipaddress.ip_address(client.partition("%")[0]))
        network = str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 64), strict=False))
    except ValueError:
        network = client
    return hashlib.sha256(f"{account}\0{network}".encode("utf-8", "surrogatepass")).digest()[:16]


class FamiliarNetworkRecorder:
    """Records the networks that accounts log in from."""

    def __init__(self, store: FamiliarNetworks) -> None:
        self._store = store
        self._waiting: set[FamiliarNetwork] = set()
        self._telling: asyncio.Task[None] | None = None

    def note(self, account: int, client_network: bytes, age: float | None) -> None:
        """Record a success; ``age``: as read with the account, the seconds since the network was
        last recorded."""
        if (age is not None and age < NOTED_SECONDS) or len(self._waiting) >= _MOST_WAITING:
            return
        self._waiting.add(FamiliarNetwork(account, client_network))
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        try:
            while self._waiting:
                told, self._waiting = self._waiting, set()
                await self._store.remember(told)
        except Unavailable as fault:
            log.warning("familiar networks are not recorded", fault=fault)
        finally:
            self._telling = None
