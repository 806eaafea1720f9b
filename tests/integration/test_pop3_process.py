"""The POP3 process: it serves without NATS, and tells of what was read once NATS is there."""

from __future__ import annotations

import asyncio
import poplib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.events import NatsTrace
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.events import READ
from posthorn_local.embedded import Nats, free_port
from tests.conformance.mail_stores import postgres_mail_store
from tests.conformance.twins import PASSWORD, hash_of_password
from tests.support.databases import logged_in
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, until
from tests.support.service_process import environment, program, service_process

ADDRESS = "alice@example.test"
THREE = [b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n) for n in (1, 2, 3)]


@asynccontextmanager
async def process(
    log: Path, nats: Nats, database_url: str, blobs: Path
) -> AsyncIterator[tuple[int, int]]:
    """The service as a process that is ready. Return the ports of POP3 and of its health page."""
    pop3, health = free_port(), free_port()
    variables = environment(
        NATS_URL=nats.url_of("pop3"),
        DATABASE_URL=logged_in(database_url, "pop3"),
        BLOBS=blobs.as_uri(),
        POP3_HOST="127.0.0.1",
        POP3_CLEARTEXT="loopback",
        POP3_PORT=str(pop3),
        HEALTH_HOST="127.0.0.1",
        HEALTH_PORT=str(health),
    )
    async with service_process(program("pop3"), log, variables):
        yield pop3, health


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
    done = subprocess.run(
        program("pop3"),
        env=environment(
            NATS_URL=url,
            DATABASE_URL="postgresql://127.0.0.1:1/x",
            BLOBS=tmp_path.as_uri(),
            POP3_PORT="0",
            HEALTH_PORT="0",
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "POSTHORN_NATS_URL" in done.stderr
