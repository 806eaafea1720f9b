"""Postgres that stops, hangs or refuses: Unavailable in good time, without a secret, and well
again when it returns."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

import asyncpg
import pytest
from sqlalchemy import exc, text

from posthorn.adapters.postgres import database as module
from posthorn.adapters.postgres import pool as pool_module
from posthorn.adapters.postgres.connecting import connector
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.engine import engine_faults, make_engine
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import MaildropBusy
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import Postgres, free_port
from tests.support.builders import make_message, make_segment
from tests.support.databases import pool
from tests.support.polling import BUSY_SECONDS, until
from tests.support.seed import DatabaseSeed


def connection_refused() -> Unavailable:
    fault = Unavailable("other", "connection refused")
    fault.nothing_changed = True
    return fault


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with pool(database_url, database_pool=2) as opened:
        yield opened


async def test_every_method_says_unavailable_while_postgres_is_down_and_works_again_after(
    own_postgres: Postgres,
) -> None:
    async with pool(own_postgres.url) as database:
        seed = DatabaseSeed(database)
        mailboxes, maildrops, segments = (
            PostgresMailboxes(database),
            PostgresMaildrops(database),
            PostgresSegmentCatalog(database),
        )
        (ada,) = await seed.accounts(1)
        holder = new_id()
        await maildrops.open(ada, holder)
        batch = [make_segment([make_message([ada])])]
        port = own_postgres.port
        own_postgres.stop(kill=True)
        secret = own_postgres.url.split(":")[2].split("@")[0]
        calls = (
            lambda: mailboxes.resolve(["user0@example.test"], []),
            lambda: mailboxes.deliver(batch),
            lambda: mailboxes.long_senders([("example.test", "token")]),
            lambda: mailboxes.probe(),
            lambda: maildrops.login("user0@example.test"),
            lambda: maildrops.open(ada, holder),
            lambda: maildrops.renew([(ada, holder)]),
            lambda: maildrops.locate(ada, [1]),
            lambda: maildrops.commit(ada, holder, [1]),
            lambda: maildrops.release([(ada, holder)]),
            lambda: maildrops.probe(),
            lambda: segments.lead(5),
            lambda: segments.mostly_dead(0.5, 0, 1),
            lambda: segments.live_messages(holder),
            lambda: segments.move(holder, None, {}),
            lambda: segments.condemned(0, 1),
            lambda: segments.removed([holder]),
            lambda: segments.unknown_keys(["x"]),
            lambda: segments.forget_messages(0, 1),
            lambda: segments.forget_long_senders(23, 1),
        )
        for call in calls:
            with pytest.raises(Unavailable) as fault:
                await call()
            assert fault.value.part == "postgres"
            assert secret not in str(fault.value)
            assert fault.value.__cause__ is None
        own_postgres.start(port)
        # the first call already gets a new connection
        assert await mailboxes.deliver(batch) == 1
        assert (await maildrops.open(ada, holder)).uids == [1]
        await seed.sums_hold()


async def test_a_fault_says_whether_anything_can_have_changed(own_postgres: Postgres) -> None:
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    async with pool(own_postgres.url) as database:
        async with database.session() as connection:
            await connection.execute("CREATE TABLE made (n integer)")
            await connection.execute(
                "CREATE FUNCTION ending() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$BEGIN IF NEW.n = 3 THEN PERFORM ({end}); END IF; RETURN NEW; END$$"
            )
            await connection.execute(
                "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON made DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION ending()"
            )
        faults = []
        with pytest.raises(Unavailable) as fault:  # before COMMIT
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO made VALUES (1)")
                await connection.execute(end)
        faults.append(fault.value.nothing_changed)
        with pytest.raises(Unavailable) as fault:  # a statement that is its own transaction
            async with database.session() as connection:
                await connection.execute(end)
        faults.append(fault.value.nothing_changed)
        with pytest.raises(Unavailable) as fault:  # at COMMIT
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO made VALUES (3)")
        faults.append(fault.value.nothing_changed)
        with pytest.raises(Unavailable) as fault:  # what the caller does beside it
            async with database.session():
                raise connection_refused()
        faults.append(fault.value.nothing_changed)
        await database.pool.clear()
        own_postgres.stop(kill=True)
        for lend in (database.session, database.transaction):
            with pytest.raises(Unavailable) as fault:
                async with lend():
                    pass
            faults.append(fault.value.nothing_changed)
    assert faults == [True, False, False, False, True, True]


async def test_idle_connections_that_the_server_closed_are_not_used_again(
    own_postgres: Postgres,
) -> None:
    async with pool(own_postgres.url) as database:
        await asyncio.gather(*(database.probe() for _ in range(4)))
        port = own_postgres.port
        own_postgres.stop()
        own_postgres.start(port)
        # starting held the event loop up, which has yet to hear of the end
        await asyncio.sleep(0.1)
        await asyncio.gather(*(database.probe() for _ in range(4)))


async def works(database: Database) -> bool:
    """Whether it serves within the short time that it has here."""
    with suppress(Unavailable):
        await database.probe()
        return True
    return False


async def test_a_statement_that_takes_too_long_is_unavailable(database_url: str) -> None:
    for prepared in (True, False):
        async with pool(
            database_url, database_timeout_seconds=0.2, database_prepared=prepared
        ) as database:
            async with asyncio.timeout(BUSY_SECONDS):
                with pytest.raises(Unavailable):
                    async with database.session() as connection:
                        await connection.fetchval("SELECT pg_sleep(300)")
            await until(lambda: works(database))


async def test_a_server_that_accepts_and_is_silent_is_unavailable_in_good_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module.CONNECT_SECONDS <= 5
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.3)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with pool(f"postgresql://posthorn:x@127.0.0.1:{port}/posthorn") as database:
        async with asyncio.timeout(BUSY_SECONDS):
            with pytest.raises(Unavailable):
                await database.probe()
    server.close()


async def test_a_pool_that_is_busy_for_too_long_is_unavailable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1.0)
    async with pool(database_url, database_pool=1) as database:
        await until(lambda: works(database))
        async with database.session():
            async with asyncio.timeout(BUSY_SECONDS):
                with pytest.raises(Unavailable):
                    await database.probe()
        await until(lambda: works(database))


async def test_nothing_is_connected_before_it_is_needed() -> None:
    async with pool(f"postgresql://posthorn:sesame@127.0.0.1:{free_port()}/posthorn") as database:
        with pytest.raises(Unavailable, match=r"^postgres: ConnectionRefusedError: .*127\.0\.0\.1"):
            await database.probe()


async def test_a_wrong_password_is_unavailable_and_not_told(database_url: str) -> None:
    async with pool(database_url.replace("posthorn:", "posthorn:sesame", 1)) as database:
        with pytest.raises(Unavailable) as fault:
            await database.probe()
        assert "sesame" not in str(fault.value)
        assert "28P01" in str(fault.value)
        assert "POSTHORN_DATABASE_URL" in str(fault.value)


@pytest.mark.parametrize(
    ("statement", "outage"),
    [
        ("SELECT 1 / 0", False),
        ("SELECT 'x'::integer", False),
        ("SELEKT", False),
        ("INSERT INTO tenants (id, name) VALUES (gen_random_uuid(), 'default')", False),
        ("SELECT * FROM a_table_of_the_next_release", True),
        ("SELECT a_column_of_the_next_release FROM accounts", True),
        ("DO $$ BEGIN RAISE serialization_failure; END $$", True),
        ("DO $$ BEGIN RAISE deadlock_detected; END $$", True),
        ("DO $$ BEGIN RAISE too_many_connections; END $$", True),
        ("DO $$ BEGIN RAISE cannot_connect_now; END $$", True),
        ("DO $$ BEGIN RAISE disk_full; END $$", True),
        ("DO $$ BEGIN RAISE read_only_sql_transaction; END $$", True),
        ("DO $$ BEGIN RAISE io_error; END $$", True),
    ],
)
async def test_outages_are_told_from_faults_of_one_message(
    database: Database, statement: str, outage: bool
) -> None:
    expected = Unavailable if outage else asyncpg.PostgresError
    with pytest.raises(expected):
        async with database.session() as connection:
            await connection.execute(statement)
    await database.probe()


async def test_a_value_that_cannot_be_encoded_is_no_outage(database: Database) -> None:
    for value in ("nul\0", "\ud800", 5):
        with pytest.raises((asyncpg.DataError, ValueError)):
            async with database.session() as connection:
                await connection.fetchval("SELECT $1::text", value)
    with pytest.raises((asyncpg.DataError, ValueError, OverflowError)):
        async with database.session() as connection:
            await connection.fetchval("SELECT $1::bigint", 2**64)
    await database.probe()


async def test_a_standby_after_failover_is_not_used_for_ever(database_url: str) -> None:
    async with pool(database_url, database_pool=1) as database:
        async with database.session() as connection:
            before = connection.get_server_pid()
        with pytest.raises(Unavailable, match="25006"):
            async with database.session() as connection:
                await connection.execute("SET default_transaction_read_only = on")
                await connection.execute("DELETE FROM directory_outbox")
        async with database.session() as connection:
            assert connection.get_server_pid() != before
            await connection.execute("DELETE FROM directory_outbox")


async def test_a_cancelled_transaction_gives_its_connection_back_clean(database_url: str) -> None:
    async with pool(database_url, database_pool=1) as database:
        inserted = asyncio.Event()

        async def work() -> None:
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO directory_outbox (subject) VALUES ('x')")
                inserted.set()
                await connection.execute("SELECT pg_sleep(30)")

        working = asyncio.create_task(work())
        await inserted.wait()
        await asyncio.sleep(0.05)  # it sleeps by now, or has yet to begin: either will do
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        async with database.session() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT count(*) FROM directory_outbox") == 0


async def test_after_a_use_was_cancelled_at_any_moment_the_next_ones_are_committed(
    database_url: str,
) -> None:
    """The driver takes a BEGIN that was cancelled on its way for an open transaction, and all that
    follows on the connection for parts of it."""
    async with pool(database_url, database_pool=1) as database, pool(database_url) as others:
        at_once = {"session": database.session, "transaction": database.transaction}

        async def write(kind: str, subject: str) -> None:
            async with at_once[kind]() as connection:
                await connection.execute(
                    "INSERT INTO directory_outbox (subject) VALUES ($1)", subject
                )

        async def count(subject: str) -> int:
            async with others.session() as connection:
                query = "SELECT count(*) FROM directory_outbox WHERE subject = $1"
                return int(await connection.fetchval(query, subject))

        ended = dict.fromkeys(at_once, 0)
        for steps, kind in itertools.product(range(40), at_once):
            cancelled = asyncio.create_task(write(kind, "cancelled"))
            for _ in range(steps):
                await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            ended[kind] += not cancelled.cancelled()
            for following in at_once:
                subject = f"{kind} {steps} {following}"
                await write(following, subject)
                assert await count(subject) == 1, subject
        assert all(number < 40 for number in ended.values()), "some were cancelled"


async def test_a_session_sends_the_limits_that_keep_a_dead_host_from_holding_locks(
    database_url: str,
) -> None:
    async with pool(database_url) as database, database.session() as connection:
        assert await connection.fetchval("SHOW statement_timeout") == "30s"
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "30s"
        assert await connection.fetchval("SHOW tcp_keepalives_idle") == "10"
        assert await connection.fetchval("SHOW jit") == "off"


async def test_parameters_of_the_url_keep_their_meaning(database_url: str) -> None:
    head = database_url.replace("postgresql://", "postgres://")
    url = (
        head
        + "?sslmode=disable&connect_timeout=3&channel_binding=prefer&statement_timeout=7s&application_name=here"
    )
    async with pool(url) as database, database.session() as connection:
        assert await connection.fetchval("SHOW statement_timeout") == "7s"
        assert await connection.fetchval("SHOW application_name") == "here"
    async with pool(head + "?sslmode=require") as database:
        # the server of the tests has no TLS, and none is not enough
        with pytest.raises(Unavailable):
            await database.probe()


async def test_several_hosts_may_be_named(database_url: str) -> None:
    first, _, rest = database_url.partition("@")
    several = f"{first}@127.0.0.1:{free_port()},{rest}?target_session_attrs=read-write"
    async with pool(several) as database:
        await database.probe()


async def test_unprepared_work_leaves_no_statement_on_the_server(database_url: str) -> None:
    # PgBouncer hands the server connection to another client after each transaction
    async with pool(database_url, database_pool=1, database_prepared=False) as database:
        seed = DatabaseSeed(database)
        mailboxes, maildrops = PostgresMailboxes(database), PostgresMaildrops(database)
        segments = PostgresSegmentCatalog(database)
        (ada,) = await seed.accounts(1)
        batch = make_segment([make_message([ada]), make_message([ada])])
        found = await mailboxes.resolve(["user0+tag@example.test"], [batch.messages[0].envelope.id])
        assert (dict(found.accounts), found.delivered) == (
            {"user0+tag@example.test": (ada,)},
            frozenset(),
        )
        assert await mailboxes.deliver([batch]) == 2
        holder = new_id()
        assert (await maildrops.open(ada, holder)).uids == [1, 2]
        with pytest.raises(MaildropBusy):
            await maildrops.open(ada, new_id())
        assert await maildrops.renew([(ada, holder)]) == {holder}
        assert set(await maildrops.locate(ada, [1, 2])) == {1, 2}
        assert await maildrops.commit(ada, holder, [1, 2]) == 2
        assert await segments.lead(5)
        assert [part.id for part in await segments.mostly_dead(0, 0, 5)] == [batch.id]
        assert await segments.move(batch.id, None, {})
        assert await segments.condemned(0, 5) == [(batch.id, batch.key)]
        await segments.removed([batch.id])
        assert await segments.unknown_keys([batch.key]) == {batch.key}
        assert await segments.forget_messages(0, 5) == 2
        await seed.sums_hold()
        async with database.session() as connection:
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"
                )
                == 0
            )


async def test_an_engine_for_migrations_has_no_time_limit_and_the_same_faults(
    database_url: str,
) -> None:
    engine = make_engine(connector(database_url, seconds=None))
    try:
        async with engine.connect() as connection:
            assert (await connection.execute(text("SHOW statement_timeout"))).scalar() == "0"
        for statement, expected in (
            ("SELECT * FROM a_table_of_the_next_release", Unavailable),
            ("DO $$ BEGIN RAISE disk_full; END $$", Unavailable),
            ("SELECT 1 / 0", exc.DBAPIError),
        ):
            with pytest.raises(expected), engine_faults():
                async with engine.begin() as connection:
                    await connection.execute(text(statement))
    finally:
        await engine.dispose()


async def test_the_pool_lends_the_last_one_returned_and_replaces_old_ones(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool(database_url, database_pool=2) as database:

        async def backend(*others: AbstractAsyncContextManager[Connection]) -> list[int]:
            async with AsyncExitStack() as stack:
                lent = [await stack.enter_async_context(each) for each in others]
                return [each.get_server_pid() for each in lent]

        both = await backend(database.session(), database.session())
        assert len(set(both)) == 2
        assert await backend(database.session()) == both[:1], "returned last, lent first"
        assert await backend(database.transaction()) == both[:1]
        async with database.session() as lent:
            await database.pool.clear()
            assert await lent.fetchval("SELECT 1") == 1, "what is lent stays until it returns"
        assert lent.is_closed()
        (fresh,) = await backend(database.session())
        assert fresh not in both
        monkeypatch.setattr(pool_module, "monotonic", lambda: time.monotonic() + 3600)
        assert await backend(database.session()) != [fresh], "an old one is replaced"


async def test_who_gives_up_waiting_for_a_connection_takes_none_with_it(database_url: str) -> None:
    async with pool(database_url, database_pool=1) as database:
        async with database.session():
            waiting = asyncio.create_task(database.probe())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await asyncio.gather(*(database.probe() for _ in range(5)))


async def test_json_is_passed_as_text_and_returned_as_objects(database: Database) -> None:
    async with database.session() as connection:
        for kind in ("json", "jsonb"):
            found = await connection.fetchval(f"SELECT $1::{kind}", '{"a": ["\u00fc", 1]}')
            assert found == {"a": ["\u00fc", 1]}
            found = await connection.fetchval(f"SELECT $1::{kind}[]", ["null", "[2]"])
            assert found == [None, [2]]


async def test_a_lost_session_during_the_wait_for_a_lock_frees_what_it_held(
    database: Database, database_url: str
) -> None:
    other: Connection = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("INSERT INTO tenants (id, name) VALUES ($1, 'held')", new_id())

        async def work() -> None:
            async with database.transaction() as connection:
                await connection.execute("SELECT pg_advisory_xact_lock(7)")
                await connection.execute(
                    "INSERT INTO tenants (id, name) VALUES ($1, 'held')", new_id()
                )

        working = asyncio.create_task(work())
        async with asyncio.timeout(BUSY_SECONDS):
            while not (pid := await other.fetchval("SELECT pid FROM pg_locks WHERE NOT granted")):
                await asyncio.sleep(0.01)
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(Unavailable):
            await working
        async with asyncio.timeout(BUSY_SECONDS):
            while not await other.fetchval("SELECT pg_try_advisory_xact_lock(7)"):
                await asyncio.sleep(0.01)
    await other.close()
