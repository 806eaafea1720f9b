"""The DNS questions of sender authentication, as a stub of recursive resolvers (ADR 32).

Rules:

- NXDOMAIN and an empty answer are answers; SERVFAIL, REFUSED, silence and what cannot be read are
  not, and become DnsUnavailable.
- A question has one deadline for all servers and attempts together. A server that answers is asked
  first the next time.
- Answers are kept for their TTL, an hour at most; empty ones by RFC 2308, failures some seconds, so
  that a dead zone does not cost every message its deadline (RFC 9520).
- Equal questions under way are one.
- After several questions in a row to which no server answered at all, further ones fail at once,
  but for one now and then that finds out whether a server is back.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

from prometheus_client import Counter, Gauge, Histogram

from posthorn.adapters.dns_exchange import NameServer
from posthorn.runtime.outage import LookupWatch, Outage
from posthorn.runtime.settings import server_address
from posthorn.wire.auth.lookup import DnsUnavailable
from posthorn.wire.dns_message import (
    MOST_ALIASES,
    NOERROR,
    NXDOMAIN,
    Answer,
    DnsMessageError,
    Kind,
    encode_name,
)

_questions = Counter(
    "posthorn_dns_questions_total",
    "DNS questions of sender authentication: answered from the cache (cached), by a server "
    "(answered), or not (failed)",
    ["outcome"],
)
_from_cache = _questions.labels("cached")
_seconds = Histogram(
    "posthorn_dns_question_seconds",
    "Time until a name server answered, or none did",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
_away = Gauge("posthorn_dns_away", "1 while no name server answers and questions fail at once")

_LONGEST_TTL = 3600
_SHORTEST_TTL = 1
_ENTRY_BYTES = 400  # of a cache entry besides its names and values
_CODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


type _Key = tuple[str, Kind]
"""Name in lower case, without a final dot, and type."""


class _Entry(NamedTuple):
    expires: float
    size: int
    values: tuple[object, ...] | None
    failure: str = ""


class _Cache:
    """Answers by question, bounded by number and bytes; those not used for long go first."""

    def __init__(self, entries: int, bytes_: int) -> None:
        self._most, self._most_bytes = entries, bytes_
        self._bytes = 0
        self._held: dict[_Key, _Entry] = {}

    def get(self, key: _Key, now: float) -> _Entry | None:
        entry = self._held.pop(key, None)
        if entry is None:
            return None
        if entry.expires <= now:
            self._bytes -= entry.size
            return None
        self._held[key] = entry
        return entry

    def put(
        self,
        key: _Key,
        values: tuple[object, ...] | None,
        expires: float,
        failure: str = "",
    ) -> None:
        size = _ENTRY_BYTES + len(key[0]) + sum(_size(each) for each in values or ())
        if (before := self._held.pop(key, None)) is not None:
            self._bytes -= before.size
        self._held[key] = _Entry(expires, size, values, failure)
        self._bytes += size
        while self._held and (len(self._held) > self._most or self._bytes > self._most_bytes):
            self._bytes -= self._held.pop(next(iter(self._held))).size


class StubLookup:
    """The port ``Lookup`` on recursive resolvers (``address`` or ``address:port``, IPv6 in brackets
    before a port), or those of the system. An async context manager.

    ``deadline_seconds``: of one question; ``failure_seconds``: how long a failure is kept;
    ``most_questions``: questions under way, beyond which further ones fail; ``patience``: questions
    in a row without any answer after which servers count as away for ``away_seconds``.
    """

    def __init__(
        self,
        servers: Sequence[str] = (),
        *,
        deadline_seconds: float = 2.0,
        failure_seconds: float = 5.0,
        cache_entries: int = 20_000,
        cache_bytes: int = 32 * 1024**2,
        most_questions: int = 1000,
        patience: int = 10,
        away_seconds: float = 3.0,
    ) -> None:
        addresses = [server_address(text) for text in servers] or _system_servers()
        self._servers = [NameServer(host, port) for host, port in addresses]
        self._names = [f"{host} port {port}" for host, port in addresses]
        self._first = 0
        self._deadline_seconds = deadline_seconds
        self._failure_seconds = failure_seconds
        self._most_questions = most_questions
        self._patience, self._away_seconds = patience, away_seconds
        self._unanswered = 0
        self._silence = Outage(
            "no name server answers; questions fail at once for a while",
            "a name server answers again",
            "error",
        )
        self._refusals = LookupWatch(
            Outage("no name can be looked up", "names are looked up again", "error")
        )
        self._away_until = 0.0
        self._cache = _Cache(cache_entries, cache_bytes)
        self._asking: dict[_Key, asyncio.Task[tuple[object, ...] | None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            server.close()

    @property
    def is_away(self) -> bool:
        """Whether no server answers, as far as is known."""
        return self._unanswered >= self._patience

    async def texts(self, name: str) -> Sequence[bytes] | None:
        """Return the TXT records, each with its strings joined."""
        return cast("Sequence[bytes] | None", await self._ask(name, Kind.TXT))

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str] | None:
        """Return the A records, or with ``v6`` the AAAA records."""
        found = await self._ask(name, Kind.AAAA if v6 else Kind.A)
        return cast("Sequence[str] | None", found)

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]] | None:
        """Return the MX records, by preference."""
        found = cast("Sequence[tuple[int, str]] | None", await self._ask(name, Kind.MX))
        return None if found is None else sorted(found)

    async def names(self, address: str) -> Sequence[str] | None:
        """Return the PTR records of an IP address."""
        reverse = ipaddress.ip_address(address).reverse_pointer
        return cast("Sequence[str] | None", await self._ask(reverse, Kind.PTR))

    async def _ask(self, text: str, kind: Kind) -> tuple[object, ...] | None:
        if not text.isascii():
            return None
        key = (text.lower().removesuffix("."), kind)
        entry = self._cache.get(key, time.monotonic())
        if entry is not None:
            _from_cache.inc()
            if entry.failure:
                raise DnsUnavailable(entry.failure)
            return entry.values
        name = encode_name(text)
        if name is None:
            return None
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= self._most_questions:
                raise self._failed("too many DNS questions at a time")
            if not self._may_ask():
                raise self._failed("no name server answers")
            task = self._asking[key] = asyncio.create_task(self._look_up(key, name))
            task.add_done_callback(lambda done: self._finish(key, done))
        return await asyncio.shield(task)  # others may wait for it

    def _failed(self, reason: str) -> DnsUnavailable:
        _questions.labels("failed").inc()
        return DnsUnavailable(reason)

    def _finish(self, key: _Key, done: asyncio.Task[tuple[object, ...] | None]) -> None:
        del self._asking[key]
        if not done.cancelled():
            done.exception()  # all who wait may have been cancelled

    def _may_ask(self) -> bool:
        """Return whether to ask; while the servers are away, one question in ``away_seconds``."""
        if not self.is_away:
            return True
        now = time.monotonic()
        if now < self._away_until:
            return False
        self._away_until = now + self._away_seconds
        return True

    async def _look_up(self, key: _Key, name: bytes) -> tuple[object, ...] | None:
        began = time.monotonic()
        try:
            answer = await self._follow(name, key[1], ends=began + self._deadline_seconds)
        except DnsUnavailable as error:
            self._cache.put(key, None, time.monotonic() + self._failure_seconds, str(error))
            _questions.labels("failed").inc()
            if str(error).startswith("the name server answers"):
                # one zone may be broken, with all its names
                self._refusals.failed(tuple(key[0].split(".")[-2:]), str(error))
            raise
        finally:
            _seconds.observe(time.monotonic() - began)
        _questions.labels("answered").inc()
        self._refusals.answered()
        values = None if answer.code == NXDOMAIN else answer.values
        ttl = self._failure_seconds if answer.ttl_seconds is None else answer.ttl_seconds
        expires = time.monotonic() + min(max(ttl, _SHORTEST_TTL), _LONGEST_TTL)
        self._cache.put(key, values, expires)
        return values

    async def _follow(self, name: bytes, kind: Kind, *, ends: float) -> Answer:
        """Resolve a name, and those that aliases lead to where a server leaves that to us."""
        ttl = _LONGEST_TTL
        for _ in range(MOST_ALIASES):
            answer = await self._resolve(name, kind, ends=ends)
            if not answer.alias:
                known = answer.ttl_seconds
                return replace(answer, ttl_seconds=None if known is None else min(ttl, known))
            name, ttl = answer.alias, min(ttl, answer.ttl_seconds or 0)
        raise DnsUnavailable("too many aliases, or a loop of them")

    async def _resolve(self, name: bytes, kind: Kind, *, ends: float) -> Answer:
        reason = "no name server answered in time"
        refused: set[int] = set()
        first, attempts = self._first, max(2, min(3, len(self._servers)))
        for attempt in range(attempts):
            place = (first + attempt) % len(self._servers)
            left = ends - time.monotonic()
            if left <= 0 or place in refused:
                continue
            server = self._servers[place]
            try:
                answer = await server.ask(name, kind, seconds=left / (attempts - attempt))
                self._heard()
                if answer.is_truncated:
                    left = max(0.0, ends - time.monotonic())
                    answer = await server.ask_whole(name, kind, seconds=left)
            except TimeoutError:
                continue
            except OSError:
                reason = "no name server can be reached"
                continue
            except DnsMessageError as error:
                self._heard()
                reason = f"the name server's answer is invalid: {error}"
                continue
            if answer.code in (NOERROR, NXDOMAIN):
                self._first = place
                return answer
            reason = f"the name server answers {_CODES.get(answer.code, f'code {answer.code}')}"
            refused.add(place)
        if not refused and not reason.startswith("the name server"):
            self._missed()
        raise DnsUnavailable(reason)

    def _heard(self) -> None:
        if self._silence.end():
            _away.set(0)
        self._unanswered = 0

    def _missed(self) -> None:
        self._unanswered += 1
        if self._unanswered == self._patience:
            self._silence.begin(servers=self._names)
            _away.set(1)
            self._away_until = time.monotonic() + self._away_seconds


def _size(value: object) -> int:
    return 60 + (len(value) if isinstance(value, bytes | str) else 100)


def _system_servers() -> list[tuple[str, int]]:
    """Return the servers of resolv.conf(5), without one the local host."""
    try:
        text = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = []
    for address in re.findall(r"^nameserver[ \t]+([^\s%]+)", text, re.MULTILINE):
        try:
            found.append((str(ipaddress.ip_address(address)), 53))
        except ValueError:
            continue
    return found[:3] or [("127.0.0.1", 53)]
