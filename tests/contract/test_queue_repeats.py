"""Outcomes that are recorded again, since it is not known whether they were: what another worker of the
relay has claimed meanwhile stays claimed, or its message would be sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from uuid import UUID

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.model.outbound import QueueState
from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Outcome
from posthorn_relay.recorder import OutcomeRecorder
from tests.contract.queue_env import QueueEnv
from tests.support.databases import as_part, pool
from tests.support.polling import BUSY_SECONDS


@pytest.fixture
async def env(database: Database, database_url: str) -> AsyncIterator[QueueEnv]:
    async with pool(as_part(database_url, "relay"), database_pool=12) as relays:
        yield QueueEnv(database, relays)


class _Uncertain:
    """A queue whose answer is lost: before the relay learns it, another worker has claimed what was
    released. ``refuses_many``: batches are refused for one outcome, and recorded one by one."""

    def __init__(self, env: QueueEnv, *, refuses_many: bool) -> None:
        self._env = env
        self._refuses_many = refuses_many
        self._has_failed = False
        self.claimed: list[int] = []

    async def record(self, relay: UUID, outcomes: Sequence[Outcome]) -> set[int]:
        if self._has_failed:
            return await self._env.queue.record(relay, outcomes)
        if self._refuses_many and len(outcomes) > 1:
            raise ValueError("one of them cannot be written")
        if not (self._refuses_many and self.claimed):
            done = await self._env.queue.record(relay, outcomes)
            self.claimed = [job.id for job in await self._env.jobs(relay, limit=10)]
            if self._refuses_many:
                return done
        self._has_failed = True
        raise Unavailable("postgres", "the answer was lost")


@pytest.mark.parametrize("refuses_many", [False, True], ids=["in a batch", "one by one"])
async def test_a_repeat_does_not_release_what_was_claimed_since(
    env: QueueEnv, *, refuses_many: bool
) -> None:
    relay, other = await env.relay(), await env.relay()
    await env.send("a@far.test", "b@far.test", "c@far.test")
    released, delivered, kept = [job.id for job in await env.jobs(relay, limit=10)]
    retired: list[UUID] = []
    queue = _Uncertain(env, refuses_many=refuses_many)
    recorder = OutcomeRecorder(queue, lambda: None, retired.append)  # type: ignore[arg-type]
    recorder.put(relay, Outcome(released, QueueState.QUEUED))
    recorder.put(relay, Outcome(delivered, QueueState.DELIVERED))
    running = asyncio.create_task(recorder.run())
    assert await recorder.settled(BUSY_SECONDS)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert queue.claimed == [released]
    assert retired == [relay]
    assert [job.id for job in await env.jobs(other, limit=10)] == [], "it is being sent"
    states = dict(await env.rows("SELECT id, state FROM outbound_recipients"))
    assert (states[delivered], states[kept]) == ("delivered", "queued")
    await env.queue.leave(relay)
    assert [job.id for job in await env.jobs(other, limit=10)] == [released, kept]
