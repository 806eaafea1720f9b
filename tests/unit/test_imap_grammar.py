"""The grammar of IMAP: every command, and the traps that other parsers fell into."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.imap import commands as imap
from posthorn.wire.imap.commands import Fetch, List, Partial, Qresync, Search, Select, Store
from posthorn.wire.imap.fetch_items import (
    ALL,
    FAST,
    FULL,
    Attribute,
    BinaryItem,
    BinarySizeItem,
    BodyItem,
    LazyPreview,
    Section,
    sets_seen,
)
from posthorn.wire.imap.framing import read_verb
from posthorn.wire.imap.grammar import GRAMMAR
from posthorn.wire.imap.grammar_search import DEEPEST
from posthorn.wire.imap.reader import BadCommand, Literal, Reader
from posthorn.wire.imap.search_keys import (
    All,
    And,
    Body,
    Compare,
    Day,
    EmailId,
    Flag,
    Header,
    ModSeq,
    Not,
    Numbers,
    OnDay,
    Or,
    SaveDateSupported,
    SearchKey,
    Size,
    Text,
    ThreadId,
    Uids,
    Within,
    mentions_modseq,
)
from posthorn.wire.imap.sequence_set import SAVED, STAR, SequenceSet
from posthorn.wire.imap.states import VERBS

TWO = SequenceSet(((1, 1), (3, STAR)))


def parse(*parts: bytes | Literal, enabled: tuple[str, ...] = ()) -> Any:
    first = parts[0]
    assert isinstance(first, bytes)
    _, verb, at = read_verb(b"t " + first)
    return GRAMMAR[verb](Reader([b"t " + first, *parts[1:]], frozenset(enabled), at))


def refusal(*parts: bytes | Literal, enabled: tuple[str, ...] = ()) -> str:
    with pytest.raises(BadCommand) as caught:
        parse(*parts, enabled=enabled)
    return str(caught.value)


def test_every_verb_has_a_grammar() -> None:
    assert VERBS - set(GRAMMAR) == {"APPEND", "REPLACE", "UID REPLACE"}


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"CAPABILITY", imap.Capability()),
        (b"noop ", imap.Noop()),
        (b"ID NIL", imap.Id()),
        (b'ID ("name" "x" "v" NIL)', imap.Id((("name", "x"), ("v", None)))),
        (b"ID ()", imap.Id()),
        (b'LOGIN "a\\"b" c]d', imap.Login('a"b', "c]d")),
        (b"AUTHENTICATE scram-sha-256 =", imap.Authenticate("SCRAM-SHA-256", b"")),
        (b"ENABLE condstore QRESYNC condstore", imap.Enable(("CONDSTORE", "QRESYNC"))),
        (b"SELECT inbox", Select("INBOX")),
        (b"EXAMINE Inbox/A", Select("INBOX/A", read_only=True)),
        (b"SELECT a/inbox (CONDSTORE)", Select("a/inbox", condstore=True)),
        (b"CREATE a/b/", imap.Create("a/b")),
        (b"CREATE x (USE (\\sent \\Drafts))", imap.Create("x", ("\\Sent", "\\Drafts"))),
        (b'DELETE "a b"', imap.Delete("a b")),
        (b"RENAME a b/", imap.Rename("a", "b")),
        (b"SUBSCRIBE &AOQ-", imap.Subscribe("\u00e4")),
        (b"UNSUBSCRIBE a", imap.Unsubscribe("a")),
        (b'LSUB "" %', imap.Lsub("", "%")),
        (b"NAMESPACE", imap.Namespace()),
        (b"STATUS a (messages SIZE)", imap.Status("a", ("MESSAGES", "SIZE"))),
        (b'GETQUOTA ""', imap.GetQuota("")),
        (b"GETQUOTAROOT INBOX", imap.GetQuotaRoot("INBOX")),
        (b"IDLE", imap.Idle()),
        (b"COMPRESS deflate", imap.Compress()),
        (b"CHECK", imap.Check()),
        (b"CLOSE", imap.Close()),
        (b"UNSELECT", imap.Unselect()),
        (b"EXPUNGE", imap.Expunge()),
        (b"UID EXPUNGE 1,3:*", imap.Expunge(TWO)),
        (b"UIDBATCHES 2000", imap.UidBatches(2000)),
        (b"UIDBATCHES 2000 20:10", imap.UidBatches(2000, 10, 20)),
        (b"COPY 1,3:* Sent", imap.Copy(TWO, "Sent")),
        (b"UID COPY $ Sent", imap.Copy(SAVED, "Sent", by_uid=True)),
        (b"uid move 1,3:* Sent", imap.Move(TWO, "Sent", by_uid=True)),
        (b"MOVE 1,3:* Sent", imap.Move(TWO, "Sent")),
    ],
)
def test_commands(line: bytes, command: imap.Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    "line",
    [
        b"NOOP x", b"ID", b"ID (a b)", b"LOGIN a", b"LOGIN a b c", b"LOGIN  a b", b"ENABLE",
        b"AUTHENTICATE", b"AUTHENTICATE PLAIN ?", b"SELECT", b"SELECT (a)", b'SELECT "a',
        b"SELECT a (FOO)", b"SELECT a (CONDSTORE", b"CREATE x (FOO)", b"CREATE x (USE ())",
        b"RENAME a", b"STATUS a", b"STATUS a (FOO)", b"STATUS a ()", b"UID EXPUNGE",
        b"COMPRESS LZ4", b"COPY 1 ", b"COPY 0 a", b"COPY 1:0 a", b"COPY 01 a", b"COPY -1 a",
        b"COPY 4294967296 a", b"COPY 1,,2 a", b"COPY 1: a", b"COPY 1:2:3x a", b"UIDBATCHES 0",
        b"LIST", b'LIST ""', b'LIST (FOO) "" *', b'LIST (RECURSIVEMATCH) "" *',
        b'LIST "" * RETURN', b'LIST "" * RETURN (FOO)', b'LIST "" * (STATUS)',
    ],
)  # fmt: skip
def test_bad_commands(line: bytes) -> None:
    assert refusal(line).startswith("BAD ")


@pytest.mark.parametrize(
    ("name", "enabled"),
    [
        (b"&", ()), (b"a&b", ()), (b"&AGE-", ()), (b"&2AA-", ()), (b"&AOQ", ()), (b"&AOQ-&AOQ-", ()),
        (b'"\xc3\xa4"', ()), (b'"\xff"', ("UTF8=ACCEPT",)), (b'""', ()), (b'"a\tb"', ()),
        (b"x" * 1025, ()), (b'"\xc2\x85"', ("IMAP4REV2",)),
    ],
)  # fmt: skip
def test_names_that_cannot_exist_are_no(name: bytes, enabled: tuple[str, ...]) -> None:
    assert refusal(b"CREATE " + name, enabled=enabled).startswith("NO [CANNOT] ")


def test_names_after_utf8() -> None:  # Thunderbird: a bare & in names
    assert parse(b"SELECT a&b", enabled=("UTF8=ACCEPT",)) == Select("a&b")
    assert parse(b'SELECT "a\xcc\x88"', enabled=("IMAP4REV2",)) == Select("\u00e4")
    assert parse(b"SELECT ", Literal("\u00e4".encode()), b"", enabled=("UTF8=ACCEPT",)) == Select(
        "\u00e4"
    )


def test_select_with_qresync() -> None:
    on = ("QRESYNC", "CONDSTORE")
    known = SequenceSet(((1, 5),))
    assert parse(b"SELECT a (QRESYNC (7 9))", enabled=on) == Select("a", qresync=Qresync(7, 9))
    assert parse(b"SELECT a (CONDSTORE QRESYNC (7 9 1:5))", enabled=on) == Select(
        "a", condstore=True, qresync=Qresync(7, 9, known)
    )
    assert parse(b"SELECT a (QRESYNC (7 9 (1:5 1:5)))", enabled=on) == Select(
        "a", qresync=Qresync(7, 9, None, known, known)
    )
    assert parse(b"SELECT a (QRESYNC (7 0 1:5 (1:5 1:5)))", enabled=on) == Select(
        "a", qresync=Qresync(7, 0, known, known, known)
    )
    for wrong in (b"(7)", b"(0 9)", b"(7 9 *)", b"(7 9 $)", b"(7 9 (1))", b"(7 9 1 2)", b"7 9"):
        assert refusal(b"SELECT a (QRESYNC " + wrong + b")", enabled=on).startswith("BAD ")
    assert refusal(b"SELECT a (QRESYNC (7 9))").startswith("BAD QRESYNC needs")


def test_list() -> None:
    assert parse(b'LIST "" *') == List("", ("*",))
    assert parse(b'LIST "" ""') == List("", ("",))
    assert parse(b'LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)') == List(
        "", ("*",), frozenset({"SUBSCRIBED"}), frozenset({"SPECIAL-USE"}), (), is_extended=True
    )
    assert parse(b'LIST "" "*" RETURN (SPECIAL-USE STATUS (UNSEEN) CHILDREN)') == List(
        "", ("*",), frozenset(), frozenset({"SPECIAL-USE", "CHILDREN"}), ("UNSEEN",), True
    )
    assert parse(b'LIST () a (b% "c d") RETURN ()') == List("a", ("b%", "c d"), is_extended=True)
    assert parse(b'LIST "" %/&AOQ-*') == List("", ("%/\u00e4*",))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (b"ALL", ALL), (b"fast", FAST), (b"FULL", FULL),
        (b"(FLAGS UID FLAGS)", (Attribute.FLAGS, Attribute.UID)),
        (b"BODY", (Attribute.BODY,)),
        (b"(BODYSTRUCTURE ENVELOPE INTERNALDATE RFC822.SIZE MODSEQ SAVEDATE EMAILID THREADID)",
         (Attribute.BODYSTRUCTURE, Attribute.ENVELOPE, Attribute.INTERNALDATE, Attribute.SIZE,
          Attribute.MODSEQ, Attribute.SAVEDATE, Attribute.EMAILID, Attribute.THREADID)),
        (b"BODY[]", (BodyItem(Section()),)),
        (b"body.peek[]<0.65536>", (BodyItem(Section(), True, 0, 65536),)),
        (b"BODY[TEXT]", (BodyItem(Section((), "TEXT")),)),
        (b"(BODY.PEEK[1] BODY.PEEK[2])",
         (BodyItem(Section((1,)), True), BodyItem(Section((2,)), True))),
        (b"BODY[1.2.MIME]", (BodyItem(Section((1, 2), "MIME")),)),
        (b"BODY[3.header]", (BodyItem(Section((3,), "HEADER")),)),
        (b'BODY.PEEK[HEADER.FIELDS (From "To")]',
         (BodyItem(Section((), "HEADER.FIELDS", (b"From", b"To")), True),)),
        (b"BODY[1.HEADER.FIELDS.NOT (Received)]<5.1>",
         (BodyItem(Section((1,), "HEADER.FIELDS.NOT", (b"Received",)), False, 5, 1),)),
        (b"BINARY[1.2]", (BinaryItem((1, 2)),)),
        (b"BINARY.PEEK[]<0.10>", (BinaryItem((), True, 0, 10),)),
        (b"BINARY.SIZE[2]", (BinarySizeItem((2,)),)),
        (b"(PREVIEW PREVIEW (LAZY))", (Attribute.PREVIEW, LazyPreview())),
        (b"RFC822", (BodyItem(Section(), label="RFC822"),)),
        (b"RFC822.HEADER", (BodyItem(Section((), "HEADER"), True, label="RFC822.HEADER"),)),
        (b"RFC822.TEXT", (BodyItem(Section((), "TEXT"), label="RFC822.TEXT"),)),
    ],
)  # fmt: skip
def test_fetch_items(items: bytes, expected: tuple[object, ...]) -> None:
    assert parse(b"FETCH 1 " + items) == Fetch(SequenceSet(((1, 1),)), expected)  # type: ignore[arg-type]


def test_fetch_modifiers() -> None:
    flags = (Attribute.FLAGS,)
    assert parse(b"UID FETCH 1,3:* (FLAGS) (CHANGEDSINCE 0)") == Fetch(TWO, flags, 0, by_uid=True)
    assert parse(  # SOGo
        b"UID FETCH 1,3:* (FLAGS) (CHANGEDSINCE 5 VANISHED)", enabled=("QRESYNC",)
    ) == Fetch(TWO, flags, 5, vanished=True, by_uid=True)
    assert parse(b"UID FETCH 1,3:* FLAGS (PARTIAL -1:-100)").partial == Partial(-1, -100)
    for line in (b"UID FETCH 1 FLAGS (VANISHED)", b"FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)"):
        assert refusal(line, enabled=("QRESYNC",)).startswith("BAD VANISHED")
    assert refusal(b"UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)").startswith("BAD VANISHED")


@pytest.mark.parametrize(
    "items",
    [
        b"", b"()", b"(FLAGS", b"FOO", b"BODY[", b"BODY[0]", b"BODY[1.]", b"BODY[1.FOO]",
        b"BODY[MIME]", b"BODY[]<0.0>", b"BODY[]<0>", b"BODY[]<-1.5>", b"BODY[HEADER.FIELDS]",
        b"BODY[HEADER.FIELDS ()]", b"(FLAGS  UID)", b"(ALL)", b"FLAGS (FOO)", b"FLAGS[1]",
        b"PREVIEW (EAGER)", b"BODY[" + b"1." * 200 + b"1]", b"FLAGS (CHANGEDSINCE x)",
        b"FLAGS (PARTIAL 0:1)", b"FLAGS (PARTIAL 1:-1)",
    ],
)  # fmt: skip
def test_bad_fetch_items(items: bytes) -> None:
    assert refusal(b"FETCH 1 " + items).startswith("BAD ")


def test_what_sets_seen() -> None:
    assert sets_seen((BodyItem(Section()),))
    assert sets_seen((BinaryItem((1,)),))
    assert not sets_seen((BodyItem(Section(), peek=True), BinarySizeItem((1,)), Attribute.BODY))


def test_store() -> None:
    assert parse(b"STORE 1,3:* +FLAGS (\\seen $Junk)") == Store(TWO, "+", ("\\Seen", "$Junk"))
    assert parse(b"UID STORE 1,3:* -flags.silent \\Deleted") == Store(
        TWO, "-", ("\\Deleted",), is_silent=True, by_uid=True
    )
    assert parse(b"STORE 1,3:* FLAGS ()") == Store(TWO, "", ())
    assert parse(b"STORE 1,3:* (UNCHANGEDSINCE 12) FLAGS a b a") == Store(
        TWO, "", ("a", "b"), unchanged_since=12
    )
    for line in (b"STORE 1 FLAGS", b"STORE 1 FLAGS (\\Foo)", b"STORE 1 FOO (a)", b"STORE 1 *FLAGS a",
                 b"STORE 1 (FOO 1) FLAGS a", b"STORE 1 FLAGS (\\Recent)", b"STORE 1 FLAGS (a"):  # fmt: skip
        assert refusal(line).startswith("BAD ")
    assert refusal(b"STORE 1 FLAGS " + b"x" * 300).startswith("NO [LIMIT]")


DAY = date(2020, 2, 1)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b"ALL", All()), (b"answered", Flag("\\Answered")), (b"UNDRAFT", Not(Flag("\\Draft"))),
        (b"NEW", And((Flag("\\Recent"), Not(Flag("\\Seen"))))), (b"OLD", Not(Flag("\\Recent"))),
        (b"KEYWORD $Junk", Flag("$Junk")), (b"UNKEYWORD a", Not(Flag("a"))),
        (b"BCC a", Header("bcc", "a")), (b'SUBJECT "a b"', Header("subject", "a b")),
        (b'HEADER Message-ID ""', Header("message-id", "")), (b"BODY x", Body("x")),
        (b"TEXT x", Text("x")), (b"LARGER 5", Size(Compare.LARGER, 5)),
        (b"SMALLER 5000000000", Size(Compare.SMALLER, 5_000_000_000)),
        (b"BEFORE 1-Feb-2020", OnDay(Day.INTERNAL, Compare.BEFORE, DAY)),
        (b'ON "01-feb-2020"', OnDay(Day.INTERNAL, Compare.ON, DAY)),
        (b"SENTSINCE 1-Feb-2020", OnDay(Day.SENT, Compare.SINCE, DAY)),
        (b"SAVEDON 1-Feb-2020", OnDay(Day.SAVED, Compare.ON, DAY)),
        (b"SAVEDATESUPPORTED", SaveDateSupported()),
        (b"YOUNGER 60", Within(60, is_older=False)), (b"OLDER 60", Within(60, is_older=True)),
        (b"1,3:*", Numbers(TWO)), (b"$", Numbers(SAVED)), (b"UID 1,3:*", Uids(TWO)),
        (b"UID $", Uids(SAVED)), (b"MODSEQ 12", ModSeq(12)),
        (b'MODSEQ "/flags/\\\\draft" all 12', ModSeq(12)), (b"EMAILID M1", EmailId("M1")),
        (b"THREADID T1", ThreadId("T1")), (b"NOT NOT SEEN", Not(Not(Flag("\\Seen")))),
        (b"OR SEEN OR 1,3:* TEXT a", Or(Flag("\\Seen"), Or(Numbers(TWO), Text("a")))),
        (b"(SEEN (TEXT a))", And((Flag("\\Seen"), Text("a")))),
        (b"SEEN NOT (TEXT a TEXT b) ", And((Flag("\\Seen"), Not(And((Text("a"), Text("b"))))))),
        (b"CC a", Header("cc", "a")),
    ],
)  # fmt: skip
def test_search_keys(text: bytes, key: SearchKey) -> None:
    assert parse(b"SEARCH " + text) == Search(key)


def test_search_returns_and_charsets() -> None:
    assert parse(b"UID SEARCH RETURN () ALL") == Search(All(), frozenset({"ALL"}), by_uid=True)
    assert parse(b"SEARCH return (MIN MAX COUNT SAVE) charset utf-8 ALL") == Search(
        All(), frozenset({"MIN", "MAX", "COUNT", "SAVE"})
    )
    assert parse(b"SEARCH RETURN (PARTIAL 1:500) ALL") == Search(
        All(), frozenset(), Partial(1, 500)
    )
    assert parse(b"SEARCH CHARSET UTF-8 TEXT ", Literal("\u00e4".encode()), b" SEEN") == Search(
        And((Text("\u00e4"), Flag("\\Seen")))
    )
    assert refusal(b"SEARCH CHARSET KOI8-R ALL").startswith("NO [BADCHARSET (UTF-8 US-ASCII)] ")
    assert refusal(b"SEARCH CHARSET US-ASCII TEXT ", Literal(b"\xe4"), b"").startswith("BAD ")
    assert refusal(b"SEARCH CHARSET UTF-8 ALL", enabled=("UTF8=ACCEPT",)).startswith(
        "BAD no CHARSET"
    )


@pytest.mark.parametrize(
    "text",
    [
        b"", b"FOO", b"NOT", b"OR SEEN", b"()", b"(SEEN", b"SEEN)", b"SEEN  ALL", b"0", b"1:0",
        b"UID 0", b"UID SEEN", b"ON 31-Feb-2020", b"ON 1-1-2020", b"LARGER x", b"LARGER -1",
        b"YOUNGER 0", b"HEADER a", b"KEYWORD", b"MODSEQ", b"RETURN (FOO) ALL", b"RETURN (MIN ALL",
        b"RETURN (PARTIAL 1:2 ALL) ALL",
    ],
)  # fmt: skip
def test_bad_searches(text: bytes) -> None:
    assert refusal(b"SEARCH " + text).startswith("BAD ")


@pytest.mark.parametrize("key", [b"NOT ", b"OR SEEN ", b"("])
def test_nesting_is_bounded(key: bytes) -> None:
    assert isinstance(
        parse(b"SEARCH " + key * (DEEPEST - 1) + b"SEEN" + b")" * (DEEPEST - 1) * (key == b"(")),
        Search,
    )
    assert refusal(b"SEARCH " + key * 10_000 + b"SEEN").startswith("NO [LIMIT] ")


def test_what_mentions_modseq() -> None:
    assert mentions_modseq(parse(b"SEARCH OR SEEN NOT (SEEN MODSEQ 5)").key)
    assert not mentions_modseq(parse(b"SEARCH OR SEEN NOT (SEEN TEXT a)").key)


def test_sort_and_thread() -> None:
    assert parse(b"UID SORT (REVERSE DATE subject) UTF-8 SEEN") == imap.Sort(
        (("DATE", True), ("SUBJECT", False)), Flag("\\Seen"), by_uid=True
    )
    assert parse(b"SORT RETURN (COUNT) (ARRIVAL) US-ASCII ALL") == imap.Sort(
        (("ARRIVAL", False),), All(), frozenset({"COUNT"})
    )
    assert parse(b"UID THREAD references UTF-8 ALL") == imap.Thread(
        "REFERENCES", All(), by_uid=True
    )
    for line in (b"SORT () UTF-8 ALL", b"SORT (FOO) UTF-8 ALL", b"SORT (DATE) ALL",
                 b"THREAD FOO UTF-8 ALL", b"SORT (REVERSE) UTF-8 ALL"):  # fmt: skip
        assert refusal(line)


@given(st.sampled_from(sorted(GRAMMAR)), st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_no_argument_raises_anything_but_bad_command(verb: str, pieces: list[bytes]) -> None:
    parts: list[bytes | Literal] = [b" " + pieces[0]]
    for piece in pieces[1:]:
        parts += [Literal(piece), b" " + piece]
    try:
        GRAMMAR[verb](Reader(parts))
    except BadCommand as error:
        assert str(error).isprintable()
