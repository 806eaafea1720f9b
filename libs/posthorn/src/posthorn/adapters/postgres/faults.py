"""Faults of Postgres as ``ports.errors``.

An outage and a bad value must be distinguished: delivery retries after the one and moves the
message to the retry lane after the other. So errors of data, integrity and programming pass through
unchanged, and every other error of Postgres, the driver, the pool or the network becomes
Unavailable. A missing table or column counts as an outage: the migration has not run yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from posthorn.ports.errors import Full, Unavailable

_PASSING_CLASSES = frozenset({"0L", "0P", "20", "21", "22", "23", "24", "42", "44", "54", "P0"})
_TELLING_CLASSES = frozenset({"28", "3D", "53", "57"})
"""Of a login, a database, resources and an operator: their texts quote no statement."""
_DISK_FULL = "53100"
_SCHEMA_STATES = frozenset({"42P01", "42703", "42883", "42704", "42501", "3F000"})


def translate(error: Exception) -> Unavailable | None:
    """Return the port's error for a fault, or None when it passes through.

    Unavailable carries the type of the fault and its SQLSTATE; of the network and of classes that
    refuse connections also the text, which names address, role or database. No SQL, no value, no
    password.
    """
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _SCHEMA_STATES:
            return Unavailable("postgres", f"schema: {type(error).__name__} {state}")
        if state[:2] in _PASSING_CLASSES:
            return None
        if state == _DISK_FULL:  # its text names a file, another one each time
            return Full("postgres", "DiskFullError 53100: no space left on the disk of Postgres")
        detail = f"{type(error).__name__} {state}".rstrip()
        if state[:2] in _TELLING_CLASSES:
            detail += f": {str(error).partition('\n')[0]}"
        if state[:2] == "28":
            detail += "; check user and password of POSTHORN_DATABASE_URL and pg_hba.conf"
        return Unavailable("postgres", detail)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Unavailable("postgres", "the driver cannot parse the URL")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return None  # a value that cannot be encoded for its column
    if isinstance(error, TimeoutError):
        return Unavailable("postgres", "no answer in time")
    if isinstance(error, OSError):
        return Unavailable("postgres", f"{type(error).__name__}: {error}")
    broken = (asyncio.IncompleteReadError, EOFError)
    if isinstance(error, (*broken, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return Unavailable("postgres", type(error).__name__)
    return None


@contextmanager
def translated() -> Iterator[None]:
    """Raise Unavailable in place of what ``translate`` translates; other errors pass through."""
    try:
        yield
    except Exception as error:
        fault = translate(error)
        if fault is None:
            raise
        raise fault from None  # the cause may quote values or server addresses
