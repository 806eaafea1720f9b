"""mbox files as mail programs and archives leave them: no message is lost, merged or cut without
a word."""

from __future__ import annotations

import pytest

from posthorn.wire.archive.mbox import ANSWERED, FLAGGED, SEEN, MboxMessage, MboxReader
from posthorn.wire.archive.mbox_from import parse_from_line
from posthorn.wire.smtp.data import with_whole_line_ends

DATED = "From a@example.org Sat Nov  7 09:10:11 2026\n"


def message(name: str, text: str = "text\n") -> str:
    return f"From: a@example.org\nSubject: {name}\n\n{text}"


def read(text: str | bytes, size: int = 65_536) -> tuple[list[MboxMessage], int]:
    octets = text.encode() if isinstance(text, str) else text
    reader = MboxReader(100_000)
    found = [
        each for at in range(0, len(octets), size) for each in reader.feed(octets[at : at + size])
    ]
    return [*found, *reader.end()], reader.from_lines_left


def subjects(text: str | bytes) -> list[str]:
    """The subjects found, which are the same however the file is cut."""
    whole = read(text)
    for size in (1, 7, 100):
        assert read(text, size) == whole
    return [
        next(
            line
            for line in (each.content or b"").decode("latin-1").splitlines()
            if line.startswith("Subject: ")
        )[9:]
        for each in whole[0]
    ]


@pytest.mark.parametrize(
    "line",
    [
        "From 1844000000000000001@xxx\n",
        "From - \n",
        "From -\n",
        "From MAILER-DAEMON\n",
        "From a@example.org\n",
        "From john at example.org\n",
        "From somebody without an address\n",
        "From - Sat Apr 12 2025 15:59:28\n",
        "From - Sat, 12 Apr 2025 15:59:28 +0200\n",
        "From a@example.org 2025-04-12 15:59:28\n",
        "From a@example.org 2025-04-12T15:59:28Z\n",
        "From john at example.org  Sat Nov  7 09:10:12 2026\n",
        'From "john doe"@example.org Sat Nov  7 09:10:12 2026\n',
        "From John Doe Sat Nov  7 09:10:12 2026\n",
        "From a@example.org Sat Nov  7 09:10:12 CET 2026\n",
        "From a@example.org Sat Nov  7 09:10:12 +0100 2026 remote from host\n",
        "From a@example.org Saturday, November 7 then\n",
        DATED,
    ],
)
def test_separators_of_many_programs(line: str) -> None:
    assert subjects(line + message("one") + "\n" + line + message("two")) == ["one", "two"]
    assert subjects(
        DATED + message("one") + "\n" + line + message("two") + "\n" + line + message("three")
    ) == [
        "one",
        "two",
        "three",
    ]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r\r\n", "\r"])
@pytest.mark.parametrize("before", ["", "\n\n", "\ufeff", "\ufeff\n", " \n"])
def test_what_stands_before_the_first_line_and_at_the_ends_of_all(before: str, ends: str) -> None:
    text = (before + DATED + message("one") + "\n" + DATED + message("two")).replace("\n", ends)
    found, _ = read(text)
    assert [with_whole_line_ends(each.content or b"") for each in found] == [
        message(name).replace("\n", "\r\n").encode() for name in ("one", "two")
    ]
    assert subjects(text) == ["one", "two"]


def test_no_empty_line_between_messages() -> None:
    assert subjects("".join(DATED + message(str(n)) for n in range(3))) == ["0", "1", "2"]
    assert subjects(
        "".join(DATED + message(str(n), "no end of line") + "\n" for n in range(3))
    ) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "text",
    [
        "\nFrom time to time we wrote\nto each other\n",
        "\nFrom here: nothing\nNote: we knew\n",
        "\nFrom me, 10:30, in 2024\n",
        "It was\nFrom a@example.org Sat Nov  7 09:10:11 2026\nis how a line begins\n",
        "It was\nFrom the beginning\nSubject: was\n",
        "\n>From a@example.org Sat Nov  7 09:10:11 2026\nSubject: quoted\n",
    ],
)
def test_prose_stays_text(text: str) -> None:
    assert subjects(DATED + message("one", text) + "\n" + DATED + message("two")) == ["one", "two"]


