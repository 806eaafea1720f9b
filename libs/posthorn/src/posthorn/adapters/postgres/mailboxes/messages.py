"""An account's mail for administrators: listings, locations of bodies, deletion and undeletion.

Theory of listings: a page descends the uids of one mailbox, in the order of the entries' primary
key. With conditions it examines ``_LOOKED_AT`` entries at most, then stops and returns where to
continue: a page costs the same in a mailbox of a million messages. Messages are fetched by key;
there is no text index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.body_location import as_location
from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.adapters.postgres.mailboxes.changes import (
    ADD_COUNTS,
    COUNTS,
    KEYWORDS,
    SUBTRACT_COUNTS,
    UIDS,
    changed_of,
    changing,
    log_changes,
)
from posthorn.adapters.postgres.mailboxes.classifications import classify, mailboxes_of
from posthorn.adapters.postgres.mailboxes.edits import set_flags
from posthorn.adapters.postgres.mailboxes.expunge import remove
from posthorn.adapters.postgres.mailboxes.folders import PostgresAccountMailboxes, account_of
from posthorn.adapters.postgres.schema import INBOX
from posthorn.model.blob_range import BodyLocation
from posthorn.model.classification import said_by_move
from posthorn.model.room import crossed_sql
from posthorn.ports.account_mail import (
    DeletedKey,
    DeletedMessage,
    FlagChange,
    Found,
    Message,
    Which,
)
from posthorn.ports.changes import Change
from posthorn.ports.errors import Conflict, FieldError, NotFound, Unavailable, ValidationFailed
from posthorn.ports.mailbox_view import ChangeKind

_LOOKED_AT = 5000

_SHOWN = (
    "m.id, m.received_at, m.from_, m.subject, m.date, m.message_id, m.reverse_path,"
    " (m.verdict - 'filed')::text AS verdict, (m.verdict->'filed'->e.account_id::text)::text AS filed"
)
_MESSAGE = f"""
    SELECT {_SHOWN}, box.name AS mailbox, e.uid, e.size_crlf AS size, e.flags, e.keywords,
           s.key, m.offset_octets, m.stored_octets, m.encoding, m.has_dot_lines
      FROM mailbox_entries e
      JOIN mailboxes box ON box.account_id = e.account_id AND box.mailbox_id = e.mailbox_id
      JOIN messages m ON m.id = e.message_id
      LEFT JOIN segments s ON s.id = m.segment_id
     WHERE e.account_id = $1
"""
_PAGE = f"{_MESSAGE} AND e.mailbox_id = $2 AND e.uid < $3 AND e.uid >= $4"
_END = "ORDER BY e.uid DESC LIMIT $5"
_FLOOR = """
    SELECT uid FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = $2 AND uid < $3 ORDER BY uid DESC OFFSET $4 LIMIT 1
"""
_TEXT = r"(strpos(lower({0}), lower({1})) > 0 OR strpos({0}, '=?') > 0)"
_CONDITIONS = {
    "from_": _TEXT.format("m.from_", "{0}::text"),
    "subject": _TEXT.format("m.subject", "{0}::text"),
    "message_id": "strpos(lower(m.message_id), lower({0}::text)) > 0",
    "since": "e.internal_date >= {0}",
    "until": "e.internal_date < {0}",
    "larger": "e.size_crlf > {0}",
    "smaller": "e.size_crlf < {0}",
    "seen": "(e.flags & 1 = 1) = {0}",
}

_DELETED = f"""
    SELECT {_SHOWN}, coalesce(box.name, 'INBOX') AS mailbox, 0::bigint AS uid, e.size_crlf AS size, e.flags, e.keywords,
           e.mailbox_id, e.deleted_at
      FROM deleted_entries e
      JOIN messages m ON m.id = e.message_id
      LEFT JOIN mailboxes box ON box.account_id = e.account_id AND box.mailbox_id = e.mailbox_id
     WHERE e.account_id = $1 AND e.deleted_at > now() - make_interval(days => $2)
