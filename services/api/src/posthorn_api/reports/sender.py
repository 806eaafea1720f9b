"""Sends the reports of a day: DMARC aggregates (RFC 9990) to the domains whose mail was received,
TLS reports (RFC 8460) to those that mail was sent to. One API process at a time does.

Rules:

- A report is about a whole day (UTC), and is sent the day after. Only if the sending host's name is
  in one of our domains that has DKIM keys: an unsigned report is believed by nobody.
- A mailbox at another domain gets reports only if that domain consents (RFC 9990 §4). A lookup that
  fails postpones the domain to the next round, and two days later its figures are deleted.
- It goes through INGEST as any message does, with the null reverse-path: no bounce comes back. An
  address that refuses for good gets on the suppression list of the signing domain's tenant (the
  relay does that), and no more reports.
- A TLS report goes to HTTPS URLs too (``posting``). One that nobody took is tried again in the next
  round if the domain names no mailbox besides.
- The id of a message follows from day, domain and address, so that a repeat is the same message.
- Reports are bounded: rows beyond the limit are left out, the smallest first.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.dmarc_evaluation import reported
from posthorn.model.envelope import Envelope
from posthorn.model.own_message import own_message
from posthorn.model.verdict import ReportKind
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Ingest
from posthorn.ports.reports import ReportOutbox
from posthorn.ports.resolver import LookupFailed, Resolver
from posthorn.wire.auth.dmarc_record import parse_dmarc
from posthorn.wire.reports.destinations import consents, is_same_owner, tls_destinations
from posthorn.wire.reports.dmarc import DmarcReport, PublishedPolicy
from posthorn.wire.reports.dmarc_xml import compose_dmarc, file_name
from posthorn.wire.reports.messages import Sender, dmarc_message, tls_message
from posthorn.wire.reports.tls import TlsFailure, TlsPolicy, TlsReport, compose_tls
from posthorn_api.pending import Pending
from posthorn_api.reports.posting import SENT, ReportPoster

log = structlog.get_logger()

GENERATOR = "Posthorn"
MOST_RECORDS = 1000
"""Records of a report: some 100 KiB packed, below what is stored on the stream in one message."""
MOST_ADDRESSES = 3
"""Mailboxes, and URLs, that a domain's report is sent to."""
LEAD_SECONDS = 900.0
_ROUND_SECONDS = 600.0
_BATCH, _MOST_POSTPONED = 50, 1000
_READY_SECONDS = 1800
"""After midnight: what delivery counted for the day before is committed."""
_DAYS = 2
"""Days that are tried."""
_FORGET_ROWS, _FORGET_ROUNDS = 5000, 100

_sent = Counter("posthorn_api_reports_sent_total", "Reports sent, by kind", ["kind"])


@dataclass(frozen=True, slots=True)
class _Made:
    """A report that is to be sent."""

    addresses: Sequence[str]
    report_id: str
    name: str
    content: bytes
    urls: Sequence[str] = ()


class _NotTaken(Exception):
    """No place that the report was to go to took it."""


