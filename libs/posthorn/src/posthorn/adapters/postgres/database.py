"""Access to Postgres: a pool, short time limits, and faults as ``ports.errors``.

Rules:

- Adapters use asyncpg's connection (``session``, ``transaction``): arrays in, records out.
  SQLAlchemy's engine provides the pool, the schema and migrations (ADR 30).
- An outage and a bad value must be distinguished: delivery retries after the one and moves the
  message to the retry lane after the other. So errors of data, integrity and programming pass
  through unchanged, and every other error of Postgres, the driver, the pool or the network becomes
  Unavailable. A missing table or column counts as an outage: the migration has not run yet.
- Unavailable carries the type of the fault and its SQLSTATE, nothing else: no SQL, no value, no
  URL.
- A vanished peer is detected within seconds, however long statements may take: see ``liveness``.
- With ``slots`` (as many as the pool has connections) tenants take turns at the pool: one tenant's
  slow statements leave a connection to the others.
- No ping before use: the driver knows when the server closed a connection, and a check-out drops
  such a connection for a new one.
- Behind PgBouncer in transaction mode set ``POSTHORN_DATABASE_PREPARED=false``: statements are then
  prepared without a name inside a transaction, and no session setting is sent (set
  statement_timeout, jit=off and keep-alives in PgBouncer or for the role).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID, uuid4
from weakref import WeakSet

import asyncpg
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from posthorn.adapters.postgres.liveness import Liveness
from posthorn.adapters.postgres.tables import SCHEMA_VERSION
from posthorn.ports.errors import Halted, Unavailable
from posthorn.runtime.fair_slots import FairSlots, SlotsTaken
from posthorn.runtime.holders import present_holder
from posthorn.runtime.settings import PostgresSettings

type Connection = asyncpg.Connection[asyncpg.Record]

CONNECT_SECONDS = 4.0
"""Seconds that a new connection, and waiting for one of the pool's, may take."""
_RECYCLE_SECONDS = 1800
_MOST_WAITING = 1000

_PASSING_CLASSES = frozenset({"0L", "0P", "20", "21", "22", "23", "24", "42", "44", "54", "P0"})
_SCHEMA_STATES = frozenset({"42P01", "42703", "42883", "42704", "42501", "3F000"})
_ABSENT = "(absent)"

# libpq's own parameters that asyncpg would send to the server, which refuses them
_CLIENT_PARAMETERS = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "fallback_application_name",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "requirepeer",
        "require_auth",
        "sslcompression",
        "sslsni",
    }
)


