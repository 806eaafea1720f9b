"""The service smtp-in as a process."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from posthorn_local.embedded import free_port
from tests.support.service_process import environment, program, service_process

KEY = base64.b64encode(b"k" * 32).decode()


@asynccontextmanager
async def process(role: str, log: Path, **settings: str) -> AsyncIterator[Mapping[str, int]]:
    """The service as a process that is ready; its ports, and as PID its process id."""
    ports = {name: free_port() for name in ("HEALTH", "SMTP", "SUBMISSION", "SUBMISSIONS")}
    variables = environment(
        {
            "SMTP_ROLE": role,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_HOSTNAME": "mail.example.test",
            "SRS_KEY": KEY,
            **{f"{name}_PORT": str(port) for name, port in ports.items()},
            "HEALTH_HOST": "127.0.0.1",
        },
        **settings,
    )
    async with service_process(program("smtp_in"), log, variables) as child:
        yield ports | {"PID": child.pid}
