"""The mail of accounts over the REST API: what a listing shows, every octet of a message, exact
accounting after deletions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
import zstandard

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.blob_range import BlobRange
from posthorn.ports.api_keys import Role
from posthorn.ports.segments import SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.wire.message.header import Summary
from posthorn.wire.message.header_decoding import decode_addresses, decode_text
from posthorn_local.embedded import Nats
from tests.support.api import Api, problem
from tests.support.builders import make_message, make_segment
from tests.support.jetstream import nats_settings
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("accounts")

ALICE = "/v1/accounts/alice@example.test"


async def account_ids(api: Api) -> dict[str, int]:
    return {row["address"]: row["id"] for row in await api.sql("SELECT id, address FROM accounts")}


async def deliver(
    seed: DatabaseSeed,
    blobs: FileBlobs,
    to: Sequence[int],
    *bodies: bytes,
    zstd: bool = False,
    summary: Summary | None = None,
) -> list[UUID]:
    """Place messages in one segment, as delivery does."""
    messages: list[SegmentMessage] = []
    stored: list[bytes] = []
    for body in bodies:
        octets = zstandard.compress(body) if zstd else body
        made = make_message(to, size=len(body))
        blob_range = BlobRange(sum(map(len, stored)), len(octets), "zstd" if zstd else "identity")
        envelope = replace(made.envelope, summary=summary or made.envelope.summary)
        messages.append(SegmentMessage(envelope, blob_range, made.accounts))
        stored.append(octets)
    packed = make_segment(messages)
    await blobs.put(packed.key, stored)
    await PostgresMailboxes(seed.database).deliver([packed])
    return [each.envelope.id for each in messages]


async def test_a_listing_shows_the_newest_first_and_all_of_them_once(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    alice = (await account_ids(api))["alice@example.test"]
    made = await deliver(seed, blobs, [alice], *(b"n: %d\r\n\r\n" % number for number in range(7)))
    for limit in (1, 2, 3, 7, 50):
        seen: list[str] = []
        query: dict[str, str | int] = {"limit": limit}
        while True:
            document = (await api.client.get(f"{ALICE}/messages", params=query)).json()
            seen += [item["id"] for item in document["items"]]
            if document["next_cursor"] is None:
                break
            query["cursor"] = document["next_cursor"]
        assert seen == [str(message) for message in reversed(made)]
    for name in ("inbox", "INBOX"):
        assert (
            len(
                (await api.client.get(f"{ALICE}/messages", params={"mailbox": name})).json()[
                    "items"
                ]
            )
            == 7
        )
    assert (await api.client.get(f"{ALICE}/messages", params={"mailbox": "Junk"})).json()[
        "items"
    ] == []
    problem(
        await api.client.get(f"{ALICE}/messages", params={"mailbox": "nowhere"}), 404, "not-found"
    )
    problem(
        await api.client.get(f"{ALICE}/messages", params={"mailbox": "a\0b"}),
        422,
        "invalid",
        "mailbox",
    )
    problem(
        await api.client.get(f"{ALICE}/messages", params={"cursor": "WzEsImEiXQ"}),
        422,
        "invalid",
        "cursor",
    )
    problem(await api.client.get("/v1/accounts/nobody@example.test/messages"), 404, "not-found")


async def test_a_message_is_described(api: Api, seed: DatabaseSeed, blobs: FileBlobs) -> None:
    alice = (await account_ids(api))["alice@example.test"]
    summary = Summary(
        subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?q?_aus_K=C3=B6ln?=",
        from_="=?iso-8859-1?q?J=FCrgen?= <j@elsewhere.test>",
        date="Fri, 1 Aug 2025 10:00:00 +0200",
        message_id="<1@elsewhere.test>",
    )
    (message,) = await deliver(seed, blobs, [alice], b"Subject: x\r\n\r\nbody\r\n", summary=summary)
    await api.sql("UPDATE mailbox_entries SET flags = 5, keywords = '{work}'")
    shown = (await api.client.get(f"{ALICE}/messages/{message}")).json()
    assert shown == (await api.client.get(f"{ALICE}/messages")).json()["items"][0]
    received = shown.pop("received_at")
    assert received.endswith("Z")
    assert shown == {
        "id": str(message),
        "mailbox": "INBOX",
        "uid": 1,
        "size": 20,
        "from": "Jürgen <j@elsewhere.test>",
        "subject": "Grüße aus Köln",
        "date": summary.date,
        "message_id": summary.message_id,
        "reverse_path": "sender@elsewhere.test",
        "flags": ["seen", "flagged"],
        "keywords": ["work"],
        "verdict": None,
        "filed": None,
    }


@pytest.mark.parametrize(
    "subject",
    [
        "=?nonsense?q?a?=",
        "=?utf-8?b?####?=",
        "=?utf-8?q?=FF=FE?=",
        "=?utf-7?q?+2AA-?=",
        "plain",
        "",
        "=?utf-8?q?a?= b",
    ],
)
def test_a_field_that_does_not_decode_is_shown_somehow(subject: str) -> None:
    assert isinstance(decode_text(subject).encode(), bytes)
    assert isinstance(decode_addresses(subject).encode(), bytes)


@pytest.mark.parametrize("zstd", [False, True], ids=["identity", "zstd"])
async def test_the_raw_message_is_every_octet(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs, zstd: bool
) -> None:
    alice = (await account_ids(api))["alice@example.test"]
    bodies = (
        b"Subject: small\r\n\r\n.dot\r\n\x00\xff\r\n",
        b"Subject: big\r\n\r\n" + b"0123456789abcde\n" * 100_000,
    )
    small, big = await deliver(seed, blobs, [alice], *bodies, zstd=zstd)
    for message, body in ((small, bodies[0]), (big, bodies[1])):
        answer = await api.client.get(f"{ALICE}/messages/{message}/raw")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "message/rfc822"
        assert answer.headers["content-length"] == str(len(body))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.content == body


async def test_raw_is_a_503_when_the_octets_cannot_be_had(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    alice = (await account_ids(api))["alice@example.test"]
    small, big = await deliver(seed, blobs, [alice], b"a: b\r\n\r\n", b"x" * 600_000)
    key = (await api.sql("SELECT key FROM segments"))[0]["key"]
    await blobs.delete(key)
    for message in (small, big):
        answer = await api.client.get(f"{ALICE}/messages/{message}/raw")
        problem(answer, 503, "unavailable")
        assert key not in answer.text
    assert (await api.client.get(f"{ALICE}/messages/{small}")).status_code == 200


async def test_a_message_of_someone_else_is_not_there(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    bob = (await account_ids(api))["bob@example.test"]
    (message,) = await deliver(seed, blobs, [bob], b"a: b\r\n\r\n")
    reader = await api.key(Role.READ_ONLY, await api.tenant("other"), message_content=True)
    for path in (f"{ALICE}/messages/{message}", f"{ALICE}/messages/{message}/raw"):
        problem(await api.client.get(path), 404, "not-found")
    problem(await api.client.delete(f"{ALICE}/messages/{message}"), 404, "not-found")
    bobs = f"/v1/accounts/bob@example.test/messages/{message}"
    assert (await api.client.get(bobs)).status_code == 200
    problem(await api.client.get(bobs, headers=reader), 404, "not-found")
    problem(await api.client.get(f"{ALICE}/messages/17"), 422, "invalid", "id")
    problem(await api.client.get(f"{ALICE}/messages/{new_id()}"), 404, "not-found")


async def test_deleting_a_message_gives_back_exactly_what_it_took(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    ids = await account_ids(api)
    both = [ids["alice@example.test"], ids["bob@example.test"]]
    shared, other = await deliver(seed, blobs, both, b"one\r\n", b"three\r\n", zstd=True)
    (single,) = await deliver(seed, blobs, both[:1], b"four!\r\n")
    # the same message a second time, in another mailbox of the account, as an IMAP COPY makes it
    await seed.entries(
        "INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date)"
        " SELECT account_id, 4, 1, message_id, size_crlf, internal_date FROM mailbox_entries"
        " WHERE account_id = $1 AND message_id = $2",
        both[0],
        shared,
    )
    await seed.rows(
        "UPDATE mailboxes SET uidnext = 2 WHERE account_id = $1 AND mailbox_id = 4", both[0]
    )
    await seed.rows("UPDATE messages SET refs = refs + 1 WHERE id = $1", shared)
    await seed.rows(
        "UPDATE accounts SET used_bytes = used_bytes + 5, used_messages = used_messages + 1 WHERE id = $1",
        both[0],
    )
    await seed.sums_hold()

    assert (await api.client.delete(f"{ALICE}/messages/{shared}")).status_code == 204
    await seed.sums_hold()
    assert await seed.used(both[0]) == (14, 2)
    assert await seed.value("SELECT refs FROM messages WHERE id = $1", shared) == 1
    problem(await api.client.delete(f"{ALICE}/messages/{shared}"), 404, "not-found")
    for path in (
        f"{ALICE}/messages/{single}",
        f"{ALICE}/messages/{other}",
        f"/v1/accounts/bob@example.test/messages/{shared}",
        f"/v1/accounts/bob@example.test/messages/{other}",
    ):
        assert (await api.client.delete(path)).status_code == 204
        await seed.sums_hold()
    assert await seed.rows("SELECT sum(live_octets), sum(refs) FROM segments, messages") == [(0, 0)]


async def test_deleting_an_account_gives_back_exactly_what_its_mail_took(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    ids = await account_ids(api)
    both = [ids["alice@example.test"], ids["bob@example.test"]]
    await deliver(seed, blobs, both, b"one\r\n", b"three\r\n")
    await deliver(seed, blobs, both[:1], *(b"%d\r\n" % number for number in range(200)))
    assert (await api.client.delete(ALICE)).status_code == 204
    await seed.sums_hold()
    assert await seed.rows("SELECT 1 FROM mailbox_entries WHERE account_id = $1", both[0]) == []
    assert await seed.value("SELECT sum(live_octets) FROM segments") == 12
    assert await seed.used(both[1]) == (12, 2)


async def test_deletions_at_once_with_deliveries_keep_the_sums(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    ids = await account_ids(api)
    both = [ids["alice@example.test"], ids["bob@example.test"]]
    made = await deliver(seed, blobs, both, *(b"%d\r\n" % number for number in range(12)))
    paths = [f"{ALICE}/messages/{message}" for message in made] + [
        f"/v1/accounts/bob@example.test/messages/{message}" for message in reversed(made)
    ]
    deliveries = [
        asyncio.create_task(deliver(seed, blobs, both, b"more %d\r\n" % number))
        for number in range(4)
    ]
    answers = await asyncio.gather(*(api.client.delete(path) for path in paths))
    await asyncio.gather(*deliveries)
    assert {answer.status_code for answer in answers} == {204}
    await seed.sums_hold()
    assert (await seed.used(both[0]))[1] == 4


async def test_room_in_a_full_mailbox_is_told_to_the_directory(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    alice = (await account_ids(api))["alice@example.test"]
    await api.client.patch(ALICE, json={"quota_bytes": 10})
    first, second = await deliver(seed, blobs, [alice], b"12345678\r\n", b"1234\r\n")
    await seed.drain_outbox()
    await api.client.delete(f"{ALICE}/messages/{second}")
    assert await seed.drain_outbox() == [], "still full"
    await api.client.delete(f"{ALICE}/messages/{first}")
    assert await seed.drain_outbox() == ["alice@example.test"]


async def test_dead_letters_are_listed_retried_and_discarded(api: Api, nats: Nats) -> None:
    problem(await api.client.get("/v1/dead"), 503, "unavailable")
    async with connect_nats(nats_settings(nats), "test") as connection:
        dead = NatsDeadLetters(connection)
        api.dead.set(dead)
        assert (await api.client.get("/v1/dead")).json() == {
            "items": [],
            "next_cursor": None,
            "total": None,
        }
        for number in range(3):
            await dead.park(b"x" * number, f"message-{number}", "no such thing")
        first = (await api.client.get("/v1/dead", params={"limit": 2})).json()
        rest = (
            await api.client.get("/v1/dead", params={"limit": 2, "cursor": first["next_cursor"]})
        ).json()
        assert rest["next_cursor"] is None
        messages = first["items"] + rest["items"]
        assert [item["message_id"] for item in messages] == ["message-0", "message-1", "message-2"]
        assert [item["size"] for item in messages] == [0, 1, 2]
        assert messages[0]["reason"] == "no such thing"
        sequences = [item["sequence"] for item in messages]

        retried = await api.client.post(
            f"/v1/dead/{sequences[1]}/retry", headers={"Idempotency-Key": "k"}
        )
        assert (retried.status_code, retried.json()) == (
            202,
            {"sequence": sequences[1], "state": "queued"},
        )
        again = await api.client.post(
            f"/v1/dead/{sequences[1]}/retry", headers={"Idempotency-Key": "k"}
        )
        assert (again.status_code, again.content) == (202, retried.content)
        problem(await api.client.post(f"/v1/dead/{sequences[1]}/retry"), 404, "not-found")
        async with NatsIngestSource(connection) as source:
            assert [delivery.octets for delivery in await source.take(10, 1000)] == [b"x"]

        assert (await api.client.delete(f"/v1/dead/{sequences[0]}")).status_code == 204
        problem(await api.client.delete(f"/v1/dead/{sequences[0]}"), 404, "not-found")
        left = (await api.client.get("/v1/dead")).json()["items"]
        assert [item["sequence"] for item in left] == sequences[2:]
        for path in ("/v1/dead/0", "/v1/dead/x", f"/v1/dead/{2**63}"):
            problem(await api.client.delete(path), 422, "invalid", "sequence")
