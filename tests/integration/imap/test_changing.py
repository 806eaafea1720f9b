"""STORE, COPY, MOVE, EXPUNGE: replies, response codes, and the traps of servers before us."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import Stored
from posthorn_imap import selected
from tests.support.imap import ALICE, SIMPLE, ImapEnv


async def validity(mail: ImapEnv, name: str) -> int:
    """Return the UIDVALIDITY of a mailbox."""
    found = await mail.context.backend.folders.find(mail.accounts[ALICE], name)
    assert found is not None
    return found.uidvalidity


async def test_store_replies_once_and_others_hear(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 3)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    assert await client.ok("STORE 1:2 +FLAGS (\\Flagged \\Seen)") == [
        b"* 1 FETCH (FLAGS (\\Flagged \\Seen))",
        b"* 2 FETCH (FLAGS (\\Flagged \\Seen))",
    ]
    assert await client.ok("STORE 3:2 -FLAGS (\\Seen)") == [
        b"* 2 FETCH (FLAGS (\\Flagged))",
        b"* 3 FETCH (FLAGS ())",
    ]
    assert await client.ok("UID STORE 3 FLAGS.SILENT (\\Draft)") == []
    assert await client.ok("NOOP") == []
    assert await other.ok("NOOP") == [
        b"* 1 FETCH (FLAGS (\\Flagged \\Seen))",
        b"* 2 FETCH (FLAGS (\\Flagged))",
        b"* 3 FETCH (FLAGS (\\Draft))",
    ]
    # a change by another after one's own is told
    await client.ok("STORE 1 -FLAGS.SILENT \\Seen")
    await other.ok("STORE 1 +FLAGS.SILENT \\Answered")
    assert await client.ok("NOOP") == [b"* 1 FETCH (FLAGS (\\Answered \\Flagged))"]
    assert await client.ok("UID STORE 9:12 +FLAGS \\Seen") == []


async def test_a_new_keyword_is_announced_before_its_use(mail: ImapEnv) -> None:
    await mail.place(SIMPLE)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    for replies in (await client.ok("STORE 1 +FLAGS (Blue $Junk)"), await other.ok("NOOP")):
        assert [line[:18] for line in replies] == [
            b"* FLAGS (\\Answered", b"* OK [PERMANENTFLA", b"* 1 FETCH (FLAGS ("
        ]  # fmt: skip
        assert b" Blue" in replies[0]
        assert replies[2] == b"* 1 FETCH (FLAGS (Blue $Junk))"
    assert await client.ok("STORE 1 -FLAGS blue") == [b"* 1 FETCH (FLAGS ($Junk))"]
    many = " ".join(f"k{number}" for number in range(250))
    assert (await client.no(f"STORE 1 +FLAGS ({many})")).startswith(b"NO [LIMIT] ")


async def test_conditional_store_rfc_7162(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 4)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    await other.ok("STORE 2,4 +FLAGS \\Flagged")
    assert await client.ask("STORE 1:4 (UNCHANGEDSINCE 2) +FLAGS.SILENT \\Seen") == [
        b"* 1 FETCH (MODSEQ (4))",
        b"* 3 FETCH (MODSEQ (4))",
        b"* 2 FETCH (FLAGS (\\Flagged) MODSEQ (3))",
        b"* 4 FETCH (FLAGS (\\Flagged) MODSEQ (3))",
        b"OK [MODIFIED 2,4] done, but not for all",
    ]
    # UIDs for UID STORE; what the client itself changed before counts
    await client.ok("STORE 1 +FLAGS.SILENT \\Deleted")
    await client.ok("EXPUNGE")
    assert await client.ask("UID STORE 2:4 (UNCHANGEDSINCE 3) +FLAGS (\\Answered)") == [
        b"* 1 FETCH (UID 2 FLAGS (\\Answered \\Flagged) MODSEQ (7))",
        b"* 3 FETCH (UID 4 FLAGS (\\Answered \\Flagged) MODSEQ (7))",
        b"OK [MODIFIED 3] done, but not for all",
    ]
    assert (await client.ask("UID STORE 2:4 (UNCHANGEDSINCE 7) -FLAGS.SILENT (\\Answered)"))[
        -1
    ] == (b"OK done")


async def test_store_of_what_is_gone(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 3)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    await other.ok("STORE 2 +FLAGS.SILENT \\Deleted")
    await other.ok("EXPUNGE")
    assert await client.ask("STORE 1:3 +FLAGS \\Seen") == [
        b"* 1 FETCH (FLAGS (\\Seen))",
        b"* 3 FETCH (FLAGS (\\Seen))",
        b"NO [EXPUNGEISSUED] some messages are gone",
    ]
    assert await client.ok("UID STORE 1:3 -FLAGS \\Seen") == [
        b"* 1 FETCH (UID 1 FLAGS ())",
        b"* 3 FETCH (UID 3 FLAGS ())",
        b"* 2 EXPUNGE",
    ]


async def test_copy_greenmail_423_davmail_315(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 3, flags=("\\Seen", "Blue"))
    await mail.place(SIMPLE, mailbox="Trash")
    client = await mail.client("INBOX")
    assert (await client.ask("COPY 3,1 Trash"))[-1] == (
        b"OK [COPYUID %d 1,3 2:3] copied" % await validity(mail, "Trash")
    )
    # into the same mailbox: new UIDs, announced before the reply
    *news, last = await client.ask("UID COPY 2 INBOX")
    assert news == [b"* 4 EXISTS", b"* 0 RECENT"]
    assert last == b"OK [COPYUID %d 2 4] copied" % await validity(mail, "INBOX")
    assert (await client.ok("FETCH 4 FLAGS")) == [b"* 4 FETCH (FLAGS (\\Seen Blue))"]
    assert (await client.no("COPY 1 Nowhere")).startswith(b"NO [TRYCREATE] ")
    assert (await client.ask("UID COPY 77 Trash")) == [b"OK copied"]
    ids = {line.split(b"EMAILID ")[1] for line in await client.ok("FETCH 2,4 EMAILID")}
    assert len(ids) == 1
    await mail.seed.rows("UPDATE accounts SET quota_bytes = used_bytes + 10")
    assert (await client.no("COPY 1 Trash")).startswith(b"NO [OVERQUOTA] ")
    assert (await client.ask("MOVE 1 Trash"))[-1] == b"OK moved"


async def test_move_tells_where_before_the_expunges(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 5)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    trash = await validity(mail, "Trash")
    assert await client.ask("MOVE 2:3,5 Trash") == [
        b"* OK [COPYUID %d 2:3,5 1:3] moved" % trash,
        b"* 5 EXPUNGE",
        b"* 3 EXPUNGE",
        b"* 2 EXPUNGE",
        b"OK moved",
    ]
    assert (await client.ask("UID MOVE 2:3 Trash")) == [b"OK moved"]  # stalwart#670
    assert (await client.no("MOVE 1 Nowhere")).startswith(b"NO [TRYCREATE] ")
    assert await other.ok("NOOP") == [b"* 5 EXPUNGE", b"* 3 EXPUNGE", b"* 2 EXPUNGE"]
    assert await other.ok("FETCH 1:* UID") == [b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 4)"]
    await other.ok("ENABLE QRESYNC")
    assert await other.ask("UID MOVE 4 Trash") == [
        b"* OK [COPYUID %d 4 4] moved" % trash,
        b"* VANISHED 4",
        b"OK moved",
    ]
    # a move within a mailbox gives new UIDs
    await client.ok("NOOP")
    assert (await client.ask("MOVE 1 INBOX"))[1:] == [
        b"* 1 EXPUNGE",
        b"* 1 EXISTS",
        b"* 0 RECENT",
        b"OK moved",
    ]
    assert await client.ok("FETCH 1 UID") == [b"* 1 FETCH (UID 6)"]


async def test_expunge_and_uid_expunge(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 6)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    await client.ok("STORE 1,3,5:6 +FLAGS.SILENT \\Deleted")
    assert await client.ask("UID EXPUNGE 2:5") == [b"* 5 EXPUNGE", b"* 3 EXPUNGE", b"OK expunged"]
    assert await client.ask("EXPUNGE") == [b"* 4 EXPUNGE", b"* 1 EXPUNGE", b"OK expunged"]
    assert await client.ask("EXPUNGE") == [b"OK expunged"]
    # no EXPUNGE while the other fetches by number, and its numbers hold
    assert (await other.ok("FETCH 2 UID")) == [b"* 2 FETCH (UID 2)"]
    assert len(await other.ok("NOOP")) == 4
    # with CONDSTORE the client hears up to where it knows everything
    await other.ok("ENABLE QRESYNC")
    await other.ok("STORE 1 +FLAGS.SILENT \\Deleted")
    await client.ok("STORE 2 +FLAGS.SILENT \\Answered")
    replies = await other.ask("EXPUNGE")
    assert replies[0] == b"* VANISHED 2"
    assert replies[1].startswith(b"* 1 FETCH (UID 4 FLAGS (\\Answered) MODSEQ ")
    modseq = await mail.seed.value("SELECT modseq FROM mailboxes WHERE name = 'INBOX'")
    assert replies[2] == b"OK [HIGHESTMODSEQ %d] expunged" % modseq


async def test_examine_changes_nothing(mail: ImapEnv) -> None:
    await mail.place(SIMPLE, flags=("\\Deleted",))
    client = await mail.client()
    await client.ok("EXAMINE INBOX")
    for command in ("STORE 1 +FLAGS \\Seen", "EXPUNGE", "UID EXPUNGE 1", "MOVE 1 Trash"):
        assert (await client.no(command)).startswith(b"NO [READ-ONLY] "), command
    await client.ok("COPY 1 Trash")
    await client.ok("FETCH 1 BODY[]")
    await client.ok("CLOSE")
    again = await mail.client("INBOX")
    assert await again.ok("FETCH 1 FLAGS") == [b"* 1 FETCH (FLAGS (\\Deleted))"]
    await again.ok("CLOSE")
    assert await again.ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 0)"]


async def test_saved_results_can_be_used(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 4)
    client = await mail.client("INBOX")
    assert client.session.selected is not None
    client.session.selected.saved.extend((2, 4))
    assert await client.ok("FETCH $ UID") == [b"* 2 FETCH (UID 2)", b"* 4 FETCH (UID 4)"]
    await client.ok("UID STORE $ +FLAGS.SILENT \\Deleted")
    assert (await client.ask("UID EXPUNGE $"))[:2] == [b"* 4 EXPUNGE", b"* 2 EXPUNGE"]
    assert await client.ok("UID FETCH $ UID") == []


async def test_a_store_that_changes_nothing_skips_no_news(mail: ImapEnv) -> None:
    """Never let a connection's modseq pass what it has not seen (imap.md, UIDs)."""
    await mail.place(SIMPLE, flags=("\\Seen",))
    client = await mail.client("INBOX")
    await mail.place(SIMPLE)
    assert await client.ok("STORE 1 +FLAGS \\Seen") == [b"* 1 FETCH (FLAGS (\\Seen))"]
    assert await client.ok("NOOP") == [b"* 2 EXISTS", b"* 0 RECENT"]
    await mail.place(SIMPLE)
    # one that finds the mailbox further on than the connection knew tells the rest
    assert await client.ok("STORE 1 -FLAGS \\Seen") == [
        b"* 1 FETCH (FLAGS ())",
        b"* 3 EXISTS",
        b"* 0 RECENT",
    ]


