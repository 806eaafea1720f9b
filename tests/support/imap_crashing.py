"""The IMAP service as it is, in a process that kills itself (SIGKILL) at a point that it is told.

``python -m tests.support.imap_crashing <file>``, with the service's settings in the environment. The file
holds the point, and is read when one is reached: ``before-put``, ``after-put``, ``half-way`` (a
statement that adds or removes entries was executed), ``before-commit``, ``after-commit``. Only
transactions that place, copy, move or remove messages count; a statement outside of one is a
transaction of its own.

The process that dies is a child, which is started again: forked, so that it costs next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.database import Connection, Database
from posthorn_imap.main import main
from posthorn_local.embedded import die_with_parent

KILLED = "ended by SIGKILL"
"""What the log says of each death."""
_FILE = Path(sys.argv[-1])
_ENTRIES = ("UPDATE mailbox_entries", "INSERT INTO mailbox_entries", "DELETE FROM mailbox_entries")

_put, _transaction, _session = FileBlobs.put, Database.transaction, Database.session


def _die_at(point: str) -> None:
    if _FILE.read_text() == point:
        os.kill(os.getpid(), signal.SIGKILL)


def _changes(query: str) -> bool:
    return any(statement in query for statement in _ENTRIES)


class _Watched:
    """A connection that knows whether it has changed entries."""

    def __init__(self, connection: Connection, *, commits: bool = False) -> None:
        """``commits``: whether each statement is a transaction of its own."""
        self._connection = connection
        self._commits = commits
        self.has_changed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def _sees(self, query: str) -> None:
        if self._commits and _changes(query):
            _die_at("before-commit")

    def _saw(self, query: str) -> None:
        if _changes(query):
            self.has_changed = True
            _die_at("after-commit" if self._commits else "half-way")

    async def execute(self, query: str, *values: Any) -> Any:
        self._sees(query)
        answer = await self._connection.execute(query, *values)
        self._saw(query)
        return answer

    async def fetch(self, query: str, *values: Any) -> Any:
        self._sees(query)
        rows = await self._connection.fetch(query, *values)
        self._saw(query)
        return rows

    async def fetchval(self, query: str, *values: Any, **options: Any) -> Any:
        self._sees(query)
        value = await self._connection.fetchval(query, *values, **options)
        self._saw(query)
        return value

    async def fetchrow(self, query: str, *values: Any) -> Any:
        self._sees(query)
        row = await self._connection.fetchrow(query, *values)
        self._saw(query)
        return row


@asynccontextmanager
async def transaction(self: Database) -> AsyncIterator[Any]:
    watched = None
    async with _transaction(self) as connection:
        watched = _Watched(connection)
        yield watched
        if watched.has_changed:
            _die_at("before-commit")
    if watched.has_changed:
        _die_at("after-commit")


@asynccontextmanager
async def session(self: Database) -> AsyncIterator[Any]:
    async with _session(self) as connection:
        is_in_transaction = isinstance(connection, _Watched)  # behind PgBouncer
        yield connection if is_in_transaction else _Watched(connection, commits=True)


async def put(self: FileBlobs, key: str, parts: Sequence[bytes]) -> None:
    _die_at("before-put")
    await _put(self, key, parts)
    _die_at("after-put")


def _supervise() -> None:
    """Run the service until it ends otherwise than by SIGKILL."""
    tie = die_with_parent()
    while True:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            tie()
            main()
            return
        signal.signal(signal.SIGTERM, lambda number, _, pid=pid: os.kill(pid, number))  # type: ignore[misc]
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != -signal.SIGKILL:
            sys.exit(status)
        sys.stderr.write(f"{KILLED}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    FileBlobs.put = put  # type: ignore[method-assign]
    Database.transaction = transaction  # type: ignore[method-assign]
    Database.session = session  # type: ignore[method-assign]
    _supervise()
