"""Charging an account for entries that are added, under the lock of its row."""

from __future__ import annotations

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.adapters.postgres.imap.rows import Row
from posthorn.model.room import crossed_sql

_CHARGE = f"""
    UPDATE accounts a SET used_bytes = a.used_bytes + $2, used_messages = a.used_messages + $3 WHERE a.id = $1
    RETURNING {crossed_sql("a.quota_bytes", "a.used_bytes", "a.used_bytes - $2")} AS crossed
"""


async def charge(
    connection: Connection, owner: Row, account: int, octets: int, messages: int
) -> None:
    """Add to an account's use; the directory learns when a step of its room was crossed."""
    if await connection.fetchval(_CHARGE, account, octets, messages):
        await tell_directory(connection, owner["address"])


async def tell_directory(connection: Connection, address: str) -> None:
    """Publish the account's entry again: how much room it has has changed."""
    await write_outbox(connection, address)
    await connection.execute("SELECT pg_notify('directory', '')")
