"""The POP3 process: it serves without NATS, and tells of what was read once NATS is there."""

from __future__ import annotations

import asyncio
import os
import poplib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.events import NatsTrace
from posthorn.adapters.postgres.tables import DEFAULT_TENANT
from posthorn.model.events import READ
from posthorn_local.embedded import Nats, die_with_parent, free_port
from tests.conformance.mail_stores import postgres_mail_store
from tests.conformance.twins import PASSWORD, hash_of_password
from tests.support.databases import logged_in
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, until

ADDRESS = "alice@example.test"
THREE = [b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n) for n in (1, 2, 3)]


@asynccontextmanager
async def process(
    log: Path, nats: Nats, database_url: str, blobs: Path
) -> AsyncIterator[tuple[int, int]]:
    """The service as a process that is ready. Return the ports of POP3 and of its health page."""
    pop3, health = free_port(), free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")
    } | {
        "POSTHORN_NATS_URL": nats.url_of("pop3"),
        "POSTHORN_DATABASE_URL": logged_in(database_url, "pop3"),
        "POSTHORN_BLOBS": blobs.as_uri(),
        "POSTHORN_POP3_HOST": "127.0.0.1",
        "POSTHORN_POP3_CLEARTEXT": "loopback",
        "POSTHORN_POP3_PORT": str(pop3),
        "POSTHORN_HEALTH_HOST": "127.0.0.1",
        "POSTHORN_HEALTH_PORT": str(health),
    }
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", "from posthorn_pop3.main import main; main()"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=BUSY_SECONDS, verify=False) as client:

            async def ready() -> bool:
                assert child.poll() is None, log.read_text()
                try:
                    return (
                        await client.get(f"http://127.0.0.1:{health}/readyz")
                    ).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, 3 * BUSY_SECONDS, "readiness")
        yield pop3, health
        child.terminate()
        assert await asyncio.to_thread(child.wait, 2 * BUSY_SECONDS) == 0, log.read_text()
    finally:
        child.kill()
        child.wait()


def read(port: int, *numbers: int) -> list[str]:
    """Read messages as a mail client does. Return the unique ids of all."""
    client = poplib.POP3("127.0.0.1", port, timeout=BUSY_SECONDS)
    client.user(ADDRESS)
    client.pass_(PASSWORD)
    for number in numbers:
        assert client.retr(number)[1]
    listed = [line.decode().split()[1] for line in client.uidl()[1]]
    client.quit()
    return listed


async def test_people_read_their_mail_without_nats_and_the_trace_tells_of_it_later(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    nats.stop(kill=True)
    async with postgres_mail_store(
        database_url, tmp_path / "blobs", await hash_of_password()
    ) as house:
        account = await house.account(ADDRESS)
        await house.deliver(account, THREE)
        located = await house.maildrops.locate(account, [1, 2, 3])
        ids = [located[uid].message for uid in (1, 2, 3)]
        async with process(tmp_path / "log", nats, database_url, tmp_path / "blobs") as (port, _):
            assert len(await asyncio.to_thread(read, port, 1)) == 3
            restart(nats)
            async with connect(nats_settings(nats), "test") as connection:
                trace = NatsTrace(connection)

                async def told(message: UUID, times: int = 1) -> None:
                    async def there() -> bool:
                        return len(await trace.events_of(message)) >= times

                    await until(there, BUSY_SECONDS, "the read in the trace")

                await told(ids[0])
                (event,) = await trace.events_of(ids[0])
                assert event.kind == READ
                assert event.detail == {"account": ADDRESS, "tenant": str(DEFAULT_TENANT)}
                await asyncio.to_thread(read, port, 1, 1, 2)
                await told(ids[1])
                await told(ids[0], 2)
                assert [len(await trace.events_of(message)) for message in ids] == [2, 1, 0]


async def test_what_was_read_last_is_told_before_the_process_ends(
    nats: Nats, database_url: str, tmp_path: Path
) -> None:
    async with postgres_mail_store(
        database_url, tmp_path / "blobs", await hash_of_password()
    ) as house:
        account = await house.account(ADDRESS)
        await house.deliver(
            account, [b"Subject: %d\r\n\r\nbody\r\n" % number for number in range(900)]
        )
        located = await house.maildrops.locate(account, list(range(1, 901)))
        async with connect(nats_settings(nats), "test") as connection:
            async with process(tmp_path / "log", nats, database_url, tmp_path / "blobs") as (
                port,
                _,
            ):
                await asyncio.to_thread(read, port, *range(1, 901))
            trace = NatsTrace(connection)
            for uid in (1, 450, 900):
                assert [event.kind for event in await trace.events_of(located[uid].message)] == [
                    READ
                ]


@pytest.mark.parametrize("url", ["http://127.0.0.1", "nats://[::1"])
def test_a_url_that_is_none_is_refused_at_the_start(url: str, tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")
    } | {
        "POSTHORN_NATS_URL": url,
        "POSTHORN_DATABASE_URL": "postgresql://127.0.0.1:1/x",
        "POSTHORN_BLOBS": tmp_path.as_uri(),
        "POSTHORN_POP3_PORT": "0",
        "POSTHORN_HEALTH_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from posthorn_pop3.main import main; main()"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "POSTHORN_NATS_URL" in done.stderr
