"""The identity of the installation, in its row of Postgres."""

from __future__ import annotations

from uuid import UUID

from posthorn.adapters.postgres.database import Database
from posthorn.model.installation import Mark, Ours, Stage
from posthorn.ports.blobs import Blobs
from posthorn.ports.errors import Unavailable
from posthorn.ports.installation import Reading
from posthorn.runtime.installation import DirectoryCopy, InstallationGuard
from posthorn.runtime.settings import PostgresSettings

_READ = """
SELECT id, stage, extract(epoch FROM progress_at)::float8 AS progress,
       coalesce(extract(epoch FROM brakes_released_until), 0)::float8 AS released,
       extract(epoch FROM clock_timestamp())::float8 AS now,
       EXISTS (SELECT FROM segments WHERE condemned_at IS NULL AND live_octets > 0) AS holds_bodies
  FROM installation
"""

# a separate query: needed once in a database's life, on tables that not every part's login may read
_HOLDS_DATA = """
SELECT EXISTS (SELECT FROM accounts) OR EXISTS (SELECT FROM domains) OR EXISTS (SELECT FROM aliases)
       OR EXISTS (SELECT FROM messages)
"""

_BEAT = """
UPDATE installation SET progress_at = clock_timestamp()
 WHERE id = $1 AND stage = 'adopted' AND progress_at <= clock_timestamp() - make_interval(secs => $2)
RETURNING extract(epoch FROM progress_at)::float8
"""

_TAKE_OVER = """
UPDATE installation SET id = $2, stage = 'adopting',
       progress_at = greatest(progress_at, clock_timestamp(), to_timestamp($3::float8))
 WHERE id = $1
RETURNING extract(epoch FROM progress_at)::float8
"""

_RELEASE = """
UPDATE installation SET brakes_released_until = clock_timestamp() + make_interval(secs => $1)
RETURNING extract(epoch FROM brakes_released_until)::float8
"""


class PostgresInstallation:
    """The port Installation. It bypasses the gate of the database, which opens by its answers."""

    def __init__(self, database: Database) -> None:
        self._database = database.ungated()

    async def read(self) -> Reading:
        async with self._database.session() as connection:
            row = await connection.fetchrow(_READ)
            if row is None:
                raise Unavailable("postgres", "the row of the installation is missing")
            stage = Stage(row["stage"])
            holds_data = stage is not Stage.NEW or await connection.fetchval(_HOLDS_DATA)
        mark = Mark(row["id"], row["progress"])
        ours = Ours(mark, stage, holds_data=holds_data, holds_bodies=row["holds_bodies"])
        return Reading(ours, row["now"], row["released"])

    async def beat(self, installation: UUID, seconds: float) -> Mark | None:
        async with self._database.session() as connection:
            progress = await connection.fetchval(_BEAT, installation, seconds)
        return None if progress is None else Mark(installation, progress)

    async def begin(self, installation: UUID) -> None:
        async with self._database.session() as connection:
            await connection.execute(
                "UPDATE installation SET stage = 'adopting', progress_at = greatest(progress_at, clock_timestamp())"
                " WHERE id = $1 AND stage = 'new'",
                installation,
            )

    async def finish(self, installation: UUID) -> None:
        async with self._database.session() as connection:
            await connection.execute(
                "UPDATE installation SET stage = 'adopted' WHERE id = $1 AND stage = 'adopting'",
                installation,
            )

    async def take_over(self, installation: UUID, new: UUID, progress: float) -> Mark | None:
        async with self._database.session() as connection:
            reached = await connection.fetchval(_TAKE_OVER, installation, new, progress)
        return None if reached is None else Mark(new, reached)

    async def release_brakes(self, seconds: float) -> float:
        async with self._database.session() as connection:
            return float(await connection.fetchval(_RELEASE, seconds))


def guard_of(
    database: Database,
    settings: PostgresSettings,
    blobs: Blobs,
    directory: DirectoryCopy | None = None,
    *,
    keeps: bool = False,
) -> InstallationGuard:
    """Return the guard of a database, closed at first, that compares it with these stores; ``keeps``
    as there."""
    guard = InstallationGuard(PostgresInstallation(database), settings, keeps=keeps)
    guard.watch_blobs(blobs)
    if directory is not None:
        guard.watch_directory(directory)
    database.gate, database.installation = guard.check, guard.installation
    return guard
