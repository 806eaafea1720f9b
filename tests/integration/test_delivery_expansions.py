"""Wide aliases: one row with the batch, expanded in slices beside it, each address once, whatever happens in between (ADR 19)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from posthorn.adapters.postgres.mailboxes.expansions import PostgresExpansions
from posthorn.adapters.postgres.mailboxes.expunge import LOCK_ACCOUNT, remove
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.model.envelope import Envelope
from posthorn.model.outbound import Notify, Outbound, QueueState, RecipientDsn
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.expansions import SliceRecipients
from posthorn.ports.mailboxes import Resolution
from posthorn.ports.queue import QueueFilter
from posthorn.runtime.ids import new_id
from posthorn.wire.message.dsn import Action
from posthorn_delivery import deliverer as service
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.expander import SLICE_ADDRESSES, Expander
from posthorn_delivery.routing import Routes, route
from posthorn_local.embedded import Nats
from tests.support.scene import Scene, scene

BODY = b"Subject: hello\r\n\r\nworld\r\n"


@pytest.fixture
async def stage(nats: Nats, database_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(nats, database_url, tmp_path / "blobs") as made:
        yield made


async def tenant(stage: Scene, name: str, domain: str) -> UUID:
    number = uuid4()
    await stage.town.rows("INSERT INTO tenants (id, name) VALUES ($1, $2)", number, name)
    await stage.town.rows("INSERT INTO domains (tenant_id, name) VALUES ($1, $2)", number, domain)
    return number


async def waiting(stage: Scene) -> int:
    return int(await stage.town.value("SELECT count(*) FROM outbound_expansions"))


async def queued(stage: Scene) -> list[str]:
    rows = await stage.town.rows("SELECT recipient FROM outbound_recipients WHERE state = 'queued' ORDER BY id")
    return [recipient for (recipient,) in rows]


async def finished(stage: Scene) -> None:
    """Nothing is left of expansions, and every sum holds."""
    assert await waiting(stage) == 0
    assert await stage.town.value("SELECT count(*) FROM outbound_reached") == 0
    await stage.town.sums_hold()


async def test_a_wide_alias_is_one_row_with_the_batch_and_all_its_addresses_after_its_slices(stage: Scene) -> None:
    accounts = await stage.town.accounts(30)
    far = [f"x{number:03}@far.test" for number in range(190)]
    await stage.town.alias("all@example.test", *far, *(f"user{number}@example.test" for number in range(1, 30)))
    sent = await stage.send(BODY, "user0@example.test", "all@example.test")
    await stage.deliver(1)
    await stage.settled()
    assert await stage.bodies(accounts[0]) == [BODY]
    assert await queued(stage) == []
    held = await stage.town.rows("SELECT recipient, destination, state, last_reply FROM outbound_recipients")
    assert held == [("all@example.test", "example.test", "held", "to be expanded")]
    assert await stage.town.rows("SELECT open, tenant_id IS NOT NULL FROM outbound_messages") == [(1, True)]
    await stage.town.sums_hold()

    first = await stage.expander.expand_once()
    assert first is not None
    assert (first.entries + len(first.outbound), first.done) == (SLICE_ADDRESSES, False)
    assert "so far" in await stage.town.value("SELECT last_reply FROM outbound_recipients WHERE state = 'held'")
    await stage.town.sums_hold()
    assert await stage.expand() == 2
    assert sorted(await queued(stage)) == far
    assert [await stage.bodies(account) for account in accounts] == [[BODY]] * 30
    rows = await stage.town.rows(
        "SELECT last_status, last_reply FROM outbound_recipients WHERE recipient = 'all@example.test'"
    )
    assert rows == [("2.1.5", "250 2.1.5 expanded to 29 mailboxes and 190 addresses elsewhere")]
    (path,) = {
        row[0] for row in await stage.town.rows("SELECT reverse_path FROM outbound_recipients WHERE state = 'queued'")
    }
    assert path.startswith("SRS0=")
    assert path.endswith("@example.test")
    assert (
        await stage.town.value("SELECT count(*) FROM outbound_destinations WHERE name = 'far.test' AND due_at <= now()")
        == 1
    )
    assert [kind for kind, _ in stage.told.of(sent.id)] == ["delivered", "queued", "delivered"]
    await finished(stage)


async def test_a_slice_stores_the_sender_that_is_too_long_for_its_addresses(stage: Scene) -> None:
    sender = "x" * 60 + "@sender.example"
    await stage.town.domain("example.test")
    await stage.town.alias("all@example.test", *(f"x{number:03}@far.test" for number in range(190)))
    await stage.send(BODY, "all@example.test", reverse_path=sender)
    await stage.deliver(1)
    assert await stage.town.rows("SELECT sender FROM long_senders") == []
    assert await stage.expand() == 2
    ((path,),) = await stage.town.rows("SELECT DISTINCT reverse_path FROM outbound_recipients WHERE state = 'queued'")
    assert path.startswith("SRS2=")
    assert await stage.town.rows("SELECT domain, sender FROM long_senders") == [("example.test", sender)]
    await finished(stage)


async def test_each_address_is_reached_once_by_whatever_ways_it_is_led_to(stage: Scene) -> None:
    accounts = await stage.town.accounts(120)
    await stage.town.alias(
        "one@example.test", "twice@far.test", *(f"user{number}@example.test" for number in range(120))
    )
    await stage.town.alias(
        "two@example.test", "twice@far.test", "one@example.test", *(f"y{n}@far.test" for n in range(5))
    )
    await stage.town.alias("few@example.test", "twice@far.test")
    await stage.send(BODY, "one@example.test", "user7@example.test", "two@example.test", "few@example.test")
    await stage.deliver(1)
    assert await waiting(stage) == 2
    assert await stage.bodies(accounts[7]) == [BODY]
    # its owner has read and deleted it before the alias comes to it
    async with stage.town.database.transaction() as connection:
        await connection.execute(LOCK_ACCOUNT, accounts[7])
        await remove(connection, accounts[7], [(1, 1)], keep=False)
    await stage.expand()
    assert [len(await stage.town.inbox(account)) for account in accounts] == [0 if n == 7 else 1 for n in range(120)]
    assert sorted(await queued(stage)) == ["twice@far.test", *(f"y{n}@far.test" for n in range(5))]
    await finished(stage)


async def test_what_dies_between_and_within_slices_is_taken_up_again(stage: Scene) -> None:
    await stage.town.domain("example.test")
    far = [f"x{number:03}@far.test" for number in range(250)]
    await stage.town.alias("all@example.test", *far)
    await stage.send(BODY, "all@example.test")
    await stage.deliver(1)
    await stage.expander.expand_once()
    expansions = PostgresExpansions(stage.town.database)

    def dies(_: Envelope, __: Resolution) -> SliceRecipients:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await expansions.expand(100, dies)
    assert len(await queued(stage)) == 100
    await stage.expand()
    assert await queued(stage) == far
    await finished(stage)


async def test_several_processes_expand_side_by_side(stage: Scene) -> None:
    accounts = await stage.town.accounts(110)
    await stage.town.alias("all@example.test", "x@far.test", *(f"user{number}@example.test" for number in range(110)))
    await stage.town.alias(
        "also@example.test", "z@far.test", *(f"user{number}@example.test" for number in range(109, -1, -1))
    )
    for _ in range(6):
        await stage.send(BODY, "all@example.test", "also@example.test")
    await stage.deliver(6)

    async def work() -> None:
        expander = Expander(PostgresExpansions(stage.town.database))
        while await expander.expand_once() is not None or await waiting(stage):
            pass

    await asyncio.wait_for(asyncio.gather(*(work() for _ in range(3))), 60)
    assert {len(await stage.town.inbox(account)) for account in accounts} == {6}
    assert sorted(await queued(stage)) == ["x@far.test"] * 6 + ["z@far.test"] * 6
    await finished(stage)


async def test_sixty_tiny_messages_to_an_alias_of_270_delay_nobody_else(stage: Scene) -> None:
    (bob,) = await stage.town.accounts(1, "honest.test")
    await tenant(stage, "wide", "wide.test")
    for part in range(9):
        await stage.town.alias(f"part{part}@wide.test", *(f"x{part}.{n}@far.test" for n in range(30)))
    await stage.town.alias("all@wide.test", *(f"part{part}@wide.test" for part in range(9)))
    for number in range(60):
        await stage.send(b"%d\r\n" % number, f"all+{number}@wide.test")
    await stage.send(BODY, "user0@honest.test")
    await stage.deliver(61)
    await stage.settled()
    assert await stage.bodies(bob) == [BODY]
    assert await queued(stage) == []  # not one of 16,200 rows was written before it
    assert await waiting(stage) == 60

    # a wide alias of another tenant does not wait for the sixty either
    await tenant(stage, "other", "other.test")
    await stage.town.alias("list@other.test", *(f"y{n}@near.test" for n in range(150)))
    await stage.send(BODY, "list@other.test")
    await stage.deliver(1)
    for _ in range(4):  # two slices of each
        await stage.expander.expand_once()
    assert len([recipient for recipient in await queued(stage) if recipient.endswith("@near.test")]) == 150
    assert await waiting(stage) == 60
    await stage.town.sums_hold()


async def test_rows_are_made_in_slices_and_written_by_weight(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a batch comes to, others run between its slices, and no transaction grows with it."""
    await stage.town.domain("example.test")
    for number in range(40):
        await stage.town.alias(f"few{number}@example.test", *(f"x{number}.{n}@far.test" for n in range(90)))
    beats, made = 0, dict[int, int]()

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    def counted(envelope: Envelope, resolution: Resolution, back: Mapping[str, Any], keys: Sequence[bytes]) -> Routes:
        found = route(envelope, resolution, back, keys)
        made[beats] = made.get(beats, 0) + len(found.outbound)
        return found

    monkeypatch.setattr(service, "route", counted)
    for number in range(0, 40, 2):
        for _ in range(2):
            await stage.send(BODY, f"few{number}@example.test", f"few{number + 1}@example.test")
    taken = await stage.take(40)
    beating = asyncio.create_task(beat())
    await stage.deliverer.deliver(taken)
    beating.cancel()
    assert sum(made.values()) == 40 * 180
    assert max(made.values()) <= 2 * 200
    transactions = await stage.town.rows("SELECT count(*) FROM outbound_recipients GROUP BY xmin::text")
    assert len(transactions) >= 4
    assert max(count for (count,) in transactions) <= service.MOST_ROWS
    assert stage.blobs.puts == 1
    await stage.town.sums_hold()


