"""What a process tells of itself, every few seconds (ADR 44).

The payload is a JSON object; fields may be added, and a reader ignores those it does not know. What
is too long is cut, by sender and reader alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

HEARTBEAT_SECONDS: Final = 10.0
"""From one heartbeat of a ready process to its next."""
SILENT_SECONDS: Final = 35.0
"""Without a heartbeat for so long a process is taken to be away."""
MAX_BYTES: Final = 8192
"""Longest payload that is read."""
_MOST_REASONS, _LONGEST, _LONGEST_REASON = 20, 120, 200


class HeartbeatError(ValueError):
    """A payload that is no heartbeat."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The state of a process."""

    instance: str
    """Its name, unique among the processes of its part: in Kubernetes the pod's."""
    version: str
    since: datetime
    is_ready: bool
    is_draining: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why it is not ready: by part that it depends on."""
    certificate_ends_at: datetime | None = None
    is_last: bool = False
    """Whether it ends now: no other heartbeat follows."""


def encode_heartbeat(beat: Heartbeat) -> bytes:
    """Return the payload."""
    document: dict[str, Any] = {
        "v": 1,
        "instance": beat.instance[:_LONGEST],
        "version": beat.version[:_LONGEST],
        "since": beat.since.isoformat(),
        "ready": beat.is_ready,
        "draining": beat.is_draining,
        "last": beat.is_last,
        "reasons": _bounded(beat.reasons),
    }
    if beat.certificate_ends_at is not None:
        document["certificate_ends_at"] = beat.certificate_ends_at.isoformat()
    return json.dumps(document, separators=(",", ":")).encode()


def decode_heartbeat(payload: bytes) -> Heartbeat:
    """Return the heartbeat of a payload. Raises HeartbeatError."""
    if len(payload) > MAX_BYTES:
        raise HeartbeatError("it is too long")
    try:
        document = json.loads(payload)
        ends_at = document.get("certificate_ends_at")
        return Heartbeat(
            instance=str(document["instance"])[:_LONGEST],
            version=str(document["version"])[:_LONGEST],
            since=_moment(document["since"]),
            is_ready=document["ready"] is True,
            is_draining=document.get("draining") is True,
            reasons=_bounded(document.get("reasons", {})),
            certificate_ends_at=None if ends_at is None else _moment(ends_at),
            is_last=document.get("last") is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HeartbeatError(f"it cannot be decoded: {type(error).__name__}") from error


def _bounded(reasons: Mapping[str, str]) -> dict[str, str]:
    some = list(reasons.items())[:_MOST_REASONS]
    return {str(part)[:_LONGEST]: str(state)[:_LONGEST_REASON] for part, state in some}


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
