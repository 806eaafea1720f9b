"""FETCH: items, sections, partials, and the traps of clients and servers before us."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from posthorn.ports.errors import Unavailable
from posthorn_imap import read_ahead
from tests.support.imap import SIMPLE, ImapEnv

NESTED = b"""From: Ada <ada@example.test>\r
To: bob@example.test\r
Subject: nested\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=out\r
\r
preamble\r
--out\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
Caf=C3=A9 =\r
au lait\r
--out\r
Content-Type: message/rfc822\r
Content-Disposition: attachment; filename=inner.eml\r
\r
Subject: inner\r
From: eve@example.test\r
Content-Type: multipart/alternative; boundary=in\r
\r
--in\r
\r
plain\r
--in\r
Content-Type: text/html\r
\r
<b>html</b>\r
--in--\r
--out\r
Content-Type: application/octet-stream; name=a.bin\r
Content-Transfer-Encoding: base64\r
\r
AAECAw==\r
--out\r
Content-Type: text/plain\r
Content-Transfer-Encoding: x-uuencode\r
\r
begin 644 x\r
--out--\r
"""
INNER = NESTED[NESTED.index(b"Subject: inner") : NESTED.index(b"\r\n--out\r\nContent-Type: app")]


async def test_items_of_metadata(mail: ImapEnv) -> None:
    await mail.place(
        SIMPLE, flags=("\\Flagged", "hello"), date=datetime(2024, 3, 1, 2, 3, 4, tzinfo=UTC)
    )
    client = await mail.client("INBOX")
    await client.transcript(
        """
        C: a FETCH 1 FAST
        S: \\* 1 FETCH \\(FLAGS \\(\\\\Flagged hello\\) INTERNALDATE "01-Mar-2024 02:03:04 \\+0000" RFC822.SIZE 46\\)
        S: a OK .+
        C: b UID FETCH 1:* (UID EMAILID THREADID SAVEDATE)
        S: \\* 1 FETCH \\(UID 1 EMAILID \\([0-9a-f-]{36}\\) THREADID NIL SAVEDATE "[^"]+"\\)
        S: b OK .+
        C: c FETCH 1 (FLAGS MODSEQ)
        S: \\* 1 FETCH \\(FLAGS \\(\\\\Flagged hello\\) MODSEQ \\(2\\)\\)
        S: c OK .+
        C: d FETCH 2:9 FLAGS
        S: d OK .+
        C: e UID FETCH 7:9 FLAGS
        S: e OK .+
        C: f UID FETCH 9:* FLAGS
        S: \\* 1 FETCH \\(UID 1 FLAGS \\(\\\\Flagged hello\\)\\)
        S: f OK .+
        """
    )


async def test_modseq_is_sent_only_to_who_asked_mbsync(mail: ImapEnv) -> None:
    await mail.place(SIMPLE, SIMPLE)
    client = await mail.client("INBOX")
    assert await client.ok("FETCH 1 BODY[]<0.3>") == [
        b"* 1 FETCH (BODY[]<0> {3}\r\nFro FLAGS (\\Seen))"
    ]
    assert await client.ok("UID FETCH 1:2 (FLAGS)") == [
        b"* 1 FETCH (UID 1 FLAGS (\\Seen))",
        b"* 2 FETCH (UID 2 FLAGS ())",
    ]
    # CHANGEDSINCE enables it, also with 0 (Apple Mail), and what changes has it from then on
    assert await client.ok("UID FETCH 1:* FLAGS (CHANGEDSINCE 0)") == [
        b"* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (3))",
        b"* 2 FETCH (UID 2 FLAGS () MODSEQ (2))",
    ]
    assert await client.ok("UID FETCH 1:* FLAGS (CHANGEDSINCE 2)") == [
        b"* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (3))"
    ]
    assert await client.ok("FETCH 2 BODY[]<0.1>") == [
        b"* 2 FETCH (BODY[]<0> {1}\r\nF FLAGS (\\Seen) MODSEQ (4))"
    ]


async def test_sections_each_right_mox_39c21f8(mail: ImapEnv) -> None:
    await mail.place(NESTED, SIMPLE)
    client = await mail.client("INBOX")
    header = NESTED[: NESTED.index(b"preamble")]
    inner_header = INNER[: INNER.index(b"--in")]
    mime_2 = NESTED[NESTED.index(b"Content-Type: message") : NESTED.index(b"Subject: inner")]
    sections = {
        b"": NESTED,
        b"HEADER": header,
        b"TEXT": NESTED[len(header) :],
        b"1": b"Caf=C3=A9 =\r\nau lait",
        b"1.MIME": b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        b"2": INNER,
        b"2.MIME": mime_2,
        b"2.HEADER": inner_header,
        b"2.TEXT": INNER[len(inner_header) :],
        b"2.1": b"plain",
        b"2.2": b"<b>html</b>",
        b"2.2.MIME": b"Content-Type: text/html\r\n\r\n",
        b"2.HEADER.FIELDS (From X)": b"From: eve@example.test\r\n\r\n",
        b"HEADER.FIELDS (X-None)": b"\r\n",
        b"HEADER.FIELDS.NOT (MIME-Version content-type TO)": (
            b"From: Ada <ada@example.test>\r\nSubject: nested\r\n\r\n"
        ),
        b"3": b"AAECAw==",
    }
    for section, octets in sections.items():
        assert await client.ok(b"FETCH 1 BODY.PEEK[%s]" % section) == [
            b"* 1 FETCH (BODY[%s] {%d}\r\n%s)" % (section, len(octets), octets)
        ]
    # what is not there is NIL, never the whole message (imap.md, FETCH and MIME)
    for section in (b"5", b"1.1", b"2.3", b"1.HEADER", b"3.TEXT", b"2.1.1"):
        assert await client.ok(b"FETCH 1 BODY.PEEK[%s]" % section) == [
            b"* 1 FETCH (BODY[%s] NIL)" % section
        ]
    # the one part of a message that is no multipart
    assert await client.ok("FETCH 2 (BODY.PEEK[1] BODY.PEEK[1.MIME] RFC822.HEADER)") == [
        b"* 2 FETCH (BODY[1] {8}\r\nHello.\r\n"
        b" BODY[1.MIME] {40}\r\nFrom: a@example.test\r\nSubject: one\r\n\r\n"
        b" RFC822.HEADER {40}\r\nFrom: a@example.test\r\nSubject: one\r\n\r\n)".replace(
            b"{40}", b"{%d}" % (len(SIMPLE) - 8)
        )
    ]
    # Gmail's app
    assert await client.ok("FETCH 1 (BODY.PEEK[3] BODY.PEEK[2.1])") == [
        b"* 1 FETCH (BODY[3] {8}\r\nAAECAw== BODY[2.1] {5}\r\nplain)"
    ]


async def test_partials_count_exactly_hmailserver_334(mail: ImapEnv) -> None:
    await mail.place(SIMPLE)
    client = await mail.client("INBOX")
    size = len(SIMPLE)
    for start, count in ((0, 5), (0, size), (size - 2, 2), (size - 2, 100), (size, 5), (10**12, 1)):
        octets = SIMPLE[start : start + count]
        assert await client.ok(f"FETCH 1 BODY.PEEK[]<{start}.{count}>") == [
            b"* 1 FETCH (BODY[]<%d> {%d}\r\n%s)" % (start, len(octets), octets)
        ]
    assert await client.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (subject)]<2.4>") == [
        b"* 1 FETCH (BODY[HEADER.FIELDS (subject)]<2> {4}\r\nbjec)"
    ]
    assert (await client.no("FETCH 1 BODY[]<0.0>")).startswith(b"BAD")


async def test_binary_decodes_and_says_so_where_it_cannot(mail: ImapEnv) -> None:
    await mail.place(NESTED)
    client = await mail.client("INBOX")
    text = "Café au lait".encode()
    assert await client.ok("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])") == [
        b"* 1 FETCH (BINARY[1] {13}\r\n%s BINARY.SIZE[1] 13)" % text
    ]
    assert await client.ok("FETCH 1 (BINARY.PEEK[3] BINARY.SIZE[3] BINARY.PEEK[3]<1.2>)") == [
        b"* 1 FETCH (BINARY[3] ~{4}\r\n\0\1\2\3 BINARY.SIZE[3] 4 BINARY[3]<1> {2}\r\n\1\2)"
    ]
    assert await client.ok("FETCH 1 (BINARY.PEEK[9] BINARY.SIZE[])") == [
        b"* 1 FETCH (BINARY[9] NIL BINARY.SIZE[] %d)" % len(NESTED)
    ]
    for item in ("BINARY.PEEK[4]", "BINARY.SIZE[4]"):  # Roundcube goes back to BODY at this
        assert (await client.no(f"FETCH 1 {item}")).startswith(b"NO [UNKNOWN-CTE] ")
    assert b"\\Seen" not in (await client.ok("FETCH 1 FLAGS"))[0]
    assert (await client.ok("FETCH 1 BINARY[2.1]"))[0].endswith(b"FLAGS (\\Seen))")


async def test_seen_is_set_by_body_alone_and_reported_once(mail: ImapEnv) -> None:
    await mail.place(SIMPLE, SIMPLE, SIMPLE)
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    examine = await mail.client()
    await examine.ok("EXAMINE INBOX")
    await examine.ok("FETCH 1:* BODY[]")
    await client.ok("FETCH 1:* (BODY.PEEK[] RFC822.HEADER BODY.PEEK[HEADER] ENVELOPE BODY PREVIEW)")
    assert await client.ok("FETCH 1:* FLAGS") == [b"* %d FETCH (FLAGS ())" % n for n in (1, 2, 3)]
    # FLAGS that were asked for are those after it
    assert await client.ok("FETCH 1:2 (FLAGS RFC822.TEXT)") == [
        b"* %d FETCH (FLAGS (\\Seen) RFC822.TEXT {8}\r\nHello.\r\n)" % n for n in (1, 2)
    ]
    assert await client.ok("NOOP") == []
    assert await other.ok("NOOP") == [b"* %d FETCH (FLAGS (\\Seen))" % n for n in (1, 2)]
    modseqs = await mail.seed.rows("SELECT DISTINCT modseq FROM mailbox_entries ORDER BY 1")
    assert len(modseqs) == 2  # one STORE for both


async def test_gone_messages_rfc_2180_and_stalwart_670(mail: ImapEnv) -> None:
    await mail.place(*[b"Subject: %d\r\n\r\n%d\r\n" % (n, n) for n in range(4)])
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    await other.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    # numbers mean what this client was told (hmailserver#458: wrong attachments)
    assert await client.ask("FETCH 1:3 BODY.PEEK[TEXT]") == [
        b"* 1 FETCH (BODY[TEXT] {3}\r\n0\r\n)",
        b"* 3 FETCH (BODY[TEXT] {3}\r\n2\r\n)",
        b"NO [EXPUNGEISSUED] some messages are gone",
    ]
    assert (await client.no("FETCH 2 FLAGS")).startswith(b"NO [EXPUNGEISSUED] ")
    # UID FETCH skips it, and may tell of it
    assert await client.ok("UID FETCH 1:3 FLAGS") == [
        b"* 1 FETCH (UID 1 FLAGS ())",
        b"* 3 FETCH (UID 3 FLAGS ())",
        b"* 2 EXPUNGE",
    ]
    assert await client.ok("FETCH 2 UID") == [b"* 2 FETCH (UID 3)"]


async def test_uid_commands_act_on_what_is_not_announced_stalwart_1201(mail: ImapEnv) -> None:
    await mail.place(SIMPLE)
    client = await mail.client("INBOX")
    await mail.place(SIMPLE)
    assert await client.ok("UID FETCH 2 FLAGS") == [
        b"* 2 EXISTS",
        b"* 0 RECENT",
        b"* 2 FETCH (UID 2 FLAGS ())",
    ]
    await mail.place(SIMPLE)
    assert await client.ok("UID FETCH 3:1000000000 (UID BODY.PEEK[HEADER.FIELDS (X-TUID)])") == [
        b"* 3 EXISTS",
        b"* 0 RECENT",
        b"* 3 FETCH (UID 3 BODY[HEADER.FIELDS (X-TUID)] {2}\r\n\r\n)",
    ]


async def test_vanished_and_history_cyrus_6071(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 5)
    client = await mail.client()
    await client.ok("ENABLE QRESYNC")
    await client.ok("SELECT INBOX")
    await client.ok("STORE 4:5,1 +FLAGS (\\Deleted)")
    await client.ok("EXPUNGE")
    # SOGo; 1:* covers the UIDs above the highest that is left
    assert await client.ok("UID FETCH 1:* (UID) (CHANGEDSINCE 2 VANISHED)") == [
        b"* VANISHED (EARLIER) 1,4:5"
    ]
    assert await client.ok("UID FETCH 2:4 (UID) (CHANGEDSINCE 1 VANISHED)") == [
        b"* VANISHED (EARLIER) 4",
        b"* 1 FETCH (UID 2 MODSEQ (2))",
        b"* 2 FETCH (UID 3 MODSEQ (2))",
    ]
    # unknown history: all that is not there, never nothing
    await mail.seed.rows("DELETE FROM mailbox_changes WHERE modseq < 4")
    assert await client.ok("UID FETCH 1:* (UID) (CHANGEDSINCE 1 VANISHED)") == [
        b"* VANISHED (EARLIER) 1,4:5",
        b"* 1 FETCH (UID 2 MODSEQ (2))",
        b"* 2 FETCH (UID 3 MODSEQ (2))",
    ]
    await mail.seed.rows(
        "INSERT INTO mailbox_changes (account_id, mailbox_id, modseq, kind, uids)"
        " SELECT account_id, mailbox_id, v.modseq, v.kind, v.uids::int8multirange FROM mailboxes,"
        " (VALUES (2, 0, '{[1,6)}'), (3, 1, '{[1,2),[4,6)}')) AS v (modseq, kind, uids) WHERE name = 'INBOX'"
    )


async def test_partial_results_rfc_9394(mail: ImapEnv) -> None:
    await mail.place(*[SIMPLE] * 6)
    client = await mail.client("INBOX")

    async def uids(command: str) -> list[int]:
        return [int(line.split(b"UID ")[1].rstrip(b")")) for line in await client.ok(command)]

    assert await uids("UID FETCH 1:* (UID) (PARTIAL 2:3)") == [2, 3]
    assert await uids("UID FETCH 2,4:6 (UID) (PARTIAL -1:-2)") == [5, 6]
    assert await uids("UID FETCH 1:* (UID) (PARTIAL 5:90)") == [5, 6]
    assert await uids("UID FETCH 1:* (UID) (PARTIAL 7:90)") == []
    assert await uids("UID FETCH 1:* (UID) (PARTIAL -5:-90)") == [1, 2]


async def test_preview_rfc_8970(mail: ImapEnv) -> None:
    html = (
        b"Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        b"<style>p {}</style><p>Hello &amp; <b>welcome</b></p>\r\n" + b"<p>more</p>" * 90
    )
    await mail.place(NESTED, html, b"Content-Type: image/png\r\n\r\nx\r\n")
    client = await mail.client("INBOX")
    first, second, third = await client.ok("FETCH 1:3 PREVIEW")
    assert first == b"* 1 FETCH (PREVIEW {13}\r\n%s)" % "Café au lait".encode()
    assert second.startswith(b'* 2 FETCH (PREVIEW "Hello & welcome more more')
    assert len(second) < 256
    assert third == b'* 3 FETCH (PREVIEW "")'
    lazy = await client.ok("FETCH 1:3 (PREVIEW (LAZY))")
    assert lazy == [first, second, third]  # the bodies are at hand


async def test_envelope_and_structure_are_kept(mail: ImapEnv) -> None:
    await mail.place(NESTED)
    client = await mail.client("INBOX")
    cold = await client.ok("FETCH 1 (ENVELOPE BODYSTRUCTURE BODY)")
    assert b'(("Ada" NIL "ada" "example.test"))' in cold[0]
    assert b'"ATTACHMENT" ("filename" "inner.eml")' in cold[0]  # Gmail's app (mox#327)
    [(envelope, structure)] = await mail.seed.rows(
        "SELECT envelope, structure FROM message_structures"
    )
    assert envelope in cold[0]
    assert structure
    await mail.seed.rows("UPDATE message_structures SET envelope = '(kept)'")
    warm = await client.ok("FETCH 1 (ENVELOPE BODYSTRUCTURE BODY)")
    assert warm == [cold[0].replace(envelope, b"(kept)")]
    # a form that is not valid is made again
    await mail.seed.rows("UPDATE message_structures SET structure = '\\x0101'")
    assert await client.ok("FETCH 1 (ENVELOPE BODYSTRUCTURE BODY)") == warm


async def test_a_body_that_cannot_be_read_darbaan_190(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mail.place(*[b"Subject: %d\r\n\r\n%d\r\n" % (n, n) for n in range(3)])
    [second] = await mail.seed.rows("SELECT message_id FROM mailbox_entries WHERE uid = 2")
    client = await mail.client("INBOX")
    read = mail.bodies.read

    async def failing(location, ahead=()):  # type: ignore[no-untyped-def]
        if location.message == second[0]:
            raise Unavailable("blobs", "no such node")
        return await read(location, ahead)

    monkeypatch.setattr(mail.bodies, "read", failing)
    replies = await client.ask("UID FETCH 1:3 (BODY[])")
    assert [line[:20] for line in replies[:2]] == [b"* 1 FETCH (UID 1 BOD", b"* 3 FETCH (UID 3 BOD"]
    assert replies[2].startswith(b"NO [UNAVAILABLE] ")
    # it was not seen
    assert b"\\Seen" not in (await client.ok("UID FETCH 2 FLAGS"))[0]


async def test_fetch_is_bounded_james_2149(mail: ImapEnv) -> None:
    """No more than some hundred KB are sent without waiting for the client."""
    body = b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 3000
    await mail.place(*[body] * 60)
    client = await mail.client("INBOX")
    since, most = 0, 0
    send, room = client.out.send, client.out.room

    def counting(octets: bytes) -> None:
        nonlocal since, most
        since += len(octets)
        most = max(most, since)
        send(octets)

    async def waiting() -> None:
        nonlocal since
        since = 0
        await room()

    client.out.send, client.out.room = counting, waiting  # type: ignore[method-assign]
    found = await client.ok("FETCH 1:* BODY.PEEK[]")
    assert len(found) == 60
    assert most < 256 * 1024


async def test_content_alone_costs_one_statement(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mail.place(SIMPLE, NESTED)
    client = await mail.client("INBOX")
    asked: list[str] = []
    view = type(client.session.backend.view)
    for name in ("rows", "flag_columns", "contents", "changes", "reopen"):
        call = getattr(view, name)

        async def counting(
            *arguments: Any, _name: str = name, _call: Any = call, **options: Any
        ) -> Any:
            asked.append(_name)
            return await _call(*arguments, **options)

        monkeypatch.setattr(view, name, counting)
    [line] = await client.ok("UID FETCH 2 (RFC822.SIZE EMAILID BODY.PEEK[]<0.4>)")
    assert line.startswith(b"* 2 FETCH (UID 2 RFC822.SIZE %d EMAILID (" % len(NESTED))
    assert line.endswith(b"BODY[]<0> {4}\r\nFrom)")
    assert b"00000000-0000" not in line
    assert asked == ["contents"]
    asked.clear()
    await client.ok("UID FETCH 1:2 FLAGS")
    assert asked == ["flag_columns"]


async def test_bodies_one_by_one_are_located_ahead(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "SECONDS", 600.0)
    await mail.place(*[b"Subject: %d\r\n\r\n%d\r\n" % (n, n) for n in range(1, 41)])
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    located: list[int] = []
    view = client.session.backend.view
    contents = view.contents

    async def counting(account: int, mailbox: int, uids: Sequence[int], **options: bool) -> Any:
        located.append(len(uids))
        return await contents(account, mailbox, uids, **options)

    monkeypatch.setattr(view, "contents", counting)

    async def ask(command: str) -> list[bytes]:
        told = await client.ok(command)
        # what is located behind an answer may be there before the next command, or after it
        await asyncio.gather(*read_ahead._tasks)
        return told

    async def fetch(uid: int) -> None:
        size = 2 + len(str(uid))
        assert await ask(f"UID FETCH {uid} (BODY.PEEK[TEXT])") == [
            b"* %d FETCH (UID %d BODY[TEXT] {%d}\r\n%d\r\n)" % (uid, uid, size, uid)
        ]

    for uid in range(1, 34):
        await fetch(uid)
    assert located == [1, 1, 2, 2, 3, 5, 9, 15, 2]
    located.clear()
    for uid in range(20, 8, -1):  # flags are asked for each time, and \\Seen is set
        assert await ask(f"UID FETCH {uid} (BODY[]<0.1> FLAGS)") == [
            b"* %d FETCH (UID %d BODY[]<0> {1}\r\nS FLAGS (\\Seen))" % (uid, uid)
        ]
    assert located == [1, 1, 2, 2, 3, 5, 6]
    # a message whose removal was heard of is not sent
    await other.ok("UID STORE 34 +FLAGS.SILENT (\\Deleted)")
    await other.ok("UID EXPUNGE 34")
    client.session.mailbox.hear_of(0)
    assert await client.ok("UID FETCH 34 (BODY.PEEK[TEXT])") == [b"* 34 EXPUNGE"]
    # a damaged message does not keep its neighbours from being sent
    located.clear()
    for place in (34, 35, 36):
        await ask(f"FETCH {place} (BODY.PEEK[TEXT])")
    assert located == [1, 1, 2]

    async def damaged(account: int, mailbox: int, uids: Sequence[int], **options: bool) -> Any:
        if 40 in uids and len(uids) > 1:
            raise Unavailable("postgres", "a message is referenced but has no segment")
        return await contents(account, mailbox, uids, **options)

    monkeypatch.setattr(view, "contents", damaged)
    await fetch_by_number(client, 37, 38)
    await fetch_by_number(client, 38, 39)


async def fetch_by_number(client: Any, number: int, uid: int) -> None:
    """Fetch the text of a message of which the text is its UID."""
    assert await client.ok(f"FETCH {number} (BODY.PEEK[TEXT])") == [
        b"* %d FETCH (BODY[TEXT] {4}\r\n%d\r\n)" % (number, uid)
    ]


async def test_a_mailbox_deleted_elsewhere_ends_the_connection(mail: ImapEnv) -> None:
    other = await mail.client()
    await other.ok("CREATE Work")
    await mail.place(SIMPLE, mailbox="Work")
    for command in ("FETCH 1 FLAGS", "UID FETCH 1 BODY.PEEK[]", "UID STORE 1 +FLAGS \\Seen"):
        client = await mail.client("Work")
        await other.ok("DELETE Work")
        sent = await client.feed(f"a {command}\r\n".encode())
        assert b"* BYE " in sent or sent.startswith(b"a NO "), (command, sent)
        assert b"FETCH (" not in sent
        await other.ok("CREATE Work")
        await mail.place(SIMPLE, mailbox="Work")


async def test_the_items_of_a_message_are_bounded_together(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command of 64 KiB has room for thousands of items, each a message of its own."""
    await mail.place(SIMPLE)
    client = await mail.client("INBOX")
    monkeypatch.setattr("posthorn_imap.fetch_run.MOST_ITEM_BYTES", 2 * len(SIMPLE))
    some = [f"BODY.PEEK[]<{start}.9999>" for start in range(4)]
    await client.ok(f"FETCH 1 ({' '.join(some[:2])})")
    sent = await client.ask(f"FETCH 1 ({' '.join(some)})")
    assert len(sent) == 1
    assert sent[0].startswith(b"NO [LIMIT] ")
    await client.ok("NOOP")
