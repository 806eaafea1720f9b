"""Access to Postgres: a pool, short time limits, and faults as ``ports.errors``.

Rules:

- Adapters use asyncpg's connection (``session``, ``transaction``): arrays in, records out.
  SQLAlchemy describes the schema and runs migrations, in processes of their own (ADR 47).
- An outage and a bad value are distinguished: see ``faults``.
- A vanished peer is detected within seconds, however long statements may take: see ``liveness``.
- With ``slots`` (as many as the pool has connections) tenants take turns at the pool: one tenant's
  slow statements leave a connection to the others.
- When a connection is opened and lent, see ``pool``.
- Behind PgBouncer in transaction mode set ``POSTHORN_DATABASE_PREPARED=false``: statements are then
  prepared without a name inside a transaction, and no session setting is sent (set
  statement_timeout, jit=off and keep-alives in PgBouncer or for the role).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any
from uuid import UUID
from weakref import WeakSet

import asyncpg

from posthorn.adapters.postgres.connecting import CONNECT_SECONDS as CONNECT_SECONDS
from posthorn.adapters.postgres.connecting import Connection as Connection
from posthorn.adapters.postgres.connecting import (
    connector,
    read_json,
    split_parameters,
)
from posthorn.adapters.postgres.faults import translate, translated
from posthorn.adapters.postgres.liveness import Liveness
from posthorn.adapters.postgres.pool import ConnectionPool
from posthorn.adapters.postgres.schema import SCHEMA_VERSION
from posthorn.ports.errors import Halted, Unavailable
from posthorn.runtime.fair_slots import FairSlots, SlotsTaken
from posthorn.runtime.holders import present_holder
from posthorn.runtime.settings import PostgresSettings
from posthorn.runtime.tasks import cancel_and_wait

_MOST_WAITING = 1000
_ABSENT = "(absent)"


class Database:
    """A pool of connections to Postgres. Made by ``connect``."""

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        prepared: bool = True,
        slots: FairSlots | None = None,
        liveness: Liveness | None = None,
    ) -> None:
        self.pool = pool
        self.gate: Callable[[], None] = _open
        """Called before each use; raises Unavailable while this database must not be used (ADR
        18)."""
        self.installation: Callable[[], UUID | None] = _any
        """The installation that a new connection must belong to; None: any. So the pool never
        uses another server unnoticed."""
        self._known: WeakSet[Any] = WeakSet()
        self._prepared = prepared
        self._liveness = liveness or Liveness()
        self._slots = slots

    def ungated(self) -> Database:
        """Return the same pool without the gate, for the code that controls the gate, and for
        probes."""
        return Database(self.pool, prepared=self._prepared, liveness=self._liveness)

    def faults(self) -> AbstractContextManager[None]:
        """Translate faults of the store into Unavailable; errors of data, integrity and
        programming pass through. Raises at once what the gate raises."""
        self.gate()
        return translated()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Lend a driver connection on which each statement is a transaction of its own. Faults
        as in ``faults``."""
        if not self._prepared:
            async with self.transaction() as connection:
                yield connection
            return
        async with self._lent() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a driver connection inside a transaction (READ COMMITTED): committed on leaving,
        rolled back on an error.

        After Unavailable the transaction may have been committed all the same, if the answer to
        COMMIT was lost; not so with ``nothing_changed``, since COMMIT was not sent.
        """
        is_committing = False
        try:
            async with self._lent() as connection, connection.transaction():
                yield connection
                is_committing = True
        except Unavailable as fault:
            fault.nothing_changed = not is_committing
            raise

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        is_lent = False
        try:
            async with self._borrowed() as connection:
                is_lent = True
                yield connection
        except Unavailable as fault:
            fault.nothing_changed = not is_lent
            raise

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Connection]:
        with self.faults():
            async with self._turn():
                connection = await self.pool.take()
                self._liveness.lent(connection)
                is_valid = True
                try:
                    await self._make_sure(connection)
                    yield connection
                except Exception as error:
                    # the next user must not get a connection to a failed-over server
                    is_valid = not (
                        connection.is_closed()
                        or connection.is_in_transaction()
                        or isinstance(error, Halted)
                        or translate(error)
                    )
                    raise
                except BaseException:
                    # cancelled, and a statement may be on its way: behind a BEGIN, of which the
                    # driver knows nothing yet, all that the next users write would not be committed
                    is_valid = False
                    raise
                finally:
                    self._liveness.returned(connection)
                    if is_valid:
                        self.pool.give(connection)
                    else:
                        await self.pool.discard(connection)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for the caller's turn at the pool. A timeout means that Postgres is slow, which
        is not the caller's fault: Unavailable."""
        if self._slots is None:
            yield
            return
        holder = present_holder()
        try:
            await self._slots.take(holder)
        except SlotsTaken:
            raise Unavailable("postgres", "no connection of the pool became free in time") from None
        try:
            yield
        finally:
            self._slots.give(holder)

    async def _make_sure(self, connection: Connection) -> None:
        """Check which installation's database a new connection leads to."""
        expected = self.installation()
        if expected is None or connection in self._known:
            return
        found = await connection.fetchval("SELECT id FROM installation")
        if found != expected:
            raise Halted(
                "postgres", f"a new connection leads to installation {found}, not {expected}"
            )
        self._known.add(connection)

    async def probe(self) -> None:
        """Check the schema's revision. Raises Unavailable for one earlier than this code needs.

        A later one is served: steps expand before they contract, so that the previous release's
        processes keep running while those of a new release, whose migration has run, are starting,
        and so that a release can be rolled back (ADR 17).
        """
        async with self.ungated().session() as connection:
            found = await connection.fetchval("SELECT version_num FROM alembic_version")
        if found is None or found < SCHEMA_VERSION:  # numbers of four digits
            raise Unavailable("postgres", f"schema {found or _ABSENT}, needed {SCHEMA_VERSION}")


