"""SPF: whether a client may use the names in HELO and MAIL FROM (RFC 7208).

Theory of operation: ``check_spf`` runs the function check_host() of §4 once for HELO and once for
MAIL FROM, each with a budget of its own. Terms are evaluated from left to right until one matches;
only then, and only for what is needed, is DNS asked.

Rules:

- The null reverse-path is checked as postmaster@HELO, which is the check of HELO (§2.4).
- At most ten terms ask DNS, those of ``include`` and ``redirect`` counted; an ``mx`` has at most
  ten hosts, which are not terms (§4.6.4).
- A term whose question has no answer is void; more than two are an error (§4.6.4). It is counted
  once, and not because a host that exists has only IPv4 addresses where IPv6 is asked for: else a
  domain with IPv4 hosts would have an invalid record for clients on IPv6 alone.
- Names that cannot be asked do not exist (§4.8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from posthorn.wire.address import AddressError
from posthorn.wire.auth.iprev import IpAddress, client_address, leads_to, names_of_hosts
from posthorn.wire.auth.lookup import DnsUnavailable, Lookup
from posthorn.wire.auth.results import Outcome, Spf
from posthorn.wire.auth.spf_macros import MacroString, SpfError, expand, parse_macros, shortened
from posthorn.wire.auth.spf_record import MOST_LOOKUPS, SpfRecord, Term, parsed
from posthorn.wire.foreign_address import foreign_domain

REASON_LIMIT = 200
"""Characters of a reason."""
EXPLANATION_LIMIT = 300
"""Characters of an explanation."""

_RESULTS = {
    "+": Outcome.PASS,
    "-": Outcome.FAIL,
    "~": Outcome.SOFTFAIL,
    "?": Outcome.NEUTRAL,
}
_VERSION = re.compile(rb"v=spf1(?: |\Z)", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class SpfLimits:
    """Limits of one check (RFC 7208 §4.6.4)."""

    lookups: int = MOST_LOOKUPS
    """Terms that ask DNS."""
    void_lookups: int = 2
    """Terms whose question has no answer."""
    mx_hosts: int = 10
    """Hosts of one ``mx``."""


_LIMITS = SpfLimits()


async def check_spf(
    lookup: Lookup,
    *,
    client: str,
    helo: str,
    reverse_path: str,
    hostname: str,
    limits: SpfLimits = _LIMITS,
    now: int = 0,
) -> tuple[Spf, ...]:
    """Return the results for HELO and, unless the reverse-path is null, MAIL FROM, in this order.

    ``client`` is the IP address of the client, ``helo`` the argument of HELO or EHLO,
    ``reverse_path`` an address without angle brackets. ``hostname`` is ours and ``now`` the time in
    seconds since the epoch; both serve explanations only. A HELO that is not a domain name of
    several labels, and a reverse-path without such a domain, have the outcome NONE (§2.3, §4.3).
    Never raises.
    """
    address = client_address(client)
    if address is None:
        return (Spf(Outcome.NONE, "helo", "", "the address of the client is unknown"),)
    session = _Session(lookup, address, helo, hostname, limits, now)
    helo_result = await session.check("helo", "postmaster", helo)
    if not reverse_path:
        return (helo_result,)
    local, _, domain = reverse_path.rpartition("@")
    return helo_result, await session.check("mailfrom", local or "postmaster", domain)


@dataclass(slots=True)
class _Session:
    """What both checks have in common."""

    lookup: Lookup
    client: IpAddress
    helo: str
    hostname: str
    limits: SpfLimits
    now: int
    has_no_names: bool = False
    """Its address has no PTR record; known after ``names``."""
    _names: list[str] | None = None

    async def check(self, identity: str, local: str, domain_text: str) -> Spf:
        try:
            domain = foreign_domain(domain_text)
        except AddressError:
            return Spf(Outcome.NONE, identity, "", "it is not a domain name")
        if domain.startswith("["):
            return Spf(Outcome.NONE, identity, "", "it is an address literal")
        if "." not in domain:
            return Spf(Outcome.NONE, identity, domain, "it is not a fully qualified domain name")
        return await _Check(self, identity, local, domain).run()

    async def names(self) -> list[str]:
        """Return the names of the client that lead back to it; none if DNS fails (§5.5)."""
        if self._names is None:
            self._names = []
            try:
                found = await self.lookup.names(str(self.client))
            except DnsUnavailable:
                return self._names
            self.has_no_names = not found
            for name in names_of_hosts(found or ()):
                try:
                    if await leads_to(self.lookup, name, self.client):
                        self._names.append(name)
                except DnsUnavailable:
                    continue
        return self._names


@dataclass(slots=True)
class _Result:
    outcome: Outcome
    reason: str = ""
    explanation: MacroString | None = None
    domain: str = ""
    """Whose record has the explanation."""


@dataclass(slots=True)
class _Check:
    """One run of check_host()."""

    session: _Session
    identity: str
    local: str
    domain: str
    is_of_local_part: bool = False
    _lookups: int = 0
    _voids: int = 0
    _values: dict[str, str] = field(default_factory=dict)

    async def run(self) -> Spf:
        try:
            result = await self._host(self.domain)
        except DnsUnavailable:
            result = _Result(Outcome.TEMPERROR, "a lookup in DNS failed")
        except SpfError as error:
            result = _Result(Outcome.PERMERROR, str(error))
        explanation = ""
        # that of HELO is always postmaster, and an explanation decides nothing
        is_of_local_part = self.is_of_local_part and self.identity == "mailfrom"
        if result.outcome is Outcome.FAIL and result.explanation is not None:
            explanation = await self._explain(result.explanation, result.domain)
        return Spf(
            result.outcome,
            self.identity,
            self.domain,
            _printable(result.reason)[:REASON_LIMIT],
            _printable(explanation)[:EXPLANATION_LIMIT],
            is_of_local_part,
        )

    async def _host(self, domain: str) -> _Result:
        """Evaluate the record of a domain. Raises SpfError, DnsUnavailable."""
        record = await self._record(domain)
        if record is None:
            return _Result(Outcome.NONE, f"{domain} has no SPF record")
        for term in record.terms:
            if await self._matches(term, domain):
                outcome = _RESULTS[term.qualifier]
                reason = f"{term.text} of {domain}"
                return _Result(outcome, reason, record.explanation, domain)
        if record.redirect is not None:
            self._count(f"redirect of {domain}")
            target = await self._name(record.redirect, domain)
            result = None if target is None else await self._host(target)
            if result is None or result.outcome is Outcome.NONE:
                raise SpfError(f"redirect={record.redirect.text} leads to no SPF record")
            return result
        return _Result(Outcome.NEUTRAL, f"no term of {domain} matches")

    async def _record(self, domain: str) -> SpfRecord | None:
        texts = await self.session.lookup.texts(domain)
        records = [text for text in texts or () if _VERSION.match(text)]
        if len(records) > 1:
            raise SpfError(f"{domain} has several SPF records")
        try:
            return parsed(records[0]) if records else None
        except SpfError as error:
            raise SpfError(f"the record of {domain}: {error}") from None

    async def _matches(self, term: Term, domain: str) -> bool:
        if term.name == "all":
            return True
        client = self.session.client
        if term.network is not None:
            return client in term.network
        self._count(f"{term.text} of {domain}")
        if term.name == "ptr":
            return await self._has_name(term, domain)
        name = domain if term.domain is None else await self._name(term.domain, domain)
        if name is None:
            return False
        match term.name:
            case "include":
                return await self._included(name)
            case "exists":
                found = await self.session.lookup.addresses(name, v6=False)
                self._void(not found)
                return bool(found)
            case "mx":
                return await self._is_exchanger(term, name)
        found = await self.session.lookup.addresses(name, v6=client.version == 6)
        self._void(self._is_void(found))
        return self._is_among(term, found)

    async def _included(self, name: str) -> bool:
        result = await self._host(name)
        if result.outcome is Outcome.NONE:
            raise SpfError(f"include:{name} leads to no SPF record")
        return result.outcome is Outcome.PASS

    async def _is_exchanger(self, term: Term, name: str) -> bool:
        lookup, limit = self.session.lookup, self.session.limits.mx_hosts
        exchangers = await lookup.exchangers(name)
        if not exchangers:
            self._void(True)
            return False
        if len(exchangers) > limit:
            raise SpfError(f"{name} has more than {limit} mail exchangers")
        is_void = False
        for _, host in exchangers:
            if host.strip("."):  # a null MX has no host (RFC 7505)
                found = await lookup.addresses(host, v6=self.session.client.version == 6)
                if self._is_among(term, found):
                    return True
                is_void = is_void or self._is_void(found)
        self._void(is_void)
        return False

    async def _has_name(self, term: Term, domain: str) -> bool:
        target = domain if term.domain is None else await self._name(term.domain, domain)
        names = await self.session.names()
        self._void(self.session.has_no_names)
        if target is None:
            return False
        return any(name == target or name.endswith(f".{target}") for name in names)

    def _is_among(self, term: Term, found: Sequence[str] | None) -> bool:
        client = self.session.client
        shift = client.max_prefixlen - term.prefixes[client.version == 6]
        wanted = client.version, int(client) >> shift
        addresses = filter(None, map(client_address, found or ()))
        return any((each.version, int(each) >> shift) == wanted for each in addresses)

    def _is_void(self, found: Sequence[str] | None) -> bool:
        return found is None or (not found and self.session.client.version == 4)

    def _void(self, is_void: bool) -> None:
        self._voids += is_void
        if self._voids > (limit := self.session.limits.void_lookups):
            raise SpfError(f"more than {limit} lookups have no answer")

    def _count(self, term: str) -> None:
        self._lookups += 1
        if self._lookups > (limit := self.session.limits.lookups):
            raise SpfError(f"more than {limit} lookups are needed, at {term}")

    async def _name(self, spec: MacroString, domain: str) -> str | None:
        """Return a domain name with its macros expanded; None if it cannot be a name."""
        expanded = spec.literal
        if expanded is None:
            self.is_of_local_part |= not spec.letters.isdisjoint("ls")
            expanded = expand(spec, await self._all_values(spec, domain))
        return None if expanded is None else shortened(expanded).lower() or None

    async def _explain(self, name: MacroString, domain: str) -> str:
        """Return the text of an explanation; empty where there is any fault (§6.2)."""
        try:
            target = await self._name(name, domain)
            texts = None if target is None else await self.session.lookup.texts(target)
            if not texts or len(texts) != 1 or not texts[0].isascii():
                return ""
            text = parse_macros(texts[0][:2000].decode("ascii"), in_explanation=True)
            return expand(text, await self._all_values(text, domain)) or ""
        except (DnsUnavailable, SpfError):
            return ""

    async def _all_values(self, string: MacroString, domain: str) -> dict[str, str]:
        if not self._values:
            self._values = self._own_values()
        values = self._values | {"d": domain}
        if "p" in string.letters:
            names = await self.session.names()
            beneath = [name for name in names if name.endswith(f".{domain}")]
            chosen = [domain] if domain in names else [*beneath, *names, "unknown"]
            values["p"] = chosen[0]
        return values

    def _own_values(self) -> dict[str, str]:
        session, client = self.session, self.session.client
        dotted = str(client)
        if client.version == 6:
            dotted = ".".join(client.exploded.replace(":", ""))
        return {
            "s": f"{self.local}@{self.domain}",
            "l": self.local,
            "o": self.domain,
            "i": dotted,
            "v": "in-addr" if client.version == 4 else "ip6",
            "h": session.helo,
            "c": str(client),
            "r": session.hostname or "unknown",
            "t": str(session.now),
        }


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
