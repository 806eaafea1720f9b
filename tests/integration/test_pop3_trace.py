"""That mail was read is in its trace, for the tenant whose account read it and for nobody
else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.model.events import ACCEPTED, DELIVERED, READ, Event
from posthorn.ports.api_keys import Role
from posthorn.runtime.ids import new_id
from tests.support.api import Api, problem, running_api


@pytest.fixture
async def api(database_url: str, tmp_path: Path, connection: Connection) -> AsyncIterator[Api]:
    async with running_api(database_url, FileBlobs(tmp_path)) as running:
        running.trace.set(NatsTrace(connection))
        yield running


def read(message: UUID, at: float, account: str, tenant: UUID) -> Event:
    return Event(message, at, READ, {"account": account, "tenant": str(tenant)})


async def seen(api: Api, message: UUID, headers: dict[str, str] | None) -> list[tuple[str, Any]]:
    """The events that are shown: kind and account."""
    answer = await api.client.get(f"/v1/messages/{message}/trace", headers=headers)
    assert answer.status_code == 200, answer.text
    return [(event["kind"], event["detail"].get("account")) for event in answer.json()["items"]]


async def test_a_tenant_sees_that_its_own_accounts_have_read_and_not_that_others_have(
    api: Api, connection: Connection
) -> None:
    acme, other = await api.tenant("acme"), await api.tenant("other")
    ours, theirs = await api.key(Role.READ_ONLY, acme), await api.key(Role.TENANT_ADMIN, other)
    stranger = await api.key(Role.TENANT_ADMIN, await api.tenant("stranger"))
    sent, came = new_id(), new_id()
    async with NatsEvents(connection) as recorder:
        recorder.record(
            Event(sent, 1.0, ACCEPTED, {"account": "ada@acme.test", "tenant": str(acme)}),
            Event(sent, 2.0, DELIVERED, {"recipients": ["eve@acme.test", "bob@other.test"]}),
            read(sent, 3.0, "eve@acme.test", acme),
            read(sent, 4.0, "bob@other.test", other),
            Event(came, 1.0, ACCEPTED, {"account": None}),
            read(came, 2.0, "eve@acme.test", acme),
        )
    beginning = [("accepted", "ada@acme.test"), ("delivered", None)]
    assert await seen(api, sent, ours) == [*beginning, ("read", "eve@acme.test")]
    assert await seen(api, sent, theirs) == [("read", "bob@other.test")]
    assert await seen(api, sent, None) == [
        *beginning,
        ("read", "eve@acme.test"),
        ("read", "bob@other.test"),
    ]
    assert await seen(api, came, ours) == [("read", "eve@acme.test")]
    for message, headers in ((sent, stranger), (came, theirs)):
        problem(
            await api.client.get(f"/v1/messages/{message}/trace", headers=headers), 404, "not-found"
        )
