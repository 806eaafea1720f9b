"""SELECT, EXAMINE, CLOSE, UNSELECT, QRESYNC and what connections are told unasked: dialogues, named
after the source of the rule or the trap."""

from __future__ import annotations

import re

from posthorn.ports.mailbox_view import DELETED, FLAGGED, SEEN
from tests.support.imap import ALICE, SIMPLE, Dialogue, ImapEnv
from tests.support.polling import until


async def store(imap: ImapEnv, uids: list[int], flags: int, action: str = "+") -> None:
    """Change flags as another process does."""
    view = imap.context.backend.view
    await view.store(imap.accounts[ALICE], 1, uids, action, flags, ())


async def expunge(imap: ImapEnv, *uids: int) -> None:
    """Remove messages as another process does."""
    await store(imap, list(uids), DELETED)
    ranges = [(uid, uid) for uid in uids]
    await imap.context.backend.view.expunge(imap.accounts[ALICE], 1, ranges)


def modseq_of(client: Dialogue) -> int:
    return client.session.mailbox.modseq


async def test_rev1_and_rev2_differ_in_what_select_says(imap: ImapEnv) -> None:
    """RFC 3501 §6.3.1, RFC 9051 §6.3.2: RECENT and UNSEEN, LIST; CLOSED before another mailbox."""
    client = await imap.client()
    await imap.place(SIMPLE, flags=["\\Seen", "$Junk", "mine"])
    await imap.place(SIMPLE)
    await client.transcript(
        r"""
        C: a1 EXAMINE INBOX
        S: \* 2 EXISTS
        S: \* 0 RECENT
        S: \* OK \[UNSEEN 2\] .+
        S: \* FLAGS \(\\Answered .* mine\)
        S: \* OK \[PERMANENTFLAGS \(\)\] .+
        S: \* OK \[UIDVALIDITY [0-9]+\] .+
        S: \* OK \[UIDNEXT 3\] .+
        S: \* OK \[HIGHESTMODSEQ [0-9]+\] .+
        S: \* OK \[MAILBOXID \(.+\)\] .+
        S: a1 OK \[READ-ONLY\] .+
        C: a2 ENABLE IMAP4rev2
        S: \* ENABLED IMAP4rev2
        S: a2 OK .+
        C: a3 SELECT inbox
        S: \* OK \[CLOSED\] .+
        S: \* 2 EXISTS
        S: \* FLAGS \(.*\)
        S: \* OK \[PERMANENTFLAGS \(.*\\\*\)\] .+
        S: \* OK \[UIDVALIDITY [0-9]+\] .+
        S: \* OK \[UIDNEXT 3\] .+
        S: \* OK \[HIGHESTMODSEQ [0-9]+\] .+
        S: \* OK \[MAILBOXID \(.+\)\] .+
        S: \* LIST \(\) "/" INBOX
        S: a3 OK \[READ-WRITE\] .+
        C: a4 SELECT nothing
        S: \* OK \[CLOSED\] .+
        S: a4 NO \[NONEXISTENT\] .+
        C: a5 UNSELECT
        S: a5 BAD .+
        """
    )


async def test_close_removes_what_is_deleted_and_unselect_and_examine_do_not(
    imap: ImapEnv,
) -> None:
    client, other = await imap.client(), await imap.client("INBOX")
    await imap.place(*[SIMPLE] * 3)
    await store(imap, [1, 3], DELETED)
    await client.ok("SELECT INBOX")
    await client.ok("UNSELECT")
    await client.ok("EXAMINE INBOX")
    await client.ok("CLOSE")
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 3)"]
    await client.ok("SELECT INBOX")
    assert await client.ok("CLOSE") == [], "no EXPUNGE (RFC 9051 §6.4.1)"
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 1)"]
    told = await other.ok("NOOP")
    # came and went between two looks: never mentioned
    assert told[0] == b"* 1 EXISTS"
    assert not any(b"EXPUNGE" in reply for reply in told)


