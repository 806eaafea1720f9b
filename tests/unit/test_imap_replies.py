"""Replies of IMAP, byte for byte: strings, ENVELOPE, BODYSTRUCTURE, sections, lines."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.imap import fetch_replies, replies
from posthorn.wire.imap.addresses import Address, parse_addresses
from posthorn.wire.imap.fetch_items import BinaryItem, BodyItem, Section
from posthorn.wire.imap.reader import Literal, Reader
from posthorn.wire.imap.sections import find_part, find_section, select_fields, take_partial
from posthorn.wire.imap.strings import astring, binary, literal, nstring, string, text
from posthorn.wire.imap.structure import envelope_of, format_structure
from posthorn.wire.message.mime_offsets import scan_offsets


def crlf(words: str) -> bytes:
    return words.replace("\n", "\r\n").encode()


# strings


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", b'""'), (b"a b", b'"a b"'), (b'a"\\', b'"a\\"\\\\"'), (b"a\r\n* OK", b"{7}\r\na\r\n* OK"),
        (b"\xc3\xa4", b"{2}\r\n\xc3\xa4"), (b"a\0b", b"{2}\r\nab"), (b"\x1b", b"{1}\r\n\x1b"),
    ],
)  # fmt: skip
def test_strings(value: bytes, expected: bytes) -> None:
    assert string(value) == expected


def test_strings_after_utf8() -> None:
    assert string('\u00e4"'.encode(), utf8=True) == b'"\xc3\xa4\\""'
    for unsafe in (b"\xff", b"\xc3\xa4\r", "\u0085\u00e4".encode(), "\u2028".encode()):
        assert string(unsafe, utf8=True).startswith(b"{")


def test_astrings_nstrings_and_literals() -> None:
    assert astring(b"INBOX") == b"INBOX"
    assert astring(b"nil") == b'"nil"'
    assert astring(b"a]") == b'"a]"'
    assert astring(b"") == b'""'
    assert nstring(None) == b"NIL"
    assert literal(b"a\0") == b"{2}\r\na\0"
    assert binary(b"a\0") == b"~{2}\r\na\0"
    assert binary(b"a") == b"{1}\r\na"
    assert text("a\r\nb\u00e4") == b"a?b?"


@given(st.binary(max_size=40).filter(lambda octets: b"\0" not in octets), st.booleans())
def test_a_string_reads_back(value: bytes, utf8: bool) -> None:
    """The reader of commands takes what we write."""
    for written in (string(value, utf8=utf8), astring(value, utf8=utf8)):
        start, brace, rest = written.partition(b"}\r\n")
        parts: list[bytes | Literal] = [written]
        if brace and re.fullmatch(rb"\{[0-9]+", start):
            parts = [b"", Literal(rest), b""]
        else:
            assert b"\r" not in written
            assert b"\n" not in written
        reader = Reader(parts)
        assert reader.astring() == value
        assert reader.is_at_end()


# addresses


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a@b.test", [(None, b"a", b"b.test")]),
        (b"A B <a@b.test>", [(b"A B", b"a", b"b.test")]),
        (b'"B, A" <a@b.test>, c@d', [(b"B, A", b"a", b"b.test"), (None, b"c", b"d")]),
        (b'"a \\"b\\"" <a@b>', [(b'a "b"', b"a", b"b")]),
        (b"a@b (A (x) B)", [(b"A (x) B", b"a", b"b")]),
        (b"=?utf-8?q?=C3=A4?= <a@b>", [(b"=?utf-8?q?=C3=A4?=", b"a", b"b")]),
        (b"\xc3\xa4 <a@b>", [(b"\xc3\xa4", b"a", b"b")]),
        (b"friends: a@b, C <c@d>;", [(None, b"friends", None), (None, b"a", b"b"),
                                     (b"C", b"c", b"d"), (None, None, None)]),
        (b"undisclosed-recipients:;", [(None, b"undisclosed-recipients", None), (None, None, None)]),
        (b"a: b@c", [(None, b"a", None), (None, b"b", b"c"), (None, None, None)]),
        (b'"a b"@c', [(None, b"a b", b"c")]),
        (b"<@x,@y:a@b>", [(None, b"a", b"b")]),
        (b"a@[IPv6:::1]", [(None, b"a", b"[IPv6:::1]")]),
        (b"postmaster", [(None, b"postmaster", b"")]),
        (b"<>", [(None, b"", b"")]),
        (b"A <a@b", [(b"A", b"a", b"b")]),
        (b",, ,", []), (b"", []), (b"(", []), (b'"', []), (b"\\", [(None, b"\\", b"")]),
    ],
)  # fmt: skip
def test_addresses(value: bytes, expected: list[tuple[bytes | None, ...]]) -> None:
    found = [(each.name, each.mailbox, each.host) for each in parse_addresses(value)]
    if value == b'"':
        assert len(found) <= 1
    else:
        assert found == expected


_PIECES = st.sampled_from(
    [
        b"a@b",
        b"A <a@b>",
        b'"B" <c@d>',
        b" ",
        b",",
        b"\t",
        b'"x, y@z" <e@f>',
        b"g: h@i;",
        b"(c)",
        b"A  B",
    ]
)


@given(st.lists(_PIECES, max_size=8).map(b"".join))
def test_the_short_way_finds_the_same_addresses(value: bytes) -> None:
    assert parse_addresses(value) == parse_addresses(value + b"()")  # a comment: the long way


@pytest.mark.parametrize("unit", [b" ", b"<", b'"', b"(", b"[", b"\\", b"a ", b"a:;", b'"\\"'])
def test_a_long_address_list_takes_linear_time(unit: bytes) -> None:
    for end in (b"<a@b>", b"<", b""):
        assert len(parse_addresses(unit * 20_000 + end)) <= 40_001


@given(st.lists(st.sampled_from(list('a@<>(),;:"\\ [].')), max_size=30).map("".join))
def test_no_address_list_raises_and_groups_are_closed(value: str) -> None:
    depth = 0
    for address in parse_addresses(value.encode()):
        if address == Address(None, None, None):
            depth -= 1
        elif address.host is None:
            depth += 1
        assert depth in (0, 1)
    assert depth == 0


# ENVELOPE


def test_envelope() -> None:
    header = crlf("""\
