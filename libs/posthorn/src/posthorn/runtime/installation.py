"""The installation guard: compares database, blob store and directory bucket, and closes the
database while they do not belong together.

Theory of operation (ADR 18):

- The gate is closed until the first comparison has passed. While it is closed, each use of the
  database raises Halted, which is Unavailable: POP3 answers ``[SYS/TEMP]``, the API 503, the relay
  claims nothing, delivery delivers nothing, nothing is deleted.
- Every process compares at its start and once per beat. Deletion compares again before each batch
  (``certain``), and continues only when both copies were read.
- A part that is down is no contradiction: the gate stays as it is, and an adopted database is
  served without its copies.
- Processes that maintain the marks (delivery, api) write the progress: Postgres first, the copies
  later. They also set the halt flag in the directory bucket for parts without a database; but not
  while other processes write marks there, which then find the stores consistent: one process with a
  wrong setting must not stop a working system.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import structlog
from prometheus_client import Gauge

from posthorn.model.installation import (
    MARK_BYTES,
    Copy,
    Finding,
    Mark,
    Stage,
    Verdict,
    decode_mark,
    encode_mark,
    judge,
)
from posthorn.ports.blobs import BODIES, MARK, SEGMENTS, BlobMissing, Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.errors import Halted, Unavailable
from posthorn.ports.installation import Halting, Installation, MarkedStore, Reading
from posthorn.runtime.settings import PostgresSettings

if TYPE_CHECKING:
    from posthorn.runtime.process import Process

log = structlog.get_logger()

CLOCK_SECONDS = 120.0
"""Seconds by which this host's clock may differ from that of Postgres before the process is not
ready."""
WHAT_TO_DO = "see docs/runbooks/posthorninstallationforeign.md; posthorn-api adopt accepts the stores as they are"
_BLOB_BEATS = 10
"""The blob store's copy is written every so many beats: each write is a request that may cost
money."""
_STALE_BEATS = 3
_FIRST_PAUSE = 0.1
_LOOK_SECONDS = 2.0

_halted = Gauge(
    "posthorn_installation_halted", "1 while the stores are not known to belong together"
)


class DirectoryCopy(MarkedStore, Halting, Protocol):
    """The directory bucket, as the guard uses it."""


class BlobMark:
    """The port MarkedStore over a blob store."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def read(self) -> Copy:
        """See the port."""
        try:
            data = await self._blobs.read(MARK, 0, MARK_BYTES)
        except BlobMissing:
            return Copy(None, holds_data=await self._holds_bodies())
        try:
            return Copy(decode_mark(data), holds_data=True)
        except ValueError as error:
            raise Halted("blobs", f"the blob {MARK} does not read") from error

    async def write(self, mark: Mark) -> None:
        """See the port."""
        await self._blobs.put(MARK, [encode_mark(mark)])

    async def _holds_bodies(self) -> bool:
        for prefix in (SEGMENTS, BODIES):
            async for _ in self._blobs.list(prefix):
                return True
        return False


