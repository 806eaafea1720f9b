"""Transfers on Postgres: an account's entries in pages, and batches of imported messages.

Theory:

- One import at a time runs for an account, under a lease (``leaderships``) that it renews. It knows
  the existing messages from ``digests``, read once; only delivery adds messages meanwhile, and
  those carry trace fields of their own.
- A batch is written like one of delivery (``delivery``), under the lock of the account's row, by
  which the quota is checked. A message id that exists already was written by an attempt whose
  answer was lost, and counts as imported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from asyncpg import Record

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.leader import lead, resign
from posthorn.adapters.postgres.mailboxes.changes import (
    ADD_COUNTS,
    COUNTS,
    changed_of,
    changing,
    log_changes,
)
from posthorn.adapters.postgres.mailboxes.delivery import insert_messages
from posthorn.adapters.postgres.mailboxes.folders import (
    account_of,
    make_mailboxes,
    with_those_above,
)
from posthorn.adapters.postgres.mailboxes.imported_keywords import set_keywords
from posthorn.adapters.postgres.mailboxes.unique_ids import adopt_unique_ids, keep_unique_ids
from posthorn.model.blob_range import BodyLocation
from posthorn.model.room import crossed_sql
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.mailbox_hints import Announce, Changed, announce_nothing
from posthorn.ports.mailbox_view import ChangeKind
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.ports.transfers import Contents, Entry, Exported, Importing, ImportLost

LEASE_SECONDS = 180.0
"""Seconds for which an import keeps its lease without a renewal."""

_COUNT = """
    SELECT count(*), coalesce(sum(size_crlf), 0)::bigint FROM mailbox_entries
     WHERE account_id = $1 AND mailbox_id = ANY ($2::integer[])
"""
_ENTRIES = """
    SELECT e.mailbox_id, e.uid, e.flags, e.internal_date, m.reverse_path, e.keywords,
           m.id, s.key, m.offset_octets, m.stored_octets, m.encoding, m.size_crlf, m.has_dot_lines
      FROM mailbox_entries e JOIN messages m ON m.id = e.message_id JOIN segments s ON s.id = m.segment_id
     WHERE e.account_id = $1 AND e.mailbox_id = ANY ($2::integer[])
"""
_AFTER = "AND (e.mailbox_id, e.uid) > ($3, $4) ORDER BY e.mailbox_id, e.uid LIMIT $5"
_THIS = "AND (e.mailbox_id, e.uid) = ($3, $4) LIMIT $5"

_DIGESTS = """
    SELECT e.mailbox_id, e.uid, m.sha256 FROM mailbox_entries e JOIN messages m ON m.id = e.message_id
     WHERE e.account_id = $1 AND (e.mailbox_id, e.uid) > ($2, $3) ORDER BY e.mailbox_id, e.uid LIMIT $4
"""
_STAYS = "SELECT EXISTS (SELECT FROM leaderships WHERE task = $1 AND holder = $2)"
_LOCK = "SELECT quota_bytes, used_bytes FROM accounts WHERE id = $1 FOR NO KEY UPDATE"
_ENTER = f"""
    WITH boxes AS (
        UPDATE mailboxes b SET uidnext = b.uidnext + n.messages, {ADD_COUNTS}
          FROM (
              SELECT mailbox, {
    COUNTS
} FROM unnest($4::text[], $3::bigint[], $6::integer[]) AS e (mailbox, size_crlf, flags)
               GROUP BY mailbox
          ) AS n
         WHERE b.account_id = $1 AND b.name = n.mailbox
        RETURNING b.mailbox_id, b.name, b.uidnext - n.messages AS first, b.uidnext, b.modseq
    ), changes AS (
        {
    log_changes(
        f"SELECT $1, mailbox_id, modseq, {ChangeKind.ADDED}, int8multirange(int8range(first, uidnext)) FROM boxes"
    )
}
    ), made AS (
        INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, flags, internal_date, modseq)
        SELECT $1, boxes.mailbox_id, boxes.first + e.rank, e.message_id, e.size_crlf, e.flags,
               to_timestamp(e.received_at), boxes.modseq
          FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::integer[], $7::float8[])
               AS e (message_id, size_crlf, mailbox, rank, flags, received_at)
          JOIN boxes ON boxes.name = e.mailbox
        RETURNING size_crlf
    ), quota AS (
        UPDATE accounts a SET used_bytes = a.used_bytes + n.octets, used_messages = a.used_messages + n.entries
          FROM (SELECT coalesce(sum(size_crlf), 0) AS octets, count(*) AS entries FROM made) AS n
         WHERE a.id = $1
        RETURNING a.address, {
    crossed_sql("a.quota_bytes", "a.used_bytes", "a.used_bytes - n.octets")
} AS crossed
    ), told AS (
        INSERT INTO directory_outbox (subject) SELECT address FROM quota WHERE crossed RETURNING 1
    )
    SELECT mailbox_id, modseq, (SELECT count(*) FROM made) AS entries,
           (SELECT pg_notify('directory', '') WHERE EXISTS (SELECT FROM told)) AS notified
      FROM boxes
