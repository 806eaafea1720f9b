"""APPEND, MULTIAPPEND and REPLACE: what is refused before it is sent, what is stored, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from posthorn.ports.errors import Unavailable
from posthorn.ports.placing import Placed, Uploaded
from posthorn_imap.handlers import appending
from tests.support.imap import ALICE, Dialogue, ImapEnv, split_replies


def literal(octets: bytes) -> bytes:
    """Return a literal that waits for nothing."""
    return b"{%d+}\r\n%s" % (len(octets), octets)


async def bodies(client: Dialogue, mailbox: str = "INBOX") -> list[bytes]:
    """Return the messages of a mailbox, and see that sizes are those of BODY[]."""
    await client.ok(f"EXAMINE {mailbox}")
    found = []
    for line in await client.ok("FETCH 1:* (RFC822.SIZE BODY.PEEK[])"):
        head, _, octets = line.partition(b"}\r\n")
        size = int(head.partition(b"RFC822.SIZE ")[2].split()[0])
        assert b"{%d" % size in head
        assert len(octets) == size + 1
        found.append(octets[:-1])
    await client.ok("UNSELECT")
    return found


async def test_append_tells_its_uid_and_is_seen_at_once(mail: ImapEnv) -> None:
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    message = b"Subject: x\r\n\r\nbody\r\n"
    assert await client.feed(
        b'a APPEND INBOX (\\Seen Blue) " 1-Mar-2024 02:03:04 +0100" {19}\r\n'
    ) == (b"+ OK\r\n")
    replies = split_replies(await client.feed(message[:7] + message[7:] + b"\r\n"))
    assert replies[:2] == [b"* 1 EXISTS", b"* 0 RECENT"]
    assert replies[2].startswith(b"a OK [APPENDUID ")
    assert replies[2].endswith(b" 1] appended")
    # iOS: an unpadded day (mox#279)
    await client.ok(b'APPEND Trash "1-Mar-2024 02:03:04 +0100" ' + literal(message))
    assert (await other.ok("NOOP"))[0] == b"* 1 EXISTS"
    assert await other.ok("FETCH 1 (FLAGS INTERNALDATE)") == [
        b'* 1 FETCH (FLAGS (\\Seen Blue) INTERNALDATE "01-Mar-2024 01:03:04 +0000")'
    ]
    assert await bodies(client) == [message]


async def test_refusals_come_before_the_message(mail: ImapEnv) -> None:
    client = await mail.client()
    await mail.seed.rows("UPDATE accounts SET quota_bytes = 100")
    assert (await client.feed(b"a APPEND Nowhere {5}\r\n")).startswith(b"a NO [TRYCREATE] ")
    assert (await client.feed(b"b APPEND INBOX {101}\r\n")).startswith(b"b NO [OVERQUOTA] ")
    assert (await client.feed(b"c APPEND INBOX {999999999}\r\n")).startswith(b"c NO [TOOBIG] ")
    # what is sent unasked is drained, never taken for commands (stalwart#2768)
    text = b"x LOGOUT\r\n" * 20
    sent = await client.feed(b"d APPEND INBOX " + literal(text) + b"\r\ne NOOP\r\n")
    assert split_replies(sent)[0].startswith(b"d NO [OVERQUOTA] ")
    assert split_replies(sent)[1:] == [b"e OK done"]
    assert (await client.no(b"APPEND INBOX " + literal(b""))).startswith(b"NO")
    many = b" ".join(b"k%d" % number for number in range(250))
    assert (await client.no(b"APPEND INBOX (%s) %s" % (many, literal(b"a: b")))).startswith(
        b"NO [LIMIT] "
    )
    assert await bodies(client) == []


async def test_stored_as_all_messages_are(mail: ImapEnv) -> None:
    client = await mail.client()
    given = {
        b"A: b\n\nbare\rends\n": b"A: b\r\n\r\nbare\r\nends\r\n",
        b"A: b\r\n\r\nno end": b"A: b\r\n\r\nno end\r\n",
        b"no header at all": b"\r\nno header at all\r\n",
        b"\r\nempty header": b"\r\nempty header\r\n",
        b"A: only a header\r\n": b"A: only a header\r\n\r\n",
        b"From me Mon Jan 1\nA: mbox\n\nx\n": b"X-Mailbox-Line: From me Mon Jan 1\r\nA: mbox\r\n\r\nx\r\n",
        b"\xef\xbb\xbfA: mark\r\n\r\nx\r\n": b"A: mark\r\n\r\nx\r\n",
        b"A: \xc3\xa9\r\n\r\n.dots\r\n..\r\n": b"A: \xc3\xa9\r\n\r\n.dots\r\n..\r\n",
    }
    for octets in given:
        await client.ok(b"APPEND INBOX " + literal(octets))
    assert await bodies(client) == list(given.values())
    # in pieces of any size
    for octets in given:
        command = b"p APPEND Trash " + literal(octets) + b"\r\n"
        for place in range(len(command)):
            await client.feed(command[place : place + 1])
    assert await bodies(client, "Trash") == list(given.values())
    assert (await client.no(b"APPEND INBOX " + literal(b"\r" * 3000))).startswith(b"NO ")


async def test_utf8_and_binary_literals(mail: ImapEnv) -> None:
    client = await mail.client()
    message = "Subject: é\r\n\r\nx\0y\r\n".encode()
    assert (await client.no(b"APPEND INBOX UTF8 (~{3+}\r\na: )")).startswith(b"BAD")
    await client.ok(b"APPEND INBOX ~" + literal(message))
    await client.ok("ENABLE UTF8=ACCEPT")
    await client.ok(b"APPEND INBOX UTF8 (~" + literal(message) + b")")  # Thunderbird
    assert await bodies(client) == [message, message]


async def test_several_messages_all_or_none_rfc_3502(mail: ImapEnv) -> None:
    client = await mail.client("INBOX")
    one, two = literal(b"A: 1\r\n\r\n"), literal(b"A: 2\r\n\r\n")
    replies = await client.ask(b"APPEND INBOX (\\Seen) " + one + b" (\\Draft) " + two)
    assert replies[0] == b"* 2 EXISTS"
    assert replies[-1].endswith(b" 1:2] appended")
    assert await client.ok("FETCH 1:2 FLAGS") == [
        b"* 1 FETCH (FLAGS (\\Seen))",
        b"* 2 FETCH (FLAGS (\\Draft))",
    ]
    await mail.seed.rows("UPDATE accounts SET quota_bytes = used_bytes + 12")
    assert (await client.no(b"APPEND INBOX " + one + b" " + two)).startswith(b"NO [OVERQUOTA] ")
    assert (await client.no(b"APPEND INBOX " + one + b" (\\Seen ")).startswith(b"BAD")
    assert await client.ok("NOOP") == []
    assert client.session.append is None


async def test_a_large_message_is_streamed(mail: ImapEnv) -> None:
    client = await mail.client("INBOX")
    body = b"Subject: large\r\n\r\n" + b"0123456789abcdef0123456789abcde\n" * 40_000
    held = 0

    async def send(octets: bytes) -> bytes:
        nonlocal held
        sent = b""
        for start in range(0, len(octets), 100_000):
            sent += await client.feed(octets[start : start + 100_000])
            if client.session.append is not None:
                held = max(held, len(client.session.append._body))
        return sent

    sent = await send(b"a APPEND INBOX " + literal(body) + b" " + literal(b"A: small") + b"\r\n")
    assert b"a OK [APPENDUID" in sent
    assert held <= appending.INLINE_BYTES
    assert await bodies(client) == [
        body.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r"),
        b"A: small\r\n\r\n",
    ]
    # refused at the end: nothing is placed
    assert (await client.no(b"APPEND INBOX " + literal(body) + b" {")).startswith(b"BAD")
    assert len(await bodies(client)) == 2


async def test_a_large_message_that_cannot_be_stored(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await mail.client()
    placing = mail.context.backend.placing

    async def failing(self: Any, pieces: AsyncIterator[bytes]) -> Uploaded:
        async for _ in pieces:
            raise Unavailable("blobs", "full")
        raise AssertionError

    monkeypatch.setattr(type(placing), "upload", failing)
    body = b"Subject: large\r\n\r\n" + b"x" * 3_000_000
    sent = await client.feed(b"a APPEND INBOX " + literal(body) + b"\r\nb NOOP\r\n")
    assert split_replies(sent)[0].startswith(b"a NO [UNAVAILABLE] ")
    assert split_replies(sent)[1] == b"b OK done"


async def test_outcome_not_known_ends_the_connection_offlineimap_262(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that hears NO appends again: 119 copies."""
    placing = mail.context.backend.placing
    place = type(placing).place
    fault = Unavailable("postgres", "connection lost")

    async def lost(self: Any, *arguments: Any) -> Placed | None:
        if fault.part == "postgres":
            await place(self, *arguments)
        raise fault

    monkeypatch.setattr(type(placing), "place", lost)
    client = await mail.client()
    sent = await client.feed(b"a APPEND INBOX " + literal(b"A: b") + b"\r\n")
    assert sent.startswith(b"* BYE [UNAVAILABLE] ")
    assert client.out.is_closed
    # bodies are written first: where that fails, nothing was placed
    client = await mail.client()
    for fault in (Unavailable("blobs", "full"), Unavailable("database", "no connection")):
        fault.nothing_changed = fault.part != "blobs"
        reply = await client.no(b"APPEND INBOX " + literal(b"A: b"))
        assert reply.startswith(b"NO [UNAVAILABLE] ")
    monkeypatch.undo()
    assert len(await bodies(client)) == 1


