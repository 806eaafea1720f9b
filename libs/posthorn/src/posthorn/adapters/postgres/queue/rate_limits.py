"""Rate limits shared by all processes, on Postgres.

Theory:

- A key's row holds when its bucket will be full again (``full_at``). A charge of ``cost`` moves
  that by ``cost * seconds / limit``, and is allowed while it stays within ``seconds`` from now.
  Nothing has to be refilled, and a row whose time is past equals no row.
- Requests made during a round trip are combined in the next one. Most rounds are one statement,
  which takes all charges of all callers if they all fit. If not all do, or a row does not exist
  yet, they are judged one after another under the rows' locks.
- Rows are locked in the order of their keys, by every statement here: two processes never wait for
  each other.
- Only the database's clock counts, read after the locks are held.
- The table is unlogged: a crash of the server resets the counts, and has no other effect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import SLACK_SECONDS, Charge

log = structlog.get_logger()

_ROUND = 256
"""Most callers served in one round trip."""
_PURGE_SECONDS = 60.0
_PURGED_AT_ONCE = 20_000

# ``more`` is what is taken, ``need`` what must fit, ``most`` how far ahead a bucket may be, all in
# seconds. Rows that are only checked only are read without a lock. The UPDATE reads the row's time
# again, under the lock.
_TAKE = """
WITH held AS MATERIALIZED (
    SELECT key, full_at FROM throttles WHERE key = ANY ($5::text[]) ORDER BY key FOR UPDATE
), judged AS MATERIALIZED (
    SELECT asked.key, asked.more, asked.more > 0 AND held.key IS NULL AS absent,
           greatest(extract(epoch FROM coalesce(held.full_at, seen.full_at) - clock_timestamp())::float8, 0)
               + asked.need - asked.most AS wait
      FROM unnest($1::text[], $2::float8[], $3::float8[], $4::float8[]) AS asked (key, more, need, most)
      LEFT JOIN held ON held.key = asked.key
      LEFT JOIN throttles seen ON seen.key = asked.key AND asked.more = 0
), verdict AS MATERIALIZED (
    SELECT bool_or(absent) AS absent, max(wait) AS wait FROM judged
), taken AS (
    UPDATE throttles t SET full_at = greatest(t.full_at, clock_timestamp()) + make_interval(secs => judged.more)
      FROM judged, verdict
     WHERE t.key = judged.key AND judged.more > 0 AND NOT verdict.absent AND verdict.wait <= $6
)
SELECT absent, wait FROM verdict
"""
_BEGIN = """
INSERT INTO throttles (key, full_at)
SELECT key, clock_timestamp() FROM unnest($1::text[]) AS asked (key) ORDER BY key
ON CONFLICT DO NOTHING
"""
_HOLD = "SELECT key FROM throttles WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE"
_READ = "SELECT key, full_at, clock_timestamp() AS now FROM throttles WHERE key = ANY ($1::text[])"
_WRITE = """
UPDATE throttles t SET full_at = new.full_at
  FROM unnest($1::text[], $2::timestamptz[]) AS new (key, full_at) WHERE t.key = new.key
