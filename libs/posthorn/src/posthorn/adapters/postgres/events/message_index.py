"""The port MessageIndex on Postgres.

Theory:

- Ids of messages are UUIDv7: their order is that of time, and a time is a bound of ids.
- ``terms`` has a GIN index, which finds what is rare. What is frequent is found soon by following
  the ids backward: the planner knows the frequent terms. Outcomes that come in bursts are in indexes
  of their own.
- A search is planned for its values: terms differ too much in their frequency for one plan.
- Entries explain what is stored elsewhere. A commit does not wait for the disk.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.listing import MOST_READ
from posthorn.adapters.postgres.access.tenant_scope import tenant_named
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.model.filter_decision import author_in
from posthorn.model.search_terms import RECIPIENT, SENDER, marked, named, terms_of
from posthorn.ports.message_index import (
    DELIVERED,
    INTERNAL,
    RELAYED,
    IndexedMessage,
    Known,
    MessageFilter,
    MessageHead,
    Place,
)
from posthorn.runtime.json_bytes import dumps
from posthorn.wire.foreign_address import canonical
from posthorn.wire.message.header_decoding import decode_text

_NO_TENANT = UUID(int=0)
_FREQUENT = frozenset({DELIVERED, RELAYED})
"""Outcomes that are terms; the others have indexes of their own."""
_FORGOTTEN_AT_ONCE, _MOST_FORGOTTEN = 5_000, 100_000
_COLUMNS = (
    "message_id, tenant_id, recipient, direction, reverse_path, author, subject, header_id,"
    " size_bytes, outcome, kind, changed_at, detail::text AS detail, targets"
)
_WRITE = r"""
INSERT INTO message_index AS i (tenant_id, message_id, recipient, direction, reverse_path, author, subject, header_id,
       size_bytes, outcome, kind, changed_at, detail, targets, terms)
SELECT tenant_id, message_id, recipient, direction, reverse_path, author, subject, header_id, size_bytes, outcome, kind,
       changed_at, detail::jsonb, string_to_array(targets, E'\n'), string_to_array(terms, E'\n')
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
              $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::text[], $15::text[])
       AS entry (tenant_id, message_id, recipient, direction, reverse_path, author, subject, header_id, size_bytes, outcome,
                 kind, changed_at, detail, targets, terms)
ON CONFLICT (tenant_id, message_id, recipient)
   DO UPDATE SET outcome = excluded.outcome, kind = excluded.kind, changed_at = excluded.changed_at, detail = excluded.detail,
                 targets = excluded.targets, terms = excluded.terms
           WHERE i.changed_at <= excluded.changed_at
"""
_PAGE = f"""
SELECT {_COLUMNS}, (SELECT name FROM tenants t WHERE t.id = tenant_id) AS tenant_name
  FROM message_index WHERE {{where}}
 ORDER BY message_id {{way}}, tenant_id {{way}}, recipient {{way}} LIMIT {{limit}}
"""
_COUNT = "SELECT count(*) FROM (SELECT FROM message_index WHERE {where} LIMIT {limit}) AS found"
_ESTIMATE = "EXPLAIN (FORMAT JSON) SELECT FROM message_index WHERE {where}"
_HEADS = """
SELECT m.id, m.reverse_path, m.from_, m.subject, m.message_id, m.size_crlf, o.tenant_id
  FROM messages m LEFT JOIN outbound_messages o ON o.message_id = m.id WHERE m.id = ANY ($1::uuid[])
"""
_FORGET = """
DELETE FROM message_index WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM message_index WHERE message_id < $1 ORDER BY message_id LIMIT $2))
"""


class PostgresMessageIndex:
    """The port MessageIndex over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, messages: Collection[UUID], domains: Collection[str]) -> Known:
        entries: list[IndexedMessage] = []
        heads: dict[UUID, MessageHead] = {}
        owners: dict[str, UUID] = {}
        if not messages and not domains:
            return Known()
        async with self._database.session() as connection:
            if messages:
                query = f"SELECT {_COLUMNS} FROM message_index WHERE message_id = ANY ($1::uuid[])"
                rows = await connection.fetch(query, list(messages))
                entries = [_as_entry(row) for row in rows]
                unknown = set(messages) - {entry.message for entry in entries}
                if unknown:
                    heads = {
                        row["id"]: _as_head(row)
                        for row in await connection.fetch(_HEADS, list(unknown))
                    }
            if domains:
                query = "SELECT name, tenant_id FROM domains WHERE name = ANY ($1::text[]) AND verified_at IS NOT NULL"
                names = [clean_text(name) for name in domains]
                owners = {
                    row["name"]: row["tenant_id"] for row in await connection.fetch(query, names)
                }
        return Known(entries, heads, owners)

    async def write(self, entries: Sequence[IndexedMessage]) -> None:
        """Write the entries, in the order of their key: two readers at work change places at times,
        and must not wait for each other's rows in a circle."""
        ordered = sorted({_key(entry): entry for entry in entries}.items())
        columns = zip(*(_values(entry) for _, entry in ordered), strict=True)
        async with self._database.transaction() as connection:
            await connection.execute("SET LOCAL synchronous_commit = off")
            await connection.execute(_WRITE, *map(list, columns))

    async def search(
        self,
        tenant: UUID | None,
        which: MessageFilter,
        after: Place | None,
        limit: int,
        *,
        oldest_first: bool = False,
    ) -> Sequence[IndexedMessage]:
        async with self._database.transaction() as connection:
            await _plan_for_values(connection)
            asked = await _asked(connection, tenant, which)
            beyond = ">" if oldest_first else "<"
            if after is not None:
                message, owner, recipient = after
                asked.add(
                    f"message_id {beyond}= {{0}} AND (message_id, tenant_id, recipient) {beyond} ({{0}}, {{1}}, {{2}})",
                    message,
                    owner or _NO_TENANT,
                    clean_text(recipient),
                )
            page = _PAGE.replace("{way}", "ASC" if oldest_first else "DESC")
            rows = await connection.fetch(asked.into(page, limit), *asked.values)
        return [_as_entry(row) for row in rows]

    async def total(self, tenant: UUID | None, which: MessageFilter) -> int:
        async with self._database.transaction() as connection:
            await _plan_for_values(connection)
            asked = await _asked(connection, tenant, which)
            number = int(await connection.fetchval(asked.into(_COUNT, MOST_READ), *asked.values))
            if number < MOST_READ:
                return number
            plan = await connection.fetchval(asked.into(_ESTIMATE, 0), *asked.values)
            return max(int(plan[0]["Plan"]["Plan Rows"]), number)

    async def forget(self, seconds: float) -> int:
        """Delete old entries, a part at a time."""
        total = 0
        while total < _MOST_FORGOTTEN:
            async with self._database.session() as connection:
                now: datetime = await connection.fetchval("SELECT now()")
                bound = _id_at(now.timestamp() - seconds)
                gone = await connection.execute(_FORGET, bound, _FORGOTTEN_AT_ONCE)
            number = int(gone.rpartition(" ")[2])
            total += number
            if number < _FORGOTTEN_AT_ONCE:
                break
        return total


