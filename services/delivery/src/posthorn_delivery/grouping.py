"""Division of a batch: into groups that are resolved at a time, and into transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from posthorn_delivery.in_flight import Group, Item

MOST_ROWS = 2_000
"""Approximate limit of recipient rows in one transaction."""
MOST_RECIPIENTS = 1_000
"""Approximate number of recipients resolved at a time."""


def by_recipients(items: Iterable[Item]) -> list[Group]:
    """Return messages divided into groups of about ``MOST_RECIPIENTS`` recipients."""
    groups: list[Group] = []
    named = 0
    for item in items:
        named += len(item.envelope.recipients)
        if not groups or named > MOST_RECIPIENTS:
            groups.append(Group([]))
            named = len(item.envelope.recipients)
        groups[-1].items.append(item)
    return groups


def by_rows(items: Sequence[Item]) -> list[list[Item]]:
    """Return messages divided into transactions of about ``MOST_ROWS`` rows."""
    parts: list[list[Item]] = []
    rows = 0
    for item in items:
        rows += item.weight
        if not parts or rows > MOST_ROWS:
            parts.append([])
            rows = item.weight
        parts[-1].append(item)
    return parts
