"""Wide aliases: one row with the batch, expanded in slices beside it, each address once,
whatever happens in between (ADR 19)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
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
from posthorn.ports.queue_administration import QueueFilter
from posthorn.runtime.ids import new_id
from posthorn.wire.message.dsn import Action
from posthorn_delivery import deliverer as service
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.expander import SLICE_ADDRESSES, Expander
from posthorn_delivery.grouping import MOST_ROWS
from posthorn_delivery.routing import Routes, route
from tests.support.delivery_env import DeliveryEnv

BODY = b"Subject: hello\r\n\r\nworld\r\n"


async def tenant(env: DeliveryEnv, name: str, domain: str) -> UUID:
    number = uuid4()
    await env.seed.rows("INSERT INTO tenants (id, name) VALUES ($1, $2)", number, name)
    await env.seed.rows("INSERT INTO domains (tenant_id, name) VALUES ($1, $2)", number, domain)
    return number


async def waiting(env: DeliveryEnv) -> int:
    return int(await env.seed.value("SELECT count(*) FROM outbound_expansions"))


async def queued(env: DeliveryEnv) -> list[str]:
    rows = await env.seed.rows(
        "SELECT recipient FROM outbound_recipients WHERE state = 'queued' ORDER BY id"
    )
    return [recipient for (recipient,) in rows]


async def finished(env: DeliveryEnv) -> None:
    """Nothing is left of expansions, and every sum holds."""
    assert await waiting(env) == 0
    assert await env.seed.value("SELECT count(*) FROM outbound_reached") == 0
    await env.seed.sums_hold()


async def test_a_wide_alias_is_one_row_with_the_batch_and_all_its_addresses_after_its_slices(
    env: DeliveryEnv,
) -> None:
    accounts = await env.seed.accounts(30)
    far = [f"x{number:03}@far.test" for number in range(190)]
    await env.seed.alias(
        "all@example.test", *far, *(f"user{number}@example.test" for number in range(1, 30))
    )
    sent = await env.send(BODY, "user0@example.test", "all@example.test")
    await env.deliver(1)
    await env.settled()
    assert await env.bodies(accounts[0]) == [BODY]
    assert await queued(env) == []
    held = await env.seed.rows(
        "SELECT recipient, destination, state, last_reply FROM outbound_recipients"
    )
    assert held == [("all@example.test", "example.test", "held", "to be expanded")]
    assert await env.seed.rows("SELECT open, tenant_id IS NOT NULL FROM outbound_messages") == [
        (1, True)
    ]
    await env.seed.sums_hold()

    first = await env.expander.expand_once()
    assert first is not None
    assert (first.entries + len(first.outbound), first.done) == (SLICE_ADDRESSES, False)
    assert "so far" in await env.seed.value(
        "SELECT last_reply FROM outbound_recipients WHERE state = 'held'"
    )
    await env.seed.sums_hold()
    assert await env.expand() == 2
    assert sorted(await queued(env)) == far
    assert [await env.bodies(account) for account in accounts] == [[BODY]] * 30
    rows = await env.seed.rows(
        "SELECT last_status, last_reply FROM outbound_recipients WHERE recipient = 'all@example.test'"
    )
    assert rows == [("2.1.5", "250 2.1.5 expanded to 29 mailboxes and 190 addresses elsewhere")]
    (path,) = {
        row[0]
        for row in await env.seed.rows(
            "SELECT reverse_path FROM outbound_recipients WHERE state = 'queued'"
        )
    }
    assert path.startswith("SRS0=")
    assert path.endswith("@example.test")
    assert (
        await env.seed.value(
            "SELECT count(*) FROM outbound_destinations WHERE name = 'far.test' AND due_at <= now()"
        )
        == 1
    )
    assert [kind for kind, _ in env.events.details_of(sent.id)] == [
        "delivered",
        "queued",
        "delivered",
    ]
    await finished(env)


async def test_the_header_is_kept_for_the_mailboxes_that_a_wide_alias_reaches(
    env: DeliveryEnv,
) -> None:
    await env.seed.accounts(1)
    far = (f"x{number:03}@far.test" for number in range(190))
    await env.seed.alias("all@example.test", *far, "user0@example.test")
    sent = await env.send(BODY, "all@example.test")
    await env.deliver(1)
    assert await env.seed.rows("SELECT message_id FROM message_headers") == [(sent.id,)]
    assert await env.expand() == 2
    await finished(env)


async def test_a_slice_stores_the_sender_that_is_too_long_for_its_addresses(
    env: DeliveryEnv,
) -> None:
    sender = "x" * 60 + "@sender.example"
    await env.seed.domain("example.test")
    await env.seed.alias("all@example.test", *(f"x{number:03}@far.test" for number in range(190)))
    await env.send(BODY, "all@example.test", reverse_path=sender)
    await env.deliver(1)
    assert await env.seed.rows("SELECT sender FROM long_senders") == []
    assert await env.expand() == 2
    ((path,),) = await env.seed.rows(
        "SELECT DISTINCT reverse_path FROM outbound_recipients WHERE state = 'queued'"
    )
    assert path.startswith("SRS2=")
    assert await env.seed.rows("SELECT domain, sender FROM long_senders") == [
        ("example.test", sender)
    ]
    await finished(env)


async def test_each_address_is_reached_once_by_whatever_ways_it_is_led_to(env: DeliveryEnv) -> None:
    accounts = await env.seed.accounts(120)
    await env.seed.alias(
        "one@example.test",
        "twice@far.test",
        *(f"user{number}@example.test" for number in range(120)),
    )
    await env.seed.alias(
        "two@example.test",
        "twice@far.test",
        "one@example.test",
        *(f"y{n}@far.test" for n in range(5)),
    )
    await env.seed.alias("few@example.test", "twice@far.test")
    await env.send(
        BODY, "one@example.test", "user7@example.test", "two@example.test", "few@example.test"
    )
    await env.deliver(1)
    assert await waiting(env) == 2
    assert await env.bodies(accounts[7]) == [BODY]
    # its owner has read and deleted it before the alias comes to it
    async with env.seed.database.transaction() as connection:
        await connection.execute(LOCK_ACCOUNT, accounts[7])
        await remove(connection, accounts[7], [(1, 1)], keep=False)
    await env.expand()
    assert [len(await env.seed.inbox(account)) for account in accounts] == [
        0 if n == 7 else 1 for n in range(120)
    ]
    assert sorted(await queued(env)) == ["twice@far.test", *(f"y{n}@far.test" for n in range(5))]
    await finished(env)


async def test_what_dies_between_and_within_slices_is_taken_up_again(env: DeliveryEnv) -> None:
    await env.seed.domain("example.test")
    far = [f"x{number:03}@far.test" for number in range(250)]
    await env.seed.alias("all@example.test", *far)
    await env.send(BODY, "all@example.test")
    await env.deliver(1)
    await env.expander.expand_once()
    expansions = PostgresExpansions(env.seed.database)

    def dies(_: Envelope, __: Resolution) -> SliceRecipients:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await expansions.expand(100, dies)
    assert len(await queued(env)) == 100
    await env.expand()
    assert await queued(env) == far
    await finished(env)


async def test_several_processes_expand_side_by_side(env: DeliveryEnv) -> None:
    accounts = await env.seed.accounts(110)
    await env.seed.alias(
        "all@example.test", "x@far.test", *(f"user{number}@example.test" for number in range(110))
    )
    await env.seed.alias(
        "also@example.test",
        "z@far.test",
        *(f"user{number}@example.test" for number in range(109, -1, -1)),
    )
    for _ in range(6):
        await env.send(BODY, "all@example.test", "also@example.test")
    await env.deliver(6)

    async def work() -> None:
        expander = Expander(PostgresExpansions(env.seed.database))
        while await expander.expand_once() is not None or await waiting(env):
            pass

    await asyncio.wait_for(asyncio.gather(*(work() for _ in range(3))), 60)
    assert {len(await env.seed.inbox(account)) for account in accounts} == {6}
    assert sorted(await queued(env)) == ["x@far.test"] * 6 + ["z@far.test"] * 6
    await finished(env)


async def test_sixty_tiny_messages_to_an_alias_of_270_delay_nobody_else(env: DeliveryEnv) -> None:
    (bob,) = await env.seed.accounts(1, "honest.test")
    await tenant(env, "wide", "wide.test")
    for part in range(9):
        await env.seed.alias(f"part{part}@wide.test", *(f"x{part}.{n}@far.test" for n in range(30)))
    await env.seed.alias("all@wide.test", *(f"part{part}@wide.test" for part in range(9)))
    for number in range(60):
        await env.send(b"%d\r\n" % number, f"all+{number}@wide.test")
    await env.send(BODY, "user0@honest.test")
    await env.deliver(61)
    await env.settled()
    assert await env.bodies(bob) == [BODY]
    assert await queued(env) == []  # not one of 16,200 rows was written before it
    assert await waiting(env) == 60

    # a wide alias of another tenant does not wait for the sixty either
    await tenant(env, "other", "other.test")
    await env.seed.alias("list@other.test", *(f"y{n}@near.test" for n in range(150)))
    await env.send(BODY, "list@other.test")
    await env.deliver(1)
    for _ in range(4):  # two slices of each
        await env.expander.expand_once()
    assert (
        len([recipient for recipient in await queued(env) if recipient.endswith("@near.test")])
        == 150
    )
    assert await waiting(env) == 60
    await env.seed.sums_hold()


async def test_rows_are_made_in_slices_and_written_by_weight(
    env: DeliveryEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much a batch comes to, others run between its slices, and no transaction grows
    with it."""
    await env.seed.domain("example.test")
    for number in range(40):
        await env.seed.alias(
            f"few{number}@example.test", *(f"x{number}.{n}@far.test" for n in range(90))
        )
    beats, made = 0, dict[int, int]()

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    def counted(
        envelope: Envelope, resolution: Resolution, back: Mapping[str, Any], keys: Sequence[bytes]
    ) -> Routes:
        found = route(envelope, resolution, back, keys)
        made[beats] = made.get(beats, 0) + len(found.outbound)
        return found

    monkeypatch.setattr(service, "route", counted)
    for number in range(0, 40, 2):
        for _ in range(2):
            await env.send(BODY, f"few{number}@example.test", f"few{number + 1}@example.test")
    taken = await env.take(40)
    beating = asyncio.create_task(beat())
    await env.deliverer.deliver(taken)
    beating.cancel()
    assert sum(made.values()) == 40 * 180
    assert max(made.values()) <= 2 * 200
    transactions = await env.seed.rows(
        "SELECT count(*) FROM outbound_recipients GROUP BY xmin::text"
    )
    assert len(transactions) >= 4
    assert max(count for (count,) in transactions) <= MOST_ROWS
    assert env.blobs.puts == 1
    await env.seed.sums_hold()


