"""Composition root of the relay: the adapters and parts it is made of, and the tasks that run
it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.hand_over import NatsOffers
from posthorn.adapters.nats.heartbeats import beating
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.nats.notifications import NatsNotifications
from posthorn.adapters.nats.route_probes import NatsRouteProbeServer
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.installation import guard_of
from posthorn.adapters.postgres.queue.handing import PostgresHandedClaims
from posthorn.adapters.postgres.queue.mta_sts import PostgresPolicies
from posthorn.adapters.postgres.queue.queue import PostgresQueue
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.adapters.postgres.queue.routes import PostgresSendingRoutes
from posthorn.adapters.postgres.reports.tls_outcomes import PostgresTlsOutcomes
from posthorn.ports.ingest import Ingest
from posthorn.ports.reports import TlsOutcomes
from posthorn.runtime.ids import new_id
from posthorn.runtime.process import Process
from posthorn.runtime.secret_box import SecretBox
from posthorn.runtime.tasks import LAST_WRITE_SECONDS, cancel_and_wait
from posthorn.runtime.traces import tracing
from posthorn_relay.context import RelayPorts
from posthorn_relay.dsn_sender import DsnSender
from posthorn_relay.hand_overs import HandOvers
from posthorn_relay.maintenance import QueueMaintenance
from posthorn_relay.prober import RelayProber
from posthorn_relay.routing.mta_sts import StsPolicies
from posthorn_relay.routing.mta_sts_fetch import PolicyFetcher
from posthorn_relay.routing.mx import MxPlanner
from posthorn_relay.scheduler import Scheduler
from posthorn_relay.settings import RelaySettings
from posthorn_relay.smtp.connector import SmtpConnector
from posthorn_relay.transactions import WHOLE_BYTES


async def start(process: Process[RelaySettings]) -> None:
    """Connect to the backends and run the relay on the process's stack."""
    settings, enter = process.settings, process.stack.enter_async_context
    connector = SmtpConnector(settings)
    await enter(tracing("relay", settings))
    nats = await enter(connect_nats(settings, "posthorn-relay", "relay"))
    await enter(beating(nats, process.health, "relay"))
    database, blobs = (
        await enter(connect_postgres(settings, by_key=True)),
        await enter(open_blobs(settings)),
    )
    queue = PostgresQueue(database)
    ingest = NatsIngest(nats, frames=settings.ingest_frames)
    process.health.add_check("nats", ingest.probe)
    process.health.add_check("postgres", queue.probe)
    process.health.add_check("blobs", partial(blobs.probe, writes=False))
    await guard_of(database, settings, blobs, DirectoryMark(nats)).start(process)
    bodies = SegmentReader(blobs, whole_limit=WHOLE_BYTES)
    process.stack.push_async_callback(bodies.close)
    events, notifications = await enter(NatsEvents(nats)), await enter(NatsNotifications(nats))
    ports = RelayPorts(
        queue=queue,
        planner=_planner(settings, database),
        connector=connector,
        bodies=bodies,
        notifications=notifications,
        events=events,
        throttle=PostgresThrottle(database),
        offers=await enter(NatsOffers(nats)),
        handed=PostgresHandedClaims(database),
    )
    outcomes = PostgresTlsOutcomes(database) if settings.reports_send else None
    await enter(running(process, ports, ingest, settings, outcomes))
    prober = RelayProber(PostgresSendingRoutes(database), ports.planner, settings)
    await enter(NatsRouteProbeServer(nats, prober))


def _planner(settings: RelaySettings, database: Database) -> MxPlanner:
    resolver = DnsResolver(settings.relay_dns_servers, settings.relay_dnssec)
    policies = None
    if settings.relay_mta_sts:
        policies = StsPolicies(
            resolver, PolicyFetcher(settings, resolver), PostgresPolicies(database), time.time
        )
    return MxPlanner(settings, resolver, policies, SecretBox.from_settings(settings))


@asynccontextmanager
async def running(
    process: Process[RelaySettings],
    ports: RelayPorts,
    ingest: Ingest,
    settings: RelaySettings,
    outcomes: TlsOutcomes | None = None,
) -> AsyncIterator[Scheduler]:
    """Run the relay's tasks. On leaving, transactions in progress are finished and the rest is
    released. ``outcomes``: where outcomes of TLS are counted, if they are."""
    dsn_sender = DsnSender(
        ports.queue, ingest, ports.bodies, ports.events, settings, throttle=ports.throttle
    )
    scheduler = Scheduler(ports, settings, new_id=new_id, on_dsn_due=dsn_sender.wake)
    maintenance = QueueMaintenance(
        ports.queue, ports.events, scheduler.pool, settings, on_dsn_due=dsn_sender.wake
    )
    await process.task(dsn_sender.run(), "dsn sender")
    writing = None
    if outcomes is not None:
        writing = await process.task(ports.tls_tally.run(outcomes), "tls tally")
    await process.task(maintenance.run(), "maintenance")
    await process.task(scheduler.recorder.run(), "recorder")
    await process.task(scheduler.liveness.run(), "liveness")
    scheduling = await process.task(scheduler.run(), "scheduler")
    hand_overs = None
    if ports.offers is not None and ports.handed is not None:
        hand_overs = HandOvers(
            ports.offers,
            ports.handed,
            ports.bodies,
            settings,
            scheduler.liveness,
            begin=scheduler.begin_handed,
            slots=scheduler.slots,
            has_room=scheduler.has_connections,
        )
        await process.task(hand_overs.run(), "hand-overs")
    try:
        yield scheduler
    finally:
        if hand_overs is not None:
            await hand_overs.withdraw()
        began = time.monotonic()
        await scheduler.drain(settings.grace_seconds)
        if writing is not None and outcomes is not None:
            await cancel_and_wait(writing)
            left = settings.grace_seconds - (time.monotonic() - began)
            await ports.tls_tally.close(outcomes, max(left, LAST_WRITE_SECONDS))
        with suppress(asyncio.CancelledError):
            await asyncio.wait([scheduling], timeout=1)
