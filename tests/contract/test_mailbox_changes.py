"""Counters, change logs, ids and headers of mailboxes on Postgres (ADR 33): what every writer
leaves, and what is done where the release before has written."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.changes import recount, wrong_counters
from posthorn.adapters.postgres.mailboxes.classifying import PostgresClassifications
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.messages import PostgresAccountMail
from posthorn.adapters.postgres.mailboxes.quarantine import PostgresQuarantine
from posthorn.adapters.postgres.mailboxes.retention import PostgresRetention
from posthorn.adapters.postgres.mailboxes.transfers import PostgresTransfers
from posthorn.adapters.postgres.mailboxes.upkeep import PostgresMailboxUpkeep
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.classification import Classification
from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import Action
from posthorn.ports.account_mail import MailboxChange
from posthorn.ports.filing import Withheld
from posthorn.ports.mailbox_hints import FOLDERS, Changed
from posthorn.ports.mailbox_upkeep import KEPT_MODSEQS, Counters, WrongMailbox
from posthorn.ports.transfers import Entry
from posthorn.runtime.ids import new_id
from posthorn_delivery.mailbox_upkeep import MailboxUpkeep
from tests.support import release_before
from tests.support.builders import make_message, make_segment
from tests.support.databases import as_part, pool
from tests.support.mailbox_checks import assert_mailboxes_are_sound
from tests.support.seed import DatabaseSeed

ADDED, REMOVED = 0, 2
ADA = "user0@example.test"


class Changing:
    """An account, and all that changes its mailboxes."""

    def __init__(self, database: Database, seed: DatabaseSeed, ada: int) -> None:
        self.seed = seed
        self.ada = ada
        self.hints: list[Changed] = []
        self.mailboxes = PostgresMailboxes(database, announce=self.hints.extend)
        self.maildrops = PostgresMaildrops(database, self.hints.extend)
        self.mail = PostgresAccountMail(database, self.hints.extend)

    async def deliver(self, *sizes: int) -> list[UUID]:
        messages = [make_message([self.ada], size=size) for size in sizes]
        await self.mailboxes.deliver([make_segment(messages)])
        return [each.envelope.id for each in messages]

    async def deliver_as_before(self, size: int) -> UUID:
        """Deliver a message as the release before does."""
        (message,) = (make_message([self.ada], size=size),)
        number, ada = message.envelope.id, [self.ada]
        await self.seed.rows(
            "INSERT INTO messages (id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,"
            " return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id)"
            " VALUES ($1, 0, 0, 'identity', $2, false, '', 0, 1, now(), '', '', '', '', '')",
            *(number, size),
        )
        await self.seed.rows(
            release_before.ENTER, ada, [1], [1], ada, [1], [0], [number], [size], [0.0]
        )
        return number

    async def log(self) -> list[tuple[int, int, int, str]]:
        rows = await self.seed.rows(
            "SELECT mailbox_id, modseq, kind, uids::text FROM mailbox_changes WHERE account_id = $1"
            " ORDER BY mailbox_id, modseq, kind",
            self.ada,
        )
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    async def counts(self) -> dict[str, tuple[int, int, int]]:
        """Return messages, unseen and bytes as the API shows them, of mailboxes with any."""
        return {
            each.name: (each.messages, each.unseen, each.octets)
            for each in await self.mail.mailboxes(None, ADA)
            if each.messages
        }


@pytest.fixture
async def changing(database: Database, seed: DatabaseSeed) -> Changing:
    (ada,) = await seed.accounts(1)
    return Changing(database, seed, ada)


async def test_each_change_is_a_modseq_with_its_uids_and_a_hint(changing: Changing) -> None:
    _, two = await changing.deliver(10, 20)
    await changing.deliver(30)
    holder = new_id()
    await changing.maildrops.open(changing.ada, holder)
    await changing.maildrops.commit(changing.ada, holder, [1, 3])
    await changing.mail.move_message(None, ADA, two, "Trash")
    assert await changing.log() == [
        (1, 2, ADDED, "{[1,3)}"),
        (1, 3, ADDED, "{[3,4)}"),
        (1, 4, REMOVED, "{[1,2),[3,4)}"),
        (1, 5, REMOVED, "{[2,3)}"),
        (4, 2, ADDED, "{[1,2)}"),
    ]
    ada = changing.ada
    assert changing.hints == [
        *((ada, 1, 2), (ada, 1, 3), (ada, 1, 4)),
        *((ada, 4, 2), (ada, 1, 5)),
    ]
    assert await changing.counts() == {"Trash": (1, 1, 20)}
    await changing.mail.delete_message(None, ADA, two)
    assert await changing.counts() == {}
    await assert_mailboxes_are_sound(changing.seed.database)


async def test_whoever_changes_mailboxes_hints_at_them(
    changing: Changing, database: Database
) -> None:
    seed, ada, hints = changing.seed, changing.ada, changing.hints

    def hinted() -> list[tuple[int, int]]:
        found = [(mailbox, modseq) for account, mailbox, modseq in hints if account == ada]
        hints.clear()
        return sorted(found)

    decision = Decision(Action.QUARANTINE, "score", 9.0, "")
    copy = Withheld(new_id(), ADA, ada, DEFAULT_TENANT, decision)
    withheld = replace(make_message([]), tenant=DEFAULT_TENANT, withheld=(copy,))
    await changing.mailboxes.deliver([make_segment([withheld])])
    assert hinted() == [], "it is in no mailbox"
    await PostgresQuarantine(database, announce=hints.extend).release(None, copy.id)
    assert hinted() == [(1, 2)]
    says = PostgresClassifications(database, hints.extend)
    await says.classify(None, ADA, withheld.envelope.id, Classification.SPAM)
    assert hinted() == [(1, 3), (2, 2)]
    await says.classify(None, ADA, withheld.envelope.id, Classification.HAM)
    assert hinted() == [(1, 4), (2, 3)]

    transfers = PostgresTransfers(database, hints.extend)
    importing = await transfers.begin(None, ADA, new_id(), {})
    brought = [make_message([ada], size=10), make_message([ada], size=20)]
    entries = [Entry("Sent", 9, 1.0), Entry("Box", 1, 2.0)]
    await transfers.insert(importing, make_segment(brought), entries)
    assert hinted() == [(3, 2), (5, 2)]
    assert await seed.rows("SELECT name FROM mailbox_subscriptions") == [("Box",)]
    query = "SELECT messages, unseen, deleted, octets FROM mailboxes WHERE mailbox_id IN (3, 5) ORDER BY mailbox_id"
    assert await seed.rows(query) == [(1, 0, 1, 10), (1, 0, 0, 20)]

    await seed.rows("UPDATE domains SET undelete_days = 7, retention_days = 30")
    await seed.rows("UPDATE messages SET placed_at = now() - interval '31 days'")
    await PostgresRetention(database, hints.extend).expire(10)
    assert hinted() == [(1, 5), (3, 3), (5, 3)]
    await changing.mail.create_mailbox(None, ADA, "Other")
    assert hinted() == [(FOLDERS, 0)]
    await changing.mail.change_mailbox(None, ADA, "Other", MailboxChange(subscribed=False))
    assert hinted() == [(FOLDERS, 0)]
    await changing.mail.delete_mailbox(None, ADA, "Box")
    assert hinted() == [(5, 0)]
    for message in brought:
        await changing.mail.undelete_message(None, ADA, message.envelope.id)
    assert hinted() == [(1, 6), (3, 4)]
    await seed.sums_hold()


async def test_what_is_rolled_back_is_no_hint(changing: Changing) -> None:
    await changing.deliver(10)
    changing.hints.clear()
    await changing.seed.rows("ALTER TABLE mailbox_entries ADD CHECK (size_crlf < 100)")
    with pytest.raises(Exception, match="check constraint"):
        await changing.deliver(5, 500)
    assert changing.hints == []
    await assert_mailboxes_are_sound(changing.seed.database)


async def test_keywords_go_with_a_message_into_its_new_mailbox(changing: Changing) -> None:
    (one,) = await changing.deliver(10)
    await changing.seed.rows("UPDATE mailbox_entries SET flags = 9, keywords = '{Work,new}'")
    await changing.seed.rows("UPDATE mailboxes SET keywords = '{work}' WHERE mailbox_id = 4")
    await changing.seed.mend_mailboxes()
    await changing.mail.move_message(None, ADA, one, "Trash")
    assert await changing.seed.rows(
        "SELECT mailbox_id, messages, unseen, deleted, octets, keywords FROM mailboxes"
        " WHERE keywords <> '{}' ORDER BY mailbox_id"
    ) == [(1, 0, 0, 0, 0, ["Work", "new"]), (4, 1, 0, 1, 10, ["work", "new"])]


async def test_the_release_before_makes_counters_stale_until_they_are_counted_again(
    changing: Changing,
) -> None:
    seed, ada = changing.seed, changing.ada
    await changing.deliver(10)
    old = await changing.deliver_as_before(20)
    await changing.deliver(40)
    await seed.rows(release_before.MOVE, ada, old, 2)
    state = "SELECT mailbox_id, modseq, counted_modseq, messages FROM mailboxes WHERE modseq > 1 ORDER BY 1"
    assert await seed.rows(state) == [(1, 5, 3, 2), (2, 2, 1, 0)]
    assert [row[:2] for row in await changing.log()] == [(1, 2), (1, 4)], "a gap says it"
    assert await changing.counts() == {"INBOX": (2, 2, 50), "Junk": (1, 1, 20)}
    assert await seed.rows(state) == [(1, 5, 5, 2), (2, 2, 2, 1)]
    await changing.mail.delete_message(None, ADA, old)
    await changing.deliver(80)
    assert await changing.counts() == {"INBOX": (3, 3, 130)}
    assert await seed.value("SELECT bool_and(counted_modseq = modseq) FROM mailboxes")


async def test_only_mailboxes_that_are_named_and_stale_are_counted(
    changing: Changing, database: Database
) -> None:
    await changing.deliver(10)
    await changing.seed.rows("UPDATE mailboxes SET messages = 7")
    await changing.seed.rows("UPDATE mailboxes SET modseq = modseq + 1 WHERE mailbox_id > 1")
    async with database.transaction() as connection:
        await recount(connection, changing.ada, [1, 2])
    query = "SELECT messages FROM mailboxes ORDER BY mailbox_id"
    assert await changing.seed.rows(query) == [(7,), (0,), (7,), (7,)]
    async with database.transaction() as connection:
        assert [each.mailbox for each in await wrong_counters(connection, changing.ada)] == [1]


async def test_a_mailbox_of_the_same_id_made_again_by_the_release_before_gets_mail(
    changing: Changing,
) -> None:
    """Its changes do not collide with those that are left of the former one."""
    seed, ada = changing.seed, changing.ada
    (one, two) = await changing.deliver(10, 20)
    for message in (one, two):
        await seed.rows(release_before.MAKE, ada, ["Box"])
        await changing.mail.move_message(None, ADA, message, "Box")
        await changing.mail.move_message(None, ADA, message, "INBOX")
        await seed.rows("DELETE FROM mailboxes WHERE name = 'Box'")  # as it does it
    assert await seed.value("SELECT max(mailbox_id) FROM mailbox_changes") == 5
    await changing.mail.create_mailbox(None, ADA, "Box")
    assert await seed.value("SELECT mailbox_id FROM mailboxes WHERE name = 'Box'") == 6


async def test_ids_and_uidvalidities_never_come_again(changing: Changing) -> None:
    seed, ada = changing.seed, changing.ada
    await seed.rows("DELETE FROM mailboxes")
    await seed.rows(release_before.FOLDERS, [ada])
    seen: list[tuple[int, int]] = []
    # far in the future: the clock does not help
    await seed.rows("UPDATE accounts SET last_uidvalidity = 4000000000")
    for number in range(6):
        if number == 3:
            await seed.rows(release_before.MAKE, ada, ["Box"])
        else:
            await changing.mail.create_mailbox(None, ADA, "Box")
        query = "SELECT mailbox_id, uidvalidity FROM mailboxes WHERE name = 'Box'"
        ((box, validity),) = await seed.rows(query)
        seen.append((box, validity))
        if number != 3:
            await changing.mail.delete_mailbox(None, ADA, "Box")
        else:
            await seed.rows("UPDATE mailboxes SET name = 'Old' WHERE name = 'Box'")
    ours = [each for number, each in enumerate(seen) if number != 3]
    assert [box for box, _ in ours] == [5, 6, 7, 8, 9]
    assert [validity - 4000000000 for _, validity in ours] == [1, 2, 3, 4, 5]
    await seed.rows(release_before.MAKE, ada, [f"b{number}" for number in range(9)])
    await changing.mail.create_mailbox(None, ADA, "Box")
    assert await seed.value("SELECT mailbox_id FROM mailboxes WHERE name = 'Box'") == (
        1 + await seed.value("SELECT max(mailbox_id) FROM mailboxes WHERE name LIKE 'b%'")
    )
    assert await seed.rows("SELECT name FROM mailbox_subscriptions") == [("Box",)]


async def test_a_wrong_counter_is_found_told_and_repaired(
    changing: Changing, database_url: str, database: Database
) -> None:
    await changing.deliver(10, 20)
    right = await changing.seed.rows("SELECT * FROM mailboxes ORDER BY mailbox_id")
    async with pool(as_part(database_url, "delivery"), by_key=True) as deliverys:
        store = PostgresMailboxUpkeep(deliverys)
        await MailboxUpkeep(store).round()
        assert await changing.seed.rows("SELECT * FROM mailboxes ORDER BY mailbox_id") == right
        await changing.seed.rows("UPDATE mailboxes SET unseen = unseen - 1 WHERE mailbox_id = 1")
        checked = await store.check(1)
        assert checked.wrong == [
            WrongMailbox(changing.ada, 1, Counters(2, 1, 0, 30), Counters(2, 2, 0, 30))
        ]
        assert checked.is_over
        assert (await store.check(1)).wrong == []
    assert await changing.seed.rows("SELECT * FROM mailboxes ORDER BY mailbox_id") == right


async def test_a_check_goes_on_where_the_last_one_ended(
    seed: DatabaseSeed, database: Database, mailboxes: PostgresMailboxes
) -> None:
    accounts = await seed.accounts(3)
    await mailboxes.deliver([make_segment([make_message(accounts) for _ in range(4)])])
    store = PostgresMailboxUpkeep(database)
    while not (await store.check(1)).is_over:
        pass
    found = [await store.check(messages) for messages in (1, 8, 8)]
    assert [(each.accounts, each.is_over) for each in found] == [(1, False), (2, True), (2, False)]


async def test_the_log_is_pruned_by_age_and_by_number(
    changing: Changing, database_url: str
) -> None:
    seed = changing.seed
    for size in range(6):
        await changing.deliver(size)
    await seed.rows(
        "UPDATE mailbox_changes SET created_at = created_at - interval '31 days' WHERE modseq < 5"
    )
    async with pool(as_part(database_url, "delivery"), by_key=True) as deliverys:
        store = PostgresMailboxUpkeep(deliverys)
        assert [await store.prune(2) for _ in range(3)] == [2, 1, 0]
        assert [row[1] for row in await changing.log()] == [5, 6, 7]
        await seed.rows("UPDATE mailboxes SET modseq = $1", KEPT_MODSEQS + 6)
        assert [await store.prune(1) for _ in range(3)] == [1, 1, 0]
        assert [row[1] for row in await changing.log()] == [7]


async def test_unique_ids_go_after_their_messages(changing: Changing, database_url: str) -> None:
    seed = changing.seed
    await changing.deliver(1, 2)
    await seed.rows(
        "INSERT INTO unique_ids SELECT $1, n, 'id' || n FROM generate_series(1, 5) AS n",
        changing.ada,
    )
    async with pool(as_part(database_url, "delivery"), by_key=True) as deliverys:
        store = PostgresMailboxUpkeep(deliverys)
        left = []
        for _ in range(5):
            await store.prune(2)
            left.append(
                [row[0] for row in await seed.rows("SELECT uid FROM unique_ids ORDER BY 1")]
            )
    assert left == [[1, 2, 3, 4, 5], [1, 2, 5], [1, 2], [1, 2], [1, 2]]


async def test_a_header_is_kept_once_and_goes_with_its_message(changing: Changing) -> None:
    seed = changing.seed
    message = make_message([changing.ada])
    kept, other = replace(message, header=b"frame"), make_message([changing.ada])
    await changing.mailboxes.deliver([make_segment([kept, other])])
    await changing.mailboxes.deliver([make_segment([replace(message, header=b"other")])])
    assert await seed.rows("SELECT * FROM message_headers") == [(kept.envelope.id, b"frame")]