@asynccontextmanager
async def connect(
    settings: PostgresSettings, *, by_key: bool = False, shared: bool = False
) -> AsyncIterator[Database]:
    """Open a pool. It connects on first use, so that a service starts while Postgres is down.

    ``by_key``: every statement uses keys, whatever its values: one generic plan each is made and
    cached. ``shared``: tenants (``runtime.holders``) take turns.
    """
    url, liveness = settings.database_url.get_secret_value(), Liveness()
    open_connection = connector(
        url,
        seconds=settings.database_timeout_seconds,
        connect_seconds=CONNECT_SECONDS,
        prepared=settings.database_prepared,
        by_key=by_key,
        liveness=liveness,
    )

    async def opened() -> Connection:
        connection = await open_connection()
        try:
            await read_json(connection)
        except BaseException:
            liveness.returned(connection)
            connection.terminate()
            raise
        return connection

    pool = ConnectionPool(opened, size=settings.database_pool, wait_seconds=CONNECT_SECONDS)
    slots = None
    if shared:
        slots = FairSlots(
            "database connections",
            settings.database_pool,
            wait_seconds=CONNECT_SECONDS,
            waiting=_MOST_WAITING,
            waiting_each=_MOST_WAITING // 4,
        )
    dsn, _ = split_parameters(url)
    watching = asyncio.create_task(
        liveness.run(lambda seconds: _open_probe(dsn, seconds)), name="postgres liveness"
    )
    try:
        yield Database(pool, prepared=settings.database_prepared, slots=slots, liveness=liveness)
    finally:
        await cancel_and_wait(watching)
        await pool.close()


async def _open_probe(dsn: str, seconds: float) -> Connection:
    """Open a connection that checks others; it needs no statement cache and sends no session
    settings."""
    return await asyncpg.connect(
        dsn, timeout=seconds, command_timeout=seconds, statement_cache_size=0
    )


def _open() -> None:
    """Allow every use."""


def _any() -> None:
    """Expect no installation in particular."""


def clean_text(text: str) -> str:
    """Return the text without characters that Postgres refuses: NULs are removed, lone
    surrogates become U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