async def test_one_message_to_many_aliases_is_expanded_now_only_so_far(stage: Scene) -> None:
    await stage.town.domain("example.test")
    names = [f"few{number}@example.test" for number in range(10)]
    for name in names:
        await stage.town.alias(name, *(f"{n}.{name.partition('@')[0]}@far.test" for n in range(60)))
    await stage.send(BODY, *names)
    await stage.deliver(1)
    assert len(await queued(stage)) == 180
    assert await waiting(stage) == 7
    await stage.expand()
    assert len(set(await queued(stage))) == 600
    await finished(stage)


async def test_what_is_cancelled_is_not_expanded_further_and_its_octets_go(stage: Scene) -> None:
    await stage.town.domain("example.test")
    await stage.town.alias("all@example.test", *(f"x{number:03}@far.test" for number in range(250)))
    sent = await stage.send(BODY, "all@example.test")
    await stage.deliver(1)
    await stage.expander.expand_once()
    queue = PostgresQueueAdministration(stage.town.database)
    (item,) = await queue.items(None, QueueFilter(recipient="all@example.test"), None, 10)
    assert (item.state.value, item.last_reply) == (
        "held",
        "being expanded: 0 mailboxes and 100 addresses elsewhere so far",
    )
    await queue.act(None, "cancel", item.id)
    await stage.expand()
    assert len(await queued(stage)) == 100
    while await queue.act_on_all(None, "cancel", QueueFilter(message=sent.id), 100):
        pass
    assert await stage.town.rows("SELECT refs FROM messages") == [(0,)]
    await finished(stage)


