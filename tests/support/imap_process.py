"""The IMAP service as a process of its own, with the rights of its own in Postgres and NATS."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from posthorn_local.embedded import free_port
from tests.support.imap import ALICE, PASSWORD, ImapClient
from tests.support.service_process import environment, page, program, service_process, until_ready


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
        return (await page(self.health, "metrics")).text

    async def ready(self) -> None:
        """Wait until it can serve."""
        await until_ready(self.health, self.child, self.log)


@asynccontextmanager
async def imap_process(
    log: Path,
    nats_url: str,
    database_url: str,
    blobs: str,
    *,
    command: Sequence[str] = program("imap"),
    **settings: str,
) -> AsyncIterator[ImapProcess]:
    """Start it and wait until it is ready; it must end well after SIGTERM.
    URLs are used as they are; ``settings`` are others, by name in small letters."""
    imap, health = free_port(), free_port()
    variables = environment(
        {
            "NATS_URL": nats_url,
            "DATABASE_URL": database_url,
            "BLOBS": blobs,
            "IMAP_HOST": "127.0.0.1",
            "IMAP_CLEARTEXT": "loopback",
            "IMAP_PORT": str(imap),
            "IMAP_POLL_SECONDS": "3600",
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": str(health),
            "GRACE_SECONDS": "5",
        },
        **{name.upper(): value for name, value in settings.items()},
    )
    async with service_process(command, log, variables) as child:
        yield ImapProcess(imap, health, child, log)
