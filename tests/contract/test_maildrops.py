"""The port Maildrops on PostgreSQL: one session at a time, a snapshot that stays, deletions
whole or not at all."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.imap.folders import PostgresFolders
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.blob_range import BlobRange, BodyLocation
from posthorn.ports.access import (
    MAX_NETWORKS,
    Ending,
    FamiliarNetwork,
    LoginCheck,
    LoginFindings,
    Proof,
    digest_of,
)
from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import (
    LEASE_SECONDS,
    AccountLogin,
    LeaseLost,
    Listing,
    MaildropBusy,
    Revoked,
)
from posthorn.ports.segments import Segment
from posthorn.runtime.ids import new_id
from tests.support.builders import make_message, make_segment
from tests.support.databases import as_part, pool, until_waiting
from tests.support.polling import BUSY_SECONDS
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture
async def maildrops(database_url: str) -> AsyncIterator[PostgresMaildrops]:
    async with pool(as_part(database_url, "pop3"), database_pool=8) as own:
        yield PostgresMaildrops(own)


async def _expire(seed: DatabaseSeed, account: int) -> None:
    await seed.rows(
        "UPDATE maildrop_leases SET expires_at = now() - interval '1 second' WHERE account_id = $1",
        account,
    )


class TestLogin:
    async def test_it_tells_what_is_known_of_an_account(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        await seed.domain("example.test")
        ada = await seed.account("ada@example.test")
        assert await maildrops.login("ada@example.test") == AccountLogin(
            ada, "ada@example.test", "hash", active=True, tenant=DEFAULT_TENANT
        )
        await seed.rows("UPDATE domains SET retention_days = 30")
        known = await maildrops.login("ada@example.test")
        assert known is not None
        assert known.keep_days == 30
        await seed.rows("UPDATE domains SET allowed_networks = '{192.0.2.0/24}'")
        known = await maildrops.login("ada@example.test")
        assert known is not None
        assert known.networks == ("192.0.2.0/24",)
        await seed.rows("UPDATE accounts SET allowed_networks = '{2001:db8::/32}'")
        known = await maildrops.login("ada@example.test")
        assert known is not None
        assert known.networks == ("2001:db8::/32",)

    async def test_a_stranger_is_nobody(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        await seed.domain("example.test", catch_all="ada@example.test")
        await seed.account("ada@example.test")
        await seed.alias("alias@example.test", "ada@example.test")
        for address in (
            "eve@example.test",
            "alias@example.test",
            "ada+tag@example.test",
            "",
            "nul\0@x",
            "\ud800",
        ):
            assert await maildrops.login(address) is None

    async def test_only_a_suspended_account_may_not_log_in(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        await seed.domain("example.test")
        for state, active in (("suspended", False), ("receive-only", True)):
            await seed.account(f"{state}@example.test", state=state)
            login = await maildrops.login(f"{state}@example.test")
            assert login is not None
            assert login.active is active

    async def test_accounts_that_are_suspended_or_gone_are_told_from_others(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        await seed.domain("example.test")
        ada, mute = (
            await seed.account("ada@example.test"),
            await seed.account("mute@example.test", state="receive-only"),
        )
        away = await seed.account("away@example.test", state="suspended")
        holders = {each: new_id() for each in (ada, mute, away, 4711)}
        for each in (ada, mute, away):
            await maildrops.open(each, holders[each])
        asked = {holder: Proof(each, digest_of("hash")) for each, holder in holders.items()}
        closed = Ending.CLOSED
        assert await maildrops.ended(asked) == {holders[away]: closed, holders[4711]: closed}
        assert await maildrops.ended({}) == {}
        await seed.rows("UPDATE tenants SET state = 'suspended'")
        assert await maildrops.ended({holders[ada]: asked[holders[ada]]}) == {holders[ada]: closed}

    async def test_sessions_end_with_what_they_logged_in_with(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob = await seed.accounts(2)
        key = b"k" * 32
        await seed.rows(
            "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes) VALUES ($1, $2, 'phone', $3, '{pop3}')",
            *(new_id(), ada, key),
        )
        own, app = new_id(), new_id()
        await maildrops.open(bob, own)
        await maildrops.open(ada, app, by_app_password=True)
        asked = {
            own: Proof(bob, digest_of("hash")),
            app: Proof(ada, app_password=key, scope="pop3"),
        }
        assert await maildrops.ended(asked) == {}
        assert await maildrops.ended(asked | {app: Proof(bob, app_password=key, scope="pop3")}) == {
            app: Ending.CHANGED
        }
        assert await maildrops.ended(asked | {app: Proof(ada, app_password=key, scope="smtp")}) == {
            app: Ending.CHANGED
        }
        await seed.rows("UPDATE accounts SET password_hash = 'another'")
        assert await maildrops.ended(asked) == {own: Ending.CHANGED}, (
            "an app password outlives the account's"
        )
        with pytest.raises(Revoked):
            await maildrops.commit(bob, own, [1], asked[own])
        await seed.rows("DELETE FROM app_passwords")
        assert await maildrops.ended(asked) == {own: Ending.CHANGED, app: Ending.CHANGED}

    @pytest.mark.parametrize("part", ["pop3", "imap"])
    async def test_a_login_learns_of_failures_and_of_its_app_password_by_the_same_statement(
        self, database_url: str, seed: DatabaseSeed, part: str
    ) -> None:
        ada, _ = await seed.accounts(2)
        key = b"k" * 32
        await seed.rows(
            "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes) VALUES ($1, $2, 'phone', $3, $4)",
            *(new_id(), ada, key, [part]),
        )
        await seed.rows(
            "INSERT INTO throttles (key, full_at) VALUES ('a', now() + interval '1 hour'), ('c', now())"
        )
        async with pool(as_part(database_url, part), database_pool=1) as own:
            store = PostgresMaildrops(own) if part == "pop3" else PostgresFolders(own)

            async def findings(address: str, **asked: Any) -> LoginFindings | None:
                known = await store.login(address, b"", LoginCheck(**asked))
                assert known is not None
                return known.findings

            mine, other = "user0@example.test", "user1@example.test"
            unchecked = await store.login(mine)
            assert unchecked is not None
            assert unchecked.findings is None
            assert await findings(mine, counters=("x", "y")) == LoginFindings({}, None)
            found = await findings(mine, counters=("a", "b\0"), app_password=key, scope=part)
            assert found is not None
            assert found.counters == {"a": pytest.approx(3600, abs=60), "b\0": 0.0}
            assert found.app_password_age == float("inf")
            for address, shown, scope in (
                (other, key, part),
                (mine, b"x" * 32, part),
                (mine, key, "smtp"),
            ):
                found = await findings(address, app_password=shown, scope=scope)
                assert found == LoginFindings({}, None)
            await seed.rows("UPDATE app_passwords SET last_used_at = now() - interval '5 minutes'")
            found = await findings(mine, app_password=key, scope=part)
            assert found is not None
            assert found.app_password_age == pytest.approx(300, abs=60)

    async def test_familiar_places_are_told_at_login_for_a_while_and_a_few_of_them(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        await seed.domain("example.test")
        ada, bob = await seed.account("ada@example.test"), await seed.account("bob@example.test")

        async def age(network: bytes) -> float | None:
            login = await maildrops.login("ada@example.test", network)
            assert login is not None
            return login.network_age

        assert await age(b"home") is None
        await maildrops.remember(
            [
                FamiliarNetwork(ada, b"home"),
                FamiliarNetwork(bob, b"work"),
                FamiliarNetwork(4711, b"gone"),
            ]
        )
        assert await age(b"home") == pytest.approx(0, abs=BUSY_SECONDS)
        assert await age(b"work") is None
        await seed.rows("UPDATE familiar_places SET seen_at = now() - interval '29 days'")
        assert await age(b"home") == pytest.approx(29 * 86_400, abs=BUSY_SECONDS)
        await maildrops.remember(
            [FamiliarNetwork(ada, b"%d" % number) for number in range(MAX_NETWORKS)]
        )
        assert await age(b"home") is None
        assert (
            await seed.value("SELECT count(*) FROM familiar_places WHERE account_id = $1", ada)
            == MAX_NETWORKS
        )
        assert (
            await seed.value("SELECT count(*) FROM familiar_places WHERE account_id = $1", bob) == 1
        )
        await seed.rows("UPDATE familiar_places SET seen_at = now() - interval '31 days'")
        assert await age(b"1") is None


class TestOpen:
    async def test_the_inbox_is_given_by_ascending_uid_and_nothing_of_other_folders(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob = await seed.accounts(2)
        messages = [make_message([ada], size=100 + number) for number in range(3)]
        await mailboxes.deliver([make_segment([*messages, make_message([bob])])])
        await seed.entries(
            "INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date)"
            " VALUES ($1, 2, 1, $2, 5, now())",
            *(ada, messages[0].envelope.id),
        )
        validity = await seed.value(
            "SELECT uidvalidity FROM mailboxes WHERE account_id = $1 AND mailbox_id = 1", ada
        )
        assert await maildrops.open(ada, new_id()) == Listing(validity, [1, 2, 3], [100, 101, 102])

    async def test_unique_ids_of_another_server_come_with_the_inbox(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob = await seed.accounts(2)
        await mailboxes.deliver([make_segment([make_message([ada, bob]) for _ in range(3)])])
        await seed.rows("INSERT INTO unique_ids VALUES ($1, 1, 'a'), ($1, 3, 'b')", ada)
        first = new_id()
        listing = await maildrops.open(ada, first)
        assert listing.unique_ids == {1: b"a", 3: b"b"}
        with pytest.raises(MaildropBusy):
            await maildrops.open(ada, new_id())
        await maildrops.release([(ada, first)])
        assert await maildrops.open(ada, new_id(), known=listing) is listing
        assert (await maildrops.open(bob, new_id())).unique_ids == {}

    async def test_an_empty_inbox_is_an_empty_list(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        assert len(await maildrops.open(ada, new_id())) == 0

    async def test_unique_ids_stay_when_messages_before_them_go(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        await mailboxes.deliver([make_segment([make_message([ada]) for _ in range(3)])])
        holder = new_id()
        before = await maildrops.open(ada, holder)
        await maildrops.commit(ada, holder, [before.uids[0]])
        await mailboxes.deliver([make_segment([make_message([ada])])])
        after = await maildrops.open(ada, new_id())
        assert after.uidvalidity == before.uidvalidity
        assert after.uids[:2] == before.uids[1:]
        assert after.uids[2] not in before.uids

    async def test_a_second_session_is_refused_until_the_first_gives_the_lease_back(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob = await seed.accounts(2)
        first, second = new_id(), new_id()
        await maildrops.open(ada, first)
        with pytest.raises(MaildropBusy):
            await maildrops.open(ada, second)
        await maildrops.open(bob, second)  # another account's maildrop is no matter
        await maildrops.open(ada, first)  # nor is the holder in its own way
        await maildrops.release([(ada, second)])  # which is not second's to give
        with pytest.raises(MaildropBusy):
            await maildrops.open(ada, second)
        await maildrops.release([(ada, first)])
        await maildrops.open(ada, second)

    async def test_the_accounts_own_password_takes_the_lease_of_an_app_password(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        thief, owner = new_id(), new_id()
        await maildrops.open(ada, thief, by_app_password=True)
        with pytest.raises(MaildropBusy):
            await maildrops.open(ada, new_id(), by_app_password=True)
        await maildrops.open(ada, owner)
        proof = Proof(ada, digest_of("hash"))
        assert await maildrops.ended({thief: proof, owner: proof}) == {thief: Ending.TAKEN}
        with pytest.raises(LeaseLost):
            await maildrops.commit(ada, thief, [1], proof)
        for by_app_password in (True, False):
            with pytest.raises(MaildropBusy):
                await maildrops.open(ada, new_id(), by_app_password=by_app_password)

    async def test_of_many_sessions_at_once_one_gets_the_maildrop(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        for _ in range(3):
            results = await asyncio.gather(
                *(maildrops.open(ada, new_id()) for _ in range(8)), return_exceptions=True
            )
            assert sum(isinstance(result, MaildropBusy) for result in results) == 7
            assert sum(isinstance(result, Listing) for result in results) == 1
            await _expire(seed, ada)

    async def test_a_dead_sessions_maildrop_is_free_when_its_lease_has_run_out(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        began = time.monotonic()
        await maildrops.open(ada, new_id())
        left = await seed.value(
            "SELECT extract(epoch FROM expires_at - now())::float8 FROM maildrop_leases"
        )
        taken = time.monotonic() - began
        assert LEASE_SECONDS - 1 - taken < left <= LEASE_SECONDS < 30
        await _expire(seed, ada)
        await maildrops.open(ada, new_id())

    @pytest.mark.parametrize(
        "release",
        [
            "UPDATE maildrop_leases SET holder = gen_random_uuid(), expires_at = '-infinity'",
            "DELETE FROM maildrop_leases",  # as the release before does
        ],
    )
    async def test_the_snapshot_is_younger_than_the_session_it_waited_for(
        self,
        database_url: str,
        seed: DatabaseSeed,
        mailboxes: PostgresMailboxes,
        maildrops: PostgresMaildrops,
        release: str,
    ) -> None:
        (ada,) = await seed.accounts(1)
        await mailboxes.deliver([make_segment([make_message([ada])])])
        first = new_id()
        await maildrops.open(ada, first)
        other: Connection = await asyncpg.connect(database_url)
        async with other.transaction():
            # as a commit on its way: lease and message go together
            await other.execute(release)
            opening = asyncio.create_task(maildrops.open(ada, new_id()))
            await until_waiting(other)
            await other.execute("DELETE FROM mailbox_entries")
        assert len(await opening) == 0
        await other.close()
        await seed.mend_mailboxes()

    async def test_a_login_after_the_first_locks_and_writes_nothing_that_is_logged(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)

        async def opened() -> tuple[object, int]:
            holder = new_id()
            await maildrops.open(ada, holder)
            await maildrops.release([(ada, holder)])
            # the foreign key locks the account's row for the lease's, which waits for the disk
            return await seed.value("SELECT xmax FROM accounts"), await seed.value(
                "SELECT count(*) FROM maildrop_leases WHERE expires_at < now()"
            )

        first = await opened()
        assert await opened() == first
        assert first[1] == 1

    async def test_a_lease_of_each_kind_of_row_is_taken(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        """None (first login, crash of the server), one that was released, one that has expired."""
        (ada,) = await seed.accounts(1)
        holder = new_id()
        await maildrops.open(ada, holder)
        await maildrops.release([(ada, holder)])
        assert await maildrops.renew([(ada, holder)]) == set()
        with pytest.raises(LeaseLost):
            await maildrops.commit(ada, holder, [1])
        await maildrops.open(ada, new_id())
        await _expire(seed, ada)
        await maildrops.open(ada, holder)
        await seed.rows("TRUNCATE maildrop_leases")
        await maildrops.open(ada, holder)
        assert await maildrops.renew([(ada, holder)]) == {holder}

    async def test_a_known_listing_is_not_read_again_until_something_changes(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        await mailboxes.deliver([make_segment([make_message([ada])])])
        holder = new_id()
        known = await maildrops.open(ada, holder)
        assert await maildrops.open(ada, holder, known=known) is known
        # by the other way, too: the lease's row is missing
        await seed.rows("TRUNCATE maildrop_leases")
        assert await maildrops.open(ada, holder, known=known) is known
        for change in (
            mailboxes.deliver([make_segment([make_message([ada])])]),
            seed.rows("UPDATE mailboxes SET uidvalidity = uidvalidity + 1"),
        ):
            await change
            after = await maildrops.open(ada, holder, known=known)
            assert after is not known
            assert list(after.uids) == [1, 2]
            assert after.version != known.version
            known = after
        await maildrops.commit(ada, holder, [1])
        assert list((await maildrops.open(ada, holder, known=known)).uids) == [2]
        await seed.sums_hold()

    async def test_an_account_that_went_is_a_passing_fault(
        self, maildrops: PostgresMaildrops
    ) -> None:
        with pytest.raises(Unavailable):
            await maildrops.open(4711, new_id())

    async def test_a_hundred_thousand_messages_are_opened_whole(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        await seed.entries(
            "INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date)"
            " SELECT $1, 1, n, gen_random_uuid(), 4096, now() FROM generate_series(1, 100000) AS n",
            ada,
        )
        items = await maildrops.open(ada, new_id())
        assert len(items) == 100_000
        assert items.uids == list(range(1, 100_001))
        assert items.sizes == [4096] * 100_000


class TestRenew:
    async def test_leases_are_renewed_together_and_lost_ones_left_out(
        self, seed: DatabaseSeed, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob, eve = await seed.accounts(3)
        mine, lost, never = new_id(), new_id(), new_id()
        await maildrops.open(ada, mine)
        await maildrops.open(bob, lost)
        await _expire(seed, bob)
        await maildrops.open(bob, new_id())
        await seed.rows(
            "UPDATE maildrop_leases SET expires_at = now() + interval '10 seconds' WHERE holder = $1",
            mine,
        )
        assert await maildrops.renew([(ada, mine), (bob, lost), (eve, never)]) == {mine}
        assert await maildrops.renew([]) == set()
        left = await seed.value(
            "SELECT extract(epoch FROM expires_at - now())::float8 FROM maildrop_leases WHERE holder = $1",
            mine,
        )
        assert left > 10
        with pytest.raises(MaildropBusy):
            await maildrops.open(ada, new_id())


class TestLocate:
    async def test_it_says_where_the_octets_lie_and_leaves_out_what_has_gone(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob = await seed.accounts(2)
        first, second = (
            make_message([ada], size=900, stored=300),
            make_message([bob], size=40, offset=300),
        )
        batch = make_segment([first, second])
        await mailboxes.deliver([batch])
        assert await maildrops.locate(ada, [1, 2, 99]) == {
            1: BodyLocation(
                first.envelope.id, batch.key, 0, 300, "identity", 900, has_dot_lines=False
            )
        }
        assert await maildrops.locate(ada, []) == {}

    async def test_it_follows_a_message_the_collector_moved(
        self,
        seed: DatabaseSeed,
        database: Database,
        mailboxes: PostgresMailboxes,
        maildrops: PostgresMaildrops,
    ) -> None:
        (ada,) = await seed.accounts(1)
        moved = make_message([ada], size=900)
        batch = make_segment([moved])
        await mailboxes.deliver([batch])
        new = Segment(new_id(), "segments/new", 500, ())
        place = BlobRange(100, 400, "zstd")
        assert await PostgresSegmentCatalog(database).move(
            batch.id, new, {moved.envelope.id: place}
        )
        assert (await maildrops.locate(ada, [1]))[1] == BodyLocation(
            moved.envelope.id, "segments/new", 100, 400, "zstd", 900, has_dot_lines=False
        )


class TestCommit:
    async def test_deleting_gives_quota_references_octets_and_lease_back(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob = await seed.accounts(2)
        shared, own = make_message([ada, bob], size=500), make_message([ada], size=300)
        await mailboxes.deliver([make_segment([shared, own])])
        holder = new_id()
        await maildrops.open(ada, holder)
        assert await maildrops.commit(ada, holder, [1, 2]) == 2
        assert await seed.inbox(ada) == []
        assert await seed.used(ada) == (0, 0)
        assert await seed.used(bob) == (500, 1)
        assert await seed.value("SELECT live_octets FROM segments") == 500
        await seed.sums_hold()
        await maildrops.open(ada, new_id())

    async def test_deletions_of_several_slices_are_one(
        self,
        seed: DatabaseSeed,
        mailboxes: PostgresMailboxes,
        maildrops: PostgresMaildrops,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("posthorn.adapters.postgres.mailboxes.expunge._SLICE", 3)
        (ada,) = await seed.accounts(1)
        await mailboxes.deliver([make_segment([make_message([ada]) for _ in range(10)])])
        holder = new_id()
        await maildrops.open(ada, holder)
        assert await maildrops.commit(ada, holder, range(1, 9)) == 8
        assert list((await maildrops.open(ada, new_id())).uids) == [9, 10]
        await seed.sums_hold()

    async def test_a_long_commit_does_not_hold_up_the_renewal_of_other_leases(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob = await seed.accounts(2)
        shared = make_message([ada])
        await mailboxes.deliver([make_segment([shared])])
        mine, other = new_id(), new_id()
        await maildrops.open(ada, mine)
        await maildrops.open(bob, other)
        async with seed.database.transaction() as blocker:
            await blocker.execute(
                "SELECT FROM messages WHERE id = $1 FOR UPDATE", shared.envelope.id
            )
            committing = asyncio.create_task(maildrops.commit(ada, mine, [1]))
            await until_waiting(blocker)
            async with asyncio.timeout(BUSY_SECONDS):
                assert await maildrops.renew([(ada, mine), (bob, other)]) == {mine, other}
        assert await committing == 1

    async def test_a_message_already_gone_counts_as_deleted(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        await mailboxes.deliver([make_segment([make_message([ada]), make_message([ada])])])
        for uids, deleted in (([1, 1, 77], 2), ([1], 1), ([], 0)):
            holder = new_id()
            await maildrops.open(ada, holder)
            assert await maildrops.commit(ada, holder, uids) == deleted
            await seed.sums_hold()
        assert [uid for uid, _ in await seed.inbox(ada)] == [2]

    async def test_a_message_that_lies_in_the_inbox_twice_loses_both_references(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        copied = make_message([ada], size=10)
        await mailboxes.deliver([make_segment([copied])])
        # as IMAP COPY will do
        await seed.entries(
            "INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date)"
            " VALUES ($1, 1, 2, $2, 10, now())",
            *(ada, copied.envelope.id),
        )
        await seed.rows("UPDATE messages SET refs = 2")
        await seed.rows("UPDATE mailboxes SET uidnext = 3 WHERE mailbox_id = 1")
        await seed.rows("UPDATE accounts SET used_bytes = 20, used_messages = 2")
        await seed.sums_hold()
        holder = new_id()
        await maildrops.open(ada, holder)
        assert await maildrops.commit(ada, holder, [1, 2]) == 2
        assert await seed.value("SELECT refs FROM messages") == 0
        await seed.sums_hold()

    async def test_without_the_lease_nothing_is_deleted(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        ada, bob = await seed.accounts(2)
        await mailboxes.deliver([make_segment([make_message([ada]), make_message([bob])])])
        first, second = new_id(), new_id()
        with pytest.raises(LeaseLost):
            await maildrops.commit(ada, first, [1])
        await maildrops.open(ada, first)
        await _expire(seed, ada)
        await maildrops.open(ada, second)
        for uids in ([1], []):
            with pytest.raises(LeaseLost):
                await maildrops.commit(ada, first, uids)
        with pytest.raises(LeaseLost):
            await maildrops.commit(bob, second, [1])
        with pytest.raises(LeaseLost):
            await maildrops.commit(4711, second, [1])
        assert len(await seed.inbox(ada)) == len(await seed.inbox(bob)) == 1
        assert await maildrops.commit(ada, second, [1]) == 1
        await seed.sums_hold()

    async def test_a_lease_that_ran_out_but_was_taken_by_nobody_still_commits(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        await mailboxes.deliver([make_segment([make_message([ada])])])
        holder = new_id()
        await maildrops.open(ada, holder)
        await _expire(seed, ada)
        assert await maildrops.commit(ada, holder, [1]) == 1

    async def test_a_connection_lost_in_the_middle_deletes_nothing_and_keeps_the_lease(
        self,
        database_url: str,
        seed: DatabaseSeed,
        mailboxes: PostgresMailboxes,
        maildrops: PostgresMaildrops,
    ) -> None:
        (ada,) = await seed.accounts(1)
        await mailboxes.deliver([make_segment([make_message([ada])])])
        holder = new_id()
        await maildrops.open(ada, holder)
        other: Connection = await asyncpg.connect(database_url)
        async with other.transaction():
            # the last statement of commit() meets it
            await other.execute("SELECT FROM segments FOR UPDATE")
            committing = asyncio.create_task(maildrops.commit(ada, holder, [1]))
            await other.execute("SELECT pg_terminate_backend($1)", await until_waiting(other))
            with pytest.raises(Unavailable):
                await committing
        await other.close()
        assert len(await seed.inbox(ada)) == 1
        await seed.sums_hold()
        assert await maildrops.commit(ada, holder, [1]) == 1
        await seed.sums_hold()

    async def test_the_directory_is_told_when_a_full_mailbox_has_room_again(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        await seed.domain("example.test")
        small = await seed.account("small@example.test", quota=1000)
        await mailboxes.deliver([make_segment([make_message([small], size=600) for _ in range(3)])])
        assert await seed.drain_outbox() == ["small@example.test"]
        for uid, told in ((1, []), (2, ["small@example.test"]), (3, [])):
            holder = new_id()
            await maildrops.open(small, holder)
            await maildrops.commit(small, holder, [uid])
            assert await seed.drain_outbox() == told

    async def test_many_maildrops_that_share_messages_commit_at_once_without_deadlock(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        accounts = await seed.accounts(8)

        async def delete(account: int) -> None:
            holder = new_id()
            uids = list((await maildrops.open(account, holder)).uids)
            random.shuffle(uids)
            await maildrops.commit(account, holder, uids)

        for _ in range(4):
            await mailboxes.deliver(
                [make_segment([make_message(accounts) for _ in range(20)]) for _ in range(3)]
            )
            await asyncio.gather(*(delete(account) for account in accounts))
        assert await seed.value("SELECT sum(live_octets) FROM segments") == 0
        assert await seed.value("SELECT sum(refs) FROM messages") == 0
        await seed.sums_hold()

    async def test_maildrops_that_share_segments_only_commit_at_once_without_deadlock(
        self,
        database_url: str,
        seed: DatabaseSeed,
        mailboxes: PostgresMailboxes,
        maildrops: PostgresMaildrops,
    ) -> None:
        accounts = await seed.accounts(6)
        segments = [
            make_segment([make_message([account]) for account in accounts]) for _ in range(12)
        ]
        await mailboxes.deliver(segments)
        holders = {account: new_id() for account in accounts}
        for account, holder in holders.items():
            await maildrops.open(account, holder)
        other: Connection = await asyncpg.connect(database_url)
        async with other.transaction():
            # all of them meet in the middle, with some segments locked and some to come
            middle = sorted(each.id for each in segments)[6]
            await other.execute("SELECT FROM segments WHERE id = $1 FOR UPDATE", middle)
            commits = asyncio.gather(
                *(
                    maildrops.commit(account, holder, range(1, 13))
                    for account, holder in holders.items()
                )
            )
            await until_waiting(other, len(accounts))
        assert await commits == [12] * 6
        await other.close()
        assert await seed.value("SELECT sum(live_octets) FROM segments") == 0
        await seed.sums_hold()

    async def test_mail_that_arrives_while_deletions_are_committed_stays(
        self, seed: DatabaseSeed, mailboxes: PostgresMailboxes, maildrops: PostgresMaildrops
    ) -> None:
        (ada,) = await seed.accounts(1)
        await mailboxes.deliver([make_segment([make_message([ada]) for _ in range(50)])])
        holder = new_id()
        items = await maildrops.open(ada, holder)
        placing = [mailboxes.deliver([make_segment([make_message([ada])])]) for _ in range(5)]
        await asyncio.gather(maildrops.commit(ada, holder, items.uids), *placing)
        assert [uid for uid, _ in await seed.inbox(ada)] == [51, 52, 53, 54, 55]
        await seed.sums_hold()


async def test_it_is_ready_with_the_schema_it_needs(maildrops: PostgresMaildrops) -> None:
    await maildrops.probe()