"""
_PURGE = """
DELETE FROM throttles WHERE key IN (
    SELECT key FROM throttles WHERE full_at < now() - interval '10 minutes' LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""


@dataclass(frozen=True, slots=True)
class _Request:
    charges: tuple[Charge, ...]
    answer: asyncio.Future[float]


class PostgresThrottle:
    """The port Throttle over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Request] = []
        self._serving: asyncio.Task[None] | None = None
        self._purge_at = time.monotonic() + _PURGE_SECONDS

    async def take(self, charges: Sequence[Charge]) -> float:
        """Take all of the charges, or none; a charge above its whole limit is never allowed."""
        refused = max((charge.seconds for charge in charges if charge.limit < 1), default=0.0)
        if refused or not charges:
            return refused
        request = _Request(tuple(charges), asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return await request.answer

    async def purge(self) -> int:
        """Delete expired rows; return how many. ``take`` calls it periodically."""
        async with self._database.session() as connection:
            gone = await connection.execute(_PURGE, _PURGED_AT_ONCE)
        return int(gone.rpartition(" ")[2])

    async def _serve(self) -> None:
        """Serve requests until none is waiting."""
        try:
            while self._waiting:
                ready = [request for request in self._waiting[:_ROUND] if not request.answer.done()]
                del self._waiting[:_ROUND]
                if ready:
                    await self._answer(ready)
        finally:
            self._serving = None
            for request in self._waiting:  # only when this task is cancelled
                request.answer.cancel()
            self._waiting.clear()
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + _PURGE_SECONDS
            try:
                while await self.purge() == _PURGED_AT_ONCE:
                    pass  # a flood of failed logins must not grow the table faster than this
            except Unavailable as fault:
                log.warning("expired counters not removed", fault=fault)

    async def _answer(self, requests: Sequence[_Request]) -> None:
        try:
            waits = await self._round([request.charges for request in requests])
        except BaseException as error:
            for request in requests:
                if not request.answer.done():
                    if isinstance(error, Exception):
                        request.answer.set_exception(error)
                    else:
                        request.answer.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for request, wait in zip(requests, waits, strict=True):
            if not request.answer.done():
                request.answer.set_result(wait)

    async def _round(self, asked: Sequence[Sequence[Charge]]) -> list[float]:
        sums = _sums(asked)
        written = [key for key, (more, _, _) in sums.items() if more > 0]
        async with self._database.session() as connection:
            row = await connection.fetchrow(
                _TAKE,
                list(sums),
                *(list(column) for column in zip(*sums.values(), strict=True)),
                written,
                SLACK_SECONDS,
            )
            assert row is not None
            if not row["absent"]:
                if row["wait"] <= SLACK_SECONDS:
                    return [0.0] * len(asked)
                if len(asked) == 1:
                    return [row["wait"]]
            else:
                await connection.execute(_BEGIN, written)
        async with self._database.transaction() as connection:
            return await _one_after_another(connection, asked, list(sums), written)


def _sums(asked: Sequence[Sequence[Charge]]) -> dict[str, tuple[float, float, float]]:
    """Return for each key what would be taken, what must fit, and the greatest advance, all in
    seconds."""
    sums: dict[str, tuple[float, float, float]] = {}
    for charge in (charge for charges in asked for charge in charges):
        key = clean_text(charge.key)
        more, extra, most = sums.get(key, (0.0, 0.0, charge.seconds))
        unit = charge.seconds / charge.limit
        extra = max(extra, unit) if charge.cost == 0 else extra
        sums[key] = more + charge.cost * unit, extra, min(most, charge.seconds)
    return {key: (more, more + extra, most) for key, (more, extra, most) in sums.items()}


async def _one_after_another(
    connection: Connection, asked: Sequence[Sequence[Charge]], keys: list[str], written: list[str]
) -> list[float]:
    held = await connection.fetch(_HOLD, written)
    if len(held) < len(written):
        raise Unavailable("postgres", "a counter was removed while it was in use")
    rows = await connection.fetch(_READ, keys)
    if not rows:
        return [0.0] * len(asked)
    now: datetime = max(row["now"] for row in rows)
    ahead = {row["key"]: max((row["full_at"] - now).total_seconds(), 0.0) for row in rows}
    waits = []
    for charges in asked:
        wait, after = _judge(charges, ahead)
        waits.append(wait)
        if not wait:
            ahead.update(after)
    times = [now + timedelta(seconds=ahead[key]) for key in written]
    await connection.execute(_WRITE, written, times)
    return waits


def _judge(charges: Sequence[Charge], ahead: dict[str, float]) -> tuple[float, dict[str, float]]:
    """Return the wait for these charges, and the advance of their buckets after taking them, in
    seconds."""
    wait = 0.0
    after: dict[str, float] = {}
    for charge in charges:
        key = clean_text(charge.key)
        unit = charge.seconds / charge.limit
        before = after.get(key, ahead.get(key, 0.0))
        wait = max(wait, charge.wait(before))
        after[key] = before + charge.cost * unit
    return wait, after
