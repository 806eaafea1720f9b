"""Bodies of the operation on the system."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from typing import Literal, Self

from pydantic import Field

from posthorn.ports.heartbeats import Instance
from posthorn_api.http.schemas import ApiModel
from posthorn_api.system.problems import RUNBOOKS, SystemProblem
from posthorn_api.system.service import SystemState


class InstanceView(ApiModel):
    """A process of the system."""

    part: str = Field(description="The service, such as smtp-in.")
    instance: str = Field(description="Its name; in Kubernetes that of the pod.")
    version: str
    since: datetime = Field(description="When it began.")
    state: Literal["ready", "not-ready", "draining", "silent"] = Field(
        description="silent: its heartbeats are missing. It is left out after some minutes."
    )
    reasons: dict[str, str] = Field(
        description="Why it is not ready, by the part that it depends on."
    )
    last_heartbeat_at: datetime
    certificate_ends_at: datetime | None = Field(
        description="When the certificate that it uses expires; null: it uses none."
    )

    @classmethod
    def of(cls, found: Instance) -> Self:
        """Return the view."""
        beat = found.beat
        return cls(
            part=found.part,
            instance=beat.instance,
            version=beat.version,
            since=beat.since,
            state=_state(found),
            reasons=dict(beat.reasons),
            last_heartbeat_at=found.last_at,
            certificate_ends_at=beat.certificate_ends_at,
        )


def _state(found: Instance) -> Literal["ready", "not-ready", "draining", "silent"]:
    if found.is_silent:
        return "silent"
    if found.beat.is_draining:
        return "draining"
    return "ready" if found.beat.is_ready else "not-ready"


class IngestView(ApiModel):
    """Accepted messages that are not in their mailboxes yet."""

    messages: int
    size_bytes: int
    oldest_at: datetime | None = Field(
        description="When the oldest was accepted; null: none waits."
    )
    retrying: int = Field(description="Those in the retry lane, which could not be delivered yet.")


class DeadReasonView(ApiModel):
    """A reason for which messages are parked."""

    reason: str
    messages: int


class DeadView(ApiModel):
    """Parked messages."""

    messages: int
    oldest_at: datetime | None
    reasons: list[DeadReasonView] = Field(
        description="The most frequent reasons among the first 500 messages."
    )


class LagsView(ApiModel):
    """How far behind work in the background is, in seconds; null: not known."""

    directory_seconds: float | None = Field(
        description="Age of the oldest change of an address that smtp-in cannot see yet."
    )
    events_seconds: float | None = Field(
        description="Age of the oldest event that statistics and webhooks have not seen."
    )
    webhooks_seconds: float | None = Field(
        description="How long the oldest due delivery of a webhook has been due."
    )


class SystemProblemView(ApiModel):
    """Something that needs a look."""

    area: Literal[
        "part",
        "store",
        "ingest",
        "dead",
        "directory",
        "events",
        "webhooks",
        "certificate",
        "version",
    ]
    subject: str = Field(description="The instance or store; empty for the area as a whole.")
    detail: str
    runbook_url: str | None = Field(description="What to do about it; null: there is no such page.")

    @classmethod
    def of(cls, problem: SystemProblem, runbooks: str) -> Self:
        """Return the view. ``runbooks``: URL of their folder; may be empty."""
        alert = RUNBOOKS.get(problem.area)
        return cls.model_validate(
            {
                "area": problem.area,
                "subject": problem.subject,
                "detail": problem.detail,
                "runbook_url": f"{runbooks}/{alert.lower()}.md" if runbooks and alert else None,
            }
        )


class SystemView(ApiModel):
    """The state of the whole system."""

    well: bool = Field(description="Whether there is no problem.")
    problems: list[SystemProblemView]
    version: str = Field(description="Version of the process that answers.")
    schema_version: str | None = Field(description="Revision of the schema in Postgres.")
    listening_since: datetime | None = Field(
        description="Since when the process that answers has heard heartbeats. After 20 seconds it knows every process."
    )
    instances: list[InstanceView]
    ingest: IngestView | None = Field(description="null: not known.")
    dead: DeadView | None = Field(description="null: not known.")
    lags: LagsView
    runbooks_url: str | None = Field(
        description="The folder of the runbooks (`POSTHORN_RUNBOOK_BASE_URL`); null: none is known."
    )

    @classmethod
    def of(cls, state: SystemState) -> Self:
        """Return the view."""
        backlog = state.backlog
        return cls(
            well=not state.problems,
            problems=[SystemProblemView.of(each, state.runbooks) for each in state.problems],
            version=version("posthorn-api"),
            schema_version=state.schema,
            listening_since=state.listening_since,
            instances=[InstanceView.of(each) for each in state.instances],
            ingest=None
            if backlog is None
            else IngestView(
                messages=backlog.messages,
                size_bytes=backlog.octets,
                oldest_at=backlog.oldest,
                retrying=backlog.retrying,
            ),
            dead=None
            if backlog is None
            else DeadView(
                messages=backlog.dead,
                oldest_at=backlog.oldest_dead,
                reasons=[
                    DeadReasonView(reason=reason, messages=messages)
                    for reason, messages in state.dead_reasons.items()
                ],
            ),
            lags=LagsView(
                directory_seconds=state.directory_seconds,
                events_seconds=state.events_seconds,
                webhooks_seconds=state.webhooks_seconds,
            ),
            runbooks_url=state.runbooks or None,
        )
