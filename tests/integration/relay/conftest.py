"""Fixtures of the relay's integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthorn_local.embedded import Nats
from tests.support.relay_env import RelayEnv, relay_env


@pytest.fixture
async def env(nats: Nats, database_url: str, tmp_path: Path) -> AsyncIterator[RelayEnv]:
    async with relay_env(nats, database_url, tmp_path / "blobs") as opened:
        yield opened
