"""INGEST without room, as the relay meets it: notices wait, and go within seconds of there being
room."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from posthorn.model.streams import INGEST
from posthorn_local.embedded import Nats
from posthorn_relay import dsn_sender
from posthorn_relay.smtp.types import Failed
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until
from tests.support.relay_env import SENDER, RelayEnv, relay_env


async def test_a_notice_that_met_a_full_stream_goes_within_seconds_of_there_being_room(
    nats: Nats, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dsn_sender, "LOOK_SECONDS", LONG_SECONDS)
    async with relay_env(nats, database_url, tmp_path / "blobs") as env:
        limit = await _limit(env, 1)
        env.planner.failure = Failed("dns", 0, "5.1.2", "there is no such domain", True)
        async with env.relay():
            await env.post("someone@nowhere.test")

            async def owed() -> bool:
                return bool(
                    await env.rows("SELECT 1 FROM outbound_recipients WHERE notice IS NOT NULL")
                )

            await until(owed, BUSY_SECONDS, "the notice's being owed")
            await asyncio.sleep(1)  # it has been tried by now
            assert await env.nothing_left()
            await _limit(env, limit)
            (notice,) = await env.dsns(1)
            assert notice.envelope.recipients == (SENDER,)


async def _limit(env: RelayEnv, octets: int) -> int:
    """Set the byte limit of INGEST; return the former one."""
    config = (await env.nats.api(f"STREAM.INFO.{INGEST}"))["config"]
    await env.nats.api(f"STREAM.UPDATE.{INGEST}", {**config, "max_bytes": octets})
    return int(config["max_bytes"])
