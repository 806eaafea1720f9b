"""What the delivery service is made of."""

from __future__ import annotations

from posthorn.adapters.blobs import open_blobs
from posthorn.adapters.compression import compressor
from posthorn.adapters.dkim import DkimSigner
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.dead import NatsDeadLetters
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.source import NatsIngestSource
from posthorn.adapters.nats.wakes import NatsWaker
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.dkim_keys import PostgresDkimKeys
from posthorn.adapters.postgres.mailboxes import PostgresMailboxes
from posthorn.adapters.postgres.retention import PostgresRetention
from posthorn.adapters.postgres.storeroom import PostgresStoreroom
from posthorn.runtime.ids import new_id
from posthorn.runtime.process import Process
from posthorn.runtime.vault import Vault
from posthorn_delivery.collector import Collector
from posthorn_delivery.retention import Keeper
from posthorn_delivery.server import Intake, taking_in
from posthorn_delivery.service import Deliverer
from posthorn_delivery.settings import DeliverySettings


async def compose(process: Process, settings: DeliverySettings) -> None:
    """Put the service together on the process's stack and let it run."""
    enter = process.stack.enter_async_context
    nats = await enter(connect_nats(settings, "posthorn-delivery"))
    database, blobs = await enter(connect_postgres(settings, by_key=True)), await enter(open_blobs(settings))
    source, events = await enter(NatsIngestSource(nats)), await enter(NatsEvents(nats))
    mailboxes = PostgresMailboxes(
        database,
        give_up=settings.relay_give_up_seconds,
        delay_notice=settings.relay_delay_notice_seconds,
        limits=settings.forward_limits,
    )
    vault = Vault.of(settings)
    signer = DkimSigner(PostgresDkimKeys(database), vault)
    process.stack.callback(signer.close)
    deliverer = Deliverer(
        mailboxes,
        blobs,
        NatsDeadLetters(nats),
        new_id=new_id,
        compress=compressor(settings.delivery_compression),
        signer=signer,
        rewriting=vault.derived("srs"),
        waker=NatsWaker(nats),
        events=events,
    )
    for part, probe in {"nats": source.probe, "postgres": mailboxes.probe, "blobs": blobs.probe}.items():
        process.health.need(part, probe)
    await process.task(Collector(PostgresStoreroom(database), blobs, source.backlog, settings).run(), "collector")
    await process.task(Keeper(PostgresRetention(database), settings).run(), "retention")
    await enter(taking_in(process, Intake(source, deliverer, settings.limits, settings.delivery_spacing_seconds)))
