"""SQLAlchemy's engine and Alembic, for migrations alone: a service does without them (ADR 47)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection as AlembicConnection
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from posthorn.adapters.postgres.connecting import CONNECT_SECONDS, Connection
from posthorn.adapters.postgres.faults import translate


async def upgrade(connection: Connection) -> None:
    """Upgrade the schema to the newest revision, in one transaction on this connection, which stays
    open. Raises Unavailable, and SQLAlchemy's errors for a broken migration."""

    async def the_same() -> Connection:
        return connection

    engine = make_engine(the_same)
    with engine_faults():
        async with engine.begin() as session:
            await session.run_sync(_to_head)


def _to_head(connection: AlembicConnection) -> None:
    config = Config()
    config.set_main_option("script_location", "posthorn.adapters.postgres:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def make_engine(open_connection: Callable[[], Awaitable[Connection]]) -> AsyncEngine:
    """Create an engine with one connection, opened by this."""

    async def opened(*_: Any, **__: Any) -> Any:
        return await open_connection()

    return create_async_engine(
        "postgresql+asyncpg://",
        pool_size=1,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        hide_parameters=True,
        connect_args={"async_creator_fn": opened},
    )


@contextmanager
def engine_faults() -> Iterator[None]:
    """Translate faults of the store into Unavailable, as ``Database.faults`` does; errors of data,
    integrity and programming pass through as SQLAlchemy raises them."""
    try:
        yield
    except Exception as error:
        fault = translate(_cause(error))
        if fault is None:
            raise
        raise fault from None  # the cause may quote values or server addresses


def _cause(error: Exception) -> Exception:
    if isinstance(error, (exc.DBAPIError, exc.EmulatedDBAPIException)):
        cause = error.driver_exception
        return cause if isinstance(cause, Exception) else ConnectionError()
    return TimeoutError() if isinstance(error, exc.TimeoutError) else error
