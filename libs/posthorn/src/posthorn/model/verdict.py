"""The verdict on a message: what the scanning tier found, kept in the ingest record, the trace and
the message row.

A record without a verdict has not been scanned: a state that people can see and count. Fields may
be added; a reader ignores those it does not know and uses defaults for those that are missing. A
word that a later release may have written is read as the one that concludes nothing: mail that
waits while a release is rolled back must not be parked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from typing import Any, cast

from posthorn.wire.auth.results import (
    Arc,
    Authentication,
    Dkim,
    Dmarc,
    Iprev,
    Outcome,
    Policy,
    Spf,
)

MOST_RULES = 60
"""Rules that a verdict keeps, those with the most points first."""
RSPAMD = "RSPAMD_"
"""Prefix of the names of rspamd's rules."""
DETAIL_LIMIT = 200
"""Characters of a rule's or engine's detail."""
_KEPT_RESULTS = 500


class VerdictError(ValueError):
    """The document is not a verdict."""


class EngineState(StrEnum):
    """What an engine did."""

    OK = "ok"
    SKIPPED = "skipped"
    """Not asked: by the policy, or not applicable."""
    TOO_LARGE = "too-large"
    TIMEOUT = "timeout"
    DOWN = "down"
    """It does not answer, or answers with an error."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that matched."""

    name: str
    """In capitals, such as ``DMARC_FAIL``; those of rspamd begin with ``RSPAMD_``."""
    points: float
    detail: str = ""
    """What matched, for people; free of control characters, DETAIL_LIMIT at most."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine's part in a verdict."""

    name: str
    """``builtin``, ``rspamd`` or ``clamav``."""
    state: EngineState
    milliseconds: int = 0
    detail: str = ""


class ReportKind(StrEnum):
    """What an automatic report is, judged by its shape."""

    DMARC = "dmarc"
    TLS = "tls"
    ABUSE = "abuse"
    """ARF (RFC 5965)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about a message as a whole; recipients may differ in what they do with it."""

    scanned_at: float
    """Seconds since the epoch."""
    authentication: Authentication = field(default_factory=Authentication)
    rules: tuple[Rule, ...] = ()
    engines: tuple[Engine, ...] = ()
    virus: str = ""
    """The signature's name; empty if none was found."""
    is_complete: bool = True
    """False if an engine that the policy asks for did not judge the message."""
    gave_up: bool = False
    """It was delivered without being scanned, because the scanning tier was away too long."""
    trusted_sealer: str = ""
    """The ARC sealer on whose word a failed DMARC check is not enforced."""
    report: ReportKind | None = None
    hold: bool = False
    """An engine is away whose setting is ``hold``: the message is to wait in the unscanned lane."""
    defer: bool = False
    """An engine is away whose setting is ``defer``: the message is to be refused with 451."""
    come_again: bool = False
    """The author's domain publishes p=reject, a lookup that could have shown the author failed, and
    the client was not told yet: the message is to be refused with 451 if every recipient's policy
    enforces DMARC."""
    _document: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Its encoding, once somebody asked for it."""

    @property
    def score(self) -> float:
        """The sum of the points, rounded to two digits."""
        return round(sum(rule.points for rule in self.rules), 2)


def encode_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as a JSON object; fields with their default are left out. Its parts are not
    to be changed: they are shared by all who ask."""
    if not verdict._document:
        verdict._document.update(_encoded(verdict))
    return dict(verdict._document)


def _encoded(verdict: Verdict) -> dict[str, Any]:
    document: dict[str, Any] = {
        "at": verdict.scanned_at,
        "auth": encode_authentication(verdict.authentication),
        "rules": [[rule.name, rule.points, rule.detail] for rule in verdict.rules],
        "engines": [
            [each.name, each.state.value, each.milliseconds, each.detail]
            for each in verdict.engines
        ],
    }
    if verdict.virus:
        document["virus"] = verdict.virus
    if not verdict.is_complete:
        document["complete"] = False
    if verdict.gave_up:
        document["gave_up"] = True
    if verdict.trusted_sealer:
        document["sealer"] = verdict.trusted_sealer
    if verdict.report is not None:
        document["report"] = verdict.report.value
    for name in ("hold", "defer", "come_again"):
        if getattr(verdict, name):
            document[name] = True
    return document