async def test_an_alias_that_is_too_wide_is_held_until_it_is_narrower(stage: Scene) -> None:
    await stage.town.domain("example.test")
    for number in range(21):
        await stage.town.alias(f"part{number}@example.test", *(f"x{number}.{n}@far.test" for n in range(100)))
    await stage.town.alias("all@example.test", *(f"part{number}@example.test" for number in range(21)))
    await stage.send(BODY, "all@example.test")
    await stage.deliver(1)
    await stage.settled()
    assert await stage.expand() == 1
    assert await stage.dead.parked(0, 10) == []
    assert await stage.town.rows("SELECT state, last_status, last_reply FROM outbound_recipients") == [
        ("held", "4.2.4", "450 4.2.4 it comes to more than 2000 addresses")
    ]
    await stage.town.rows("UPDATE aliases SET targets = targets[1:2] WHERE address = 'all@example.test'")
    assert await stage.expand() == 0  # it waits for a quarter of an hour, or for a hand
    queue = PostgresQueueAdministration(stage.town.database)
    (item,) = await queue.items(None, QueueFilter(), None, 10)
    assert await queue.act_on_all(None, "release", QueueFilter(), 100) == []
    with pytest.raises(Conflict):
        await queue.act(None, "hold", item.id)
    with pytest.raises(NotFound):
        await queue.act(uuid4(), "release", item.id)
    assert await stage.expand() == 0
    assert (await queue.act(None, "release", item.id)).state.value == "held"
    await stage.expand()
    assert len(await queued(stage)) == 200
    await finished(stage)


