"""The state of the whole system, from real heartbeats over a real NATS with the parts' own users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.heartbeats import NatsHeartbeats, beating
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.permissions import PART_NAMES
from posthorn.adapters.nats.stream_state import NatsStreamState
from posthorn.adapters.postgres.lags import PostgresLags
from posthorn.adapters.postgres.schema import SCHEMA_VERSION
from posthorn.model.events import LISTED, Event
from posthorn.ports.api_keys import Role
from posthorn.ports.errors import Unavailable
from posthorn.runtime.health import Health
from posthorn.runtime.ids import new_id
from posthorn.runtime.settings import NatsSettings
from posthorn_api.system.watch import LagWatch
from posthorn_local.embedded import Nats
from tests.support.api import Api, problem
from tests.support.builders import make_envelope
from tests.support.databases import pool
from tests.support.polling import until


class Parts:
    """Connections of parts, each with its own user."""

    def __init__(self, nats: Nats, stack: AsyncExitStack) -> None:
        self._nats, self._stack = nats, stack
        self._open: dict[str, Connection] = {}

    async def open(self, part: str) -> Connection:
        """Connect as a part."""
        if part not in self._open:
            settings = NatsSettings.model_validate({"nats_url": self._nats.url_of(part)})
            self._open[part] = await self._stack.enter_async_context(connect(settings, part, part))
        return self._open[part]


@pytest.fixture
async def parts(nats: Nats) -> AsyncIterator[Parts]:
    async with AsyncExitStack() as stack:
        yield Parts(nats, stack)


@pytest.fixture
async def joined(api: Api, parts: Parts) -> AsyncIterator[Api]:
    """The API, connected to NATS with its own user."""
    connection = await parts.open("api")
    async with NatsHeartbeats(connection) as heartbeats:
        api.late.heartbeats.set(heartbeats)
        api.late.streams.set(NatsStreamState(connection))
        api.late.dead_letters.set(NatsDeadLetters(connection))
        yield api


async def shown_when(api: Api, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The answer, once it is as wanted."""
    found: dict[str, Any] = {}

    async def held() -> bool:
        nonlocal found
        found = await shown(api)
        return bool(holds(found))

    await until(held)
    return found


async def shown(api: Api) -> dict[str, Any]:
    """The answer."""
    answer = await api.client.get("/v1/system")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_without_nats_the_answer_says_what_is_known(api: Api) -> None:
    found = await shown(api)
    assert (found["well"], found["instances"], found["ingest"]) == (False, [], None)
    assert [each["subject"] for each in found["problems"]] == ["nats"]
    assert found["schema_version"] == SCHEMA_VERSION
    assert found["runbooks_url"] == "https://runbooks.example.test"
    assert found["problems"][0]["runbook_url"] == f"{found['runbooks_url']}/posthornstoresslow.md"


async def test_only_the_platform_sees_the_system(api: Api) -> None:
    tenant = await api.tenant("acme")
    for role in (Role.TENANT_ADMIN, Role.READ_ONLY):
        answer = await api.client.get("/v1/system", headers=await api.key(role, tenant))
        problem(answer, 403, "forbidden")
    for role, status in ((Role.READ_ONLY, 200), (Role.SEND_ONLY, 403)):
        answer = await api.client.get("/v1/system", headers=await api.key(role))
        assert answer.status_code == status


async def test_every_part_shows_itself_and_leaves(joined: Api, parts: Parts) -> None:
    async def failing() -> None:
        raise Unavailable("postgres", "down")

    ready, broken = Health(), Health()
    ready.started = broken.started = True
    broken.add_check("postgres", failing)
    async with AsyncExitStack() as stack:
        for part in sorted(PART_NAMES):
            health = broken if part == "imap" else ready
            await stack.enter_async_context(
                beating(await parts.open(part), health, part, seconds=0.2)
            )

        found = await shown_when(
            joined, lambda found: {each["part"] for each in found["instances"]} == PART_NAMES
        )
        states = {each["part"]: each["state"] for each in found["instances"]}
        assert states.pop("imap") == "not-ready"
        assert set(states.values()) == {"ready"}
        (fault,) = found["problems"]
        assert fault["area"] == "part"
        assert fault["detail"] == "it is not ready: postgres: unavailable"
        ready.draining = True

        await shown_when(
            joined,
            lambda found: (
                {each["state"] for each in found["instances"]} == {"draining", "not-ready"}
            ),
        )
    await shown_when(joined, lambda found: not found["instances"])


async def test_what_waits_and_what_is_behind_is_told(joined: Api, parts: Parts) -> None:
    api = await parts.open("api")
    assert (await shown(joined))["lags"] == {
        "directory_seconds": 0.0,
        "events_seconds": 0.0,
        "webhooks_seconds": 0.0,
    }
    await NatsIngest(await parts.open("smtp-in")).accept(make_envelope(), b"Subject: x\r\n\r\n")
    dead = NatsDeadLetters(await parts.open("delivery"))
    for number in range(3):
        await dead.park(b"x", f"id-{number}", "unreadable" if number else "no key")
    await joined.sql(
        "INSERT INTO directory_outbox (subject, created_at) VALUES ('a@example.test', now() - interval '90 seconds')"
    )
    async with NatsEvents(api) as events:
        events.record(Event(new_id(), 1.0, LISTED, {}))

    found = await shown_when(joined, lambda found: found["lags"]["events_seconds"])
    async with pool(joined.database_url) as database:
        await LagWatch(PostgresLags(database), joined.late.streams).look()
    for lag, least in (("directory", 90), ("events", 0.0001), ("webhooks", 0)):
        measured = REGISTRY.get_sample_value(f"posthorn_api_{lag}_lag_seconds")
        assert measured is not None and measured >= least
    assert found["ingest"]["messages"] == 1
    assert found["ingest"]["size_bytes"] > 0
    assert found["dead"]["messages"] == 3
    assert found["dead"]["reasons"] == [
        {"reason": "unreadable", "messages": 2},
        {"reason": "no key", "messages": 1},
    ]
    assert found["lags"]["directory_seconds"] >= 90
    assert {each["area"] for each in found["problems"]} == {"dead", "directory"}
