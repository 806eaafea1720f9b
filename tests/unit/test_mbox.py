"""mbox files, Maildir names and tar archives: what is written is read again octet for octet,
however the octets are cut."""

from __future__ import annotations

import io
import mailbox
import tarfile
import tempfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.wire.archive import maildir
from posthorn.wire.archive.mbox import (
    MboxMessage,
    MboxReader,
    MboxWriter,
    NotMboxError,
    from_line,
    status_lines,
)
from posthorn.wire.archive.tar import (
    END,
    NotTarError,
    TarFile,
    TarReader,
    directory_header,
    file_header,
    padding,
)
from posthorn.wire.smtp.data import with_whole_line_ends

LIMIT = 100_000
AT = 1_700_000_000.0

LINES = st.sampled_from(
    [
        b"From here on",
        b">From there",
        b">>From a@b.test Thu Jan  1 00:00:00 2026",
        b"From a@b.test Thu Jan  1 00:00:00 2026",
        b"From ",
        b"From",
        b"",
        b"Subject: x",
        b".",
        b"\xff\x00",
        b"Status: RO",
        b"X-Status: AFT",
        b" text",
        b"X" * 300,
    ]
)
CONTENTS = st.lists(LINES, min_size=1, max_size=8).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)
MAIL = st.lists(st.tuples(CONTENTS, st.integers(0, 31)), max_size=6)


def pieces(octets: bytes, size: int) -> list[bytes]:
    return [octets[at : at + size] for at in range(0, len(octets), size)]


def read_mbox(octets: bytes, size: int = 65_536, limit: int = LIMIT) -> list[MboxMessage]:
    reader = MboxReader(limit)
    found = [message for piece in pieces(octets, size) for message in reader.feed(piece)]
    return [*found, *reader.end()]


def read_tar(octets: bytes, size: int = 65_536, limit: int = LIMIT) -> list[TarFile]:
    reader = TarReader(limit)
    found = [file for piece in pieces(octets, size) for file in reader.feed(piece)]
    reader.end()
    return found


def written(content: bytes, flags: int = 0, size: int = 7, sender: str = "a@b.test") -> bytes:
    writer = MboxWriter()
    body = b"".join(writer.feed(piece) for piece in pieces(content, size))
    return from_line(sender, AT) + status_lines(flags, content) + body + writer.end()


@settings(max_examples=200, deadline=None)
@given(MAIL, st.integers(1, 40), st.integers(1, 700))
def test_a_file_of_messages_is_read_as_it_was_written(
    mail: list[tuple[bytes, int]], out: int, inn: int
) -> None:
    octets = b"".join(written(content, flags, out) for content, flags in mail)
    found = read_mbox(octets, inn)
    assert [(with_whole_line_ends(each.content or b""), each.flags) for each in found] == mail
    assert {(each.sender, each.received_at) for each in found} <= {("a@b.test", AT)}


