"""Unique ids of messages that moved in from another POP3 server (RFC 1939 §7).

Theory:

- A row stays when its message is deleted, since uids do not come again: deletions cost nothing, and
  the upkeep removes it. A unique id is free for another message when the one that had it is gone.
- What POP3 makes begins with the INBOX's UIDVALIDITY and a dot (``ports.maildrops.unique_id``). No
  other unique id may: some later message could get the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.schema import INBOX

_KEEP = f"""
    INSERT INTO unique_ids AS u (account_id, uid, unique_id)
    SELECT DISTINCT ON (n.unique_id) $1::bigint, e.uid, n.unique_id
      FROM unnest($2::uuid[], $3::text[]) AS n (message, unique_id)
      JOIN mailbox_entries e
        ON e.account_id = $1 AND e.message_id = n.message AND e.mailbox_id = {INBOX}
      JOIN mailboxes b ON b.account_id = $1 AND b.mailbox_id = {INBOX}
     WHERE NOT starts_with(n.unique_id, to_hex(b.uidvalidity) || '.')
     ORDER BY n.unique_id, e.uid
    ON CONFLICT (account_id, unique_id) DO UPDATE SET uid = excluded.uid
     WHERE NOT EXISTS (
           SELECT FROM mailbox_entries e
            WHERE e.account_id = u.account_id AND e.mailbox_id = {INBOX} AND e.uid = u.uid)
"""
# a lease that was ever taken leaves its row, but not after a crash of the server; the day of a login
# is recorded, but later
_ADOPT = f"""
    INSERT INTO unique_ids (account_id, uid, unique_id)
    SELECT $1::bigint, e.uid, n.unique_id
      FROM unnest($2::bytea[], $3::text[]) AS n (sha256, unique_id)
      JOIN messages m ON m.sha256 = n.sha256
      JOIN mailbox_entries e
        ON e.account_id = $1 AND e.message_id = m.id AND e.mailbox_id = {INBOX}
      JOIN mailboxes b ON b.account_id = $1 AND b.mailbox_id = {INBOX}
     WHERE NOT starts_with(n.unique_id, to_hex(b.uidvalidity) || '.')
       AND NOT EXISTS (SELECT FROM pop3_logins WHERE account_id = $1)
       AND NOT EXISTS (SELECT FROM maildrop_leases WHERE account_id = $1)
     ORDER BY e.uid
    ON CONFLICT DO NOTHING
"""
_PRUNE = f"""
    WITH seen AS MATERIALIZED (
        SELECT account_id, uid FROM unique_ids WHERE (account_id, uid) > ($1, $2)
         ORDER BY account_id, uid LIMIT $3
    ), gone AS (
        DELETE FROM unique_ids u USING seen s
         WHERE u.account_id = s.account_id AND u.uid = s.uid
           AND NOT EXISTS (
               SELECT FROM mailbox_entries e
                WHERE e.account_id = s.account_id AND e.mailbox_id = {INBOX} AND e.uid = s.uid)
    )
    SELECT account_id, uid FROM seen ORDER BY account_id DESC, uid DESC LIMIT 1
"""


async def keep_unique_ids(
    connection: Connection, account: int, unique_ids: Mapping[UUID, str]
) -> None:
    """Record unique ids of messages, by id, that were entered in this transaction; those outside
    the INBOX, and what cannot be unique, are left out. The caller holds the account's row."""
    if unique_ids:
        await connection.execute(_KEEP, account, list(unique_ids), list(unique_ids.values()))


async def adopt_unique_ids(
    connection: Connection, account: int, unique_ids: Mapping[bytes, str]
) -> None:
    """Record unique ids, by SHA-256, of messages in the INBOX that have none, unless POP3 has shown
    them. The caller holds the account's row."""
    await connection.execute(_ADOPT, account, list(unique_ids), list(unique_ids.values()))


async def prune_unique_ids(
    connection: Connection, after: tuple[int, int], limit: int
) -> tuple[int, int]:
    """Remove unique ids of messages that are gone among the next ``limit``; return the last one
    that was examined, (0, 0) at the end."""
    row = await connection.fetchrow(_PRUNE, *after, limit)
    return (0, 0) if row is None else (row["account_id"], row["uid"])
