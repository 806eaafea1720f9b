"""The IMAP service as a process of its own, with the rights of its own in Postgres and NATS."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from posthorn_local.embedded import die_with_parent, free_port
from tests.support.imap import ALICE, PASSWORD, ImapClient
from tests.support.polling import BUSY_SECONDS, until

SERVICE = ("-c", "from posthorn_imap.main import main; main()")


@dataclass(frozen=True, slots=True)
class ImapProcess:
    """A process that is ready."""

    port: int
    health: int
    child: subprocess.Popen[bytes]
    log: Path

    async def login(self, select: str | None = None, *, address: str = ALICE) -> ImapClient:
        """Return a connection that is logged in; ``select``: a mailbox to select."""
        client = await ImapClient.connect(self.port)
        assert (await client.line()).startswith(b"* OK ")
        commands = [f'LOGIN {address} "{PASSWORD}"', *([f"SELECT {select}"] if select else [])]
        for command in commands:
            replies = await client.ask(command)
            assert replies[-1].startswith(b"OK "), (command, replies)
        return client

    async def metrics(self) -> str:
        """Return the page of metrics."""
        async with httpx.AsyncClient(
            trust_env=False, timeout=BUSY_SECONDS, verify=False
        ) as browser:
            return (await browser.get(f"http://127.0.0.1:{self.health}/metrics")).text

    async def ready(self) -> None:
        """Wait until it can serve."""
        async with httpx.AsyncClient(trust_env=False, timeout=BUSY_SECONDS, verify=False) as client:

            async def is_ready() -> bool:
                assert self.child.poll() is None, self.log.read_text()
                with suppress(httpx.TransportError):
                    url = f"http://127.0.0.1:{self.health}/readyz"
                    return (await client.get(url)).status_code == 200
                return False

            await until(is_ready, 3 * BUSY_SECONDS, "readiness")


@asynccontextmanager
async def imap_process(
    log: Path,
    nats_url: str,
    database_url: str,
    blobs: str,
    *,
    program: Sequence[str] = SERVICE,
    **settings: str,
) -> AsyncIterator[ImapProcess]:
    """Start it and wait until it is ready; it must end well after SIGTERM.
    URLs are used as they are; ``settings`` are others, by name in small letters."""
    imap, health = free_port(), free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")
    } | {
        "POSTHORN_NATS_URL": nats_url,
        "POSTHORN_DATABASE_URL": database_url,
        "POSTHORN_BLOBS": blobs,
        "POSTHORN_IMAP_HOST": "127.0.0.1",
        "POSTHORN_IMAP_CLEARTEXT": "loopback",
        "POSTHORN_IMAP_PORT": str(imap),
        "POSTHORN_IMAP_POLL_SECONDS": "3600",
        "POSTHORN_HEALTH_HOST": "127.0.0.1",
        "POSTHORN_HEALTH_PORT": str(health),
        "POSTHORN_GRACE_SECONDS": "5",
    }
    environment |= {f"POSTHORN_{name.upper()}": value for name, value in settings.items()}
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, *program],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )
    try:
        process = ImapProcess(imap, health, child, log)
        await process.ready()
        yield process
        child.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(child.wait, 2 * BUSY_SECONDS) == 0, log.read_text()
    finally:
        child.kill()
        child.wait()
