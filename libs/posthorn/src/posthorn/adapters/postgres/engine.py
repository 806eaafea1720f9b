"""SQLAlchemy's engine, for migrations alone: a service does without it (ADR 47)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from posthorn.adapters.postgres.connecting import CONNECT_SECONDS, connector
from posthorn.adapters.postgres.faults import translate


def make_engine(url: str, *, pool: int, seconds: float | None) -> AsyncEngine:
    """Create an engine on asyncpg for a libpq URL; ``seconds`` limits each statement (None: no
    limit)."""
    open_connection = connector(url, seconds=seconds)

    async def opened(*_: Any, **__: Any) -> Any:
        return await open_connection()

    return create_async_engine(
        "postgresql+asyncpg://",
        pool_size=pool,
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
