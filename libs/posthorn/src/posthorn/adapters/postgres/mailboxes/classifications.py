"""Classifications on Postgres: a row for what an owner says of a message, due to be taught.

Theory:

- The row is written in the transaction that moves the message. What is said last counts: ``wanted``
  is what the owner says, ``taught`` what the models have learned; the trainer brings the second to
  the first (``training``).
- The trainer locks the row while it teaches, so that a change waits and is taught afterwards.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.model.classification import Classification

# a lesson that was given up is tried again when it is said again
_SAY = """
INSERT INTO classifications AS c (account_id, message_id, wanted)
SELECT $1, id, $3 FROM unnest($2::uuid[]) AS id GROUP BY id ORDER BY id
ON CONFLICT (account_id, message_id) DO UPDATE
   SET wanted = excluded.wanted, attempts = 0, created_at = now(),
       due_at = CASE WHEN c.taught <> excluded.wanted THEN now() END
 WHERE c.wanted <> excluded.wanted OR c.due_at IS NULL AND c.taught <> excluded.wanted
"""
_TAKE_BACK = """
UPDATE classifications
   SET wanted = 'none', attempts = 0, due_at = now()
 WHERE account_id = $1 AND message_id = ANY ($2::uuid[]) AND wanted <> 'none'
"""


async def classify(
    connection: Connection, account: int, message: UUID, wanted: Classification
) -> None:
    """Record what an account's owner says of a message, in the caller's transaction."""
    await classify_all(connection, account, [message], wanted)


async def classify_all(
    connection: Connection, account: int, messages: Collection[UUID], wanted: Classification
) -> None:
    """Record what an account's owner says of messages, in the caller's transaction."""
    if wanted is Classification.NONE:
        await connection.execute(_TAKE_BACK, account, list(messages))
    else:
        await connection.execute(_SAY, account, list(messages), wanted.value)


async def mailboxes_of(connection: Connection, account: int, message: UUID) -> list[int]:
    """Return the ids of the mailboxes of an account that hold a message."""
    rows = await connection.fetch(
        "SELECT DISTINCT mailbox_id FROM mailbox_entries WHERE account_id = $1 AND message_id = $2",
        account,
        message,
    )
    return [row["mailbox_id"] for row in rows]
