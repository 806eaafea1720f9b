"""DNS blocklists and allow lists (RFC 5782): which zones hold an address or a domain.

Rules:

- An answer counts only if its code is one that the zone's settings name. Everything else, above all
  127.255.255.x and what else means that the *question* was refused, is no listing; it makes the
  zone unhealthy, which people see.
- A zone is asked only while it is healthy: its test entry is listed (127.0.0.2, ::FFFF:7F00:2,
  TEST), and what must never be listed is not (127.0.0.1, ::FFFF:7F00:1, INVALID; §5). A zone whose
  server has failed is asked again after a while.
- All zones together have one deadline; a zone without an answer then says nothing.
- Points of one zone are less than the Junk threshold: no outside source crosses it alone.
- Only the client's own address is asked for, never one of a Received field, and only if it is
  public.
- No zone is in use unless the settings name it: most are not free for every use, and refuse
  questions of public resolvers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import structlog
from prometheus_client import Counter, Gauge
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from posthorn.model.ip_addresses import is_public, plain_ip
from posthorn.ports.scan import Listing
from posthorn.runtime.env_settings import EnvSettings, Seconds
from posthorn.wire.address import canonical_domain
from posthorn.wire.auth.lookup import DnsUnavailable, Lookup

log = structlog.get_logger()

MOST_POINTS: Final = 5.9
"""Points of one zone at most: less than those from which a message is filed in Junk."""
MOST_ZONES: Final = 50
MOST_DOMAINS: Final = 20
"""Domains of one message that are asked for."""
_REASON_CHARACTERS = 200
_MOST_CODES = 20  # of one answer
_HEALTH_SECONDS = 600.0
_UNHEALTHY_SECONDS = 120.0

_health = Gauge("posthorn_blocklist_healthy", "1 if a zone answers as RFC 5782 demands", ["zone"])
_found = Counter(
    "posthorn_blocklist_answers_total",
    "Answers of zones: listed, clear, refused (a code that is none of the zone's), failed",
    ["zone", "outcome"],
)

_CODE = re.compile(r"127\.(?:(?:\d{1,3}|\*)\.){2}(?:\d{1,3}(?:-\d{1,3})?|\*)\Z")
_CONTROLS = re.compile(r"[^\x20-\x7e]+")


def _code(text: str) -> str:
    if not _CODE.match(text):
        raise ValueError("must be a code such as 127.0.0.2, 127.0.0.2-11 or 127.0.*.3")
    if text.startswith("127.255."):
        raise ValueError("codes of 127.255.0.0/16 say that a question was refused")
    return text


class ListCode(BaseModel):
    """What a code of a zone means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: Annotated[float, Field(ge=-20, le=MOST_POINTS)]
    """Points of a listing; negative for allow lists."""
    meaning: Annotated[str, Field(max_length=100)] = ""
    """For people, such as ``dynamic addresses``."""


class ListZone(BaseModel):
    """A zone of a blocklist or an allow list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    zone: Annotated[str, AfterValidator(canonical_domain)]
    """Name of the zone, such as ``zen.spamhaus.org``."""
    kind: Literal["address", "domain"] = "address"
    """What it lists."""
    codes: Annotated[
        dict[Annotated[str, AfterValidator(_code)], ListCode],
        Field(min_length=1, max_length=100),
    ]
    """The codes that count: one, a range of the last number (``127.0.0.2-11``), or with ``*`` for
    any number; the first that matches decides."""
    is_bit_mask: bool = False
    """Whether the last number of an answer is a sum of the codes' last numbers."""
    ipv6: bool = False
    """Whether a zone of addresses lists IPv6 addresses too."""
    is_checked: bool = True
    """Whether it has the test entries of RFC 5782; some domain lists have others."""


class BlocklistSettings(EnvSettings):
    """Blocklists and allow lists."""

    scan_blocklists: Annotated[tuple[ListZone, ...], Field(max_length=MOST_ZONES)] = ()
    """Zones as a JSON list of objects: ``zone``, ``kind`` (``address`` or ``domain``), ``codes``
    (of each code its ``points`` and ``meaning``), ``is_bit_mask``, ``ipv6``, ``is_checked``. None
    is asked unless it is listed here."""
    scan_blocklist_deadline_seconds: Seconds = 1.5
    """Seconds that all zones together have for an answer."""