@pytest.mark.parametrize("wish", [Notify.UNSAID, Notify.NEVER])
async def test_an_alias_that_leads_nowhere_any_more_or_stays_too_wide_comes_back_to_its_sender(
    stage: Scene, wish: Notify
) -> None:
    await stage.town.domain("example.test")
    await stage.town.alias("gone@example.test", *(f"x{n}@far.test" for n in range(150)))
    for number in range(21):
        await stage.town.alias(f"part{number}@example.test", *(f"x{number}.{n}@far.test" for n in range(100)))
    await stage.town.alias("wide@example.test", *(f"part{number}@example.test" for number in range(21)))
    dsn = {name: RecipientDsn(wish) for name in ("gone@example.test", "wide@example.test")} if wish else {}
    sent = await stage.send(BODY, "gone@example.test", "wide@example.test", dsn=dsn)
    await stage.deliver(1)
    await stage.town.rows("DELETE FROM aliases WHERE address = 'gone@example.test'")
    await stage.town.rows("UPDATE outbound_recipients SET expires_at = now()")
    await stage.expand()
    notice = None if wish else "failed"
    assert await stage.town.rows(
        "SELECT recipient, state, last_status, notice, closed_at IS NULL FROM outbound_recipients ORDER BY id"
    ) == [
        ("gone@example.test", "bounced", "5.1.1", notice, not wish),
        ("wide@example.test", "bounced", "5.2.4", notice, not wish),
    ]
    assert [kind for kind, _ in stage.told.of(sent.id)] == ["queued", "bounced", "bounced"]
    assert await stage.town.rows("SELECT refs FROM messages") == [(0 if wish else 1,)]
    await finished(stage)


async def test_a_wish_for_success_is_answered_by_the_expansion_alone(stage: Scene) -> None:
    await stage.town.domain("example.test")
    await stage.town.alias("all@example.test", *(f"x{n}@far.test" for n in range(150)))
    dsn = {"all@example.test": RecipientDsn(Notify.SUCCESS | Notify.FAILURE)}
    await stage.send(BODY, "all@example.test", dsn=dsn, role="send")
    await stage.deliver(1)
    await stage.expand()
    rows = await stage.town.rows(
        "SELECT state, notice, notify, count(*) FROM outbound_recipients GROUP BY 1, 2, 3 ORDER BY 4"
    )
    assert sorted(rows, key=repr) == sorted(
        [
            ("delivered", "expanded", int(Notify.SUCCESS | Notify.FAILURE), 1),
            ("delivered", None, int(Notify.FAILURE), 1),
            ("queued", None, int(Notify.FAILURE), 150),
        ],
        key=repr,
    )
    await finished(stage)


async def test_what_ends_in_a_slice_is_entered_once_however_many_slices_say_so(stage: Scene) -> None:
    await stage.town.domain("example.test")
    await stage.town.alias("all@example.test", *(f"x{n:03}@far.test" for n in range(250)))
    await stage.send(BODY, "all@example.test")
    await stage.deliver(1)
    expansions = PostgresExpansions(stage.town.database)
    refused = Outbound(
        "all@example.test",
        "example.test",
        "sender@example.org",
        state=QueueState.BOUNCED,
        status="5.4.6",
        notice=Action.FAILED,
    )

    def sorting(envelope: Envelope, resolution: Resolution) -> SliceRecipients:
        found = route(envelope, resolution, {}, (), at_once=1000)
        return SliceRecipients(found.accounts, (*found.outbound, refused))

    while await expansions.expand(100, sorting) is not None:
        await stage.town.sums_hold()
    rows = await stage.town.rows(
        "SELECT last_status, count(*) FROM outbound_recipients WHERE notice = 'failed' GROUP BY 1"
    )
    assert rows == [("5.4.6", 1)]
    assert len(await queued(stage)) == 250
    await finished(stage)


async def test_an_expansion_that_fails_is_put_off_and_the_others_go_on(stage: Scene) -> None:
    await stage.town.domain("example.test")
    await stage.town.alias("all@example.test", *(f"x{n:03}@far.test" for n in range(150)))
    await stage.send(BODY, "all@example.test")
    await stage.send(BODY, "all@example.test")
    await stage.deliver(2)
    expansions = PostgresExpansions(stage.town.database)

    def broken(_: Envelope, __: Resolution) -> SliceRecipients:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await expansions.expand(100, broken)
    await stage.expand()
    assert len(await queued(stage)) == 150
    assert await waiting(stage) == 1
    await stage.town.rows("UPDATE outbound_expansions SET due_at = now()")
    await stage.expand()
    assert len(await queued(stage)) == 300
    await finished(stage)


async def test_what_a_wide_alias_leads_out_of_here_is_signed_for_its_submitter(stage: Scene) -> None:
    await stage.town.domain("example.test")
    await stage.town.alias("all@example.test", *(f"x{n}@far.test" for n in range(150)))

    class Signer:
        async def sign(self, domain: str, _: object) -> str:
            return f"DKIM-Signature: d={domain}\r\n"

    deliverer = Deliverer(stage.mailboxes, stage.blobs, stage.dead, new_id=new_id, signer=Signer())
    await stage.send(BODY, "all@example.test", role="submission", signer="example.test")
    await deliverer.deliver(await stage.take(1))
    await stage.expand()
    assert await stage.town.rows("SELECT signature, open FROM outbound_messages") == [
        ("DKIM-Signature: d=example.test\r\n", 150)
    ]
    await finished(stage)
