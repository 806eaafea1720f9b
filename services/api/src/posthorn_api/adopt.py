"""The commands ``posthorn-api installation``, ``adopt`` and ``release-brakes``: what an operator
decides (ADR 18)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.installation import PostgresInstallation
from posthorn.adapters.postgres.mailboxes.upkeep import SKIPPED, skip_numbers
from posthorn.model.installation import Copy, judge
from posthorn.ports.errors import Halted, Unavailable
from posthorn.ports.installation import MarkedStore
from posthorn.runtime.installation import BlobMark
from posthorn.runtime.logging import configure_logging
from posthorn_api.directory.publisher import Publisher
from posthorn_api.settings import ApiSettings

_NATS_SECONDS = 15.0
_MOST_HOURS = 168.0


@dataclass(frozen=True, slots=True)
class _Stores:
    database: Database
    installation: PostgresInstallation
    blobs: BlobMark
    directory: DirectoryMark
    publisher: Publisher


@asynccontextmanager
async def _stores(settings: ApiSettings) -> AsyncIterator[_Stores]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(connect_postgres(settings))
        blobs = await stack.enter_async_context(open_blobs(settings))
        try:
            async with asyncio.timeout(_NATS_SECONDS):
                connection = await stack.enter_async_context(
                    connect_nats(settings, "posthorn-api-adopt")
                )
        except TimeoutError:
            raise Unavailable("nats", "no connection") from None
        publisher = Publisher(PostgresDirectorySource(database), NatsDirectoryBucket(connection))
        yield _Stores(
            database,
            PostgresInstallation(database),
            BlobMark(blobs),
            DirectoryMark(connection),
            publisher,
        )


def show_installation(settings: ApiSettings) -> None:
    """Print what each store says, and what that comes to; exits with 0 when they belong
    together, else with 1."""
    _run(settings, lambda: show(settings))


def adopt(settings: ApiSettings, installation: str) -> None:
    """Make the stores those of the database, then write the directory anew; exits with 0, or
    with 1 and the reason."""
    try:
        named = UUID(installation)
    except ValueError:
        raise SystemExit(
            "an installation is named by its id: see posthorn-api installation"
        ) from None
    _run(settings, lambda: take_over(settings, named))


def release_brakes(settings: ApiSettings, hours: str) -> None:
    """Let the brakes go for so many hours."""
    try:
        number = float(hours)
    except ValueError:
        number = math.nan
    if not 0 < number <= _MOST_HOURS:
        raise SystemExit(f"give hours, more than 0 and at most {_MOST_HOURS:.0f}")
    _run(settings, lambda: release(settings, number))


def _run(settings: ApiSettings, work: Callable[[], Awaitable[int]]) -> None:
    configure_logging("api", settings.log_level)

    async def run() -> int:
        try:
            return await work()
        except Unavailable as fault:
            _say(f"nothing was done, or not all of it: {fault}; run it again")
            return 1

    raise SystemExit(asyncio.run(run()))


async def show(settings: ApiSettings) -> int:
    """Print what each store says; returns 0 when all are known to belong together, else 1.
    Raises Unavailable."""
    async with _stores(settings) as stores:
        reading = await stores.installation.read()
        ours = reading.ours
        _say(f"database          {ours.mark.id}  {_time(ours.mark.progress)}  ({ours.stage.value})")
        found: list[Copy | None] = []
        for name, store in (("blob store", stores.blobs), ("directory bucket", stores.directory)):
            copy, text = await _told(store)
            found.append(copy)
            _say(f"{name:<16}  {text}")
        if (halted := await stores.directory.halted()) is not None:
            _say(f"smtp-in is told   {halted}")
        if reading.brakes_released_until > reading.now:
            _say(f"brakes are let go until {_time(reading.brakes_released_until)}")
        verdict = judge(ours, found[0], found[1], settings.installation_tolerance_seconds)
        _say(f"{verdict.finding.value}{': ' if verdict.reason else ''}{verdict.reason}")
        return 0 if verdict.complete and not verdict.reason and None not in found else 1


async def _told(store: MarkedStore) -> tuple[Copy | None, str]:
    try:
        copy = await store.read()
    except Unavailable as fault:
        return None, f"does not tell: {fault}"
    if copy.mark is None:
        return copy, "no mark; " + ("holds data" if copy.holds_data else "empty")
    return copy, f"{copy.mark.id}  {_time(copy.mark.progress)}"


async def take_over(settings: ApiSettings, named: UUID) -> int:
    """Assign a new id to the database, which must be that installation, mark the stores with it, and
    let its mailboxes continue with UIDs that no client knows. Return 0, or 1 if nothing was done.

    Raises Unavailable; begun anew it comes to its end.
    """
    async with _stores(settings) as stores:
        reading = await stores.installation.read()
        if reading.ours.mark.id != named:
            _say(
                f"the database is installation {reading.ours.mark.id}, not {named}: nothing was done"
            )
            return 1
        reached = 0.0
        for store in (stores.blobs, stores.directory):
            try:
                copy = await store.read()
            except Halted:  # a mark that does not read is written over
                continue
            if copy.mark is not None:
                reached = max(reached, copy.mark.progress)
        await skip_numbers(stores.database)  # before it serves again
        mark = await stores.installation.take_over(named, uuid4(), reached)
        if mark is None:
            _say("the database has become another installation meanwhile: nothing was done")
            return 1
        _say(f"the database is installation {mark.id} from now on")
        _say(f"new messages get UIDs beyond the next {SKIPPED}, which clients may know already")
        await stores.blobs.write(mark)
        await stores.directory.write(mark)
        await stores.installation.finish(mark.id)
        entries = await stores.publisher.rebuild()
        await stores.directory.resume()
        _say(
            f"blob store and directory bucket belong to it; {entries} entries of the directory were written anew"
        )
        return 0


async def release(settings: ApiSettings, hours: float) -> int:
    """Let the brakes go for so many hours; returns 0. Raises Unavailable."""
    async with connect_postgres(settings) as database:
        until = await PostgresInstallation(database).release_brakes(hours * 3600)
    _say(f"the brakes are let go until {_time(until)}")
    return 0


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - these are an operator's commands
