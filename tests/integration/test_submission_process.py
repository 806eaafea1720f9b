"""The smtp-in process in each role, on real NATS and, for submission, real Postgres."""

from __future__ import annotations

import asyncio
import base64
import os
import smtplib
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import nats as nats_client
import pytest

from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.events import NatsTrace
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.model.directory_entry import AddressEntry, DomainEntry, RecipientStatus
from posthorn.model.envelope import decode_record
from posthorn.model.events import ACCEPTED
from posthorn_local.certificate import ensure_certificate
from posthorn_local.embedded import Nats, die_with_parent, free_port
from tests.conformance.submission.env import MESSAGE, PASSWORD, password_hash
from tests.support.databases import logged_in, pool
from tests.support.jetstream import nats_settings
from tests.support.polling import until
from tests.support.seed import DatabaseSeed

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
async def connection(nats: Nats) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "test") as made:
        bucket = NatsDirectoryBucket(made)
        await bucket.put("@example.test", DomainEntry(None, True))
        await bucket.put("bob@example.test", AddressEntry(RecipientStatus.DELIVERABLE))
        await bucket.mark_filled()
        yield made


@asynccontextmanager
async def process(role: str, log: Path, **settings: str) -> AsyncIterator[Mapping[str, int]]:
    """The service as a process that is ready; gives its ports."""
    ports = {name: free_port() for name in ("HEALTH", "SMTP", "SUBMISSION", "SUBMISSIONS")}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")}
    ours = {
        "SMTP_ROLE": role,
        "SMTP_HOST": "127.0.0.1",
        "SMTP_HOSTNAME": "mail.example.test",
        "SRS_KEY": KEY,
    }
    ours |= (
        {f"{name}_PORT": str(port) for name, port in ports.items()}
        | {"HEALTH_HOST": "127.0.0.1"}
        | settings
    )
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", "from posthorn_smtp_in.main import main; main()"],
            env=plain | {f"POSTHORN_{name}": value for name, value in ours.items()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )
    try:
        async with httpx.AsyncClient() as client:

            async def ready() -> bool:
                assert child.poll() is None, log.read_text()
                try:
                    return (
                        await client.get(f"http://127.0.0.1:{ports['HEALTH']}/readyz")
                    ).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, 20, "readiness")
        yield ports
        child.terminate()
        assert await asyncio.to_thread(child.wait, 15) == 0, log.read_text()
    finally:
        child.kill()
        child.wait()


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
                "localhost", ports["SUBMISSIONS"], context=trusting, timeout=15
            ) as client:
                client.login("alice@example.test", PASSWORD)
                refused = client.sendmail(
                    "alice@example.test", ["bob@example.test", "x@elsewhere.example"], MESSAGE
                )
                assert refused == {}
            with smtplib.SMTP("localhost", ports["SUBMISSION"], timeout=15) as client:
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
            with smtplib.SMTP("127.0.0.1", ports["SMTP"], timeout=15) as client:
                client.sendmail("someone@example.org", ["bob@example.test"], MESSAGE)
                with pytest.raises(smtplib.SMTPRecipientsRefused):
                    client.sendmail("someone@example.org", ["x@elsewhere.example"], MESSAGE)

        await asyncio.to_thread(send)