def test_what_stayed_text_after_an_empty_line_is_counted() -> None:
    _, left = read(
        DATED + message("one", "a\n\nFrom time to time\nwe\n\nFrom then on\nwe\nFrom here\n")
    )
    assert left == 2
    assert read(DATED + message("one") + "\n" + DATED + message("two"))[1] == 0


def counted(name: str, body: str) -> str:
    return DATED + f"Content-Length: {len(body)}\nFrom: a@example.org\nSubject: {name}\n\n{body}\n"


def test_a_content_length_that_holds_covers_from_lines() -> None:
    body = "first\n\n" + DATED + "Subject: quoted inside\n\n>From stays so\nlast\n"
    text = counted("one", body) + counted("two", "x\n")
    assert subjects(text) == ["one", "two"]
    assert (read(text)[0][0].content or b"").endswith(body.encode())
    assert subjects(counted("one", body)) == ["one"]


@pytest.mark.parametrize("length", [0, 3, 17, 10_000, 999_999_999_999])
def test_a_content_length_that_does_not_hold_is_passed_over(length: int) -> None:
    text = (
        DATED
        + f"Content-Length: {length}\n"
        + message("one", "some text\n")
        + "\n"
        + DATED
        + message("two")
    )
    assert subjects(text) == ["one", "two"]


def test_a_programs_own_first_message_is_left_out() -> None:
    own = "From: Mail System Internal Data <MAILER-DAEMON@host.example>\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER\n"
    text = (
        "From MAILER-DAEMON Sat Nov  7 09:10:11 2026\n"
        + own
        + "X-IMAP: 1700000000 0000000001\n\nHousekeeping\n\n"
    )
    found, _ = read(text + DATED + message("real") + "\n" + text)
    assert [bool(each.left_out) for each in found] == [True, False, False], "the first alone"
    base = DATED + "X-IMAPbase: 1700000000 1\n" + message("one")
    assert [each.left_out for each in read(base)[0]] == [""]


@pytest.mark.parametrize(
    ("status", "flags", "is_left_out"),
    [
        ("0000", 0, False),
        ("0001", SEEN, False),
        ("0003", SEEN | ANSWERED, False),
        ("0005", SEEN | FLAGGED, False),
        ("0008", 0, True),
        ("1009", SEEN, True),
        ("A000", 0, False),
    ],
)
def test_marks_of_mozilla(status: str, flags: int, is_left_out: bool) -> None:
    text = (
        f"From - Sat Nov 07 09:10:11 2026\nX-Mozilla-Status: {status}\nX-Mozilla-Status2: 00000000\n"
        + message("one")
    )
    ((found,), _) = read(text)
    assert (found.flags, bool(found.left_out)) == (flags, is_left_out)


@pytest.mark.parametrize(
    ("line", "sender", "at"),
    [
        (
            b"From john at example.org  Sat Nov  7 09:10:12 2026",
            "john@example.org",
            1_794_042_612.0,
        ),
        (b"From - Sat Apr 12 2025 15:59:28", "", 1_744_473_568.0),
        (b"From a@b.test 2025-04-12T15:59:28+02:00", "a@b.test", 1_744_466_368.0),
        (b"From a@b.test Sat Nov  7 09:10 EST 2026", "a@b.test", 1_794_042_600.0),
        (b"From 1844000000000000001@xxx", "1844000000000000001@xxx", None),
        (b"From me to you", "", None),
    ],
)
def test_what_a_line_says(line: bytes, sender: str, at: float | None) -> None:
    found = parse_from_line(line)
    assert (found.sender, found.date) == (sender, at)