async def test_one_message_to_many_aliases_is_expanded_now_only_so_far(env: DeliveryEnv) -> None:
    await env.seed.domain("example.test")
    names = [f"few{number}@example.test" for number in range(10)]
    for name in names:
        await env.seed.alias(name, *(f"{n}.{name.partition('@')[0]}@far.test" for n in range(60)))
    await env.send(BODY, *names)
    await env.deliver(1)
    assert len(await queued(env)) == 180
    assert await waiting(env) == 7
    await env.expand()
    assert len(set(await queued(env))) == 600
    await finished(env)


async def test_what_is_cancelled_is_not_expanded_further_and_its_octets_go(
    env: DeliveryEnv,
) -> None:
    await env.seed.domain("example.test")
    await env.seed.alias("all@example.test", *(f"x{number:03}@far.test" for number in range(250)))
    sent = await env.send(BODY, "all@example.test")
    await env.deliver(1)
    await env.expander.expand_once()
    queue = PostgresQueueAdministration(env.seed.database)
    (item,) = await queue.items(None, QueueFilter(recipient="all@example.test"), None, 10)
    assert (item.state.value, item.last_reply) == (
        "held",
        "being expanded: 0 mailboxes and 100 addresses elsewhere so far",
    )
    await queue.act(None, "cancel", item.id)
    await env.expand()
    assert len(await queued(env)) == 100
    while await queue.act_on_all(None, "cancel", QueueFilter(message=sent.id), 100):
        pass
    assert await env.seed.rows("SELECT refs FROM messages") == [(0,)]
    await finished(env)


