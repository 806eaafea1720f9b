"""What is not well in the state of the system."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from posthorn.model.heartbeat import Heartbeat
from posthorn.ports.heartbeats import Instance
from posthorn.ports.ingest import Backlog
from posthorn_api.system.problems import problems_of
from posthorn_api.system.service import SystemState

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
BEAT = Heartbeat("one", "1.0.0", NOW, True)
NOTHING_WAITS = Backlog(0, 0, None, 0, None)
WELL = SystemState(
    instances=[
        Instance(part, BEAT, NOW, False) for part in ("smtp-in", "delivery", "relay", "api")
    ],
    is_complete=True,
    backlog=NOTHING_WAITS,
    schema="0017",
    directory_seconds=0.0,
    webhooks_seconds=0.0,
    events_seconds=0.0,
)


def changed(position: int, *, is_silent: bool = False, **beat: object) -> SystemState:
    """The state in which all is well but one process."""
    instances = list(WELL.instances)
    found = instances[position]
    instances[position] = replace(
        found,
        beat=replace(found.beat, **beat),  # type: ignore[arg-type]
        is_silent=is_silent,
    )
    return replace(WELL, instances=instances)


def said(state: SystemState) -> list[tuple[str, str, str]]:
    """The problems as tuples."""
    return [(each.area, each.subject, each.detail) for each in problems_of(state, NOW)]


def test_all_is_well() -> None:
    assert said(WELL) == []


def waiting(**changes: object) -> SystemState:
    """The state with other figures of the streams."""
    return replace(WELL, backlog=replace(NOTHING_WAITS, **changes))  # type: ignore[arg-type]


OLD, NEW = NOW - timedelta(seconds=61), NOW - timedelta(seconds=59)


@pytest.mark.parametrize(
    ("state", "area", "subject", "words"),
    [
        (replace(WELL, faults={"postgres": "does not answer"}), "store", "postgres", "not answer"),
        (changed(2, is_silent=True), "part", "relay one", "no heartbeats"),
        (
            changed(1, is_ready=False, reasons={"nats": "unavailable"}),
            "part",
            "delivery one",
            "nats: unavailable",
        ),
        (waiting(messages=1, oldest=OLD, oldest_first=OLD), "ingest", "", "waited 61 s"),
        (waiting(messages=1, oldest=OLD, retrying=1), "ingest", "", "1 messages in the retry"),
        (waiting(dead=2, oldest_dead=NEW), "dead", "", "2 messages are parked"),
        (replace(WELL, directory_seconds=61.0), "directory", "", "61 s"),
        (replace(WELL, events_seconds=61.0), "events", "", "61 s"),
        (replace(WELL, webhooks_seconds=61.0), "webhooks", "", "61 s"),
        (
            changed(0, certificate_ends_at=NOW + timedelta(days=13, hours=5)),
            "certificate",
            "smtp-in one",
            "13 days",
        ),
        (
            changed(0, certificate_ends_at=NOW - timedelta(hours=1)),
            "certificate",
            "smtp-in one",
            "has expired",
        ),
        (changed(0, version="1.1.0"), "version", "", "1.0.0 (3), 1.1.0 (1)"),
        (replace(WELL, instances=WELL.instances[1:]), "part", "smtp-in", "no process"),
    ],
)
def test_each_problem_is_told(state: SystemState, area: str, subject: str, words: str) -> None:
    (problem, *others) = said(state)
    if subject.endswith("one") and "heartbeats" in words:
        assert [each[1] for each in others] == ["relay"]  # it was the only one
    else:
        assert others == []
    assert problem[:2] == (area, subject)
    assert words in problem[2]


@pytest.mark.parametrize(
    "state",
    [
        replace(WELL, instances=(), is_complete=False),
        changed(0, is_draining=True, is_ready=False),
        waiting(messages=5, oldest=NEW, oldest_first=NEW),
        replace(WELL, directory_seconds=59.0, events_seconds=None, backlog=None),
        changed(0, certificate_ends_at=NOW + timedelta(days=15)),
    ],
)
def test_what_is_usual_is_no_problem(state: SystemState) -> None:
    assert said(state) == []
