"""Fixtures of the relay's integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthorn_local.embedded import Nats
from posthorn_relay.smtp.pool import ConnectionPool
from tests.support.polling import LONG_SECONDS
from tests.support.relay_env import RelayEnv, relay_env


@pytest.fixture
def idle_connections_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is closed for having been idle, however slow the machine is."""
    monkeypatch.setattr(ConnectionPool.sweep, "__defaults__", (LONG_SECONDS,))


@pytest.fixture
async def env(nats: Nats, database_url: str, tmp_path: Path) -> AsyncIterator[RelayEnv]:
    async with relay_env(nats, database_url, tmp_path / "blobs") as opened:
        yield opened
