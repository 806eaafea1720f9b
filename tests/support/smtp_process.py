"""The service smtp-in as a process."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from posthorn_local.embedded import die_with_parent, free_port
from tests.support.polling import BUSY_SECONDS, until

KEY = base64.b64encode(b"k" * 32).decode()


@asynccontextmanager
async def process(role: str, log: Path, **settings: str) -> AsyncIterator[Mapping[str, int]]:
    """The service as a process that is ready; its ports, and as PID its process id."""
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
        async with httpx.AsyncClient(timeout=BUSY_SECONDS, verify=False) as client:

            async def ready() -> bool:
                assert child.poll() is None, log.read_text()
                try:
                    return (
                        await client.get(f"http://127.0.0.1:{ports['HEALTH']}/readyz")
                    ).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, 3 * BUSY_SECONDS, "readiness")
        yield ports | {"PID": child.pid}
        child.terminate()
        assert await asyncio.to_thread(child.wait, 2 * BUSY_SECONDS) == 0, log.read_text()
    finally:
        child.kill()
        child.wait()
