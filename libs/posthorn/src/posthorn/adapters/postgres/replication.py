"""Monitor of whether a commit survives the loss of the primary, checked at start and every few
seconds (ADR 25).

A message leaves INGEST when Postgres has committed it. Where a standby may take over, the commit
must be on a standby by then, or the failover undoes it and the message is lost. So before
acknowledging after a commit three things are checked on the primary: whether standbys are attached,
whether commits wait for them (``synchronous_standby_names``, ``synchronous_commit``), and its
timeline, which a failover changes.

Tools that copy the log (``pg_receivewal``, ``pg_basebackup``, Barman) and logical subscribers are
attached too: they are no targets of a failover, so they do not count. Any role may read the number
and name of the rows.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog
from prometheus_client import Counter, Gauge

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.ports.errors import Unavailable

log = structlog.get_logger()

CHECK_SECONDS = 10.0
_AGAIN_SECONDS = 1.0
_REMEMBERED_SECONDS = 600.0
"""Seconds for which a detached asynchronous standby may still be the one that takes over."""
_SAID_SECONDS = 60.0
_WAITING = frozenset({"on", "remote_apply", "remote_write"})
_NO_STANDBYS = (
    *("pg_basebackup", "pg_receivewal", "pg_recvlogical", "pg_rewind"),
    *("barman_receive_wal", "barman_streaming_backup", "barman_cloud_backup"),
)

_LOOK = """
SELECT pg_is_in_recovery() AS standby, current_setting('synchronous_commit') AS commit,
       current_setting('synchronous_standby_names') AS names,
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
       (SELECT count(*) FROM pg_stat_replication AS sender
         WHERE coalesce(sender.application_name, '') <> ALL ($1::text[]) AND sender.state IS DISTINCT FROM 'backup'
           AND NOT EXISTS (SELECT FROM pg_replication_slots slot
                            WHERE slot.slot_type = 'logical' AND slot.active_pid = sender.pid)) AS standbys
"""
_CONFIRM = "SELECT pg_logical_emit_message(true, 'posthorn', 'confirm')"

_asynchronous = Gauge(
    "posthorn_postgres_asynchronous",
    "1 while commits do not wait for attached standbys although the settings demand it",
)
_standbys = Gauge("posthorn_postgres_standbys", "Standbys attached to the primary of Postgres")
_timelines = Counter(
    "posthorn_postgres_timeline_changes_total",
    "Failovers of Postgres that this process has noticed",
)


@dataclass(frozen=True, slots=True)
class Replication:
    """The primary's view of its standbys."""

    standbys: int
    names: str
    """``synchronous_standby_names``."""
    commit: str
    """``synchronous_commit`` of our sessions."""
    timeline: str

    @property
    def waits(self) -> bool:
        """Whether a commit waits until a standby has it."""
        return bool(self.names.strip()) and self.commit in _WAITING


async def replication_of(database: Database) -> Replication:
    """Query the primary. Raises Unavailable, also when the server is a standby."""
    async with database.session() as connection:
        row = await connection.fetchrow(_LOOK, list(_NO_STANDBYS))
    assert row is not None
    if row["standby"]:
        raise Unavailable("postgres", "the server is a standby")
    return Replication(row["standbys"], row["names"], row["commit"], row["timeline"])


async def confirm(connection: Connection) -> None:
    """Wait until all that is visible now is as durable as a commit of this session. Raises the
    driver's errors.

    A commit whose wait for a standby was interrupted is visible without being on a standby; a
    session that finds it and acknowledges must first make a commit of its own, which standbys
    receive later.
    """
    await connection.execute(_CONFIRM)


class ReplicationWatch:
    """Tells whether mail may be acknowledged after a commit. ``demanded``: whether commits must
    survive a failover."""

    def __init__(self, database: Database, *, demanded: bool) -> None:
        self._database = database
        self._demanded = demanded
        self._refused = "its standbys have not been looked at yet" if demanded else ""
        """Why mail may not be acknowledged; empty when it may."""
        self._timeline = ""
        self._unsafe_at = float("-inf")
        self._said_at = float("-inf")

    def check(self) -> None:
        """Raise Unavailable unless the last check allowed it."""
        if self._refused:
            raise Unavailable("postgres", self._refused)

    async def probe(self) -> None:
        """Raise as ``check`` does. For readiness."""
        self.check()

    async def run(self) -> None:
        """Check at once and then every few seconds, until cancelled."""
        while True:
            try:
                await self.look()
                wait = _AGAIN_SECONDS if self._refused else CHECK_SECONDS
            except Unavailable as fault:
                if self._refused and not self._timeline:
                    self._refused = fault.detail
                wait = _AGAIN_SECONDS
            await asyncio.sleep(wait)

    async def look(self) -> Replication:
        """Check now. Raises Unavailable, which keeps the last result."""
        found = await replication_of(self._database)
        _standbys.set(found.standbys)
        if self._timeline and found.timeline != self._timeline:
            log.warning("Postgres has failed over", timeline=found.timeline, before=self._timeline)
            _timelines.inc()
            # standbys of the former primary cannot undo what this one writes
            self._unsafe_at = float("-inf")
        self._timeline = found.timeline
        now = time.monotonic()
        if found.standbys and not found.waits:
            self._unsafe_at = now
        unsafe = now - self._unsafe_at < _REMEMBERED_SECONDS and not found.waits
        _asynchronous.set(unsafe and self._demanded)
        self._refused = (
            "commits do not wait for the standbys that are attached"
            if unsafe and self._demanded
            else ""
        )
        if self._refused and now - self._said_at > _SAID_SECONDS:
            self._said_at = now
            log.error(
                "a failover of Postgres would lose acknowledged mail: commits do not wait for its standbys; set"
                " synchronous_standby_names (and leave synchronous_commit on), or POSTHORN_DATABASE_REPLICATION=asynchronous"
                " if that loss is acceptable",
                standbys=found.standbys,
                synchronous_standby_names=found.names,
                synchronous_commit=found.commit,
            )
        return found
