"""The command ``posthorn-api rebuild-directory``: write the whole directory anew from the
database."""

from __future__ import annotations

import asyncio
import time

import structlog

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.installation import PostgresInstallation
from posthorn.ports.errors import Unavailable
from posthorn.runtime.installation import InstallationGuard
from posthorn.runtime.logging import configure_logging
from posthorn_api.directory.publisher import Publisher
from posthorn_api.settings import ApiSettings

log = structlog.get_logger()


def rebuild_directory(settings: ApiSettings) -> None:
    """Rebuild, then exit with status 0; with 1 when a part does not serve. Mail goes on
    meanwhile."""
    configure_logging("api", settings.log_level)
    raise SystemExit(asyncio.run(_rebuild(settings)))


async def _rebuild(settings: ApiSettings) -> int:
    began = time.monotonic()
    async with (
        connect_postgres(settings) as database,
        open_blobs(settings) as blobs,
        connect_nats(settings, "posthorn-api-rebuild", "api") as connection,
    ):
        guard = InstallationGuard(PostgresInstallation(database), settings)
        guard.watch_blobs(blobs)
        guard.watch_directory(DirectoryMark(connection))
        publisher = Publisher(PostgresDirectorySource(database), NatsDirectoryBucket(connection))
        try:
            await guard.compare()
            guard.check()
            entries = await publisher.rebuild()
        except Unavailable as fault:
            log.error("the directory could not be rebuilt", fault=fault)
            return 1
    log.info(
        "the directory is rebuilt", entries=entries, seconds=round(time.monotonic() - began, 3)
    )
    return 0
