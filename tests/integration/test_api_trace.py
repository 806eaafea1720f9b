"""The trace of a message over the REST API: in the order of time, for those whose message it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from posthorn.adapters.files import FileBlobs
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.model.events import ACCEPTED, DELIVERED, Event
from posthorn.ports.administration import Role
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import Nats
from tests.servers.api import Api, problem, running_api
from tests.servers.jetstream import nats_settings


@pytest.fixture
async def connection(nats: Nats) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "api") as made:
        yield made


@pytest.fixture
async def api(database_url: str, tmp_path: Path, connection: Connection) -> AsyncIterator[Api]:
    async with running_api(database_url, FileBlobs(tmp_path)) as running:
        running.trace.arrive(NatsTrace(connection))
        yield running


async def happened(connection: Connection, *events: Event) -> None:
    async with NatsEvents(connection) as recorder:
        recorder.record(*events)


def path(message: UUID) -> str:
    return f"/v1/messages/{message}/trace"


async def test_a_trace_is_in_the_order_of_time(api: Api, connection: Connection) -> None:
    message = new_id()
    detail = {"recipient": "bob@example.org", "host": "mx.example.org", "reply": "250 ok", "tls": "TLSv1.3"}
    await happened(
        connection,
        Event(message, 1_800_000_002.5, DELIVERED, detail),
        Event(message, 1_800_000_000, ACCEPTED, {"size": 5}),
    )
    assert (await api.client.get(path(message))).json() == {
        "items": [
            {"at": "2027-01-15T08:00:00Z", "kind": "accepted", "detail": {"size": 5}},
            {"at": "2027-01-15T08:00:02.500000Z", "kind": "delivered", "detail": detail},
        ],
        "next_cursor": None,
    }


async def test_of_a_message_that_is_not_known_there_is_no_trace(api: Api) -> None:
    problem(await api.client.get(path(new_id())), 404, "not-found")
    problem(await api.client.get("/v1/messages/x/trace"), 422, "invalid", "id")


async def test_a_message_in_the_queue_has_a_trace_even_when_nothing_was_recorded(api: Api) -> None:
    message = await api.enter("bob@example.org")
    assert (await api.client.get(path(message))).json()["items"] == []


async def test_a_tenant_sees_the_traces_of_what_it_sent(api: Api, connection: Connection) -> None:
    theirs, other = await api.tenant("acme"), await api.tenant("other")
    key, reader = await api.key(Role.TENANT_ADMIN, theirs), await api.key(Role.READ_ONLY, theirs)
    foreign = await api.key(Role.TENANT_ADMIN, other)
    sent, came, queued = new_id(), new_id(), await api.enter("bob@example.org", tenant=theirs)
    await happened(
        connection,
        Event(sent, 1.0, ACCEPTED, {"tenant": str(theirs)}),
        Event(sent, 2.0, DELIVERED, {"tenant": str(other)}),
        Event(came, 1.0, ACCEPTED, {"tenant": None}),
        Event(queued, 1.0, ACCEPTED, {}),
    )
    for message in (sent, queued):
        for headers in (key, reader, None):
            assert (await api.client.get(path(message), headers=headers)).status_code == 200
        problem(await api.client.get(path(message), headers=foreign), 404, "not-found")
    problem(await api.client.get(path(came), headers=key), 404, "not-found")
    assert (await api.client.get(path(came))).status_code == 200


async def test_without_nats_a_trace_is_a_503(api: Api, nats: Nats) -> None:
    nats.stop(kill=True)
    problem(await api.client.get(path(new_id())), 503, "unavailable")
