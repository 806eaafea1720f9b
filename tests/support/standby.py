"""A streaming standby of a PostgreSQL server of the tests, to be promoted."""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg

from posthorn_local.embedded import Postgres
from tests.support.polling import until


class Standby(Postgres):
    """Made from a running primary by pg_basebackup; ``start`` then streams from it."""

    def __init__(self, directory: Path, primary: Postgres) -> None:
        super().__init__(directory, durable=True)
        self._primary = primary

    def _initialise(self) -> None:
        shutil.copy(self._primary._secret, self._secret)
        self._data.mkdir(mode=0o700)
        shutil.chown(self._data, self._primary._data.owner())
        command = [
            str(self._bin / "pg_basebackup"),
            "-D",
            str(self._data),
            "-d",
            self._primary.url_of("postgres"),
        ]
        self._run_once(
            [*command, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"],
            "",
            "no base backup",
        )


def both(primary: Postgres, standby: Postgres) -> str:
    """A URL that leads to whichever of the two is the primary."""
    head, _, place = primary.url.partition("@")
    return f"{head}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{place.rpartition('/')[2]}?target_session_attrs=read-write"


async def ask(server: Postgres, *statements: str) -> object:
    """Run statements as the superuser, each a transaction. Return the value of the last one."""
    connection = await asyncpg.connect(server.url)
    try:
        value: object = None
        for statement in statements:
            value = await connection.fetchval(statement)
        return value
    finally:
        await connection.close()


async def set_synchronous(server: Postgres, names: str) -> None:
    """Set synchronous_standby_names, and wait until it holds for new sessions."""
    await ask(
        server, f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()"
    )
    await await_value(server, "SHOW synchronous_standby_names", names)
    if names:
        await await_value(
            server, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", 1
        )


async def await_value(server: Postgres, question: str, value: object) -> None:
    """Ask until the answer is this."""

    async def there() -> bool:
        return bool(await ask(server, question) == value)

    await until(there, what=f"that {question} gives {value!r}")
