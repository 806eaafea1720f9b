"""Delivery of batches: into every mailbox once, in one PUT and one transaction, whatever is
wrong with single messages."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from uuid import UUID

import pytest
import zstandard

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.model.envelope import encode_record
from posthorn.model.stored_header import LONGEST_HEADER_BYTES
from posthorn.ports.blobs import TRASH
from posthorn.ports.errors import Unavailable
from posthorn.ports.filing import Authors
from posthorn.ports.hand_over import HandOver
from posthorn.ports.ingest import Delivery
from posthorn.ports.mailboxes import Resolution
from posthorn.ports.segments import Segment
from posthorn.runtime.ids import new_id
from posthorn_delivery import consumer
from posthorn_delivery.consumer import Consumer
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.packer import SEGMENT_HOLDS_SECONDS
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.delivery_env import DeliveryEnv, UnsteadyMailboxes, delivery_env
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, timers_run, until

BODY = b"Subject: hello\r\n\r\n.dots\r\nworld\r\n"


async def test_a_message_reaches_all_its_recipients_octet_for_octet(env: DeliveryEnv) -> None:
    await env.seed.domain("example.test", catch_all="carol@example.test")
    alice, bob, carol = [
        await env.seed.account(f"{name}@example.test") for name in ("alice", "bob", "carol")
    ]
    await env.seed.alias("team@example.test", "alice@example.test", "bob@example.test")
    compressible = b"Received: from a by b\r\n" * 200
    await env.send(BODY, "alice@example.test", "bob@example.test")
    await env.send(b"", "team@example.test", "alice@example.test")
    await env.send(compressible, "bob+lists@example.test", "unheard-of@example.test")
    await env.deliver(3)
    assert await env.bodies(alice) == [BODY, b""]
    assert await env.bodies(bob) == [BODY, b"", compressible]
    assert await env.bodies(carol) == [compressible]
    await env.settled()
    await env.seed.sums_hold()
    assert await env.dead.parked(0, 10) == []


async def test_what_is_stored_is_what_the_envelope_says(env: DeliveryEnv) -> None:
    await env.seed.accounts(1)
    sent = await env.send(BODY, "user0@example.test")
    await env.deliver(1)
    columns = "id, size_crlf, sha256, has_dot_lines, reverse_path, encoding"
    assert await env.seed.rows(f"SELECT {columns} FROM messages") == [
        (sent.id, len(BODY), sent.body.sha256, True, "sender@example.org", "identity")
    ]


async def test_the_header_is_kept_beside_what_a_mailbox_gets(env: DeliveryEnv) -> None:
    await env.seed.accounts(1)
    long = b"Subject: long\r\nX: " + b"x" * LONGEST_HEADER_BYTES + b"\r\n\r\nbody\r\n"
    sent = await env.send(BODY, "user0@example.test")
    await env.send(long, "user0@example.test")
    await env.send_large(BODY, "user0@example.test")
    await env.send(BODY, "carol@elsewhere.test", role="submission")
    await env.deliver(4)
    assert await env.seed.value("SELECT count(*) FROM messages") == 4
    ((number, header),) = await env.seed.rows("SELECT * FROM message_headers")
    assert number == sent.id
    assert zstandard.ZstdDecompressor().decompress(header) == b"Subject: hello\r\n\r\n"
    await env.seed.sums_hold()


async def test_a_hundred_messages_share_one_put_and_one_segment(env: DeliveryEnv) -> None:
    accounts = await env.seed.accounts(5)
    bodies = [b"%d\r\n" % number + os.urandom(number * 20) for number in range(100)]
    for number, body in enumerate(bodies):
        await env.send(body, f"user{number % 5}@example.test")
    await env.deliver(100)
    assert env.blobs.puts == 1
    assert await env.seed.value("SELECT count(*) FROM segments") == 1
    assert await env.seed.value("SELECT count(DISTINCT xmin::text) FROM mailbox_entries") == 1
    for number, account in enumerate(accounts):
        assert await env.bodies(account) == bodies[number::5]
    await env.seed.sums_hold()


async def test_a_large_body_stays_in_its_own_blob(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    large = os.urandom(700_000)
    await env.send_large(large, "user0@example.test")
    await env.send(BODY, "user0@example.test")
    await env.deliver(2)
    assert env.blobs.puts == 1
    assert sorted(await env.bodies(account)) == sorted([large, BODY])
    await env.seed.sums_hold()


async def test_a_body_in_the_trash_comes_back_with_its_message(env: DeliveryEnv) -> None:
    """As after a restore of the stream: the collector has found no message that refers to it."""
    (account,) = await env.seed.accounts(1)
    sent = await env.send_large(BODY, "user0@example.test", received_at=time.time() - 86_400)
    assert sent.blob is not None
    await env.blobs.move(sent.blob, f"{TRASH}{sent.blob}")
    await env.deliver(1)
    await env.settled()
    assert await env.bodies(account) == [BODY]


async def test_a_message_whose_body_is_gone_is_parked_and_not_placed(
    env: DeliveryEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was delivered, deleted and forgotten, and is on a restored stream, or was parked."""
    (account,) = await env.seed.accounts(1)
    sent = await env.send_large(BODY, "user0@example.test", received_at=time.time() - 8 * 86_400)
    assert sent.blob is not None
    await env.blobs.delete(sent.blob)
    await env.send(BODY, "user0@example.test")
    await env.deliver(2)
    assert await env.bodies(account) == [BODY]
    await env.try_again(1)
    assert (await env.source.backlog()).retrying == 1, "the store may get it back"
    monkeypatch.setattr("posthorn_delivery.isolate.MISSING_TRIES", 2)
    await env.try_again(1)
    assert [each.message_id for each in await env.dead.parked(0, 10)] == [str(sent.id)]
    assert (await env.source.backlog()).messages == 0
    await env.seed.sums_hold()


