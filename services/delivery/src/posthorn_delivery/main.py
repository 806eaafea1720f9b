"""Composition root of the delivery service."""

from __future__ import annotations

from posthorn.adapters.blobs import open_blobs
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.dead import NatsDeadLetters
from posthorn.adapters.nats.source import NatsIngestSource
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.mailboxes import PostgresMailboxes
from posthorn.adapters.postgres.storeroom import PostgresStoreroom
from posthorn.runtime.ids import new_id
from posthorn.runtime.process import Process, serve
from posthorn_delivery.collector import Collector
from posthorn_delivery.compression import compressor
from posthorn_delivery.server import Intake, taking_in
from posthorn_delivery.service import Deliverer
from posthorn_delivery.settings import DeliverySettings


def main() -> None:
    """Run the service."""
    settings = DeliverySettings.load()

    async def start(process: Process) -> None:
        enter = process.stack.enter_async_context
        nats = await enter(connect_nats(settings, "posthorn-delivery"))
        database, blobs = await enter(connect_postgres(settings)), await enter(open_blobs(settings))
        source = await enter(NatsIngestSource(nats))
        mailboxes, compress = PostgresMailboxes(database), compressor(settings.delivery_compression)
        deliverer = Deliverer(mailboxes, blobs, NatsDeadLetters(nats), new_id=new_id, compress=compress)
        for part, probe in {"nats": source.probe, "postgres": mailboxes.probe, "blobs": blobs.probe}.items():
            process.health.need(part, probe)
        await process.task(Collector(PostgresStoreroom(database), blobs, source.backlog, settings).run(), "collector")
        await enter(taking_in(process, Intake(source, deliverer, settings.limits, settings.delivery_spacing_seconds)))

    serve("delivery", settings, start)
