"""Reports that are sent: counted with the delivery of a message, sent once, to those who may get
them, in a form that our own readers understand."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.reports import noting
from posthorn.adapters.postgres.reports.outbox import PostgresReportOutbox
from posthorn.model.envelope import Envelope
from posthorn.model.ip_addresses import AddressPolicy
from posthorn.model.verdict import ReportKind, Verdict
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Ingest
from posthorn.ports.segments import SegmentMessage
from posthorn.wire.auth.results import Authentication, Dkim, Dmarc, Outcome, Policy, Spf
from posthorn.wire.reports.reading import find_dmarc, find_tls
from posthorn_api.pending import Pending
from posthorn_api.reports.posting import ReportPoster
from posthorn_api.reports.sender import ReportSender, report_message_id
from posthorn_local.certificate import ensure_certificate
from tests.support.api import Api
from tests.support.builders import make_message, make_segment
from tests.support.databases import pool
from tests.support.hook_receiver import HookReceiver

pytestmark = pytest.mark.usefixtures("accounts")

LOOPBACK = AddressPolicy((IPv4Network("127.0.0.0/8"),))
_RECORD = "v=DMARC1; p=reject; sp=none; adkim=s; rua=mailto:dmarc@author.test"


class _Taken:
    """What was published; the stream may be full for a while."""

    def __init__(self) -> None:
        self.messages: list[tuple[Envelope, bytes]] = []
        self.is_full = False

    async def accept(self, envelope: Envelope, body: bytes | None) -> None:
        if self.is_full:
            raise Unavailable("nats", "away")
        assert body is not None
        self.messages.append((envelope, body))

    async def probe(self) -> None:
        return


class _Sending:
    def __init__(self, api: Api, database: Database, at: datetime) -> None:
        self.api, self.database = api, database
        self.taken = _Taken()
        ingest: Pending[Ingest] = Pending("nats")
        ingest.set(self.taken)
        self.outbox = PostgresReportOutbox(database)
        self.now = at
        self.sender = ReportSender(
            self.outbox,
            ingest,
            DnsResolver([api.dns.address], lifetime=4, keep=False),
            "mx.example.test",
            poster=ReportPoster(LOOPBACK),
            clock=lambda: self.now.timestamp(),
        )

    async def deliver(self, *messages: SegmentMessage) -> None:
        mailboxes = PostgresMailboxes(self.database)
        segment = make_segment(messages)
        await mailboxes.deliver([segment])
        await mailboxes.deliver([segment])  # a redelivery counts nothing twice

    async def message(
        self, dmarc: Dmarc, *, source: str = "192.0.2.7", **verdict: object
    ) -> SegmentMessage:
        (row,) = await self.api.sql("SELECT id FROM accounts WHERE address = 'alice@example.test'")
        made = make_message([row["id"]], reverse_path="Bounce@Mail.Author.test")
        authentication = Authentication(
            spf=(Spf(Outcome.PASS, "mailfrom", "mail.author.test"),),
            dkim=(Dkim(Outcome.PASS, "author.test", "s1"), Dkim(Outcome.FAIL, "", "")),
            dmarc=dmarc,
        )
        found = Verdict(0.0, authentication, **verdict)  # type: ignore[arg-type]
        return replace(made, envelope=replace(made.envelope, client_address=source, verdict=found))

    async def midnight(self, days: int = 1) -> None:
        """Make what was counted today a matter of so many days ago."""
        for table in ("dmarc_evaluations", "tls_outcomes"):
            await self.api.sql(
                f"UPDATE {table} SET day = $1",
                self.now.date() - timedelta(days=days),
            )

    async def sent(self) -> list[tuple[str, str, str]]:
        rows = await self.api.sql(
            "SELECT domain, destination, outcome FROM sent_reports ORDER BY 1, 2"
        )
        return [tuple(row) for row in rows]


def _passed(record: str = _RECORD, domain: str = "author.test") -> Dmarc:
    return Dmarc(
        Outcome.PASS,
        domain=domain,
        record_domain=domain,
        published=Policy.REJECT,
        applied=Policy.NONE,
        dkim_aligned=True,
        report_to=("dmarc@author.test",),
        record=record,
    )


@pytest.fixture
async def sending(api: Api, database_url: str) -> AsyncIterator[_Sending]:
    url = "/v1/domains/example.test/dkim/rotate"
    answer = await api.client.post(url, json={"algorithms": ["ed25519"]})
    assert answer.is_success
    now = datetime.now(UTC).replace(hour=6)
    async with pool(database_url) as database:
        yield _Sending(api, database, now)


async def test_what_was_counted_is_sent_once_and_reads_back(sending: _Sending) -> None:
    failed = replace(_passed(), outcome=Outcome.FAIL, dkim_aligned=False)
    await sending.deliver(
        *[await sending.message(_passed()) for _ in range(3)],
        await sending.message(replace(failed, applied=Policy.REJECT)),
        await sending.message(
            replace(failed, applied=Policy.REJECT), source="2001:db8::5", trusted_sealer="seal.test"
        ),
    )
    assert await sending.sender.round() == 0  # the day is not over
    await sending.midnight()
    sending.taken.is_full = True
    with pytest.raises(Unavailable):
        await sending.sender.round()
    sending.taken.is_full = False
    assert await sending.sender.round() == 1
    assert await sending.sender.round() == 0
    assert await sending.sent() == [("author.test", "dmarc@author.test", "sent")]

    [(envelope, body)] = sending.taken.messages
    yesterday = sending.now.date() - timedelta(days=1)
    begin = int(datetime(yesterday.year, yesterday.month, yesterday.day, tzinfo=UTC).timestamp())
    assert envelope.id == report_message_id(
        ReportKind.DMARC, begin, "author.test", "dmarc@author.test"
    )
    # signed, without a way back, and marked as automatic
    assert (envelope.role, envelope.reverse_path, envelope.signer) == ("send", "", "example.test")
    assert b"\r\nAuto-Submitted: auto-generated\r\n" in body
    assert (
        b"Subject: Report Domain: author.test\r\n\tSubmitter: example.test\r\n\tReport-ID: <"
        in body
    )
    report = find_dmarc(body)
    assert (report.reporter, report.begin, report.end) == ("example.test", begin, begin + 86399)
    assert report.generator == "Posthorn"
    policy = report.policy
    assert (policy.domain, policy.p, policy.sp, policy.adkim) == (
        "author.test",
        "reject",
        "none",
        "s",
    )
    assert (policy.testing, policy.discovery_method) == ("n", "treewalk")
    first, *others = report.records
    assert (first.source, first.count, first.disposition) == ("192.0.2.7", 3, "pass")
    assert (first.dkim, first.spf, first.envelope_from) == ("pass", "fail", "mail.author.test")
    assert [(each.domain, each.selector) for each in first.dkim_results] == [("author.test", "s1")]
    assert {each.source: (each.disposition, each.reasons[0].type) for each in others} == {
        "192.0.2.7": ("quarantine", "local_policy"),
        "2001:db8::5": ("none", "trusted_forwarder"),
    }


async def test_trap_26_nothing_is_counted_without_a_wish_for_it_or_of_reports(
    sending: _Sending,
) -> None:
    none = replace(_passed(), report_to=())
    unsure = replace(_passed(), outcome=Outcome.TEMPERROR)
    own = await sending.message(_passed())
    await sending.deliver(
        await sending.message(none),
        await sending.message(unsure),
        await sending.message(_passed(), report=ReportKind.DMARC),
        replace(own, envelope=replace(own.envelope, role="submission")),
        make_message(own.accounts),
    )
    assert await sending.api.sql("SELECT FROM dmarc_evaluations") == []
    quiet = PostgresMailboxes(sending.database, counts_dmarc=False)
    await quiet.deliver([make_segment([await sending.message(_passed())])])
    assert await sending.api.sql("SELECT FROM dmarc_evaluations") == []


async def test_nothing_a_stranger_writes_keeps_a_message_from_being_delivered(
    sending: _Sending,
) -> None:
    made = await sending.message(_passed())
    verdict = made.envelope.verdict
    assert verdict is not None
    odd = replace(verdict.authentication, dkim=(Dkim(Outcome.FAIL, "a\0.test", "s\ud800"),))
    verdict = replace(verdict, authentication=odd)
    await sending.deliver(replace(made, envelope=replace(made.envelope, verdict=verdict)))
    (row,) = await sending.api.sql("SELECT facts FROM dmarc_evaluations")
    assert json.loads(row["facts"])["dkims"] == [["a?.test", "s?", "fail"]]


async def test_rows_of_a_domain_and_day_are_bounded(
    sending: _Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        noting, "_COUNT", noting._COUNT.replace(f"OFFSET {noting.MOST_ROWS - 1}", "OFFSET 2")
    )
    for number in range(6):
        await sending.deliver(
            await sending.message(_passed(), source=f"192.0.2.{number}"),
            await sending.message(_passed(), source="192.0.2.0"),
        )
    rows = await sending.api.sql(
        "SELECT facts, sum(messages) AS n FROM dmarc_evaluations GROUP BY 1"
    )
    counts = {json.loads(row["facts"])["ip"]: row["n"] for row in rows}
    assert counts == {"192.0.2.0": 7, "192.0.2.1": 1, "192.0.2.2": 1}


async def test_another_domain_gets_reports_only_with_its_consent(sending: _Sending) -> None:
    dns = sending.api.dns
    record = (
        "v=DMARC1; p=none; rua=mailto:a@reports.test,mailto:b@victim.test,mailto:c@in.author.test"
    )
    await sending.deliver(await sending.message(_passed(record)))
    await sending.midnight()
    dns.add("author.test._report._dmarc.reports.test", "TXT", '"v=DMARC1;"')
    dns.fail("author.test._report._dmarc.victim.test", "TXT")
    assert await sending.sender.round() == 0  # a lookup failed: nothing is sent yet
    dns.fail("author.test._report._dmarc.victim.test", "TXT", None)
    assert await sending.sender.round() == 2
    assert [envelope.recipients for envelope, _ in sending.taken.messages] == [
        ("a@reports.test",),
        ("c@in.author.test",),
    ]


async def test_trap_26_an_address_that_refused_gets_no_more_and_old_counts_are_deleted(
    sending: _Sending,
) -> None:
    await sending.api.sql(
        "INSERT INTO suppressions (tenant_id, address, reason, source)"
        " SELECT id, 'dmarc@author.test', '550 5.1.1', 'bounce' FROM tenants WHERE name = 'default'"
    )
    await sending.deliver(await sending.message(_passed()))
    await sending.midnight()
    assert await sending.sender.round() == 0
    assert await sending.sent() == [("author.test", "dmarc@author.test", "suppressed")]
    await sending.midnight(days=3)
    await sending.sender.round()
    assert await sending.api.sql("SELECT FROM dmarc_evaluations") == []


async def test_without_keys_of_the_hosts_domain_nothing_is_sent(sending: _Sending) -> None:
    await sending.deliver(await sending.message(_passed()))
    await sending.midnight()
    await sending.api.sql("DELETE FROM dkim_keys")
    assert await sending.sender.round() == 0
    assert await sending.sent() == []


async def test_tls_reports_go_to_who_asks_for_them(sending: _Sending) -> None:
    day = sending.now.date() - timedelta(days=1)
    for domain, result, count in (
        ("far.test", "", 7),
        ("far.test", "certificate-expired", 2),
        ("silent.test", "", 4),
    ):
        await sending.api.sql(
            "INSERT INTO tls_outcomes (day, domain, policy_type, result_type, receiving_host, sessions)"
            " VALUES ($1, $2, 'sts', $3, 'mx.far.test', $4)",
            *(day, domain, result, count),
        )
    sending.api.dns.add("_smtp._tls.far.test", "TXT", '"v=TLSRPTv1; rua=mailto:tls@far.test"')
    assert await sending.sender.round() == 1
    [(envelope, body)] = sending.taken.messages
    assert envelope.recipients == ("tls@far.test",)
    assert b"\r\nTLS-Report-Domain: far.test\r\nTLS-Report-Submitter: example.test\r\n" in body
    report = find_tls(body)
    [policy] = report.policies
    assert (policy.domain, policy.successes, policy.failures) == ("far.test", 7, 2)
    assert policy.details[0].result_type == "certificate-expired"
    assert isinstance(day, date)


async def test_tls_reports_are_posted_until_somebody_takes_them(
    sending: _Sending, tmp_path: Path
) -> None:
    ensure_certificate(tmp_path)  # of nobody's: RFC 8460 allows that (§3)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    day = sending.now.date() - timedelta(days=1)
    for domain in ("far.test", "both.test", "inside.test"):
        await sending.api.sql(
            "INSERT INTO tls_outcomes (day, domain, policy_type, result_type, receiving_host, sessions)"
            " VALUES ($1, $2, 'sts', '', 'mx.far.test', 7)",
            *(day, domain),
        )
    async with HookReceiver(tls=server) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/tls?a=1"
        names = {"far": url, "both": f"{url},mailto:tls@both.test", "inside": "https://10.1.2.3/"}
        for name, rua in names.items():
            sending.api.dns.add(f"_smtp._tls.{name}.test", "TXT", f'"v=TLSRPTv1; rua={rua}"')
        receiver.answer = lambda _: b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n"
        assert await sending.sender.round() == 1, "the mailbox got it"
        assert [each.recipients for each, _ in sending.taken.messages] == [("tls@both.test",)]
        receiver.answer = lambda _: b"HTTP/1.1 201 kept\r\nContent-Length: 0\r\n\r\n"
        assert await sending.sender.round() == 1
        assert await sending.sender.round() == 0
    assert [each.path for each in receiver.received] == ["/tls?a=1"] * 3
    taken = receiver.received[-1]
    assert taken.headers["content-type"] == "application/tlsrpt+gzip"
    document = json.loads(gzip.decompress(taken.body))
    assert document["policies"][0]["policy"]["policy-domain"] == "far.test"
    assert await sending.sent() == [
        ("both.test", url, "answered with 503"),
        ("both.test", "tls@both.test", "sent"),
        ("far.test", url, "sent"),
    ], "an address inside is never connected to, and asked for in vain"
