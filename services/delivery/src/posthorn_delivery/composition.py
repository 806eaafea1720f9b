"""Composition root of the delivery service."""

from __future__ import annotations

from uuid import uuid4

from posthorn.adapters.blobs.compression import compressor, zstd_frame
from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.dkim import DkimSigner
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.correspondents import NatsCorrespondentsServer
from posthorn.adapters.nats.dead_letters import NatsDeadLetters
from posthorn.adapters.nats.events import NatsEvents
from posthorn.adapters.nats.hand_over import NatsLiveRelays
from posthorn.adapters.nats.heartbeats import beating
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.nats.mailbox_hints import NatsMailboxHints
from posthorn.adapters.nats.notifications import NatsNotifier
from posthorn.adapters.nats.storage import measure_storage
from posthorn.adapters.nats.strays import NatsStrays
from posthorn.adapters.nats.unscanned import NatsUnscanned
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.adapters.postgres.directory.vacations import PostgresVacationReplies
from posthorn.adapters.postgres.installation import guard_of
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.mailboxes.bayes import PostgresBayes
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.expansions import PostgresExpansions
from posthorn.adapters.postgres.mailboxes.retention import PostgresRetention
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.adapters.postgres.mailboxes.training import PostgresTraining
from posthorn.adapters.postgres.mailboxes.upkeep import PostgresMailboxUpkeep
from posthorn.adapters.postgres.queue.enqueue import QueuePolicy
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.adapters.postgres.replication import ReplicationWatch
from posthorn.model.streams import RETRY_CONSUMER
from posthorn.ports.blobs import Blobs
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import IngestSource
from posthorn.ports.retention import Retention
from posthorn.ports.segments import SegmentCatalog
from posthorn.runtime.brakes import Brake
from posthorn.runtime.derived_keys import SRS
from posthorn.runtime.ids import new_id
from posthorn.runtime.installation import InstallationGuard
from posthorn.runtime.process import Process
from posthorn.runtime.secret_box import SecretBox
from posthorn.runtime.traces import tracing
from posthorn_delivery.collector import Collector, CollectorBrakes
from posthorn_delivery.collector_settings import CollectorSettings
from posthorn_delivery.consumer import Consumer, consuming
from posthorn_delivery.correspondents import StoredCorrespondents
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.expander import Expander
from posthorn_delivery.gated_source import GatedSource
from posthorn_delivery.handing import Handing
from posthorn_delivery.mailbox_upkeep import MailboxUpkeep
from posthorn_delivery.repairer import Repairer
from posthorn_delivery.retention import RetentionSweeper
from posthorn_delivery.settings import DeliverySettings
from posthorn_delivery.trainer import Trainer
from posthorn_delivery.training_points import TrainingPoints
from posthorn_delivery.unscanned_mover import UnscannedMover
from posthorn_delivery.vacations import VacationReplier

RETRIES_BUFFERED = 16
"""Messages of the retry lane in flight in one process."""


