"""Connections to a test's NATS, and letters to send over it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from posthorn.model.envelope import Body, Envelope
from posthorn.runtime.ids import new_id
from posthorn.runtime.settings import NatsSettings
from posthorn_local.embedded import Nats


def nats_settings(nats: Nats, **changes: Any) -> NatsSettings:
    """Settings for a server, read from no environment."""
    return NatsSettings.model_validate({"nats_url": nats.url, **changes})


def restart(nats: Nats) -> None:
    """Start a stopped server on the port it had."""
    nats.start(port=nats.port)


def letter(
    body: bytes = b"Subject: hello\r\n\r\nworld\r\n",
    *,
    to: tuple[str, ...] = ("alice@example.test",),
    identity: UUID | None = None,
    blob: str | None = None,
    sender: str = "sender@example.org",
) -> Envelope:
    """An envelope that fits the body."""
    facts = Body(len(body), hashlib.sha256(body).digest(), b"\r\n." in body or body.startswith(b"."))
    return Envelope(identity or new_id(), time.time(), sender, to, facts, blob=blob)


async def until(condition: Callable[[], Awaitable[Any]], timeout: float = 30.0, what: str = "it") -> None:
    """Poll until the condition holds. Raises AssertionError when it does not in time."""
    deadline = time.monotonic() + timeout
    while not await condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout} s"
        await asyncio.sleep(0.02)
