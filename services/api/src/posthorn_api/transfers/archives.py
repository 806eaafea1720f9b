"""Files of mail read as a stream: mbox, an archive of Maildirs, an archive of messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Protocol

from posthorn.ports.maildrops import is_unique_id
from posthorn.wire.archive import maildir
from posthorn.wire.archive.compressed import NotUnpackedError, compression_of, unpacked
from posthorn.wire.archive.keywords import keywords_of
from posthorn.wire.archive.mbox import MboxMessage, MboxReader
from posthorn.wire.archive.tar import TarFile, TarReader
from posthorn.wire.message.before_header import header_first
from posthorn.wire.message.header import SCAN_LIMIT, header_end, starts_with_field
from posthorn.wire.smtp.data import with_whole_line_ends

_HELD_OCTETS = 16 * 1024 * 1024
_HELD_FILES = 2000
_RETURN_PATH = re.compile(rb"Return-Path: <([^<>\r\n]*)>\r\n")
_DATES = re.compile(
    rb"^(received|date)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)\r\n", re.IGNORECASE | re.MULTILINE
)


class Format(Enum):
    """Format of an exported or imported file."""

    MBOX = "mbox"
    """mboxrd: one text of all messages."""
    MAILDIR = "maildir"
    """A tar archive of a Maildir for each mailbox."""
    EML = "eml"
    """A tar archive of a file for each message, in a directory for each mailbox."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of a file."""

    content: bytes | None
    """In CRLF form; None when it is longer than may be."""
    reverse_path: str
    return_path_octets: int
    """Length of the Return-Path line at the start, which stays there."""
    received_at: float | None
    """Seconds since the epoch; None: the file does not tell."""
    flags: int
    mailbox: str | None
    """None: the file does not tell."""
    name: str | None = None
    "Path of the message in an archive."
    fault: str = ""
    """Why it cannot be imported; empty when it can."""
    misplaced: str = ""
    """Why its mailbox cannot be told; it can be imported into one that the caller names."""
    left_out: str = ""
    """Why it is no mail of its owner's; empty for mail."""
    keywords: tuple[str, ...] = ()
    unique_id: str = ""
    """Unique id in the POP3 server that it comes from; empty: none."""


class Reading(Protocol):
    """A file being read."""

    @property
    def from_lines_left(self) -> int:
        """``From`` lines of an mbox that were taken for text so far, though an empty line stands
        before them."""
        ...

    def feed(self, data: bytes) -> Iterator[Incoming]:
        """Take bytes as they come; returns the messages that are complete. Raises NotMboxError or
        NotTarError."""
        ...

    def end(self) -> Iterator[Incoming]:
        """The file is over; returns what is left. Raises NotMboxError or NotTarError when it breaks off."""
        ...


class _Mbox:
    def __init__(self, limit: int) -> None:
        self._reader = MboxReader(limit)
        self._limit = limit

    @property
    def from_lines_left(self) -> int:
        return self._reader.from_lines_left

    def feed(self, data: bytes) -> Iterator[Incoming]:
        return map(self._incoming, self._reader.feed(data))

    def end(self) -> Iterator[Incoming]:
        return map(self._incoming, self._reader.end())

    def _incoming(self, message: MboxMessage) -> Incoming:
        made = _made(
            message.content,
            message.sender,
            message.received_at,
            message.flags,
            None,
            None,
            self._limit,
        )
        return replace(made, left_out=message.left_out) if message.left_out else made


class _Files:
    """An archive of a file for each message, in a directory for each mailbox."""

    from_lines_left = 0

    def __init__(self, limit: int) -> None:
        self._reader = TarReader(limit)
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[Incoming]:
        for file in self._reader.feed(data):
            if (incoming := _of_files(file, self._limit)) is not None:
                yield incoming

    def end(self) -> Iterator[Incoming]:
        self._reader.end()
        return iter(())