@dataclass(frozen=True, slots=True)
class ZoneState:
    """The health of a zone, for people."""

    zone: str
    is_healthy: bool
    detail: str = ""
    checked_at: float = 0.0
    """Seconds of the monotonic clock; 0: not yet."""


@dataclass(slots=True)
class _Health:
    is_healthy: bool = False
    detail: str = "not checked yet"
    checked_at: float = 0.0
    first_check: asyncio.Task[None] | None = None
    """The check that questions wait for."""


class Blocklists:
    """Asks zones. ``deadline_seconds`` is that of one call for all its questions together."""

    def __init__(
        self, lookup: Lookup, zones: Sequence[ListZone], *, deadline_seconds: float = 1.5
    ) -> None:
        self._lookup = lookup
        self._zones = tuple(zones)[:MOST_ZONES]
        self._deadline_seconds = deadline_seconds
        self._states = {zone.zone: _Health() for zone in self._zones}
        self._checking: set[asyncio.Task[None]] = set()

    async def look_up(self, client: str, domains: Iterable[str]) -> tuple[Listing, ...]:
        """Return what lists the client's address and the domains; never raises."""
        if not self._zones:
            return ()
        addresses = (client,) if client else ()
        return await self._ask(addresses, _names(domains)[:MOST_DOMAINS])

    async def own_listings(
        self, addresses: Iterable[str], domains: Iterable[str]
    ) -> tuple[Listing, ...]:
        """Return the blocklists (not the allow lists) that hold addresses and domains of ours."""
        found = await self._ask(tuple(addresses), _names(domains))
        return tuple(each for each in found if each.points > 0)

    def states(self) -> tuple[ZoneState, ...]:
        """Return the health of each zone."""
        return tuple(
            ZoneState(zone, each.is_healthy, each.detail, each.checked_at)
            for zone, each in self._states.items()
        )

    async def check(self) -> None:
        """Check the health of all zones now; never raises."""
        await asyncio.gather(*(self._check(zone) for zone in self._zones))

    async def close(self) -> None:
        """End checks under way."""
        tasks = list(self._checking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, addresses: Sequence[str], domains: Sequence[str]) -> tuple[Listing, ...]:
        zones = [zone for zone in self._zones if self._is_usable(zone)]
        asked = [
            (zone, subject, prefix)
            for zone in zones
            for subject in (addresses if zone.kind == "address" else domains)
            if (prefix := _prefix(zone, subject)) is not None
        ]
        if not asked:
            return ()
        tasks = [asyncio.create_task(self._listing(*each)) for each in asked]
        try:
            await asyncio.wait(tasks, timeout=self._deadline_seconds)
        finally:
            late = [task for task in tasks if not task.done()]
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for task, (zone, _, _) in zip(tasks, asked, strict=True):
            if task.cancelled():
                _found.labels(zone.zone, "failed").inc()
        done = (task for task in tasks if not task.cancelled())
        return tuple(found for task in done if (found := task.result()) is not None)

    async def _listing(self, zone: ListZone, subject: str, prefix: str) -> Listing | None:
        state = self._states[zone.zone]
        if state.first_check is not None:
            await asyncio.wait({state.first_check})
        if not state.is_healthy:
            return None
        name = f"{prefix}.{zone.zone}"
        try:
            codes = (await self._lookup.addresses(name, v6=False) or ())[:_MOST_CODES]
        except DnsUnavailable:
            _found.labels(zone.zone, "failed").inc()
            return None
        matched = [(code, found) for code in codes if (found := _meaning(zone, code)) is not None]
        if not matched:
            if codes:
                self._note(zone, f"answers with the code {codes[0]}: the question was refused")
            _found.labels(zone.zone, "refused" if codes else "clear").inc()
            return None
        _found.labels(zone.zone, "listed").inc()
        code, meaning = max(matched, key=lambda each: abs(each[1].points))
        return Listing(
            zone.zone, subject, code, meaning.points, await self._reason(name, meaning.meaning)
        )

    async def _reason(self, name: str, meaning: str) -> str:
        """Return the zone's text on a listing, or what the settings say of its code."""
        try:
            texts = await self._lookup.texts(name) or ()
        except DnsUnavailable:
            return meaning
        text = texts[0].decode("ascii", "replace") if texts else meaning
        return _CONTROLS.sub(" ", text).strip()[:_REASON_CHARACTERS]

    def _is_usable(self, zone: ListZone) -> bool:
        """Return whether a zone may be asked; begin a check if its last is long ago."""
        state = self._states[zone.zone]
        now = time.monotonic()
        is_first = not state.checked_at
        due = state.checked_at + (_HEALTH_SECONDS if state.is_healthy else _UNHEALTHY_SECONDS)
        if is_first or now >= due:
            state.checked_at = now
            task = asyncio.create_task(self._check(zone))
            self._checking.add(task)
            task.add_done_callback(self._checking.discard)
            if is_first:
                state.first_check = task
        return state.is_healthy or state.first_check is not None

    async def _check(self, zone: ListZone) -> None:
        state = self._states[zone.zone]
        state.checked_at = time.monotonic()
        if not zone.is_checked:
            self._note(zone, "")
            return
        for listed, clear in _test_entries(zone):
            try:
                codes = await self._lookup.addresses(f"{listed}.{zone.zone}", v6=False)
                wrong = await self._lookup.addresses(f"{clear}.{zone.zone}", v6=False)
            except DnsUnavailable as error:
                self._note(zone, f"does not answer: {error}")
                return
            if not codes:
                self._note(zone, "does not list its test entry")
                return
            if all(_is_refusal(code) for code in codes):
                self._note(zone, f"answers with the code {codes[0]}: the question was refused")
                return
            if wrong:
                self._note(zone, "lists what must never be listed")
                return
        self._note(zone, "")

    def _note(self, zone: ListZone, fault: str) -> None:
        state = self._states[zone.zone]
        is_news = fault != state.detail
        state.is_healthy, state.detail, state.first_check = not fault, fault, None
        _health.labels(zone.zone).set(not fault)
        if fault and is_news:
            log.error("a blocklist is left out", zone=zone.zone, reason=fault)
        elif is_news:
            log.info("a blocklist is used", zone=zone.zone)


