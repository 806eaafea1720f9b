"""Postgres stops under a relay, and is there again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from posthorn.adapters.postgres.reports.tls_outcomes import PostgresTlsOutcomes
from posthorn.ports.errors import Unavailable
from posthorn.ports.reports import TlsOutcome
from posthorn_local.embedded import Nats, Postgres
from posthorn_relay.liveness import FLUSH_SECONDS
from tests.support.polling import BUSY_SECONDS
from tests.support.relay_env import RelayEnv, relay_env
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.tcp_proxy import TcpProxy


class _Watched(PostgresTlsOutcomes):
    """Tells of the first write that is not taken."""

    refused: asyncio.Event

    async def add(self, counts: Mapping[TlsOutcome, int]) -> None:
        try:
            await super().add(counts)
        except Unavailable:
            self.refused.set()
            raise


@pytest.fixture
async def env(nats: Nats, own_postgres: Postgres, tmp_path: Path) -> AsyncIterator[RelayEnv]:
    async with relay_env(nats, own_postgres.url, tmp_path / "blobs") as opened:
        yield opened


async def test_the_drain_of_a_relay_is_over_in_time_when_postgres_is_silent(
    nats: Nats, own_postgres: Postgres, tmp_path: Path
) -> None:
    with TcpProxy(own_postgres.port) as proxy:
        url = own_postgres.url.replace(f":{own_postgres.port}/", f":{proxy.port}/")
        async with (
            relay_env(nats, url, tmp_path / "blobs") as env,
            env.relay() as scheduler,
            ScriptedSmtp() as host,
        ):
            env.planner.ports = [host.port]
            message = await env.post("bob@sink.test")
            await env.become(message, bob="delivered")
            proxy.swallow()
            began = time.monotonic()
            await scheduler.drain(1)
            took = time.monotonic() - began
            proxy.heal()
    assert took < 1 + 2 * FLUSH_SECONDS, "a statement has 30 s"


async def test_tls_outcomes_outlast_a_restart_of_postgres_at_the_end_of_the_relay(
    env: RelayEnv, own_postgres: Postgres
) -> None:
    watched = env.tls_outcomes = _Watched(env.tls_outcomes._database)
    watched.refused = asyncio.Event()

    async def back() -> None:
        async with asyncio.timeout(BUSY_SECONDS):
            await watched.refused.wait()
        await asyncio.to_thread(own_postgres.start, own_postgres.port)

    async with ScriptedSmtp() as host:
        env.planner.ports = [host.port]
        async with env.relay(grace_seconds=BUSY_SECONDS):  # Postgres starts within it
            message = await env.post("bob@sink.test")
            await env.become(message, bob="delivered")
            await asyncio.to_thread(own_postgres.stop, kill=True)
            starting = asyncio.create_task(back())
    await starting
    assert await env.rows("SELECT domain, sessions FROM tls_outcomes") == [("sink.test", 1)]