class _Maildirs:
    """An archive of a Maildir. Messages are held while its root cannot be told, up to
    ``_HELD_OCTETS``."""

    from_lines_left = 0

    def __init__(self, limit: int) -> None:
        self._reader = TarReader(limit, self._directory)
        self._limit = limit
        self._roots = maildir.Roots()
        self._held: list[TarFile] = []
        self._octets = 0

    def feed(self, data: bytes) -> Iterator[Incoming]:
        for file in self._reader.feed(data):
            yield from self._file(file)

    def end(self) -> Iterator[Incoming]:
        self._reader.end()
        self._roots.end()
        yield from self._release()

    def _directory(self, path: str) -> None:
        holder = maildir.holder(path)
        if holder is not None:
            with suppress(maildir.SecondRootError):  # its messages will say so
                self._roots.saw(holder)

    def _file(self, file: TarFile) -> Iterator[Incoming]:
        found = maildir.split(file.path)
        if found is None:
            return
        try:
            self._roots.saw(*found)
        except maildir.SecondRootError as error:
            incoming = _of_maildir(file, (), self._limit)
            if incoming is not None:
                yield replace(incoming, mailbox=None, misplaced=str(error))
            return
        self._held.append(file)
        self._octets += len(file.content or b"")
        if self._octets > _HELD_OCTETS or len(self._held) > _HELD_FILES:
            self._roots.end()
        if self._roots.root is not None:
            yield from self._release()

    def _release(self) -> Iterator[Incoming]:
        held, self._held, self._octets = self._held, [], 0
        for file in held:
            if (incoming := _of_maildir(file, self._roots.root or (), self._limit)) is not None:
                yield incoming


def reading(form: Format, limit: int) -> Reading:
    """Begin to read a file; messages of more than ``limit`` bytes are told of, but not kept."""
    match form:
        case Format.MBOX:
            return _Mbox(limit)
        case Format.MAILDIR:
            return _Maildirs(limit)
        case Format.EML:
            return _Files(limit)


def _of_maildir(file: TarFile, root: Sequence[str], limit: int) -> Incoming | None:
    place = maildir.place_of(file.path, root)
    if place is None:
        return None
    mailbox, name = place
    at = maildir.received_at(name)
    flags = maildir.flags_of(name)
    made = _made(
        file.content, "", file.modified_at if at is None else at, flags, mailbox, file.path, limit
    )
    if not file.keywords and not file.unique_id:
        return made
    unique_id = file.unique_id if is_unique_id(file.unique_id) else ""
    return replace(made, keywords=keywords_of(file.keywords), unique_id=unique_id)


def _of_files(file: TarFile, limit: int) -> Incoming | None:
    *directories, name = [part for part in file.path.split("/") if part not in ("", ".")] or [""]
    if not name.lower().endswith(".eml") or name.startswith("."):
        return None
    head = with_whole_line_ends((file.content or b"")[:SCAN_LIMIT])
    at = _date_of(header_first(head, more=False) or head)
    mailbox = maildir.mailbox_of(directories)
    return _made(
        file.content, "", file.modified_at if at is None else at, 0, mailbox, file.path, limit
    )


def _made(
    data: bytes | None,
    sender: str,
    at: float | None,
    flags: int,
    mailbox: str | None,
    name: str | None,
    limit: int,
) -> Incoming:
    if data is None:
        return Incoming(None, sender, 0, at, flags, mailbox, name)
    try:
        content = with_whole_line_ends(_message_in(data, limit))
        content = header_first(content, more=False) or content
    except NotUnpackedError as error:
        return Incoming(b"", sender, 0, at, flags, mailbox, name, fault=str(error))
    found = _RETURN_PATH.match(content)
    if found is not None:
        sender = found[1].decode("utf-8", "replace")
    if at is None:
        at = _date_of(content)
    return Incoming(content, sender, found.end() if found else 0, at, flags, mailbox, name)


def _message_in(data: bytes, limit: int) -> bytes:
    """Return the message that a file holds, unpacked. Raises NotUnpackedError, also for what is
    no message at all."""
    if compression_of(data) is not None:
        data = unpacked(data, limit)
    first = data.partition(b"\n")[0]
    if b"\0" in first and not starts_with_field(data):
        raise NotUnpackedError(
            "this is no message: its first line is no header field and holds NULs"
        )
    return data


def _date_of(content: bytes) -> float | None:
    """When a message was received by what its header says: the newest Received field, or else
    Date."""
    head = content[:SCAN_LIMIT]
    end = header_end(head)
    dates: dict[bytes, bytes] = {}
    for name, value in _DATES.findall(head if end < 0 else head[:end]):
        dates.setdefault(name.lower(), value)
    for text in (dates.get(b"received", b"").rpartition(b";")[2], dates.get(b"date", b"")):
        try:
            return parsedate_to_datetime(
                text.decode("ascii", "replace").replace("\r\n", "").strip()
            ).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None
