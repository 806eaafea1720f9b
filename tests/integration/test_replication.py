"""Whether a commit survives a failover: what the primary says, what delivery makes of it, and a
real standby that takes over."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.postgres import replication as module
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.migrate import migrate_blocking
from posthorn.adapters.postgres.replication import ReplicationWatch, replication_of
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from posthorn.runtime.tasks import cancel_and_wait
from posthorn_delivery.consumer import Consumer
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.gated_source import GatedSource
from posthorn_local.embedded import Nats, Postgres, die_with_parent
from tests.support.builders import make_envelope, make_message, make_segment
from tests.support.databases import pool
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, until
from tests.support.seed import DatabaseSeed
from tests.support.standby import Standby, ask, await_value, both, set_synchronous

pytestmark = pytest.mark.timeout(240)

BODY = b"Subject: hello\r\n\r\nworld\r\n"
SENDERS = "SELECT count(*) FROM pg_stat_replication"


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path / "primary")
    server.start()
    migrate_blocking(server.url)
    yield server
    server.stop(kill=True)


@pytest.fixture
async def standby(primary: Postgres, tmp_path: Path) -> AsyncIterator[Postgres]:
    server = Standby(tmp_path / "standby", primary)
    server.start(timeout=60)
    await await_value(primary, SENDERS, 1)
    yield server
    server.stop(kill=True)


@pytest.fixture
async def database(primary: Postgres) -> AsyncIterator[Database]:
    async with pool(primary.url) as opened:
        yield opened


async def test_a_server_alone_is_safe_and_tools_that_copy_its_log_change_nothing(
    primary: Postgres, database: Database, tmp_path: Path
) -> None:
    watch = ReplicationWatch(database, demanded=True)
    with pytest.raises(Unavailable):
        await watch.probe()
    assert (await watch.look()).standbys == 0
    await watch.probe()
    (tmp_path / "wal").mkdir()
    receiving = subprocess.Popen(
        [
            str(primary._bin / "pg_receivewal"),
            "-D",
            str(tmp_path / "wal"),
            "-d",
            primary.url_of("postgres"),
        ],
        preexec_fn=die_with_parent(),
        stderr=subprocess.DEVNULL,
    )
    try:
        await await_value(primary, SENDERS, 1)
        assert (await watch.look()).standbys == 0
        await watch.probe()
    finally:
        receiving.kill()
        receiving.wait()


async def test_a_wrong_password_is_not_taken_for_standbys_that_nobody_waits_for(
    primary: Postgres,
) -> None:
    async with pool(primary.url.replace("posthorn:", "posthorn:not-", 1)) as database:
        watch = ReplicationWatch(database, demanded=True)
        running = asyncio.create_task(watch.run())

        async def told() -> bool:
            with pytest.raises(Unavailable) as caught:
                watch.check()
            return "password authentication failed" in caught.value.detail

        await until(told, BUSY_SECONDS)
        await cancel_and_wait(running)


async def test_an_asynchronous_standby_is_refused_unless_its_loss_is_accepted(
    primary: Postgres, standby: Postgres, database: Database
) -> None:
    demanding, accepting = (
        ReplicationWatch(database, demanded=True),
        ReplicationWatch(database, demanded=False),
    )
    found = await demanding.look()
    assert (found.standbys, found.names, found.commit) == (1, "", "on")
    with pytest.raises(Unavailable):
        demanding.check()
    with pytest.raises(Unavailable):
        await demanding.probe()
    await accepting.look()
    await accepting.probe()

    standby.stop()
    await await_value(primary, SENDERS, 0)
    await demanding.look()
    with pytest.raises(Unavailable):  # it may come back, and take over
        demanding.check()
    standby.start(standby.port)

    await set_synchronous(primary, "*")
    await demanding.look()
    await demanding.probe()


async def test_names_alone_do_not_do_when_sessions_do_not_wait(
    primary: Postgres, standby: Postgres
) -> None:
    await set_synchronous(primary, "*")
    for commit, safe in (
        ("on", True),
        ("remote_apply", True),
        ("remote_write", True),
        ("local", False),
        ("off", False),
    ):
        async with pool(f"{primary.url}?synchronous_commit={commit}") as database:
            watch = ReplicationWatch(database, demanded=True)
            assert (await watch.look()).waits is safe
            with nullcontext() if safe else pytest.raises(Unavailable):
                watch.check()


async def test_a_role_without_rights_sees_the_standby_and_may_confirm(
    primary: Postgres, standby: Postgres
) -> None:
    await ask(primary, "CREATE ROLE plain LOGIN PASSWORD 'plain'")
    url = f"postgresql://plain:plain@127.0.0.1:{primary.port}/posthorn"
    async with pool(url) as database:
        assert (await replication_of(database)).standbys == 1
        async with database.session() as connection:
            await module.confirm(connection)


async def test_a_standby_is_no_server_to_work_with(standby: Postgres) -> None:
    async with pool(standby.url) as database:
        with pytest.raises(Unavailable, match="standby"):
            await replication_of(database)


async def test_what_a_commit_that_was_not_waited_for_left_is_confirmed_before_it_is_acknowledged(
    primary: Postgres, standby: Postgres, database: Database
) -> None:
    await set_synchronous(primary, "*")
    (ada,) = await DatabaseSeed(database).accounts(1)
    placed = make_message([ada])
    identity = placed.envelope.id
    standby.stop()
    async with pool(primary.url, database_timeout_seconds=2) as hasty:
        # the wait is cut short: the row is there all the same, and on no standby
        with pytest.raises(Unavailable):
            await PostgresMailboxes(hasty).deliver([make_segment([placed])])
    resolving = asyncio.create_task(PostgresMailboxes(database).resolve([], [identity]))
    done, _ = await asyncio.wait([resolving], timeout=2)
    assert not done
    standby.start(standby.port)
    assert (await asyncio.wait_for(resolving, 30)).delivered == {identity}
    assert await ask(standby, f"SELECT count(*) FROM messages WHERE id = '{identity}'") == 1


@pytest.fixture
async def blobs(tmp_path: Path) -> FileBlobs:
    made = FileBlobs(tmp_path / "blobs")
    await made.open()
    return made


async def test_delivery_takes_nothing_while_a_failover_would_lose_it(
    primary: Postgres, standby: Postgres, nats: Nats, database: Database, blobs: FileBlobs
) -> None:
    (ada,) = await DatabaseSeed(database).accounts(1)
    watch = ReplicationWatch(database, demanded=True)
    await watch.look()
    async with (
        connect(nats_settings(nats), "test") as connection,
        NatsIngestSource(connection) as source,
    ):
        deliverer = Deliverer(
            PostgresMailboxes(database), blobs, NatsDeadLetters(connection), new_id=new_id
        )
        intake = Consumer(GatedSource(source, watch.check), deliverer, (512, 1 << 23, 1))
        running = asyncio.create_task(intake.run())
        try:
            await NatsIngest(connection).accept(
                make_envelope(BODY, to=("user0@example.test",)), BODY
            )
            await asyncio.sleep(1)
            assert (await source.backlog()).messages == 1
            assert await _entries(database, ada) == 0
            await set_synchronous(primary, "*")
            await watch.look()

            async def delivered() -> bool:
                return await _entries(database, ada) == 1 and (await source.backlog()).messages == 0

            await until(delivered, BUSY_SECONDS, "delivery")
        finally:
            await intake.drain(5)
            await running


async def test_a_failover_loses_nothing_that_was_acknowledged_when_commits_wait(
    primary: Postgres, standby: Postgres, nats: Nats, blobs: FileBlobs
) -> None:
    await set_synchronous(primary, "*")
    async with (
        pool(both(primary, standby), database_timeout_seconds=5) as database,
        connect(nats_settings(nats), "test") as connection,
        NatsIngestSource(connection) as source,
    ):
        (ada,) = await DatabaseSeed(database).accounts(1)
        watch = ReplicationWatch(database, demanded=True)
        first = await watch.look()
        deliverer = Deliverer(
            PostgresMailboxes(database), blobs, NatsDeadLetters(connection), new_id=new_id
        )
        intake = Consumer(GatedSource(source, watch.check), deliverer, (16, 1 << 23, 1))
        running = asyncio.create_task(intake.run())
        try:
            ingest, sent, stop = NatsIngest(connection), [], asyncio.Event()

            async def send() -> None:
                while not stop.is_set():
                    each = make_envelope(BODY, to=("user0@example.test",))
                    await ingest.accept(each, BODY)
                    sent.append(each.id)

            sending = [asyncio.create_task(send()) for _ in range(4)]
            await asyncio.sleep(2)
            assert primary.process
            primary.stop(kill=True)
            await ask(standby, "SELECT pg_promote()")
            await asyncio.sleep(2)
            stop.set()
            await asyncio.gather(*sending)

            async def empty() -> bool:
                return (await source.backlog()).messages == 0

            await until(empty, 60, "everything's delivery")
            async with database.session() as session:
                rows = await session.fetch(
                    "SELECT message_id FROM mailbox_entries WHERE account_id = $1", ada
                )
            assert sorted(row["message_id"] for row in rows) == sorted(sent)
            deadline = time.monotonic() + BUSY_SECONDS
            while time.monotonic() < deadline:
                with suppress(Unavailable):
                    if (await watch.look()).timeline != first.timeline:
                        break
                await asyncio.sleep(0.2)
            assert (await watch.look()).timeline != first.timeline
        finally:
            await intake.drain(5)
            await running


async def _entries(database: Database, account: int) -> int:
    async with database.session() as connection:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM mailbox_entries WHERE account_id = $1", account
        )
        return found
