"""SEARCH: keys, results, ``$``, and the traps of clients and servers before us."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.errors import Unavailable
from posthorn.wire.imap.replies import untagged
from posthorn_imap import pacing
from posthorn_imap.search_slots import SearchSlots
from tests.support.imap import ALICE, SIMPLE, Dialogue, ImapEnv
from tests.support.polling import until

ENCODED = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.test>\r\nTo: bob@example.test\r\n"
    b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n aus =?iso-8859-1?q?K=F6ln?=\r\nX-Note:\r\n"
    b"Date: Sat, 2 Mar 2024 23:30:00 -0800\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n"
    + b"U2Now7ZuZXMgV2V0dGVyIGhldXRl\r\n"  # Schönes Wetter heute
)
MARKUP = (
    b"From: eve@example.test\r\nSubject: offer\r\nDate: 5 Mar 2024 10:00:00 +0000\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    b"<p>cheap <b>watches</b></p>\r\n--b\r\nContent-Type: application/pdf; name=prices.pdf\r\n\r\nx\r\n--b--\r\n"
)


async def placed(mail: ImapEnv) -> Dialogue:
    """Alice with four messages, UIDs 1 to 4, in a selected INBOX."""
    await mail.place(SIMPLE, flags=("\\Seen",), date=datetime(2024, 3, 1, tzinfo=UTC))
    await mail.place(ENCODED, flags=("\\Flagged", "hello"), date=datetime(2024, 3, 3, tzinfo=UTC))
    await mail.place(MARKUP, date=datetime(2024, 3, 5, tzinfo=UTC))
    await mail.place(SIMPLE.replace(b"one", b"four"), date=datetime(2024, 3, 7, tzinfo=UTC))
    return await mail.client("INBOX")


async def numbers(client: Dialogue, keys: str, *, by_uid: bool = False) -> list[int]:
    """What a SEARCH finds."""
    found = await client.ok(f"{'UID ' if by_uid else ''}SEARCH {keys}")
    [line] = [reply for reply in found if reply.startswith(b"* SEARCH")]
    return list(map(int, line.split()[2:]))


async def test_keys(mail: ImapEnv) -> None:
    client = await placed(mail)
    for keys, expected in {
        "ALL": [1, 2, 3, 4],
        "SEEN": [1],
        "UNSEEN FLAGGED": [2],
        "KEYWORD HELLO": [2],
        "UNKEYWORD hello": [1, 3, 4],
        "NEW": [],
        "OLD": [1, 2, 3, 4],
        "1:2": [1, 2],
        "4:9": [4],
        "9": [],
        "*": [4],
        "NOT 1,4": [2, 3],
        "UID 3:*": [3, 4],
        "UID 100:*": [4],
        "SINCE 3-Mar-2024 BEFORE 7-Mar-2024": [2, 3],
        "ON  3-Mar-2024".replace("  ", " "): [2],
        # by the Date field as written, without its zone; two messages have none
        "SENTON 2-Mar-2024": [2],
        "SENTSINCE 3-Mar-2024": [3],
        "NOT SENTBEFORE 3-Mar-2024": [1, 3, 4],
        "LARGER 100": [2, 3],
        "SUBJECT one": [1],
        "SUBJECT aus": [2],
        'FROM "J\u00fcrgen <j"': [2],
        "TO bob": [2],
        'HEADER X-Note ""': [2],
        'NOT HEADER X-Note ""': [1, 3, 4],
        "BODY hello": [1, 4],
        "BODY watches": [3],
        'BODY "cheap watches"': [3],
        "BODY prices.pdf": [],
        "TEXT prices.pdf": [3],
        "TEXT example.test": [1, 2, 3, 4],
        "EMAILID nonsense": [],
        "THREADID nonsense": [],
        "OR SUBJECT one BODY watches": [1, 3],
        "OLDER 1000": [1, 2, 3, 4],
    }.items():
        assert await numbers(client, keys) == expected, keys


async def test_jstedfast_mailkit_1806_headers_are_unfolded_and_decoded(mail: ImapEnv) -> None:
    client = await placed(mail)
    for text in ("GRÜSSE AUS KÖLN", "grüße aus köln", "ße aus k"):
        literal = text.encode()
        found = await client.ok(b"SEARCH SUBJECT {%d+}\r\n%b" % (len(literal), literal))
        assert found == [b"* SEARCH 2"], text
    assert await numbers(client, 'BODY "schönes WETTER"') == [2]


async def test_wildduck_text_under_not_and_or(mail: ImapEnv) -> None:
    client = await placed(mail)
    assert await numbers(client, "NOT TEXT hello") == [2, 3]
    assert await numbers(client, "OR TEXT watches NOT TEXT example") == [3]
    assert await numbers(client, "OR (SEEN TEXT hello) (FLAGGED NOT BODY nothing)") == [1, 2]
    assert await numbers(client, "NOT (NOT TEXT hello NOT TEXT watches)") == [1, 3, 4]


async def test_ios_substring_not_word(mail: ImapEnv) -> None:
    client = await placed(mail)
    assert await numbers(client, "TEXT atch") == [3]
    assert await numbers(client, 'TEXT ""') == [1, 2, 3, 4]


async def test_charsets(mail: ImapEnv) -> None:
    """Unknown: NO [BADCHARSET]; it empties the saved set, a BAD leaves it."""
    client = await placed(mail)
    assert await numbers(client, "CHARSET UTF-8 SUBJECT aus") == [2]
    await client.ok("SEARCH RETURN (SAVE) FLAGGED")
    assert await client.no("SEARCH RETURN (SAVE) BOGUS 1") == b"BAD unknown search key"
    assert await numbers(client, "$") == [2]
    assert (await client.no("SEARCH CHARSET X-NONE SUBJECT a")).startswith(
        b"NO [BADCHARSET (UTF-8 US-ASCII)] "
    )
    assert await numbers(client, "$") == [2]  # it was not to be saved
    assert (await client.no("SEARCH RETURN (SAVE) CHARSET X-NONE SUBJECT a")).startswith(
        b"NO [BADCHARSET (UTF-8 US-ASCII)] "
    )
    assert await numbers(client, "$") == []
    await client.ok("ENABLE UTF8=ACCEPT")
    assert (await client.no("SEARCH CHARSET UTF-8 ALL")).startswith(b"BAD ")


async def test_results_of_esearch(mail: ImapEnv) -> None:
    client = await placed(mail)
    for command, expected in {
        "SEARCH RETURN () UNSEEN": b" ALL 2:4",
        "SEARCH RETURN (MIN MAX COUNT) UNSEEN": b" MIN 2 MAX 4 COUNT 3",
        "UID SEARCH RETURN (ALL COUNT) UNSEEN": b" UID COUNT 3 ALL 2:4",
        "SEARCH RETURN (MIN MAX ALL COUNT) BODY nothing": b" COUNT 0",
        "SEARCH RETURN (MIN) BODY hello": b" MIN 1",
        "SEARCH RETURN (MAX) BODY hello": b" MAX 4",
        "SEARCH RETURN (PARTIAL 1:2) NOT BODY nothing": b" PARTIAL (1:2 1:2)",
        "SEARCH RETURN (PARTIAL -1:-2) NOT BODY nothing": b" PARTIAL (-1:-2 3:4)",
        "SEARCH RETURN (PARTIAL -2:-3 COUNT) ALL": b" COUNT 4 PARTIAL (-2:-3 2:3)",
        "SEARCH RETURN (PARTIAL 5:6) ALL": b" PARTIAL (5:6 NIL)",
    }.items():
        [line] = await client.ok(command)
        head, _, rest = line.partition(b")")
        assert head.startswith(b'* ESEARCH (TAG "t')
        assert rest == expected, command


async def test_rfc5182_what_is_saved(mail: ImapEnv) -> None:
    client = await placed(mail)
    for returns, saved in {
        "SAVE": [2, 3, 4],
        "SAVE MIN": [2],
        "SAVE MIN MAX": [2, 4],
        "SAVE MIN COUNT": [2, 3, 4],
        "SAVE PARTIAL 1:2": [2, 3],
    }.items():
        found = await client.ok(f"SEARCH RETURN ({returns}) UNSEEN")
        assert bool(found) is (returns != "SAVE"), returns
        assert await numbers(client, "$") == saved, returns
        assert await numbers(client, "UID $", by_uid=True) == saved
    await client.ok("SEARCH RETURN (SAVE) UNSEEN")
    fetched = await client.ok("FETCH $ UID")
    assert [reply.split()[1] for reply in fetched] == [b"2", b"3", b"4"]
    await client.ok("SELECT INBOX")
    assert await numbers(client, "$") == []


async def test_codefuturist_email_mcp_71_rev2_answers_with_esearch(mail: ImapEnv) -> None:
    client = await placed(mail)
    await client.ok("ENABLE IMAP4rev2")
    [line] = await client.ok("SEARCH UNSEEN")
    assert line.endswith(b") ALL 2:4")
    [line] = await client.ok("UID SEARCH BODY nothing")
    assert line.endswith(b") UID")


async def test_rfc7162_modseq_of_what_is_found(mail: ImapEnv) -> None:
    client = await placed(mail)
    assert await client.ok("SEARCH MODSEQ 1 2:3") == [b"* SEARCH 2 3 (MODSEQ 4)"]
    assert await client.ok("SEARCH MODSEQ 100") == [b"* SEARCH"]
    [line] = await client.ok("SEARCH RETURN (MIN) MODSEQ 3")
    assert line.endswith(b") MIN 2 MODSEQ 3")
    [line] = await client.ok("SEARCH RETURN (MIN COUNT) MODSEQ 3")
    assert line.endswith(b") MIN 2 COUNT 3 MODSEQ 5")
    flagged = await client.ok("STORE 1 +FLAGS (\\Answered)")  # MODSEQ in FETCH from now on
    assert b"MODSEQ (" in flagged[-1]


async def test_new_mail_is_found_by_a_client_that_only_searches(mail: ImapEnv) -> None:
    """stalwartlabs/stalwart#1201; imapsync compares the count of SELECT with SEARCH ALL."""
    client = await placed(mail)
    await mail.place(SIMPLE)
    found = await client.ok("UID SEARCH UID 5:*")
    assert found == [b"* 5 EXISTS", b"* 0 RECENT", b"* SEARCH 5"]
    await mail.place(SIMPLE)
    assert (await client.ok("SEARCH 1:*"))[-1] == b"* SEARCH 1 2 3 4 5"  # as the client counted
    assert await numbers(client, "1:*") == [1, 2, 3, 4, 5, 6]


