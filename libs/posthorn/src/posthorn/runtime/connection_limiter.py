"""Limits of the sessions of a process by client, network, account and tenant, and which session
makes way when places run short.

Rules:

- A client address, and the networks around it (``client_networks``), hold a limited number of
  places each. Addresses of our own side have no network around them that is counted: load balancers
  and nodes that hide their clients.
- A session *waits* while it does nothing useful: before a login where one is needed, else before
  MAIL and between transactions. When all places are taken, the oldest waiting one of a network that
  holds more places than the newcomer's gives way to it: a client with many places can neither keep
  out nor drive out one with few.
- Under *stress*, from 80 % of the places on, as with Postfix's stress-adaptive behaviour: a session
  that has waited for ``stress_seconds`` ends, and so does one that was silent for as long within a
  transaction whose message has not begun.
- A session that is logged in never gives way. It is claimed for its account and tenant, and these
  have shares: an account a number, a tenant TENANT_SHARE times what is left. However many tenants
  take all they can get, there is room for another one.
- Connections whose client is not known yet hold half of all places at most.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Protocol, TypeIs

import structlog
from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from posthorn.runtime.client_networks import client_networks

log = structlog.get_logger()

STRESS_SECONDS = 10.0
"""Seconds that a session may wait under stress, unless the settings say otherwise."""
_STRESSED_FROM = 0.8
TENANT_SHARE = 4
"""A tenant may hold this many times the places that are not claimed: four fifths while it is
alone."""
_SWEEP_SECONDS = 1.0
_ABORT_SECONDS = 2.0

_gave_way = Metric(
    "posthorn_listen_gave_way_total",
    "Sessions ended to make room: for a newcomer, or because they waited for too long under stress",
    ["why"],
)
for _why in ("newcomer", "stress"):
    _gave_way.labels(_why)
_stress = Gauge(
    "posthorn_listen_stressed", "1 while four fifths of the places for sessions are taken, else 0"
)


class Session(Protocol):
    """One connection, as the listener sees it."""

    def begin_drain(self) -> None:
        """End soon: finish the transaction under way, refuse the next one (421), close. Must not
        block."""
        ...

    def abort(self) -> None:
        """End now. Must not block."""
        ...


class Yielding(Session, Protocol):
    """A session that can make room for another."""

    def give_way(self) -> bool:
        """End now, with 421 or the like, unless work of ours is under way; return whether it
        ends. Must not block."""
        ...

    @property
    def silent_seconds(self) -> float:
        """For how long it has waited for a command of the client; 0 while it does not."""
        ...


def _yields(session: Session) -> TypeIs[Yielding]:
    return hasattr(type(session), "give_way")


class ConnectionLimiter:
    """Admits sessions while there are places for them."""

    def __init__(
        self,
        total: int,
        per_address: int,
        *,
        per_network: int | None = None,
        per_account: int | None = None,
        stress_seconds: float = STRESS_SECONDS,
    ) -> None:
        """``per_network`` is for an IPv4 /24 and an IPv6 /48, and half of it for a /56, never
        less than an address may hold."""
        self.total = total
        self.per_address = per_address
        self.draining = False
        self._drain_by = 0.0
        self._per_network = sys.maxsize if per_network is None else max(per_network, per_address)
        self._per_account = total if per_account is None else per_account
        self._stress_seconds = stress_seconds
        self._by_address: Counter[str | None] = Counter()
        self._sessions: dict[Session, tuple[str, ...] | None] = {}
        self._waiting: dict[Yielding, float] = {}  # since when, the oldest first
        self._claims: dict[Session, tuple[str, str]] = {}
        self._claimed: Counter[str] = Counter()
        self._struck: set[Session] = set()
        self._stressed = False
        self._sweeping: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def stressed(self) -> bool:
        """Whether places run short."""
        return len(self._sessions) >= self.total * _STRESSED_FROM

    def admit(self, session: Session, address: str | None) -> str | None:
        """Enter a session; without an address its client is not known yet. Return None, or the
        reason to refuse it: ``total``, ``address``, ``network``, ``waiting`` or ``draining``."""
        keys = None if address is None else client_networks(address)
        if self.draining:
            return "draining"
        if keys is None:
            # once it is known, somebody gives way to it, or it is refused
            if len(self._sessions) >= self.total and not self._waiting:
                return "total"
            if self._by_address[None] >= max(1, self.total // 2):
                return "waiting"
        else:
            refusal = self._beyond_share(keys)
            if len(self._sessions) >= self.total and (refusal or not self._make_room(keys)):
                return "total"
            if refusal is not None:
                return refusal
        self._sessions[session] = keys
        for key in keys or (None,):
            self._by_address[key] += 1
        if _yields(session):
            self._waiting[session] = time.monotonic()
        self._empty.clear()
        self._note_stress()
        return None

    def leave(self, session: Session) -> None:
        """Remove a session; one that was never admitted is no error."""
        self._struck.discard(session)
        if session not in self._sessions:
            return
        self.unclaim(session)
        if _yields(session):
            self._waiting.pop(session, None)
        keys = self._sessions.pop(session)
        for key in keys or (None,):
            self._by_address[key] -= 1
            if not self._by_address[key]:
                self._by_address.pop(key)  # not by del: Counter has that in Python
        self._note_stress()
        if not self._sessions:
            self._empty.set()

    def began(self, session: Yielding) -> None:
        """Note that a session has begun a transaction: it does not wait any more."""
        self._waiting.pop(session, None)

    def waits(self, session: Yielding) -> None:
        """Note that its transaction is over, or that it is not logged in any more."""
        if session in self._sessions and session not in self._claims:
            self._waiting.pop(session, None)
            self._waiting[session] = time.monotonic()

    def claim(self, session: Yielding, account: str, tenant: str) -> bool:
        """Give a session that is logged in a place of its account's and tenant's share; return
        whether there was one."""
        self.unclaim(session)
        account, tenant = f"account {account}", f"tenant {tenant}"
        left = self.total - len(self._claims)
        if (
            self._claimed[account] >= self._per_account
            or self._claimed[tenant] >= TENANT_SHARE * left
        ):
            return False
        self._claims[session] = account, tenant
        self._claimed.update((account, tenant))
        self._waiting.pop(session, None)
        return True

    def unclaim(self, session: Session) -> None:
        """Release that place: the login came to nothing after all, or the session has gone."""
        if (claim := self._claims.pop(session, None)) is None:
            return
        for key in claim:
            self._claimed[key] -= 1
            if not self._claimed[key]:
                del self._claimed[key]
        if _yields(session):
            self.waits(session)

    async def drain(self, grace: float) -> None:
        """Ask every session to end, wait up to ``grace`` seconds, then abort those that are
        left. Each listener of a service calls it; all of them together wait no longer."""
        if not self.draining:
            self._drain_by = time.monotonic() + grace
        self.draining = True
        for session in list(self._sessions):
            try:
                session.begin_drain()
            except Exception:
                log.exception(
                    "a session cannot be drained and is cut", address=self._sessions.get(session)
                )
                session.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._drain_by - time.monotonic())):
                await self._empty.wait()
                return
        log.warning("sessions cut at the end of the grace period", sessions=len(self._sessions))
        for session in list(self._sessions):
            session.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_SECONDS):
                await self._empty.wait()

    def _beyond_share(self, keys: tuple[str, ...]) -> str | None:
        if self._by_address[keys[0]] >= self.per_address:
            return "address"
        for key in keys[1:]:
            most = self._per_network
            if key.endswith("/56"):
                most = max(most // 2, self.per_address)
            if self._by_address[key] >= most:
                return "network"
        return None

    def _make_room(self, keys: tuple[str, ...]) -> bool:
        """Have the oldest waiting session of a network that holds more places than the
        newcomer's give way."""
        if len(self._struck) >= max(1, self.total // 2):
            return False  # those that are to go have not gone yet
        held = self._by_address[keys[-1]]
        for session in list(self._waiting):
            others = self._sessions[session]
            if (
                others is not None
                and self._by_address[others[-1]] > held
                and self._strike(session, "newcomer")
            ):
                return True
        return False

    def _strike(self, session: Yielding, why: str) -> bool:
        if not session.give_way():
            return False
        _gave_way.labels(why).inc()
        if session in self._sessions:
            self.leave(session)
            self._struck.add(session)
        return True

    def _note_stress(self) -> None:
        stressed = self.stressed
        if stressed is not self._stressed:
            self._stressed = stressed
            _stress.set(self._stressed)
            if self._stressed:
                log.warning(
                    "places for sessions run short", sessions=len(self._sessions), places=self.total
                )
        if self._stressed and self._sweeping is None:
            with suppress(RuntimeError):  # no loop: nobody waits
                loop = asyncio.get_running_loop()
                self._sweeping = loop.call_later(
                    min(_SWEEP_SECONDS, self._stress_seconds), self._sweep
                )

    def _sweep(self) -> None:
        self._sweeping = None
        if not self._stressed or self.draining:
            return
        now = time.monotonic()
        for session, since in list(self._waiting.items()):
            if now - since >= self._stress_seconds:
                self._strike(session, "stress")
        for other in list(self._sessions):
            is_strange = other not in self._claims and other not in self._waiting
            if is_strange and _yields(other) and other.silent_seconds >= self._stress_seconds:
                self._strike(other, "stress")
        self._note_stress()
