"""How the API process is put together."""

from __future__ import annotations

from posthorn.adapters.blobs import open_blobs
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import connect as connect_nats
from posthorn.adapters.nats.dead import NatsDeadLetters
from posthorn.adapters.postgres.account_mail import PostgresAccountMail
from posthorn.adapters.postgres.administration import PostgresAdministration
from posthorn.adapters.postgres.api_keys import PostgresApiKeys, PostgresIdempotency
from posthorn.adapters.postgres.database import connect as connect_postgres
from posthorn.adapters.postgres.directory_truth import PostgresDirectoryTruth
from posthorn.adapters.segments import SegmentReader
from posthorn.ports.directory import DirectoryTruth
from posthorn.ports.ingest import DeadLetters
from posthorn.runtime.http import bind, http_server
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.process import Process
from posthorn_api.guard import Guard
from posthorn_api.publisher import Publisher
from posthorn_api.server import create_app
from posthorn_api.service import Late, Publication, Service
from posthorn_api.settings import ApiSettings
from posthorn_api.upkeep import Upkeep


async def start(process: Process) -> None:
    """Start everything on the process's stack; the listener last."""
    settings, stack = process.settings, process.stack
    assert isinstance(settings, ApiSettings)
    database = await stack.enter_async_context(connect_postgres(settings))
    reader = SegmentReader(await stack.enter_async_context(open_blobs(settings)))
    stack.push_async_callback(reader.close)
    passwords = Passwords()
    stack.callback(passwords.close)

    administration, keys, idempotency = (
        PostgresAdministration(database),
        PostgresApiKeys(database),
        PostgresIdempotency(database),
    )
    publication, dead = Late[Publication]("nats"), Late[DeadLetters]("nats")
    service = Service(
        administration,
        PostgresAccountMail(database),
        reader,
        passwords,
        publication,
        dead,
        wait_seconds=settings.directory_wait_seconds,
    )
    upkeep = Upkeep(administration, keys, idempotency, settings.admin_key)
    process.health.need("postgres", upkeep.probe)
    await process.task(upkeep.run(), "upkeep")
    await process.task(_on_nats(settings, PostgresDirectoryTruth(database), publication, dead), "publisher")

    listener = bind(settings.api_host, settings.api_port, "POSTHORN_API_PORT")
    app = create_app(service, Guard(keys, idempotency), process.health, body_limit=settings.api_body_limit)
    await stack.enter_async_context(http_server(app, listener, grace=settings.grace_seconds))


async def _on_nats(
    settings: ApiSettings, truth: DirectoryTruth, publication: Late[Publication], dead: Late[DeadLetters]
) -> None:
    """Do what needs NATS, from the moment it is there; everything else serves without it."""
    async with connect_nats(settings, "posthorn-api") as connection:
        publisher = Publisher(truth, NatsDirectoryBucket(connection), settings.directory_reconcile_seconds)
        dead.arrive(NatsDeadLetters(connection))
        publication.arrive(publisher)
        await publisher.run()
