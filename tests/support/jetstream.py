"""Connections to a test's NATS."""

from __future__ import annotations

from typing import Any

from posthorn.runtime.settings import NatsSettings
from posthorn_local.embedded import Nats


def nats_settings(nats: Nats, **changes: Any) -> NatsSettings:
    """Settings for a server, read from no environment."""
    return NatsSettings.model_validate({"nats_url": nats.url, **changes})


def restart(nats: Nats) -> None:
    """Start a stopped server on the port it had."""
    nats.start(port=nats.port)