"""
_NEWEST = "ORDER BY e.message_id DESC, e.mailbox_id DESC, e.deleted_at DESC LIMIT"

MOVE = f"""
    WITH gone AS (
        DELETE FROM mailbox_entries WHERE account_id = $1 AND message_id = $2 AND mailbox_id <> $3
        RETURNING mailbox_id, uid, message_id, size_crlf, flags, keywords, internal_date
    ), box AS (
        UPDATE mailboxes b SET uidnext = b.uidnext + n.messages, {ADD_COUNTS}, {KEYWORDS}
          FROM (SELECT {
    COUNTS
}, ARRAY(SELECT unnest(keywords) FROM gone) AS keywords FROM gone) AS n
         WHERE b.account_id = $1 AND b.mailbox_id = $3 AND n.messages > 0
        RETURNING b.mailbox_id, b.uidnext - n.messages AS first, b.uidnext, b.modseq
    ), others AS (
        UPDATE mailboxes b SET {SUBTRACT_COUNTS}
          FROM (SELECT mailbox_id, {COUNTS}, {UIDS} FROM gone GROUP BY mailbox_id) AS n
         WHERE b.account_id = $1 AND b.mailbox_id = n.mailbox_id
        RETURNING b.mailbox_id, b.modseq, n.uids
    ), changes AS (
        {
    log_changes(f'''
        SELECT $1, mailbox_id, modseq, {ChangeKind.ADDED}, int8multirange(int8range(first, uidnext)) FROM box
         UNION ALL SELECT $1, mailbox_id, modseq, {ChangeKind.REMOVED}, uids FROM others
    ''')
}
    ), made AS (
        INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, flags, keywords, internal_date, modseq)
        SELECT $1, $3, box.first + row_number() OVER (ORDER BY gone.mailbox_id) - 1, message_id, size_crlf, flags, keywords,
               internal_date, box.modseq
          FROM gone, box
    )
    SELECT mailbox_id, modseq FROM box UNION ALL SELECT mailbox_id, modseq FROM others
"""
"""Moves a message of an account ($1, $2) into a mailbox ($3) from every other one; returns the
mailboxes changed, as ``changed_of`` takes them."""

_LOCK_DELETED = """
    SELECT size_crlf FROM deleted_entries e
     WHERE account_id = $1 AND message_id = $2 AND deleted_at > now() - make_interval(days => $3)
     ORDER BY mailbox_id, deleted_at FOR UPDATE
"""
# the reference of the deleted entry becomes that of the new one
_UNDELETE = f"""
    WITH gone AS (
        DELETE FROM deleted_entries
         WHERE account_id = $1 AND message_id = $2 AND deleted_at > now() - make_interval(days => $3)
        RETURNING mailbox_id, message_id, size_crlf, flags, keywords, internal_date
    ), back AS (
        SELECT coalesce(box.mailbox_id, $4) AS mailbox_id, gone.message_id, gone.size_crlf, gone.flags & ~8 AS flags, gone.keywords,
               gone.internal_date
          FROM gone LEFT JOIN mailboxes box ON box.account_id = $1 AND box.mailbox_id = gone.mailbox_id
    ), boxes AS (
        UPDATE mailboxes b SET uidnext = b.uidnext + n.messages, {ADD_COUNTS}, {KEYWORDS}
          FROM (
              SELECT mailbox_id, {
    COUNTS
}, ARRAY(SELECT unnest(keywords) FROM back AS same WHERE same.mailbox_id = back.mailbox_id)
                     AS keywords
                FROM back GROUP BY mailbox_id
          ) AS n
         WHERE b.account_id = $1 AND b.mailbox_id = n.mailbox_id
        RETURNING b.mailbox_id, b.uidnext - n.messages AS first, b.uidnext, b.modseq
    ), changes AS (
        {
    log_changes(
        f"SELECT $1, mailbox_id, modseq, {ChangeKind.ADDED}, int8multirange(int8range(first, uidnext)) FROM boxes"
    )
}
    ), made AS (
        INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, flags, keywords, internal_date, modseq)
        SELECT $1, back.mailbox_id, boxes.first + row_number() OVER (PARTITION BY back.mailbox_id) - 1, back.message_id,
               back.size_crlf, back.flags, back.keywords, back.internal_date, boxes.modseq
          FROM back JOIN boxes ON boxes.mailbox_id = back.mailbox_id
        RETURNING size_crlf
    ), account AS (
        UPDATE accounts a SET used_bytes = a.used_bytes + n.octets, used_messages = a.used_messages + n.entries
          FROM (SELECT coalesce(sum(size_crlf), 0) AS octets, count(*) AS entries FROM made) AS n
         WHERE a.id = $1
        RETURNING {
    crossed_sql("a.quota_bytes", "a.used_bytes", "a.used_bytes - n.octets")
} AS crossed
    )
    SELECT mailbox_id, modseq, (SELECT crossed FROM account) AS crossed FROM boxes
