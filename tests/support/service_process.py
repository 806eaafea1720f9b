"""A service as a process of its own: its environment, its readiness, its pages, its end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from posthorn_local.embedded import die_with_parent
from tests.support.polling import BUSY_SECONDS, START_SECONDS, until


def environment(settings: Mapping[str, str] | None = None, **more: str) -> dict[str, str]:
    """Return this process's environment with none but these settings, which are named without
    their prefix."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")}
    return plain | {
        f"POSTHORN_{name}": value for name, value in {**(settings or {}), **more}.items()
    }


def program(service: str) -> tuple[str, str, str]:
    """Return the command that runs a service, such as ``smtp_in``, as local mode does."""
    return (
        sys.executable,
        "-c",
        f"from posthorn_local.service import run; run('posthorn_{service}.main')",
    )


async def page(health: int | str, path: str) -> httpx.Response:
    """Return a page of a process's health port. Raises httpx.TransportError."""
    async with httpx.AsyncClient(trust_env=False, timeout=BUSY_SECONDS, verify=False) as client:
        return await client.get(f"http://127.0.0.1:{health}/{path}")


async def until_ready(
    health: int | str, child: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    """Wait until the process can serve. Fails at once if ``child`` has ended, with its ``log``."""

    async def is_ready() -> bool:
        assert child is None or child.poll() is None, log.read_text() if log else "it has ended"
        try:
            return (await page(health, "readyz")).status_code == 200
        except httpx.TransportError:
            return False

    await until(is_ready, START_SECONDS, "readiness")


@asynccontextmanager
async def service_process(
    command: Sequence[str], log: Path, variables: Mapping[str, str]
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Start a process and wait until it is ready; it must end well after SIGTERM."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )
    try:
        await until_ready(variables["POSTHORN_HEALTH_PORT"], child, log)
        yield child
        child.terminate()
        assert await asyncio.to_thread(child.wait, 2 * BUSY_SECONDS) == 0, log.read_text()
    finally:
        child.kill()
        child.wait()
