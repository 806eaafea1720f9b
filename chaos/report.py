"""The result of a run, and its display."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import httpx

from chaos.faults import Fault
from chaos.ledger import Entry, Verdict

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class UnfinishedWork:
    """Unfinished work in the stores."""

    queued: int
    """Recipients in the outbound queue."""
    waiting: int
    """Messages on INGEST."""
    unanswered: int
    """Idempotency-Keys without an answer."""

    @property
    def at_rest(self) -> bool:
        """Whether nothing is in progress."""
        return not self.queued and not self.waiting


@dataclass(frozen=True, slots=True)
class Result:
    """A run."""

    seed: int
    blobs: str
    seconds: float
    entries: Sequence[Entry]
    faults: Sequence[Fault]
    verdict: Verdict
    calm_seconds: float | None
    pauses: Mapping[str, float]
    """By part, the longest time without service in seconds, faults included."""
    returns: Mapping[str, tuple[float, str]]
    """By part, the longest time in seconds from the end of a fault to service, and the fault."""
    left: UnfinishedWork


def unfinished_work(database_url: str, delivery: int = 0) -> UnfinishedWork:
    """Query Postgres, and the gauges of the delivery process with this health port."""

    async def ask(connection: asyncpg.Connection[asyncpg.Record]) -> tuple[int, int]:
        queued = await connection.fetchval(
            "SELECT count(*) FROM outbound_recipients WHERE state IN ('queued', 'deferred', 'sending', 'held')"
            " OR notice IS NOT NULL"
        )
        return queued, await connection.fetchval(
            "SELECT count(*) FROM idempotency_keys WHERE status IS NULL"
        )

    queued, unanswered = _ask(database_url, ask)
    waiting = 0
    if delivery:
        page = httpx.get(
            f"http://127.0.0.1:{delivery}/metrics", timeout=10, trust_env=False, verify=False
        ).text
        found = re.search(r"^posthorn_delivery_backlog_messages ([0-9.e+]+)$", page, re.MULTILINE)
        waiting = int(float(found[1])) if found else 1
    return UnfinishedWork(queued, waiting, unanswered)


def longest_delivery(database_url: str) -> float:
    """Return the longest time from the end of data to the mailbox, in seconds."""

    async def ask(connection: asyncpg.Connection[asyncpg.Record]) -> float:
        found = await connection.fetchval(
            "SELECT extract(epoch FROM max(placed_at - received_at)) FROM messages"
        )
        return float(found or 0)

    return _ask(database_url, ask)


def _ask[T](url: str, question: Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[T]]) -> T:
    async def ask() -> T:
        connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
        try:
            return await question(connection)
        finally:
            await connection.close()

    return asyncio.run(ask())


def show(result: Result) -> None:
    """Print it."""
    verdict = result.verdict
    for name, lines in (
        ("LOST", verdict.lost),
        ("DOUBLED", verdict.doubled),
        ("WRONG", verdict.other),
    ):
        for line in lines[:_SHOWN]:
            print(f"{name}: {line}")
        if len(lines) > _SHOWN:
            print(f"{name}: and {len(lines) - _SHOWN} more")
    acknowledged = sum(bool(entry.acknowledged_at) for entry in result.entries)
    calm = "not reached" if result.calm_seconds is None else f"{result.calm_seconds:.0f} s"
    pauses = ", ".join(f"{part} {seconds:.0f} s" for part, seconds in result.pauses.items())
    print(
        f"seed {result.seed}, bodies in {result.blobs}, {result.seconds / 60:.1f} min:"
        f" {len(result.entries)} messages, {acknowledged} acknowledged, {len(result.faults)} faults,"
        f" {len(verdict.lost)} lost, {len(verdict.doubled)} doubled, {len(verdict.other)} otherwise wrong;"
        f" calm after {calm}"
    )
    for part, (seconds, fault) in result.returns.items():
        print(f"  {part} served again {seconds:.1f} s after the end of: {fault}")
    print(f"longest pause: {pauses}; keys without an answer: {result.left.unanswered}")
