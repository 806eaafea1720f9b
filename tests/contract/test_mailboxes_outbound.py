"""The port Mailboxes on PostgreSQL, outbound: who leads out of here, and what is entered into
the queue with a batch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.queue.enqueue import QueuePolicy
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import Notify, Outbound, QueueState, RecipientDsn
from posthorn.ports.mailboxes import Forward
from posthorn.ports.segments import SegmentMessage
from posthorn.wire.message.dsn import Action
from tests.support.builders import make_message, make_outbound, make_segment
from tests.support.polling import BUSY_SECONDS
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture
def mailboxes(database: Database) -> PostgresMailboxes:
    return PostgresMailboxes(database, QueuePolicy(1000, 100))


def leaving(
    *recipients: Outbound, accounts: tuple[int, ...] = (), sender: str = "sender@example.test"
) -> SegmentMessage:
    return replace(
        make_message(accounts, reverse_path=sender), outbound=recipients, tenant=DEFAULT_TENANT
    )


class TestResolve:
    async def test_recipients_elsewhere_are_told_from_those_that_are_nowhere(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        await seed.account("ada@example.test")
        asked = (
            "ada@example.test",
            "gone@example.test",
            "Bob@Foreign.test",
            "x@foreign.test",
            "no-at",
            "@foreign.test",
        )
        found = await mailboxes.resolve(asked, ())
        assert found.elsewhere == {"Bob@Foreign.test", "x@foreign.test"}
        assert set(found.accounts) == {"ada@example.test"}
        assert dict(found.forwards) == {}

    async def test_an_alias_leads_out_of_here_and_to_accounts(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        await seed.alias("team@example.test", "out@far.test", "ada@example.test", "a@far.test")
        found = await mailboxes.resolve(["team@example.test", "team+tag@example.test"], ())
        forwards = tuple(
            Forward(address, "team@example.test", DEFAULT_TENANT)
            for address in ("a@far.test", "out@far.test")
        )
        asked = ("team@example.test", "team+tag@example.test")
        assert dict(found.accounts) == dict.fromkeys(asked, (ada,))
        assert dict(found.forwards) == dict.fromkeys(asked, forwards)
        assert found.elsewhere == frozenset()

    async def test_the_alias_that_is_named_is_the_one_whose_target_it_is(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("one.test", catch_all="all@one.test")
        await seed.domain("two.test")
        await seed.alias("all@one.test", "last@two.test")
        await seed.alias("last@two.test", "out@far.test")
        found = await mailboxes.resolve(["anyone@one.test"], ())
        assert found.forwards["anyone@one.test"] == (
            Forward("out@far.test", "last@two.test", DEFAULT_TENANT),
        )

    async def test_recipients_do_not_borrow_each_others_aliases(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        await seed.alias("a@example.test", "out@far.test")
        await seed.alias("b@example.test", "out@far.test", "other@far.test")
        found = await mailboxes.resolve(["a@example.test", "b@example.test"], ())
        assert [each.alias for each in found.forwards["a@example.test"]] == ["a@example.test"]
        assert [each.address for each in found.forwards["b@example.test"]] == [
            "other@far.test",
            "out@far.test",
        ]

    async def test_an_outside_target_whose_domain_has_become_ours_leads_nowhere(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        await seed.alias("out@example.test", "someone@later.test")
        await seed.domain("later.test")
        found = await mailboxes.resolve(["out@example.test"], ())
        assert (dict(found.accounts), dict(found.forwards), found.elsewhere) == (
            {},
            {},
            frozenset(),
        )

    async def test_an_account_leads_where_its_holder_forwards_it(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        await seed.alias("team@example.test", "ada@example.test", "other@far.test")
        await seed.alias("ada@example.test", "b@far.test", "a@far.test")
        asked = ["ada@example.test", "ada+tag@example.test", "team@example.test"]
        own = tuple(
            Forward(address, "ada@example.test", DEFAULT_TENANT)
            for address in ("a@far.test", "b@far.test")
        )
        other = Forward("other@far.test", "team@example.test", DEFAULT_TENANT)

        async def led(change: str = "") -> tuple[list[tuple[int, ...]], list[tuple[Forward, ...]]]:
            for statement in filter(None, change.split(";")):
                await seed.rows(statement)
            found = await mailboxes.resolve(asked, ())
            assert found.elsewhere == found.wide == frozenset()
            return (
                [found.accounts.get(each, ()) for each in asked],
                [found.forwards.get(each, ()) for each in asked],
            )

        kept, forwarded = [(ada,)] * 3, [own, own, (*own, other)]
        alone = kept, [(), (), (other,)]
        keeps = "UPDATE aliases SET keeps_copy = {} WHERE address = 'ada@example.test'"
        permits = "UPDATE domains SET account_forwards = {}"
        assert await led(keeps.format("true")) == alone, "the domain permits none"
        assert await led(permits.format(2)) == (kept, forwarded)
        assert await led(keeps.format("false")) == ([()] * 3, forwarded)
        assert await led(permits.format(0)) == alone
        suspends = "UPDATE accounts SET state = '{}'"
        assert await led(permits.format(2) + ";" + suspends.format("suspended")) == alone
        assert await led(suspends.format("receive-only")) == ([()] * 3, forwarded)
        # as long as one target gets it there is no copy; otherwise there is
        suppress = (
            "INSERT INTO suppressions (tenant_id, address, reason, source)"
            " SELECT tenant_id, '{}', '', 'api' FROM domains"
        )
        accounts, forwards = await led(suppress.format("a@far.test"))
        assert (accounts, [each.withheld for each in forwards[0]]) == (
            [()] * 3,
            ["suppressed", ""],
        )
        accounts, forwards = await led(
            "INSERT INTO alias_targets (id, alias_id, target) SELECT gen_random_uuid(), id, 'b@far.test'"
            " FROM aliases WHERE keeps_copy IS NOT NULL"
        )
        assert (accounts, [each.withheld for each in forwards[0]]) == (
            kept,
            ["suppressed", "unconfirmed"],
        )
        accounts, forwards = await led("DELETE FROM suppressions")
        assert (accounts, [each.withheld for each in forwards[0]]) == (
            [()] * 3,
            ["", "unconfirmed"],
        )
        # the domain of a target has become ours
        await seed.rows("DELETE FROM alias_targets")
        await seed.domain("far.test")
        assert (await led())[0] == kept

    async def test_loops_and_meshes_with_a_way_out_end(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        names = [f"mesh{number}@example.test" for number in range(25)]
        for name in names:
            await seed.alias(name, *names, "out@far.test")
        async with asyncio.timeout(BUSY_SECONDS):
            found = await mailboxes.resolve([names[0]], ())
        assert found.forwards[names[0]] == (Forward("out@far.test", names[0], DEFAULT_TENANT),)


RECIPIENTS = (
    "recipient, address, destination, sender, reverse_path, original,"
    " orcpt, notify, state, last_status, last_reply, notice"
)


class TestPlace:
    async def test_the_rows_say_all_that_the_relay_needs(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        dsn = RecipientDsn(Notify.SUCCESS | Notify.DELAY, "rfc822;x@y")
        sent = leaving(
            make_outbound("Bob.B@far.test", dsn=dsn),
            replace(
                make_outbound("out@far.test", original="user0@example.test"),
                reverse_path="SRS0=x@example.test",
            ),
            accounts=(ada,),
            sender="Sender@example.test",
        )
        sent = replace(
            sent,
            signature="DKIM-Signature: v=1\r\n",
            envelope=replace(sent.envelope, submitter="ada@example.test", ret="HDRS", envid="id"),
        )
        batch = make_segment([sent])
        assert await mailboxes.deliver([batch]) == 1
        number = sent.envelope.id
        assert await seed.rows(
            "SELECT message_id, tenant_id, submitter, smtputf8, ret, envid, signature, open FROM outbound_messages"
        ) == [
            (
                number,
                DEFAULT_TENANT,
                "ada@example.test",
                False,
                "HDRS",
                "id",
                "DKIM-Signature: v=1\r\n",
                2,
            )
        ]
        assert await seed.rows(f"SELECT {RECIPIENTS} FROM outbound_recipients ORDER BY id") == [
            (
                *(
                    "Bob.B@far.test",
                    "bob.b@far.test",
                    "far.test",
                    "Sender@example.test",
                    "sender@example.test",
                ),
                *("", "rfc822;x@y", 10, "queued", "", "", None),
            ),
            (
                *(
                    "out@far.test",
                    "out@far.test",
                    "far.test",
                    "Sender@example.test",
                    "SRS0=x@example.test",
                ),
                *("user0@example.test", "", 0, "queued", "", "", None),
            ),
        ]
        assert await seed.value("SELECT refs FROM messages") == 2
        assert await seed.rows("SELECT name, due_at <= now() FROM outbound_destinations") == [
            ("far.test", True)
        ]
        await seed.sums_hold()

    async def test_due_overdue_and_expiry_are_counted_from_now(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        never = RecipientDsn(Notify.NEVER)
        await mailboxes.deliver(
            [
                make_segment(
                    [leaving(make_outbound("a@far.test"), make_outbound("b@far.test", dsn=never))]
                )
            ]
        )
        await mailboxes.deliver([make_segment([leaving(make_outbound("c@far.test"), sender="")])])
        times = "due_at - created_at, overdue_at - created_at, expires_at - created_at"
        late, end = timedelta(seconds=100), timedelta(seconds=1000)
        assert await seed.rows(
            f"SELECT recipient, {times} FROM outbound_recipients ORDER BY recipient"
        ) == [
            ("a@far.test", timedelta(), late, end),
            # who wants no notice is looked at again at the end only
            ("b@far.test", timedelta(), end, end),
            ("c@far.test", timedelta(), end, end),
        ]
        assert await seed.value(
            "SELECT now() - created_at < interval '1 minute' FROM outbound_recipients LIMIT 1"
        )

    async def test_without_delay_notices_the_end_is_the_first_thing_to_happen(
        self, seed: DatabaseSeed, database: Database
    ) -> None:
        await PostgresMailboxes(database, QueuePolicy(50, 0)).deliver(
            [make_segment([leaving(make_outbound("a@far.test"))])]
        )
        assert await seed.value("SELECT overdue_at = expires_at FROM outbound_recipients")

    async def test_a_message_for_elsewhere_alone_keeps_its_octets_live(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        assert (
            await mailboxes.deliver(
                [make_segment([leaving(make_outbound("a@far.test"), make_outbound("b@near.test"))])]
            )
            == 0
        )
        assert await seed.rows("SELECT live_octets, condemned_at FROM segments") == [(1000, None)]
        assert await seed.value("SELECT refs FROM messages") == 1
        assert await seed.rows("SELECT name FROM outbound_destinations ORDER BY name") == [
            ("far.test",),
            ("near.test",),
        ]
        await seed.sums_hold()

    async def test_what_has_ended_waits_for_its_notice_alone(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        bounced = make_outbound(
            "gone@example.test",
            state=QueueState.BOUNCED,
            status="5.1.1",
            reply="550 5.1.1 gone",
            notice=Action.FAILED,
        )
        silent = make_outbound("quiet@example.test", state=QueueState.DELIVERED)
        await mailboxes.deliver([make_segment([leaving(bounced, silent)])])
        columns = "recipient, state, last_status, last_reply, notice, closed_at IS NULL"
        assert await seed.rows(f"SELECT {columns} FROM outbound_recipients ORDER BY id") == [
            ("gone@example.test", "bounced", "5.1.1", "550 5.1.1 gone", "failed", True),
            ("quiet@example.test", "delivered", "", "", None, False),
        ]
        assert await seed.rows("SELECT name FROM outbound_destinations") == []
        assert await seed.value("SELECT open FROM outbound_messages") == 1
        await seed.sums_hold()

    async def test_a_message_with_closed_rows_only_holds_no_octets(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await mailboxes.deliver(
            [
                make_segment(
                    [leaving(make_outbound("quiet@example.test", state=QueueState.DELIVERED))]
                )
            ]
        )
        assert await seed.value("SELECT refs FROM messages") == 0
        await seed.sums_hold()

    async def test_redelivery_enters_nothing_again(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        sent = leaving(make_outbound("a@far.test"))
        await mailboxes.deliver([make_segment([sent])])
        await mailboxes.deliver(
            [make_segment([sent]), make_segment([leaving(make_outbound("b@far.test"))])]
        )
        rows = await seed.rows("SELECT recipient FROM outbound_recipients ORDER BY id")
        assert rows == [("a@far.test",), ("b@far.test",)]
        await seed.sums_hold()

    async def test_a_destination_becomes_due_earlier_and_never_later(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.rows(
            "INSERT INTO outbound_destinations VALUES ('far.test', 'infinity'), ('near.test', now() - interval '1 day')"
        )
        await mailboxes.deliver(
            [make_segment([leaving(make_outbound("a@far.test"), make_outbound("a@near.test"))])]
        )
        ages = "due_at <= now(), due_at < now() - interval '1 hour'"
        assert await seed.rows(f"SELECT name, {ages} FROM outbound_destinations ORDER BY name") == [
            ("far.test", True, False),
            ("near.test", True, True),
        ]

    async def test_batches_that_meet_at_many_destinations_do_not_deadlock(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        names = [f"d{number}.test" for number in range(30)]

        async def place(turn: int) -> None:
            turned = names[turn:] + names[:turn]
            await mailboxes.deliver(
                [make_segment([leaving(*(make_outbound(f"a@{name}") for name in turned))])]
            )

        async with asyncio.timeout(BUSY_SECONDS):
            await asyncio.gather(*(place(turn) for turn in range(24)))
        assert await seed.value("SELECT count(*) FROM outbound_recipients") == 24 * 30
        await seed.sums_hold()

    async def test_a_claim_that_found_nothing_cannot_hide_a_row_that_is_entered_meanwhile(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, database: Database
    ) -> None:
        await seed.rows("INSERT INTO outbound_destinations VALUES ('far.test', now())")
        async with database.transaction() as claim:
            await claim.execute(
                "SELECT FROM outbound_destinations WHERE name = 'far.test' FOR UPDATE"
            )
            placing = asyncio.create_task(
                mailboxes.deliver([make_segment([leaving(make_outbound("a@far.test"))])])
            )
            async with asyncio.timeout(BUSY_SECONDS):
                while not await seed.rows("SELECT pid FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.01)
            assert await claim.fetchval("SELECT count(*) FROM outbound_recipients") == 0
            await claim.execute(
                "UPDATE outbound_destinations SET due_at = 'infinity' WHERE name = 'far.test'"
            )
        await asyncio.wait_for(placing, BUSY_SECONDS)
        assert await seed.value("SELECT due_at <= now() FROM outbound_destinations")

    async def test_text_that_postgres_refuses_is_mended(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        odd = replace(
            make_outbound("b\0ob@far.test"),
            original="\ud800@x.test",
            dsn=RecipientDsn(orcpt="rfc822;\0"),
        )
        await mailboxes.deliver([make_segment([leaving(odd, sender="s\0@x.test")])])
        assert await seed.rows(
            "SELECT recipient, original, orcpt, sender FROM outbound_recipients"
        ) == [("bob@far.test", "\ufffd@x.test", "rfc822;", "s@x.test")]