async def _plan_for_values(connection: Connection) -> None:
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    # terms that are not known to the planner are rarer than it thinks: prefer their index
    await connection.execute("SET LOCAL random_page_cost = 1.1")


async def _asked(connection: Connection, tenant: UUID | None, which: MessageFilter) -> Conditions:
    asked = Conditions()
    if tenant is not None:
        asked.add("tenant_id = {}", tenant)
    if which.tenant is not None:
        asked.add("tenant_id = {}", await tenant_named(connection, tenant, which.tenant))
    if which.message is not None:
        asked.add("message_id = {}", which.message)
    for alternatives in which.asked:
        sets = [[clean_text(term) for term in each] for each in alternatives]
        asked.add(f"({' OR '.join(['terms @> {}::text[]'] * len(sets))})", *sets)
    terms = [
        named(side, text)
        for side, text in ((SENDER, which.sender), (RECIPIENT, which.recipient))
        if text is not None
    ]
    if which.reason is not None:
        terms.append(marked(which.reason))
    if which.outcome in _FREQUENT:
        terms.append(marked(which.outcome))
    elif which.outcome is not None:
        # a literal: whether a partial index serves depends on it
        literal = which.outcome.replace("'", "''")
        asked.add(f"outcome = '{literal}'")
    if terms:
        asked.add("terms @> {}::text[]", [clean_text(term) for term in terms])
    if which.direction is not None:
        either = [marked(which.direction)], [marked(INTERNAL)]
        asked.add("(terms @> {}::text[] OR terms @> {}::text[])", *either)
    if which.after is not None:
        asked.add("message_id >= {}", _id_at(which.after.timestamp()))
    if which.before is not None:
        asked.add("message_id < {}", _id_at(which.before.timestamp()))
    return asked


def _id_at(seconds: float) -> UUID:
    """Return the lowest id of a moment, in seconds since the epoch."""
    return UUID(int=min(max(int(seconds * 1000), 0), 2**48 - 1) << 80)


def _key(entry: IndexedMessage) -> tuple[int, int, str]:
    tenant = 0 if entry.tenant is None else entry.tenant.int
    return tenant, entry.message.int, clean_text(entry.recipient)


def _values(entry: IndexedMessage) -> tuple[Any, ...]:
    head = entry.head
    marks = [entry.direction, str(entry.detail.get("reason", ""))]
    if entry.outcome in _FREQUENT:
        marks.append(entry.outcome)
    terms = terms_of(
        (canonical(head.reverse_path), head.author),
        (entry.recipient, *entry.targets),
        head.message_id,
        head.subject,
        marks,
    )
    return (
        entry.tenant or _NO_TENANT,
        entry.message,
        clean_text(entry.recipient),
        entry.direction,
        clean_text(head.reverse_path),
        clean_text(head.author),
        clean_text(head.subject),
        clean_text(head.message_id),
        head.size_bytes,
        entry.outcome,
        entry.kind,
        _moment(entry.at),
        _as_json(entry.detail),
        _joined(entry.targets),
        _joined(terms),
    )


def _as_json(detail: Mapping[str, Any]) -> str:
    if not detail:
        return "{}"
    return dumps(
        {
            name: clean_text(value) if isinstance(value, str) else value
            for name, value in detail.items()
        }
    ).decode()


def _joined(parts: Sequence[str]) -> str:
    joined = "\n".join(parts)
    if joined.count("\n") >= len(parts):  # as hardly ever: a part has one
        joined = "\n".join(part.replace("\n", " ") for part in parts)
    return clean_text(joined)


def _moment(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _as_entry(row: Any) -> IndexedMessage:
    tenant = row["tenant_id"]
    return IndexedMessage(
        row["message_id"],
        None if tenant == _NO_TENANT else tenant,
        row["recipient"],
        row["direction"],
        MessageHead(
            row["reverse_path"],
            row["author"],
            row["subject"],
            row["header_id"],
            row["size_bytes"],
        ),
        row["outcome"],
        row["kind"],
        row["changed_at"].timestamp(),
        json.loads(row["detail"]),
        tuple(row["targets"]),
        row.get("tenant_name") or "",
    )


def _as_head(row: Any) -> MessageHead:
    return MessageHead(
        row["reverse_path"],
        author_in(row["from_"]),
        decode_text(row["subject"]),
        row["message_id"],
        row["size_crlf"],
        row["tenant_id"],
    )
