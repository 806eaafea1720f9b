"""The API's application on a real socket of 127.0.0.1, in the test's own loop and over the test's own database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg
import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.dkim import generate
from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.postgres.access.api_keys import PostgresApiKeys
from posthorn.adapters.postgres.access.audit import PostgresAudit
from posthorn.adapters.postgres.access.idempotency import PostgresIdempotency
from posthorn.adapters.postgres.database import connect
from posthorn.adapters.postgres.directory.administration import PostgresAdministration
from posthorn.adapters.postgres.directory.aliases import NO_POLICY
from posthorn.adapters.postgres.directory.app_passwords import PostgresAppPasswords
from posthorn.adapters.postgres.directory.bulk_import import PostgresImports
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.adapters.postgres.directory.forward_targets import PostgresForwardTargets
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.directory.tenants import PostgresTenants
from posthorn.adapters.postgres.events.statistics import PostgresStatistics
from posthorn.adapters.postgres.events.webhooks import PostgresWebhooks
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.messages import PostgresAccountMail
from posthorn.adapters.postgres.mailboxes.transfers import PostgresTransfers
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.adapters.postgres.queue.routes import PostgresRoutes
from posthorn.adapters.postgres.queue.suppressions import PostgresSuppressions
from posthorn.model.dns_records import Endpoint, Presence
from posthorn.model.outbound import Outbound
from posthorn.ports.api_keys import Role
from posthorn.ports.blobs import Blobs
from posthorn.ports.directory import DirectoryWithPostmasters
from posthorn.ports.events import Trace
from posthorn.ports.forwards import ForwardPolicy
from posthorn.ports.ingest import DeadLetters, Ingest
from posthorn.ports.tenants import Tenants
from posthorn.runtime.health import Health
from posthorn.runtime.http import HttpLimits, bind, http_server
from posthorn.runtime.ids import new_id
from posthorn.runtime.passwords import Passwords, password_slots
from posthorn.runtime.postmasters import Postmasters
from posthorn.runtime.secret_box import SecretBox
from posthorn.runtime.settings import PostgresSettings
from posthorn_api.app import Services, create_app
from posthorn_api.auth.account_logins import AccountLogins
from posthorn_api.auth.tokens import Tokens
from posthorn_api.bulk.service import BulkImportService
from posthorn_api.config.service import ConfigService
from posthorn_api.credentials.service import CredentialService
from posthorn_api.directory.service import DirectoryService, Publication
from posthorn_api.dns.public_pages import PublicPages
from posthorn_api.dns.service import DnsService
from posthorn_api.forwards.service import Confirmations
from posthorn_api.http import openapi as docs
from posthorn_api.http.guard import Guard
from posthorn_api.http.rate_limit import RateLimit
from posthorn_api.mailboxes.service import MailboxService
from posthorn_api.pending import Pending, PendingEvents
from posthorn_api.queue.service import QueueService
from posthorn_api.sending.service import SendingLimits, SendingService
from posthorn_api.tenants.service import TenantService, hash_of_key
from posthorn_api.transfers.service import TransferService
from posthorn_api.webhooks.service import WebhookService
from tests.contract.town import letter, pool, segment
from tests.support.dns import DnsServer

ADMIN_KEY = "ph_" + "a" * 43
SECRET_KEY = b"s" * 32
PRESENCE = Presence(
    mx=("mx1.post.test", "mx2.post.test"),
    web="web.post.test",
    submission=Endpoint("smtp.post.test", 587),
    submissions=Endpoint("smtp.post.test", 465),
    pop3=Endpoint("pop.post.test", 0),
    pop3s=Endpoint("pop.post.test", 995),
    outgoing=("192.0.2.25", "2001:db8::25"),
    outgoing_name="out.post.test",
)
"""What the system is called from outside."""


@dataclass
class Api:
    """A running API and a client with the admin's key."""

    url: str
    client: httpx.AsyncClient
    database_url: str
    health: Health
    publication: Pending[Publication]
    dead: Pending[DeadLetters]
    trace: Pending[Trace]
    directory: Pending[DirectoryWithPostmasters]
    ingest: Pending[Ingest]
    hints: PendingEvents
    dns: DnsServer
    forwards: Confirmations
    guard: Guard
    transfer: TransferService
    imports: BulkImportService
    names: DnsService
    keys: dict[str, str] = field(default_factory=dict)

    async def key(
        self, role: Role, tenant: UUID | None = None, *, message_content: bool | None = None
    ) -> dict[str, str]:
        """Make a key; gives the headers that show it."""
        number = len(self.keys) + 1
        key = f"ph_{number:043d}"
        self.keys[key] = role.value
        await self.sql(
            "INSERT INTO api_keys (id, tenant_id, name, role, key_hash, message_content) VALUES ($1, $2, $3, $4, $5, $6)",
            new_id(),
            tenant,
            f"key {number}",
            role.value,
            hash_of_key(key),
            message_content,
        )
        return {"Authorization": f"Bearer {key}"}

    async def tenant(self, name: str) -> UUID:
        """Make a tenant."""
        tenant = new_id()
        await self.sql("INSERT INTO tenants (id, name) VALUES ($1, $2)", tenant, name)
        return tenant

    async def sql(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Ask the database directly."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def post(self, path: str, body: object) -> httpx.Response:
        """POST a document as ASCII JSON, so that it may hold what is no Unicode text."""
        headers = {"Content-Type": "application/json"}
        return await self.client.post(path, content=json.dumps(body), headers=headers)

    async def domain(self, name: str = "example.test", **fields: Any) -> None:
        """Create a domain, without DKIM keys unless ``fields`` say so: an RSA key takes a core for a good part of a second."""
        answer = await self.client.post("/v1/domains", json={"name": name, "dkim": False, **fields})
        assert answer.status_code == 201, answer.text

    async def account(self, address: str, **fields: Any) -> None:
        """Make an account."""
        answer = await self.client.post(
            "/v1/accounts", json={"address": address, "password": "correct horse", **fields}
        )
        assert answer.status_code == 201, answer.text

    async def alias(self, address: str, *targets: str) -> None:
        """Make an alias."""
        answer = await self.client.post("/v1/aliases", json={"address": address, "targets": list(targets)})
        assert answer.status_code == 201, answer.text

    async def enter(self, *recipients: str, sender: str = "Alice@example.test", tenant: UUID | None = None) -> UUID:
        """Put a message into the outbound queue, as delivery does."""
        if tenant is None:
            (row,) = await self.sql("SELECT id FROM tenants WHERE name = 'default'")
            tenant = row["id"]
        outbound = tuple(Outbound(each, each.rpartition("@")[2], sender) for each in recipients)
        made = letter((), subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?=", reverse_path=sender)
        async with pool(self.database_url) as database:
            await PostgresMailboxes(database).place([segment([replace(made, outbound=outbound, tenant=tenant)])])
        return made.envelope.id


_documents: list[dict[str, Any]] = []


def _described(app: FastAPI, describe: Callable[[FastAPI], dict[str, Any]] = docs.describe) -> dict[str, Any]:
    """Describe the first application: all have the same routes, and each takes half a second to describe."""
    if not _documents:
        _documents.append(describe(app))
    return _documents[0]


@asynccontextmanager
async def running_api(
    database_url: str,
    blobs: Blobs,
    *,
    body_limit: int = 1024 * 1024,
    bootstrap: bool = True,
    limits: SendingLimits | None = None,
    presence: Presence = PRESENCE,
    max_size: int = 4 * 1024 * 1024,
    tokens: Callable[[Tenants], Tokens] | None = None,
    policy: ForwardPolicy = NO_POLICY,
    rates: RateLimit | None = None,
    http_limits: HttpLimits | None = None,
) -> AsyncIterator[Api]:
    """Run the API without NATS; a test may have a publication and dead letters arrive. ``bootstrap`` needs the database."""
    settings = PostgresSettings(database_url=SecretStr(database_url), database_timeout_seconds=10)
    async with connect(settings, shared=True) as database, DnsServer() as dns:
        reader = SegmentReader(blobs)
        passwords = Passwords(slots=password_slots())
        publication, dead = Pending[Publication]("nats"), Pending[DeadLetters]("nats")
        keys = PostgresApiKeys(database)
        if bootstrap:
            await keys.ensure_bootstrap(hash_of_key(ADMIN_KEY))
        postmasters = Postmasters((limits or SendingLimits()).postmaster, (limits or SendingLimits()).hostname)
        service = DirectoryService(
            PostgresAdministration(database, policy, postmasters.names),
            passwords,
            publication,
            dead,
            account_limits=(limits or SendingLimits()).account,
        )
        mail = MailboxService(PostgresAccountMail(database), reader, publication)
        transfer = TransferService(PostgresTransfers(database), reader, blobs, zstd_frame, max_size=max_size)
        secret_box, hints = SecretBox([SECRET_KEY]), PendingEvents()
        trace, directory, ingest = (
            Pending[Trace]("nats"),
            Pending[DirectoryWithPostmasters]("nats"),
            Pending[Ingest]("nats"),
        )
        identity = CredentialService(PostgresDkimKeys(database), PostgresAppPasswords(database), secret_box, generate)
        outgoing = QueueService(
            PostgresQueueAdministration(database),
            PostgresRoutes(database),
            PostgresSuppressions(database),
            secret_box,
            trace,
            hints,
        )
        sending = SendingService(
            PostgresAdministration(database),
            PostgresThrottle(database),
            blobs,
            directory,
            ingest,
            hints,
            limits or SendingLimits(),
        )
        health = Health()
        health.started = True
        audit = PostgresAudit(database)
        tenants = PostgresTenants(database)
        logins = AccountLogins(PostgresSenders(database), PostgresThrottle(database), passwords)
        known_tokens = tokens(tenants) if tokens else None
        guard = Guard(keys, PostgresIdempotency(database), audit, tokens=known_tokens, logins=logins, rates=rates)
        tenancy = TenantService(tenants, keys, audit)
        imports = BulkImportService(PostgresImports(database, policy), passwords, publication)
        names = DnsService(service, identity, DnsResolver([dns.address], lifetime=2, keep=False), presence)
        known, statistics = PostgresImports(database), PostgresStatistics(database)
        hooks = WebhookService(PostgresWebhooks(database), secret_box, allowed=[ip_network("127.0.0.0/8")])
        configuration = ConfigService(service, tenancy, hooks, outgoing, identity, known, audit)
        pages = PublicPages(PostgresAdministration(database), presence)
        forwards = Confirmations(
            PostgresForwardTargets(database),
            PostgresThrottle(database),
            ingest,
            publication,
            secret_box.derived("forward confirmation"),
            presence.web,
        )
        parts = Services(
            service,
            mail,
            transfer,
            identity,
            outgoing,
            sending,
            tenancy,
            imports,
            names,
            pages,
            hooks,
            statistics,
            configuration,
            forwards,
        )
        with patch.object(docs, "describe", _described):
            app = create_app(parts, guard, health, body_limit=body_limit)
        try:
            async with http_server(app, bind("127.0.0.1", 0, "test"), grace=1, limits=http_limits) as port:
                url = f"http://127.0.0.1:{port}"
                headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
                async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20, verify=False) as client:
                    late = publication, dead, trace, directory, ingest
                    made = forwards, guard, transfer, imports, names
                    yield Api(url, client, database_url, health, *late, hints, dns, *made)
        finally:
            await reader.close()
            passwords.close()


def problem(answer: httpx.Response, status: int, slug: str, field: str | None = None) -> dict[str, Any]:
    """Assert that the answer is this problem document, and that it names the field; gives the document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:posthorn:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    if field is not None:
        assert [fault["field"] for fault in document["errors"]] == [field], document
        assert document["errors"][0]["message"]
    return document
