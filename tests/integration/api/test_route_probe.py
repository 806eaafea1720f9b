"""A probe of a route over the API: asked of a relay over NATS, with the users of both parts, and
made to a scripted host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.route_probes import NatsRouteProbes, NatsRouteProbeServer
from posthorn.adapters.postgres.queue.routes import PostgresSendingRoutes
from posthorn.model.streams import RELAY_PROBE
from posthorn.ports.errors import Unavailable
from posthorn.ports.route_probes import RouteProbe, RouteProber
from posthorn.runtime.secret_box import SecretBox
from posthorn.runtime.settings import NatsSettings
from posthorn_local.embedded import Nats
from posthorn_relay.prober import RelayProber
from posthorn_relay.routing.mx import MxPlanner
from posthorn_relay.settings import EgressSettings
from tests.support.api import SECRET_KEY, Api, problem
from tests.support.databases import as_part, pool
from tests.support.scripted_smtp import FULL, ScriptedSmtp

WITH_LOGIN = FULL.replace(b"250-DSN\r\n", b"250-DSN\r\n250-AUTH PLAIN\r\n")


@asynccontextmanager
async def connected(nats: Nats, part: str) -> AsyncIterator[Connection]:
    settings = NatsSettings.model_validate({"nats_url": nats.url_of(part)})
    async with connect(settings, part, part) as connection:
        yield connection


@pytest.fixture
async def joined(api: Api, nats: Nats) -> AsyncIterator[Api]:
    """The API, connected to NATS with its own user."""
    async with connected(nats, "api") as connection:
        api.late.route_probes.set(NatsRouteProbes(connection))
        yield api


@asynccontextmanager
async def relaying(api: Api, nats: Nats) -> AsyncIterator[None]:
    """A relay that answers, with its own users of NATS and Postgres."""
    settings = EgressSettings(relay_hostname="out.example.test")
    resolver = DnsResolver([api.dns.address], lifetime=4, keep=False)
    planner = MxPlanner(settings, resolver, None, SecretBox([SECRET_KEY]))
    async with (
        pool(as_part(api.database_url, "relay")) as database,
        connected(nats, "relay") as connection,
        NatsRouteProbeServer(
            connection, RelayProber(PostgresSendingRoutes(database), planner, settings)
        ),
    ):
        yield


async def routed(api: Api, domain: str, **fields: Any) -> None:
    answer = await api.client.put(f"/v1/routes/{domain}", json=fields)
    assert answer.status_code in (200, 201), answer.text


async def probe(api: Api, domain: str, **body: Any) -> dict[str, Any]:
    answer = await api.client.post(f"/v1/routes/{domain}/probe", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_a_relay_connects_by_the_route_and_says_what_it_heard(
    joined: Api, nats: Nats
) -> None:
    login = {"username": "posthorn", "password": "sesame open", "tls": "none"}
    script = {"EHLO": WITH_LOGIN, "RCPT": b"450 4.2.2 over quota\r\n"}
    async with relaying(joined, nats), ScriptedSmtp(script) as host:
        await routed(joined, "far.test", host="127.0.0.1", port=host.port, **login)
        found = await probe(joined, "Far.TEST", recipient="bob@far.test")
        await routed(joined, "*", host="127.0.0.1", port=host.port, tls="none")
        by_any = await probe(joined, "*")
    assert (found["domain"], found["outcome"]) == ("far.test", "deferred")
    assert found["failure"] == {
        "stage": "rcpt",
        "code": 450,
        "status": "4.2.2",
        "reply": "450 4.2.2 over quota",
        "meaning": "The mailbox is full.",
        "permanent": False,
    }
    (connection,) = found["connections"]
    assert (connection["host"], connection["address"], connection["port"]) == (
        *("127.0.0.1", "127.0.0.1"),
        host.port,
    )
    assert (connection["authentication"], connection["tls"]) == ("accepted", None)
    assert "SIZE 1000000" in connection["extensions"]
    assert [step["stage"] for step in connection["steps"]] == [
        *("greeting", "ehlo", "auth", "mail", "rcpt", "rset", "quit")
    ]
    assert connection["steps"][0]["meaning"] == "The server is ready."
    assert "sesame" not in json.dumps(found)
    assert (by_any["outcome"], by_any["failure"]) == ("accepted", None)
    assert by_any["connections"][0]["authentication"] is None
    assert "DATA" not in host.verbs
    # it is audited by its name, as each use of a login is
    lines = await joined.sql("SELECT object, details::text FROM audit WHERE action = 'route.probe'")
    assert len(lines) == 2 and "sesame" not in str(lines)


async def test_who_may_name_which_recipient(joined: Api) -> None:
    for domain in ("far.test", "*"):
        await routed(joined, domain, tls="required")
    for path, recipient in (
        ("far.test", "bob@elsewhere.test"),
        ("far.test", "no address"),
        ("*", None),
        ("*", "bob@far.test"),
    ):
        answer = await joined.client.post(f"/v1/routes/{path}/probe", json={"recipient": recipient})
        problem(answer, 422, "invalid", "recipient")
    missing = await joined.client.post("/v1/routes/no.test/probe", json={})
    problem(missing, 404, "not-found")


async def test_without_a_relay_and_with_one_that_is_busy_or_silent(joined: Api, nats: Nats) -> None:
    await routed(joined, "far.test", host="127.0.0.1", port=9, tls="none")
    answer = await joined.client.post("/v1/routes/far.test/probe", json={})
    problem(answer, 503, "unavailable")
    assert "retry-after" in answer.headers

    begun, release, asked_for = asyncio.Semaphore(0), asyncio.Event(), []

    class Slow(RouteProber):
        async def probe(self, asked: object) -> Any:
            asked_for.append(asked)
            begun.release()
            await release.wait()
            raise AssertionError("a fault of the relay")

    async with connected(nats, "relay") as connection, NatsRouteProbeServer(connection, Slow()):
        asking = [
            asyncio.create_task(joined.client.post("/v1/routes/far.test/probe", json={}))
            for _ in range(4)
        ]
        for _ in asking:
            await begun.acquire()
        busy = await joined.client.post("/v1/routes/far.test/probe", json={})
        problem(busy, 503, "unavailable")
        release.set()
        for answer in await asyncio.gather(*asking):
            problem(answer, 503, "unavailable")
        # a question whose answer would go to the inbox of another part is ignored
        async with connected(nats, "api") as asker:
            question = b'{"route": "far.test", "destination": "far.test"}'
            await asker.publish(RELAY_PROBE, question, "_INBOX.smtp-in.x")
            with pytest.raises(Unavailable):
                await NatsRouteProbes(asker).probe(RouteProbe("far.test", "far.test"))
    assert len(asked_for) == 5