Received: x
DATE: Mon, 7 Feb 1994 21:52:25 -0800
Subject: =?utf-8?q?x?=
\tfolded "quoted"
From: Terry <gray@cac.test>
Sender:
To: list: a@b, "C \\"D" <c@d>;
Message-ID: <1@x>
Subject: second

""")
    assert envelope_of(header) == (
        b'("Mon, 7 Feb 1994 21:52:25 -0800" "=?utf-8?q?x?= folded \\"quoted\\"" '
        b'(("Terry" NIL "gray" "cac.test")) (("Terry" NIL "gray" "cac.test")) '
        b'(("Terry" NIL "gray" "cac.test")) '
        b'((NIL NIL "list" NIL)(NIL NIL "a" "b")("C \\"D" NIL "c" "d")(NIL NIL NIL NIL)) '
        b'NIL NIL NIL "<1@x>")'
    )


def test_an_envelope_of_nothing() -> None:
    assert envelope_of(b"") == b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
    assert envelope_of(b"Subject:\r\n\r\n") == b'(NIL "" NIL NIL NIL NIL NIL NIL NIL NIL)'


def test_an_envelope_with_bytes_that_are_not_ascii() -> None:
    assert envelope_of(b"Subject: \xe4\r\n\r\n") == b"(NIL {1}\r\n\xe4" + b" NIL" * 8 + b")"
    assert envelope_of("Subject: \u00e4\r\n\r\n".encode(), utf8=True) == (
        b'(NIL "\xc3\xa4"' + b" NIL" * 8 + b")"
    )


def items(reply: bytes) -> int:
    """Read a reply as a client does; return how many items are in the outermost brackets. Fails on
    anything that is no list, string, number or NIL."""
    at, depth, count = 0, 0, 0
    while at < len(reply):
        found = re.compile(rb'(\()|(\))|"(?:[^"\\\r\n\0]|\\["\\])*"|\{(\d+)\}\r\n|NIL|\d+| ').match(
            reply, at
        )
        assert found is not None, reply[at:]
        at = found.end()
        if found[1]:
            count += depth == 1
            depth += 1
        elif found[2]:
            depth -= 1
            assert depth >= 0
        elif found[3]:
            at += int(found[3])
            assert at <= len(reply)
            count += depth == 1
        elif found[0] != b" ":
            count += depth == 1
    assert depth == 0
    return count


_HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"From", b"To", b"Subject", b"Content-Type", b"Content-Disposition",
                         b"Content-ID", b"Content-Language", b"Date", b"Content-Transfer-Encoding"]),
        st.one_of(st.binary(max_size=20), st.sampled_from(
            [b"a\r\n * 1 EXPUNGE", b"multipart/mixed; boundary=a", b"message/rfc822", b"text/x; a",
             b'x; a="\r\n b"', b"attachment; filename*=utf-8''%0d%0a", b"text/plain; a=\"\\\"",
             b"x: a@b, (c) <\"d\\\"\"@e>;"])),
    ).map(lambda pair: pair[0] + b": " + pair[1] + b"\r\n"), max_size=6,
).map(b"".join)  # fmt: skip


@given(_HEADERS, _HEADERS, st.booleans())
def test_no_header_injects_a_reply(first: bytes, second: bytes, utf8: bool) -> None:
    # greenmail-mail-test/greenmail#1010, cyrusimap/cyrus-imapd#1522
    assert items(envelope_of(first, utf8=utf8)) == 10
    message = first + b"\r\n--a\r\n" + second + b"\r\nSubject: x\r\n\r\ny\r\n--a--"
    part = scan_offsets(message)
    for extended in (False, True):
        found = items(format_structure(part, extended=extended, utf8=utf8))
        if not part.is_multipart:
            is_text = part.fields.type.lower() == b"text"
            assert found == 7 + 3 * part.is_message + is_text + 4 * extended


# BODY and BODYSTRUCTURE

MESSAGE = crlf("""\
From: a@b.test
Subject: outer
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="x"