async def test_a_slow_append_gives_signs_of_life(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    placing = mail.context.backend.placing
    place = type(placing).place
    go_on = asyncio.Event()

    async def slow(self: Any, *arguments: Any) -> Placed | None:
        await go_on.wait()
        return await place(self, *arguments)

    monkeypatch.setattr(type(placing), "place", slow)
    monkeypatch.setattr(appending, "PATIENCE_SECONDS", 0.01)
    client = await mail.client()
    appended = asyncio.create_task(client.feed(b"a APPEND INBOX " + literal(b"A: b") + b"\r\n"))
    while client.out.octets.count(b"* OK still storing\r\n") < 2:
        await asyncio.sleep(0.01)
    go_on.set()
    assert b"a OK [APPENDUID" in await appended


async def test_replace_rfc_8508(mail: ImapEnv) -> None:
    await mail.place(b"A: 1\r\n\r\n", b"A: 2\r\n\r\n")
    client = await mail.client("INBOX")
    replies = await client.ask(b"REPLACE 1 INBOX (\\Draft) " + literal(b"A: new\r\n\r\n"))
    assert replies[0].startswith(b"* OK [APPENDUID ")
    assert replies[1:] == [b"* 1 EXPUNGE", b"* 2 EXISTS", b"* 0 RECENT", b"OK replaced"]
    replies = await client.ask(b"UID REPLACE 2 Drafts " + literal(b"A: draft\r\n\r\n"))
    assert replies[1:] == [b"* 1 EXPUNGE", b"OK replaced"]
    assert await bodies(client) == [b"A: new\r\n\r\n"]
    assert await bodies(client, "Drafts") == [b"A: draft\r\n\r\n"]
    await client.ok("EXAMINE INBOX")
    assert (await client.feed(b"r REPLACE 1 INBOX {5}\r\n")).startswith(b"r NO [READ-ONLY] ")


async def test_replace_is_one_transaction_rfc_8508(mail: ImapEnv) -> None:
    for number in range(3):
        await mail.place(b"A: %d\r\n\r\n" % number)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    await client.ok(b"REPLACE 1 INBOX " + literal(b"A: new\r\n\r\n"))
    told = await other.ok("NOOP")
    assert told[:2] == [b"* 1 EXPUNGE", b"* 3 EXISTS"]
    times = await mail.seed.rows(
        "SELECT count(DISTINCT created_at) FROM (SELECT created_at FROM mailbox_changes"
        " WHERE mailbox_id = 1 ORDER BY modseq DESC LIMIT 2) AS last"
    )
    assert times == [(1,)], "both changes have the time of one transaction"

    # what cannot be placed removes nothing
    many = b" ".join(b"k%d" % number for number in range(250))
    for command in (b"REPLACE 1 INBOX (%s) " % many, b"UID REPLACE 2 Nowhere "):
        assert (await client.no(command + literal(b"A: b"))).startswith(b"NO [")
    await client.ok(b"REPLACE 1 INBOX " + literal(b"A: 12\r\n\r\n"))
    # a message that is gone is not replaced: two clients edit one draft
    await other.ok("UID STORE 3 +FLAGS (\\Deleted)")
    await other.ok("UID EXPUNGE 3")
    reply = await client.no(b"UID REPLACE 3 INBOX " + literal(b"A: x"))
    assert reply.startswith(b"NO [EXPUNGEISSUED] ")
    for command in (b"UID REPLACE 3 INBOX ", b"REPLACE 9 INBOX "):
        assert (await client.no(command + literal(b"A: x"))).startswith(b"NO ")
    assert await bodies(client) == [b"A: new\r\n\r\n", b"A: 12\r\n\r\n"]
    await mail.seed.sums_hold()


async def test_a_lost_connection_leaves_nothing(mail: ImapEnv) -> None:
    client = await mail.client()
    await client.feed(b"a APPEND INBOX {2000000+}\r\n" + b"x" * 1_000_000)
    assert client.session.append is not None
    upload = client.session.append._upload
    assert upload is not None
    client.leave()
    await asyncio.wait({upload})
    assert upload.cancelled()
    assert await mail.seed.value("SELECT count(*) FROM messages") == 0
    assert mail.accounts[ALICE]


async def test_the_memory_of_all_appends_is_bounded(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "MOST_MEMORY_BYTES", 1000)
    monkeypatch.setattr(appending, "MOST_HELD_BYTES", 900)
    client, other = await mail.client(), await mail.client()
    half = literal(b"A: b\r\n\r\n" + b"x" * 492)
    await client.feed(b"a APPEND INBOX " + half + b" {400+}\r\nB: ")
    assert (await other.no(b"APPEND INBOX " + half)).startswith(b"NO [UNAVAILABLE] ")
    client.leave()
    assert appending.memory.held == 0
    await other.ok(b"APPEND INBOX " + half)
    monkeypatch.setattr(appending, "MOST_MEMORY_BYTES", 2000)
    assert (await other.no(b"APPEND INBOX " + half + b" " + half)).startswith(b"NO [LIMIT] ")
    assert (await other.no(b"APPEND INBOX " + half + b" {")).startswith(b"BAD")
    assert appending.memory.held == 0
    assert len(await bodies(other)) == 1


async def test_a_mailbox_that_took_the_last_message_is_not_checked_before(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await mail.client()
    placing = client.session.backend.placing
    check, checked = placing.check, []

    async def checking(account: int, mailbox: str, size_bytes: int) -> bool:
        checked.append(mailbox)
        return await check(account, mailbox, size_bytes)

    monkeypatch.setattr(placing, "check", checking)
    one = literal(b"A: 1\r\n\r\n")
    for mailbox in (b"INBOX", b"INBOX", b"Sent", b"Sent", b"Sent"):
        await client.ok(b"APPEND " + mailbox + b" " + one)
    assert checked == ["INBOX", "Sent"]
    # large messages are checked before they come
    await client.ok(b"APPEND Sent " + literal(b"A: 1\r\n\r\n" + b"x" * 600_000))
    assert checked == ["INBOX", "Sent", "Sent"]
    # placing decides, and after a refusal they are checked before again
    await mail.seed.rows("UPDATE accounts SET quota_bytes = used_bytes + 4")
    checked.clear()
    for _ in range(2):
        assert (await client.no(b"APPEND Sent " + one)).startswith(b"NO [OVERQUOTA] ")
        assert checked in ([], ["Sent"])
    assert checked == ["Sent"]
    await mail.seed.rows("UPDATE accounts SET quota_bytes = NULL")
    await client.ok(b"APPEND Sent " + one)
    assert (await client.no(b"APPEND Sent (" + one)).startswith(b"BAD")
    await client.ok(b"APPEND Sent " + one)
    assert checked == ["Sent"] * 3