async def test_removals_highest_first_then_one_exists_then_flags(imap: ImapEnv) -> None:
    """imap.md, sequence numbers: one EXPUNGE per message, before one last EXISTS; EXISTS only if
    it grew; MODSEQ only after CONDSTORE was enabled (mbsync)."""
    client = await imap.client()
    await imap.place(*[SIMPLE] * 5)
    await client.ok("SELECT INBOX")
    await expunge(imap, 2, 4)
    await imap.place(SIMPLE)
    await store(imap, [5], FLAGGED)
    assert await client.ok("NOOP") == [
        b"* 4 EXPUNGE",
        b"* 2 EXPUNGE",
        b"* 4 EXISTS",
        b"* 0 RECENT",
        b"* 3 FETCH (FLAGS (\\Flagged))",
    ]
    assert await client.ok("NOOP") == []
    await expunge(imap, 6)
    assert await client.ok("NOOP") == [b"* 4 EXPUNGE"]
    await client.ok("ENABLE QRESYNC")
    await expunge(imap, 1)
    await store(imap, [3], SEEN)
    vanished, fetch = await client.ok("NOOP")
    assert vanished == b"* VANISHED 1"
    assert fetch == b"* 1 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (%d))" % modseq_of(client)


async def test_no_message_loses_its_number_where_that_is_forbidden(imap: ImapEnv) -> None:
    """RFC 9051 §7.5.1: a NO tells what is known, but no EXPUNGE."""
    client = await imap.client()
    await imap.place(*[SIMPLE] * 2)
    await client.ok("SELECT INBOX")
    await expunge(imap, 1)
    client.session.mailbox.learn(
        await imap.context.backend.view.changes(imap.accounts[ALICE], 1, modseq_of(client))  # type: ignore[arg-type]
    )
    assert len(await client.ask("STATUS nothing (MESSAGES)")) == 1
    assert await client.ok("NOOP") == [b"* 1 EXPUNGE"]


async def test_rfc7162_qresync_tells_what_became_of_the_mailbox(imap: ImapEnv) -> None:
    """Also with and without the optional lists (stalwart#67 crashed)."""
    client = await imap.client()
    await imap.place(*[SIMPLE] * 6)
    await client.ok("SELECT INBOX")
    validity = client.session.mailbox.uidvalidity
    seen = modseq_of(client)
    await store(imap, [1, 5], FLAGGED)
    await expunge(imap, 2, 3, 6)
    await imap.place(SIMPLE)
    select = f"SELECT INBOX (QRESYNC ({validity} {seen}%s))"
    assert (await client.no(select % "")).startswith(b"BAD "), "ENABLE comes first"
    await client.ok("ENABLE QRESYNC")

    def told(replies: list[bytes]) -> list[bytes]:
        return [each for each in replies if b"VANISHED" in each or b"FETCH" in each]

    replies = told(await client.ok(select % ""))
    assert replies[0] == b"* VANISHED (EARLIER) 2:3,6"
    assert [reply.partition(b" MODSEQ")[0] for reply in replies[1:]] == [
        b"* 1 FETCH (UID 1 FLAGS (\\Flagged)",
        b"* 3 FETCH (UID 5 FLAGS (\\Flagged)",
        b"* 4 FETCH (UID 7 FLAGS ()",
    ]
    replies = told(await client.ok(select % " 1:3"))
    assert replies[0] == b"* VANISHED (EARLIER) 2:3"
    assert len(replies) == 2
    assert told(await client.ok(select % " 1:7 (1 1)"))[0] == b"* VANISHED (EARLIER) 2:3,6"
    other = f"SELECT INBOX (CONDSTORE QRESYNC ({validity + 1} {seen} 1:7))"
    assert told(await client.ok(other)) == []
    assert told(await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq_of(client)}))")) == []


