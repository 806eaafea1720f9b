"""Rules on HELO, dates, identifiers and address fields (RFC 5321, RFC 5322)."""

from __future__ import annotations

import ipaddress
import re
from email.utils import parsedate_to_datetime
from functools import lru_cache

from posthorn.wire.auth.results import Outcome
from posthorn.wire.spam.rule import Case, Rule

_DAY = 86_400.0
_FUTURE_SECONDS = _DAY
_PAST_SECONDS = 10 * _DAY
_MESSAGE_ID = re.compile(r"<[^<>\s@]+@[^<>\s@]+>\Z")
_RANDOM_DIGITS = re.compile(r"\d{6,}")
_TOKENS_OF_ADDRESS = re.compile(r"\d{1,3}[.-]\d{1,3}[.-]\d{1,3}[.-]\d{1,3}")


def _helo_address(case: Case) -> str | None:
    """HELO with a bare address (RFC 5321 §4.1.3 wants brackets)."""
    if not case.helo[-1:].isdigit() and ":" not in case.helo:
        return None
    try:
        return str(ipaddress.ip_address(case.helo))
    except ValueError:
        return None


def _helo_ours(case: Case) -> str | None:
    """A stranger poses as us. A host of a domain of ours, such as its web server, is shown by SPF
    of HELO or by its confirmed name."""
    helo = case.helo.rstrip(".").lower()
    if helo not in case.own_domains or case.is_internal:
        return None
    found = case.authentication
    is_shown = any(each.identity == "helo" and each.outcome is Outcome.PASS for each in found.spf)
    is_named = found.iprev.name == helo or found.iprev.name.endswith(f".{helo}")
    return None if is_shown or is_named else helo


def _helo_plain(case: Case) -> str | None:
    helo = case.helo.rstrip(".")
    is_odd = bool(helo) and "." not in helo and ":" not in helo and not helo.startswith("[")
    return helo if is_odd else None


def _dynamic_name(case: Case) -> str | None:
    """The confirmed name holds the address, as those of customers' lines do."""
    name = case.authentication.iprev.name
    return name if _TOKENS_OF_ADDRESS.search(name) else None


def _date(case: Case) -> float | None:
    """Return how many seconds the Date field is after the arrival; None if it is not known."""
    value = case.facts.fields.first("date")
    if not value or not case.received_at:
        return None
    at = _seconds(value[:100])
    return None if at is None else at - case.received_at


