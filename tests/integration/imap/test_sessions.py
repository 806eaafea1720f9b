"""Dialogues without a socket: login, states, capabilities, IDLE."""

from __future__ import annotations

import pytest

from posthorn.ports.errors import Unavailable
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
    assert b"* 1 EXISTS\r\n" in await idle.told()
    assert b"* 1 EXISTS" in await other.ok("NOOP")


async def test_idle_survives_news_within_half_a_line_and_ends_with_any_other_command(
    imap: ImapEnv,
) -> None:
    """Stalwart: a wake-up lost half a DONE; zone-eu/wildduck#684: another command, or a second
    IDLE, is BAD and ends IDLE; Outlook leaves IDLE without DONE."""
    client = await imap.client("INBOX")
    await client.feed(b"i IDLE\r\nDO")
    await imap.place(SIMPLE)
    await client.session.tell_now()
    assert (await client.told()).startswith(b"* 1 EXISTS\r\n")
    assert (await client.feed(b"NE\r\n")).startswith(b"i OK ")
    await client.feed(b"j IDLE\r\n")
    assert (await client.feed(b"k NOOP\r\n")).startswith(b"j BAD ")
    assert (await client.feed(b"l NOOP\r\n")).startswith(b"l OK ")
    await client.session.tell_now()  # and nobody tells it outside of IDLE
    assert client.read() == b""


async def test_what_fails_by_our_fault_is_unavailable_and_a_change_of_unknown_outcome_ends_it(
    imap: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 3; imap.md: outcome of a commit unknown, never OK."""
    client = await imap.client("INBOX")

    async def broken(*_: object, **__: object) -> None:
        raise Unavailable("postgres", "secret")

    folders, view = imap.context.backend.folders, imap.context.backend.view
    with monkeypatch.context() as patch:
        patch.setattr(folders, "list", broken)
        patch.setattr(folders, "subscribe", broken)
        patch.setattr(view, "open", broken)
        patch.setattr(view, "changes", broken)
        for command in ('LIST "" "*"', "SUBSCRIBE x", "SELECT Sent"):
            reply = await client.no(command)
            assert reply.startswith(b"NO [UNAVAILABLE] ")
            assert b"secret" not in reply
        await client.ok("STATUS Sent (MESSAGES)")
    await client.ok("SELECT INBOX")
    with monkeypatch.context() as patch:
        # what has succeeded does not fail because news cannot be had
        patch.setattr(view, "changes", broken)
        await client.ok("CREATE Done")
        assert (await client.feed(b"i IDLE\r\n")).startswith(b"+ ")
        await client.session.tell_now()
        assert (await client.feed(b"DONE\r\n")).startswith(b"i OK ")
        patch.setattr(folders, "create", broken)
        replies = await client.feed(b"c CREATE Perhaps\r\n")
    assert replies.startswith(b"* BYE [UNAVAILABLE] ")
    assert b"c OK" not in replies
    assert client.out.is_closed
