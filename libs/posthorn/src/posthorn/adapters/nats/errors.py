"""Errors of NATS and JetStream. Each is Unavailable: a later retry may succeed."""

from __future__ import annotations

from typing import Any

from posthorn.ports.errors import Unavailable


class NoResponders(Unavailable):
    """No stream accepts the subject now: it is missing, or has no leader at the moment."""


class NoAnswer(Unavailable):
    """Something serves the subject, or should, but did not answer in time."""


class Denied(Unavailable):
    """This user may not publish to the subject: nothing was sent."""


class ApiError(Unavailable):
    """JetStream refused an API request."""

    def __init__(self, refusal: dict[str, Any]) -> None:
        self.code = int(refusal.get("code", 0))
        self.err_code = int(refusal.get("err_code", 0))
        super().__init__("nats", f"{refusal.get('description', 'refused')} ({self.err_code})")
