"""Archives of Maildirs as people make them: where the root is, what folders are called, and
files that are compressed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Sequence

import pytest

from posthorn.wire.archive.maildir import file_name
from posthorn.wire.archive.mutf7 import decode_mutf7
from posthorn.wire.archive.tar import NotTarError
from posthorn_api.transfers.archives import Format, Incoming, reading

MESSAGE = b"From: a@example.org\nSubject: packed\n\nbody\n"
GZIPPED = gzip.compress(MESSAGE, mtime=0)
STORED = MESSAGE.replace(b"\n", b"\r\n")


def archive(files: dict[str, bytes], directories: Sequence[str] = ()) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for path in directories:
            info = tarfile.TarInfo(path)
            info.type = tarfile.DIRTYPE
            made.addfile(info)
        for path, octets in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mtime = len(octets), 1_700_000_000
            made.addfile(info, io.BytesIO(octets))
    return file.getvalue()


def read(
    octets: bytes, form: Format = Format.MAILDIR, size: int = 1000, limit: int = 100_000
) -> list[Incoming]:
    reader = reading(form, limit)
    found = [
        each for at in range(0, len(octets), size) for each in reader.feed(octets[at : at + size])
    ]
    return [*found, *reader.end()]


def mailboxes(*paths: str, directories: Sequence[str] = ()) -> list[str | None]:
    found = read(
        archive({f"{path}/1.M{place}": MESSAGE for place, path in enumerate(paths)}, directories)
    )
    assert [each.name for each in found] == [
        f"{path}/1.M{place}" for place, path in enumerate(paths)
    ]
    return [f"failed: {each.misplaced}" if each.misplaced else each.mailbox for each in found]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["cur", ".Sent/cur"], ["INBOX", "Sent"]),
        (
            ["var/vmail/example.test/alice/cur", "var/vmail/example.test/alice/.Sent/cur"],
            ["INBOX", "Sent"],
        ),
        (
            ["var/vmail/example.test/alice/.Sent/cur", "var/vmail/example.test/alice/new"],
            ["Sent", "INBOX"],
        ),
        (["alice/cur"], ["INBOX"]),
        (["alice/cur", "alice/new"], ["INBOX", "INBOX"]),
        (["home/alice/mail/cur", "home/alice/mail/Work/2026/cur"], ["INBOX", "Work/2026"]),
        (["home/alice/mail/Work/2026/cur", "home/alice/mail/cur"], ["Work/2026", "INBOX"]),
        (["backup/INBOX/cur", "backup/Sent/cur"], ["INBOX", "Sent"]),
        (["Archive/cur", "Sent/cur"], ["Archive", "Sent"]),
        (["home/alice/Maildir/Work/cur"], ["Work"]),
        (["home/alice/Maildir/cur", "home/alice/Maildir/.Work.2026/cur"], ["INBOX", "Work/2026"]),
    ],
)
def test_the_root_of_a_maildir(paths: list[str], expected: list[str]) -> None:
    assert mailboxes(*paths) == expected


def test_directories_tell_the_root_before_any_message() -> None:
    paths = ["var/mail/alice/Work/cur", "var/mail/alice/cur"]
    assert mailboxes(
        *paths, directories=["var/mail/alice", "var/mail/alice/cur", "var/mail/alice/Work/cur"]
    ) == [
        "Work",
        "INBOX",
    ]


def test_an_archive_of_our_own_keeps_its_names() -> None:
    found = read(archive({f"A &AOk- B/cur/{file_name('U1.x', 1.7e9, 1)}": MESSAGE}))
    assert [(each.mailbox, each.flags) for each in found] == [("A &AOk- B", 1)]


@pytest.mark.parametrize("second", ["bob/Maildir/cur", "bob/.Sent/cur", "elsewhere/cur"])
def test_a_second_maildir_in_an_archive_is_told_of(second: str) -> None:
    first, other = mailboxes("alice/Maildir/cur", second)
    assert first == "INBOX"
    assert other is not None and other.startswith("failed: ") and "import it by itself" in other


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Entw&APw-rfe", "Entwürfe"),
        ("&U,BTFw-/&ZeVnLIqe-", "台北/日本語"),
        ("A&-B", "A&B"),
        ("Gel&APY-schte Objekte", "Gelöschte Objekte"),
        ("A & B", "A & B"),
        ("&AP-", "&AP-"),
        ("R&D-2026", "R&D-2026"),
        ("Entwürfe &", "Entwürfe &"),
        ("", ""),
    ],
)
def test_modified_utf_7(name: str, expected: str) -> None:
    assert decode_mutf7(name) == expected


def test_folders_in_modified_utf_7() -> None:
    assert mailboxes("Maildir/.Entw&APw-rfe/cur", "Maildir/.Work.&ZeVnLA-/cur") == [
        "Entwürfe",
        "Work/日本",
    ]


@pytest.mark.parametrize(
    "packed", [GZIPPED, bz2.compress(MESSAGE), lzma.compress(MESSAGE)], ids=["gzip", "bzip2", "xz"]
)
def test_a_compressed_message_is_unpacked(packed: bytes) -> None:
    for form, path in ((Format.MAILDIR, "Maildir/cur/1.M1,S=9:2,S"), (Format.EML, "x/1.eml")):
        (found,) = read(archive({path: packed}), form)
        assert (found.fault, found.content) == ("", STORED)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (gzip.compress(b"A: b\n" * 100_000, mtime=0), "more than 100000 octets"),
        (GZIPPED[:-12], "breaks off"),
        (b"\x1f\x8b" + b"x" * 50, "damaged"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 50, "zstd"),
        (b"\x04\x22\x4d\x18" + b"x" * 50, "lz4"),
        (b"CRYPTED\x03\x07" + b"x" * 50, "mail-crypt"),
        (b"\x00\x01\x02\x03", "no message"),
        (b"SQLite format 3\x00" + b"x" * 50, "no message"),
    ],
    ids=["too large", "cut off", "damaged", "zstd", "lz4", "encrypted", "NULs", "a database"],
)
def test_a_file_that_is_no_message_fails_with_the_reason(octets: bytes, words: str) -> None:
    (found,) = read(archive({"Maildir/cur/1.M1": octets}))
    assert words in found.fault
    assert not found.content


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive_is_named_as_such(pack: object) -> None:
    octets = pack(archive({"cur/1.M1": MESSAGE}))  # type: ignore[operator]
    for size in (1, 65_536):
        with pytest.raises(NotTarError, match="unpack it first"):
            read(octets, size=size)


def test_a_message_converted_twice_has_single_line_ends() -> None:
    (found,) = read(archive({"cur/1.M1": MESSAGE.replace(b"\n", b"\r\r\n")}))
    assert found.content == STORED