"""


class PostgresTransfers:
    """The port Transfers over Postgres."""

    def __init__(self, database: Database, announce: Announce = announce_nothing) -> None:
        self._database = database
        self._announce = announce

    async def contents(self, tenant: UUID | None, address: str, mailbox: str | None) -> Contents:
        """Count the entries to export."""
        async with self._database.session() as connection:
            account = (await account_of(connection, tenant, address))["id"]
            query = "SELECT mailbox_id, name FROM mailboxes WHERE account_id = $1 AND ($2::text IS NULL OR name = $2)"
            boxes = {
                row["mailbox_id"]: row["name"]
                for row in await connection.fetch(query, account, mailbox)
            }
            if not boxes:
                raise NotFound(f"{address} has no mailbox of this name")
            messages, size = await connection.fetchrow(_COUNT, account, list(boxes)) or (0, 0)
        return Contents(account, messages, size, boxes)

    async def entries(
        self, contents: Contents, after: tuple[int, int], limit: int, ahead: bool = True
    ) -> Sequence[Exported]:
        """List entries by the primary key."""
        query = f"{_ENTRIES} {_AFTER if ahead else _THIS}"
        async with self._database.session() as connection:
            rows = await connection.fetch(
                query, contents.account, list(contents.mailboxes), *after, limit
            )
        return [
            Exported(
                row["mailbox_id"],
                row["uid"],
                row["flags"],
                row["internal_date"],
                row["reverse_path"],
                BodyLocation(*tuple(row)[6:]),
                tuple(row["keywords"]),
            )
            for row in rows
        ]

    async def begin(
        self, tenant: UUID | None, address: str, holder: UUID, details: Mapping[str, object]
    ) -> Importing:
        """Take the lease."""
        async with self._database.transaction() as connection:
            account = await account_of(connection, tenant, address)
            importing = Importing(account["id"], holder, address, account["tenant_id"])
            if not await lead(connection, _task(importing), holder, LEASE_SECONDS):
                raise Conflict(f"another import into {address} is running; wait for its end")
            await write_audit(connection, importing.tenant, address, details)
            return importing

    async def stay(self, importing: Importing) -> None:
        """Renew the lease."""
        async with self._database.session() as connection:
            if not await lead(connection, _task(importing), importing.holder, LEASE_SECONDS):
                raise ImportLost

    async def finish(self, importing: Importing, counts: Mapping[str, int]) -> None:
        """Release the lease."""
        async with self._database.transaction() as connection:
            await resign(connection, _task(importing), importing.holder)
            await write_audit(connection, importing.tenant, importing.address, counts)

    async def digests(
        self, importing: Importing, after: tuple[int, int], limit: int
    ) -> Sequence[tuple[int, int, bytes]]:
        """Return digests, in the order of the primary key."""
        async with self._database.session() as connection:
            return [
                tuple(row)
                for row in await connection.fetch(_DIGESTS, importing.account, *after, limit)
            ]

    async def insert(
        self, importing: Importing, segment: Segment, entries: Sequence[Entry]
    ) -> set[UUID]:
        """Store the messages for which there is room."""
        async with changing(self._database, self._announce) as (connection, changed):
            row = await _locked(connection, importing)
            known = "SELECT id FROM messages WHERE id = ANY ($1::uuid[])"
            ids = [message.envelope.id for message in segment.messages]
            placed = {row["id"] for row in await connection.fetch(known, ids)}
            left = None if row["quota_bytes"] is None else row["quota_bytes"] - row["used_bytes"]
            fitting: list[tuple[SegmentMessage, Entry]] = []
            for message, entry in zip(segment.messages, entries, strict=True):
                if message.envelope.id in placed:
                    continue
                if left is None or message.envelope.body.size <= left:
                    fitting.append((message, entry))
                    left = None if left is None else left - message.envelope.body.size
            messages = [(segment.id, message) for message, _ in fitting]
            made = await insert_messages(connection, messages, [segment])
            changed += await _enter(connection, importing, fitting)
            return made | placed

    async def adopt(self, importing: Importing, unique_ids: Mapping[bytes, str]) -> None:
        """Assign unique ids to messages that are there already."""
        async with self._database.transaction() as connection:
            await _locked(connection, importing)
            await adopt_unique_ids(connection, importing.account, unique_ids)


async def _locked(connection: Connection, importing: Importing) -> Record:
    """Lock the account's row and return it. Raises ImportLost."""
    row = await connection.fetchrow(_LOCK, importing.account)
    if row is None or not await connection.fetchval(_STAYS, _task(importing), importing.holder):
        raise ImportLost
    return row


async def _enter(
    connection: Connection, importing: Importing, fitting: Sequence[tuple[SegmentMessage, Entry]]
) -> list[Changed]:
    if not fitting:
        return []
    await make_mailboxes(
        connection,
        importing.account,
        importing.address,
        with_those_above(entry.mailbox for _, entry in fitting),
    )
    ranks: Counter[str] = Counter()
    rows = []
    for message, entry in fitting:
        body = message.envelope.body
        rows.append(
            (
                message.envelope.id,
                body.size,
                entry.mailbox,
                ranks[entry.mailbox],
                entry.flags,
                entry.received_at,
            )
        )
        ranks[entry.mailbox] += 1
    made = await connection.fetch(
        _ENTER, importing.account, *(list(column) for column in zip(*rows, strict=True))
    )
    if not made or made[0]["entries"] != len(rows):
        raise LookupError("an entry was not written")  # every mailbox was created above
    await set_keywords(
        connection,
        importing.account,
        [
            (message.envelope.id, entry.mailbox, entry.keywords)
            for message, entry in fitting
            if entry.keywords
        ],
    )
    await keep_unique_ids(
        connection,
        importing.account,
        {message.envelope.id: entry.unique_id for message, entry in fitting if entry.unique_id},
    )
    return changed_of(importing.account, made)


def _task(importing: Importing) -> str:
    return f"import:{importing.account}"