def _names(domains: Iterable[str]) -> tuple[str, ...]:
    """Return the domains in canonical form, each once, without those that no list can hold."""
    found: dict[str, None] = {}
    for text in domains:
        try:
            name = canonical_domain(text)
        except ValueError:
            continue
        if "." in name and not name.startswith("["):
            found[name] = None
    return tuple(found)


def _prefix(zone: ListZone, subject: str) -> str | None:
    """Return the name before the zone's for what is asked for; None if it is not to be asked."""
    if zone.kind == "domain":
        return subject
    try:
        ip = plain_ip(subject)
    except ValueError:
        return None
    if not is_public(ip) or (ip.version == 6 and not zone.ipv6):
        return None
    return ip.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def _meaning(zone: ListZone, code: str) -> ListCode | None:
    """Return what a code means in a zone; None for one that its settings do not name."""
    if _is_refusal(code):
        return None
    numbers = code.split(".")
    if zone.is_bit_mask:
        return _sum_of_bits(zone.codes, numbers)
    for pattern, meaning in zone.codes.items():
        if all(_holds(*pair) for pair in zip(pattern.split("."), numbers, strict=True)):
            return meaning
    return None


def _sum_of_bits(codes: Mapping[str, ListCode], numbers: Sequence[str]) -> ListCode | None:
    last = int(numbers[3])
    found = [
        meaning
        for pattern, meaning in codes.items()
        if pattern.split(".")[:3] == list(numbers[:3])
        and (bits := pattern.split(".")[3]).isdigit()
        and int(bits) & last
    ]
    return max(found, key=lambda each: abs(each.points), default=None)


def _holds(pattern: str, number: str) -> bool:
    if pattern == "*":
        return True
    first, dash, last = pattern.partition("-")
    return int(first) <= int(number) <= int(last) if dash else int(pattern) == int(number)


def _is_refusal(code: str) -> bool:
    """Return whether an answer says that no list was consulted: refusals of the large zones, and
    whatever is outside 127.0.0.0/8, which no list answers with (RFC 5782 §2.1)."""
    return not code.startswith("127.") or code.startswith("127.255.")


def _test_entries(zone: ListZone) -> Iterable[tuple[str, str]]:
    if zone.kind == "domain":
        yield "test", "invalid"
        return
    yield "2.0.0.127", "1.0.0.127"
    if zone.ipv6:
        yield tuple(  # type: ignore[misc]
            ipaddress.IPv6Address(f"::ffff:7f00:{last}").reverse_pointer.removesuffix(".ip6.arpa")
            for last in (2, 1)
        )
