"""Webhooks and statistics with real API processes, one of which is killed."""

from __future__ import annotations

import asyncio
import base64
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import httpx

from posthorn.adapters.nats.connection import connect
from posthorn.model.events import ACCEPTED, Event, encode_event
from posthorn.model.streams import EVENTS_PREFIX
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import Nats, free_port
from tests.support.hook_receiver import HookReceiver
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, until
from tests.support.service_process import environment, program, until_ready

KEY = "ph_" + "k" * 43


class Server:
    """An API process."""

    def __init__(self, database_url: str, nats_url: str, home: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.health = free_port()
        self._environment = environment(
            DATABASE_URL=database_url,
            NATS_URL=nats_url,
            BLOBS=f"file://{home}/blobs",
            API_HOST="127.0.0.1",
            HEALTH_HOST="127.0.0.1",
            API_PORT=str(port),
            HEALTH_PORT=str(self.health),
            GRACE_SECONDS="2",
            SECRET_KEY=base64.b64encode(b"s" * 32).decode(),
            API_ADMIN_KEY=KEY,
            WEBHOOK_PRIVATE_NETWORKS="127.0.0.0/8",
        )

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *program("api"),
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def end(self, number: int = signal.SIGTERM) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), BUSY_SECONDS)


async def test_every_event_arrives_and_counts_once_though_a_process_is_killed(
    database_url: str, nats: Nats, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(HookReceiver())
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                headers={"Authorization": f"Bearer {KEY}"}, timeout=BUSY_SECONDS, verify=False
            )
        )
        database = await asyncpg.connect(database_url)
        stack.push_async_callback(database.close)
        connection = await stack.enter_async_context(connect(nats_settings(nats), "test"))
        first, second = (Server(database_url, nats.url, tmp_path) for _ in range(2))

        async def up(server: Server) -> None:
            await server.start()
            stack.push_async_callback(server.end)
            await until_ready(server.health)

        async def happen(number: int) -> set[str]:
            names = set()
            for _ in range(number):
                message = new_id()
                names.add(str(message))
                told = {"account": "a@acme.test", "size": 1, "tenant": tenant}
                moment = (message.int >> 80) / 1000 + 1
                await connection.request(
                    f"{EVENTS_PREFIX}1", encode_event(Event(message, moment, ACCEPTED, told))
                )
            return names

        async def heard(names: set[str]) -> bool:
            return names <= {each.document["data"]["message"] for each in receiver.received}

        await up(first)
        tenant = (await client.get(f"{first.url}/v1/tenants")).json()["items"][0]["id"]
        body = {"url": receiver.url, "events": ["accepted"], "tenant": "default"}
        made = await client.post(f"{first.url}/v1/webhooks", json=body)
        assert made.status_code == 201, made.text
        names = await happen(20)
        await until(lambda: heard(names), BUSY_SECONDS, "telling")
        await up(second)

        receiver.hold.clear()
        names |= await happen(30)

        async def is_busy() -> bool:
            return receiver.most_at_once > 1 and bool(
                await database.fetchval("SELECT count(*) > 40 FROM webhook_deliveries")
            )

        await until(is_busy, BUSY_SECONDS)
        names |= await happen(10)
        await first.end(signal.SIGKILL)
        names |= await happen(20)
        # the time that the dead one's leadership and claims would take to end
        await database.execute(
            "UPDATE leaderships SET expires_at = now() WHERE task LIKE 'events%'"
        )
        await database.execute(
            "UPDATE webhook_deliveries SET due_at = now() WHERE state = 'waiting'"
        )
        receiver.hold.set()
        await until(lambda: heard(names), BUSY_SECONDS, "telling after a death")

        assert all(each.is_signed_with(made.json()["secret"]) for each in receiver.received)
        ids = {
            (each.document["data"]["message"], each.headers["webhook-id"])
            for each in receiver.received
        }
        assert len(ids) == len(names), "an event has one id, however often it is sent"
        assert await database.fetchval(
            "SELECT sum(messages) FROM statistics WHERE outcome = 'accepted'"
        ) == len(names)