@lru_cache(16)  # three rules ask for it
def _seconds(date: str) -> float | None:
    """Return a date as seconds since the epoch; None if it cannot be read."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _date_missing(case: Case) -> str | None:
    return None if case.facts.fields.has("date") else ""


def _date_invalid(case: Case) -> str | None:
    value = case.facts.fields.first("date")
    is_odd = bool(value) and bool(case.received_at) and _date(case) is None
    return value if is_odd else None


def _date_future(case: Case) -> str | None:
    late = _date(case)
    return f"{late / 3600:.0f} hours ahead" if late is not None and late > _FUTURE_SECONDS else None


def _date_past(case: Case) -> str | None:
    late = _date(case)
    return f"{-late / _DAY:.0f} days ago" if late is not None and late < -_PAST_SECONDS else None


def _id_missing(case: Case) -> str | None:
    return None if case.facts.fields.first("message-id") else ""


def _id_invalid(case: Case) -> str | None:
    value = case.facts.fields.first("message-id")
    return value if value and not _MESSAGE_ID.match(value) else None


def _from_missing(case: Case) -> str | None:
    return None if case.facts.author.domain else case.facts.fields.first("from")


def _from_many(case: Case) -> str | None:
    """More than one From, Subject, Date or Message-ID field (RFC 5322 §3.6)."""
    fields = case.facts.fields
    twice = [
        each for each in ("from", "subject", "date", "message-id") if len(fields.all(each)) > 1
    ]
    return ", ".join(twice) if twice else None


def _from_several(case: Case) -> str | None:
    """Authors of several domains: DMARC judges none of them (RFC 9989), readers see one."""
    domains = dict.fromkeys(each.domain for each in case.facts.authors if each.domain)
    return ", ".join(domains) if len(domains) > 1 else None


def _subject_missing(case: Case) -> str | None:
    return None if case.facts.subject.strip() else ""


def _subject_capitals(case: Case) -> str | None:
    letters = [each for each in case.facts.subject if each.isalpha()]
    is_loud = len(letters) >= 10 and sum(each.isupper() for each in letters) > 0.9 * len(letters)
    return case.facts.subject if is_loud else None


def _recipients_missing(case: Case) -> str | None:
    fields = case.facts.fields
    return None if fields.first("to") or fields.first("cc") else ""


def _reply_elsewhere(case: Case) -> str | None:
    """Reply-To of a mailbox provider, From of another domain: answers go to a stranger."""
    author = case.facts.author.domain
    for each in case.facts.reply_to:
        if author and each.domain in _FREE and each.domain != author and not _is_list(case):
            return each.address
    return None


def _author_digits(case: Case) -> str | None:
    address = case.facts.author.address
    return address if _RANDOM_DIGITS.search(address.partition("@")[0]) else None


def _precedence(case: Case) -> str | None:
    fields = case.facts.fields
    return "" if _is_list(case) and fields.has("list-unsubscribe") else None


def _is_list(case: Case) -> bool:
    fields = case.facts.fields
    return fields.has("list-id") or fields.has("list-post") or fields.has("mailing-list")


_FREE = frozenset(
    [
        "gmail.com",
        "outlook.com",
        "hotmail.com",
        "yahoo.com",
        "aol.com",
        "gmx.com",
        "gmx.de",
        "mail.ru",
        "yandex.ru",
        "yandex.com",
        "qq.com",
        "163.com",
        "protonmail.com",
        "proton.me",
        "icloud.com",
        "live.com",
        "mail.com",
    ]
)

RULES = (
    Rule("HELO_ADDRESS", 1.5, "The client says HELO with a bare IP address.", _helo_address),
    Rule("HELO_OURS", 2.5, "The client says HELO with a name of ours.", _helo_ours),
    Rule("HELO_PLAIN", 0.7, "The client says HELO with a name without a domain.", _helo_plain),
    Rule(
        "DYNAMIC_NAME",
        1.0,
        "The client's name holds its address, as those of customers' lines do.",
        _dynamic_name,
    ),
    Rule("DATE_MISSING", 1.0, "There is no Date field.", _date_missing),
    Rule("DATE_INVALID", 1.0, "The Date field cannot be read.", _date_invalid),
    Rule("DATE_FUTURE", 2.0, "The Date field is more than a day after the arrival.", _date_future),
    Rule("DATE_PAST", 0.7, "The Date field is more than ten days before the arrival.", _date_past),
    Rule("MESSAGE_ID_MISSING", 1.2, "There is no Message-ID field.", _id_missing),
    Rule("MESSAGE_ID_INVALID", 0.7, "The Message-ID is not one of RFC 5322.", _id_invalid),
    Rule("FROM_INVALID", 2.0, "The From field names no address.", _from_missing),
    Rule(
        "FROM_SEVERAL",
        5.5,  # one address each of a bank and of a forger would pass by p=reject
        "There are authors of several domains, of which DMARC judges none.",
        _from_several,
    ),
    Rule("FIELDS_REPEATED", 1.5, "A field that may be there once is there twice.", _from_many),
    Rule("SUBJECT_MISSING", 0.7, "There is no subject.", _subject_missing, is_shape=True),
    Rule(
        "SUBJECT_CAPITALS",
        1.0,
        "The subject is written in capitals.",
        _subject_capitals,
        is_shape=True,
    ),
    Rule(
        "RECIPIENTS_MISSING",
        1.0,
        "There is neither a To nor a Cc field.",
        _recipients_missing,
        is_shape=True,
    ),
    Rule(
        "REPLY_ELSEWHERE",
        1.2,
        "Answers go to a mailbox provider that is not the author's.",
        _reply_elsewhere,
        is_shape=True,
    ),
    Rule(
        "AUTHOR_DIGITS",
        0.5,
        "The author's address holds a long number.",
        _author_digits,
        is_shape=True,
    ),
    Rule("MAILING_LIST", -0.3, "It comes through a mailing list that can be left.", _precedence),
)