async def test_an_alias_that_is_too_wide_is_held_until_it_is_narrower(env: DeliveryEnv) -> None:
    await env.seed.domain("example.test")
    for number in range(21):
        await env.seed.alias(
            f"part{number}@example.test", *(f"x{number}.{n}@far.test" for n in range(100))
        )
    await env.seed.alias(
        "all@example.test", *(f"part{number}@example.test" for number in range(21))
    )
    await env.send(BODY, "all@example.test")
    await env.deliver(1)
    await env.settled()
    assert await env.expand() == 1
    assert await env.dead.parked(0, 10) == []
    assert await env.seed.rows(
        "SELECT state, last_status, last_reply FROM outbound_recipients"
    ) == [("held", "4.2.4", "450 4.2.4 it comes to more than 2000 addresses")]
    await env.seed.rows(
        "UPDATE aliases SET targets = targets[1:2] WHERE address = 'all@example.test'"
    )
    assert await env.expand() == 0  # it waits for a quarter of an hour, or for a hand
    queue = PostgresQueueAdministration(env.seed.database)
    (item,) = await queue.items(None, QueueFilter(), None, 10)
    assert await queue.act_on_all(None, "release", QueueFilter(), 100) == []
    with pytest.raises(Conflict):
        await queue.act(None, "hold", item.id)
    with pytest.raises(NotFound):
        await queue.act(uuid4(), "release", item.id)
    assert await env.expand() == 0
    assert (await queue.act(None, "release", item.id)).state.value == "held"
    await env.expand()
    assert len(await queued(env)) == 200
    await finished(env)


