"""The port PasswordRehashes on Postgres.

Services that check passwords may not write them. They call a function of the schema's owner, which
replaces nothing but hashes of other programs.
"""

from __future__ import annotations

from posthorn.adapters.postgres.database import Database

UNCHANGED = (
    "({proof} = sha256(convert_to({account}.password_hash, 'UTF8'))"
    " OR {account}.rehashed IS NOT DISTINCT FROM {proof} || sha256(convert_to({account}.password_hash, 'UTF8')))"
)
"""A condition on accounts: ``ports.access.is_same_password``."""


class PostgresPasswordRehashes:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replace(self, account: int, old: bytes, new: str) -> bool:
        """Replace a hash."""
        async with self._database.session() as connection:
            found = await connection.fetchval(
                "SELECT rehash_password($1, $2, $3)", account, old, new
            )
        return bool(found)
