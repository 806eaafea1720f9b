"""The port Training on Postgres.

Theory:

- Locks are taken in one order: accounts (KEY SHARE, so that none is deleted meanwhile), the
  classifications, then the models by id, those of the tenant first made. A change by the owner
  waits for the classification's row.
- A model is read, taught and written whole under its lock; the work on it is done in a thread.
  Lessons of one tenant are taught together, because that costs the same as one of them.
- A model of another version of tokens, or one that cannot be read, is begun anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from posthorn.adapters.postgres.body_location import as_location
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.mailboxes.stored_models import pack_model, unpack_model
from posthorn.model.classification import Classification
from posthorn.ports.training import KEPT_DAYS, DueLesson, PreparedLesson
from posthorn.wire.spam.bayes import BayesModel, Lesson
from posthorn.wire.spam.tokens import TokensError, decode_tokens, encode_tokens

_TASK = "training"
_DUE = """
SELECT c.account_id, d.tenant_id, c.message_id, c.wanted, c.taught, c.tokens, c.attempts,
       s.key, m.offset_octets, m.stored_octets, m.encoding, m.size_crlf, m.has_dot_lines
  FROM classifications c JOIN accounts a ON a.id = c.account_id JOIN domains d ON d.id = a.domain_id
  LEFT JOIN messages m ON m.id = c.message_id LEFT JOIN segments s ON s.id = m.segment_id
 WHERE c.due_at <= now() ORDER BY c.due_at LIMIT $1
"""
_LOCK_ACCOUNTS = "SELECT id FROM accounts WHERE id = ANY ($1::bigint[]) ORDER BY id FOR KEY SHARE"
_LOCK = """
SELECT c.account_id, c.message_id, c.wanted, c.taught
  FROM classifications c
  JOIN unnest($1::bigint[], $2::uuid[]) AS asked (account, message)
    ON c.account_id = asked.account AND c.message_id = asked.message
 WHERE c.due_at IS NOT NULL
 ORDER BY c.account_id, c.message_id FOR UPDATE OF c
"""
_MAKE_MODELS = """
INSERT INTO bayes_models (tenant_id, account_id, tokens)
SELECT $1, account, '' FROM unnest($2::bigint[]) AS asked (account) ORDER BY account NULLS FIRST
ON CONFLICT ON CONSTRAINT bayes_models_tenant_id_account_id_key DO NOTHING
"""
_LOCK_MODELS = """
SELECT id, account_id, tokens FROM bayes_models
 WHERE id IN (
     SELECT id FROM bayes_models WHERE tenant_id = $1 AND account_id IS NULL
   UNION ALL
     SELECT id FROM bayes_models WHERE tenant_id = $1 AND account_id = ANY ($2::bigint[])
 )
 ORDER BY id FOR UPDATE
"""
_WRITE_MODEL = """
UPDATE bayes_models
   SET tokens = $2, spam_messages = $3, ham_messages = $4, version = version + 1, updated_at = now()
 WHERE id = $1
"""
_CLOSE = """
UPDATE classifications c SET taught = c.wanted, tokens = done.tokens, due_at = NULL, attempts = 0
  FROM unnest($1::bigint[], $2::uuid[], $3::bytea[]) AS done (account, message, tokens)
 WHERE c.account_id = done.account AND c.message_id = done.message
"""
_DROP = """
DELETE FROM classifications c USING unnest($1::bigint[], $2::uuid[]) AS done (account, message)
 WHERE c.account_id = done.account AND c.message_id = done.message
"""
_POSTPONE = """
UPDATE classifications SET attempts = attempts + 1, due_at = now() + make_interval(secs => $4)
 WHERE account_id = $1 AND message_id = $2 AND wanted = $3 AND due_at IS NOT NULL