def decode_verdict(document: Mapping[str, Any]) -> Verdict:
    """Return the verdict that a JSON object holds. Raises VerdictError."""
    try:
        return Verdict(
            scanned_at=float(document["at"]),
            authentication=decode_authentication(document["auth"]),
            rules=tuple([_rule(*each) for each in document.get("rules", ())]),
            engines=tuple([_engine(*each) for each in document.get("engines", ())]),
            virus=str(document.get("virus", "")),
            is_complete=bool(document.get("complete", True)),
            gave_up=bool(document.get("gave_up", False)),
            trusted_sealer=str(document.get("sealer", "")),
            report=_REPORTS.get(str(document.get("report"))),
            hold=bool(document.get("hold", False)),
            defer=bool(document.get("defer", False)),
            come_again=bool(document.get("come_again", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise VerdictError(f"a verdict does not read: {type(error).__name__}") from error


def _rule(name: Any, points: Any, detail: Any, *_later: Any) -> Rule:
    # null is what orjson writes for a number that is not finite
    return Rule(str(name), float(points or 0), str(detail))


def _engine(name: Any, state: Any, milliseconds: Any, detail: Any, *_later: Any) -> Engine:
    return Engine(str(name), _STATES.get(state, EngineState.DOWN), int(milliseconds), str(detail))


def encode_authentication(authentication: Authentication) -> dict[str, Any]:
    """Return authentication results as a JSON object; fields that are empty are left out."""
    return {
        "iprev": _slim(authentication.iprev),
        "spf": [_slim(each) for each in authentication.spf],
        "dkim": [_slim(each) for each in authentication.dkim],
        "dmarc": _slim(authentication.dmarc),
        "arc": _slim(authentication.arc),
    }


def decode_authentication(document: Mapping[str, Any]) -> Authentication:
    """Return the results that a JSON object holds. Raises VerdictError."""
    try:
        return Authentication(
            iprev=_whole(Iprev, document.get("iprev", {})),
            spf=tuple(_whole(Spf, each) for each in document.get("spf", ())),
            dkim=tuple(_whole(Dkim, each) for each in document.get("dkim", ())),
            dmarc=_whole(Dmarc, document.get("dmarc", {})),
            arc=_whole(Arc, document.get("arc", {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise VerdictError(f"the results do not read: {type(error).__name__}") from error


def _slim(result: Any) -> dict[str, Any]:
    """Return a result's fields that are not empty."""
    return {name: value for name in _READERS[type(result)] if (value := getattr(result, name))}


def _whole[T](kind: type[T], document: Mapping[str, Any]) -> T:
    """Return the result that a JSON object holds. Results without what is of one message alone come
    again and again, and are kept."""
    if kind is Dkim:  # it has the beginning of a signature
        return _read(kind, document)
    values = [tuple(value) if name in _LISTS else value for name, value in document.items()]
    try:
        return cast("T", _kept(cast("Hashable", kind), tuple(document), tuple(values)))
    except TypeError:  # a later release may write values of other kinds
        return _read(kind, document)


@lru_cache(_KEPT_RESULTS)
def _kept(kind: Any, names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return _read(kind, dict(zip(names, values, strict=True)))


def _read[T](kind: type[T], document: Mapping[str, Any]) -> T:
    readers = _READERS[kind]
    known = {name: readers[name](value) for name, value in document.items() if name in readers}
    return kind(**_REQUIRED[kind] | known)


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(map(str, values))


_LISTS = frozenset({"sealers", "report_to"})
_STATES = {each.value: each for each in EngineState}
_REPORTS = {each.value: each for each in ReportKind}
_OUTCOMES = {each.value: each for each in Outcome}
_POLICIES = {each.value: each for each in Policy}
_OF_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "outcome": lambda word: _OUTCOMES.get(word, Outcome.TEMPERROR),
    **dict.fromkeys(("published", "applied"), lambda word: _POLICIES.get(word, Policy.NONE)),
    **dict.fromkeys(("sealers", "report_to"), _texts),
    **dict.fromkeys(("is_testing", "spf_aligned", "dkim_aligned"), bool),
    **dict.fromkeys(("key_bits", "oldest_pass"), int),
}
# A verdict is decoded and encoded for each message: what is known of the classes is found once.
_READERS: Mapping[type, Mapping[str, Callable[[Any], Any]]] = {
    kind: {each.name: _OF_FIELDS.get(each.name, str) for each in fields(kind)}
    for kind in (Iprev, Spf, Dkim, Dmarc, Arc)
}
_REQUIRED: Mapping[type, dict[str, Any]] = {
    kind: {
        each.name: "" for each in fields(kind) if each.default is MISSING and each.name != "outcome"
    }
    for kind in _READERS
}
