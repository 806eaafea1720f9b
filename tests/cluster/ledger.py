"""The account of a run: what senders were told, beside what is in the mailboxes. Pure, so that
it is tested by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

COLUMNS = (
    "phase",
    "s",
    "tries",
    "250",
    "4xx",
    "5xx",
    "refused",
    "lost",
    "doubled",
    "longest pause s",
)


@dataclass(slots=True)
class Phase:
    """What senders and clients met while something was done to the release."""

    name: str
    began: float
    ended: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    """Attempts by their answer: a code, ``refused`` or ``unknown``."""
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    pause_seconds: float = 0.0
    """The longest time without any 250 that began in this phase."""
    clients: dict[str, Counter[str]] = field(default_factory=dict)
    """Calls of mail clients and programs: ``well`` and ``failed``, by what they are."""
    fault: str = ""
    """Why the phase itself did not come to its end."""

    @property
    def tries(self) -> int:
        """All attempts."""
        return self.answers.total()

    def codes(self, digit: str) -> int:
        """Attempts whose code begins with a digit."""
        return sum(count for answer, count in self.answers.items() if answer.startswith(digit))

    def document(self) -> dict[str, Any]:
        """Return the phase for programs."""
        return {name: getattr(self, name) for name in self.__slots__} | {"tries": self.tries}

    def row(self) -> list[str]:
        """The phase as a row of the table."""
        numbers = [self.tries, self.answers["250"], self.codes("4"), self.codes("5")]
        numbers += [
            self.answers["refused"] + self.answers["unknown"],
            len(self.lost),
            len(self.doubled),
        ]
        return [
            self.name,
            f"{self.ended - self.began:.0f}",
            *(f"{n:,}" for n in numbers),
            f"{self.pause_seconds:.1f}",
        ]


@dataclass(slots=True)
class Account:
    """The whole run."""

    phases: list[Phase]
    altered: list[int]
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> Phase:
        """All phases as one."""
        whole = (
            Phase("all", self.phases[0].began, self.phases[-1].ended)
            if self.phases
            else Phase("all", 0)
        )
        for phase in self.phases:
            whole.answers += phase.answers
            whole.lost += phase.lost
            whole.doubled += phase.doubled
            whole.pause_seconds = max(whole.pause_seconds, phase.pause_seconds)
            for client, calls in phase.clients.items():
                whole.clients[client] = whole.clients.get(client, Counter()) + calls
        return whole

    def complaints(self) -> list[str]:
        """What must not be; empty after a good run."""
        total = self.total
        found = [f"{name}: {fault}" for name, fault in self.faults.items()]
        if not total.answers["250"]:
            found.append("nothing was accepted")
        for what, numbers in (
            ("lost", total.lost),
            ("doubled", total.doubled),
            ("altered", self.altered),
        ):
            if numbers:
                found.append(f"{what}: {len(numbers)}, such as {numbers[:5]}")
        if total.codes("5"):
            found.append(
                f"permanent refusals: { ({a: c for a, c in total.answers.items() if a.startswith('5')}) }"
            )
        return found

    def table(self) -> str:
        """The run as a table in Markdown."""
        rows = [[*COLUMNS], *(phase.row() for phase in self.phases), self.total.row()]
        rows.insert(1, ["---"] * len(COLUMNS))
        return "".join("| " + " | ".join(row) + " |\n" for row in rows)

    def clients_table(self) -> str:
        """What POP3, submission and API clients met, as a table in Markdown."""
        names = list(self.total.clients)
        rows = [
            ["phase", *(f"{name}: calls / failed" for name in names)],
            ["---"] * (len(names) + 1),
        ]
        for phase in (*self.phases, self.total):
            calls = [phase.clients.get(name, Counter()) for name in names]
            rows.append([phase.name, *(f"{each.total()} / {each['failed']}" for each in calls)])
        return "".join("| " + " | ".join(row) + " |\n" for row in rows)

    def document(self) -> dict[str, Any]:
        """The run for programs."""
        return {
            "phases": [phase.document() for phase in self.phases],
            "total": self.total.document(),
            "altered": self.altered,
            "complaints": self.complaints(),
        }


def account(
    lines: Iterable[str], found: dict[int, int], altered: list[int] | None = None
) -> Account:
    """Balance a ledger with the mailboxes: ``found`` tells how often each message is there.

    A message is lost when it got 250 and is nowhere; doubled when it is there more often than once.
    One whose fate was not told, or that got 4xx, may be there once.
    """
    phases: list[Phase] = []
    accepted: list[tuple[float, Phase]] = []
    for line in lines:
        entry = json.loads(line)
        if "phase" in entry:
            if phases:
                phases[-1].ended = entry["at"]
            if entry["phase"] != "end":
                phases.append(Phase(entry["phase"], entry["at"]))
            continue
        if not phases:
            continue
        phase = phases[-1]
        phase.ended = max(phase.ended, entry["at"])
        if "client" in entry:
            phase.clients.setdefault(entry["client"], Counter())[
                "well" if entry["well"] else "failed"
            ] += 1
            continue
        phase.answers[entry["answer"]] += 1
        if entry["answer"] == "250":
            accepted.append((entry["at"], phase))
            if not found.get(entry["id"]):
                phase.lost.append(entry["id"])
        if found.get(entry["id"], 0) > 1:
            phase.doubled.append(entry["id"])
    accepted.sort(key=lambda each: each[0])
    for (before, phase), (after, _) in pairwise(accepted):
        phase.pause_seconds = max(phase.pause_seconds, after - before)
    return Account(phases, altered or [])