class Database:
    """A pool of connections to Postgres. Made by ``connect``."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        prepared: bool = True,
        slots: FairSlots | None = None,
        liveness: Liveness | None = None,
    ) -> None:
        self.engine = engine
        """For adapters that compose queries with SQLAlchemy; use it inside ``faults()``."""
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
        return Database(self.engine, prepared=self._prepared, liveness=self._liveness)

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Translate faults of the store into Unavailable; errors of data, integrity and
        programming pass through."""
        self.gate()
        try:
            yield
        except Exception as error:
            fault = _translate(error)
            if fault is None:
                raise
            raise fault from None  # the cause may quote values or server addresses

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
        COMMIT was lost.
        """
        async with self._lent() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        with self.faults():
            async with self._turn():
                # the pool's own proxy: an AsyncConnection around it costs twice the statement
                lent = await self.engine.raw_connection()
                connection: Any = lent.driver_connection
                self._liveness.lent(connection)
                is_valid = True
                try:
                    await self._make_sure(connection)
                    yield connection
                except BaseException as error:
                    # the next user must not get a connection to a failed-over server or with a
                    # cancelled rollback
                    lost = (
                        connection.is_closed()
                        or connection.is_in_transaction()
                        or isinstance(error, Halted)
                    )
                    if lost or (isinstance(error, Exception) and _translate(error)):
                        is_valid = False  # invalidating returns it, too
                        await greenlet_spawn(lent.invalidate, error)
                    raise
                finally:
                    self._liveness.returned(connection)
                    if is_valid:
                        lent.close()

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
        except SlotsTaken as taken:
            raise Unavailable("postgres", taken.detail) from None
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
    engine = make_engine(
        url,
        pool=settings.database_pool,
        seconds=settings.database_timeout_seconds,
        prepared=settings.database_prepared,
        by_key=by_key,
        liveness=liveness,
    )
    slots = None
    if shared:
        slots = FairSlots(
            "database connections",
            settings.database_pool,
            wait_seconds=CONNECT_SECONDS,
            waiting=_MOST_WAITING,
            waiting_each=_MOST_WAITING // 4,
        )
    dsn, _ = _split_parameters(url)
    watching = asyncio.create_task(
        liveness.run(lambda seconds: _open_probe(dsn, seconds)), name="postgres liveness"
    )
    try:
        yield Database(engine, prepared=settings.database_prepared, slots=slots, liveness=liveness)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await engine.dispose()


async def _open_probe(dsn: str, seconds: float) -> Connection:
    """Open a connection that checks others; it needs no statement cache and sends no session
    settings."""
    return await asyncpg.connect(
        dsn, timeout=seconds, command_timeout=seconds, statement_cache_size=0
    )


def make_engine(
    url: str,
    *,
    pool: int,
    seconds: float | None,
    prepared: bool = True,
    by_key: bool = False,
    liveness: Liveness | None = None,
) -> AsyncEngine:
    """Create an engine on asyncpg for a libpq URL; ``seconds`` limits each statement (None: no
    limit); ``by_key`` as in ``connect``.

    ``liveness`` monitors each new connection.

    asyncpg parses the URL itself, so that sslmode, sslrootcert, several hosts and
    target_session_attrs mean the same as in libpq.
    """
    dsn, given = _split_parameters(url)
    session = {"application_name": "posthorn"}
    if prepared:
        milliseconds = str(round((seconds or 0) * 1000))
        session |= {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "jit": "off",  # compiling a short statement costs more than running it
            # the locks of a vanished host are released within half a minute
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
        }
        if by_key:
            # Planning a statement for each call cost a third of Postgres' work for an outbound
            # message. A cached plan may stem from a time when its tables were empty: so an index is
            # used wherever there is one.
            session |= {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}

    async def open_connection(*_: Any, **__: Any) -> Connection:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=seconds,
            statement_cache_size=100 if prepared else 0,
            server_settings={name: value for name, value in session.items() if name not in given},
        )
        if liveness is not None:
            liveness.opened(connection)
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        pool_size=pool,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_recycle=_RECYCLE_SECONDS,
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args={
            "async_creator_fn": open_connection,
            "prepared_statement_cache_size": 100 if prepared else 0,
            # several clients share a server connection of PgBouncer, and names must not collide
            "prepared_statement_name_func": None
            if prepared
            else (lambda: f"__posthorn_{uuid4().hex}__"),
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _open() -> None:
    """Allow every use."""


def _any() -> None:
    """Expect no installation in particular."""


def _split_parameters(url: str) -> tuple[str, frozenset[str]]:
    """Return the URL without the parameters that only libpq knows, and the names of the
    remaining ones."""
    head, _, query = url.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query) if name not in _CLIENT_PARAMETERS]
    return f"{head}?{urlencode(kept)}" if kept else head, frozenset(name for name, _ in kept)


def _refuse_closed(adapted: Any, _record: Any, _proxy: Any) -> None:
    if adapted.driver_connection.is_closed():
        raise exc.DisconnectionError  # the pool takes a new connection instead


def _translate(error: Exception) -> Unavailable | None:
    """Return the port's error for a fault, or None when it passes through."""
    if isinstance(error, (exc.DBAPIError, exc.EmulatedDBAPIException)):
        cause = error.driver_exception
        error = cause if isinstance(cause, Exception) else error
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _SCHEMA_STATES:
            return Unavailable("postgres", f"schema: {type(error).__name__} {state}")
        if state[:2] in _PASSING_CLASSES:
            return None
        return Unavailable("postgres", f"{type(error).__name__} {state}".rstrip())
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Unavailable("postgres", "the driver cannot parse the URL")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return None  # a value that cannot be encoded for its column
    network = (OSError, TimeoutError, asyncio.IncompleteReadError, EOFError)
    pool = (exc.TimeoutError, exc.DisconnectionError, exc.DBAPIError)
    if isinstance(error, (*network, *pool, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return Unavailable("postgres", type(error).__name__)
    return None


def clean_text(text: str) -> str:
    """Return the text without characters that Postgres refuses: NULs are removed, lone
    surrogates become U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
