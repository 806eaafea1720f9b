"""The API's application on a real socket of 127.0.0.1, in the test's own loop and over the
test's own database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from pydantic import SecretStr

from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.postgres.database import connect
from posthorn.adapters.postgres.directory.forward_targets import NO_POLICY
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.dns_records import Presence
from posthorn.model.ip_addresses import AddressPolicy
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
from posthorn.runtime.secret_box import SecretBox
from posthorn.runtime.settings import PostgresSettings
from posthorn.runtime.sign_ins import SignInRecorder
from posthorn_api.app import create_app
from posthorn_api.auth.tokens import Tokens
from posthorn_api.bulk.service import BulkImportService
from posthorn_api.defence.service import DefenceService
from posthorn_api.digests.service import DigestOptions, DigestService
from posthorn_api.directory.publication import Publication
from posthorn_api.dns.service import DnsService
from posthorn_api.events.feed import EventFeed
from posthorn_api.forwards.service import Confirmations
from posthorn_api.http.guard import Guard
from posthorn_api.http.rate_limit import RateLimit
from posthorn_api.login.oidc import OidcLogin
from posthorn_api.pending import Pending, PendingEvents
from posthorn_api.sending.service import SendingLimits
from posthorn_api.services import OverNats, ServiceOptions, build
from posthorn_api.tenants.service import hash_of_key
from posthorn_api.transfers.service import TransferService
from tests.support.builders import PRESENCE, make_message, make_outbound, make_segment
from tests.support.databases import pool
from tests.support.dns import DnsServer
from tests.support.polling import BUSY_SECONDS

ADMIN_KEY = "ph_" + "a" * 43
SECRET_KEY = b"s" * 32


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
    digests: DigestService
    late: OverNats
    defence: DefenceService
    sign_ins: SignInRecorder
    feed: EventFeed
    keys: dict[str, str] = field(default_factory=dict)
    _idle: list[asyncpg.Connection] = field(default_factory=list)

    async def key(
        self, role: Role, tenant: UUID | None = None, *, message_content: bool | None = None
    ) -> dict[str, str]:
        """Make a key. Return the headers that show it."""
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
        connection = self._idle.pop() if self._idle else None
        if connection is None or connection.is_closed():  # a test may have ended it
            connection = await asyncpg.connect(self.database_url, statement_cache_size=0)
        try:
            found: list[asyncpg.Record] = await connection.fetch(query, *values)
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return found

    async def close(self) -> None:
        """Close the connections of ``sql``."""
        while self._idle:
            await self._idle.pop().close()

    async def post(self, path: str, body: object) -> httpx.Response:
        """POST a document as ASCII JSON, so that it may hold what is no Unicode text."""
        headers = {"Content-Type": "application/json"}
        return await self.client.post(path, content=json.dumps(body), headers=headers)

    async def domain(self, name: str = "example.test", **fields: Any) -> None:
        """Create a domain, without DKIM keys unless ``fields`` say so: an RSA key takes a core
        for a good part of a second."""
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
        answer = await self.client.post(
            "/v1/aliases", json={"address": address, "targets": list(targets)}
        )
        assert answer.status_code == 201, answer.text

    async def enter(
        self, *recipients: str, sender: str = "Alice@example.test", tenant: UUID | None = None
    ) -> UUID:
        """Put a message into the outbound queue, as delivery does."""
        if tenant is None:
            (row,) = await self.sql("SELECT id FROM tenants WHERE name = 'default'")
            tenant = row["id"]
        outbound = tuple(make_outbound(each, sender) for each in recipients)
        made = make_message((), subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?=", reverse_path=sender)
        async with pool(self.database_url) as database:
            await PostgresMailboxes(database).deliver(
                [make_segment([replace(made, outbound=outbound, tenant=tenant)])]
            )
        return made.envelope.id

    async def deliver(self, blobs: Blobs, body: bytes, to: str = "alice@example.test") -> UUID:
        """Place a message in an INBOX, as delivery does. Return its id."""
        (row,) = await self.sql("SELECT id FROM accounts WHERE address = $1", to)
        packed = make_segment([make_message([row["id"]], size=len(body))])
        await blobs.put(packed.key, [body])
        async with pool(self.database_url) as database:
            await PostgresMailboxes(database).deliver([packed])
        return packed.messages[0].envelope.id


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
    tokens: Callable[[Tenants], Tokens | None] | None = None,
    policy: ForwardPolicy = NO_POLICY,
    rates: RateLimit | None = None,
    watch_addresses: tuple[str, ...] = (),
    http_limits: HttpLimits | None = None,
    digests: DigestOptions | None = None,
    oidc_login: Callable[[Tokens], OidcLogin | None] | None = None,
) -> AsyncIterator[Api]:
    """Run the API without NATS; a test may have a publication and dead letters arrive.
    ``bootstrap`` needs the database."""
    settings = PostgresSettings(database_url=SecretStr(database_url), database_timeout_seconds=10)
    async with connect(settings, shared=True) as database, DnsServer() as dns:
        reader = SegmentReader(blobs)
        passwords = Passwords(slots=password_slots())
        late = OverNats()
        built = build(
            database=database,
            blobs=blobs,
            bodies=reader,
            passwords=passwords,
            secret_box=SecretBox([SECRET_KEY]),
            resolver=DnsResolver([dns.address], lifetime=4, keep=False),
            late=late,
            options=ServiceOptions(
                presence=presence,
                sending=limits or SendingLimits(),
                forward_policy=policy,
                import_max_size_bytes=max_size,
                webhook_addresses=AddressPolicy((ip_network("127.0.0.0/8"),)),
                rates=rates
                or RateLimit(0, unknown_per_minute=0),  # tests ask more often than people
                digests=digests or DigestOptions(),
                watch_addresses=watch_addresses,
                runbook_base_url="https://runbooks.example.test/",
            ),
            tokens=tokens or (lambda _: None),
            oidc_login=oidc_login or (lambda _: None),
        )
        if bootstrap:
            await built.keys.ensure_bootstrap(hash_of_key(ADMIN_KEY))
        services, health = built.services, Health()
        health.started = True
        app = create_app(services, built.guard, health, body_limit=body_limit)
        try:
            async with http_server(
                app, bind("127.0.0.1", 0, "test"), grace=1, limits=http_limits
            ) as port:
                url = f"http://127.0.0.1:{port}"
                headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
                async with httpx.AsyncClient(
                    base_url=url, headers=headers, timeout=BUSY_SECONDS, verify=False
                ) as client:
                    api = Api(
                        url=url,
                        client=client,
                        database_url=database_url,
                        health=health,
                        publication=late.publication,
                        dead=late.dead_letters,
                        trace=late.trace,
                        directory=late.directory,
                        ingest=late.ingest,
                        hints=late.events,
                        dns=dns,
                        forwards=services.forwards,
                        guard=built.guard,
                        transfer=services.transfers,
                        imports=services.bulk_imports,
                        names=services.dns,
                        digests=services.digests,
                        late=late,
                        defence=services.defence,
                        feed=services.feed,
                        sign_ins=built.sign_ins,
                    )
                    try:
                        yield api
                    finally:
                        await api.close()
        finally:
            await built.sign_ins.close()
            await reader.close()
            passwords.close()


def problem(
    answer: httpx.Response, status: int, slug: str, field: str | None = None
) -> dict[str, Any]:
    """Assert that the answer is this problem document, and that it names the field. Return the
    document."""
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
