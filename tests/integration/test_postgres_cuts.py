"""Connections to Postgres that are cut before any one message of the protocol, either way: what is
repeated then is done once, and the pool lends nothing broken."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.queue.handing import PostgresHandedClaims
from posthorn.model.outbound import QueueState
from posthorn.ports.errors import Unavailable
from posthorn.ports.hand_over import HandOver, LiveRelay
from posthorn.ports.queue import Outcome
from posthorn_local.embedded import Postgres
from tests.contract.queue_env import QueueEnv
from tests.support.builders import make_message, make_outbound, make_segment
from tests.support.databases import pool
from tests.support.postgres_cuts import CLIENT, SERVER, PostgresCutter


@pytest.fixture
async def cutter(postgres: Postgres) -> AsyncIterator[PostgresCutter]:
    async with PostgresCutter().before(postgres.port) as running:
        yield running


@pytest.fixture
async def cut(
    request: pytest.FixtureRequest, postgres: Postgres, cutter: PostgresCutter, database_url: str
) -> AsyncIterator[Database]:
    """A pool of one connection through the proxy; the parameter: whether statements are kept
    prepared."""
    prepared = getattr(request, "param", True)
    url = database_url.replace(f":{postgres.port}/", f":{cutter.port}/") + "?sslmode=disable"
    async with pool(url, database_pool=1, database_prepared=prepared) as opened:
        yield opened


@pytest.fixture
async def env(database_url: str) -> AsyncIterator[QueueEnv]:
    async with pool(database_url, database_pool=2) as database:
        yield QueueEnv(database)


@pytest.mark.parametrize("cut", [True, False], ids=["prepared", "unprepared"], indirect=True)
@pytest.mark.parametrize("side", [CLIENT, SERVER])
async def test_a_delivery_that_is_cut_anywhere_and_repeated_places_its_message_once(
    side: str, cutter: PostgresCutter, cut: Database, env: QueueEnv
) -> None:
    (ada,) = await env.accounts(1)
    relay = await env.relay()
    mailboxes = PostgresMailboxes(cut)
    for number in itertools.count():
        message = replace(
            make_message([ada]), outbound=(make_outbound(f"{number}@{number}.far.test"),)
        )
        await env.rows("INSERT INTO outbound_lanes (key) VALUES ($1)", f"{number}.far.test")
        await cut.probe()  # the connection is there
        cutter.arm(side, number)
        for _ in range(3):
            over = HandOver(LiveRelay(relay, 20), f"{number}.far.test")
            try:
                found = await mailboxes.resolve(["user0@example.test"], [message.envelope.id])
                if not found.delivered:
                    await mailboxes.deliver([make_segment([message])], over)
                break
            except Unavailable:
                assert cutter.has_cut
                assert cut.pool.lent == 0
        else:
            raise AssertionError("it was not repeated with success")
        cutter.disarm()
        assert len(await env.inbox(ada)) == number + 1
        assert len(await env.states()) == number + 1
        if not cutter.has_cut:
            break
    assert number > 4
    slots = await PostgresHandedClaims(env.database).slots(relay)
    claims = await env.rows("SELECT FROM outbound_claims WHERE holder = $1", relay)
    assert 0 < len(slots) == len(claims) <= number + 1
    await env.sums_hold()


@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize(
    "state", [QueueState.DELIVERED, QueueState.BOUNCED, QueueState.DEFERRED, QueueState.QUEUED]
)
async def test_an_outcome_that_is_cut_anywhere_and_repeated_is_recorded_once(
    side: str, state: QueueState, cutter: PostgresCutter, cut: Database, env: QueueEnv
) -> None:
    queue = QueueEnv(env.database, cut).queue
    for number in itertools.count():
        await env.send(f"{number}@{number}.far.test", sender="")
        relay = await env.relay()
        (job,) = await env.jobs(relay, f"{number}.far.test")
        await cut.probe()
        cutter.arm(side, number)
        suppress = "no such user" if state is QueueState.BOUNCED else ""
        waits = state in (QueueState.DEFERRED, QueueState.QUEUED)
        outcome = Outcome(job.id, state, 60.0 if waits else 0.0, suppress=suppress)
        for _ in range(3):
            try:
                await queue.record(relay, [outcome])
                break
            except Unavailable:
                assert cut.pool.lent == 0
        else:
            raise AssertionError("it was not repeated with success")
        cutter.disarm()
        (found,) = await env.rows(
            "SELECT state, attempts, due_at > now() + interval '50 seconds' FROM outbound_recipients WHERE id = $1",
            job.id,
        )
        counts = state is not QueueState.QUEUED
        assert found == (state.value, int(counts), waits)
        assert await env.rows("SELECT FROM outbound_claims") == []
        if not cutter.has_cut:
            break
    assert number >= 3
