"""Dates of IMAP (RFC 9051 §9, date and date-time).

Rules:

- Clients write the day with one digit, with a blank before it or without; all of that is taken.
- We write two digits always: clients expect a fixed width.
- A date that the calendar does not have is a ValueError, never another date.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
           b"Dec")  # fmt: skip
_NUMBERS = {month.lower(): number for number, month in enumerate(_MONTHS, 1)}
_DATE = re.compile(rb" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_TIME = re.compile(rb" ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})")


def parse_date(text: bytes) -> date:
    """Parse a date without time, as in SEARCH. Raises ValueError."""
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError("invalid date")
    return _date(found)


def parse_date_time(text: bytes) -> datetime:
    """Parse a date-time without its quotes, as in APPEND; return it with its zone. Raises
    ValueError."""
    day = _DATE.match(text)
    time = _TIME.fullmatch(text, day.end()) if day else None
    if day is None or time is None:
        raise ValueError("invalid date and time")
    hour, minute, second = (int(time[group]) for group in (1, 2, 3))
    zone_minutes = int(time[5]) * 60 + int(time[6])
    if int(time[6]) > 59 or zone_minutes > 24 * 60 - 1:
        raise ValueError("invalid time zone")
    zone = timezone(timedelta(minutes=-zone_minutes if time[4] == b"-" else zone_minutes))
    on = _date(day)
    # a leap second (60) is the second before it
    return datetime(on.year, on.month, on.day, hour, minute, second - (second == 60), tzinfo=zone)


def format_date_time(moment: datetime) -> bytes:
    """Return a date-time in quotes, in the zone of ``moment``; without one it is UTC."""
    offset = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).utcoffset() or timedelta()
    minutes = int(offset.total_seconds()) // 60
    hours, minutes_left = divmod(abs(minutes), 60)
    return b'"%02d-%s-%04d %02d:%02d:%02d %s%02d%02d"' % (
        moment.day,
        _MONTHS[moment.month - 1],
        moment.year,
        moment.hour,
        moment.minute,
        moment.second,
        b"-" if minutes < 0 else b"+",
        hours,
        minutes_left,
    )


def _date(found: re.Match[bytes]) -> date:
    year, month = int(found[3]), _NUMBERS.get(found[2].lower())
    if month is None or not 1 < year < 9999:  # the ends have no room for time zones
        raise ValueError("invalid date")
    return date(year, month, int(found[1]))