@settings(max_examples=50, deadline=None)
@given(MAIL)
def test_python_reads_the_file_as_we_do(mail: list[tuple[bytes, int]]) -> None:
    """The standard library's reader finds the same messages; it does not take the quoting off."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(written(content) for content, _ in mail))
        file.flush()
        assert len(mailbox.mbox(file.name, create=False)) == len(mail)


def test_every_cut_of_a_file_reads_the_same() -> None:
    octets = (
        written(b"a\r\n\r\nFrom b\r\n")
        + written(b"\r\n\r\n", 3)
        + written(b"Status: RO\r\n\r\nx\r\n")
    )
    whole = read_mbox(octets)
    assert len(whole) == 3
    for size in range(1, len(octets)):
        assert read_mbox(octets, size) == whole
    begun = octets.index(b"\n") + 1
    for cut in range(begun, len(octets)):
        found = read_mbox(octets[:cut], 3)
        assert [each.content for each in found[:-1]] == [
            each.content for each in whole[: len(found) - 1]
        ]


@pytest.mark.parametrize("form", ["whole", "octet by octet"])
def test_files_of_other_programs(form: str) -> None:
    size = 65_536 if form == "whole" else 1
    crlf = b"From x@y.test Thu Jan  1 10:20:30 2026\r\nA: b\r\n\r\ntext\r\n\r\nFrom z Fri Jan 02 10:20 2026\r\nC: d\r\n\r\nx\r\n"
    assert [with_whole_line_ends(each.content or b"") for each in read_mbox(crlf, size)] == [
        b"A: b\r\n\r\ntext\r\n",
        b"C: d\r\n\r\nx\r\n",
    ]
    inside = b"From - Thu Jan  1 10:20:30 2026\nA: b\n\nHe wrote\n\nFrom then on at 10 we knew\n\nFrom me, 10:30, in 2024\nend"
    assert len(read_mbox(inside, size)) == 1
    flags = b"From a@b.test Thu Jan  1 10:20:30 2026\nA: b\nStatus: RO\nX-Status: FA\n\nStatus: x\nX-Status: T\n"
    (read,) = read_mbox(flags, size)
    assert (read.flags, b"Status: RO" in (read.content or b"")) == (1 | 2 | 4, True)
    unfinished = b"From a@b.test Thu Jan  1 10:20:30 2026"
    assert [each.content for each in read_mbox(unfinished, size)] == [b""]
    assert read_mbox(b"", size) == []


@pytest.mark.parametrize(
    ("line", "sender", "at"),
    [
        (b"From a@b.test Thu Jan  1 00:00:10 1970", "a@b.test", 10.0),
        (b"From a@b.test Thu Jan 01 00:00:10 1970 +0100", "a@b.test", -3590.0),
        (b"From a@b.test Thu Jan 01 01:00:10 +0100 1970", "a@b.test", 10.0),
        (b"From MAILER-DAEMON Fri Jul  8 12:08:34 2011", "", 1_310_126_914.0),
        (b"From a@b.test  Thu, 1 Jan 1970 00:00:10 +0000", "a@b.test", 10.0),
        (b"From - Sat Feb 30 00:00:00 2011", "", None),
    ],
)
def test_dates_of_from_lines(line: bytes, sender: str, at: float | None) -> None:
    (found,) = read_mbox(line + b"\nA: b\n")
    assert (found.sender, found.received_at) == (sender, at)


@pytest.mark.parametrize(
    "octets",
    [
        b"A: b\n\ntext\n",
        b"From\n",
        b"\x1f\x8b\x08" * 9,
        b"From nothing\nA: b\n",
        b"From " + b"x" * 9000,
    ],
)
def test_what_is_no_mbox_is_refused(octets: bytes) -> None:
    for size in (1, 65_536):
        with pytest.raises(NotMboxError):
            read_mbox(octets, size)


def test_a_message_that_is_too_long_is_told_of_and_not_kept() -> None:
    octets = (
        written(b"a\r\n") + written(b"x" * 77 + b"\r\n" + b"y\r\n" * 100_000) + written(b"b\r\n")
    )
    reader = MboxReader(1000)
    found = []
    for piece in pieces(octets, 500):
        found += list(reader.feed(piece))
        assert len(reader._held) < 2600
    found += list(reader.end())
    assert [each.content for each in found] == [b"a\n", None, b"b\n"]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 90))
def test_no_octets_break_a_reader(octets: bytes, size: int) -> None:
    for text in (octets, b"From a@b.test Thu Jan  1 00:00:10 1970\n" + octets):
        with suppress(NotMboxError):
            read_mbox(text, size, 50)
    for archive in (octets, file_header("a", 40, 1) + octets):
        with suppress(NotTarError):
            read_tar(archive, size, 50)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text("aä/._-", min_size=1, max_size=300).filter(lambda t: t.strip("/")),
            st.binary(max_size=1500),
        ),
        max_size=5,
    ),
    st.integers(1, 2000),
)
def test_an_archive_is_read_as_it_was_written(files: list[tuple[str, bytes]], size: int) -> None:
    octets = directory_header("INBOX") + b"".join(
        file_header(path, len(content), AT) + content + padding(len(content))
        for path, content in files
    )
    found = read_tar(octets + END, size)
    assert [(each.path.rstrip("/"), each.content, each.modified_at) for each in found] == [
        (path.rstrip("/"), content, AT) for path, content in files
    ]
    with tarfile.open(fileobj=io.BytesIO(octets + END)) as archive:
        theirs = [
            (info.name, file.read())
            for info in archive
            if info.isreg() and (file := archive.extractfile(info))
        ]
    assert [content for _, content in theirs] == [content for _, content in files]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_other_programs(form: int) -> None:
    file = io.BytesIO()
    names = (
        ["short", "d/" * 60 + "long", "ends"] if form != tarfile.USTAR_FORMAT else ["short", "ends"]
    )
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(name), 12
            archive.addfile(info, io.BytesIO(name.encode()))
            link = tarfile.TarInfo(f"{name}.link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    for size in (1, 513, 65_536):
        assert [(each.path, each.content) for each in read_tar(file.getvalue(), size)] == [
            (n, n.encode()) for n in names
        ]


def test_a_broken_archive_is_refused_and_a_large_file_passed_over() -> None:
    octets = (
        file_header("a", 3000, AT)
        + b"x" * 3000
        + padding(3000)
        + file_header("b", 2, AT)
        + b"yz"
        + padding(2)
    )
    assert [(each.path, each.content) for each in read_tar(octets + END, 100, 1000)] == [
        ("a", None),
        ("b", b"yz"),
    ]
    for broken in (octets[:100], octets[:2000], octets[:-511], b"", b"x" * 600):
        with pytest.raises(NotTarError):
            read_tar(broken)
    pax = tarfile.TarInfo("x")
    pax.type, pax.size = tarfile.XHDTYPE, 10**9
    with pytest.raises(NotTarError, match="too long"):
        read_tar(pax.tobuf())


def test_names_of_a_maildir() -> None:
    name = maildir.file_name("U7.abc", AT, 1 | 2 | 4 | 8 | 16)
    assert name == "1700000000.U7.abc.posthorn:2,DFRST"
    assert (maildir.flags_of(name), maildir.received_at(name)) == (31, AT)
    assert maildir.flags_of("1.a:2,Sab") == 1
    assert (maildir.flags_of("1.a"), maildir.received_at("M1")) == (0, None)


@pytest.mark.parametrize(
    ("path", "mailbox_name"),
    [
        ("cur/1.a", "INBOX"),
        ("./new/1.a", "INBOX"),
        ("Maildir/cur/1.a", "INBOX"),
        ("INBOX/cur/1.a", "INBOX"),
        ("Work/2026/cur/1.a", "Work/2026"),
        (".Work.2026/cur/1.a", "Work/2026"),
        ("home/al/Maildir/.Sent/new/1.a", "Sent"),
        ("tmp/1.a", None),
        ("cur/.hidden", None),
        ("dovecot-uidlist", None),
        ("", None),
    ],
)
def test_places_in_a_maildir(path: str, mailbox_name: str | None) -> None:
    place = maildir.place_of(path)
    assert (None if place is None else place[0]) == mailbox_name


@given(st.binary(max_size=60).map(lambda b: b.translate(bytes([10, 13, 65] * 85 + [66]))))
def test_line_ends_are_made_whole(octets: bytes) -> None:
    made = with_whole_line_ends(octets)
    assert made.count(b"\r\n") == made.count(b"\n") == made.count(b"\r")
    assert made.endswith(b"\r\n") or not octets
    assert with_whole_line_ends(made) == made
    assert made.replace(b"\r\n", b"") == octets.replace(b"\r", b"").replace(b"\n", b"")
