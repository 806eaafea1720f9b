"""Composition root of the scanning tier."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.dns_stub import StubLookup
from posthorn.adapters.nats.bans import NatsBanList
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.heartbeats import beating
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.network_counts import NatsCounts, NatsGreylist
from posthorn.adapters.nats.scan_server import NatsScanServer
from posthorn.adapters.nats.unscanned import NatsScannedLane
from posthorn.adapters.signature_check import CryptographySignatureCheck
from posthorn.model.streams import UNSCANNED_CONSUMER
from posthorn.ports.blobs import Blobs
from posthorn.ports.events import Events
from posthorn.ports.ingest import IngestSource
from posthorn.runtime.blocklists import Blocklists
from posthorn.runtime.process import Process
from posthorn.runtime.traces import tracing
from posthorn.wire.auth.lookup import Lookup
from posthorn_scan.contents import Contents
from posthorn_scan.engines.clamav import ClamAv
from posthorn_scan.engines.engine import ConfiguredEngine
from posthorn_scan.engines.rspamd import Rspamd
from posthorn_scan.first_tries import FirstTries
from posthorn_scan.greylist import Greylist
from posthorn_scan.judge import Judge
from posthorn_scan.networks import NetworkDefence
from posthorn_scan.sender import SenderChecks
from posthorn_scan.settings import EngineSettings, ScanSettings
from posthorn_scan.state import TierState
from posthorn_scan.tier import Tier
from posthorn_scan.unscanned import UnscannedLane

LANE_MESSAGES = 32
"""Messages of the unscanned lane in the buffer of one process."""
LANE_PARALLEL = 8
_LANE_GRACE_SECONDS = 5.0


async def start(process: Process[ScanSettings]) -> None:
    """Connect to the backends and serve on the process's stack."""
    settings, enter = process.settings, process.stack.enter_async_context
    await enter(tracing("scan", settings))
    nats = await enter(connect_nats(settings, "posthorn-scan", "scan"))
    await enter(beating(nats, process.health, "scan"))
    blobs = await enter(open_blobs(settings))
    events = await enter(NatsEvents(nats))
    lookup = await enter(
        StubLookup(settings.scan_dns_servers, deadline_seconds=settings.scan_dns_seconds)
    )
    engines = await enter(configured_engines(settings))
    for engine in engines:
        process.health.add_detail(engine.name, engine.state)
        await process.task(engine.watch(), engine.name)
    process.health.add_detail("dns", lambda: "away" if lookup.is_away else "ok")
    source = await enter(
        NatsIngestSource(nats, UNSCANNED_CONSUMER, messages=LANE_MESSAGES, max_bytes=0)
    )
    server = await enter(
        serving(
            process,
            settings,
            nats,
            blobs,
            events,
            lookup,
            engines,
            source,
            is_dns_away=lambda: lookup.is_away,
        )
    )
    # without the blob store, Postgres or an engine small messages are still judged
    process.health.add_check("nats", server.probe)


@asynccontextmanager
async def configured_engines(settings: EngineSettings) -> AsyncGenerator[list[ConfiguredEngine]]:
    """Open the engines that the settings name."""
    engines: list[ConfiguredEngine] = []
    rspamd = Rspamd(settings.scan_rspamd_url) if settings.scan_rspamd_url else None
    if rspamd is not None:
        engines.append(
            ConfiguredEngine(
                rspamd,
                seconds=settings.scan_rspamd_seconds,
                max_bytes=settings.scan_rspamd_max_bytes,
                away=settings.scan_rspamd_away,
            )
        )
    if settings.scan_clamav_address:
        engines.append(
            ConfiguredEngine(
                ClamAv(settings.scan_clamav_address),
                seconds=settings.scan_clamav_seconds,
                max_bytes=settings.scan_clamav_max_bytes,
                away=settings.scan_clamav_away,
            )
        )
    try:
        yield engines
    finally:
        if rspamd is not None:
            await rspamd.close()


@asynccontextmanager
async def serving(
    process: Process[ScanSettings],
    settings: ScanSettings,
    nats: Connection,
    blobs: Blobs,
    events: Events,
    lookup: Lookup,
    engines: Sequence[ConfiguredEngine],
    source: IngestSource,
    *,
    is_dns_away: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[NatsScanServer]:
    """Answer questions and judge the unscanned lane; on leaving, finish what has begun."""
    greylist = NatsGreylist(nats)
    blocklists = Blocklists(
        lookup,
        settings.scan_blocklists,
        deadline_seconds=settings.scan_blocklist_deadline_seconds,
    )
    senders = SenderChecks(
        lookup,
        blocklists,
        Greylist(greylist, settings.scan_greylist_seconds),
        hostname=settings.smtp_hostname,
        seconds=settings.scan_authentication_seconds / 3,
        keep_seconds=settings.scan_cache_seconds,
    )
    judge = Judge(
        lookup,
        CryptographySignatureCheck(),
        blocklists,
        senders,
        engines,
        sealers=settings.scan_arc_sealers,
        seconds=settings.scan_authentication_seconds * 2 / 3,
    )
    contents = Contents(blobs, settings.scan_memory_bytes)
    defence = NetworkDefence(NatsCounts(nats), NatsBanList(nats), settings)
    tier = Tier(senders, judge, contents, defence, FirstTries(greylist), events)
    lane = UnscannedLane(
        source,
        NatsScannedLane(nats),
        tier,
        contents,
        blobs,
        hostname=settings.smtp_hostname,
        wait_seconds=settings.delivery_scan_wait_seconds,
        parallel=LANE_PARALLEL,
        new_suffix=lambda: secrets.token_hex(8),
    )
    counting = await process.task(defence.run(), "network defence")
    moving = await process.task(lane.run(), "unscanned lane")
    try:
        async with NatsScanServer(
            nats,
            tier,
            states=TierState(engines, blocklists, is_dns_away),
            senders=settings.scan_senders,
            messages=settings.scan_messages,
            grace_seconds=settings.grace_seconds,
        ) as server:
            yield server
    finally:
        moving.cancel()
        counting.cancel()
        with suppress(asyncio.CancelledError):
            await moving
        await lane.finish(min(settings.grace_seconds, _LANE_GRACE_SECONDS))
        await blocklists.close()
