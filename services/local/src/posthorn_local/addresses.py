"""The ports of 127.0.0.1 that local mode takes: checked before anything starts, chosen where a
setting says 0."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from posthorn_local.embedded import free_port
from posthorn_local.settings import HEALTH_SERVICES, LocalSettings, variable

HOST = "127.0.0.1"
_FIELDS = (
    "smtp_port",
    "imap_port",
    "imaps_port",
    "pop3_port",
    "pop3s_port",
    "api_port",
    "submission_port",
    "submissions_port",
)
"""Settings in the order of the fields of Ports."""
_PATIENCE = 2.0
"""Seconds to wait for a port to become free: processes of a killed start may still be ending."""


class PortTaken(SystemExit):
    """A port is not available; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens."""

    smtp: int
    imap: int
    imaps: int
    pop3: int
    pop3s: int
    api: int
    submission: int
    submissions: int
    health: Mapping[str, int]
    """By service."""
    taken: frozenset[int]
    """All of them."""


def choose_ports(settings: LocalSettings) -> Ports:
    """Return the ports that the settings ask for. Raises PortTaken."""
    wanted = [(field, getattr(settings, field)) for field in _FIELDS]
    wanted += [
        (f"health_port (for {service})", settings.health_port and settings.health_port + number)
        for number, service in enumerate(HEALTH_SERVICES)
    ]
    taken: dict[int, str] = {}
    chosen: list[int] = []
    for field, port in wanted:
        name, _, rest = field.partition(" ")
        title = f"{variable(name)} {rest}".strip()
        if port:
            if port in taken:
                raise PortTaken(f"refusing to start: {title}: port {port} is {taken[port]}'s too")
            _check(title, port)
        else:
            port = free_port(taken)
        taken[port] = title
        chosen.append(port)
    smtp, imap, imaps, pop3, pop3s, api, submission, submissions, *health = chosen
    return Ports(
        smtp,
        imap,
        imaps,
        pop3,
        pop3s,
        api,
        submission,
        submissions,
        dict(zip(HEALTH_SERVICES, health, strict=True)),
        frozenset(chosen),
    )


def _check(title: str, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while number := _bind(port):
        if number != errno.EADDRINUSE or time.monotonic() > deadline:
            what = (
                "is in use by another program"
                if number == errno.EADDRINUSE
                else f"cannot be had: {os.strerror(number)}"
            )
            raise PortTaken(
                f"refusing to start: {title}: port {port} of {HOST} {what}; set another one, or 0 for any"
            )
        time.sleep(0.05)


def _bind(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno or errno.EADDRINUSE
    return 0
