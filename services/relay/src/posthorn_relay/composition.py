"""What the relay is made of."""

from __future__ import annotations

import time

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.nats.notifications import NatsNotifications
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.installation import PostgresInstallation
from posthorn.adapters.postgres.queue.mta_sts import PostgresPolicies
from posthorn.adapters.postgres.queue.queue import PostgresQueue
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.runtime.installation import InstallationGuard
from posthorn.runtime.process import Process
from posthorn.runtime.secret_box import SecretBox
from posthorn_relay.carriage import Parts
from posthorn_relay.client import SmtpConnector
from posthorn_relay.mta_sts import Policies
from posthorn_relay.parcels import WHOLE_OCTETS
from posthorn_relay.planner import MxPlanner
from posthorn_relay.policy_fetch import PolicyFetcher
from posthorn_relay.server import relaying
from posthorn_relay.settings import RelaySettings


async def compose(process: Process, settings: RelaySettings) -> None:
    """Put the service together on the process's stack and let it run."""
    enter = process.stack.enter_async_context
    connector = SmtpConnector(settings)
    nats = await enter(connect_nats(settings, "posthorn-relay", "relay"))
    database, blobs = await enter(connect_postgres(settings, by_key=True)), await enter(open_blobs(settings))
    queue, ingest = PostgresQueue(database), NatsIngest(nats)
    for part, probe in {"nats": ingest.probe, "postgres": queue.probe, "blobs": blobs.probe}.items():
        process.health.add_check(part, probe)
    guard = InstallationGuard(PostgresInstallation(database), settings)
    guard.watch_blobs(blobs)
    guard.watch_directory(DirectoryMark(nats))
    database.gate, database.installation = guard.check, guard.installation
    process.health.add_check("installation", guard.probe)
    process.health.add_check("clock", guard.probe_clock)
    await guard.look()
    await process.task(guard.run(), "installation")
    bodies = SegmentReader(blobs, whole_limit=WHOLE_OCTETS)
    process.stack.push_async_callback(bodies.close)
    events, wakes = await enter(NatsEvents(nats)), await enter(NatsNotifications(nats))
    parts = Parts(queue, _planner(settings, database), connector, bodies, wakes, events, PostgresThrottle(database))
    await enter(relaying(process, parts, ingest, settings))


def _planner(settings: RelaySettings, database: Database) -> MxPlanner:
    resolver = DnsResolver(settings.relay_dns_servers, settings.relay_dnssec)
    policies = None
    if settings.relay_mta_sts:
        policies = Policies(resolver, PolicyFetcher(settings, resolver), PostgresPolicies(database), time.time)
    return MxPlanner(settings, resolver, policies, SecretBox.from_settings(settings))
