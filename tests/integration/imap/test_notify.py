"""NOTIFY (RFC 5465): what a connection is told unasked, of the selected mailbox and of others."""

from __future__ import annotations

import asyncio

import pytest

from posthorn.ports.errors import Unavailable
from posthorn_imap import notifications
from posthorn_imap.protocol import ImapProtocol
from posthorn_imap.session import ImapSession
from tests.support.imap import ALICE, SIMPLE, Dialogue, ImapEnv, imap_server
from tests.support.polling import until


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons do not wait for each other."""
    monkeypatch.setattr(notifications, "COMPARE_SECONDS", 0.0)


async def told(client: Dialogue, *expected: bytes) -> bytes:
    """Wait until all of this was told unasked; return everything that was."""
    await until(lambda: all(each in client.out.octets for each in expected))
    return client.read()


async def quiet(imap: ImapEnv, client: Dialogue) -> bytes:
    """Return what was told once everything that is due has been."""
    await imap.context.watching.poll()
    await asyncio.sleep(0.2)
    return client.read()


async def test_the_selected_mailbox_is_told_at_once_with_what_is_asked_for_rfc_5465(
    mail: ImapEnv,
) -> None:
    await mail.client()
    await mail.place(SIMPLE, SIMPLE)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    await mail.place(SIMPLE)
    items = "UID FLAGS BODY[HEADER.FIELDS (SUBJECT)]"
    replies = await client.ok(
        f"NOTIFY SET (selected (MessageNew ({items}) MessageExpunge FlagChange))"
    )
    assert replies == [b"* 3 EXISTS", b"* 0 RECENT"]  # an implicit NOOP; no items of the past
    await other.ok("STORE 1 +FLAGS (\\Flagged)")
    assert b"* 1 FETCH (UID 1 FLAGS (\\Flagged))\r\n" in await told(client, b"FETCH")
    await other.ok("STORE 1 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    await told(client, b"* 1 EXPUNGE\r\n")
    await other.feed(b"a APPEND INBOX {%d+}\r\n%s\r\n" % (len(SIMPLE), SIMPLE))
    text = await told(client, b"Subject: one")
    at = text.index(b"* 3 EXISTS\r\n")
    assert text.index(b"* 3 FETCH (UID 4 FLAGS () BODY[HEADER.FIELDS (SUBJECT)] {") > at
    assert b"\\Seen" not in b"".join(await client.ok("UID FETCH 4 FLAGS"))
    # also in IDLE, and what comes before a command's end
    await client.feed(b"i IDLE\r\n")
    await other.feed(b"b APPEND INBOX {%d+}\r\n%s\r\n" % (len(SIMPLE), SIMPLE))
    await told(client, b"* 4 FETCH (UID 5 ")
    await client.feed(b"DONE\r\n")
    await mail.place(SIMPLE)
    replies = await client.ok("NOOP")
    assert [reply[:11] for reply in replies if b"RECENT" not in reply] == [
        b"* 5 EXISTS",
        b"* 5 FETCH (",
    ]


async def test_selected_delayed_keeps_numbers_until_a_command(mail: ImapEnv) -> None:
    await mail.client()
    await mail.place(SIMPLE, SIMPLE)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    await client.ok("NOTIFY SET (selected-delayed (MessageNew MessageExpunge))")
    await other.ok("STORE 1 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    await other.feed(b"a APPEND INBOX {%d+}\r\n%s\r\n" % (len(SIMPLE), SIMPLE))
    text = await told(client, b"* 3 EXISTS\r\n")
    assert b"EXPUNGE" not in text
    assert b"FETCH" not in text  # no FlagChange was asked for
    assert b"* 1 EXPUNGE" in await client.ok("NOOP")


async def test_without_selected_and_with_none_the_selected_mailbox_stands_still(
    mail: ImapEnv,
) -> None:
    await mail.client()
    await mail.place(SIMPLE)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    for command in ("NOTIFY SET (personal (MessageNew MessageExpunge))", "NOTIFY NONE"):
        await client.ok(command)
        await other.feed(b"a APPEND INBOX {%d+}\r\n%s\r\n" % (len(SIMPLE), SIMPLE))
        assert await client.ok("NOOP") == []
        assert await quiet(mail, client) == b""
    await client.feed(b"i IDLE\r\n")
    await other.ok("STORE 1 +FLAGS (\\Flagged)")
    assert await quiet(mail, client) == b""
    await client.feed(b"DONE\r\n")
    await client.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
    assert (await client.ok("NOOP")) == []
    assert b"* 3 FETCH (UID 3)" in await client.ok("FETCH 3 UID")


async def test_other_mailboxes_are_told_by_status(mail: ImapEnv) -> None:
    client, other = await mail.client("INBOX"), await mail.client()
    await other.ok("CREATE Lists/a")
    replies = await client.ok(
        "NOTIFY SET STATUS (selected (MessageNew MessageExpunge))"
        " (mailboxes (INBOX Sent nowhere) (MessageNew MessageExpunge))"
        " (subtree Lists (MessageNew MessageExpunge FlagChange))"
    )
    assert [reply.partition(b" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY ")[0] for reply in replies] == [
        b"* STATUS Lists",
        b"* STATUS Lists/a",
        b"* STATUS Sent",
    ]
    assert [b"UNSEEN 0)" in reply for reply in replies] == [True, True, False]
    append = b"x APPEND %s {%d+}\r\n%s\r\n"
    await other.feed(append % (b"Sent", len(SIMPLE), SIMPLE))
    await told(client, b"* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ")
    await other.feed(append % (b"Trash", len(SIMPLE), SIMPLE))
    await other.feed(append % (b"Lists/a", len(SIMPLE), SIMPLE))
    text = await told(client, b"* STATUS Lists/a (MESSAGES 1 UIDNEXT 2 ", b" UNSEEN 1)")
    assert b"Trash" not in text
    await other.ok("SELECT Lists/a")
    await other.ok("STORE 1 +FLAGS (\\Seen)")
    await told(client, b"* STATUS Lists/a (MESSAGES 1 ", b" UNSEEN 0)")
    await other.ok("SELECT Sent")
    await other.ok("STORE 1 +FLAGS (\\Seen)")
    assert await quiet(mail, client) == b""  # without FlagChange
    await client.ok("ENABLE CONDSTORE")
    await other.ok("STORE 1 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    await told(client, b"* STATUS Sent (MESSAGES 0 UIDNEXT 2 ", b" HIGHESTMODSEQ ")
    # without hints the comparison finds it; of the selected mailbox there is no STATUS
    await mail.place(SIMPLE, mailbox="Sent")
    await mail.place(SIMPLE)
    await mail.context.watching.poll()
    text = await told(client, b"* STATUS Sent (MESSAGES 1 UIDNEXT 3 ", b"* 1 EXISTS\r\n")
    assert b"STATUS INBOX" not in text
    # and once it is one of the others there is
    await client.ok("UNSELECT")
    await mail.place(SIMPLE)
    await mail.context.watching.poll()
    await told(client, b"* STATUS INBOX (MESSAGES 2 ")


async def test_names_and_subscriptions_are_told_by_list(mail: ImapEnv) -> None:
    client, other = await mail.client(), await mail.client()
    await client.ok(
        "NOTIFY SET (personal (MessageNew MessageExpunge MailboxName SubscriptionChange))"
    )
    await other.ok("CREATE Work")
    text = await told(client, b"* STATUS Work (MESSAGES 0 ")
    assert text.startswith(b'* LIST (\\HasNoChildren) "/" Work\r\n')
    await other.ok("SUBSCRIBE Work")
    await told(client, b'* LIST (\\HasNoChildren \\Subscribed) "/" Work\r\n')
    await other.ok("UNSUBSCRIBE Work")
    await told(client, b'* LIST (\\HasNoChildren) "/" Work\r\n')
    await other.ok("RENAME Work Play")
    await told(client, b'* LIST (\\HasNoChildren) "/" Play ("OLDNAME" (Work))\r\n')
    await other.ok("DELETE Play")
    await told(client, b'* LIST (\\NonExistent \\Noselect) "/" Play\r\n')
    # lists are compared now and then as well, since a hint may be lost
    await mail.context.backend.folders.create(mail.accounts[ALICE], "Lost")
    for _ in range(10):
        await mail.context.watching.poll()
    await told(client, b'* LIST (\\HasNoChildren) "/" Lost\r\n')
    await client.ok("NOTIFY SET (personal (MailboxName))")
    await other.ok("SUBSCRIBE Lost")
    assert await quiet(mail, client) == b""


async def test_changes_during_a_command_are_told_after_it(mail: ImapEnv) -> None:
    client, other = await mail.client(), await mail.client()
    await client.ok("NOTIFY SET (personal (MailboxName))")
    async with client.session.busy:
        await other.ok("CREATE Work")
        await asyncio.sleep(0.2)
        assert client.read() == b""
    await client.feed(b"n NOOP\r\n")
    await told(client, b'"/" Work\r\n')


async def test_faults_and_limits_of_notify(mail: ImapEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = await mail.client(), await mail.client()
    many = [f"(mailboxes ({' '.join(f'm{n}x{k}' for n in range(600))}) NONE)" for k in range(2)]
    assert (await client.no(f"NOTIFY SET {' '.join(many)}")).startswith(
        b"NO [NOTIFICATIONOVERFLOW] "
    )
    assert (await client.no("NOTIFY SET (personal (AnnotationChange))")).startswith(
        b"NO [BADEVENT (MessageNew "
    )
    folders = mail.context.backend.folders

    async def broken(*_: object) -> None:
        raise Unavailable("postgres", "secret")

    await client.ok("NOTIFY SET (personal (MailboxName))")
    with monkeypatch.context() as patch:
        patch.setattr(folders, "list", broken)
        await other.ok("CREATE Work")
        reply = await client.no("NOTIFY SET (personal (SubscriptionChange))")
        assert reply.startswith(b"NO [UNAVAILABLE] ")  # and what held before holds
        assert await quiet(mail, client) == b""
    await mail.context.watching.poll()
    await told(client, b'"/" Work\r\n')


async def test_a_status_a_second_at_most(mail: ImapEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "COMPARE_SECONDS", 60.0)
    client, other = await mail.client(), await mail.client()
    await client.ok("NOTIFY SET (personal (MailboxName))")
    await other.ok("CREATE One")
    await told(client, b'"/" One\r\n')
    await other.ok("CREATE Two")
    assert await quiet(mail, client) == b""
    notify = client.session.notify
    assert notify is not None
    assert notify.is_waiting


async def test_items_of_a_large_message_are_whole_whatever_else_happens(imap: ImapEnv) -> None:
    await imap.account()
    large = SIMPLE + b"0123456789abcdef" * (3 << 19) + b"\r\n"  # more than all buffers take
    async with imap_server(imap) as server:
        client = await server.login()
        await client.ask("SELECT INBOX")
        await client.ask("NOTIFY SET (selected (MessageNew (BODY.PEEK[]) MessageExpunge))")
        (session,) = next(iter(server.context.watching._watchers.values()))
        assert isinstance(session, ImapSession)

        async def begin(number: int) -> None:
            placed = await imap.place(large)
            server.context.watching.hint(imap.accounts[ALICE], placed.mailbox, placed.modseq)
            head = b"* %d FETCH (UID %d BODY[] {%d}\r\n" % (number, number, len(large))
            while (line := await client.head()) != head:
                assert line
            assert session.is_sending_items

        await begin(1)
        client.send(b"n NOOP\r\n")  # waits for the end of the message
        assert await client.exactly(len(large)) == large
        assert await client.line() == b")"
        assert (await client.until(b"n"))[-1].startswith(b"OK ")
        await begin(2)
        assert isinstance(session.out, ImapProtocol)
        session.out.drain()  # no BYE within the message
        rest = await client.rest()
        assert len(rest) < len(large)
        assert large.startswith(rest)
        await client.close()
