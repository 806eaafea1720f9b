"""Reports that mailboxes receive: noted by delivery, read once, shown as figures to their tenant."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.reports.inbox import PostgresReportInbox
from posthorn.model.blob_range import BlobRange
from posthorn.model.events import COMPLAINED
from posthorn.model.verdict import ReportKind
from posthorn.ports import reports as ports
from posthorn.ports.api_keys import Role
from posthorn.ports.blobs import Blobs
from posthorn.ports.segments import SegmentMessage
from posthorn.wire.reports.dmarc import DmarcRecord
from posthorn_api.reports.reader import ReportReader
from tests.support.api import Api
from tests.support.builders import make_segment
from tests.support.databases import pool
from tests.support.events import RecordedEvents
from tests.support.reports import complaint_body, dmarc_body, report_message, tls_body

pytestmark = pytest.mark.usefixtures("accounts")


class _Reports:
    """The way of a report from delivery to the figures."""

    def __init__(self, api: Api, blobs: Blobs, database: Database) -> None:
        self.api, self.blobs, self.database = api, blobs, database
        self.recorded = RecordedEvents()
        self.inbox = PostgresReportInbox(database)
        self.reader = ReportReader(self.inbox, SegmentReader(blobs), self.recorded)

    async def account(self, address: str = "alice@example.test") -> int:
        (row,) = await self.api.sql("SELECT id FROM accounts WHERE address = $1", address)
        number: int = row["id"]
        return number

    async def deliver(self, message: SegmentMessage, body: bytes) -> UUID:
        segment = make_segment([replace(message, blob_range=BlobRange(0, len(body)))])
        await self.blobs.put(segment.key, [body])
        mailboxes = PostgresMailboxes(self.database)
        await mailboxes.deliver([segment])
        await mailboxes.deliver([segment])  # a redelivery notes nothing twice
        return message.envelope.id

    async def receive(
        self,
        kind: ReportKind,
        body: bytes,
        *,
        author: str = "provider.test",
        to: str = "alice@example.test",
    ) -> tuple[str, str]:
        """Deliver a report and read it; return its state and the reason."""
        message = report_message(await self.account(to), kind, body, author=author)
        identity = await self.deliver(message, body)
        await self.reader.read_waiting()
        (row,) = await self.api.sql(
            "SELECT state, detail, due_at FROM received_reports WHERE message_id = $1", identity
        )
        assert row["due_at"] is None
        return row["state"], row["detail"]


@pytest.fixture
async def reports(api: Api, blobs: Blobs, database_url: str) -> AsyncIterator[_Reports]:
    async with pool(database_url) as database:
        yield _Reports(api, blobs, database)


def _record(source: str = "192.0.2.7", count: int = 5, dkim: str = "pass") -> DmarcRecord:
    return DmarcRecord(source, count, "none", dkim, "fail", header_from="example.test")


async def test_dmarc_reports_become_figures_by_source_once_and_marked_when_not_believed(
    reports: _Reports,
) -> None:
    yesterday = int(time.time()) - 86400
    body = dmarc_body("example.test", [_record(), _record("192.0.2.8", 1, "fail")], begin=yesterday)
    assert await reports.receive(ReportKind.DMARC, body) == ("read", "")
    assert (await reports.receive(ReportKind.DMARC, body))[0] == "duplicate"
    # a stranger's report with the same id neither counts as the provider's nor stops it
    assert (await reports.receive(ReportKind.DMARC, body, author=""))[0] == "read"
    more = dmarc_body("example.test", [_record(count=2)], report_id="r2", begin=yesterday)
    assert (await reports.receive(ReportKind.DMARC, more))[0] == "read"

    url = "/v1/domains/example.test/reports/dmarc"
    answer = (await reports.api.client.get(url, params={"limit": 1})).json()
    [first] = answer["items"]
    day = datetime.fromtimestamp(yesterday, UTC).date().isoformat()
    assert first == {
        "source": "192.0.2.7",
        "reporter": "provider.test",
        "believed": True,
        "disposition": "none",
        "dkim_aligned": True,
        "spf_aligned": False,
        "messages": 7,
        "first_day": day,
        "last_day": day,
    }
    rest = (
        await reports.api.client.get(url, params={"cursor": answer["next_cursor"], "limit": 5})
    ).json()["items"]
    assert [(each["reporter"], each["believed"], each["messages"]) for each in rest] == [
        ("Provider Inc.", False, 5),
        ("Provider Inc.", False, 1),
        ("provider.test", True, 1),
    ]
    far = (datetime.now(UTC) - timedelta(days=50)).date().isoformat()
    none = await reports.api.client.get(url, params={"since": far, "until": far})
    assert none.json()["items"] == []
    wrong = await reports.api.client.get(url, params={"since": day, "until": far})
    assert wrong.status_code == 422


async def test_what_cannot_be_read_is_closed_with_the_reason(reports: _Reports) -> None:
    state, why = await reports.receive(ReportKind.DMARC, b"From: a@b.test\r\n\r\nunused\r\n")
    assert (state, why) == ("failed", "the message has no attachment with an aggregate report")
    other = dmarc_body("somebody.test", [_record()])
    state, why = await reports.receive(ReportKind.DMARC, other)
    assert (state, why) == ("failed", "somebody.test is not a domain of this tenant")
    old = dmarc_body("example.test", [_record()], begin=1_000_000_000)
    assert await reports.receive(ReportKind.DMARC, old) == (
        "failed",
        "the report is about days long past",
    )
    body = tls_body("example.test")
    message = report_message(await reports.account(), ReportKind.TLS, body)
    await reports.deliver(message, body)
    await reports.api.sql("UPDATE messages SET segment_id = NULL")
    await reports.reader.read_waiting()
    (row,) = await reports.api.sql(
        "SELECT state, detail FROM received_reports WHERE message_id = $1", message.envelope.id
    )
    assert tuple(row) == ("failed", "its message was deleted before it was read")


async def test_a_report_whose_body_cannot_be_read_now_waits_and_holds_up_no_other(
    reports: _Reports,
) -> None:
    body = dmarc_body("example.test", [_record()])
    lost = report_message(await reports.account(), ReportKind.DMARC, body)
    await PostgresMailboxes(reports.database).deliver([make_segment([lost])])  # without its blob
    assert (await reports.receive(ReportKind.DMARC, body))[0] == "read"
    (row,) = await reports.api.sql(
        "SELECT state, attempts, due_at > now() AS later FROM received_reports WHERE message_id = $1",
        lost.envelope.id,
    )
    assert tuple(row) == ("waiting", 1, True)


async def test_rows_of_a_day_are_bounded_and_nothing_is_lost_of_the_sums(
    reports: _Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorn.adapters.postgres.reports.inbox.MOST_ROWS", 3)
    records = [_record(f"192.0.2.{number}", number) for number in range(1, 11)]
    await reports.receive(ReportKind.DMARC, dmarc_body("example.test", records))
    await reports.receive(ReportKind.DMARC, dmarc_body("example.test", records[:2], report_id="r2"))
    figures = (await reports.api.client.get("/v1/domains/example.test/reports/dmarc")).json()
    counts = {each["source"]: each["messages"] for each in figures["items"]}
    assert counts == {"": 28 + 3, "192.0.2.10": 10, "192.0.2.9": 9, "192.0.2.8": 8}


async def test_tls_reports_become_figures_of_the_domains_that_are_ours(reports: _Reports) -> None:
    assert await reports.receive(ReportKind.TLS, tls_body("example.test")) == ("read", "")
    assert (await reports.receive(ReportKind.TLS, tls_body("example.test")))[0] == "duplicate"
    found = (await reports.api.client.get("/v1/domains/example.test/reports/tls")).json()["items"]
    assert [(each["result_type"], each["sessions"]) for each in found] == [
        ("certificate-expired", 2),
        ("unknown", 1),
        (None, 7),
    ]
    assert found[0]["receiving_host"] == "mx.example.test"


async def test_a_believed_complaint_suppresses_its_recipient_once_and_raises_an_event(
    reports: _Reports,
) -> None:
    sent = await reports.api.enter("Reader@provider.test", "other@provider.test")
    body = complaint_body(sent, recipient="reader@provider.test")
    # an unbelieved one is noted, and does nothing
    await reports.receive(ReportKind.ABUSE, body, author="")
    assert (await reports.api.client.get("/v1/suppressions")).json()["items"] == []
    assert await reports.receive(ReportKind.ABUSE, body) == ("read", "")
    [entry] = (await reports.api.client.get("/v1/suppressions")).json()["items"]
    assert (entry["address"], entry["source"]) == ("reader@provider.test", "complaint")
    assert entry["message"] == str(sent)
    assert entry["reason"] == "a complaint (abuse) from provider.test"
    [event] = reports.recorded.events
    assert (event.message, event.kind) == (sent, COMPLAINED)
    assert event.detail["recipient"] == "Reader@provider.test"
    listed = (await reports.api.client.get("/v1/complaints?domain=example.test")).json()["items"]
    assert [(each["believed"], each["suppressed"]) for each in listed] == [(True, True)]
    listed = (await reports.api.client.get("/v1/complaints")).json()["items"]
    assert [each["suppressed"] for each in listed] == [True, False]


async def test_a_complaint_suppresses_nobody_it_does_not_surely_come_from(
    reports: _Reports,
) -> None:
    sent = await reports.api.enter("list@lists.test")
    for body in (
        complaint_body(sent, recipient="member@provider.test", to="list@lists.test"),
        complaint_body(None, recipient="list@lists.test"),
        complaint_body(sent, kind="not-spam", recipient="list@lists.test"),
    ):
        await reports.receive(ReportKind.ABUSE, body)
    assert (await reports.api.client.get("/v1/suppressions")).json()["items"] == []
    # an only recipient is known even if its address is disguised, or not told at all
    disguised = await reports.api.enter("reader@provider.test")
    await reports.receive(
        ReportKind.ABUSE, complaint_body(disguised, recipient="redacted@provider.test")
    )
    await reports.receive(ReportKind.ABUSE, complaint_body(await reports.api.enter("x@micro.test")))
    found = (await reports.api.client.get("/v1/suppressions")).json()["items"]
    assert [each["address"] for each in found] == ["reader@provider.test", "x@micro.test"]


async def test_of_several_recipients_a_complaint_suppresses_only_one_of_its_own_domain(
    reports: _Reports,
) -> None:
    names = ("mallory@stranger.test", "a@provider.test", "b@mail.provider.test", "c@else.test")
    sent = await reports.api.enter(*names)

    async def complain(recipient: str, author: str) -> None:
        body = complaint_body(sent, recipient=recipient)
        assert await reports.receive(ReportKind.ABUSE, body, author=author) == ("read", "")

    for author in (
        "stranger.test",
        "notprovider.test",
        "ovider.test",
        "provider.test.stranger.test",
    ):
        await complain("a@provider.test", author)
    assert (await reports.api.client.get("/v1/suppressions")).json()["items"] == []
    events = reports.recorded.events
    assert {each.kind for each in events} == {COMPLAINED}
    assert [(each.message, each.detail["suppressed"]) for each in events] == [(sent, False)] * 4
    listed = (await reports.api.client.get("/v1/complaints")).json()["items"]
    assert {(each["believed"], each["suppressed"]) for each in listed} == {(True, False)}
    await complain("a@provider.test", "arf.mail.provider.test")
    await complain("b@mail.provider.test", "provider.test")
    reports.inbox = PostgresReportInbox(reports.database, None, ["loops.test"])
    reports.reader = ReportReader(reports.inbox, SegmentReader(reports.blobs), reports.recorded)
    await complain("c@else.test", "loops.test")
    found = (await reports.api.client.get("/v1/suppressions")).json()["items"]
    assert [each["address"] for each in found] == [*names[1:]]
    assert [each.detail["suppressed"] for each in events[4:]] == [True] * 3


async def test_tenants_see_their_own_reports_only_and_cannot_write_into_others(
    reports: _Reports,
) -> None:
    api = reports.api
    other = await api.tenant("other")
    await api.domain("other.test", tenant="other")
    await api.account("eve@other.test")
    body = dmarc_body("example.test", [_record()])
    state, _ = await reports.receive(ReportKind.DMARC, body, to="eve@other.test")
    assert state == "failed"
    await reports.receive(ReportKind.DMARC, body)
    # the operator's own mailbox, which all domains may name, gets reports about every tenant's
    theirs = dmarc_body("other.test", [_record()])
    assert (await reports.receive(ReportKind.DMARC, theirs))[0] == "failed"
    inbox = PostgresReportInbox(reports.database, "alice@example.test")
    reports.reader = ReportReader(inbox, SegmentReader(reports.blobs), reports.recorded)
    assert (await reports.receive(ReportKind.DMARC, theirs))[0] == "read"
    assert (await reports.receive(ReportKind.DMARC, body, to="eve@other.test"))[0] == "failed"
    sent = await api.enter("reader@provider.test")
    # a complaint is the affair of who sent the message, whoever receives it
    await reports.receive(ReportKind.ABUSE, complaint_body(sent), to="eve@other.test")
    eve = await api.key(Role.READ_ONLY, other)
    for url in ("dmarc", "tls"):
        hidden = await api.client.get(f"/v1/domains/example.test/reports/{url}", headers=eve)
        assert hidden.status_code == 404
    assert (await api.client.get("/v1/complaints", headers=eve)).json()["items"] == []
    assert len((await api.client.get("/v1/complaints")).json()["items"]) == 1


async def test_old_figures_are_forgotten_and_those_of_a_deleted_domain_go_with_it(
    reports: _Reports,
) -> None:
    await reports.receive(ReportKind.DMARC, dmarc_body("example.test", [_record()]))
    await reports.receive(ReportKind.TLS, tls_body("example.test"))
    await reports.receive(ReportKind.ABUSE, complaint_body(None))
    assert await reports.inbox.forget(ports.KEPT_DAYS, 100) == 0
    await reports.api.sql("UPDATE dmarc_report_sources SET day = day - 401")
    await reports.api.sql("UPDATE complaints SET created_at = created_at - interval '401 days'")
    await reports.api.sql(
        "UPDATE received_reports SET created_at = created_at - interval '401 days'"
    )
    assert await reports.inbox.forget(ports.KEPT_DAYS, 100) == 5
    await reports.api.sql("DELETE FROM mailbox_entries")
    for address in ("alice", "bob"):
        await reports.api.client.delete(f"/v1/accounts/{address}@example.test")
    assert (await reports.api.client.delete("/v1/domains/example.test")).status_code == 204
    assert await reports.api.sql("SELECT FROM tls_report_results") == []