"""


class PostgresAccountMail(PostgresAccountMailboxes):
    """The port AccountMail over Postgres."""

    async def messages(
        self,
        tenant: UUID | None,
        address: str,
        mailbox: str,
        which: Which,
        before: int | None,
        limit: int,
    ) -> Found:
        """List a mailbox, newest uid first."""
        below = 2**63 - 1 if before is None else before
        chosen = {
            name: value for name in _CONDITIONS if (value := getattr(which, name)) is not None
        }
        wanted = " AND ".join(
            _CONDITIONS[name].format(f"${place}") for place, name in enumerate(chosen, start=6)
        )
        async with self._database.session() as connection:
            account = (await account_of(connection, tenant, address))["id"]
            number = await _mailbox(connection, account, mailbox)
            if number is None:
                raise NotFound(f"{address} has no mailbox of this name")
            floor = (
                await connection.fetchval(_FLOOR, account, number, below, _LOOKED_AT - 1)
                if chosen
                else None
            )
            query = f"{_PAGE} AND {wanted} {_END}" if chosen else f"{_PAGE} {_END}"
            rows = await connection.fetch(
                query, account, number, below, floor or 0, limit + 1, *chosen.values()
            )
        if len(rows) > limit:
            shown, following = rows[:limit], rows[limit - 1]["uid"]
        else:
            shown, following = rows, floor
        return Found([_as_message(row) for row in shown], following, (account, number))

    async def message(
        self, tenant: UUID | None, address: str, message: UUID
    ) -> tuple[Message, BodyLocation]:
        """Return a message with the location of its body."""
        async with self._database.session() as connection:
            account = (await account_of(connection, tenant, address))["id"]
            row = await _one(connection, account, address, message)
        if row["key"] is None:
            raise Unavailable("postgres", f"the message {message} is referenced but has no segment")
        return _as_message(row), as_location(row, message=message, size=row["size"])

    async def change_flags(
        self, tenant: UUID | None, address: str, message: UUID, change: FlagChange
    ) -> Message:
        """Change flags in every mailbox."""
        async with changing(self._database, self._announce) as (connection, changed):
            found = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            await _one(connection, found["id"], address, message)
            rows = await set_flags(connection, found["id"], message, change)
            changed += changed_of(found["id"], rows)
            details = {"message": message, "flags": change.flags, "keywords": change.keywords}
            await write_audit(connection, found["tenant_id"], address, details)
            return _as_message(await _one(connection, found["id"], address, message))

    async def move_message(
        self, tenant: UUID | None, address: str, message: UUID, mailbox: str
    ) -> Message:
        """Move the message from every other mailbox into this one."""
        async with changing(self._database, self._announce) as (connection, changed):
            found = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            before = await _one(connection, found["id"], address, message)
            number = await _mailbox(connection, found["id"], mailbox)
            if number is None:
                raise ValidationFailed(
                    FieldError("mailbox", f"{address} has no mailbox of this name; create it first")
                )
            held = await mailboxes_of(connection, found["id"], message)
            moved = await connection.fetch(MOVE, found["id"], message, number)
            changed += changed_of(found["id"], moved)
            said = said_by_move(held, number)
            if said is not None:
                await classify(connection, found["id"], message, said)
            details = {"message": message, "from": before["mailbox"], "to": mailbox}
            await write_audit(connection, found["tenant_id"], address, details)
            return _as_message(await _one(connection, found["id"], address, message))

    async def delete_message(
        self, tenant: UUID | None, address: str, message: UUID
    ) -> Change[None]:
        """Delete the message from every mailbox of the account."""
        async with changing(self._database, self._announce) as (connection, changed):
            found = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            rows = await connection.fetch(
                "SELECT mailbox_id, uid FROM mailbox_entries WHERE account_id = $1 AND message_id = $2",
                found["id"],
                message,
            )
            if not rows:
                raise NotFound(f"{address} has no such message")
            where = [(row["mailbox_id"], row["uid"]) for row in rows]
            removed = await remove(connection, found["id"], where, keep=found["undelete_days"] > 0)
            changed += removed.changed
            await write_audit(connection, found["tenant_id"], address, {"message": message})
            return Change(
                None, await write_outbox(connection, address) if removed.below_quota else ()
            )

    async def deleted(
        self, tenant: UUID | None, address: str, before: DeletedKey | None, limit: int
    ) -> Sequence[tuple[DeletedKey, DeletedMessage]]:
        """List the messages that can be undeleted, in the order of the primary key."""
        key = () if before is None else (before.message, before.mailbox, before.deleted_at)
        below = (
            ""
            if before is None
            else "AND (e.message_id, e.mailbox_id, e.deleted_at) < ($4, $5, $6)"
        )
        async with self._database.session() as connection:
            found = await account_of(connection, tenant, address)
            days = found["undelete_days"]
            rows = await connection.fetch(
                f"{_DELETED} {below} {_NEWEST} $3", found["id"], days, limit, *key
            )
        window = timedelta(days=days)
        return [
            (
                DeletedKey(row["id"], row["mailbox_id"], row["deleted_at"]),
                DeletedMessage(_as_message(row), row["deleted_at"], row["deleted_at"] + window),
            )
            for row in rows
        ]

    async def undelete_message(
        self, tenant: UUID | None, address: str, message: UUID
    ) -> Change[Message]:
        """Restore the message to its mailboxes."""
        async with changing(self._database, self._announce) as (connection, changed):
            found = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            account, days = found["id"], found["undelete_days"]
            rows = await connection.fetch(_LOCK_DELETED, account, message, days)
            if not rows:
                raise NotFound(f"{address} has no such message that could be restored")
            quota, size = found["quota_bytes"], sum(row["size_crlf"] for row in rows)
            if quota is not None and found["used_bytes"] + size > quota:
                raise Conflict(f"{address} has no room for the {size} bytes of the message")
            restored = await connection.fetch(_UNDELETE, account, message, days, INBOX)
            changed += changed_of(account, restored)
            await write_audit(connection, found["tenant_id"], address, {"message": message})
            crossed = any(row["crossed"] for row in restored)
            outbox_ids = await write_outbox(connection, address) if crossed else ()
            return Change(
                _as_message(await _one(connection, account, address, message)), outbox_ids
            )


async def _one(connection: Connection, account: int, address: str, message: UUID) -> Any:
    query = f"{_MESSAGE} AND e.message_id = $2 ORDER BY e.mailbox_id, e.uid LIMIT 1"
    row = await connection.fetchrow(query, account, message)
    if row is None:
        raise NotFound(f"{address} has no such message")
    return row


async def _mailbox(connection: Connection, account: int, name: str) -> int | None:
    number: int | None = await connection.fetchval(
        "SELECT mailbox_id FROM mailboxes WHERE account_id = $1 AND name = $2", account, name
    )
    return number


def _as_message(row: Any) -> Message:
    names = (
        "id",
        "mailbox",
        "uid",
        "size",
        "received_at",
        "from_",
        "subject",
        "date",
        "message_id",
        "reverse_path",
        "flags",
    )
    return Message(
        **{name: row[name] for name in names},
        keywords=tuple(row["keywords"]),
        verdict=_document(row["verdict"]),
        filed=_document(row["filed"]),
    )


def _document(text: str | None) -> Any:
    return None if text is None else json.loads(text) or None