async def test_a_redelivered_message_is_placed_once(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    sent = await env.send(BODY, "user0@example.test")
    (delivery,) = await env.take(1)
    await env.deliverer.deliver([delivery])
    await env.settled()
    await env.dead.park(delivery.octets, str(sent.id), "put back by the test")
    (parked,) = await env.dead.parked(0, 1)
    await env.dead.retry(parked.sequence)
    await env.deliver(1)
    await env.settled()
    assert len(await env.seed.inbox(account)) == 1
    assert env.blobs.puts == 1


async def test_a_message_that_lies_on_the_stream_twice_is_placed_once(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    sent = await env.send(BODY, "user0@example.test")
    await env.dead.park(encode_record(sent, BODY), str(sent.id), "put back by the test")
    (parked,) = await env.dead.parked(0, 1)
    await env.dead.retry(parked.sequence)
    assert await env.left() == 2
    await env.deliver(2)
    await env.settled()
    assert await env.bodies(account) == [BODY]


@pytest.mark.parametrize("large", [False, True])
async def test_a_recipient_that_has_gone_holds_up_nobody_and_its_sender_is_told(
    env: DeliveryEnv, large: bool
) -> None:
    (account,) = await env.seed.accounts(1)
    send = env.send_large if large else env.send
    sent = await send(BODY, "user0@example.test", "gone@example.test", "lost@example.test")
    await env.send(b"other\r\n", "user0@example.test")
    await env.deliver(2)
    await env.settled()
    assert sorted(await env.bodies(account)) == sorted([BODY, b"other\r\n"])
    assert await env.dead.parked(0, 10) == []
    columns = "message_id, recipient, sender, state, notice, last_status, closed_at"
    assert await env.seed.rows(f"SELECT {columns} FROM outbound_recipients ORDER BY id") == [
        (sent.id, name, "sender@example.org", "bounced", "failed", "5.1.1", None)
        for name in ("gone@example.test", "lost@example.test")
    ]
    await env.seed.sums_hold()


async def test_a_message_without_any_recipient_left_is_kept_for_its_notice(
    env: DeliveryEnv,
) -> None:
    await env.seed.domain("example.test")
    sent = await env.send(BODY, "gone@example.test")
    await env.deliver(1)
    await env.settled()
    assert await env.seed.rows("SELECT id, refs FROM messages") == [(sent.id, 1)]
    assert await env.seed.rows("SELECT last_reply FROM outbound_recipients") == [
        ("550 5.1.1 user unknown; the mailbox does not exist any more",)
    ]
    assert (await env.dead.parked(0, 10), env.blobs.puts) == ([], 1)
    await env.seed.sums_hold()


async def test_what_cannot_be_read_or_placed_is_parked_and_the_rest_is_delivered_once(
    env: DeliveryEnv,
) -> None:
    (account,) = await env.seed.accounts(1)
    good = [b"good %d\r\n" % number for number in range(21)]
    poisoned = []
    for number, body in enumerate(good):
        await env.send(body, "user0@example.test")
        if number in (3, 4, 17):
            bad = make_envelope(BODY, to=("user0@example.test",))
            # more than the column holds
            bad = replace(bad, body=replace(bad.body, return_path_octets=2**40))
            await env.ingest.accept(bad, BODY)
            poisoned.append(str(bad.id))
        if number == 9:
            await env.nats.request("ingest.0", b"no record at all")
    await env.deliver(25)
    assert await env.bodies(account) == good
    assert (await env.source.backlog()).retrying == 3
    await env.try_again(3)
    await env.settled()
    assert await env.bodies(account) == good
    parked = await env.dead.parked(0, 10)
    assert {
        each.message_id for each in parked if not each.message_id.startswith("unreadable")
    } == set(poisoned)
    assert [
        each.reason.partition(":")[0] for each in parked if each.message_id not in poisoned
    ] == ["RecordError"]
    assert all("hello" not in each.reason for each in parked)
    assert env.blobs.puts == 4  # one of the batch, and one for each other try
    await env.seed.sums_hold()


async def test_when_dead_is_full_the_poison_stays_on_the_stream(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with delivery_env(nats, database_url, tmp_path / "blobs", dead_max_bytes=500) as env:
        (account,) = await env.seed.accounts(1)
        await env.send(BODY, "user0@example.test")
        await env.nats.request("ingest.0", b"no record " + b"x" * 1000)
        await env.nats.request("ingest.0", b"nor this " + b"x" * 1000)
        await env.deliver(3)
        assert await env.bodies(account) == [BODY]

        async def two_left() -> bool:
            return await env.left() == 2

        await until(two_left)
        assert await env.dead.parked(0, 10) == []


class _AccountDies(PostgresMailboxes):
    """The account goes just after it was found."""

    async def resolve(
        self,
        recipients: Collection[str],
        messages: Collection[UUID],
        authors: Authors = MappingProxyType({}),
    ) -> Resolution:
        found = await super().resolve(recipients, messages, authors)
        async with self._database.session() as connection:
            await connection.execute("DELETE FROM accounts WHERE address = 'user1@example.test'")
        return found


async def test_an_account_that_goes_between_finding_and_placing_is_as_if_it_had_gone_before(
    env: DeliveryEnv,
) -> None:
    account, _ = await env.seed.accounts(2)
    await env.send(BODY, "user0@example.test", "user1@example.test")
    deliverer = Deliverer(_AccountDies(env.seed.database), env.blobs, env.dead, new_id=new_id)
    await deliverer.deliver(await env.take(1))
    await env.settled()
    assert await env.bodies(account) == [BODY]
    assert env.blobs.puts == 1
    assert await env.seed.rows("SELECT recipient FROM outbound_recipients") == [
        ("user1@example.test",)
    ]


async def test_a_commit_in_doubt_is_found_out_without_another_put_or_notice(
    env: DeliveryEnv,
) -> None:
    (account,) = await env.seed.accounts(1)
    for _ in range(5):
        await env.send(BODY, "user0@example.test", "gone@example.test")
    deliverer = Deliverer(
        UnsteadyMailboxes(env.seed.database, 2), env.blobs, env.dead, new_id=new_id
    )
    await deliverer.deliver(await env.take(5))
    await env.settled()
    assert await env.bodies(account) == [BODY] * 5
    assert env.blobs.puts == 1
    assert await env.seed.value("SELECT count(*) FROM outbound_recipients") == 5
    await env.seed.sums_hold()


async def test_what_waited_behind_an_outage_is_stored_again(
    env: DeliveryEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the first transaction's messages were deleted, and their segment with them."""
    (account,) = await env.seed.accounts(1)
    ahead = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead, time_ns=time.time_ns)
    monkeypatch.setattr("posthorn_delivery.packer.time", clock)
    monkeypatch.setattr("posthorn_delivery.grouping.MOST_ROWS", 1)  # a transaction each
    owners = PostgresMailboxes(env.seed.database)

    class Outage(PostgresMailboxes):
        calls = 0

        async def deliver(self, segments: Sequence[Segment], over: HandOver | None = None) -> int:
            nonlocal ahead
            self.calls += 1
            if self.calls != 2:
                return await owners.deliver(segments, over)
            holder, maildrops = new_id(), PostgresMaildrops(env.seed.database)
            await maildrops.open(account, holder)
            await maildrops.commit(account, holder, [1])
            catalog = PostgresSegmentCatalog(env.seed.database)
            assert await catalog.move(segments[0].id, None, {})
            await env.blobs.delete(segments[0].key)
            await catalog.removed([segments[0].id])
            ahead = SEGMENT_HOLDS_SECONDS + 1
            raise Unavailable("postgres", "it was away for long")

    bodies = [b"Subject: %d\r\n\r\n\r\n" % number for number in range(4)]
    for body in bodies:
        await env.send(body, "user0@example.test")
    deliverer = Deliverer(Outage(env.seed.database), env.blobs, env.dead, new_id=new_id)
    await deliverer.deliver(await env.take(4))
    await env.settled()
    assert len(await env.bodies(account)) == 3
    assert set(await env.bodies(account)) < set(bodies)
    await env.seed.sums_hold()


async def test_bodies_are_compressed_only_when_told_so(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    body = b"Received: from a by b\r\n" * 200
    for compress in (None, zstd_frame):
        await env.send(body, "user0@example.test")
        deliverer = Deliverer(env.mailboxes, env.blobs, env.dead, new_id=new_id, compress=compress)
        await deliverer.deliver(await env.take(1))
    assert await env.seed.rows("SELECT encoding FROM messages ORDER BY id") == [
        ("identity",),
        ("zstd",),
    ]
    assert await env.bodies(account) == [body, body]


async def test_a_batch_too_large_for_the_loop_is_packed_beside_it(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    bodies = [b"%d\r\n" % number + b"text " * 20_000 for number in range(20)]
    for body in bodies:
        await env.send(body, "user0@example.test")
    await env.deliver(20)
    assert await env.bodies(account) == bodies
    assert env.blobs.puts == 1


async def test_the_intake_delivers_a_lone_message_at_once_and_drains(
    env: DeliveryEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "DRAIN_SECONDS", LONG_SECONDS)
    (account,) = await env.seed.accounts(1)
    deliver, delivered = Deliverer.deliver, asyncio.Event()

    async def noted(self: Deliverer, batch: Sequence[Delivery]) -> None:
        await deliver(self, batch)
        delivered.set()

    monkeypatch.setattr(Deliverer, "deliver", noted)
    intake = Consumer(env.source, env.deliverer, (512, 1 << 23, 1))
    running = asyncio.create_task(intake.run())
    waits = []
    for number in range(1, 11):
        with timers_run() as run:
            await env.send(BODY, "user0@example.test")
            async with asyncio.timeout(BUSY_SECONDS):
                await delivered.wait()
        delivered.clear()
        assert len(await env.seed.inbox(account)) == number
        waits.append(len(run))
    assert sorted(waits)[5] == 0, "nothing is waited for but answers"
    async with asyncio.timeout(BUSY_SECONDS):
        await intake.drain(LONG_SECONDS)
        await running


async def test_an_envelope_that_claims_more_than_its_subject_allows_is_parked_with_the_reason(
    env: DeliveryEnv,
) -> None:
    """What a door that was taken over can publish: under ingest.mx, envelopes that say they came
    by another door."""
    (account,) = await env.seed.accounts(1)
    honest = make_envelope(BODY, to=("user0@example.test",))
    forged = replace(
        make_envelope(BODY, to=("victim@bank.test",)),
        role="submission",
        signer="bank.test",
        submitter="x@bank.test",
    )
    stolen = replace(make_envelope(BODY, to=("user0@example.test",)), blob="segments/0192")
    await env.nats.request("ingest.mx", encode_record(forged, BODY))
    await env.nats.request("ingest.mx", encode_record(stolen, None))
    await env.nats.request("ingest.mx", encode_record(honest, BODY))
    await env.deliver(3)
    assert await env.bodies(account) == [BODY]
    assert await env.seed.value("SELECT count(*) FROM outbound_recipients") == 0
    first, second = await env.dead.parked(0, 10)
    assert (
        "published under ingest.mx, the envelope claims the role submission, a submitter, a signer"
        in first.reason
    )
    assert "the body of another message" in second.reason
    assert await env.dead.retry(first.sequence)
    await env.deliver(1)
    assert "published under ingest.mx" in (await env.dead.parked(second.sequence, 10))[-1].reason


async def test_what_an_older_release_left_on_the_stream_is_delivered(env: DeliveryEnv) -> None:
    (account,) = await env.seed.accounts(1)
    sent = replace(
        make_envelope(BODY, to=("user0@example.test",)),
        role="submission",
        submitter="user0@example.test",
    )
    await env.nats.request("ingest.0", encode_record(sent, BODY))
    await env.deliver(1)
    assert await env.bodies(account) == [BODY]
