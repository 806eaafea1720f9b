"""What is known of DNS while a domain is being judged.

Theory: who judges asks for what it needs, and is broken off by Wanted where that is not known yet. Whoever has it judge looks up
what was wanted, all at once, and has it judge anew with more known. So the judging is free of waiting, and needs as many rounds as
names lead to names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

type Question = tuple[str, str]
"""A name and a type."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A question without an answer."""

    reason: str


class Wanted(Exception):
    """These questions are to be answered first."""

    def __init__(self, questions: frozenset[Question]) -> None:
        super().__init__(", ".join(f"{kind} of {name}" for name, kind in sorted(questions)))
        self.questions = questions


class Unanswered(Exception):
    """What is needed cannot be known now; the text says why."""


class Answers:
    """What is known so far."""

    def __init__(self, known: Mapping[Question, tuple[str, ...] | Failed]) -> None:
        self._known = known

    def need(self, *questions: Question) -> None:
        """Raise Wanted for all of the questions that nobody has asked yet."""
        unknown = frozenset(questions) - self._known.keys()
        if unknown:
            raise Wanted(unknown)

    def get(self, name: str, kind: str) -> tuple[str, ...]:
        """Return the records, none where there are none. Raises Wanted, Unanswered."""
        self.need((name, kind))
        answer = self._known[name, kind]
        if isinstance(answer, Failed):
            raise Unanswered(answer.reason)
        return answer

    def addresses(self, host: str) -> frozenset[str]:
        """Return the addresses of a host. Raises Wanted; Unanswered where one family cannot be known and the other is empty."""
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
