"""What is not well in the state of the system, as sentences: pure, so that it can be tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from posthorn_api.system.service import SystemState

INGEST_SECONDS: Final = 60.0
"""Age of the oldest message on INGEST beyond which delivery is slow."""
LAG_SECONDS: Final = 60.0
"""Lag of directory, events and webhooks beyond which they are behind."""
CERTIFICATE_DAYS: Final = 14
"""Days before its end from which a certificate should have been renewed."""
RUNBOOKS: Final = {
    "part": "PosthornPartDown",
    "store": "PosthornStoresSlow",
    "ingest": "PosthornIngestOld",
    "dead": "PosthornDeadMail",
    "directory": "PosthornDirectoryStalled",
    "events": "PosthornEventsBehind",
    "webhooks": "PosthornWebhooksBehind",
    "certificate": "PosthornCertificateEnds",
}
"""The alert whose runbook says what to do, by area."""
_LEAST_PARTS: Final = ("smtp-in", "delivery", "relay", "api")
"""Parts without which mail does not flow."""


@dataclass(frozen=True, slots=True)
class SystemProblem:
    """Something that needs a look."""

    area: str
    """``part``, ``store``, ``ingest``, ``dead``, ``directory``, ``events``, ``webhooks``,
    ``certificate`` or ``version``."""
    subject: str
    """What it is about: an instance, a store; empty for the area as a whole."""
    detail: str


def problems_of(state: SystemState, now: datetime) -> Iterator[SystemProblem]:
    """Yield the problems, those that stop mail first."""
    for store, fault in state.faults.items():
        yield SystemProblem("store", store, fault)
    yield from _parts(state)
    yield from _waiting(state, now)
    yield from _certificates(state, now)
    versions = Counter(each.beat.version for each in state.instances if not each.is_silent)
    if len(versions) > 1:
        shown = ", ".join(f"{version} ({number})" for version, number in sorted(versions.items()))
        yield SystemProblem("version", "", f"processes of several versions run: {shown}")


def _parts(state: SystemState) -> Iterator[SystemProblem]:
    for each in state.instances:
        name = f"{each.part} {each.beat.instance}"
        if each.is_silent:
            yield SystemProblem("part", name, "it sends no heartbeats any more")
        elif not each.beat.is_ready and not each.beat.is_draining:
            reasons = ", ".join(f"{part}: {why}" for part, why in each.beat.reasons.items())
            yield SystemProblem("part", name, f"it is not ready: {reasons or 'it is starting'}")
    if state.is_complete:
        heard = {each.part for each in state.instances if not each.is_silent}
        for part in _LEAST_PARTS:
            if part not in heard:
                yield SystemProblem("part", part, "no process of this part runs")


def _waiting(state: SystemState, now: datetime) -> Iterator[SystemProblem]:
    backlog = state.backlog
    if backlog is not None:
        oldest = backlog.oldest_first or (None if backlog.retrying else backlog.oldest)
        if oldest is not None and (age := (now - oldest).total_seconds()) > INGEST_SECONDS:
            detail = f"the oldest accepted message has waited {round(age)} s for its mailbox"
            yield SystemProblem("ingest", "", detail)
        if backlog.retrying:
            detail = f"{backlog.retrying} messages in the retry lane could not be delivered yet"
            yield SystemProblem("ingest", "", detail)
        if backlog.dead:
            detail = f"{backlog.dead} messages are parked on DEAD; retry or discard them"
            yield SystemProblem("dead", "", detail)
    for area, seconds, what in (
        ("directory", state.directory_seconds, "changes of addresses do not reach smtp-in"),
        ("events", state.events_seconds, "statistics and webhooks are behind"),
        ("webhooks", state.webhooks_seconds, "a webhook's delivery is overdue"),
    ):
        if seconds is not None and seconds > LAG_SECONDS:
            yield SystemProblem(area, "", f"{what}: {round(seconds)} s")


def _certificates(state: SystemState, now: datetime) -> Iterator[SystemProblem]:
    for each in state.instances:
        ends_at = each.beat.certificate_ends_at
        if ends_at is None or each.is_silent or ends_at - now > timedelta(days=CERTIFICATE_DAYS):
            continue
        days = (ends_at - now).days
        detail = (
            f"its certificate ends in {days} days" if days >= 0 else "its certificate has expired"
        )
        yield SystemProblem("certificate", f"{each.part} {each.beat.instance}", detail)