class InstallationGuard:
    """Decides whether this process may use its database. ``keeps``: whether it also writes the
    marks."""

    def __init__(
        self,
        installation: Installation,
        settings: PostgresSettings,
        *,
        keeps: bool = False,
        clock: Clock = time.time,
    ) -> None:
        self._installation = installation
        self._settings = settings
        self._keeps = keeps
        self._clock = clock
        self._blobs: MarkedStore | None = None
        self._directory: DirectoryCopy | None = None
        self._closed: Halted | None = Halted(
            "installation", "the stores have not been compared yet"
        )
        self._id: UUID | None = None
        self._off = 0.0
        self._released_until = 0.0
        self._now = 0.0
        self._comparing = asyncio.Lock()
        _halted.set(1)

    async def start(self, process: Process[Any], *, clock: bool = True) -> None:
        """Compare once, then as a task of the process, whose readiness depends on the gate and,
        with ``clock``, on this host's clock."""
        process.health.add_check("installation", self.probe)
        if clock:
            process.health.add_check("clock", self.probe_clock)
        await self.look()
        await process.task(self.run(), "installation")

    def watch_blobs(self, blobs: Blobs) -> None:
        """Compare with this blob store from now on."""
        self._blobs = BlobMark(blobs)

    def watch_directory(self, directory: DirectoryCopy) -> None:
        """Compare with the directory bucket, from now on."""
        self._directory = directory

    def check(self) -> None:
        """Raise Halted while the gate is closed."""
        if self._closed is not None:
            raise Halted(self._closed.part, self._closed.detail)

    def installation(self) -> UUID | None:
        """Return the installation last found to be ours, for the database's new connections."""
        return self._id

    async def probe(self) -> None:
        """Check the gate, for readiness. Raises Halted, whose text tells what to do."""
        self.check()

    async def probe_clock(self) -> None:
        """Check the clock, for readiness. Raises Halted when this host's clock is far from that
        of Postgres."""
        if abs(self._off) > CLOCK_SECONDS:
            raise Halted(
                "clock", f"this host's clock is {self._off:+.0f} s from that of Postgres: set it"
            )

    def brakes_released(self) -> bool:
        """Return whether an operator has released the brakes."""
        return self._now < self._released_until

    async def run(self) -> None:
        """Compare periodically, and maintain the marks; run as a supervised task."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.compare()
                pause = self._settings.installation_beat_seconds
            except Unavailable as fault:
                log.info("the stores cannot be compared now", fault=fault)
                pause = min(self._settings.installation_beat_seconds, pause * 2)
            if self._closed is not None:
                pause = min(pause, 1.0)
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """Compare once at start, so that the gate is not closed without need; stop when that
        takes long."""
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self.compare()

    async def passed(self) -> None:
        """Wait until a comparison with the stores watched now has passed."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.compare()
                self.check()
            except Unavailable:
                await asyncio.sleep(pause)
                pause = min(1.0, pause * 2)
            else:
                return

    async def certain(self) -> None:
        """Compare again, before a deletion.

        Raises Unavailable unless every store was read and agrees, and this host's clock is that of
        Postgres.
        """
        if not await self.compare():
            raise Unavailable("installation", "not every store could be compared")
        await self.probe_clock()

    async def compare(self) -> bool:
        """Compare, and open or close the gate; return whether every store was read and agrees.
        Raises Unavailable of Postgres."""
        async with self._comparing:
            try:
                reading, blobs, directory, verdict = await self._judged()
                if reading.ours.stage is Stage.NEW and verdict.finding is not Finding.ADOPT:
                    # judged again: another process may have adopted it since, and its marks are no
                    # contradiction
                    reading, blobs, directory, verdict = await self._judged()
            except Halted as fault:
                await self._close(fault.detail)
                return False
            if verdict.finding in (Finding.FOREIGN, Finding.UNDECIDED):
                await self._close(verdict.reason, foreign=verdict.finding is Finding.FOREIGN)
                return False
            if self._keeps:
                await self._keep(reading, blobs, directory, adopts=verdict.finding is Finding.ADOPT)
            self._open()
            self._id = reading.ours.mark.id
            return verdict.complete

    async def _judged(self) -> tuple[Reading, Copy | None, Copy | None, Verdict]:
        asked_at = self._clock()
        reading = await self._installation.read()
        self._off = (asked_at + self._clock()) / 2 - reading.now
        self._now, self._released_until = reading.now, reading.brakes_released_until
        blobs, directory = await _read(self._blobs), await _read(self._directory)
        verdict = judge(
            reading.ours, blobs, directory, self._settings.installation_tolerance_seconds
        )
        return reading, blobs, directory, verdict

    async def _keep(
        self, reading: Reading, blobs: Copy | None, directory: Copy | None, *, adopts: bool
    ) -> None:
        """Write what is due. A fault leaves a copy behind, which is harmless."""
        mark, stage = reading.ours.mark, reading.ours.stage
        if adopts:
            if stage is Stage.NEW:
                log.info(
                    "this database is adopted as a new installation", installation=str(mark.id)
                )
            await self._installation.begin(mark.id)
        elif stage is not Stage.ADOPTED:
            return
        seconds = self._settings.installation_beat_seconds
        try:
            beat = None if adopts else await self._installation.beat(mark.id, seconds)
            mark = beat or mark
            behind = mark.progress - _BLOB_BEATS * seconds
            if (
                self._blobs
                and blobs
                and (adopts or not blobs.mark or (beat and blobs.mark.progress <= behind))
            ):
                await self._blobs.write(mark)
            if self._directory and directory and (adopts or beat or directory.mark is None):
                await self._directory.write(mark)
            if self._directory and directory and await self._directory.halted() is not None:
                await self._directory.resume()
                log.info("the stores belong together again: mail is accepted")
        except Unavailable as fault:
            log.warning("a mark could not be written", fault=fault)
            if adopts:
                raise
            return
        if adopts:
            await self._installation.finish(mark.id)

    def _open(self) -> None:
        if self._closed is not None:
            log.info("the stores belong together")
        self._closed = None
        _halted.set(0)

    async def _close(self, reason: str, *, foreign: bool = True) -> None:
        detail = f"{reason}; {WHAT_TO_DO}" if foreign else reason
        if self._closed is None or self._closed.detail != detail:
            log.error(
                "nothing is served or deleted: the stores do not belong together", reason=reason
            )
        self._closed = Halted("installation", detail)
        _halted.set(1)
        if foreign and self._keeps and self._directory is not None:
            await self._tell(self._directory, detail)

    async def _tell(self, directory: DirectoryCopy, detail: str) -> None:
        try:
            ago = await directory.beaten_ago()
            if ago is not None and ago < _STALE_BEATS * self._settings.installation_beat_seconds:
                return  # other processes write marks there
            if await directory.halted() is None:
                await directory.halt(detail)
        except Unavailable as fault:
            log.warning("the halt flag for smtp-in could not be written", fault=fault)


async def _read(store: MarkedStore | None) -> Copy | None:
    try:
        return await store.read() if store is not None else None
    except Halted:
        raise
    except Unavailable as fault:
        log.info("the mark of a store could not be read", fault=fault)
        return None
