"""The smtp-in process in each role, on real NATS and, for submission, real Postgres."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import nats as nats_client
import pytest

from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.events import NatsTrace
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.scan_server import NatsScanServer
from posthorn.model.directory_entry import AddressEntry, DomainEntry, RecipientStatus
from posthorn.model.envelope import decode_record
from posthorn.model.events import ACCEPTED, REFUSED
from posthorn.model.verdict import Verdict
from posthorn.ports.scan import MessageQuestion, Report, SenderFacts, SenderQuestion
from posthorn_local.certificate import ensure_certificate
from posthorn_local.embedded import Nats
from tests.conformance.submission.env import MESSAGE, PASSWORD, password_hash
from tests.support.databases import logged_in, pool
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, until
from tests.support.seed import DatabaseSeed
from tests.support.smtp_process import process


@pytest.fixture
async def connection(nats: Nats) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "test") as made:
        bucket = NatsDirectoryBucket(made)
        await bucket.put("@example.test", DomainEntry(None, True))
        await bucket.put("bob@example.test", AddressEntry(RecipientStatus.DELIVERABLE))
        await bucket.mark_filled()
        yield made


async def test_submission_on_real_parts(
    connection: Connection, nats: Nats, database_url: str, tmp_path: Path
) -> None:
    ensure_certificate(tmp_path / "tls")
    async with pool(database_url) as database:
        seed = DatabaseSeed(database)
        await seed.domain("example.test")
        await seed.account("alice@example.test")
        await seed.rows("UPDATE accounts SET password_hash = $1", password_hash())
    trusting = ssl.create_default_context(cafile=str(tmp_path / "tls" / "tls.crt"))
    settings = {
        "NATS_URL": nats.url_of("submission"),
        "DATABASE_URL": logged_in(database_url, "submission"),
        "BLOBS": f"file://{tmp_path / 'blobs'}",
        "TLS_DIR": str(tmp_path / "tls"),
    }
    async with process("submission", tmp_path / "log", **settings) as ports:

        def send() -> None:
            with smtplib.SMTP_SSL(
                "localhost", ports["SUBMISSIONS"], context=trusting, timeout=BUSY_SECONDS
            ) as client:
                client.login("alice@example.test", PASSWORD)
                refused = client.sendmail(
                    "alice@example.test", ["bob@example.test", "x@elsewhere.example"], MESSAGE
                )
                assert refused == {}
            with smtplib.SMTP("localhost", ports["SUBMISSION"], timeout=BUSY_SECONDS) as client:
                client.starttls(context=trusting)
                with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
                    client.login("alice@example.test", "wrong")

        await asyncio.to_thread(send)
    raw = await nats_client.connect(nats.url)
    message = await raw.jetstream().get_msg("INGEST", seq=1)
    await raw.close()
    envelope = decode_record(message.data or b"").envelope
    assert envelope.recipients == ("bob@example.test", "x@elsewhere.example")
    assert (envelope.role, envelope.submitter, envelope.signer) == (
        "submission",
        "alice@example.test",
        "example.test",
    )
    assert [event.kind for event in await NatsTrace(connection).events_of(envelope.id)] == [
        ACCEPTED
    ]
    assert PASSWORD not in (tmp_path / "log").read_text()


async def test_the_role_mx_knows_no_postgres(
    connection: Connection, nats: Nats, tmp_path: Path
) -> None:
    await NatsIngest(connection).probe()
    async with process(
        "mx",
        tmp_path / "log",
        NATS_URL=nats.url_of("smtp-in"),
        BLOBS=f"file://{tmp_path / 'blobs'}",
    ) as ports:

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", ports["SMTP"], timeout=BUSY_SECONDS) as client:
                client.sendmail("someone@example.org", ["bob@example.test"], MESSAGE)
                with pytest.raises(smtplib.SMTPRecipientsRefused):
                    client.sendmail("someone@example.org", ["x@elsewhere.example"], MESSAGE)

        await asyncio.to_thread(send)


class Infected:
    """A scanning tier that finds a virus everywhere."""

    async def sender(self, _: SenderQuestion) -> SenderFacts:
        return SenderFacts()

    async def message(self, _: MessageQuestion) -> Verdict:
        return Verdict(1.0, virus="Eicar-Test-Signature")

    def report(self, _: Sequence[Report]) -> None:
        """Take them."""


async def test_the_role_mx_accepts_mail_without_store_database_and_scanner(
    connection: Connection, nats: Nats, tmp_path: Path
) -> None:
    """Promise 2; and with a scanner it refuses, by the rights of its own user."""

    def send() -> str:
        with smtplib.SMTP("127.0.0.1", ports["SMTP"], timeout=BUSY_SECONDS) as client:
            try:
                client.sendmail("someone@example.org", ["bob@example.test"], MESSAGE)
            except smtplib.SMTPDataError as refusal:
                return f"{refusal.smtp_code} {refusal.smtp_error!r}"
            return "accepted"

    async with process(
        "mx",
        tmp_path / "log",
        NATS_URL=nats.url_of("smtp-in"),
        BLOBS="s3://key:secret@127.0.0.1:1/mail",
        SMTP_SCAN="true",
    ) as ports:
        assert await asyncio.to_thread(send) == "accepted"
        raw = await nats_client.connect(nats.url)
        message = await raw.jetstream().get_msg("INGEST", seq=1)
        await raw.close()
        assert message.subject == "unscanned.mx"
        assert decode_record(message.data or b"").envelope.verdict is None
        async with NatsScanServer(connection, Infected()):
            refused = ""

            async def is_refused() -> bool:
                nonlocal refused
                refused = await asyncio.to_thread(send)
                return refused != "accepted"

            await until(is_refused)
        assert refused.startswith("550 b'5.7.1 the message holds a virus (Eicar-Test-Signature)")
        refused_id = UUID(refused.rstrip("'").rpartition(" ")[2])

        async def is_traced() -> bool:
            return [each.kind for each in await NatsTrace(connection).events_of(refused_id)] == [
                REFUSED
            ]

        await until(is_traced)