class ReportSender:
    """Sends reports; ``run`` is a supervised task."""

    def __init__(
        self,
        outbox: ReportOutbox,
        ingest: Pending[Ingest],
        resolver: Resolver,
        hostname: str,
        *,
        poster: ReportPoster | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._ingest = ingest
        self._resolver = resolver
        self._hostname = hostname.lower()
        self._poster = poster or ReportPoster()
        self._clock = clock

    async def run(self) -> None:
        """Send for ever, while no other process does."""
        while True:
            await asyncio.sleep(_ROUND_SECONDS * random.uniform(0.7, 1.3))  # noqa: S311 - spreads load
            try:
                if await self._outbox.lead(LEAD_SECONDS):
                    await self.round()
            except Unavailable as fault:
                log.warning("reports wait to be sent", fault=fault)

    async def round(self) -> int:
        """Send what is due and delete what is old; return the number of reports. Raises
        Unavailable."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        today, sent = now.date(), 0
        found = await self._outbox.signing_domain(self._hostname)
        self._poster.begin_round()
        if found is not None and now.hour * 3600 + now.minute * 60 >= _READY_SECONDS:
            sender, tenant = Sender(found[0], self._hostname), found[1]
            for back in range(_DAYS, 0, -1):
                for kind in (ReportKind.DMARC, ReportKind.TLS):
                    sent += await self._send_day(kind, today - timedelta(days=back), sender, tenant)
        for _ in range(_FORGET_ROUNDS):
            before = today - timedelta(days=_DAYS)
            if await self._outbox.forget(before, _FORGET_ROWS) < _FORGET_ROWS:
                break
        return sent

    async def _send_day(self, kind: ReportKind, day: date, sender: Sender, tenant: UUID) -> int:
        sent, postponed = 0, 0
        while domains := await self._outbox.due_domains(kind, day, _BATCH + postponed):
            fresh = domains[postponed:]
            for domain in fresh:
                try:
                    sent += await self._send(kind, day, domain, sender, tenant)
                except (LookupFailed, _NotTaken) as fault:
                    postponed += 1
                    log.info("a report waits", kind=kind.value, domain=domain, fault=fault)
            if (
                not fresh
                or postponed > _MOST_POSTPONED
                or not await self._outbox.lead(LEAD_SECONDS)
            ):
                break
        return sent

    async def _send(
        self, kind: ReportKind, day: date, domain: str, sender: Sender, tenant: UUID
    ) -> int:
        begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        if kind is ReportKind.DMARC:
            made = await self._dmarc(day, begin, domain, sender)
        else:
            made = await self._tls(day, begin, domain, sender)
        outcomes = await self._posted(kind, domain, made)
        suppressed = await self._outbox.suppressed(tenant, made.addresses)
        for address in made.addresses:
            if address in suppressed:
                outcomes.append((address, "suppressed", None))
                continue
            envelope, body = self._message(kind, begin, domain, address, made, sender, tenant)
            await self._ingest.get().accept(envelope, body)
            _sent.labels(kind.value).inc()
            outcomes.append((address, SENT, envelope.id))
            log.info("report sent", kind=kind.value, domain=domain, message=str(envelope.id))
        await self._outbox.done(kind, day, domain, outcomes or [("", "no address", None)])
        return sum(outcome == SENT for _, outcome, _ in outcomes)

    async def _posted(
        self, kind: ReportKind, domain: str, made: _Made
    ) -> list[tuple[str, str, UUID | None]]:
        """Post a report to its URLs; return the outcomes. Raises _NotTaken if it is to be tried
        again."""
        outcomes: list[tuple[str, str, UUID | None]] = []
        for url in made.urls:
            outcome = await self._poster.post(url, made.content)
            outcomes.append((url, outcome, None))
            if outcome == SENT:
                _sent.labels(kind.value).inc()
                log.info("report posted", kind=kind.value, domain=domain, url=url)
        if outcomes and not made.addresses and all(each[1] != SENT for each in outcomes):
            raise _NotTaken(outcomes[0][1])
        return outcomes

    async def _dmarc(self, day: date, begin: int, domain: str, sender: Sender) -> _Made:
        counted = await self._outbox.dmarc_day(day, domain)
        by_record: Tally[str] = Tally()
        for record, _, messages in counted.rows:
            by_record[record] += messages
        text = by_record.most_common(1)[0][0] if by_record else ""
        policy = parse_dmarc(text.encode("ascii", "replace"))
        if policy is None:
            return _Made((), "", "", b"")
        addresses: list[str] = []
        for address in policy.report_to:
            if len(addresses) < MOST_ADDRESSES and await self._may_get(domain, address):
                addresses.append(address)
        report_id = f"{domain}.{begin}.{sender.domain}"
        report = DmarcReport(
            sender.domain,
            sender.address,
            report_id,
            begin,
            begin + 86399,
            PublishedPolicy(
                domain=domain,
                p=(policy.policy or "none"),
                sp=(policy.subdomain_policy or ""),
                np=(policy.nonexistent_policy or ""),
                adkim="s" if policy.strict_dkim else "r",
                aspf="s" if policy.strict_spf else "r",
                testing="y" if policy.is_testing else "n",
                discovery_method="treewalk",
            ),
            tuple(reported(facts, messages) for _, facts, messages in counted.rows[:MOST_RECORDS]),
            generator=GENERATOR,
        )
        return _Made(addresses, report_id, file_name(sender.domain, report), compose_dmarc(report))

    async def _may_get(self, domain: str, address: str) -> bool:
        """Return whether the mailbox may get reports about the domain. Raises LookupFailed."""
        host = address.rpartition("@")[2].lower()
        if host == domain or host.endswith(f".{domain}"):
            return True
        if domain.endswith(f".{host}"):
            texts = await self._resolver.texts(f"_dmarc.{host}")
            if is_same_owner(domain, host, texts):
                return True
        return consents(await self._resolver.texts(f"{domain}._report._dmarc.{host}"))

    async def _tls(self, day: date, begin: int, domain: str, sender: Sender) -> _Made:
        wanted = tls_destinations(await self._resolver.texts(f"_smtp._tls.{domain}"))
        if not (wanted.mailboxes or wanted.urls):
            return _Made((), "", "", b"")
        rows = (await self._outbox.tls_day(day, domain)).rows
        policies = []
        for kind in dict.fromkeys(row[0] for row in rows):
            own = [row for row in rows if row[0] == kind]
            failures = [row for row in own if row[1]]
            policies.append(
                TlsPolicy(
                    kind,
                    domain,
                    sum(row[3] for row in own if not row[1]),
                    sum(row[3] for row in failures),
                    tuple(
                        TlsFailure(result, sessions, receiving_host=host)
                        for _, result, host, sessions in failures
                    ),
                )
            )
        report_id = f"{domain}.{begin}.{sender.domain}"
        report = TlsReport(
            sender.domain,
            f"mailto:{sender.address}",
            report_id,
            begin,
            begin + 86399,
            tuple(policies),
        )
        name = f"{sender.domain}!{domain}!{begin}!{begin + 86399}!001.json.gz"
        return _Made(
            wanted.mailboxes[:MOST_ADDRESSES],
            report_id,
            name,
            compose_tls(report),
            wanted.urls[:MOST_ADDRESSES],
        )

    def _message(
        self,
        kind: ReportKind,
        begin: int,
        domain: str,
        address: str,
        made: _Made,
        sender: Sender,
        tenant: UUID,
    ) -> tuple[Envelope, bytes]:
        now, identity = self._clock(), report_message_id(kind, begin, domain, address)
        write = dmarc_message if kind is ReportKind.DMARC else tls_message
        content = write(
            sender,
            address,
            about=domain,
            report_id=made.report_id,
            message_id=str(identity),
            at=now,
            name=made.name,
            content=made.content,
        )
        return own_message(identity, now, address, content, signer=sender.domain, tenant=tenant)


def report_message_id(kind: ReportKind, begin: int, domain: str, address: str) -> UUID:
    """Return the id of the message: a UUIDv7 of the end of the day that it is about, always the
    same."""
    digest = hashlib.sha256(f"{kind.value} {begin} {domain} {address}".encode()).digest()
    chance = int.from_bytes(digest[:10])
    return UUID(
        int=(begin + 86400) * 1000 << 80
        | 0x7 << 76
        | (chance >> 64 & 0xFFF) << 64
        | 0b10 << 62
        | chance & ((1 << 62) - 1)
    )
