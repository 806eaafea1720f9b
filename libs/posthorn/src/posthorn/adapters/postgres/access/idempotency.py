"""Stored answers for Idempotency-Keys.

Theory: a row is inserted before the work begins, with the attempt's id in ``headers`` and no
status. An attempt stores an answer only over its own row; a creation stores it in the transaction
of its effect. An attempt that has neither answered nor freed the row for a minute is taken for
killed, and the next one takes the row over: if the first is alive after all, its transaction finds
the row taken and rolls back.

A killed attempt that is never repeated expires after a day like any answer, not earlier: its effect
may have happened, and only the row knows the id that makes a repeat the same.

While there is no answer, ``body`` holds the id of the first attempt, which later attempts keep.
"""

from __future__ import annotations

import json
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.ports.errors import Unavailable
from posthorn.ports.idempotency import IdempotencyClash, Reservation, StoredAnswer

_RESERVE = """
    INSERT INTO idempotency_keys AS kept (api_key_id, key, request_hash, headers, body)
    VALUES ($1, $2, $3, $4, convert_to($4, 'UTF8'))
    ON CONFLICT (api_key_id, key) DO UPDATE
       SET request_hash = excluded.request_hash, headers = excluded.headers, status = NULL, created_at = now(),
           body = CASE WHEN kept.created_at < now() - interval '24 hours' THEN excluded.body ELSE kept.body END
     WHERE kept.created_at < now() - interval '24 hours'
        OR (kept.status IS NULL AND kept.created_at < now() - interval '1 minute' AND kept.request_hash = excluded.request_hash)
    RETURNING 1
"""
_MINE = "api_key_id = $1 AND key = $2 AND headers = $3 AND status IS NULL"


class PostgresIdempotency:
    """The port Idempotency over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, reservation: Reservation) -> StoredAnswer | None:
        """Reserve the key for a request, or return its stored answer."""
        api_key, key, request_hash = reservation.api_key, reservation.key, reservation.request_hash
        async with self._database.session() as connection:
            while not await connection.fetchval(
                _RESERVE, api_key, key, request_hash, str(reservation.holder)
            ):
                row = await connection.fetchrow(
                    "SELECT request_hash, status, headers, body FROM idempotency_keys WHERE api_key_id = $1 AND key = $2",
                    api_key,
                    key,
                )
                if row is None:
                    continue  # freed in between
                if row["request_hash"] != request_hash:
                    raise IdempotencyClash(running=False)
                if row["status"] is None:
                    raise IdempotencyClash(running=True)
                return StoredAnswer(row["status"], json.loads(row["headers"]), row["body"])
        return None

    async def complete(self, reservation: Reservation, answer: StoredAnswer) -> None:
        async with self._database.session() as connection:
            await _store(connection, reservation, answer)

    async def release(self, reservation: Reservation) -> None:
        """Free the key; a stored answer stays."""
        async with self._database.session() as connection:
            await connection.execute(
                f"DELETE FROM idempotency_keys WHERE {_MINE}", *_mine(reservation)
            )

    async def first_attempt(self, reservation: Reservation) -> UUID:
        """Return the id of the first attempt at the request."""
        async with self._database.session() as connection:
            first = await connection.fetchval(
                f"SELECT body FROM idempotency_keys WHERE {_MINE}", *_mine(reservation)
            )
        return reservation.holder if first is None else UUID(first.decode())

    async def suspend(self, reservation: Reservation) -> None:
        """Free the key for a repeat of the same request, which finds the same first attempt."""
        async with self._database.session() as connection:
            await connection.execute(
                f"UPDATE idempotency_keys SET headers = '', created_at = now() - interval '61 seconds' WHERE {_MINE}",
                *_mine(reservation),
            )

    async def expire(self) -> int:
        async with self._database.session() as connection:
            gone = await connection.execute(
                "DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'"
            )
        return int(gone.rpartition(" ")[2])


async def keep_answer(
    connection: Connection, reservation: Reservation, answer: StoredAnswer
) -> None:
    """Store an answer in the transaction of its effect. Raises Unavailable when another attempt
    has taken over."""
    if not await _store(connection, reservation, answer):
        raise Unavailable("postgres", "another attempt has taken over this Idempotency-Key")


async def _store(connection: Connection, reservation: Reservation, answer: StoredAnswer) -> bool:
    changed = await connection.execute(
        f"UPDATE idempotency_keys SET status = $4, headers = $5, body = $6 WHERE {_MINE}",
        *_mine(reservation),
        answer.status,
        json.dumps(dict(answer.headers)),
        answer.body,
    )
    return bool(changed != "UPDATE 0")


def _mine(reservation: Reservation) -> tuple[UUID, str, str]:
    return reservation.api_key, reservation.key, str(reservation.holder)
