"""A directory source that has too little time for one subject, and enough for all others, however
busy the machine is."""

from __future__ import annotations

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.model.directory_entry import Entry
from tests.support.polling import BUSY_SECONDS


class HastySource(PostgresDirectorySource):
    """Too fast for the subject ``hub``, whose entry takes some time to read."""

    def __init__(self, database: Database, hub: str) -> None:
        super().__init__(database)
        self._hub = hub

    async def _in_time(
        self, connection: Connection, subjects: set[str]
    ) -> dict[str, Entry | None] | None:
        self._seconds = 0.05 if self._hub in subjects else BUSY_SECONDS
        return await super()._in_time(connection, subjects)
