"""Leaderships: of all processes that could do a task, one leads."""

from __future__ import annotations

from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database

_LEAD = """
INSERT INTO leaderships AS l (task, holder, expires_at) VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (task) DO UPDATE SET holder = excluded.holder, expires_at = clock_timestamp() + make_interval(secs => $3)
  WHERE l.holder = excluded.holder OR l.expires_at < clock_timestamp()
RETURNING 1
"""


async def lead(connection: Connection, task: str, holder: UUID, seconds: float) -> bool:
    """Become or stay the leader of the task for so many seconds; False while another leads."""
    return bool(await connection.fetchval(_LEAD, task, holder, seconds))


async def resign(connection: Connection, task: str, holder: UUID) -> None:
    """Give up leadership of the task at once."""
    await connection.execute(
        "DELETE FROM leaderships WHERE task = $1 AND holder = $2", task, holder
    )


class Leadership:
    """A candidate for a task."""

    def __init__(self, database: Database, task: str, holder: UUID) -> None:
        self._database = database
        self._task = task
        self._holder = holder

    async def lead(self, seconds: float) -> bool:
        """Become or stay the leader of the task for so many seconds; False while another leads.
        Raises Unavailable."""
        async with self._database.session() as connection:
            return await lead(connection, self._task, self._holder, seconds)

    async def resign(self) -> None:
        """Give up leadership of the task at once. Raises Unavailable."""
        async with self._database.session() as connection:
            await resign(connection, self._task, self._holder)