@pytest.mark.parametrize("wish", [Notify.UNSAID, Notify.NEVER])
async def test_an_alias_that_leads_nowhere_any_more_or_stays_too_wide_comes_back_to_its_sender(
    env: DeliveryEnv, wish: Notify
) -> None:
    await env.seed.domain("example.test")
    await env.seed.alias("gone@example.test", *(f"x{n}@far.test" for n in range(150)))
    for number in range(21):
        await env.seed.alias(
            f"part{number}@example.test", *(f"x{number}.{n}@far.test" for n in range(100))
        )
    await env.seed.alias(
        "wide@example.test", *(f"part{number}@example.test" for number in range(21))
    )
    dsn = (
        {name: RecipientDsn(wish) for name in ("gone@example.test", "wide@example.test")}
        if wish
        else {}
    )
    sent = await env.send(BODY, "gone@example.test", "wide@example.test", dsn=dsn)
    await env.deliver(1)
    await env.seed.rows("DELETE FROM aliases WHERE address = 'gone@example.test'")
    await env.seed.rows("UPDATE outbound_recipients SET expires_at = now()")
    await env.expand()
    notice = None if wish else "failed"
    assert await env.seed.rows(
        "SELECT recipient, state, last_status, notice, closed_at IS NULL FROM outbound_recipients ORDER BY id"
    ) == [
        ("gone@example.test", "bounced", "5.1.1", notice, not wish),
        ("wide@example.test", "bounced", "5.2.4", notice, not wish),
    ]
    assert [kind for kind, _ in env.events.details_of(sent.id)] == ["queued", "bounced", "bounced"]
    assert await env.seed.rows("SELECT refs FROM messages") == [(0 if wish else 1,)]
    await finished(env)


async def test_a_wish_for_success_is_answered_by_the_expansion_alone(env: DeliveryEnv) -> None:
    await env.seed.domain("example.test")
    await env.seed.alias("all@example.test", *(f"x{n}@far.test" for n in range(150)))
    dsn = {"all@example.test": RecipientDsn(Notify.SUCCESS | Notify.FAILURE)}
    await env.send(BODY, "all@example.test", dsn=dsn, role="send")
    await env.deliver(1)
    await env.expand()
    rows = await env.seed.rows(
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
    await finished(env)


async def test_what_ends_in_a_slice_is_entered_once_however_many_slices_say_so(
    env: DeliveryEnv,
) -> None:
    await env.seed.domain("example.test")
    await env.seed.alias("all@example.test", *(f"x{n:03}@far.test" for n in range(250)))
    await env.send(BODY, "all@example.test")
    await env.deliver(1)
    expansions = PostgresExpansions(env.seed.database)
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
        await env.seed.sums_hold()
    rows = await env.seed.rows(
        "SELECT last_status, count(*) FROM outbound_recipients WHERE notice = 'failed' GROUP BY 1"
    )
    assert rows == [("5.4.6", 1)]
    assert len(await queued(env)) == 250
    await finished(env)


async def test_an_expansion_that_fails_is_put_off_and_the_others_go_on(env: DeliveryEnv) -> None:
    await env.seed.domain("example.test")
    await env.seed.alias("all@example.test", *(f"x{n:03}@far.test" for n in range(150)))
    await env.send(BODY, "all@example.test")
    await env.send(BODY, "all@example.test")
    await env.deliver(2)
    expansions = PostgresExpansions(env.seed.database)

    def broken(_: Envelope, __: Resolution) -> SliceRecipients:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await expansions.expand(100, broken)
    await env.expand()
    assert len(await queued(env)) == 150
    assert await waiting(env) == 1
    await env.seed.rows("UPDATE outbound_expansions SET due_at = now()")
    await env.expand()
    assert len(await queued(env)) == 300
    await finished(env)


async def test_what_a_wide_alias_leads_out_of_here_is_signed_for_its_submitter(
    env: DeliveryEnv,
) -> None:
    await env.seed.domain("example.test")
    await env.seed.alias("all@example.test", *(f"x{n}@far.test" for n in range(150)))

    class Signer:
        async def sign(self, domain: str, _: object) -> str:
            return f"DKIM-Signature: d={domain}\r\n"

    deliverer = Deliverer(env.mailboxes, env.blobs, env.dead, new_id=new_id, signer=Signer())
    await env.send(BODY, "all@example.test", role="submission", signer="example.test")
    await deliverer.deliver(await env.take(1))
    await env.expand()
    assert await env.seed.rows("SELECT signature, open FROM outbound_messages") == [
        ("DKIM-Signature: d=example.test\r\n", 150)
    ]
    await finished(env)
