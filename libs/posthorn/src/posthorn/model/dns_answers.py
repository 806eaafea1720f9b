"""DNS answers collected while a domain is checked.

Theory: the check requests the answers it needs, and is interrupted by Wanted where one is not known
yet. The caller looks up what is wanted, concurrently, and runs the check again with more answers.
So the check does no I/O, and needs as many rounds as the longest chain of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

type Question = tuple[str, str]
"""A name and a type."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A lookup that failed."""

    reason: str


class Wanted(Exception):
    """These questions must be answered first."""

    def __init__(self, questions: frozenset[Question]) -> None:
        super().__init__(", ".join(f"{kind} of {name}" for name, kind in sorted(questions)))
        self.questions = questions


class Unanswered(Exception):
    """A needed answer is not available now; the text says why."""


class Answers:
    """The answers known so far."""

    def __init__(self, known: Mapping[Question, tuple[str, ...] | Failed]) -> None:
        self._known = known

    def need(self, *questions: Question) -> None:
        """Raise Wanted for those of the questions that have not been looked up."""
        unknown = frozenset(questions) - self._known.keys()
        if unknown:
            raise Wanted(unknown)

    def get(self, name: str, kind: str) -> tuple[str, ...]:
        """Return the records; empty if there are none. Raises Wanted, Unanswered."""
        self.need((name, kind))
        answer = self._known[name, kind]
        if isinstance(answer, Failed):
            raise Unanswered(answer.reason)
        return answer

    def addresses(self, host: str) -> frozenset[str]:
        """Return the addresses of a host. Raises Wanted; Unanswered where the lookup of one
        family failed and the other is empty."""
        self.need((host, "A"), (host, "AAAA"))
        found: set[str] = set()
        failure: Unanswered | None = None
        for kind in ("A", "AAAA"):
            try:
                found.update(self.get(host, kind))
            except Unanswered as fault:
                failure = fault
        if failure is not None and not found:
            raise failure
        return frozenset(found)
