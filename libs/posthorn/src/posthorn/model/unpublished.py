"""Unpublished changes: the subjects whose changes are not in the directory yet (ADR 22).

The mark is stored in the directory's bucket under ``directory_entry.BEHIND_KEY``. An address or
domain that it covers and that the directory does not hold may still exist: the answer is transient,
never permanent (promise 3).

The set is bounded: many subjects of one domain become the domain, many domains become everything.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

MOST_OF_DOMAIN = 20
"""Most subjects named of one domain; beyond, the whole domain is covered."""
MOST_NAMED = 256
"""Most domains and subjects named; beyond, everything is covered."""


@dataclass(frozen=True, slots=True)
class Unpublished:
    """Subjects that may be missing in the directory. A subject is a canonical address or
    ``@domain``."""

    subjects: frozenset[str] = frozenset()
    domains: frozenset[str] = field(default=frozenset())
    """Domains of which every subject is covered."""
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.everything or self.domains or self.subjects)

    def covers(self, subject: str) -> bool:
        """Return whether a change of the subject may be missing in the directory."""
        return (
            self.everything
            or subject in self.subjects
            or subject.rpartition("@")[2] in self.domains
        )

    def joined(self, other: Unpublished) -> Unpublished:
        """Return the union of both."""
        if self.everything or other.everything:
            return EVERYTHING
        return of_subjects(self.subjects | other.subjects, self.domains | other.domains)


EVERYTHING = Unpublished(everything=True)
NOTHING = Unpublished()


def of_subjects(subjects: Iterable[str], domains: Collection[str] = ()) -> Unpublished:
    """Return the bounded form of these subjects, and of all subjects of these domains."""
    whole = set(domains)
    named: defaultdict[str, set[str]] = defaultdict(set)
    for subject in subjects:
        domain = subject.rpartition("@")[2]
        if domain not in whole:
            named[domain].add(subject)
            if len(named[domain]) > MOST_OF_DOMAIN:
                whole.add(domain)
                del named[domain]
        if len(whole) + len(named) > MOST_NAMED:
            break
    if len(whole) + len(named) > MOST_NAMED:
        return EVERYTHING
    single = frozenset[str]().union(*named.values())
    if len(whole) + len(single) > MOST_NAMED:
        return Unpublished(domains=frozenset(whole | named.keys()))
    return Unpublished(single, frozenset(whole))


def encode_unpublished(unpublished: Unpublished) -> bytes:
    """Return the encoding of the mark in the bucket."""
    document = {
        "all": unpublished.everything,
        "domains": sorted(unpublished.domains),
        "subjects": sorted(unpublished.subjects),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode_unpublished(data: bytes) -> Unpublished:
    """Decode a mark. An invalid one covers everything, so that it never causes a permanent
    refusal."""
    try:
        document = json.loads(data)
        if document["all"]:
            return EVERYTHING
        subjects, domains = frozenset(document["subjects"]), frozenset(document["domains"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return EVERYTHING
    if not all(isinstance(each, str) for each in subjects | domains):
        return EVERYTHING
    return Unpublished(subjects, domains)
