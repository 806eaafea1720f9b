"""What precedes a message in APPEND and REPLACE (RFC 9051 §6.3.12, RFC 3502, RFC 6855, RFC 8508).

The message is a literal that comes in pieces and is never kept here, so these commands are parsed
as far as each literal that is announced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from posthorn.wire.imap.dates import parse_date_time
from posthorn.wire.imap.reader import BadCommand, Reader
from posthorn.wire.imap.sequence_set import LARGEST

APPENDING = frozenset({"APPEND", "REPLACE", "UID REPLACE"})
"""Commands with messages."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the messages go."""

    mailbox: str
    replaces: int | None = None
    """Number or UID of the message to remove (REPLACE)."""
    by_uid: bool = False


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """Flags and date of one message."""

    flags: tuple[str, ...] = ()
    date: datetime | None = None
    """INTERNALDATE with its zone; None for now."""
    utf8: bool = False
    """Whether the message is in ``UTF8 (…)``: its header is in UTF-8 (RFC 6855 §4)."""


def is_before_mailbox(reader: Reader, verb: str) -> bool:
    """Return whether the literal announced at the end of what is read so far is the name of the
    mailbox."""
    start = reader.at
    try:
        reader.space()
        if verb != "APPEND":
            reader.number(LARGEST)
            reader.space()
        return reader.at == len(reader.text) and not reader.at_literal()
    except BadCommand:
        return False
    finally:
        reader.at = start


def parse_target(reader: Reader, verb: str) -> Target:
    """Parse what precedes the options of the first message. Raises BadCommand."""
    reader.space()
    replaces = None
    if verb != "APPEND":
        replaces = reader.number(LARGEST, least=1)
        reader.space()
    return Target(reader.mailbox(), replaces, verb == "UID REPLACE")


def parse_options(reader: Reader) -> MessageOptions:
    """Parse the options of a message, as far as its literal. Raises BadCommand."""
    reader.space()
    flags: tuple[str, ...] = ()
    date = None
    if reader.peek() == b"(":
        flags = reader.flags()
        reader.space()
    if reader.peek() == b'"':
        try:
            date = parse_date_time(reader.string())
        except ValueError as error:
            raise BadCommand(str(error)) from None
        reader.space()
    utf8 = reader.text[reader.at :].upper() == b"UTF8 ("
    if utf8:
        reader.at = len(reader.text)
        if "UTF8=ACCEPT" not in reader.enabled:
            raise BadCommand("UTF8 needs ENABLE UTF8=ACCEPT")
    if reader.at != len(reader.text):
        raise BadCommand("expected a message as a literal")
    return MessageOptions(flags, date, utf8)