--x
Content-Type: text/plain; charset=utf-8; format=flowed

one
two
--x
Content-Type: message/rfc822
Content-Disposition: attachment; filename="f.eml"

Subject: inner
From: c@d.test
Content-Type: multipart/alternative; boundary=y

--y

inner text
--y
Content-Type: image/png; name="i.png"
Content-Transfer-Encoding: base64
Content-ID: <i@x>
Content-Language: en, de

AAAA
--y--

--x--
""")


def test_body_has_no_extension_data() -> None:
    inner = MESSAGE[MESSAGE.index(b"Subject: inner") : MESSAGE.index(b"\r\n--x--")]
    assert format_structure(scan_offsets(MESSAGE), extended=False) == (
        b'(("TEXT" "PLAIN" ("charset" "utf-8" "format" "flowed") NIL NIL "7BIT" 8 1)'
        b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" %d '
        b'(NIL "inner" ((NIL NIL "c" "d.test")) ((NIL NIL "c" "d.test")) ((NIL NIL "c" "d.test")) '
        b"NIL NIL NIL NIL NIL) "
        b'(("TEXT" "PLAIN" ("charset" "us-ascii") NIL NIL "7BIT" 10 0)'
        b'("IMAGE" "PNG" ("name" "i.png") "<i@x>" NIL "BASE64" 4) "ALTERNATIVE") %d) "MIXED")'
        % (len(inner), inner.count(b"\n"))
    )


def test_bodystructure_has_the_disposition() -> None:  # mjl-/mox#327
    structure = format_structure(scan_offsets(MESSAGE))
    assert b'("ATTACHMENT" ("filename" "f.eml")) NIL NIL)' in structure
    assert b'"BASE64" 4 NIL NIL ("en" "de") NIL)' in structure
    assert structure.endswith(b'"MIXED" ("boundary" "x") NIL NIL NIL)')


def test_structures_of_messages_without_much() -> None:
    assert format_structure(scan_offsets(b"Subject: x\r\n\r\na\r\nb\r\n"), extended=False) == (
        b'("TEXT" "PLAIN" ("charset" "us-ascii") NIL NIL "7BIT" 6 2)'
    )
    empty = scan_offsets(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n")
    assert format_structure(empty, extended=False) == (  # jstedfast/MailKit#1841
        b'(("TEXT" "PLAIN" ("charset" "us-ascii") NIL NIL "7BIT" 0 0) "MIXED")'
    )


# sections


def section(message: bytes, part: tuple[int, ...] = (), name: str = "") -> bytes | None:
    found = find_section(scan_offsets(message), Section(part, name))
    return None if found is None else message[found[0] : found[1]]


@pytest.mark.parametrize(
    ("part", "name", "starts", "ends"),
    [
        ((), "", b"From: a@b.test", b"--x--\r\n"),
        ((), "HEADER", b"From: a@b.test", b'"x"\r\n\r\n'),
        ((), "TEXT", b"--x\r\n", b"--x--\r\n"),
        ((1,), "", b"one\r\ntwo", b"two"),
        ((1,), "MIME", b"Content-Type: text/plain", b"flowed\r\n\r\n"),
        ((2,), "", b"Subject: inner", b"--y--\r\n"),
        ((2,), "MIME", b"Content-Type: message/rfc822", b'f.eml"\r\n\r\n'),
        ((2,), "HEADER", b"Subject: inner", b"boundary=y\r\n\r\n"),
        ((2,), "TEXT", b"--y", b"--y--\r\n"),
        ((2, 1), "", b"inner text", b"inner text"),
        ((2, 2), "", b"AAAA", b"AAAA"),
        ((2, 2), "MIME", b"Content-Type: image/png", b"de\r\n\r\n"),
    ],
)
def test_sections(part: tuple[int, ...], name: str, starts: bytes, ends: bytes) -> None:
    found = section(MESSAGE, part, name)  # mox 39c21f8
    assert found is not None
    assert found.startswith(starts)
    assert found.endswith(ends)


@pytest.mark.parametrize(
    ("part", "name"),
    [((3,), ""), ((1, 1), ""), ((2, 3), ""), ((2, 1, 1), ""), ((1,), "HEADER"), ((1,), "TEXT"),
     ((2, 2), "HEADER"), ((9,), "MIME")],
)  # fmt: skip
def test_a_part_that_is_not_there_is_never_the_whole_message(
    part: tuple[int, ...], name: str
) -> None:
    assert section(MESSAGE, part, name) is None


def test_a_message_without_parts_has_part_1() -> None:
    message = b"Subject: x\r\n\r\nbody"
    assert section(message, (1,)) == b"body"
    assert section(message, (1,), "MIME") == b"Subject: x\r\n\r\n"
    assert section(message, (2,)) is None
    assert section(message, (1, 1)) is None
    enclosed = b"Content-Type: message/rfc822\r\n\r\n" + message
    assert section(enclosed, (1,)) == message
    assert section(enclosed, (1,), "TEXT") == b"body"
    assert section(enclosed, (1, 1)) == b"body"
    assert section(enclosed, (1, 1, 1)) is None
    assert find_part(scan_offsets(enclosed), (1, 1, 1)) is None


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [
        (None, 0, (10, 20)),
        (0, 5, (10, 15)),
        (8, 5, (18, 20)),
        (10, 5, (20, 20)),
        (2**62, 1, (20, 20)),
    ],
)
def test_partials(start: int | None, count: int, expected: tuple[int, int]) -> None:
    assert take_partial((10, 20), start, count) == expected  # hmailserver/hmailserver#334


def test_header_fields() -> None:
    header = crlf("From: a\nTO: b,\n c\nSubject: x\n folded: from\n\n")
    assert select_fields(header, [b"to", b"SUBJECT"]) == crlf(
        "TO: b,\n c\nSubject: x\n folded: from\n\n"
    )
    assert select_fields(header, [b"to", b"subject"], others=True) == b"From: a\r\n\r\n"
    assert select_fields(header, [b"cc"]) == b"\r\n"
    assert select_fields(b"", [b"cc"]) == b"\r\n"
    assert select_fields(b"To: a", [b"to"]) == b"To: a\r\n\r\n"


# lines


def test_fetch_lines() -> None:
    moment = datetime(2020, 2, 1, 3, 4, 5, tzinfo=timezone(timedelta(hours=-2)))
    assert fetch_replies.fetch(
        7,
        [
            fetch_replies.uid(9),
            fetch_replies.flags_item(["\\Seen", "$Junk", "a b", "x\r\n* OK", "\u00e4"]),
            fetch_replies.size(12),
            fetch_replies.internal_date(moment),
            fetch_replies.save_date(None),
            fetch_replies.save_date(datetime(2020, 12, 31, tzinfo=UTC)),
            fetch_replies.modseq(5),
            fetch_replies.object_id("EMAILID", "M1"),
            fetch_replies.object_id("THREADID", None),
            fetch_replies.preview("\u00e4", utf8=True),
            fetch_replies.preview(None, utf8=False),
            fetch_replies.envelope(b"(x)"),
            fetch_replies.structure(b"(y)", extended=True),
            fetch_replies.structure(b"(y)", extended=False),
        ],
    ) == (
        b'* 7 FETCH (UID 9 FLAGS (\\Seen $Junk) RFC822.SIZE 12 INTERNALDATE "01-Feb-2020 03:04:05 '
        b'-0200" SAVEDATE NIL SAVEDATE "31-Dec-2020 00:00:00 +0000" MODSEQ (5) EMAILID (M1) '
        b'THREADID NIL PREVIEW "\xc3\xa4" PREVIEW NIL ENVELOPE (x) BODYSTRUCTURE (y) BODY (y))\r\n'
    )


def test_bodies_in_fetch() -> None:
    whole = BodyItem(Section())
    assert fetch_replies.body(whole, b"a\r\n") == b"BODY[] {3}\r\na\r\n"
    assert fetch_replies.body(whole, None) == b"BODY[] NIL"
    assert fetch_replies.body_start(whole, 7) == b"BODY[] {7}\r\n"
    past = BodyItem(Section((1, 2), "MIME"), True, 100, 5)
    assert fetch_replies.body(past, b"") == b"BODY[1.2.MIME]<100> {0}\r\n"
    fields = BodyItem(Section((), "HEADER.FIELDS", (b"From", b"a b", b"x\r\ny")))
    assert fetch_replies.body_name(fields) == b'BODY[HEADER.FIELDS (From "a b" {4}\r\nx\r\ny)]'
    assert fetch_replies.body_name(BodyItem(Section(), label="RFC822")) == b"RFC822"
    item = BinaryItem((1, 2), start=3)
    assert fetch_replies.binary_item(item, b"\0") == b"BINARY[1.2]<3> ~{1}\r\n\0"
    assert fetch_replies.binary_item(item, None) == b"BINARY[1.2]<3> NIL"
    assert fetch_replies.binary_size((), 5) == b"BINARY.SIZE[] 5"


def test_mailbox_replies() -> None:
    assert replies.list_("a/\u00e4&", ["\\HasNoChildren"], utf8=False) == (
        b'* LIST (\\HasNoChildren) "/" a/&AOQ-&-\r\n'
    )
    # stalwartlabs/stalwart#2501: quotes and non-ASCII in one name
    assert replies.list_('"\u00e4"', (), utf8=True) == b'* LIST () "/" "\\"\xc3\xa4\\""\r\n'
    assert replies.list_("", ["\\Noselect"], utf8=False) == b'* LIST (\\Noselect) "/" ""\r\n'
    assert replies.list_("a", (), utf8=False, command="LSUB", child_info=["SUBSCRIBED"]) == (
        b'* LSUB () "/" a ("CHILDINFO" ("SUBSCRIBED"))\r\n'
    )
    assert replies.list_("b", (), utf8=False, old_name="a c") == (
        b'* LIST () "/" b ("OLDNAME" ("a c"))\r\n'
    )
    items_: list[tuple[str, int | str | None]] = [
        ("MESSAGES", 3),
        ("MAILBOXID", "F1"),
        ("APPENDLIMIT", None),
    ]
    assert replies.status("a b", items_, utf8=False) == (
        b'* STATUS "a b" (MESSAGES 3 MAILBOXID (F1) APPENDLIMIT NIL)\r\n'
    )
    assert replies.quota("", [("STORAGE", 10, 512)]) == b'* QUOTA "" (STORAGE 10 512)\r\n'
    assert replies.quota_root("INBOX", [""], utf8=False) == b'* QUOTAROOT INBOX ""\r\n'
    assert replies.namespace() == b'* NAMESPACE (("" "/")) NIL NIL\r\n'


def test_search_replies() -> None:
    assert b"".join(replies.search_pieces([2, 84])) == b"* SEARCH 2 84\r\n"
    assert b"".join(replies.search_pieces([2], modseq=9)) == b"* SEARCH 2 (MODSEQ 9)\r\n"
    assert b"".join(replies.search_pieces([], modseq=9)) == b"* SEARCH\r\n"
    assert b"".join(replies.search_pieces([5, 2], command="SORT")) == b"* SORT 5 2\r\n"
    assert (
        replies.esearch(
            b"a1", by_uid=True, least=1, greatest=9, count=3, all_=[(1, 2), (9, 9)], modseq=4
        )
        == b'* ESEARCH (TAG "a1") UID MIN 1 MAX 9 COUNT 3 ALL 1:2,9 MODSEQ 4\r\n'
    )
    assert (
        replies.esearch(b"a", by_uid=False, all_=[], count=0) == b'* ESEARCH (TAG "a") COUNT 0\r\n'
    )
    assert replies.esearch(b"a", by_uid=True, partial=(-1, -5, [])) == (
        b'* ESEARCH (TAG "a") UID PARTIAL (-1:-5 NIL)\r\n'
    )


def test_states_and_codes() -> None:
    assert replies.tagged(b"a", "OK", "done", replies.append_uid(7, [3, 4, 5])) == (
        b"a OK [APPENDUID 7 3:5] done\r\n"
    )
    # order pairs the copies with their sources (mguessan/davmail#315)
    assert replies.copy_uid(7, [9, 1, 2], [4, 5, 6]) == b"COPYUID 7 9,1:2 4:6"
    assert replies.modified([7, 9]) == b"MODIFIED 7,9"
    # modern-email/defects#28: text after every code
    assert replies.untagged("OK", "", b"UIDNEXT 5") == b"* OK [UIDNEXT 5] -\r\n"
    assert replies.untagged("BYE", "a\r\nb") == b"* BYE a?b\r\n"
    assert replies.continuation("idling") == b"+ idling\r\n"
    assert replies.capability("IMAP4rev1 ID") == b"* CAPABILITY IMAP4rev1 ID\r\n"
    assert replies.enabled(["QRESYNC"]) == b"* ENABLED QRESYNC\r\n"
    assert replies.enabled([]) == b"* ENABLED\r\n"
    assert replies.exists(3) + replies.recent(0) + b"".join(replies.expunges([2])) == (
        b"* 3 EXISTS\r\n* 0 RECENT\r\n* 2 EXPUNGE\r\n"
    )
    assert replies.vanished([(1, 3)], earlier=True) == b"* VANISHED (EARLIER) 1:3\r\n"
    assert (
        replies.id_([("name", "Posthorn"), ("x", None)]) == b'* ID ("name" "Posthorn" "x" NIL)\r\n'
    )
    assert replies.id_([]) == b"* ID NIL\r\n"
