"""What a message costs in the outbound queue's tables: ``python -m bench.queue_rows``.

Postgres alone, from its wheel: messages are queued as delivery does, claimed and recorded as a relay
does, by one connection. The figures depend little on what else the machine does: round trips, WAL,
updates of recipients that touch indexes, and CPU of the connection's backend and of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from tests.support.builders import make_message, make_outbound, make_segment

from posthorn.adapters.postgres.database import Connection, Database, connect
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.migrate import migrate_blocking
from posthorn.adapters.postgres.queue.queue import PostgresQueue
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.outbound import QueueState
from posthorn.ports.queue import Due, Job, Outcome
from posthorn.runtime.ids import new_id
from posthorn.runtime.settings import PostgresSettings
from posthorn_local.embedded import Postgres

DESTINATIONS = 10
QUEUED_TOGETHER = 20
_COUNTERS = """
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8,
       (SELECT n_tup_upd - n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'outbound_recipients')::float8
"""


@dataclass(slots=True)
class Cost:
    """Sums over the calls of one phase."""

    trips: float = 0
    wal_bytes: float = 0
    updates: float = 0
    backend_seconds: float = 0
    seconds: float = 0


class Meter:
    """Measures calls on the pool's one connection, by another connection."""

    def __init__(self, observer: Connection) -> None:
        self.costs: defaultdict[str, Cost] = defaultdict(Cost)
        self._observer = observer
        self._trips = 0
        self._watched: Any = None
        self._backend = 0

    async def watch(self, database: Database) -> None:
        """Count what the pool's connection does."""
        async with database.session() as connection:
            self._watched = connection
            self._backend = await connection.fetchval("SELECT pg_backend_pid()")
            connection.add_query_logger(self._count)

    def _count(self, _: Any) -> None:
        self._trips += 1

    async def _read(self) -> list[float]:
        await self._watched.execute("SELECT pg_stat_force_next_flush()")
        await self._watched.execute("SELECT")
        await self._observer.execute("SELECT pg_stat_clear_snapshot()")
        row: Any = await self._observer.fetchrow(_COUNTERS)
        # time on a processor in ns: https://docs.kernel.org/scheduler/sched-stats.html
        backend = int(Path(f"/proc/{self._backend}/schedstat").read_text().split()[0]) / 1e9
        return [self._trips, *map(float, row), backend, time.process_time()]

    @asynccontextmanager
    async def phase(self, name: str) -> AsyncIterator[None]:
        """Add what the block costs, less what reading the counters costs itself."""
        first = await self._read()
        before = await self._read()
        yield
        after = await self._read()
        cost = self.costs[name]
        values = [c - b - (b - a) for a, b, c in zip(first, before, after, strict=True)]
        for field, value in zip(Cost.__slots__, values, strict=True):
            setattr(cost, field, getattr(cost, field) + value)


async def queue(mailboxes: PostgresMailboxes, first: int) -> None:
    """Queue messages of one recipient each, spread over the destinations."""
    made = []
    for number in range(first, first + QUEUED_TOGETHER):
        address = f"user{number}@d{number // QUEUED_TOGETHER % DESTINATIONS}.test"
        outbound = make_outbound(address, "sender@example.test")
        made.append(replace(make_message(()), outbound=(outbound,), tenant=DEFAULT_TENANT))
    await mailboxes.deliver([make_segment(made)])


async def record(queue_: PostgresQueue, relay: UUID, jobs: Sequence[Job]) -> None:
    """Record that everything was delivered."""
    told = [
        Outcome(job.id, QueueState.DELIVERED, host="mx.test", status="2.0.0", reply="250 ok")
        for job in jobs
    ]
    assert len(await queue_.record(relay, told)) == len(jobs)


async def run(
    database: Database, meter: Meter, messages: int, together: int, recorded: int
) -> None:
    """Queue everything, then claim and record in turn, as workers with slots do."""
    mailboxes, queue_, relay = PostgresMailboxes(database), PostgresQueue(database), new_id()
    await queue_.heartbeat(relay)
    async with meter.phase("queued"):
        for first in range(0, messages, QUEUED_TOGETHER):
            await queue(mailboxes, first)
    slots: dict[str, UUID | None] = {}
    waiting: list[Job] = []
    for turn in range(messages // together):
        name = f"d{turn * together // QUEUED_TOGETHER % DESTINATIONS}.test"
        async with meter.phase("claimed"):
            found = await queue_.claim(
                relay, Due(name, None), slots.get(name), 20, None, together, 100
            )
        slots[name] = found.slot
        assert len(found.jobs) == together
        waiting += found.jobs
        if len(waiting) >= recorded or turn == messages // together - 1:
            async with meter.phase("recorded"):
                await record(queue_, relay, waiting)
            waiting = []
    await queue_.leave(relay)


async def measure(url: str, messages: int, rounds: int, together: int, recorded: int) -> None:
    """Run the rounds and print them, per message."""
    settings = PostgresSettings(database_url=url, database_pool=1)  # type: ignore[arg-type]
    observer = await asyncpg.connect(url)
    print("per message   trips  WAL bytes  non-HOT  backend µs  client µs")
    async with connect(settings, by_key=True) as database:
        for _ in range(rounds):
            await observer.execute("VACUUM (ANALYZE)")
            await observer.execute("CHECKPOINT")
            meter = Meter(observer)
            await meter.watch(database)
            await run(database, meter, messages, together, recorded)
            for name, cost in meter.costs.items():
                _show(name, cost, messages)
    await observer.close()


def _show(name: str, cost: Cost, messages: int) -> None:
    print(
        f"{name:11} {cost.trips / messages:7.3f}"
        f" {cost.wal_bytes / messages:10.0f} {cost.updates / messages:8.2f}"
        f" {cost.backend_seconds / messages * 1e6:11.1f} {cost.seconds / messages * 1e6:10.1f}"
    )


def main() -> None:
    """Parse the arguments, start Postgres, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--claimed", type=int, default=20, help="recipients of a claim")
    parser.add_argument("--recorded", type=int, default=50, help="outcomes recorded together")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = Postgres(directory / "postgres")
        stack.callback(postgres.stop)
        postgres.start()
        migrate_blocking(postgres.url)
        asyncio.run(
            measure(
                postgres.url,
                arguments.messages,
                arguments.rounds,
                arguments.claimed,
                arguments.recorded,
            )
        )


if __name__ == "__main__":
    main()
