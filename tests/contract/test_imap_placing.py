"""Messages that are placed at once: by one statement where it suffices, else in steps, and the same
whichever it was."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.imap import placing
from posthorn.ports.mailbox_view import DELETED, SEEN, NoRoom
from posthorn.ports.placing import Placed, ReplacedGone
from tests.support.databases import until_waiting
from tests.support.imap_store import DATE, EVERY, ImapStore, new_message

INBOX = 1


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How messages were placed, one word for each call."""
    taken: list[str] = []
    for name in ("at_once", "in_steps"):
        call = getattr(placing._Placing, name)

        async def counting(*arguments: Any, _name: str = name, _call: Any = call) -> Any:
            found = await _call(*arguments)
            taken.append(_name if found is not None else f"{_name}: no")
            return found

        monkeypatch.setattr(placing._Placing, name, counting)
    return taken


async def test_both_ways_write_the_same(imap: ImapStore, steps: list[str]) -> None:
    ada, bob = await imap.account(), await imap.account("bob@example.test")
    for account in (ada, bob):
        await imap.put(account, keywords=("Work",))
    steps.clear()
    messages = [
        new_message("one", flags=SEEN, keywords=("Work",)),
        new_message("two" * 300, flags=DELETED),
    ]
    # bob's mailbox spells it in another way, which needs a look at the mailbox
    other = [new_message("one", flags=SEEN, keywords=("WORK",)), messages[1]]
    for account, some in ((ada, messages), (bob, other)):
        placed = await imap.placing.place(account, "INBOX", some)
        assert placed is not None
        assert (placed.mailbox, placed.uids) == (INBOX, range(2, 4))
        opened = await imap.view.reopen(account, INBOX)
        assert (opened.modseq, opened.uidvalidity) == (placed.modseq, placed.uidvalidity)
    assert steps == ["at_once", "at_once: no", "in_steps"]

    async def held(account: int) -> list[Any]:
        rows = await imap.view.rows(account, INBOX, EVERY)
        contents = await imap.view.contents(account, INBOX, [2, 3], header=True, forms=False)
        changes = await imap.view.changes(account, INBOX, 1)
        assert changes is not None
        assert all(row.saved_at is not None and row.internal_date == DATE for row in rows)
        return [
            [(row.uid, row.size, row.flags, row.keywords, row.modseq) for row in rows],
            [(uid, each.header, each.location.size) for uid, each in sorted(contents.items())],
            (changes.added, changes.keywords, changes.modseq),
            await imap.seed.used(account),
        ]

    assert await held(ada) == await held(bob)
    await imap.seed.sums_hold()


async def test_what_needs_more_than_the_statement_is_done_in_steps(
    imap: ImapStore, steps: list[str]
) -> None:
    ada = await imap.account(quota=10_000)
    await imap.put(ada)
    await imap.seed.drain_outbox()
    steps.clear()
    assert await imap.placing.place(ada, "nothing", [new_message()]) is None
    assert await imap.placing.place(4711, "INBOX", [new_message()]) is None
    await imap.put(ada, keywords=("New",))
    assert (await imap.view.reopen(ada, INBOX)).keywords == ("New",)
    assert await imap.seed.drain_outbox() == []
    await imap.put(ada)  # the statement suffices
    size = (await imap.view.rows(ada, INBOX, [(1, 1)]))[0].size
    await imap.seed.rows("UPDATE accounts SET quota_bytes = used_bytes + $1", size)
    await imap.put(ada)  # full now, which the directory learns in the same transaction
    assert await imap.seed.drain_outbox() == ["ada@example.test"]
    with pytest.raises(NoRoom):
        await imap.put(ada)
    assert steps == [
        *["at_once: no", "in_steps: no"] * 2,
        *["at_once: no", "in_steps"],
        "at_once",
        *["at_once: no", "in_steps"],
        "at_once: no",
    ]
    assert len(await imap.held(ada, "INBOX")) == 4


async def test_messages_for_one_account_come_one_after_the_other(
    imap: ImapStore, steps: list[str]
) -> None:
    ada = await imap.account(quota=10_000_000)
    await imap.put(ada)
    steps.clear()
    placed = await asyncio.gather(*(imap.put(ada, count=1 + n % 3) for n in range(16)))
    uids = sorted(uid for uids in placed for uid in uids)
    assert uids == list(range(2, 2 + len(uids)))
    assert steps == ["at_once"] * 16
    changes = await imap.view.changes(ada, INBOX, 1)
    assert changes is not None
    assert list(changes.added) == [1, *uids]


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("UPDATE mailboxes SET name = 'Elsewhere' WHERE account_id = $1 AND name = $2", ("Work",)),
        ("DELETE FROM mailboxes WHERE account_id = $1 AND name = $2", ("Work",)),
        ("UPDATE accounts SET quota_bytes = used_bytes + 1 WHERE id = $1", ()),
    ],
    ids=["renamed", "deleted", "full"],
)
async def test_what_changed_while_it_waited_for_the_account_is_seen(
    imap: ImapStore, database_url: str, change: str, values: tuple[str, ...]
) -> None:
    ada = await imap.account()
    await imap.folders.create(ada, "Work", None)
    other: Connection = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", ada)
        placing = asyncio.create_task(imap.placing.place(ada, "Work", [new_message()]))
        await until_waiting(other)
        await other.execute(change, ada, *values)
    await other.close()
    (placed,) = await asyncio.gather(placing, return_exceptions=True)
    assert not isinstance(placed, Placed)
    assert placed is None or isinstance(placed, NoRoom)
    assert await imap.seed.rows("SELECT FROM mailbox_entries") == []
    assert await imap.seed.rows("SELECT FROM messages") == []
    assert await imap.seed.rows("SELECT FROM segments") == []


async def test_a_replaced_message_goes_in_the_same_transaction_or_not_at_all(
    imap: ImapStore,
) -> None:
    ada = await imap.account()
    await imap.put(ada, count=2)
    await imap.folders.create(ada, "Work", None)
    new = [new_message()]
    assert await imap.placing.place(ada, "nothing", new, (INBOX, 1)) is None
    for gone in ((INBOX, 9), (4711, 1)):
        with pytest.raises(ReplacedGone):
            await imap.placing.place(ada, "Work", new, gone)
    # its room counts for the new one
    await imap.seed.rows("UPDATE accounts SET quota_bytes = used_bytes")
    with pytest.raises(NoRoom):
        await imap.placing.place(ada, "Work", new)
    with pytest.raises(NoRoom):
        await imap.placing.place(ada, "Work", [new_message("x" * 10_000)], (INBOX, 1))
    assert [uid for uid, *_ in await imap.held(ada, "INBOX")] == [1, 2]
    placed = await imap.placing.place(ada, "Work", new, (INBOX, 1))
    assert placed is not None
    assert placed.left == (await imap.view.reopen(ada, INBOX)).modseq
    assert [uid for uid, *_ in await imap.held(ada, "INBOX")] == [2]
    assert [uid for uid, *_ in await imap.held(ada, "Work")] == [1]
    placed = await imap.placing.place(ada, "INBOX", new, (INBOX, 2))
    assert placed is not None
    assert (placed.uids, placed.left) == (range(3, 4), placed.modseq - 1)
    await imap.is_sound()
