"""Changes of flags, names and subscriptions by the API, in a transaction of the caller, which holds
the lock of the account's row.

Theory of flags: entries hold keywords as their mailbox spells them, so that arrays can be compared.
Where nothing differs nothing is written, and the modseq stays.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.imap import folder_changes
from posthorn.adapters.postgres.mailboxes.changes import KEYWORDS, NEW_MODSEQ, log_changes
from posthorn.ports.account_mail import INBOX, FlagChange, MailboxChange
from posthorn.ports.errors import Conflict, FieldError, NotFound, ValidationFailed
from posthorn.ports.folders import MOST_SUBSCRIPTIONS, FolderError
from posthorn.ports.mailbox_view import DELETED, MOST_KEYWORDS, SEEN, ChangeKind

# $3 bits and $4 keywords, null: as they are
_SET_FLAGS = f"""
    WITH wanted AS MATERIALIZED (
        SELECT e.mailbox_id, e.uid, e.flags, coalesce($3, e.flags) AS new_flags, e.keywords,
               CASE WHEN $4::text[] IS NULL THEN e.keywords
                    ELSE ARRAY (
                        SELECT coalesce((SELECT k FROM unnest(b.keywords) AS k WHERE lower(k) = lower(w)), w)
                          FROM unnest($4::text[]) AS w
                    ) END AS new_keywords
          FROM mailbox_entries e JOIN mailboxes b ON b.account_id = e.account_id AND b.mailbox_id = e.mailbox_id
         WHERE e.account_id = $1 AND e.message_id = $2
    ), differing AS MATERIALIZED (
        SELECT * FROM wanted
         WHERE flags <> new_flags OR NOT (keywords @> new_keywords AND keywords <@ new_keywords)
    ), boxes AS (
        UPDATE mailboxes b
           SET {NEW_MODSEQ}, unseen = b.unseen + n.unseen, deleted = b.deleted + n.deleted, {
    KEYWORDS
}
          FROM (
              SELECT mailbox_id, min(new_keywords) AS keywords,
                     sum((flags & {SEEN}) - (new_flags & {SEEN})) / {SEEN} AS unseen,
                     sum((new_flags & {DELETED}) - (flags & {DELETED})) / {DELETED} AS deleted
                FROM differing GROUP BY mailbox_id
          ) AS n
         WHERE b.account_id = $1 AND b.mailbox_id = n.mailbox_id
        RETURNING b.mailbox_id, b.modseq, cardinality(b.keywords) AS known
    ), changes AS (
        {
    log_changes(f'''
            SELECT $1, mailbox_id, boxes.modseq, {ChangeKind.CHANGED}, n.uids
              FROM boxes
              JOIN (SELECT mailbox_id, range_agg(int8range(uid, uid, '[]')) AS uids FROM differing GROUP BY 1) AS n
                   USING (mailbox_id)
        ''')
}
    ), changed AS (
        UPDATE mailbox_entries e SET flags = d.new_flags, keywords = d.new_keywords, modseq = boxes.modseq
          FROM differing d JOIN boxes ON boxes.mailbox_id = d.mailbox_id
         WHERE e.account_id = $1 AND e.mailbox_id = d.mailbox_id AND e.uid = d.uid
    )
    SELECT mailbox_id, modseq, known FROM boxes
"""


async def set_flags(
    connection: Connection, account: int, message: UUID, change: FlagChange
) -> list[Any]:
    """Change flags and keywords of a message in every mailbox that has it; return the mailboxes
    changed, as ``changes.changed_of`` takes them. Raises ValidationFailed for too many keywords."""
    keywords = None if change.keywords is None else list(change.keywords)
    rows: list[Any] = await connection.fetch(_SET_FLAGS, account, message, change.flags, keywords)
    if any(row["known"] > MOST_KEYWORDS for row in rows):
        raise ValidationFailed(
            FieldError("keywords", f"a mailbox may have {MOST_KEYWORDS} different keywords at most")
        )
    return rows


async def change_mailbox(
    connection: Connection, account: Any, name: str, change: MailboxChange
) -> str:
    """Rename a mailbox or change its subscription; return its name. ``account``: the row that
    ``account_of`` returns. Raises NotFound, Conflict."""
    number = account["id"]
    # otherwise the first login by IMAP would subscribe to everything
    await folder_changes.prepare(connection, number)
    found = await connection.fetchval(
        "SELECT name FROM mailboxes WHERE account_id = $1 AND name = $2", number, name
    )
    if found is None:
        raise NotFound("the account has no mailbox of this name")
    if change.name is not None and change.name != name:
        if name == INBOX:
            raise Conflict("INBOX cannot be renamed; move its messages instead")
        try:
            await folder_changes.rename(connection, account, number, name, change.name)
        except FolderError as error:
            raise Conflict(f"{name} cannot become {change.name}: {error.reason}") from error
        if change.subscribed is None and await folder_changes.unsubscribe(connection, number, name):
            await folder_changes.subscribe(connection, number, change.name)
        name = change.name
    if change.subscribed:
        try:
            await folder_changes.subscribe(connection, number, name)
        except FolderError:
            raise Conflict(f"an account has at most {MOST_SUBSCRIPTIONS} subscriptions") from None
    elif change.subscribed is False:
        await folder_changes.unsubscribe(connection, number, name)
    return name
