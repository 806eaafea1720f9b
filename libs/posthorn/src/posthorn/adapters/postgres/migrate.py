"""Schema changes, run once per release: ``posthorn-migrate``.

- An advisory lock lets one migration run at a time: a second Job waits for the first, then finds
  nothing to do.
- Afterwards the parts' roles get their grants (``grants``), also when there was nothing to migrate.
- Each run is one transaction, so that a migration is applied completely or not at all.
- A later schema stays as it is: after a rollback the release before serves with it (ADR 17).
- Alembic and SQLAlchemy are loaded only when there is something to migrate: they take longer to load
  than all else here takes to run.
- It waits for a Postgres that is still starting, and gives up with a message after
  ``database_wait_seconds``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from posthorn.adapters.postgres.connecting import Connection, connector
from posthorn.adapters.postgres.faults import translated
from posthorn.adapters.postgres.grants import grant
from posthorn.adapters.postgres.schema import SCHEMA_VERSION
from posthorn.ports.errors import Unavailable
from posthorn.runtime.env_settings import Seconds
from posthorn.runtime.logging import configure_logging
from posthorn.runtime.settings import DatabaseSettings, RoleSettings

log = structlog.get_logger()

LOCK = 0x706F7374686F726E
"""Key of the advisory lock: ``posthorn`` in ASCII."""
WAIT_SECONDS = 60.0
_BETWEEN_TRIES = 0.25


class MigrateSettings(DatabaseSettings, RoleSettings):
    """Settings of ``posthorn-migrate``."""

    database_wait_seconds: Seconds = 60.0
    """How long it waits for Postgres to come up."""

    def role_passwords(self) -> dict[str, str]:
        """Return the passwords by part."""
        return {
            part: password.get_secret_value()
            for part, password in self.database_role_passwords.items()
        }


def migrate_blocking(
    url: str,
    *,
    wait_seconds: float = WAIT_SECONDS,
    role_prefix: str = "posthorn_",
    role_passwords: Mapping[str, str] | None = None,
) -> None:
    """Upgrade the schema to the newest revision. Blocks, and runs its own event loop, so do not
    call it from one.

    Creates the roles that ``role_passwords`` names by part, and grants existing roles their
    privileges.

    Raises Unavailable when Postgres does not come up within ``wait_seconds`` (and SQLAlchemy's
    errors for a broken migration).
    """
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(_migrate(url, wait_seconds, role_prefix, role_passwords or {}))


def main() -> None:
    """The script ``posthorn-migrate``."""
    settings = MigrateSettings.load()
    configure_logging("migrate", "info")
    try:
        migrate_blocking(
            settings.database_url.get_secret_value(),
            wait_seconds=settings.database_wait_seconds,
            role_prefix=settings.database_role_prefix,
            role_passwords=settings.role_passwords(),
        )
    except Unavailable as error:
        raise SystemExit(f"the schema was not changed: {error}") from None


async def _migrate(
    url: str, wait_seconds: float, role_prefix: str, role_passwords: Mapping[str, str]
) -> None:
    connection = await _connected(url, wait_seconds)
    try:
        with translated():
            # a session lock: released with the connection, whatever happens
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            await _upgrade(connection)
            async with connection.transaction():
                await grant(connection, role_prefix, role_passwords)
            await connection.close()
    finally:
        connection.terminate()


async def _connected(url: str, seconds: float) -> Connection:
    open_connection = connector(url, seconds=None)
    deadline = time.monotonic() + seconds
    while True:
        try:
            with translated():
                return await open_connection()
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            log.info("waiting for postgres", fault=error)
            await asyncio.sleep(_BETWEEN_TRIES)


async def _upgrade(connection: Connection) -> None:
    before = await _revision(connection)
    if before == SCHEMA_VERSION:
        log.info("schema is up to date", revision=before)
        return
    if before is not None and before > SCHEMA_VERSION:  # numbers of four digits
        log.info("schema is of a later release and stays", revision=before, own=SCHEMA_VERSION)
        return
    from posthorn.adapters.postgres.engine import upgrade

    await upgrade(connection)
    log.info("schema migrated", before=before, after=await _revision(connection))


async def _revision(connection: Connection) -> str | None:
    # asking a table that is not there would be an error in the log of Postgres
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    found: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return found