"""
_FORGET = f"""
DELETE FROM classifications WHERE (account_id, message_id) IN (
    SELECT account_id, message_id FROM classifications
     WHERE created_at < now() - interval '{KEPT_DAYS} days' ORDER BY created_at LIMIT $1
)
"""


class PostgresTraining:
    """See the port. Each instance is a separate candidate for the lease."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database, _TASK, uuid4())

    async def lead(self, seconds: float) -> bool:
        return await self._leadership.lead(seconds)

    async def due(self, limit: int) -> Sequence[DueLesson]:
        async with self._database.session() as connection:
            return [_as_lesson(row) for row in await connection.fetch(_DUE, limit)]

    async def teach(self, tenant: UUID, lessons: Sequence[PreparedLesson]) -> int:
        async with self._database.transaction() as connection:
            held = await _hold(connection, lessons)
            taught = {each.due.account: list[Lesson]() for each in held}
            for each in held:
                taught[each.due.account] += _as_lessons(each)
            changed = {account: some for account, some in taught.items() if some}
            if changed:
                await _teach(connection, tenant, changed)
            await _close(connection, held)
        return len(held)

    async def postpone(self, lesson: DueLesson, seconds: float | None) -> None:
        async with self._database.session() as connection:
            await connection.execute(
                _POSTPONE, lesson.account, lesson.message, lesson.wanted.value, seconds
            )

    async def forget(self, limit: int) -> int:
        async with self._database.session() as connection:
            answer: str = await connection.execute(_FORGET, limit)
        return int(answer.rpartition(" ")[2])


async def _hold(connection: Connection, lessons: Sequence[PreparedLesson]) -> list[PreparedLesson]:
    """Lock accounts and classifications; return the lessons that are as they were."""
    accounts = sorted({each.due.account for each in lessons})
    present = {row["id"] for row in await connection.fetch(_LOCK_ACCOUNTS, accounts)}
    asked = [each.due for each in lessons if each.due.account in present]
    rows = await connection.fetch(
        _LOCK, [due.account for due in asked], [due.message for due in asked]
    )
    found = {(row["account_id"], row["message_id"]): (row["wanted"], row["taught"]) for row in rows}
    return [
        each
        for each in lessons
        if found.get((each.due.account, each.due.message)) == (each.due.wanted, each.due.taught)
    ]


async def _teach(connection: Connection, tenant: UUID, taught: dict[int, list[Lesson]]) -> None:
    accounts = sorted(taught)
    await connection.execute(_MAKE_MODELS, tenant, [None, *accounts])
    for row in await connection.fetch(_LOCK_MODELS, tenant, accounts):
        number = row["account_id"]
        lessons = (
            [each for some in taught.values() for each in some]
            if number is None
            else taught[number]
        )
        model, packed = await asyncio.to_thread(_learned, row["tokens"], lessons)
        await connection.execute(_WRITE_MODEL, row["id"], packed, model.spam, model.ham)


def _learned(packed: bytes, lessons: Sequence[Lesson]) -> tuple[BayesModel, bytes]:
    model = unpack_model(packed).taught(lessons)
    return model, pack_model(model)


async def _close(connection: Connection, held: Sequence[PreparedLesson]) -> None:
    kept = [(each.due, each.tokens) for each in held if each.tokens is not None]
    gone = [each.due for each in held if each.tokens is None]
    if kept:
        await connection.execute(
            _CLOSE,
            [due.account for due, _ in kept],
            [due.message for due, _ in kept],
            [encode_tokens(tokens) for _, tokens in kept],
        )
    if gone:
        await connection.execute(
            _DROP, [due.account for due in gone], [due.message for due in gone]
        )


def _as_lessons(prepared: PreparedLesson) -> list[Lesson]:
    """Return what changes in the models: what was taught is taken back before the new lesson."""
    due, found = prepared.due, list[Lesson]()
    if due.taught is not Classification.NONE and due.tokens is not None:
        try:
            before = decode_tokens(due.tokens)
        except TokensError:  # of another version: so were the models
            pass
        else:
            found.append(Lesson(before, due.taught is Classification.SPAM, is_undone=True))
    if prepared.tokens is not None:
        found.append(Lesson(prepared.tokens, due.wanted is Classification.SPAM))
    return found


def _as_lesson(row: Any) -> DueLesson:
    return DueLesson(
        row["account_id"],
        row["tenant_id"],
        row["message_id"],
        Classification(row["wanted"]),
        Classification(row["taught"]),
        row["tokens"],
        row["attempts"],
        None if row["key"] is None else as_location(row),
    )
