"""Defence against clients by what they do, before their mail costs anything: bans, counts, delays.

Rules:

- A *stranger* is a client with a public address that is no load balancer of ours
  (``proxy_networks``). Nobody else is delayed, counted or banned.
- What strangers do is reported to the scanning tier, which counts for all processes and bans
  networks (ADR 31). Beside it each process counts for itself: unknown recipients and errors of the
  protocol, less the messages that were accepted, so that a host with a worn list of recipients and
  much good mail stays.
- Bans pass, so a banned client is told 421: what it has may come later.
- Under stress (``ConnectionLimiter``) nobody is delayed: a delay takes a place.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from functools import lru_cache

import structlog
from prometheus_client import Counter

from posthorn.ports.clock import Clock
from posthorn.ports.scan import Bans, Report, Scanner
from posthorn.runtime.client_networks import client_key, is_own_side
from posthorn.wire.proxy import plain_address
from posthorn_smtp_in.settings import SmtpSettings

log = structlog.get_logger()

MOST_CLIENTS = 10_000
"""Clients whose faults, and bans, this process remembers; the latest ones."""
MOST_CREDIT = 50
"""Faults to come that accepted messages have paid for."""
PATIENT_WITH = 3
"""Unknown recipients of a session that are answered without a delay."""

_bans = Counter("posthorn_smtp_in_bans_total", "Clients that this process banned by its own count")


class ConnectionDefence:
    """What this process knows of clients before their mail."""

    def __init__(
        self,
        settings: SmtpSettings,
        *,
        bans: Bans | None = None,
        scanner: Scanner | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._settings = settings
        self._bans = bans
        self._scanner = scanner
        self._clock = clock
        self._faults: OrderedDict[str, tuple[float, int]] = OrderedDict()  # since when, how many
        self._banned: OrderedDict[str, float] = OrderedDict()  # until when
        self._credit: OrderedDict[str, int] = OrderedDict()  # faults that are paid for
        self._stranger = lru_cache(maxsize=8192)(self._look)

    def is_stranger(self, address: str) -> bool:
        """Return whether a client is neither of our own side nor a load balancer of ours."""
        return bool(self._stranger(address))

    def is_banned(self, address: str) -> bool:
        """Return whether connections of a client are refused now."""
        key, client = self._stranger(address) or ("", "")
        if not key:
            return False
        now = self._clock()
        if self._banned.get(key, 0.0) > now:
            return True
        return self._bans is not None and self._bans.until(client) > now

    def connected(self, address: str) -> None:
        """Report that a client has connected."""
        self._report(address, "connection")

    def refused(self, address: str) -> None:
        """Report that a message was refused by its verdict."""
        self._report(address, "refused")

    def fault(self, address: str, kind: str) -> None:
        """Report and count a fault of a client: ``unknown-recipient`` or ``protocol``."""
        key, _ = self._stranger(address) or ("", "")
        if credit := self._credit.pop(key, 0):
            if credit > 1:
                _keep(self._credit, key, credit - 1)
            return
        self._report(address, kind)
        lasts = self._settings.smtp_ban_seconds
        if not key or not lasts:
            return
        now = self._clock()
        since, faults = self._faults.pop(key, (now, 0))
        if now - since >= lasts:
            since, faults = now, 0
        if faults + 1 < self._settings.smtp_ban_faults:
            _keep(self._faults, key, (since, faults + 1))
            return
        _keep(self._banned, key, now + lasts)
        _bans.inc()
        log.warning("a client is banned", client=key, reason=kind, seconds=lasts)

    def accepted(self, address: str) -> None:
        """Let the accepted message of a client pay for a fault."""
        key, _ = self._stranger(address) or ("", "")
        if key:
            _keep(self._credit, key, min(self._credit.get(key, 0) + 1, MOST_CREDIT))

    def greeting_delay(self, address: str, *, stressed: bool) -> float:
        """Return the seconds for which a client is to wait for the greeting."""
        is_spared = stressed or not self.is_stranger(address)
        return 0.0 if is_spared else self._settings.smtp_greeting_delay_seconds

    def tarpit(self, address: str, unknown: int, *, stressed: bool) -> float:
        """Return the seconds before a client is told of its ``unknown``-th unknown recipient."""
        is_spared = stressed or unknown <= PATIENT_WITH or not self.is_stranger(address)
        return 0.0 if is_spared else self._settings.smtp_tarpit_seconds

    def _report(self, address: str, kind: str) -> None:
        if self._scanner is not None and (known := self._stranger(address)) is not None:
            self._scanner.report(Report(known[1], kind))

    def _look(self, address: str) -> tuple[str, str] | None:
        """Return the key by which a stranger is counted and its address, IPv4 in its own form;
        None for others."""
        try:
            ip = plain_address(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return None
        if is_own_side(str(ip)) or any(ip in each for each in self._settings.proxy_networks):
            return None
        return client_key(str(ip)), str(ip)


def _keep[T](table: OrderedDict[str, T], key: str, value: T) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > MOST_CLIENTS:
        table.popitem(last=False)
