"""The Date field of a message (RFC 5322 §3.3, §4.3), as senders really write it.

Rules: nothing fails. A missing or invalid time is midnight, a missing or unknown zone is UTC; a day
that the calendar does not have makes the whole date invalid.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_LONGEST = 200
_COMMENT = re.compile(r"\([^()]*\)")
_DATE = re.compile(
    r"(?<![0-9])(?P<day>[0-9]{1,2})[\s-]+(?P<month>[A-Za-z]{3})[A-Za-z]{0,6}[\s-]+(?P<year>[0-9]{2,4})"
    r"(?![0-9])"
    r"(?:\s+(?P<hour>[0-9]{1,2})[:.](?P<minute>[0-9]{2})(?:[:.](?P<second>[0-9]{2}))?)?"
    r"(?:\s*(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})|\s+(?P<zone>[A-Za-z]{1,5}))?"
)
_ASCTIME = re.compile(
    r"(?P<month>[A-Za-z]{3})\s+(?P<day>[0-9]{1,2})\s+"
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
    r"(?:\s+(?P<zone>[A-Za-z]{1,5}))?\s+(?P<year>[0-9]{4})"
    r"(?:\s*(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2}))?"
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_ZONES = {"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}
"""Hours of the names of RFC 5322 §4.3; every other one is UTC, since their meanings differ."""


def sent_at(value: str) -> datetime | None:
    """Return the moment that an unfolded Date field tells, in the zone of the sender; None when it
    is not valid."""
    text = value[:_LONGEST]
    if "(" in text:
        text = _COMMENT.sub(" ", text)
    found = _DATE.search(text) or _ASCTIME.search(text)
    if found is None or (month := _MONTHS.get(found["month"].lower())) is None:
        return None
    zone = _zone(found)
    year = _year(found["year"])
    if not 1 < year < 9999:  # the ends have no room for time zones
        return None
    try:
        day = datetime(year, month, int(found["day"]), tzinfo=zone)
    except ValueError:
        return None
    if found["hour"] is None:
        return day
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    if hour > 23 or minute > 59 or second > 60:
        return day
    return day.replace(hour=hour, minute=minute, second=min(second, 59))  # 60 is a leap second


def _year(text: str) -> int:
    year = int(text)
    if len(text) == 2:  # RFC 5322 §4.3
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(text) == 3 else year


def _zone(found: re.Match[str]) -> timezone:
    if found["sign"]:
        minutes = int(found["hours"]) * 60 + int(found["minutes"])
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if found["sign"] == "-" else minutes))
    hours = _ZONES.get((found["zone"] or "").lower(), 0)
    return timezone(timedelta(hours=hours)) if hours else UTC
