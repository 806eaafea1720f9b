"""The port ScramStore on Postgres."""

from __future__ import annotations

from posthorn.adapters.postgres.database import Database
from posthorn.ports.errors import Unavailable

_KEEP = """
    UPDATE accounts SET scram = $2
     WHERE id = $1 AND sha256(convert_to(password_hash, 'UTF8')) = $3
"""


class PostgresScramStore:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def salt_key(self) -> bytes:
        """Return the key of salts."""
        async with self._database.session() as connection:
            key = await connection.fetchval("SELECT scram_salt_key FROM installation")
        if key is None:
            raise Unavailable("postgres", "the key of salts for SCRAM is missing")
        return bytes(key)

    async def keep(self, account: int, verifier: bytes, password: bytes) -> None:
        """Store a verifier."""
        async with self._database.session() as connection:
            await connection.execute(_KEEP, account, verifier, password)