async def test_flags_are_all_told_also_where_the_history_is_not_known(
    imap: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told page by page, so that a mailbox of any size takes little memory."""
    monkeypatch.setattr(selected, "PAGE", 2)
    client, other = await imap.client("INBOX"), await imap.client("INBOX")
    await imap.place(*[SIMPLE] * 6)
    await client.ok("NOOP")
    await other.ok("NOOP")
    await other.ok("STORE 1:5 +FLAGS.SILENT (Blue)")
    await other.ok("STORE 4 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    await imap.place(SIMPLE)
    await imap.seed.rows("DELETE FROM mailbox_changes")
    waits = []
    room = client.out.room

    async def counting() -> None:
        waits.append(bytes(client.out.octets).count(b" FETCH "))
        await room()

    monkeypatch.setattr(client.out, "room", counting)
    told = await client.ok("NOOP")
    assert [line for line in told if b"FLAGS" not in line or b" FETCH " in line] == [
        b"* 1 FETCH (FLAGS (Blue))",
        b"* 2 FETCH (FLAGS (Blue))",
        b"* 3 FETCH (FLAGS (Blue))",
        b"* 5 FETCH (FLAGS (Blue))",
        b"* 4 EXPUNGE",
        b"* 6 EXISTS",
        b"* 0 RECENT",
    ]
    assert waits == [2, 4]
    assert await client.ok("NOOP") == []


@pytest.mark.parametrize(
    ("done", "is_known", "end"),
    [
        (0, True, b"a NO [UNAVAILABLE] "),
        (0, False, b"* BYE [UNAVAILABLE] "),
        (1, True, b"* BYE [UNAVAILABLE] "),
    ],
    ids=["nothing changed", "not known", "after other changes"],
)
async def test_no_is_said_only_where_nothing_was_changed(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch, done: int, is_known: bool, end: bytes
) -> None:
    await mail.place(*[SIMPLE] * 3)
    client = await mail.client("INBOX")
    view = type(mail.context.backend.view)
    store, calls = view.store, []

    async def failing(self: Any, *arguments: Any) -> Stored:
        calls.append(arguments)
        if len(calls) <= done:
            return await store(self, *arguments)
        fault = Unavailable("postgres", "connection lost")
        fault.nothing_changed = is_known
        raise fault

    monkeypatch.setattr(view, "store", failing)
    monkeypatch.setattr(selected, "PAGE", 2)
    sent = await client.feed(b"a STORE 1:3 +FLAGS.SILENT (\\Seen)\r\n")
    assert sent.startswith(end)
    assert client.out.is_closed is not end.startswith(b"a ")
    assert len(calls) == done + 1
