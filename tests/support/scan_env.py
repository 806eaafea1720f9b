"""The scanning tier on a real NATS, a directory of blobs and a table of DNS records; engines as the
test wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.scan_server import NatsScanServer
from posthorn.model.streams import UNSCANNED_CONSUMER
from posthorn.ports.blobs import Blobs
from posthorn.ports.scan import MessageQuestion
from posthorn.runtime.process import Process
from posthorn.runtime.settings import NatsSettings
from posthorn.wire.auth.lookup import Lookup
from posthorn_local.embedded import Nats
from posthorn_scan.composition import serving
from posthorn_scan.engines.engine import ConfiguredEngine, EngineDown, Findings
from posthorn_scan.settings import ScanSettings
from tests.support.events import RecordedEvents
from tests.support.zone_lookup import Row, ZoneLookup

HOSTNAME = "mx.example.test"


@dataclass
class ScriptedEngine:
    """An engine that says what a test wants; only for what a real one cannot be made to say."""

    name: str = "clamav"
    says: Findings | Exception = field(default_factory=Findings)
    asked: list[bytes] = field(default_factory=list)

    async def scan(
        self, content: bytes, question: MessageQuestion, *, client_name: str
    ) -> Findings:
        self.asked.append(content)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def probe(self) -> str:
        if isinstance(self.says, Exception):
            raise EngineDown(str(self.says))
        return "scripted"


@dataclass
class ScanEnv:
    """The parts."""

    nats: Connection
    """As scan connects."""
    mx: Connection
    """As smtp-in connects."""
    delivery: Connection
    blobs: Blobs
    events: RecordedEvents
    server: NatsScanServer
    settings: ScanSettings


def scan_settings(nats: Nats, directory: Path, **changes: Any) -> ScanSettings:
    """Settings, read from no environment."""
    return ScanSettings.model_validate(
        {
            "nats_url": nats.url_of("scan"),
            "blobs": directory.as_uri(),
            "smtp_hostname": HOSTNAME,
            "grace_seconds": 5,
            **changes,
        }
    )


@asynccontextmanager
async def scanning(
    nats: Nats,
    directory: Path,
    *,
    zone: Mapping[str, Sequence[Row]] | None = None,
    lookup: Lookup | None = None,
    engines: Sequence[ConfiguredEngine] = (),
    **changes: Any,
) -> AsyncIterator[ScanEnv]:
    """Run the tier as its process does, with these engines and DNS records."""
    directory.mkdir(exist_ok=True)
    settings = scan_settings(nats, directory, **changes)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        own = NatsSettings.model_validate({"nats_url": nats.url_of("delivery")})
        delivery = await enter(connect(own, "delivery", "delivery"))
        mx_settings = NatsSettings.model_validate({"nats_url": nats.url_of("smtp-in")})
        mx = await enter(connect(mx_settings, "smtp-in", "smtp-in"))
        connection = await enter(connect(settings, "scan", "scan"))
        process = Process(settings, stack)
        blobs, events = await enter(open_blobs(settings)), RecordedEvents()
        source = await enter(NatsIngestSource(connection, UNSCANNED_CONSUMER, max_bytes=0))
        server = await enter(
            serving(
                process,
                settings,
                connection,
                blobs,
                events,
                lookup or ZoneLookup(zone or {}),
                engines,
                source,
            )
        )
        yield ScanEnv(connection, mx, delivery, blobs, events, server, settings)
