"""The ports Resolver and Records on dnspython: asks recursive resolvers over UDP, and over TCP
where an answer was cut (RFC 7766).

Rules:

- Only an answer can make a failure permanent. NXDOMAIN and an empty answer are answers; SERVFAIL,
  REFUSED, a timeout and a malformed response are not, and become LookupFailed.
- Answers are cached for their TTL, a day at most; empty ones by RFC 2308. Failures are not cached.
- Concurrent lookups of the same name share one query.
- The log says once when MX look-ups cease to have answers, whatever the domain, and once when they
  have again. That of one domain may fail for ever, so several domains must; what is cached says
  nothing.
- The AD bit counts only when the settings declare the resolvers and the path to them trusted (RFC
  7672 §2.1.1).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
import time
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.txtbase
import dns.resolver
from prometheus_client import Gauge

from posthorn.ports.resolver import Exchanger, LookupFailed, NoSuchDomain, NullMx, Tlsa
from posthorn.runtime.outage import MOST_UNANSWERED, LookupWatch, Outage
from posthorn.runtime.settings import server_address

_away = Gauge(
    "posthorn_dns_exchangers_away",
    f"1 while MX look-ups of {MOST_UNANSWERED} domains failed and none was answered since",
)
_KEPT = 20_000  # answers
_LONGEST_TTL = 86_400.0
_MOST_EXCHANGERS = 100
_PAYLOAD = 1232  # bytes of a UDP answer that is not fragmented on any path
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z")

# None: the name does not exist; whether it was validated
type _Answer = tuple[dns.resolver.Answer | None, bool]


class DnsResolver:
    """Resolver of the given servers (``address`` or ``address:port``, IPv6 in brackets before a
    port), or of the system's.

    ``lifetime``: seconds that a lookup may take; a silent server is queried a second time. Without
    ``keep`` no answer is cached: to check whether a record has been published by now.
    """

    def __init__(
        self,
        servers: Sequence[str] = (),
        use_dnssec: bool = False,
        *,
        lifetime: float = 10.0,
        keep: bool = True,
    ) -> None:
        self._use_dnssec = use_dnssec
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        if servers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(*server_address(text)) for text in servers
            ]
        else:
            try:
                self._resolver.read_resolv_conf("/etc/resolv.conf")
            except dns.resolver.NoResolverConfiguration:
                # the default of the C library (resolv.conf(5))
                self._resolver.nameservers = ["127.0.0.1"]
        self._resolver.lifetime = lifetime
        self._resolver.timeout = lifetime * 0.45 / max(1, min(2, len(self._resolver.nameservers)))
        self._resolver.use_edns(0, dns.flags.DO if use_dnssec else 0, _PAYLOAD)
        self._resolver.cache = _Cache(_KEPT) if keep else None
        self._exchangers = LookupWatch(
            Outage("no domain can be looked up", "domains are looked up again", "error")
        )
        self._asking: dict[
            tuple[dns.name.Name, dns.rdatatype.RdataType], asyncio.Task[_Answer]
        ] = {}

    async def exchangers(self, domain: str) -> Sequence[Exchanger]:
        """Return the MX set; empty where it names no host that could be one (an IP address, no
        host name)."""
        name = _name(domain)
        if name is None:
            raise NoSuchDomain(domain)
        answer, secure = await self._ask(name, dns.rdatatype.MX)
        if answer is None:
            raise NoSuchDomain(domain)
        if answer.rrset is None:
            if not (await self.addresses(domain))[0]:
                raise NoSuchDomain(domain)
            return [Exchanger(0, domain, secure)]
        records = [(record.preference, record.exchange) for record in answer]
        if len(records) == 1 and records[0][1] == dns.name.root:
            raise NullMx(domain)
        found = [
            Exchanger(preference, host, secure)
            for preference, exchange in records
            if (host := exchange.to_text(omit_final_dot=True).lower()) and _is_host(host)
        ]
        random.shuffle(found)
        found.sort(key=lambda one: one.preference)
        return found[:_MOST_EXCHANGERS]

    async def addresses(self, host: str) -> tuple[Sequence[str], bool]:
        """Return IPv6 addresses, then IPv4. Where the lookup of one family fails, return the
        other's, if there are any."""
        name = _name(host)
        if name is None:
            return (), False
        results = await asyncio.gather(
            self._ask(name, dns.rdatatype.AAAA),
            self._ask(name, dns.rdatatype.A),
            return_exceptions=True,
        )
        found: list[str] = []
        validated: list[bool] = []
        failure: LookupFailed | None = None
        for result in results:
            if isinstance(result, LookupFailed):
                failure = result
            elif isinstance(result, BaseException):
                raise result
            elif result[0] is not None and result[0].rrset is not None:
                found += [record.address for record in result[0]]
                validated.append(result[1])
        if failure is not None and not found:
            raise failure
        return found, bool(validated) and all(validated)

    async def tlsa(self, host: str, port: int) -> tuple[Sequence[Tlsa], bool]:
        """Return the TLSA records at ``_<port>._tcp.<host>``."""
        name = _name(f"_{port}._tcp.{host}")
        if name is None:
            return (), False
        answer, secure = await self._ask(name, dns.rdatatype.TLSA)
        records = () if answer is None else tuple(answer)
        return [
            Tlsa(one.usage, one.selector, one.mtype, bytes(one.cert)) for one in records
        ], secure

    async def texts(self, name: str) -> Sequence[str]:
        """Return the TXT records; bytes that are not ASCII become U+FFFD."""
        parsed = _name(name)
        if parsed is None:
            return ()
        answer, _ = await self._ask(parsed, dns.rdatatype.TXT)
        return (
            []
            if answer is None
            else [b"".join(record.strings).decode("ascii", "replace") for record in answer]
        )

    async def records(self, name: str, kind: str) -> Sequence[str]:
        """Return the records of a type as text; see the port."""
        parsed = _name(name)
        if parsed is None:
            return []
        answer, _ = await self._ask(parsed, dns.rdatatype.from_text(kind))
        return [] if answer is None else sorted(_text(record) for record in answer)

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> _Answer:
        key = (name, kind)
        task = self._asking.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = self._asking[key] = asyncio.create_task(self._look_up(name, kind))
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)  # others may wait for it

    def _forget(
        self, key: tuple[dns.name.Name, dns.rdatatype.RdataType], done: asyncio.Task[_Answer]
    ) -> None:
        if self._asking.get(key) is done:
            del self._asking[key]
        if not done.cancelled():
            done.exception()  # all waiters may have been cancelled

    async def _look_up(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> _Answer:
        if kind is not dns.rdatatype.MX or self._is_kept(name, kind):
            return await self._resolve(name, kind)
        try:
            answer = await self._resolve(name, kind)
        except LookupFailed as failure:
            if self._exchangers.failed(name, str(failure)):
                _away.set(1)
            raise
        if self._exchangers.answered():
            _away.set(0)
        return answer

    def _is_kept(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> bool:
        cache = self._resolver.cache
        kinds = (kind, dns.rdatatype.ANY)  # a name that does not exist is kept as ANY
        return cache is not None and any(
            cache.get((name, each, dns.rdataclass.IN)) is not None for each in kinds
        )

    async def _resolve(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> _Answer:
        try:
            answer = await self._resolver.resolve(
                name, kind, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN as error:
            return None, self._is_secure(error.kwargs["responses"][name].flags)
        except dns.exception.Timeout:
            raise LookupFailed(_words(name, kind, "no name server answered in time")) from None
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise LookupFailed(_words(name, kind, _reason(error))) from None
        return answer, self._is_secure(answer.response.flags)

    def _is_secure(self, flags: int) -> bool:
        return self._use_dnssec and bool(flags & dns.flags.AD)


class _Cache(dns.resolver.LRUCache):
    """Caches nothing longer than a day, whatever its TTL."""

    def put(self, key: dns.resolver.CacheKey, value: dns.resolver.Answer) -> None:
        value.expiration = min(value.expiration, time.time() + _LONGEST_TTL)
        super().put(key, value)


def _name(text: str) -> dns.name.Name | None:
    """Return the absolute name; None for an invalid name, which cannot be queried."""
    try:
        return dns.name.from_text(text, dns.name.root, idna_codec=None) if text.isascii() else None
    except dns.exception.DNSException:
        return None


def _is_host(text: str) -> bool:
    """Return whether an MX may name it: not an IP address written as a name (RFC 5321 §5.1),
    nothing that would need escapes."""
    if not _HOST.match(text):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return True
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, dns.resolver.NoNameservers):
        errors = error.kwargs.get("errors") or []
        # the RCODE; anything else may disclose our servers
        if errors and isinstance(errors[-1][3], str):
            return f"the name servers answer {errors[-1][3]}"
        return "the name servers cannot be reached or give invalid answers"
    return f"the lookup failed ({type(error).__name__})"


def _words(name: dns.name.Name, kind: dns.rdatatype.RdataType, reason: str) -> str:
    return f"{dns.rdatatype.to_text(kind)} of {name.to_text(omit_final_dot=True)}: {reason}"


def _text(record: dns.rdata.Rdata) -> str:
    if isinstance(record, dns.rdtypes.txtbase.TXTBase):
        return b"".join(record.strings).decode("ascii", "replace")
    return " ".join(
        word if word == "." else word.removesuffix(".")
        for word in record.to_text().lower().split(" ")
    )