async def test_no_message_loses_its_number_during_search_by_number(mail: ImapEnv) -> None:
    client, other = await placed(mail), await mail.client("INBOX")
    await other.ok("STORE 2 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    found = await client.ok("SEARCH ALL")
    assert not any(b"EXPUNGE" in reply for reply in found)
    assert found[-1] == b"* SEARCH 1 3 4"
    assert await client.ok("UID SEARCH ALL") == [b"* 2 EXPUNGE", b"* SEARCH 1 3 4"]


async def test_a_body_that_cannot_be_read_fails_the_search(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a result without what could not be looked at; metadata needs no blobs."""
    client = await placed(mail)
    await client.ok("SEARCH RETURN (SAVE) ALL")

    async def fails(*_: object) -> bytes:
        raise Unavailable("blobs", "gone fishing")

    monkeypatch.setattr(mail.blobs, "read", fails)
    assert await numbers(client, "UNSEEN") == [2, 3, 4]
    assert await numbers(client, "SUBJECT one") == [1]  # headers are kept beside the messages
    refused = await client.no("SEARCH RETURN (SAVE) BODY hello")
    assert refused.startswith(b"NO [UNAVAILABLE] ")
    assert await numbers(client, "$") == []


async def test_only_what_must_be_is_read_the_newest_first(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await placed(mail)
    read = mail.bodies.read
    found: list[str] = []

    async def reads(location: BodyLocation, ahead: Sequence[BodyLocation] = ()) -> bytes:
        body = await read(location, ahead)
        found.append(body.partition(b"Subject: ")[2][:5].decode("latin-1").strip())
        return body

    monkeypatch.setattr(mail.bodies, "read", reads)
    for command, subjects in {
        "SEARCH BODY hello": ["four", "offer", "=?utf", "one"],
        "SEARCH RETURN (MAX) BODY hello": ["four"],
        "SEARCH RETURN (MIN) BODY hello": ["one"],
        "SEARCH RETURN (PARTIAL -1:-1) BODY hello": ["four"],
        "SEARCH UNSEEN BODY hello": ["four", "offer", "=?utf"],
        "SEARCH OR (SEEN BODY hello) FLAGGED": ["one"],
        "SEARCH OR SUBJECT offer TEXT example": [],
        "SEARCH RETURN (MIN MAX) BODY hello": ["four", "offer", "=?utf", "one"],
    }.items():
        await client.ok(command)
        assert found == subjects, command
        found.clear()


async def test_a_header_that_is_not_kept_is_read_and_kept(mail: ImapEnv) -> None:
    client = await placed(mail)
    await mail.seed.rows("DELETE FROM message_headers")
    assert await numbers(client, "SUBJECT one") == [1]
    assert len(await mail.seed.rows("SELECT FROM message_headers")) == 4


async def test_large_messages_are_looked_at_in_pieces(mail: ImapEnv) -> None:
    lines = b"".join(b"line %07d of a long text\r\n" % number for number in range(60_000))
    large = (
        b"Subject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + lines
        + b"last words\r\n--b\r\nContent-Type: text/plain; name=notes.txt\r\n\r\nzz\r\n--b--\r\n"
    )  # fmt: skip
    await mail.place(large, SIMPLE)
    await mail.seed.rows("DELETE FROM message_headers")
    client = await mail.client("INBOX")
    for keys, expected in {
        'BODY "LINE 0000000 of"': [1],
        'BODY "line 0059999 of a long text"': [1],
        'BODY "last words"': [1],
        "BODY zz": [1],
        "TEXT notes.txt": [1],
        "BODY notes.txt": [],
        "BODY absent": [],
        "SUBJECT large": [1],
        "OR BODY hello SUBJECT large": [1, 2],
    }.items():
        assert await numbers(client, keys) == expected, keys
    # over the ends of pieces: every 100th line
    for number in range(0, 60_000, 9973):
        text = f"{number:07d} of a long text\\r\\nline {number + 1:07d}".encode().decode(
            "unicode_escape"
        )
        literal = text.encode()
        found = await client.ok(b"SEARCH BODY {%d+}\r\n%b" % (len(literal), literal))
        assert found == [b"* SEARCH 1"]


async def test_signs_of_life_and_an_end_when_the_client_goes(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(pacing, "PROGRESS_SECONDS", 0.0)
    client = await placed(mail)
    found = await client.ok("SEARCH BODY hello")
    assert found[0].startswith(b'* OK [INPROGRESS ("t')
    assert found[0].endswith(b" 4)] still at it")
    assert found[-1] == b"* SEARCH 1 4"
    hides = mail.dialogue(hidden=frozenset({"INPROGRESS"}))
    hides.session.account, hides.machine.state = client.session.account, client.machine.state
    await hides.ok("EXAMINE INBOX")
    assert untagged("OK", "Still here").rstrip() in await hides.ok("SEARCH BODY hello")
    monkeypatch.setattr(pacing, "_LOOK_SECONDS", 0.0)
    client.out.is_cut = True
    with pytest.raises(ConnectionError):
        await client.ask("SEARCH BODY hello")


async def test_searches_wait_for_a_slot_and_a_full_queue_refuses(mail: ImapEnv) -> None:
    client = await placed(mail)
    slots = SearchSlots(most=1, most_of_account=1, most_waiting_of_account=1)
    client.session.context = replace(client.session.context, searches=slots)
    other = await mail.client("INBOX")
    other.session.context = client.session.context
    third = await mail.client("INBOX")
    third.session.context = client.session.context
    account, pace = mail.accounts[ALICE], pacing.Pace(client.session)
    async with slots.slot(account, pace):
        waiting = asyncio.create_task(numbers(client, "BODY hello"))
        await until(lambda: slots.waiting == 1)
        assert await numbers(other, "UNSEEN") == [2, 3, 4]  # asks the store alone
        assert (await other.no("SEARCH BODY hello")).startswith(b"NO [LIMIT] ")
    assert await waiting == [1, 4]
    async with slots.slot(account, pace):
        gone = asyncio.create_task(third.ask("SEARCH BODY hello"))
        await until(lambda: slots.waiting == 1)
        gone.cancel()
        await asyncio.wait([gone])
    assert await numbers(other, "BODY hello") == [1, 4]


async def test_complexity_is_bounded(mail: ImapEnv) -> None:
    client = await placed(mail)
    texts = " ".join(f"BODY x{number}" for number in range(101))
    assert (await client.no(f"SEARCH NOT ({texts})")).startswith(b"NO [LIMIT] the search is for ")
    mixed = "".join(f"OR (NOT SEEN TEXT x) (LARGER {n} BODY x) " for n in range(60))
    assert (await client.no(f"SEARCH {mixed}ALL")).startswith(b"NO [LIMIT] the search is too ")


async def test_uid_batches(mail: ImapEnv) -> None:
    """RFC 9869: from the highest UID down, each of so many messages, together without a gap."""
    await mail.place(*[SIMPLE] * 7)
    client = await mail.client("INBOX")
    await client.ok("STORE 2,5 +FLAGS.SILENT (\\Deleted)")
    await client.ok("EXPUNGE")  # 1 3 4 6 7 are left
    for command, expected in {
        "UIDBATCHES 2": b" 7:6,5:3,2:1",
        "UIDBATCHES 2 2:3": b" 5:3,2:1",
        "UIDBATCHES 2 4": b"",
        "UIDBATCHES 500": b" 7:1",
    }.items():
        [line] = await client.ok(command)
        assert line.partition(b")")[2] == expected, command


WORDS = ["alpha", "Beta", "gämma", "delta", "alphabet"]


class Known:
    """A generated message, as a naive search sees it."""

    def __init__(self, chance: random.Random) -> None:
        self.subject = " ".join(chance.choices(WORDS, k=2))
        self.body = " ".join(chance.choices(WORDS, k=3))
        self.flags = [name for name in ("\\Seen", "\\Flagged", "Work") if chance.random() < 0.5]
        self.day = date(2024, 1, chance.randint(1, 5))
        self.sent = date(2024, 1, chance.randint(1, 5)) if chance.random() < 0.8 else None
        sent = f"Date: {self.sent:%d %b %Y} 23:59:00 -0300\r\n" if self.sent else ""
        self.octets = f"Subject: {self.subject}\r\n{sent}\r\n{self.body}\r\n".encode()
        if chance.random() < 0.5:
            self.octets = self.octets.replace(b" ", b"\r\n ", 1)  # a folded field


async def test_search_agrees_with_a_naive_evaluation(mail: ImapEnv) -> None:
    chance = random.Random(14)
    known = [Known(chance) for _ in range(40)]
    for each in known:
        moment = datetime(2024, 1, each.day.day, 12, tzinfo=UTC)
        await mail.place(each.octets, flags=each.flags, date=moment)
    client = await mail.client("INBOX")

    def key(depth: int) -> tuple[str, set[int]]:
        everything = set(range(1, len(known) + 1))
        if depth and chance.random() < 0.6:
            text, found = key(depth - 1)
            kind = chance.randrange(3)
            if kind == 0:
                return f"NOT {text}", everything - found
            other_text, other = key(depth - 1)
            if kind == 1:
                return f"OR {text} {other_text}", found | other
            return f"({text} {other_text})", found & other
        word = chance.choice(WORDS)[: chance.randint(2, 8)].upper()
        day = date(2024, 1, chance.randint(1, 5))
        low = chance.randint(1, 40)
        tests: dict[str, Callable[[Known], bool]] = {
            "SEEN": lambda one: "\\Seen" in one.flags,
            "KEYWORD work": lambda one: "Work" in one.flags,
            f'SUBJECT "{word}"': lambda one: word.casefold() in one.subject.casefold(),
            f'BODY "{word}"': lambda one: word.casefold() in one.body.casefold(),
            f'TEXT "{word}"': lambda one: (
                word.casefold() in f"{one.subject}\n{one.body}".casefold()
            ),
            f"SENTON {day:%d-%b-%Y}": lambda one: one.sent == day,
            f"SINCE {day:%d-%b-%Y}": lambda one: one.day >= day,
            f"{low}:*": lambda one: known.index(one) + 1 >= low,
        }
        text = chance.choice(list(tests))
        return text, {place for place, one in enumerate(known, 1) if tests[text](one)}

    for _ in range(150):
        text, expected = key(3)
        assert await numbers(client, text) == sorted(expected), text


async def test_what_one_search_looks_for_is_bounded(
    mail: ImapEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mail.place(*[SIMPLE] * 3)
    client = await mail.client("INBOX")
    search = "SEARCH OR (UNSEEN BODY Hello) (SEEN TEXT nothing)"
    assert await client.ok(search) == [b"* SEARCH 1 2 3"]
    many = "NOT SUBJECT x " * 251
    assert (await client.no(f"SEARCH {many.strip()}")).startswith(b"NO [LIMIT] ")
    monkeypatch.setattr("posthorn_imap.search_run.MOST_ANSWERS", 2)
    assert (await client.no(search)).startswith(b"NO [LIMIT] ")
