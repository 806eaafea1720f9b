"""The relay as a process: a route from the table, a server elsewhere, SIGKILL while it sends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from posthorn_local.embedded import Nats, free_port
from tests.support.databases import logged_in
from tests.support.polling import BUSY_SECONDS, until
from tests.support.relay_env import RelayEnv
from tests.support.scripted_smtp import STALL, ScriptedSmtp
from tests.support.service_process import environment, page, program, until_ready


@contextmanager
def relay_process(env: RelayEnv, nats: Nats, health: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start one; it is killed at the end if it still runs."""
    settings = env.settings
    variables = environment(
        NATS_URL=nats.url_of("relay"),
        DATABASE_URL=logged_in(settings.database_url.get_secret_value(), "relay"),
        BLOBS=settings.blobs.get_secret_value(),
        SECRET_KEY=settings.secret_key.get_secret_value(),
        HEALTH_HOST="127.0.0.1",
        HEALTH_PORT=str(health),
        RELAY_DIRECT="false",
        RELAY_POLL_SECONDS="0.2",
    )
    process = subprocess.Popen(program("relay"), env=variables, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(BUSY_SECONDS)


async def route(env: RelayEnv, domain: str, port: int) -> None:
    await env.rows(
        "INSERT INTO routes (domain, host, port, tls) VALUES ($1, '127.0.0.1', $2, 'none')",
        domain,
        port,
    )


async def test_it_sends_by_its_route_counts_and_stops_at_sigterm(env: RelayEnv, nats: Nats) -> None:
    health = free_port()
    async with ScriptedSmtp() as host:
        await route(env, "sink.test", host.port)
        with relay_process(env, nats, health) as process:
            await until_ready(health)
            message = await env.post("bob@sink.test")
            unrouted = await env.post("bob@nowhere.test")
            await env.become(message, bob="delivered")
            await env.become(unrouted, bob="deferred")
            metrics = ""

            async def counted() -> bool:
                nonlocal metrics
                metrics = (await page(health, "metrics")).text
                return "posthorn_relay_record_seconds_count 2.0" in metrics

            await until(counted, what="both records in the metrics")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 2 * BUSY_SECONDS) == 0
    assert 'posthorn_relay_attempts_total{result="delivered",stage="end"} 1.0' in metrics
    assert 'posthorn_relay_provider_attempts_total{provider="other",status="2xx"} 1.0' in metrics
    assert "posthorn_postgres_pool_size" in metrics
    ((reply,),) = await env.rows(
        "SELECT last_reply FROM outbound_recipients WHERE state = 'deferred'"
    )
    assert "no route" in reply
    assert await env.rows("SELECT id FROM outbound_slots") == []


async def test_when_one_relay_is_killed_while_it_sends_another_takes_over(
    env: RelayEnv, nats: Nats
) -> None:
    first_health, second_health = free_port(), free_port()
    async with ScriptedSmtp({"RCPT": [STALL, b"250 2.1.5 ok\r\n"]}) as host:
        await route(env, "sink.test", host.port)
        with relay_process(env, nats, first_health) as first:
            await until_ready(first_health)
            message = await env.post("bob@sink.test")

            async def asked() -> bool:
                return "RCPT" in host.verbs

            await until(asked, BUSY_SECONDS, "the first attempt")
            first.kill()
            await env.become(message, bob="sending")
            with relay_process(env, nats, second_health):
                await until_ready(second_health)
                # no test waits for twenty seconds of silence
                await env.rows(
                    "UPDATE relays SET alive_until = now() - interval '1 s' WHERE id IN (SELECT relay FROM outbound_slots)"
                )
                await env.become(message, bob="delivered")
    assert len(host.contents) == 1
