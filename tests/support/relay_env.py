"""Everything a relay works with, on real servers: the queue, a blob store, the streams; and
messages to send."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.hand_over import NatsOffers
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.notifications import NatsNotifications, NatsNotifier
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.queue.claimed import SHOWN_STATE
from posthorn.adapters.postgres.queue.enqueue import QueuePolicy
from posthorn.adapters.postgres.queue.handing import PostgresHandedClaims
from posthorn.adapters.postgres.queue.queue import PostgresQueue
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.adapters.postgres.reports.tls_outcomes import PostgresTlsOutcomes
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Body, Envelope, Record, decode_record
from posthorn.model.outbound import Outbound
from posthorn.ports.hand_over import HandOver
from posthorn.ports.queue import Route
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.runtime.process import Process
from posthorn_local.embedded import Nats
from posthorn_relay.composition import running
from posthorn_relay.context import RelayPorts
from posthorn_relay.dsn_sender import DsnSender
from posthorn_relay.scheduler import Scheduler
from posthorn_relay.settings import RelaySettings
from posthorn_relay.smtp.connector import SmtpConnector
from posthorn_relay.smtp.types import Failed, RemoteHost, Tls
from tests.support.databases import as_part, pool
from tests.support.events import RecordedEvents
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, until

SENDER = "alice@example.test"
BODY = b"From: alice@example.test\r\nSubject: hello\r\nMessage-ID: <1@example.test>\r\n\r\nworld\r\n.dots\r\n"


@dataclass
class FixedPlanner:
    """A Planner whose hosts the test sets."""

    ports: list[int] = field(default_factory=list)
    failure: Failed | None = None
    tls: Tls = Tls.NONE
    """What a policy of the destination demands."""
    asked: int = 0

    async def plan(
        self, destination: str, route: Route | None, *, without_policies: bool = False
    ) -> Sequence[RemoteHost]:
        self.asked += 1
        if self.failure:
            raise replace(self.failure)
        tls = Tls.OPPORTUNISTIC if without_policies and self.tls is not Tls.NONE else self.tls
        return [
            RemoteHost(f"mx{n}.{destination}", "127.0.0.1", port, tls)
            for n, port in enumerate(self.ports)
        ]


def relay_settings(nats: Nats, database_url: str, blobs: Path, **changes: Any) -> RelaySettings:
    """Settings for the servers, read from no environment."""
    return RelaySettings.model_validate(
        {
            "nats_url": nats.url,
            "database_url": database_url,
            "blobs": blobs.as_uri(),
            "secret_key": base64.b64encode(bytes(32)).decode(),
            "relay_hostname": "mail.example.test",
            "relay_retry_first_seconds": 0.3,
            "relay_retry_last_seconds": 0.3,
            "relay_poll_seconds": 0.1,
            "grace_seconds": 5,
            **changes,
        }
    )


@dataclass
class RelayEnv:
    """The parts, ready to use, and what the relay did."""

    database: Database
    queue: PostgresQueue
    mailboxes: PostgresMailboxes
    blobs: FileBlobs
    nats: Connection
    source: NatsIngestSource
    settings: RelaySettings
    tls_outcomes: PostgresTlsOutcomes
    handed: PostgresHandedClaims
    planner: FixedPlanner = field(default_factory=FixedPlanner)
    events: RecordedEvents = field(default_factory=RecordedEvents)

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.database.session() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]

    async def post(
        self,
        *recipients: str | Outbound,
        body: bytes = BODY,
        sender: str = SENDER,
        stranger: bool = False,
        wake: bool = True,
        over: HandOver | None = None,
        **more: Any,
    ) -> UUID:
        """Enter a message into the queue, as delivery does, and wake relays. ``stranger``: its
        sender did not authenticate; ``over`` is handed over, but nobody is told."""
        path = f"Return-Path: <{sender}>\r\n".encode()
        octets, number = path + body, new_id()
        await self.blobs.put(f"segments/{number}", [octets])
        outbound = tuple(
            one if isinstance(one, Outbound) else Outbound(one, one.rpartition("@")[2], sender)
            for one in recipients
        )
        facts = Body.from_message(octets, len(path))
        envelope = Envelope(
            number,
            time.time(),
            sender,
            tuple(one.recipient for one in outbound),
            facts,
            role="mx" if stranger else "submission",
            **more,
        )
        message = SegmentMessage(envelope, BlobRange(0, len(octets)), (), outbound, DEFAULT_TENANT)
        await self.mailboxes.deliver(
            [Segment(number, f"segments/{number}", len(octets), (message,))], over
        )
        if wake:
            NatsNotifier(self.nats).notify()
        return number

    async def states(self, message: UUID) -> dict[str, str]:
        """State by recipient."""
        state = SHOWN_STATE.format("r")
        query = f"SELECT recipient, {state} FROM outbound_recipients r WHERE message_id = $1"
        return {str(recipient): str(state) for recipient, state in await self.rows(query, message)}

    async def become(self, message: UUID, **states: str) -> None:
        """Wait until the recipients, named by local part, are in these states."""
        found: dict[str, str] = {}

        async def there() -> bool:
            nonlocal found
            found = {
                name.partition("@")[0]: state
                for name, state in (await self.states(message)).items()
            }
            return found == states

        try:
            await until(there, BUSY_SECONDS)
        except AssertionError:
            raise AssertionError(f"{found} are not {states}") from None

    async def dsns(self, number: int) -> list[Record]:
        """Take so many DSNs off INGEST."""
        found: list[Record] = []
        async with asyncio.timeout(BUSY_SECONDS):
            while len(found) < number:
                for delivery in await self.source.take(number - len(found), 1 << 24):
                    found.append(decode_record(delivery.octets))
                    await delivery.ack()
        return found

    async def nothing_left(self) -> bool:
        """Return whether INGEST is empty."""
        return (await self.source.backlog()).messages == 0

    def dsn_sender(self) -> DsnSender:
        """Return one that sends when it is called."""
        bodies = SegmentReader(self.blobs)
        throttle = PostgresThrottle(self.database)
        return DsnSender(
            PostgresQueue(self.database),
            NatsIngest(self.nats),
            bodies,
            self.events,
            self.settings,
            throttle=throttle,
        )

    @asynccontextmanager
    async def relay(self, **changes: Any) -> AsyncIterator[Scheduler]:
        """Run a relay; on leaving, it drains as at SIGTERM."""
        settings = self.settings.model_copy(update=changes)
        async with AsyncExitStack() as stack:
            process = Process(settings, stack)
            bodies = SegmentReader(self.blobs, whole_limit=64 * 1024)
            stack.push_async_callback(bodies.close)
            notifications = await stack.enter_async_context(NatsNotifications(self.nats))
            ports = RelayPorts(
                queue=self.queue,
                planner=self.planner,
                connector=SmtpConnector(settings),
                bodies=bodies,
                notifications=notifications,
                events=self.events,
                throttle=PostgresThrottle(self.database),
                offers=await stack.enter_async_context(NatsOffers(self.nats)),
                handed=self.handed,
            )
            relay = await stack.enter_async_context(
                running(process, ports, NatsIngest(self.nats), settings, self.tls_outcomes)
            )
            yield relay
        assert process.succeeded


@asynccontextmanager
async def relay_env(
    nats: Nats, database_url: str, directory: Path, **changes: Any
) -> AsyncIterator[RelayEnv]:
    """Open one. ``changes`` are settings of its relays."""
    settings = relay_settings(nats, database_url, directory, **changes)
    async with (
        pool(database_url, database_pool=8) as database,
        pool(as_part(database_url, "relay"), database_pool=8) as relays,
        connect(nats_settings(nats), "test") as connection,
        NatsIngestSource(connection) as source,
    ):
        blobs = FileBlobs(directory)
        await blobs.open()
        mailboxes = PostgresMailboxes(
            database,
            QueuePolicy(delay_notice=settings.relay_delay_notice_seconds),
        )
        try:
            yield RelayEnv(
                database,
                PostgresQueue(relays),
                mailboxes,
                blobs,
                connection,
                source,
                settings,
                PostgresTlsOutcomes(relays),
                PostgresHandedClaims(relays),
            )
        finally:
            blobs.close()
