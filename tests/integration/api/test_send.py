"""Sending over the REST API: what the message looks like, who may send it to whom, and that a
repeat is the same message."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import hashlib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import httpx
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_backlog import measure_backlog
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.notifications import NatsNotifier
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.model.directory_entry import AddressEntry, DomainEntry, RecipientStatus
from posthorn.model.envelope import Record, decode_record
from posthorn.ports.api_keys import Role
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Limits, RateLimitSubject, sent_message
from posthorn.wire.message.submission import QUOTE_IT, authors_of
from posthorn_api.sending.service import SendingLimits
from posthorn_local.embedded import Nats
from tests.support.api import Api, problem, running_api
from tests.support.databases import pool
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, until

SIMPLE = {
    "from": "alice@example.test",
    "to": ["friend@example.org"],
    "subject": "Hello",
    "text": "Dear friend\n",
}
KEY = {"Idempotency-Key": "the-first"}
LIMITS = SendingLimits(
    "mail.example.test",
    max_size=3_000_000,
    max_recipients=5,
    messages_per_hour=50,
    account=Limits(None, 8),
)


@pytest.fixture
def api_options() -> dict[str, Any]:
    return {"limits": LIMITS}


@pytest.fixture
async def api(api: Api, connection: Connection) -> AsyncIterator[Api]:
    await api.domain()
    for name in ("alice", "bob"):
        await api.account(f"{name}@example.test")
    await api.alias("sales@example.test", "alice@example.test")
    await fill(
        connection, alice="deliverable", bob="deliverable", full="over-quota", away="suspended"
    )
    async with NatsDirectory(connection) as directory, NatsEvents(connection) as events:
        api.directory.set(directory)
        api.ingest.set(NatsIngest(connection))
        api.trace.set(NatsTrace(connection))
        api.hints.set(NatsNotifier(connection), events)
        yield api


async def fill(connection: Connection, **standings: str) -> None:
    bucket = NatsDirectoryBucket(connection)
    await bucket.put("@example.test", DomainEntry(None, plus_addressing=True))
    for name, standing in standings.items():
        await bucket.put(f"{name}@example.test", AddressEntry(RecipientStatus(standing)))
    await bucket.mark_filled()


async def records(connection: Connection) -> list[Record]:
    """What lies on the ingest stream."""
    waiting = (await measure_backlog(connection)).messages
    found: list[Record] = []
    async with NatsIngestSource(connection) as source:
        while len(found) < waiting:
            found += [decode_record(each.octets) for each in await source.take(100, 1 << 24)]
    return found


def read(octets: bytes) -> EmailMessage:
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def base64_of(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


async def sent(
    api: Api, connection: Connection, document: dict[str, Any]
) -> tuple[Record, EmailMessage]:
    answer = await api.client.post("/v1/send", json=document)
    assert answer.status_code == 202, answer.text
    (record,) = await records(connection)
    assert record.body is not None
    return record, read(record.body)


async def test_a_composed_message_is_kept_with_all_its_parts(
    api: Api, connection: Connection
) -> None:
    document = {
        "from": "Alice Müller <alice@example.test>",
        "to": ["Friend <Some.Friend@Example.ORG>", "bob@example.test"],
        "cc": ['"Last, First" <cc@example.org>'],
        "bcc": ["Hidden@example.org"],
        "reply_to": ["sales@example.test"],
        "subject": "Grüße für 20 €",
        "text": "Schöne Grüße\n.\nFrom the start\n",
        "html": '<p>Schöne Grüße <img src="cid:logo"></p>',
        "headers": {
            "In-Reply-To": "<1@example.org>",
            "X-Note": "für dich",
            "X-Long": "<a@b> " * 40,
        },
        "attachments": [
            {
                "filename": "über.pdf",
                "content_type": "application/pdf",
                "content": base64_of(b"%PDF\r\n\0\xff"),
            },
            {"content_type": "image/png", "content": base64_of(b"\x89PNG"), "content_id": "logo"},
        ],
    }
    answer = await api.client.post("/v1/send", json=document)
    assert answer.status_code == 202, answer.text
    number = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/messages/{number}/trace"
    recipients = [
        "Some.Friend@example.org",
        "bob@example.test",
        "cc@example.org",
        "Hidden@example.org",
    ]
    assert answer.json()["recipients"] == recipients

    (record,) = await records(connection)
    envelope, body = record.envelope, record.body
    assert body is not None
    assert (str(envelope.id), list(envelope.recipients)) == (number, recipients)
    assert (envelope.reverse_path, envelope.role, envelope.submitter) == (
        "alice@example.test",
        "send",
        "key:bootstrap",
    )
    assert (envelope.signer, envelope.smtputf8, envelope.protocol) == (
        "example.test",
        False,
        "HTTP",
    )
    assert envelope.tenant is not None
    assert (envelope.body.size, envelope.body.sha256) == (len(body), hashlib.sha256(body).digest())
    path = b"Return-Path: <alice@example.test>\r\n"
    assert body.startswith(path + b"Received: ")
    assert envelope.body.return_path_octets == len(path)
    assert body.isascii() and b"\n" not in body.replace(b"\r\n", b"")
    assert max(map(len, body.split(b"\r\n"))) <= 78

    message = read(body)
    assert message["From"] == "Alice Müller <alice@example.test>"
    assert message["To"] == "Friend <Some.Friend@example.org>, bob@example.test"
    assert message["Cc"] == '"Last, First" <cc@example.org>'
    assert message["Reply-To"] == "sales@example.test"
    assert message["Subject"] == "Grüße für 20 €"
    assert message["Bcc"] is None and b"idden" not in body
    assert message["In-Reply-To"] == "<1@example.org>"
    assert message["X-Note"] == "für dich"
    assert message["X-Long"].split() == ["<a@b>"] * 40
    assert message["Message-ID"] == f"<{number}@example.test>"
    assert abs(message["Date"].datetime.timestamp() - envelope.received_at) < BUSY_SECONDS
    assert envelope.summary.message_id == f"<{number}@example.test>"
    assert message.get_content_type() == "multipart/mixed"
    plain = message.get_body(("plain",))
    page = message.get_body(("html",))
    assert plain is not None and plain.get_content().splitlines() == [
        "Schöne Grüße",
        ".",
        "From the start",
    ]
    assert page is not None and "Schöne Grüße" in page.get_content()
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("über.pdf", b"%PDF\r\n\0\xff")
    (image,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (image["Content-ID"], image.get_content_disposition()) == ("<logo>", "inline")


async def test_a_raw_message_is_completed_and_otherwise_left_as_it_is(
    api: Api, connection: Connection
) -> None:
    raw = b"From: Sales <sales@example.test>\nSubject: raw\nBcc: x@example.org,\n y@example.org\nX-A:  b \n\n.dots\n\xff no end"
    document = {"from": "alice@example.test", "to": ["X@example.org"], "raw": base64_of(raw)}
    record, message = await sent(api, connection, document)
    assert record.body is not None
    assert record.envelope.reverse_path == "alice@example.test"
    assert record.envelope.recipients == ("X@example.org",)
    assert record.envelope.body.has_dot_lines
    assert b"From: Sales <sales@example.test>\r\nSubject: raw\r\nX-A:  b \r\n" in record.body
    assert record.body.endswith(b"\r\n\r\n.dots\r\n\xff no end\r\n")
    assert message["Message-ID"] and message["Date"] and message["Bcc"] is None
    assert b"for <X@example.org>" in record.body


async def test_who_sends_must_be_an_account_or_alias_in_reach_of_the_key(api: Api) -> None:
    await api.tenant("acme")
    await api.domain("acme.test", tenant="acme")
    (row,) = await api.sql("SELECT id FROM tenants WHERE name = 'acme'")
    theirs = await api.key(Role.TENANT_ADMIN, row["id"])
    await api.account("carol@acme.test")
    await api.client.patch("/v1/accounts/bob@example.test", json={"state": "receive-only"})

    async def post(
        sender: str, headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        return await api.client.post(
            "/v1/send", json={**SIMPLE, "from": sender, **fields}, headers=headers
        )

    for good in (
        "alice@example.test",
        "ALICE+tag@example.test",
        "sales@example.test",
        "carol@acme.test",
    ):
        assert (await post(good)).status_code == 202, good
    assert (await post("carol@acme.test", theirs)).status_code == 202
    for bad in (
        "nobody@example.test",
        "alice@elsewhere.test",
        "bob@example.test",
        "alice",
        "a@b@example.test",
        "x <y",
    ):
        problem(await post(bad), 422, "invalid", "from")
    refused = problem(await post("alice@example.test", theirs), 422, "invalid", "from")
    assert "example.test is not a domain" in refused["detail"]
    raw = {"from": "alice@example.test", "to": ["x@example.org"]}
    for header in (
        b"From: nobody@example.test\r\n",
        b"Subject: x\r\n",
        b"no header",
        b"From: a@b.c\r\nFrom: a@b.c\r\n",
        b"",
    ):
        answer = await api.client.post(
            "/v1/send", json={**raw, "raw": base64_of(header + b"\r\nx\r\n")}
        )
        problem(answer, 422, "invalid", "raw")


async def test_recipients_are_judged_as_at_submission(api: Api, connection: Connection) -> None:
    async def post(**fields: Any) -> httpx.Response:
        return await api.client.post("/v1/send", json={**SIMPLE, **fields})

    problem(await post(to=["x@example.org", "nobody@example.test"]), 422, "invalid", "to[1]")
    problem(await post(cc=["full@example.test"]), 422, "invalid", "cc[0]")
    problem(await post(bcc=["away@example.test"]), 422, "invalid", "bcc[0]")
    problem(await post(to=["no address"]), 422, "invalid", "to[0]")
    problem(await post(to=[]), 422, "invalid", "to")
    problem(await post(to=[f"x{n}@example.org" for n in range(6)]), 422, "invalid", "to")
    answer = await post(to=["Bob+x@example.test", "Same@example.org"], cc=["same@EXAMPLE.org"])
    assert answer.json()["recipients"] == ["bob+x@example.test", "Same@example.org"]
    assert len(await records(connection)) == 1


UNFIT: list[tuple[str, dict[str, Any]]] = [
    ("headers.Bad Name", {"headers": {"Bad Name": "x"}}),
    ("headers.X-A", {"headers": {"X-A": "x\r\nBcc: y@example.org"}}),
    ("headers.bcc", {"headers": {"bcc": "x@example.org"}}),
    ("headers.Content-Type", {"headers": {"Content-Type": "text/html"}}),
    ("headers.x-a", {"headers": {"X-A": "1", "x-a": "2"}}),
    ("headers.X-A", {"headers": {"X-A": "x" * 999}}),
    ("subject", {"subject": "a\r\nBcc: y@example.org"}),
    ("text", {"text": "a\0b"}),
    ("attachments[0].content", {"attachments": [{"content": "%%%"}]}),
    ("attachments[0].content_type", {"attachments": [{"content": "", "content_type": "text"}]}),
    (
        "attachments[0].content_type",
        {"attachments": [{"content": "", "content_type": "multipart/mixed"}]},
    ),
    ("attachments[0].content_id", {"attachments": [{"content": "", "content_id": "a"}]}),
    ("attachments[0].filename", {"attachments": [{"content": "", "filename": "a\nb"}]}),
    ("raw", {"raw": "***", "subject": None, "text": None}),
    ("subject", {"raw": "", "text": None}),
    ("reply_to[0]", {"reply_to": ["x"]}),
    ("unknown", {"unknown": 1}),
    ("subject", {"subject": "a\u2028b"}),
    ("subject", {"subject": "a\x85b"}),
]


async def test_a_postmaster_is_judged_as_by_smtp(api: Api, connection: Connection) -> None:
    document = {
        "from": "alice@example.test",
        "to": ["Postmaster@example.test"],
        "subject": "help",
        "text": "x",
    }
    await NatsDirectoryBucket(connection).put(
        "@example.test", DomainEntry(None, True, "full@example.test")
    )

    async def says() -> httpx.Response:
        return await api.client.post("/v1/send", json=document)

    async def has_heard() -> bool:
        return "full" in (await says()).text

    await until(has_heard, what="the news of the oldest account")
    problem(await says(), 422, "invalid", "to[0]")
    await NatsDirectoryBucket(connection).put(
        "@example.test", DomainEntry(None, True, "bob@example.test")
    )

    async def is_taken() -> bool:
        return (await says()).status_code == 202

    await until(is_taken, what="the news of the oldest account")
    assert {record.envelope.recipients for record in await records(connection)} == {
        ("bob@example.test",)
    }
    problem(
        await api.client.post("/v1/send", json={**document, "to": ["abuse@example.test"]}),
        422,
        "invalid",
        "to[0]",
    )


async def test_what_makes_no_message_is_refused_by_the_name_of_its_field(
    api: Api, connection: Connection
) -> None:
    for field, fields in UNFIT:
        problem(await api.client.post("/v1/send", json={**SIMPLE, **fields}), 422, "invalid", field)
    assert await records(connection) == []


_LONG_NAME = "Customer service of the northern districts and the whole town at the sea <evil@attacker.test>, support of it"


@pytest.mark.parametrize(
    "name",
    [_LONG_NAME, '"a" <b@c.test>, d', "=?utf-8?q?=0D=0ABcc:_evil@c.test?=", "ü" + _LONG_NAME],
)
async def test_a_display_name_never_becomes_an_address(
    api: Api, connection: Connection, name: str
) -> None:
    quoted = '"' + name.replace('"', r"\"") + '"'
    boxes = [f"{quoted} <help@example.org>"]
    fields = {**SIMPLE, "to": [f"{quoted} <friend@example.org>"], "cc": boxes, "reply_to": boxes}
    record, _ = await sent(api, connection, fields)
    message = email.message_from_bytes(record.body or b"", policy=email.policy.compat32)
    for field, expected in (("To", "friend"), ("Cc", "help"), ("Reply-To", "help")):
        (found,) = authors_of(
            f"{field}: {message[field]}".replace("\n", "\r\n").replace("\r\r", "\r").encode()
        )
        assert str(found) == f"{expected}@example.org"
    assert message["Bcc"] is None


UNQUOTED = [
    "alice@example.test",
    "[Shop] News",
    "Shop: News",
    "Ops; Team",
    "Doe, Alice",
    "A\\B",
    "Doe, Alice (sales)",
    'Alice "Al" Doe, MD',
    "a < b > c, d",
    "Köln, Süd",
]


@pytest.mark.parametrize("name", UNQUOTED)
async def test_a_display_name_needs_no_quotes(api: Api, connection: Connection, name: str) -> None:
    boxes = [f"{name} <friend@example.org>"]
    fields = {"from": f"{name} <alice@example.test>", "to": boxes, "cc": boxes, "reply_to": boxes}
    record, message = await sent(api, connection, {**SIMPLE, **fields})
    assert record.envelope.recipients == ("friend@example.org",)
    for field, address in (
        ("From", "alice@example.test"),
        ("To", "friend@example.org"),
        ("Reply-To", boxes[0]),
    ):
        (mailbox,) = message[field].addresses
        assert (mailbox.display_name, mailbox.addr_spec) == (
            name,
            address.rpartition("<")[2].rstrip(">"),
        )


@pytest.mark.parametrize(
    "several",
    [
        "a@x.test, b@y.test",
        "a@x.test;b@y.test",
        "<a@x.test>,<alice@example.test>",
        "A <a@x.test>, Alice <alice@example.test>",
        "a@x.test, Alice <alice@example.test>",
        '"A, B" <a@x.test>, Alice <alice@example.test>',
        f"{_LONG_NAME} <alice@example.test>",
    ],
)
async def test_a_list_where_one_address_should_be_is_refused_and_none_is_lost(
    api: Api, connection: Connection, several: str
) -> None:
    for field, value in (
        ("from", several),
        ("to[0]", [several]),
        ("cc[0]", [several]),
        ("reply_to[0]", [several]),
    ):
        answer = await api.client.post("/v1/send", json={**SIMPLE, field.partition("[")[0]: value})
        fault = problem(answer, 422, "invalid", field)["errors"][0]["message"]
        assert fault == f"several addresses where one should be; {QUOTE_IT}"
    assert await records(connection) == []


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("From: Doe, Alice <alice@example.test>", ': "Doe, Alice" <alice@example.test>'),
        ("From: [Shop] News <alice@example.test>", ': "[Shop] News" <alice@example.test>'),
        (
            "From: =?utf-8?q?alice=40example=2Etest?=",
            "an address cannot stand in an encoded word (RFC 2047 §5)",
        ),
        ("From: Alice", "From: an item is no mailbox"),
        (
            "From: alice@example.test\r\nSender: Shop: x <alice@example.test>",
            ': "Shop: x" <alice@example.test>',
        ),
    ],
)
async def test_the_refusal_of_a_raw_message_shows_what_is_right(
    api: Api, connection: Connection, field: str, said: str
) -> None:
    fields = {"from": "alice@example.test", "to": ["x@example.org"]}
    raw = base64_of(f"{field}\r\n\r\nx\r\n".encode())
    answer = await api.client.post("/v1/send", json={**fields, "raw": raw})
    assert problem(answer, 422, "invalid", "raw")["errors"][0]["message"].endswith(said)
    if "<" in said:
        right = field.rpartition("\r\n")[0] + "\r\n" if "\r\n" in field else ""
        right += field.rpartition("\r\n")[2].partition(":")[0] + said
        await sent(api, connection, {**fields, "raw": base64_of(f"{right}\r\n\r\nx\r\n".encode())})


async def test_own_addresses_may_be_the_name(api: Api, connection: Connection) -> None:
    fields = {"from": "alice@example.test", "to": ["x@example.org"]}
    for name, code in (
        ("alice@example.test", 202),
        ("sales@example.test", 202),
        ("x@elsewhere.test", 422),
    ):
        raw = base64_of(f"From: {name} <alice@example.test>\r\n\r\nx\r\n".encode())
        answer = await api.client.post("/v1/send", json={**fields, "raw": raw})
        assert answer.status_code == code, answer.text
    assert len(await records(connection)) == 2


async def test_an_address_that_is_not_ascii_makes_the_message_utf8(
    api: Api, connection: Connection
) -> None:
    record, message = await sent(
        api, connection, {**SIMPLE, "to": ["Jürgen <jürgen@müller.example>"], "subject": "Grüße"}
    )
    assert record.envelope.smtputf8
    assert record.envelope.recipients == ("jürgen@xn--mller-kva.example",)
    assert record.body is not None and "Grüße".encode() in record.body
    assert "jürgen@xn--mller-kva.example" in message["To"]


async def test_a_repeat_with_the_same_key_is_the_same_message(
    api: Api, connection: Connection
) -> None:
    first = await api.client.post("/v1/send", json=SIMPLE, headers=KEY)
    again = await api.client.post("/v1/send", json=SIMPLE, headers=KEY)
    assert first.status_code == 202 and again.headers["idempotency-replayed"] == "true"
    assert (again.json(), again.headers["location"]) == (first.json(), first.headers["location"])
    assert (await api.client.post("/v1/send", json=SIMPLE)).json()["id"] != first.json()["id"]
    problem(
        await api.client.post("/v1/send", json={**SIMPLE, "text": ""}, headers=KEY),
        422,
        "idempotency-key-reused",
    )
    assert len(await records(connection)) == 2


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["small", "large"])
async def test_a_repeat_after_a_crash_is_the_same_octets_under_the_same_id(
    api: Api, connection: Connection, blobs: FileBlobs, size: int
) -> None:
    document = {**SIMPLE, "html": "<p>x</p>", "attachments": [{"content": base64_of(b"x" * size)}]}
    first = await api.client.post("/v1/send", json=document, headers=KEY)
    assert first.status_code == 202

    async def kept() -> list[bytes]:
        found = []
        for record in await records(connection):
            blob = record.envelope.blob
            found.append(
                record.body
                or (await blobs.read(blob, 0, record.envelope.body.size) if blob else b"")
            )
        return found

    (before,) = await kept()
    # killed after the stream had taken the message and before the answer was kept
    holder = UUID(first.json()["id"])
    await api.sql(
        "UPDATE idempotency_keys SET status = NULL, headers = 'killed', body = $1, created_at = now() - interval '61 seconds'",
        str(holder).encode(),
    )
    await asyncio.sleep(1.1)  # the Date field would show another second
    again = await api.client.post("/v1/send", json=document, headers=KEY)
    assert again.status_code == 202 and "idempotency-replayed" not in again.headers
    assert again.json()["id"] == first.json()["id"]
    assert await kept() == [before], "the stream knows the id"


async def test_a_repeat_after_a_503_is_the_same_message(api: Api, connection: Connection) -> None:
    class Deaf(NatsIngest):
        """Keeps the message, and says it does not know."""

        ids: list[UUID]

        async def accept(
            self, envelope: Any, body: bytes | None, *, unscanned: bool = False
        ) -> None:
            await super().accept(envelope, body, unscanned=unscanned)
            self.ids = [*getattr(self, "ids", []), envelope.id]
            if len(self.ids) < 3:
                raise Unavailable("nats", "no acknowledgement in time")

    deaf = Deaf(connection)
    api.ingest.set(deaf)
    for _ in range(2):
        problem(await api.client.post("/v1/send", json=SIMPLE, headers=KEY), 503, "unavailable")
    problem(
        await api.client.post("/v1/send", json={**SIMPLE, "text": ""}, headers=KEY),
        422,
        "idempotency-key-reused",
    )
    answer = await api.client.post("/v1/send", json=SIMPLE, headers=KEY)
    assert answer.status_code == 202
    assert {str(each) for each in deaf.ids} == {answer.json()["id"]}
    assert len(await records(connection)) == 1


async def test_a_large_message_goes_to_the_blob_store_and_one_too_large_nowhere(
    api: Api, connection: Connection, blobs: FileBlobs
) -> None:
    content = bytes(range(256)) * 4000
    document = {**SIMPLE, "attachments": [{"filename": "a.bin", "content": base64_of(content)}]}
    answer = await api.client.post("/v1/send", json=document)
    assert answer.status_code == 202, answer.text
    (record,) = await records(connection)
    assert record.body is None
    assert record.envelope.blob == f"bodies/{answer.json()['id']}"
    body = await blobs.read(record.envelope.blob, 0, record.envelope.body.size)
    assert hashlib.sha256(body).digest() == record.envelope.body.sha256
    (attached,) = read(body).iter_attachments()
    assert attached.get_content() == content
    too_large = {**SIMPLE, "attachments": [{"content": base64_of(b"x" * 3_000_000)}]}
    problem(await api.client.post("/v1/send", json=too_large), 422, "invalid", "attachments")
    assert await said(api, 40 * 1024 * 1024 + 1, "Expect: 100-continue") == 413


async def test_a_key_that_may_only_send_does_only_that_and_one_that_reads_may_not(api: Api) -> None:
    (row,) = await api.sql("SELECT id FROM tenants WHERE name = 'default'")
    sender, reader = (
        await api.key(Role.SEND_ONLY, row["id"]),
        await api.key(Role.READ_ONLY, row["id"]),
    )
    answer = await api.client.post("/v1/send", json=SIMPLE, headers=sender)
    assert answer.status_code == 202
    problem(await api.client.post("/v1/send", json=SIMPLE, headers=reader), 403, "forbidden")
    for path in ("/v1/queue", "/v1/domains", answer.headers["location"]):
        problem(await api.client.get(path, headers=sender), 403, "forbidden")
    problem(
        await api.client.post("/v1/suppressions", json={"address": "a@b.c"}, headers=sender),
        403,
        "forbidden",
    )


async def test_a_key_sends_so_many_messages_in_an_hour(api: Api, connection: Connection) -> None:
    await api.client.patch(
        "/v1/accounts/alice@example.test", json={"max_recipients_per_hour": 1000}
    )
    other = await api.key(Role.PLATFORM_ADMIN)
    answers = await asyncio.gather(*(api.client.post("/v1/send", json=SIMPLE) for _ in range(52)))
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(refused) == 2
    problem(refused[0], 429, "too-many-requests")
    assert 1 <= int(refused[0].headers["retry-after"]) <= 144
    assert (await api.client.post("/v1/send", json=SIMPLE, headers=other)).status_code == 202
    assert len(await records(connection)) == 51


async def test_a_message_is_charged_to_account_domain_and_tenant_as_by_submission(api: Api) -> None:
    await api.client.patch("/v1/accounts/alice@example.test", json={"max_messages_per_hour": 3})
    await api.client.patch("/v1/domains/example.test", json={"max_recipients_per_hour": 100})
    await api.client.patch("/v1/tenants/default", json={"max_messages_per_hour": 4})
    assert (
        await api.client.post("/v1/send", json={**SIMPLE, "from": "alice+tag@example.test"})
    ).status_code == 202
    rows = await api.sql(
        "SELECT key FROM throttles WHERE key NOT LIKE 'messages-key:%' ORDER BY key"
    )
    by_api = [row["key"] for row in rows]
    (alice,) = await api.sql("SELECT id FROM accounts WHERE address = 'alice@example.test'")
    async with pool(api.database_url) as database:  # what she sends by a mail client counts with it
        known = await PostgresSenders(database).credentials("alice@example.test")
        assert known is not None and known.account == alice["id"]
        payers = [
            RateLimitSubject("account", known.address, known.account_limits.within(LIMITS.account)),
            RateLimitSubject("domain", known.domain, known.domain_limits),
            RateLimitSubject("tenant", str(known.tenant), known.tenant_limits),
        ]
        charges = sent_message(payers, 1)
        assert sorted(charge.key for charge in charges) == by_api
        assert await PostgresThrottle(database).take(charges) == 0
    assert (await api.client.post("/v1/send", json=SIMPLE)).status_code == 202
    refused = await api.client.post("/v1/send", json=SIMPLE)
    problem(refused, 429, "too-many-requests")
    assert 1000 < int(refused.headers["retry-after"]) <= 1200
    by_bob = {**SIMPLE, "from": "bob@example.test"}
    assert (await api.client.post("/v1/send", json=by_bob)).status_code == 202
    problem(await api.client.post("/v1/send", json=by_bob), 429, "too-many-requests")
    await api.client.patch("/v1/tenants/default", json={"max_messages_per_hour": None})
    assert (await api.client.post("/v1/send", json=by_bob)).status_code == 202


async def test_an_answer_that_says_try_later_is_not_the_answer_to_that_try(api: Api) -> None:
    await api.client.patch("/v1/tenants/default", json={"max_messages_per_hour": 1})
    assert (await api.client.post("/v1/send", json=SIMPLE)).status_code == 202
    again = {"Idempotency-Key": "once-more"}
    problem(await api.client.post("/v1/send", json=SIMPLE, headers=again), 429, "too-many-requests")
    await api.client.patch("/v1/tenants/default", json={"max_messages_per_hour": None})
    sent = await api.client.post("/v1/send", json=SIMPLE, headers=again)
    assert sent.status_code == 202 and "idempotency-replayed" not in sent.headers


async def test_a_message_may_have_as_many_recipients_as_the_tenant_in_an_hour(api: Api) -> None:
    await api.client.patch("/v1/tenants/default", json={"max_recipients_per_hour": 2})
    many = {**SIMPLE, "to": [f"r{number}@elsewhere.test" for number in range(3)]}
    document = problem(await api.client.post("/v1/send", json=many), 422, "invalid", "to")
    assert (
        document["errors"][0]["message"]
        == "the tenant may send to 2 recipients an hour, and here are 3"
    )
    assert (
        await api.client.post("/v1/send", json={**many, "to": many["to"][:2]})
    ).status_code == 202


async def test_whoever_is_named_as_sender_or_author_pays_and_all_or_none_of_them(api: Api) -> None:
    await api.client.patch("/v1/accounts/alice@example.test", json={"max_messages_per_hour": 1})
    await api.client.patch("/v1/accounts/bob@example.test", json={"max_messages_per_hour": 2})

    async def post(sender: str, *authors: str) -> int:
        raw = f"From: {', '.join(f'{name}@example.test' for name in authors)}\r\n\r\nx\r\n".encode()
        document = {
            "from": f"{sender}@example.test",
            "to": ["x@example.org"],
            "raw": base64_of(raw),
        }
        return (await api.client.post("/v1/send", json=document)).status_code

    assert await post("sales", "alice") == 202, "an alias sends, alice writes"
    for _ in range(3):
        assert await post("sales", "alice", "bob") == 429, (
            "bob is not charged while alice cannot be"
        )
    assert await post("bob", "sales") == 202
    assert await post("sales", "bob") == 202
    assert await post("bob", "bob") == 429
    assert await post("sales", "sales") == 202, "an alias has no limits of its own"


async def test_the_general_limits_are_those_of_accounts_that_have_none_of_their_own(
    api: Api,
) -> None:
    many = [f"x{number}@example.org" for number in range(4)]
    assert (await api.client.post("/v1/send", json={**SIMPLE, "to": many})).status_code == 202
    assert (await api.client.post("/v1/send", json={**SIMPLE, "to": many})).status_code == 202
    problem(await api.client.post("/v1/send", json=SIMPLE), 429, "too-many-requests")
    await api.client.patch("/v1/accounts/bob@example.test", json={"max_recipients_per_hour": 3})
    document = {**SIMPLE, "from": "bob@example.test"}
    refused = problem(
        await api.client.post("/v1/send", json={**document, "to": many}), 422, "invalid", "to"
    )
    assert "bob@example.test may send to 3 recipients an hour" in refused["detail"]
    assert (await api.client.post("/v1/send", json={**document, "to": many[:3]})).status_code == 202


async def test_what_was_accepted_is_told_in_the_trace(api: Api) -> None:
    answer = await api.client.post("/v1/send", json=SIMPLE)

    async def told() -> bool:
        return (await api.client.get(answer.headers["location"])).status_code == 200

    await until(told, what="the trace")
    (event,) = (await api.client.get(answer.headers["location"])).json()["items"]
    detail = event["detail"]
    assert (event["kind"], detail["service"], detail["account"]) == (
        "accepted",
        "api",
        "key:bootstrap",
    )
    assert (detail["recipients"], detail["client"]) == (1, "127.0.0.1")
    assert UUID(detail["tenant"])


async def test_without_nats_it_is_a_503_and_nothing_is_kept(
    database_url: str, blobs: FileBlobs, nats: Nats
) -> None:
    async with running_api(database_url, blobs) as api:
        await api.domain()
        await api.account("alice@example.test")
        problem(await api.client.post("/v1/send", json=SIMPLE), 503, "unavailable")
        async with (
            connect(nats_settings(nats), "api") as connection,
            NatsDirectory(connection) as directory,
        ):
            await fill(connection)
            api.directory.set(directory)
            api.ingest.set(NatsIngest(connection, timeout=0.2))
            nats.stop(kill=True)
            problem(await api.client.post("/v1/send", json=SIMPLE), 503, "unavailable")


async def test_the_body_is_not_read_before_the_key_is_known(api: Api) -> None:
    assert await said(api, 30_000_000, "Authorization: Bearer ph_nobody") == 401


async def said(api: Api, length: int, *headers: str) -> int:
    """Announce a body of this length, send none, and return the status of the answer."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [
        "POST /v1/send HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        *headers,
    ]
    writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    status = await asyncio.wait_for(reader.readline(), BUSY_SECONDS)
    writer.close()
    return int(status.split()[1])


@pytest.mark.parametrize(
    "raw",
    [
        b"From: alice@example.test\r\n\r\n\0.\r\n",
        b"From: alice@example.test\r\nSender: ceo@bank.example\r\n\r\nx\r\n",
        b"From: alice@example.test\r\nResent-From: ceo@bank.example\r\n\r\nx\r\n",
    ],
)
async def test_nul_and_a_strange_sender_are_refused(api: Api, raw: bytes) -> None:
    document = {"from": "alice@example.test", "to": ["x@example.org"], "raw": base64_of(raw)}
    problem(await api.client.post("/v1/send", json=document), 422, "invalid", "raw")
