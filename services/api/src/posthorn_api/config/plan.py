"""Declarative configuration: what must be done to come from one state to another, and in which
order.

Order: domains are made first and removed last; what leads to others (aliases, catch-alls) is set
after those are there, and let go of before they are removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from uuid import UUID

from posthorn.ports.managers import ManagedBy

DOMAIN, ACCOUNT, ALIAS, WEBHOOK, ROUTE = "domain", "account", "alias", "webhook", "route"
KINDS = (DOMAIN, ACCOUNT, ALIAS, WEBHOOK, ROUTE)
CREATE, CHANGE, DELETE = "create", "change", "delete"


@dataclass(frozen=True, slots=True)
class Present:
    """An object that is there."""

    values: Mapping[str, Any]
    version: str = ""
    handle: Any = None
    """What the services call it by, where that is not its name."""
    managed_by: ManagedBy | None = None
    policy_version: str | None = None
    """Of its filter policy, which has versions of its own; None: it cannot have one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that is to be there, with the fields that are to be set."""

    values: Mapping[str, Any]


type Objects[T] = dict[str, dict[str, T]]
"""By kind and name."""


class Phase(IntEnum):
    """When something is done."""

    DOMAINS = 0
    ACCOUNTS = 1
    ALIASES = 2
    DOMAIN_SETTINGS = 3
    REST = 4
    REMOVE_REST = 5
    REMOVE_ALIASES = 6
    REMOVE_ACCOUNTS = 7
    REMOVE_DOMAINS = 8


@dataclass(frozen=True, slots=True)
class ByManager:
    """Who applies a document."""

    tenant: UUID
    name: str | None
    """None: nobody who marks what the document names."""

    def has(self, present: Present) -> bool:
        """Return whether it has the mark of an object."""
        mark = present.managed_by
        return mark is not None and (mark.tenant, mark.manager) == (self.tenant, self.name)

    def spares(self, present: Present) -> bool:
        """Return whether it leaves an object alone that its document does not name."""
        return self.name is not None and present.managed_by is not None and not self.has(present)


_ONLY_AT_CREATION = frozenset({"dkim"})
"""Fields that say how an object is created, and mean nothing for one that is there."""
_SETTING = {
    DOMAIN: Phase.DOMAIN_SETTINGS,
    ACCOUNT: Phase.ACCOUNTS,
    ALIAS: Phase.ALIASES,
    WEBHOOK: Phase.REST,
    ROUTE: Phase.REST,
}
_REMOVAL = {
    DOMAIN: Phase.REMOVE_DOMAINS,
    ACCOUNT: Phase.REMOVE_ACCOUNTS,
    ALIAS: Phase.REMOVE_ALIASES,
    WEBHOOK: Phase.REMOVE_REST,
    ROUTE: Phase.REMOVE_REST,
}


@dataclass(slots=True)
class Step:
    """One thing to do."""

    kind: str
    name: str
    action: str
    fields: Mapping[str, Any]
    present: Present | None = None
    outcome: str = "planned"
    detail: str | None = None
    secret: str | None = None
    overrides: str | None = None
    """The manager of what it changes, who is another than applies the document."""

    @property
    def phase(self) -> Phase:
        """When it is done."""
        if self.action == DELETE:
            return _REMOVAL[self.kind]
        return (
            Phase.DOMAINS if (self.kind, self.action) == (DOMAIN, CREATE) else _SETTING[self.kind]
        )


@dataclass(slots=True)
class Plan:
    """What is to be done, in order, and what is left alone."""

    steps: list[Step] = field(default_factory=list)
    unlisted: list[tuple[str, str]] = field(default_factory=list)
    marked: list[tuple[str, str]] = field(default_factory=list)
    """What gets the manager's mark."""
    released: list[tuple[str, str]] = field(default_factory=list)
    """What loses the manager's mark and stays."""