async def test_rfc7162_unknown_history_tells_vanished_for_all_that_is_not_there(
    imap: ImapEnv,
) -> None:
    """Never nothing; cyrus-imapd#6071: also above the highest UID that is left."""
    client, idle = await imap.client(), await imap.client()
    await imap.place(*[SIMPLE] * 6)
    for each in (client, idle):
        await each.ok("ENABLE QRESYNC")
        await each.ok("SELECT INBOX")
    validity, seen = client.session.mailbox.uidvalidity, modseq_of(client)
    await store(imap, [4], FLAGGED)
    await expunge(imap, 2, 6)
    await imap.seed.rows("DELETE FROM mailbox_changes")
    replies = await client.ok(f"SELECT INBOX (QRESYNC ({validity} {seen}))")
    told = [each for each in replies if b"VANISHED" in each or b"FETCH" in each]
    assert told[0] == b"* VANISHED (EARLIER) 2,6"
    assert [reply.partition(b" MODSEQ")[0] for reply in told[1:]] == [
        b"* 3 FETCH (UID 4 FLAGS (\\Flagged)"
    ]
    # the client's own numbers shorten it (RFC 7162 §3.2.5.2)
    replies = await client.ok(f"SELECT INBOX (QRESYNC ({validity} {seen} 1:6 (2:4 3:5)))")
    assert b"* VANISHED (EARLIER) 6" in replies
    # of a later state than there is, as after a restore
    replies = await client.ok(f"SELECT INBOX (QRESYNC ({validity} 999999))")
    assert b"* VANISHED (EARLIER) 2,6" in replies
    assert len([each for each in replies if b"FETCH" in each]) == 4
    # and so does a connection that has the mailbox selected
    assert re.match(
        rb"\* 4 FETCH \(UID 4 .*\)\r\n\* VANISHED 2,6\r\n\+ ", await idle.feed(b"i IDLE\r\n")
    )


async def test_hints_and_the_comparison_reach_connections_in_idle(imap: ImapEnv) -> None:
    """In IDLE they are told together; the others learn it with the next command, also one that
    does not ask; a hint about what is known already does nothing."""
    idle, busy = await imap.client("INBOX"), await imap.client("INBOX")
    await idle.feed(b"i IDLE\r\n")
    watching, account = imap.context.watching, imap.accounts[ALICE]
    placed = await imap.place(SIMPLE)
    watching.hint(account, 1, placed.modseq)
    watching.hint(account, 2, 5)
    watching.hint(account + 1, 1, 5)
    told = await idle.told()
    assert told.startswith(b"* 1 EXISTS\r\n")
    assert (await busy.ok("CAPABILITY"))[1] == b"* 1 EXISTS"
    watching.hint(account, 1, placed.modseq)
    assert not idle.session.mailbox.is_behind
    placed = await imap.place(SIMPLE)  # its hint is lost
    await watching.poll()
    told = await idle.told()
    assert told.startswith(b"* 2 EXISTS\r\n")
    # modseq 0: the sender does not know how far
    watching.hint(account, 1, 0)
    await until(lambda: not idle.session.mailbox.is_behind)
    assert idle.read() == b""
    await imap.seed.rows("DELETE FROM mailboxes WHERE mailbox_id = 1")
    await watching.poll()
    told = await idle.told()
    assert told.startswith(b"* BYE ")


async def test_connections_share_their_uids_until_one_is_told_of_a_change(imap: ImapEnv) -> None:
    first = await imap.client()
    await imap.place(*[SIMPLE] * 3)
    await first.ok("SELECT INBOX")
    await imap.place(SIMPLE)
    await first.ok("NOOP")  # has an array of its own now
    second, third = await imap.client("INBOX"), await imap.client("INBOX")
    numberings = [each.session.mailbox.numbering for each in (first, second, third)]
    assert numberings[0].uids is numberings[1].uids is numberings[2].uids
    await imap.place(SIMPLE)
    assert b"* 5 EXISTS" in await first.ok("NOOP")
    await expunge(imap, 1)
    assert (await second.ok("NOOP"))[:2] == [b"* 1 EXPUNGE", b"* 4 EXISTS"]
    assert list(numberings[2].uids) == [1, 2, 3, 4], "it was not told of anything"
