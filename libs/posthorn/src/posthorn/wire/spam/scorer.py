"""The score of a message by all rules.

Rules:

- Rules on form stand back if the author is authenticated and aligned: honest mail in bulk has the
  same forms.
- A list counts by the points of its listing; all lists together count ``MOST_LIST_POINTS`` at
  most, so that outside sources alone do not refuse a message.
- Fields that are missing count ``MOST_MISSING_POINTS`` together: a program that writes no header
  lacks them all, for one reason.
- GTUBE, the text by which a filter is tried out, is 10 points and nothing else: enough for Junk,
  too little for a refusal.
- A rule that fails in itself is left out; a fault of ours marks no message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from posthorn.wire.spam import (
    rules_attachments,
    rules_authentication,
    rules_html,
    rules_links,
    rules_names,
    rules_sender,
)
from posthorn.wire.spam.rule import Case, Match, Rule, shown

GTUBE: Final = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
"""The Generic Test for Unsolicited Bulk Email."""
GTUBE_POINTS: Final = 10.0
MOST_LIST_POINTS: Final = 9.0
MOST_MISSING_POINTS: Final = 3.5
_MISSING: Final = frozenset(
    {
        *("FROM_INVALID", "DATE_MISSING", "MESSAGE_ID_MISSING", "SUBJECT_MISSING"),
        "RECIPIENTS_MISSING",
    }
)

RULES: Final[tuple[Rule, ...]] = (
    *rules_authentication.RULES,
    *rules_sender.RULES,
    *rules_names.RULES,
    *rules_attachments.RULES,
    *rules_links.RULES,
    *rules_html.RULES,
)
"""All rules with points of their own; beside them there are GTUBE and the listings."""


def score(case: Case) -> list[Match]:
    """Return the rules that match a message, those with the most points first. Never fails."""
    if GTUBE in case.facts.text:
        return [Match("GTUBE", GTUBE_POINTS, "the test text for filters")]
    is_shown = bool(case.authentication.author)
    found = [
        Match(rule.name, rule.points, shown(detail))
        for rule in _applicable(is_shown, bool(case.facts.files), bool(case.facts.links))
        if (detail := rule.check(case)) is not None
    ]
    found = [*_bounded(found), *_listings(case)]
    return sorted(found, key=lambda each: -each.points)


@lru_cache(8)
def _applicable(is_shown: bool, has_files: bool, has_links: bool) -> tuple[Rule, ...]:
    """Return the rules that can match such a message."""
    without = (() if has_files else rules_attachments.RULES) + (
        () if has_links else rules_links.RULES
    )
    return tuple(each for each in RULES if not (each.is_shape and is_shown) and each not in without)


def _bounded(matches: Sequence[Match]) -> Iterator[Match]:
    left = MOST_MISSING_POINTS
    for match in sorted(matches, key=lambda each: -each.points):
        if match.name in _MISSING:
            points = min(match.points, left)
            left -= points
            yield match._replace(points=round(points, 2))
        else:
            yield match


def listing_name(zone: str) -> str:
    """Return the name of the rule of a zone: ``LISTED_BL_EXAMPLE_NET``."""
    return "LISTED_" + re.sub(r"[^A-Z0-9]+", "_", zone.upper())[:60]


def _listings(case: Case) -> Iterator[Match]:
    """Return a match for each zone: its strongest listing."""
    strongest: dict[str, Match] = {}
    for each in case.listings:
        match = Match(listing_name(each.zone), each.points, shown(f"{each.subject}: {each.reason}"))
        before = strongest.get(each.zone)
        if before is None or abs(before.points) < abs(match.points):
            strongest[each.zone] = match
    left = MOST_LIST_POINTS
    for match in sorted(strongest.values(), key=lambda each: -each.points):
        points = min(match.points, left)
        left -= max(points, 0.0)
        yield match._replace(points=round(points, 2))
