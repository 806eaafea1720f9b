"""Files of mail read as a stream: mbox, an archive of Maildirs, an archive of messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Protocol

from posthorn.wire import maildir
from posthorn.wire.data import with_whole_line_ends
from posthorn.wire.header import SCAN_LIMIT, header_end
from posthorn.wire.mbox import MboxMessage, MboxReader
from posthorn.wire.tar import TarFile, TarReader

_RETURN_PATH = re.compile(rb"Return-Path: <([^<>\r\n]*)>\r\n")
_DATES = re.compile(rb"^(received|date)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)\r\n", re.IGNORECASE | re.MULTILINE)


class Format(Enum):
    """How the mail of an account is written to a file."""

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
    """Its path in an archive."""


class Reading(Protocol):
    """A file being read."""

    def feed(self, octets: bytes) -> Iterator[Incoming]:
        """Take octets as they come; gives the messages that are complete. Raises NotMbox or NotTar."""
        ...

    def end(self) -> Iterator[Incoming]:
        """The file is over; gives what is left. Raises NotMbox or NotTar when it breaks off."""
        ...


class _Mbox:
    def __init__(self, limit: int) -> None:
        self._reader = MboxReader(limit)

    def feed(self, octets: bytes) -> Iterator[Incoming]:
        return map(self._incoming, self._reader.feed(octets))

    def end(self) -> Iterator[Incoming]:
        last = self._reader.end()
        if last is not None:
            yield self._incoming(last)

    def _incoming(self, message: MboxMessage) -> Incoming:
        return _made(message.content, message.sender, message.received_at, message.flags, None, None)


class _Archive:
    def __init__(self, limit: int, incoming: Callable[[TarFile], Incoming | None]) -> None:
        self._reader = TarReader(limit)
        self._incoming = incoming

    def feed(self, octets: bytes) -> Iterator[Incoming]:
        for file in self._reader.feed(octets):
            if (incoming := self._incoming(file)) is not None:
                yield incoming

    def end(self) -> Iterator[Incoming]:
        self._reader.end()
        return iter(())


def reading(form: Format, limit: int) -> Reading:
    """Begin to read a file; messages of more than ``limit`` octets are told of, but not kept."""
    match form:
        case Format.MBOX:
            return _Mbox(limit)
        case Format.MAILDIR:
            return _Archive(limit, _of_maildir)
        case Format.EML:
            return _Archive(limit, _of_files)


def _of_maildir(file: TarFile) -> Incoming | None:
    place = maildir.place_of(file.path)
    if place is None:
        return None
    mailbox, name = place
    at = maildir.received_at(name)
    flags = maildir.flags_of(name)
    return _made(file.content, "", file.modified_at if at is None else at, flags, mailbox, file.path)


def _of_files(file: TarFile) -> Incoming | None:
    *directories, name = [part for part in file.path.split("/") if part not in ("", ".")] or [""]
    if not name.lower().endswith(".eml") or name.startswith("."):
        return None
    at = None if file.content is None else _date_of(with_whole_line_ends(file.content[:SCAN_LIMIT]))
    mailbox = maildir.mailbox_of(directories)
    return _made(file.content, "", file.modified_at if at is None else at, 0, mailbox, file.path)


def _made(
    octets: bytes | None, sender: str, at: float | None, flags: int, mailbox: str | None, name: str | None
) -> Incoming:
    if octets is None:
        return Incoming(None, sender, 0, at, flags, mailbox, name)
    content = with_whole_line_ends(octets)
    found = _RETURN_PATH.match(content)
    if found is not None:
        sender = found[1].decode("utf-8", "replace")
    if at is None:
        at = _date_of(content)
    return Incoming(content, sender, found.end() if found else 0, at, flags, mailbox, name)


def _date_of(content: bytes) -> float | None:
    """When a message was received by what its header says: the newest Received field, or else Date."""
    head = content[:SCAN_LIMIT]
    end = header_end(head)
    dates: dict[bytes, bytes] = {}
    for name, value in _DATES.findall(head if end < 0 else head[:end]):
        dates.setdefault(name.lower(), value)
    for text in (dates.get(b"received", b"").rpartition(b";")[2], dates.get(b"date", b"")):
        try:
            return parsedate_to_datetime(text.decode("ascii", "replace").replace("\r\n", "").strip()).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None
