"""Deletion of old rows, some at a time."""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.adapters.postgres.database import Database


async def forget(database: Database, conditions: Sequence[str], bound: object, limit: int) -> int:
    """Delete at most ``limit`` rows of each table, and return how many were deleted.

    ``conditions``: a table, then a WHERE clause in which ``$1`` is ``bound``.
    """
    gone = 0
    async with database.session() as connection:
        for which in conditions:
            table, _, where = which.partition(" ")
            query = (
                f"DELETE FROM {table} WHERE ctid = ANY (ARRAY"
                f" (SELECT ctid FROM {table} {where} LIMIT $2))"
            )
            done = await connection.execute(query, bound, limit)
            gone += int(done.rpartition(" ")[2])
    return gone