async def compose(process: Process, settings: DeliverySettings) -> None:
    """Build the service on the process's stack and start it."""
    enter = process.stack.enter_async_context
    await enter(tracing("delivery", settings))
    nats = await enter(connect_nats(settings, "posthorn-delivery", "delivery"))
    await enter(beating(nats, process.health, "delivery"))
    database, blobs = (
        await enter(connect_postgres(settings, by_key=True)),
        await enter(open_blobs(settings)),
    )
    guard = guard_of(database, settings, blobs, DirectoryMark(nats), keeps=True)
    source, events = await enter(NatsIngestSource(nats)), await enter(NatsEvents(nats))
    retries = await enter(
        NatsIngestSource(nats, RETRY_CONSUMER, messages=RETRIES_BUFFERED, max_bytes=0)
    )
    policy = QueuePolicy.from_settings(settings)
    days = settings.quarantine_days
    announce = NatsMailboxHints(nats).announce
    mailboxes = PostgresMailboxes(
        database,
        policy,
        quarantine_days=days,
        counts_dmarc=settings.reports_send,
        announce=announce,
    )
    secret_box = SecretBox.from_settings(settings)
    signer = DkimSigner(PostgresDkimKeys(database), secret_box)
    process.stack.callback(signer.close)
    rewriting, notifier = secret_box.derived(SRS), NatsNotifier(nats)
    expansions = PostgresExpansions(database, policy, quarantine_days=days, announce=announce)
    expander = Expander(expansions, rewriting=rewriting, notifier=notifier, events=events)
    handing = Handing(await enter(NatsLiveRelays(nats)))
    vacations = VacationReplier(
        PostgresVacationReplies(database),
        NatsIngest(nats, frames=settings.ingest_frames),
        blobs,
        PostgresThrottle(database),
        new_id=new_id,
    )
    deliverer = Deliverer(
        mailboxes,
        blobs,
        NatsDeadLetters(nats),
        new_id=new_id,
        compress=compressor(settings.delivery_compression),
        frame=zstd_frame,
        signer=signer,
        rewriting=rewriting,
        notifier=notifier,
        events=events,
        handing=handing,
        on_expansion=expander.kick,
        points=TrainingPoints(PostgresBayes(database), blobs).points,
        on_delivered=vacations.note,
    )
    for part, probe in {
        "nats": source.probe,
        "postgres": mailboxes.probe,
        "blobs": blobs.probe,
    }.items():
        process.health.add_check(part, probe)
    replication = ReplicationWatch(
        database.ungated(), demanded=settings.database_replication == "synchronous"
    )
    process.health.add_check("replication", replication.probe)

    def check() -> None:
        """Raise Unavailable while mail must not be delivered."""
        guard.check()
        replication.check()

    leadership = Leadership(database, "ingest repair", uuid4())

    async def may_repair(seconds: float) -> bool:
        try:
            check()
        except Unavailable:
            return False  # what was seen before is looked for anew once mail may be delivered
        return await leadership.lead(seconds)

    repairer = Repairer(NatsStrays(nats), deliverer, may_repair)
    giving_up = Leadership(database, "unscanned messages", uuid4())
    mover = UnscannedMover(NatsUnscanned(nats), settings.delivery_scan_wait_seconds, giving_up.lead)
    await process.task(replication.run(), "replication")
    await process.task(measure_storage(nats, settings, settings.nats_storage_bytes), "nats storage")
    await guard.start(process)
    await process.task(
        _collecting(guard, PostgresSegmentCatalog(database), blobs, source, settings), "collector"
    )
    retention = PostgresRetention(database, announce)
    await process.task(_keeping(guard, retention, settings), "retention")
    upkeep = MailboxUpkeep(PostgresMailboxUpkeep(database))
    await process.task(_tending(guard, upkeep), "mailbox upkeep")
    bodies = SegmentReader(blobs, cache_octets=0)
    process.stack.push_async_callback(bodies.close)
    trainer = Trainer(PostgresTraining(database), bodies)
    await process.task(_training(guard, trainer), "training")
    await process.task(expander.run(), "expander")
    await process.task(vacations.run(), "automatic replies")
    await process.task(repairer.run(), "repair")
    await process.task(mover.run(), "unscanned messages")
    consumer = Consumer(
        GatedSource(source, check),
        deliverer,
        settings.limits,
        settings.delivery_spacing_seconds,
        GatedSource(retries, check),
    )
    await enter(NatsCorrespondentsServer(nats, StoredCorrespondents(mailboxes)))
    await enter(consuming(process, consumer))


async def _collecting(
    guard: InstallationGuard,
    segments: SegmentCatalog,
    blobs: Blobs,
    source: IngestSource,
    settings: CollectorSettings,
) -> None:
    """Start collecting once the stores are known to belong together."""
    await guard.passed()
    brakes = CollectorBrakes.from_settings(settings, guard.brakes_released)
    await Collector(
        segments, blobs, source.backlog, settings, certain=guard.certain, brakes=brakes
    ).run()


async def _keeping(
    guard: InstallationGuard, retention: Retention, settings: CollectorSettings
) -> None:
    """Start retention once the stores are known to belong together."""
    await guard.passed()
    brake = Brake(
        "retention", settings.retention_most_share, settings.retention_most, guard.brakes_released
    )
    await RetentionSweeper(retention, settings, certain=guard.certain, brake=brake).run()


async def _tending(guard: InstallationGuard, upkeep: MailboxUpkeep) -> None:
    """Start the upkeep of mailboxes once the stores are known to belong together."""
    await guard.passed()
    await upkeep.run()


async def _training(guard: InstallationGuard, trainer: Trainer) -> None:
    """Start training once the stores are known to belong together."""
    await guard.passed()
    await trainer.run()
