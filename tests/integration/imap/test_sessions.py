"""Dialogues without a socket: login, states, capabilities, IDLE."""

from __future__ import annotations

from tests.support.imap import ALICE, PASSWORD, SIMPLE, ImapEnv


async def test_a_session_from_greeting_to_logout(imap: ImapEnv) -> None:
    await imap.account()
    client = imap.dialogue()
    client.session.greet()
    assert client.read().startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 ")
    await client.transcript(
        f"""
        C: a1 CAPABILITY
        S: \\* CAPABILITY IMAP4rev1 .*AUTH=PLAIN.*
        S: a1 OK .*
        C: a2 SELECT INBOX
        S: a2 BAD .*
        C: a3 LOGIN {ALICE} "{PASSWORD}"
        S: a3 OK \\[CAPABILITY IMAP4rev1 .*\\] logged in
        C: a4 LIST "" "*"
        S: \\* LIST \\(\\\\HasNoChildren\\) "/" INBOX
        S: \\* LIST \\(\\\\HasNoChildren \\\\Archive\\) "/" Archive
        S: \\* LIST \\(\\\\HasNoChildren \\\\Drafts\\) "/" Drafts
        S: \\* LIST \\(\\\\HasNoChildren \\\\Junk\\) "/" Junk
        S: \\* LIST \\(\\\\HasNoChildren \\\\Sent\\) "/" Sent
        S: \\* LIST \\(\\\\HasNoChildren \\\\Trash\\) "/" Trash
        S: a4 OK .*
        C: a5 SELECT INBOX
        S: \\* 0 EXISTS
        S: \\* 0 RECENT
        S: \\* FLAGS \\(.*\\$Junk \\$NotJunk.*\\)
        S: \\* OK \\[PERMANENTFLAGS \\(.*\\\\\\*\\)\\] .+
        S: \\* OK \\[UIDVALIDITY [0-9]+\\] .+
        S: \\* OK \\[UIDNEXT 1\\] .+
        S: \\* OK \\[HIGHESTMODSEQ [1-9][0-9]*\\] .+
        S: \\* OK \\[MAILBOXID \\(F[0-9]+-1\\)\\] .+
        S: a5 OK \\[READ-WRITE\\] .+
        C: a6 NOOP
        S: a6 OK .*
        C: a7 IDLE
        S: \\+ .*
        C: DONE
        S: a7 OK .*
        C: a8 LOGOUT
        S: \\* BYE .*
        S: a8 OK .*
        """
    )
    assert client.out.is_closed


async def test_new_mail_is_told_in_idle_and_by_noop(imap: ImapEnv) -> None:
    idle, other = await imap.client("INBOX"), await imap.client("INBOX")
    assert (await idle.feed(b"i IDLE\r\n")).startswith(b"+ ")
    placed = await imap.place(SIMPLE)
    imap.context.watching.hint(imap.accounts[ALICE], placed.mailbox, placed.modseq)
    await idle.session.tell_now()
    assert b"* 1 EXISTS\r\n" in idle.read()
    assert b"* 1 EXISTS" in await other.ok("NOOP")
