"""The ``From `` line of an mbox file, in the forms that mail programs write.

The date is ctime's (``Sat Nov  7 09:10:11 2026``), with a zone before or behind the year, with the
year before the time, RFC 5322's or ISO 8601's; Google's and Netscape's lines have none. The sender
may hold blanks, quotes, or ``at`` for ``@``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from posthorn.wire.message.trace import MONTHS

_MONTH = "|".join(MONTHS).encode()
_CLOCK = rb"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))?(?:[.,]\d+)?"
_FORMS = (
    # Nov  7 09:10:11 2026; Nov  7 09:10:11 +0100 2026; Nov  7 09:10 CET 2026; 07 Nov 09:10:11 2026
    re.compile(
        rb"(?:(?P<day>\d{1,2}) +)?\b(?P<month>"
        + _MONTH
        + rb")\b,? +(?(day)|(?P<other>\d{1,2}),? +)"
        + _CLOCK
        + rb"(?P<rest>(?: +[A-Za-z+(-][\w+():-]*)* +(?P<year>\d{4})\b.*)",
        re.DOTALL,
    ),
    # Apr 12 2025 15:59:28; 12 Apr 2025 15:59:28 +0200
    re.compile(
        rb"(?:(?P<day>\d{1,2})[ -]+)?\b(?P<month>"
        + _MONTH
        + rb")\b,?[ -]+(?(day)|(?P<other>\d{1,2}),? +)(?P<year>\d{4}),? +"
        + _CLOCK
        + rb"(?P<rest>.*)",
        re.DOTALL,
    ),
    re.compile(
        rb"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?P<other>)[T ]"
        + _CLOCK
        + rb"(?P<rest>.*)",
        re.DOTALL,
    ),
)
_WEEKDAY = re.compile(rb"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s*\Z")
_ZONE = re.compile(rb"([+-])(\d\d):?(\d\d)\b")
_LOOKS_DATED = re.compile(rb"\d{1,2}:\d\d.*\b\d{4}\b|\b\d{4}\b.*\d{1,2}:\d\d", re.DOTALL)
_AT = re.compile(r"(\S+) at (\S+\.\S+)\Z")
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")
_USUAL_FIELDS = re.compile(
    rb"(?:received|return-path|delivered-to|from|to|cc|bcc|date|subject|message-id|sender|reply-to|mime-version|content-[\w-]+"
    rb"|status|resent-[\w-]+|dkim-signature|authentication-results|arc-[\w-]+|envelope-to|delivery-date|in-reply-to|references"
    rb"|list-[\w-]+|lines|x-[\w-]+|mbox-[\w-]+)\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class FromLine:
    """The parts of such a line."""

    sender: str
    """An address as written; empty when there is none."""
    date: float | None
    """Seconds since the epoch, UTC without a zone; None without a valid date."""
    looks_dated: bool
    """Whether it contains a time and a year, whether a valid date or not."""
    names_sender: bool
    """Whether the text before the date is an address, ``-`` or ``MAILER-DAEMON``."""


def parse_from_line(line: bytes) -> FromLine:
    """Parse a line that begins with ``From``."""
    text = line.removeprefix(b"From ").rstrip(b"\r\n")
    date: float | None = None
    before = text
    for form in _FORMS:
        found = form.search(text)
        if found is not None and (date := _date(found)) is not None:
            before = _WEEKDAY.sub(b"", text[: found.start()])
            break
    else:
        if clock := re.search(rb"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b|\d{1,2}:\d\d", text):
            before = text[: clock.start()]
    named = before.decode("utf-8", "replace").strip()
    if at := _AT.match(named):
        named = f"{at[1]}@{at[2]}"
    sender = named.strip('"<>') if "@" in named and not re.search(r"\s", named) else ""
    return FromLine(
        sender,
        date,
        _LOOKS_DATED.search(text) is not None,
        bool(sender) or named in ("-", "MAILER-DAEMON"),
    )


def begins_message(line: FromLine, following: bytes, *, after_empty: bool) -> bool:
    """Return whether the line begins a message. ``following``: the beginning of the next line."""
    if following.startswith((b"From ", b">From ")):
        return after_empty and line.names_sender
    field = _FIELD.match(following)
    if field is None:
        return after_empty and line.date is not None
    if line.date is not None:
        return True
    return after_empty and (line.names_sender or _USUAL_FIELDS.match(field[1]) is not None)


def _date(found: re.Match[bytes]) -> float | None:
    month = found["month"].decode()
    try:
        moment = datetime(
            int(found["year"]),
            MONTHS.index(month) + 1 if month in MONTHS else int(month),
            int(found["day"] or found["other"]),
            int(found["hour"]),
            int(found["minute"]),
            int(found["second"] or 0),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    zone = _ZONE.search(found["rest"])
    shift = (
        0 if zone is None else (int(zone[2]) * 60 + int(zone[3])) * (-60 if zone[1] == b"+" else 60)
    )
    return moment.timestamp() + shift
