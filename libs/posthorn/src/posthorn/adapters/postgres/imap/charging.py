"""Charging an account for entries that are added, under the lock of its row."""

from __future__ import annotations

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.adapters.postgres.imap.rows import Row
from posthorn.model.room import crossed_sql


def charge_statement(account: str, octets: str, messages: str) -> str:
    """Return the statement that adds to an account's use; expressions of SQL. Whoever runs it tells
    the directory where its ``crossed`` is true."""
    before = f"a.used_bytes - {octets}"
    return f"""
        UPDATE accounts a SET used_bytes = a.used_bytes + {octets}, used_messages = a.used_messages + {messages}
         WHERE a.id = {account}
        RETURNING {crossed_sql("a.quota_bytes", "a.used_bytes", before)} AS crossed
    """


_CHARGE = charge_statement("$1", "$2", "$3")


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
