"""The port Mailboxes on PostgreSQL: whose message it is, and a batch that is placed once, whole
or not at all."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailboxes import AccountsGone
from posthorn.runtime.ids import new_id
from tests.support.builders import make_message, make_segment
from tests.support.databases import until_waiting
from tests.support.polling import BUSY_SECONDS
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("sound")


async def _resolved(mailboxes: PostgresMailboxes, *recipients: str) -> dict[str, tuple[int, ...]]:
    return dict((await mailboxes.resolve(recipients, ())).accounts)


class TestResolve:
    async def test_an_exact_address_is_its_account_and_a_stranger_is_missing(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        assert await _resolved(
            mailboxes, "ada@example.test", "nobody@example.test", "ada@foreign.test"
        ) == {"ada@example.test": (ada,)}

    async def test_a_repeated_recipient_is_one_answer(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        assert await _resolved(mailboxes, *["ada@example.test"] * 3) == {"ada@example.test": (ada,)}

    async def test_nobody_and_nothing_asked_gives_nothing(
        self, mailboxes: PostgresMailboxes
    ) -> None:
        found = await mailboxes.resolve((), ())
        assert (dict(found.accounts), found.delivered) == ({}, frozenset())

    async def test_an_alias_leads_to_all_its_targets_without_repeats(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada, bob = await seed.account("ada@example.test"), await seed.account("bob@example.test")
        await seed.alias(
            "both@example.test", "bob@example.test", "ada@example.test", "gone@example.test"
        )
        await seed.alias(
            "all@example.test", "both@example.test", "ada@example.test", "ada+tag@example.test"
        )
        found = await _resolved(mailboxes, "both@example.test", "all@example.test")
        assert found == {"both@example.test": (ada, bob), "all@example.test": (ada, bob)}

    async def test_a_long_chain_of_aliases_is_followed_to_its_end(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        await seed.alias("a1@example.test", "ada@example.test")
        for number in range(2, 12):
            await seed.alias(f"a{number}@example.test", f"a{number - 1}@example.test")
        assert await _resolved(mailboxes, "a11@example.test") == {"a11@example.test": (ada,)}
        assert await _resolved(mailboxes, "a11+tag@example.test") == {
            "a11+tag@example.test": (ada,)
        }

    async def test_a_recipient_that_comes_to_more_than_a_hundred_addresses_is_only_told_to_be_wide(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        for number in range(20):
            await seed.alias(
                f"part{number}@example.test", *(f"x{number}.{n}@far.test" for n in range(100))
            )
        await seed.alias(
            "all@example.test", *(f"part{number}@example.test" for number in range(20))
        )
        await seed.alias("more@example.test", "ada@example.test", "part1@example.test")
        found = await mailboxes.resolve(
            ["part0@example.test", "all@example.test", "ada@example.test", "more@example.test"], ()
        )
        assert found.wide == {"all@example.test", "more@example.test"}
        assert dict(found.accounts) == {"ada@example.test": (ada,)}
        assert {recipient: len(forwards) for recipient, forwards in found.forwards.items()} == {
            "part0@example.test": 100
        }

    async def test_a_mesh_that_was_entered_long_ago_ends_where_it_is_wide(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        await seed.rows(
            "INSERT INTO aliases (domain_id, address, targets)"
            " SELECT d.id, 'm' || a || '@example.test',"
            "        ARRAY(SELECT 'm' || (a * 37 + b * 61) % 20000 || '@example.test' FROM generate_series(1, 60) b)"
            "   FROM domains d, generate_series(0, 19999) a"
        )
        async with asyncio.timeout(BUSY_SECONDS):
            assert (await mailboxes.resolve(["m1@example.test"], ())).wide == {"m1@example.test"}

    async def test_what_is_read_for_a_statement_is_bounded_however_wide_its_recipients_are(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await seed.domain("example.test")
        await seed.alias("wide@example.test", *(f"x{n}@far.test" for n in range(900)))
        await seed.alias("few@example.test", *(f"x{n}@far.test" for n in range(60)))
        asked = [f"{name}+{n}@example.test" for n in range(400) for name in ("wide", "few")]
        read: list[int] = []
        fetch = asyncpg.Connection.fetch

        async def counted(self: Connection, query: str, *values: object) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await fetch(self, query, *values)
            read.append(len(rows))
            return rows

        monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
        found = await mailboxes.resolve(asked, ())
        assert max(read) <= 10_000
        assert len(read) <= 10
        assert len(found.wide) == len(found.forwards) == 400
        assert {len(forwards) for forwards in found.forwards.values()} == {60}

    async def test_many_recipients_that_come_to_much_together_are_all_resolved(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        for number in range(15):
            await seed.alias(
                f"part{number}@example.test", *(f"x{number}.{n}@example.test" for n in range(100))
            )
        asked = [f"all{number}@example.test" for number in range(16)]
        for each in asked:
            await seed.alias(
                each, "ada@example.test", *(f"part{number}@example.test" for number in range(15))
            )
        made = make_message([ada])
        placed = made.envelope.id
        await mailboxes.deliver([make_segment([made])])
        found = await mailboxes.resolve(asked, [placed])
        assert found.wide == set(asked)
        assert found.delivered == {placed}

    async def test_a_loop_of_aliases_ends_and_keeps_what_is_beside_it(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        await seed.alias("me@example.test", "me@example.test")
        await seed.alias("ping@example.test", "pong@example.test")
        await seed.alias("pong@example.test", "ping@example.test", "ada@example.test")
        found = await _resolved(mailboxes, "me@example.test", "ping@example.test")
        assert found == {"ping@example.test": (ada,)}

    async def test_a_mesh_of_aliases_does_not_explode(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        names = [f"mesh{number}@example.test" for number in range(25)]
        for name in names:
            await seed.alias(name, *names, "ada@example.test")
        async with asyncio.timeout(BUSY_SECONDS):
            assert await _resolved(mailboxes, names[0]) == {names[0]: (ada,)}

    async def test_a_tag_is_dropped_for_accounts_and_aliases(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        await seed.alias("team@example.test", "ada@example.test")
        asked = (
            "ada+x@example.test",
            "ada+x+y@example.test",
            "ada+@example.test",
            "team+x@example.test",
        )
        assert await _resolved(mailboxes, *asked) == dict.fromkeys(asked, (ada,))
        assert (
            await _resolved(mailboxes, "+x@example.test", "+@example.test", "eve+ada@example.test")
            == {}
        )

    async def test_no_tag_is_dropped_where_the_domain_does_not_allow_it(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("strict.test", plus=False, catch_all="rest@strict.test")
        await seed.account("ada@strict.test")
        rest = await seed.account("rest@strict.test")
        assert await _resolved(mailboxes, "ada+x@strict.test") == {"ada+x@strict.test": (rest,)}

    async def test_an_exact_address_wins_over_its_tag_and_that_over_the_catch_all(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test", catch_all="rest@example.test")
        ada, tagged = (
            await seed.account("ada@example.test"),
            await seed.account("ada+vip@example.test"),
        )
        rest = await seed.account("rest@example.test")
        await seed.alias("ada+list@example.test", "rest@example.test")
        assert await _resolved(
            mailboxes,
            *(
                "ada+vip@example.test",
                "ada+list@example.test",
                "ada+x@example.test",
                "eve+x@example.test",
            ),
        ) == {
            "ada+vip@example.test": (tagged,),
            "ada+list@example.test": (rest,),
            "ada+x@example.test": (ada,),
            "eve+x@example.test": (rest,),
        }

    async def test_a_catch_all_may_be_an_alias_elsewhere_and_a_dead_one_ends(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test", catch_all="team+stray@other.test")
        await seed.domain("other.test")
        await seed.domain("dead.test", catch_all="gone@dead.test")
        ada = await seed.account("ada@other.test")
        await seed.alias("team@other.test", "ada@other.test")
        found = await _resolved(mailboxes, "anyone@example.test", "anyone@dead.test")
        assert found == {"anyone@example.test": (ada,)}

    async def test_quoted_local_parts_lose_their_tag_too(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        # canonical forms as wire.address gives them: quoted only where needed
        await seed.domain("example.test")
        spaced = await seed.account('"a b"@example.test')
        plain = await seed.account("plain@example.test")
        at = await seed.account('"x\\\\\\"@y"@example.test')
        dotted = await seed.account('"dot."@example.test')
        asked = {
            '"a b+tag"@example.test': (spaced,),
            '"plain+two words"@example.test': (plain,),
            '"x\\\\\\"@y+t"@example.test': (at,),
            "dot.+tag@example.test": (dotted,),
        }
        assert await _resolved(mailboxes, *asked) == asked

    async def test_suspended_accounts_still_resolve_since_their_mail_was_promised(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        held = await seed.account("held@example.test", state="suspended")
        assert await _resolved(mailboxes, "held@example.test") == {"held@example.test": (held,)}

    async def test_text_that_postgres_refuses_leads_nowhere_and_harms_no_other(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        asked = (
            "ada@example.test",
            "nul\0@example.test",
            "broken\ud800@example.test",
            "",
            "@",
            "no-at",
        )
        assert await _resolved(mailboxes, *asked) == {"ada@example.test": (ada,)}

    async def test_it_tells_which_messages_are_placed(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        known, dropped = make_message([ada]), make_message([])
        await mailboxes.deliver([make_segment([known, dropped])])
        ids = {known.envelope.id, dropped.envelope.id}
        found = await mailboxes.resolve(["user0@example.test"], [*ids, new_id()])
        assert found.delivered == ids
        assert dict(found.accounts) == {"user0@example.test": (ada,)}


class TestPlace:
    async def test_messages_lie_in_every_inbox_in_order_with_all_that_is_known(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        ada, bob = await seed.accounts(2)
        first = make_message([ada, bob], size=700, stored=300, offset=0, subject="One")
        second = make_message([ada], size=900, offset=300, subject="Two")
        batch = make_segment([second, first])  # the order of receipt counts, not that of the batch
        assert await mailboxes.deliver([batch]) == 3
        assert await seed.inbox(ada) == [(1, first.envelope.id), (2, second.envelope.id)]
        assert await seed.inbox(bob) == [(1, first.envelope.id)]
        assert await seed.used(ada) == (1600, 2)
        assert await seed.rows(
            "SELECT id, key, octets, live_octets, condemned_at FROM segments"
        ) == [(batch.id, batch.key, 1200, 1200, None)]
        assert await seed.rows(
            "SELECT segment_id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256, refs,"
            " extract(epoch FROM received_at)::float8, reverse_path, subject, from_, date, message_id"
            " FROM messages WHERE id = $1",
            first.envelope.id,
        ) == [
            (
                *(batch.id, 0, 300, "identity", 700, False, first.envelope.body.sha256, 2),
                *(
                    first.envelope.received_at,
                    "sender@elsewhere.test",
                    "One",
                    "Sender",
                    "today",
                    "<1@elsewhere.test>",
                ),
            )
        ]
        assert (
            await seed.value(
                "SELECT uidnext FROM mailboxes WHERE account_id = $1 AND mailbox_id = 1", ada
            )
            == 3
        )
        await seed.sums_hold()

    async def test_uids_go_on_and_modseq_grows(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        for _ in range(3):
            await mailboxes.deliver([make_segment([make_message([ada]), make_message([ada])])])
        assert [uid for uid, _ in await seed.inbox(ada)] == [1, 2, 3, 4, 5, 6]
        sequences = [
            row[0] for row in await seed.rows("SELECT modseq FROM mailbox_entries ORDER BY uid")
        ]
        assert sequences == [2, 2, 3, 3, 4, 4]
        await seed.sums_hold()

    async def test_an_account_named_twice_gets_the_message_once(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        assert await mailboxes.deliver([make_segment([make_message([ada, ada])])]) == 1
        await seed.sums_hold()

    async def test_redelivery_does_nothing_and_its_segment_is_condemned(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        known = make_message([ada])
        await mailboxes.deliver([make_segment([known])])
        again = make_segment([known])
        assert await mailboxes.deliver([again]) == 0
        assert len(await seed.inbox(ada)) == 1
        assert await seed.value(
            "SELECT condemned_at IS NOT NULL FROM segments WHERE id = $1", again.id
        )
        await seed.sums_hold()

    async def test_a_partly_known_segment_counts_only_what_is_new_as_live(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        known, new = make_message([ada], size=400), make_message([ada], size=70)
        await mailboxes.deliver([make_segment([known])])
        mixed = make_segment([known, new])
        assert await mailboxes.deliver([mixed]) == 1
        assert await seed.rows(
            "SELECT live_octets, condemned_at FROM segments WHERE id = $1", mixed.id
        ) == [(70, None)]
        await seed.sums_hold()

    async def test_a_message_twice_in_one_batch_is_placed_once(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        twin = make_message([ada])
        assert await mailboxes.deliver([make_segment([twin, twin]), make_segment([twin])]) == 1
        await seed.sums_hold()

    async def test_a_message_for_nobody_is_recorded_and_dead_at_once(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        stray, kept = make_message([], size=50), make_message([ada], size=60)
        batch = make_segment([stray, kept])
        assert await mailboxes.deliver([batch]) == 1
        assert await seed.value("SELECT refs FROM messages WHERE id = $1", stray.envelope.id) == 0
        assert await seed.value("SELECT live_octets FROM segments") == 60
        await seed.sums_hold()

    async def test_halves_of_a_batch_share_their_segment(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        # isolating a poison message places the same blob in parts, in any order and with repeats
        (ada,) = await seed.accounts(1)
        messages = [make_message([ada], size=100 + number) for number in range(4)]
        whole = make_segment(messages)
        await mailboxes.deliver([make_segment(messages[:1])])
        assert (
            await mailboxes.deliver([make_segment(messages[:1], number=whole.id, key=whole.key)])
            == 0
        )
        assert await seed.value(
            "SELECT condemned_at IS NOT NULL FROM segments WHERE id = $1", whole.id
        )
        assert (
            await mailboxes.deliver([make_segment(messages[:2], number=whole.id, key=whole.key)])
            == 1
        )
        assert (
            await mailboxes.deliver([make_segment(messages[2:], number=whole.id, key=whole.key)])
            == 2
        )
        assert await mailboxes.deliver([whole]) == 0
        assert await seed.rows(
            "SELECT live_octets, condemned_at FROM segments WHERE id = $1", whole.id
        ) == [(101 + 102 + 103, None)]
        await seed.sums_hold()

    async def test_a_large_body_delivered_again_keeps_its_blob(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        large = make_message([ada])
        key = f"bodies/{large.envelope.id}"
        assert await mailboxes.deliver([make_segment([large], key=key)]) == 1
        assert await mailboxes.deliver([make_segment([large], key=key)]) == 0
        assert await seed.rows("SELECT key, live_octets, condemned_at FROM segments") == [
            (key, 1000, None)
        ]
        await seed.sums_hold()

    async def test_nothing_to_place_is_no_error(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        assert await mailboxes.deliver([]) == 0
        assert await mailboxes.deliver([make_segment([])]) == 0
        await seed.sums_hold()

    async def test_nul_and_broken_unicode_do_not_hinder(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        odd = make_message(
            [ada], subject="a\0b\ud800c\U0001f4ef", reverse_path="se\0nder@elsewhere.test"
        )
        assert await mailboxes.deliver([make_segment([odd])]) == 1
        assert await seed.rows("SELECT subject, reverse_path FROM messages") == [
            ("ab\ufffdc\U0001f4ef", "sender@elsewhere.test")
        ]

    @pytest.mark.parametrize("received_at", [float("nan"), 1e300])
    async def test_a_message_that_cannot_be_written_is_told_from_an_outage(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, received_at: float
    ) -> None:
        (ada,) = await seed.accounts(1)
        with pytest.raises(asyncpg.DataError):
            await mailboxes.deliver(
                [make_segment([make_message([ada]), make_message([ada], received_at=received_at)])]
            )
        with pytest.raises((asyncpg.DataError, ValueError)):
            await mailboxes.deliver([make_segment([make_message([ada], size=2**70)])])
        assert await seed.value("SELECT count(*) FROM segments") == 0
        assert await mailboxes.deliver([make_segment([make_message([ada])])]) == 1
        await seed.sums_hold()

    async def test_an_account_that_went_leaves_nothing_written(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        ada, bob = await seed.accounts(2)
        await seed.rows("DELETE FROM accounts WHERE id = $1", bob)
        with pytest.raises(AccountsGone):
            await mailboxes.deliver([make_segment([make_message([ada]), make_message([ada, bob])])])
        for table in ("segments", "messages", "mailbox_entries"):
            assert await seed.value(f"SELECT count(*) FROM {table}") == 0
        assert await seed.used(ada) == (0, 0)

    async def test_an_account_deleted_while_placing_waits_is_gone_too(
        self, database_url: str, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        other: Connection = await asyncpg.connect(database_url)
        async with other.transaction():
            await other.execute("DELETE FROM accounts WHERE id = $1", ada)
            placing = asyncio.create_task(mailboxes.deliver([make_segment([make_message([ada])])]))
            await until_waiting(other)
        with pytest.raises(AccountsGone):
            await placing
        await other.close()

    async def test_full_mailboxes_take_what_was_promised_and_the_directory_is_told_once(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        small = await seed.account("small@example.test", quota=1000)
        await seed.account("unlimited@example.test")
        await mailboxes.deliver([make_segment([make_message([small], size=999)])])
        assert await seed.drain_outbox() == []
        await mailboxes.deliver([make_segment([make_message([small], size=1)])])
        assert await seed.drain_outbox() == ["small@example.test"]
        assert await mailboxes.deliver([make_segment([make_message([small], size=5000)])]) == 1
        assert await seed.drain_outbox() == []
        assert await seed.used(small) == (6000, 3)

    async def test_the_publisher_is_woken_when_a_mailbox_becomes_full(
        self, database_url: str, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        await seed.domain("example.test")
        small = await seed.account("small@example.test", quota=10)
        heard = asyncio.Event()
        listener: Connection = await asyncpg.connect(database_url)
        await listener.add_listener("directory", lambda *_: heard.set())
        await mailboxes.deliver([make_segment([make_message([small])])])
        async with asyncio.timeout(BUSY_SECONDS):
            await heard.wait()
        await listener.close()


class TestPlacingAtOnce:
    async def test_two_batches_with_the_same_messages_place_each_once(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        accounts = await seed.accounts(6)
        for _ in range(8):
            messages = [make_message(random.sample(accounts, 2)) for _ in range(30)]
            mine, yours = messages[:20], messages[10:]
            random.shuffle(mine)
            random.shuffle(yours)
            made = await asyncio.gather(
                mailboxes.deliver([make_segment(mine)]), mailboxes.deliver([make_segment(yours)])
            )
            assert sum(made) == 60
        await seed.sums_hold()

    async def test_messages_for_nobody_cannot_deadlock_either(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        # no account's lock puts these batches in order
        # all connections are there
        await asyncio.gather(*(mailboxes.resolve([], []) for _ in range(8)))
        for _ in range(3):
            messages = [make_message([]) for _ in range(400)]
            batches = [make_segment(random.sample(messages, 390)) for _ in range(8)]
            await asyncio.gather(*(mailboxes.deliver([batch]) for batch in batches))
        await seed.sums_hold()

    async def test_the_same_large_body_placed_twice_at_once_keeps_its_blob(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        (ada,) = await seed.accounts(1)
        for recipients in ([ada], []):
            large = make_message(recipients)
            key = f"bodies/{large.envelope.id}"
            await asyncio.gather(
                *(mailboxes.deliver([make_segment([large], key=key)]) for _ in range(4))
            )
            assert await seed.rows(
                "SELECT count(*), count(condemned_at) FROM segments WHERE key = $1", key
            ) == [(1, 0)]
        await seed.sums_hold()

    async def test_twenty_placements_into_the_same_accounts_end_without_deadlock(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes
    ) -> None:
        accounts = await seed.accounts(10)

        async def place() -> int:
            messages = [
                make_message(random.sample(accounts, random.randint(1, 10))) for _ in range(10)
            ]
            return await mailboxes.deliver([make_segment(messages)])

        made = await asyncio.gather(*(place() for _ in range(20)))
        assert sum(made) == await seed.value("SELECT count(*) FROM mailbox_entries")
        await seed.sums_hold()

    @pytest.mark.parametrize("is_cancelled", [False, True], ids=["connection lost", "cancelled"])
    async def test_a_placement_cut_off_in_the_middle_leaves_nothing_and_no_lock(
        self,
        database_url: str,
        seed: DatabaseSeed,
        mailboxes: PostgresMailboxes,
        is_cancelled: bool,
    ) -> None:
        (ada,) = await seed.accounts(1)
        other: Connection = await asyncpg.connect(database_url)
        async with other.transaction():
            # the last statement of place() meets this lock, after messages and segments were
            # written
            await other.execute("SELECT FROM mailboxes WHERE account_id = $1 FOR UPDATE", ada)
            placing = asyncio.create_task(mailboxes.deliver([make_segment([make_message([ada])])]))
            pid = await until_waiting(other)
            if is_cancelled:
                placing.cancel()
            else:
                await other.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises(asyncio.CancelledError if is_cancelled else Unavailable) as fault:
                await placing
        assert str(fault.value).startswith("" if is_cancelled else "postgres: ")
        for table in ("segments", "messages", "mailbox_entries"):
            assert await seed.value(f"SELECT count(*) FROM {table}") == 0
        assert await mailboxes.deliver([make_segment([make_message([ada])])]) == 1
        await seed.sums_hold()
        await other.close()

    async def test_quotas_are_exact_after_any_mixture_of_placing_and_deleting(
        self, seed: DatabaseSeed, database: Database, mailboxes: PostgresMailboxes
    ) -> None:
        maildrops = PostgresMaildrops(database)
        accounts = await seed.accounts(5, quota=20_000)
        messages = [
            make_message(
                random.sample(accounts, random.randint(0, 5)), size=random.randint(1, 3000)
            )
            for _ in range(60)
        ]

        async def deliver() -> None:
            for _ in range(6):
                await mailboxes.deliver(
                    [make_segment(random.sample(messages, random.randint(1, 25)))]
                )

        async def read(account: int) -> None:
            for _ in range(8):
                holder = new_id()
                uids = list((await maildrops.open(account, holder)).uids)
                await maildrops.commit(
                    account, holder, random.sample(uids, random.randint(0, len(uids)))
                )

        await asyncio.gather(
            *(deliver() for _ in range(3)), *(read(account) for account in accounts)
        )
        await seed.sums_hold()
        placed = {row[0] for row in await seed.rows("SELECT id FROM messages")}
        expected = sum(len(each.accounts) for each in messages if each.envelope.id in placed)
        # none twice
        assert (
            await seed.value("SELECT sum(uidnext - 1) FROM mailboxes WHERE mailbox_id = 1")
            == expected
        )


async def test_it_is_ready_with_the_schema_it_needs(mailboxes: PostgresMailboxes) -> None:
    await mailboxes.probe()
