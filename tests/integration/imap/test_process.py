"""The IMAP process: it serves without NATS, hears of changes that other processes make, and ends
within its grace period. It logs in to Postgres and NATS with the rights of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.mailbox_hints import NatsMailboxHints
from posthorn_local.embedded import Nats, die_with_parent, free_port
from tests.support.databases import logged_in
from tests.support.imap import ALICE, PASSWORD, SIMPLE, ImapClient, ImapEnv
from tests.support.issuer import AUDIENCE, running_issuer
from tests.support.jetstream import nats_settings, restart
from tests.support.mail_tokens import oauthbearer, token_of
from tests.support.polling import until


@asynccontextmanager
async def process(
    log: Path, nats: Nats, database_url: str, blobs: Path, **more: str
) -> AsyncIterator[tuple[int, int]]:
    """The service as a process that is ready, with more variables. Return the ports of IMAP and of
    its health page."""
    imap, health = free_port(), free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")
    } | {
        "POSTHORN_NATS_URL": nats.url_of("imap"),
        "POSTHORN_DATABASE_URL": logged_in(database_url, "imap"),
        "POSTHORN_BLOBS": blobs.as_uri(),
        "POSTHORN_IMAP_HOST": "127.0.0.1",
        "POSTHORN_IMAP_CLEARTEXT": "loopback",
        "POSTHORN_IMAP_PORT": str(imap),
        "POSTHORN_IMAP_POLL_SECONDS": "3600",
        "POSTHORN_HEALTH_HOST": "127.0.0.1",
        "POSTHORN_HEALTH_PORT": str(health),
        "POSTHORN_GRACE_SECONDS": "5",
        **more,
    }
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", "from posthorn_imap.main import main; main()"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )
    try:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def ready() -> bool:
                assert child.poll() is None, log.read_text()
                try:
                    url = f"http://127.0.0.1:{health}/readyz"
                    return (await client.get(url)).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, 30, "readiness")
        yield imap, health
        child.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(child.wait, 20) == 0, log.read_text()
    finally:
        child.kill()
        child.wait()


async def test_the_process_serves_without_nats_and_hears_of_changes_once_it_is_there(
    imap: ImapEnv, nats: Nats, database_url: str, tmp_path: Path
) -> None:
    account = await imap.account()
    nats.stop(kill=True)
    async with (
        running_issuer() as issuer,
        process(
            tmp_path / "log",
            nats,
            database_url,
            tmp_path / "bodies",
            POSTHORN_OIDC_ISSUER=issuer.url,
            POSTHORN_OIDC_AUDIENCE=AUDIENCE,
        ) as (port, health),
    ):
        client = await ImapClient.connect(port)
        assert (await client.line()).startswith(b"* OK ")
        token = oauthbearer(token_of(issuer, ALICE))
        assert (await client.ask(f"AUTHENTICATE OAUTHBEARER {token}"))[-1].startswith(b"OK ")
        await client.ask("LOGOUT")
        client = await ImapClient.connect(port)
        assert (await client.line()).startswith(b"* OK ")
        assert (await client.ask(f'LOGIN {ALICE} "{PASSWORD}"'))[-1].startswith(b"OK ")
        for command in (
            "CREATE Work/Old",
            "RENAME Work Done",
            "SUBSCRIBE Done",
            'LIST "" "*" RETURN (SUBSCRIBED STATUS (MESSAGES SIZE))',
            "GETQUOTAROOT INBOX",
            "DELETE Done/Old",
            "SELECT INBOX",
            "CLOSE",
            "SELECT INBOX",
        ):
            assert (await client.ask(command))[-1].startswith(b"OK "), command
        client.send(b"i IDLE\r\n")
        assert (await client.line()).startswith(b"+ ")
        restart(nats)
        async with connect(nats_settings(nats), "test") as connection:
            hints = NatsMailboxHints(connection)

            async def told() -> bool:
                """Place a message as another pod does, and look whether the client is told."""
                placed = await imap.place(SIMPLE)
                await hints.send([(account, placed.mailbox, placed.modseq)])
                try:
                    async with asyncio.timeout(1):
                        return (await client.line()).endswith(b" EXISTS")
                except TimeoutError:
                    return False

            await until(told, 30, "news in IDLE")
        async with httpx.AsyncClient(trust_env=False) as browser:
            metrics = (await browser.get(f"http://127.0.0.1:{health}/metrics")).text
        assert "posthorn_imap_connections 1.0" in metrics
        assert 'posthorn_imap_logins_total{outcome="accepted"} 2.0' in metrics
        leaving = asyncio.create_task(client.rest())
    assert (await leaving).endswith(b"* BYE [UNAVAILABLE] server going down, connect again\r\n")
    assert "connection ended" in (tmp_path / "log").read_text()
