"""The service in several processes (``POSTHORN_SMTP_PROCESSES``): the ports that they share, and the
limits that are divided among them (ADR 37)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from math import ceil
from typing import Any

from posthorn.runtime.http import bind
from posthorn.runtime.process import Process
from posthorn.runtime.workers import Workers
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings

MX_PORTS = ("smtp_port", "smtp_proxy_port")
SUBMISSION_PORTS = (
    "submission_port",
    "submission_proxy_port",
    "submissions_port",
    "submissions_proxy_port",
)
_DIVIDED = ("smtp_sessions", "smtp_memory_bytes", "smtp_input_bytes")


async def start_processes(process: Process[SmtpInSettings]) -> None:
    """Start the processes of the service, and watch them."""
    settings = process.settings
    overrides = reserved_ports(settings, process.stack) | divided_limits(settings)
    workers = Workers(
        "posthorn_smtp_in.worker",
        overrides | {"drain_delay_seconds": 0.0},  # that is over when the parent ends them
        processes=settings.smtp_processes,
        grace_seconds=settings.grace_seconds,
    )
    process.stack.push_async_callback(workers.stop)
    await workers.start()
    process.health.add_check("processes", workers.probe)
    process.health.metrics = workers.metrics
    await process.task(workers.run(), "processes")


def reserved_ports(settings: SmtpInSettings, stack: AsyncExitStack) -> dict[str, Any]:
    """Bind the service's ports until the stack is left, so that the number of one that is 0 is
    known; return the numbers. Raises SystemExit for a port where another program listens.

    Nothing connects to these sockets: they do not listen.
    """
    names = SUBMISSION_PORTS if isinstance(settings, SubmissionInSettings) else MX_PORTS
    found: dict[str, Any] = {}
    for name in names:
        port = getattr(settings, name)
        if port is not None:
            holder = bind(settings.smtp_host, port, f"POSTHORN_{name.upper()}", shared=True)
            stack.callback(holder.close)
            found[name] = holder.getsockname()[1]
    return found


def divided_limits(settings: SmtpInSettings) -> dict[str, Any]:
    """Return the limits of one process. What it may spool is never less than one message."""
    processes = settings.smtp_processes
    each = {name: ceil(getattr(settings, name) / processes) for name in _DIVIDED}
    spool = max(ceil(settings.smtp_spool_bytes / processes), settings.smtp_message_max_bytes)
    return each | {"smtp_spool_bytes": spool}