def planned(
    present: Objects[Present], wanted: Objects[Wanted], by: ByManager, *, prune: bool
) -> Plan:
    """Compare. Kinds that are not among the wanted are not looked at."""
    plan = Plan()
    for kind in KINDS:
        if kind not in wanted:
            continue
        there = present.get(kind, {})
        for name, want in wanted[kind].items():
            found = there.get(name)
            if found is None:
                plan.steps.append(Step(kind, name, CREATE, want.values))
                continue
            differing = {
                key: value
                for key, value in want.values.items()
                if key not in _ONLY_AT_CREATION and not _equal(found.values.get(key), value)
            }
            if differing:
                plan.steps.append(Step(kind, name, CHANGE, differing, found))
        for name, found in there.items():
            if name in wanted[kind]:
                continue
            if prune and not by.spares(found):
                plan.steps.append(Step(kind, name, DELETE, {}, found))
            else:
                plan.unlisted.append((kind, name))
    plan.steps = _ordered(plan.steps)
    for step in plan.steps:
        step.overrides = _overridden(step, by)
    if by.name is not None:
        gone = {(step.kind, step.name) for step in plan.steps if step.action == DELETE}
        _compare_marks(plan, present, wanted, by, gone)
    return plan


def fields_of(want: Wanted) -> tuple[str, ...]:
    """Return the fields that a document keeps as it says, sorted."""
    return tuple(sorted(want.values.keys() - _ONLY_AT_CREATION))


def _overridden(step: Step, by: ByManager) -> str | None:
    mark = step.present.managed_by if step.present is not None else None
    if step.present is None or mark is None or by.has(step.present):
        return None
    is_met = step.action == DELETE or not set(mark.fields).isdisjoint(step.fields)
    return mark.manager if is_met else None


def _compare_marks(
    plan: Plan,
    present: Objects[Present],
    wanted: Objects[Wanted],
    by: ByManager,
    gone: Set[tuple[str, str]],
) -> None:
    for kind in KINDS:
        there, named = present.get(kind, {}), wanted.get(kind, {})
        plan.marked += [
            (kind, name) for name in named if name not in there or not by.has(there[name])
        ]
        plan.released += [
            (kind, name)
            for name, found in there.items()
            if name not in named and (kind, name) not in gone and by.has(found)
        ]


def state_of(present: Objects[Present]) -> str:
    """Return a mark of the whole state: another one as soon as anything has changed."""
    digest = hashlib.sha256()
    for kind in KINDS:
        for name, found in sorted(present.get(kind, {}).items()):
            version = found.version + (found.policy_version or "")
            digest.update(f"{kind}\0{name}\0{version}\0".encode())
    return digest.hexdigest()[:32]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return set(one) == set(other)
    return bool(one == other)


def _ordered(steps: Sequence[Step]) -> list[Step]:
    """By phase; of aliases those first that others lead to, and the other way round when they
    are removed."""
    setting = _led_to_first([step for step in steps if step.phase is Phase.ALIASES])
    removing = list(
        reversed(_led_to_first([step for step in steps if step.phase is Phase.REMOVE_ALIASES]))
    )
    rest = [step for step in steps if step.phase not in (Phase.ALIASES, Phase.REMOVE_ALIASES)]
    return sorted([*rest, *setting, *removing], key=lambda step: step.phase)


def _led_to_first(steps: Sequence[Step]) -> list[Step]:
    by_name = {step.name: step for step in steps}
    ordered: dict[str, Step] = {}
    for first in steps:
        # depth first without recursion: a chain of aliases may be as long as the document
        open_: list[tuple[Step, Iterable[str]]] = [(first, iter(_targets(first)))]
        visited = {first.name}
        while open_:
            step, targets = open_[-1]
            following = next(
                (each for each in targets if each in by_name and each not in visited), None
            )
            if following is None:
                ordered.setdefault(step.name, step)
                open_.pop()
            elif following not in ordered:
                visited.add(following)
                open_.append((by_name[following], iter(_targets(by_name[following]))))
    return list(ordered.values())


def _targets(step: Step) -> Sequence[str]:
    if step.action == DELETE:
        return tuple(step.present.values["targets"]) if step.present else ()
    return tuple(step.fields.get("targets", ()))
