"""Probes of routes, by the planner and the connector that send mail (``ports.route_probes``).

Rules:

- The hosts are tried in the order and with the TLS of an attempt; the next one after a transient
  answer (``attempt``).
- ``MAIL FROM:<>`` is the reverse-path of a DSN, which each host must take (RFC 5321 §6.1). After
  it, and RCPT if a recipient is named, comes RSET: no DATA, no message.
- Each reply may take ``_STEP_SECONDS``, all of it ``PROBE_SECONDS``: what passed until then is
  part of the report.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import structlog

from posthorn.ports.queue import Route
from posthorn.ports.route_probes import (
    PROBE_SECONDS,
    ProbedConnection,
    ProbeFailure,
    ProbeReport,
    ProbeStep,
    RouteProbe,
)
from posthorn.wire.smtp.client_replies import HostReply
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.connector import SmtpConnector
from posthorn_relay.smtp.envelope import is_unsafe, rcpt_command
from posthorn_relay.smtp.failures import broken, refused
from posthorn_relay.smtp.protocol import ConnectionFailed
from posthorn_relay.smtp.types import Failed, Planner, Recipient, RemoteHost
from posthorn_relay.smtp.witness import Witness, WitnessedProtocol

log = structlog.get_logger()

_STEP_SECONDS: Final = 10.0
_MOST_HOSTS: Final = 4


class StoredRoutes(Protocol):
    """Where routes are kept."""

    async def get(self, domain: str) -> Route:
        """Return one, with its encrypted password. Raises NotFound, Unavailable."""
        ...


class RelayProber:
    """Port RouteProber of the relay. ``trust``: as of SmtpConnector."""

    def __init__(
        self,
        routes: StoredRoutes,
        planner: Planner,
        settings: EgressSettings,
        trust: Callable[[], ssl.SSLContext] | None = None,
        *,
        seconds: float = PROBE_SECONDS,
    ) -> None:
        self._routes, self._planner, self._trust = routes, planner, trust
        self._seconds = seconds
        self._settings = settings.model_copy(
            update={
                name: min(getattr(settings, name), _STEP_SECONDS)
                for name in ("relay_connect_seconds", "relay_greeting_seconds")
            }
        )

    async def probe(self, asked: RouteProbe) -> ProbeReport:
        """Probe; see the port."""
        route = await self._routes.get(asked.route)
        begun = time.monotonic()
        seen: list[ProbedConnection] = []
        failure: ProbeFailure | None
        try:
            async with asyncio.timeout(self._seconds):
                remotes = await self._planner.plan(asked.destination, route)
                failure = None
                for remote in remotes[:_MOST_HOSTS]:
                    failure = await self._one(remote, asked.recipient, seen)
                    if failure is None or _is_final(failure):
                        break
        except Failed as failed:
            failure = _failure(failed)
        except TimeoutError:
            why = f"the probe took longer than {self._seconds:g} s"
            stage = seen[-1].steps[-1].stage if seen and seen[-1].steps else "connect"
            failure = ProbeFailure(stage, 0, "4.4.2", why, permanent=False)
        log.info(
            "route probed",
            route=asked.route,
            hosts=[f"{each.host} ({each.address})" for each in seen],
            failed=failure.stage if failure else None,
        )
        return ProbeReport(tuple(seen), failure, time.monotonic() - begun)

    async def _one(
        self, remote: RemoteHost, recipient: str, seen: list[ProbedConnection]
    ) -> ProbeFailure | None:
        """Probe one address; add what passed to ``seen``."""
        witness, begun = Witness(remote), time.monotonic()
        failed: Failed | None = None
        level = ""
        connector = SmtpConnector(self._settings, self._trust, protocol=witness.protocol)
        try:
            connection = await connector.connect(remote)
            level = connection.tls.rpartition(" ")[2]
            await self._dialogue(witness.connections[-1], remote, recipient)
        except Failed as failure:
            failed = failure
        finally:
            found = witness.seen() or [ProbedConnection(remote.host, remote.address, remote.port)]
            for protocol in witness.connections:
                protocol.abort()
            steps = found[-1].steps
            if (
                failed is not None
                and not failed.code
                and not (steps and steps[-1].reply and failed.reply.endswith(steps[-1].reply))
            ):
                seconds = time.monotonic() - begun
                step = ProbeStep(failed.stage, "", 0, failed.status, failed.reply, seconds)
                found[-1] = replace(found[-1], steps=(*steps, step))
            seen += _judged(found, level, failed)
        return None if failed is None else _failure(failed)

    async def _dialogue(
        self,
        protocol: WitnessedProtocol,
        remote: RemoteHost,
        recipient: str,
    ) -> None:
        """MAIL, RCPT, RSET, QUIT. Raises Failed."""
        offered = protocol.offered
        needs_utf8 = not recipient.isascii()
        if needs_utf8 and "SMTPUTF8" not in offered:
            raise self._ours(remote, "5.6.7", "the recipient needs SMTPUTF8, which is not offered")
        if recipient and is_unsafe(recipient):
            raise self._ours(remote, "5.1.3", "this recipient cannot be named in SMTP")
        mail = b"MAIL FROM:<>"
        if needs_utf8:
            mail += b" SMTPUTF8"
        if remote.login and "AUTH" in offered:
            mail += b" AUTH=<>"  # as with each message (RFC 4954 §5)
        try:
            await self._say(protocol, remote, "mail", mail + b"\r\n")
            if recipient:
                await self._say(
                    protocol, remote, "rcpt", rcpt_command(Recipient(recipient), offered)
                )
        except Failed:
            await self._leave(protocol)
            raise
        await self._leave(protocol)

    async def _say(
        self, protocol: WitnessedProtocol, remote: RemoteHost, stage: str, command: bytes
    ) -> HostReply:
        host = f"{remote.host} ({remote.address})"
        try:
            reply = await protocol.request(command, self._settings.relay_greeting_seconds)
        except ConnectionFailed as gone:
            raise broken(stage, gone.fault, host, "") from None
        if reply.code // 100 != 2:
            raise refused(stage, reply, host, "")
        return reply

    async def _leave(self, protocol: WitnessedProtocol) -> None:
        if protocol.fault:
            return
        try:
            for command in (b"RSET\r\n", b"QUIT\r\n"):
                await protocol.request(command, self._settings.relay_greeting_seconds)
        except ConnectionFailed:  # noted; what was asked has its answer
            return

    def _ours(self, remote: RemoteHost, status: str, text: str) -> Failed:
        return Failed("rcpt", 0, status, text, True, f"{remote.host} ({remote.address})")


def _is_final(failure: ProbeFailure) -> bool:
    return failure.permanent and failure.stage in ("mail", "rcpt")


def _failure(failed: Failed) -> ProbeFailure:
    return ProbeFailure(failed.stage, failed.code, failed.status, failed.reply, failed.permanent)


def _judged(
    found: list[ProbedConnection], level: str, failed: Failed | None
) -> list[ProbedConnection]:
    """Return the connections with the verdict on their certificates. ``level``: the verification
    that the connector reached on the last one."""
    judged = []
    for connection in found:
        tls = connection.tls
        if tls is None:
            judged.append(connection)
            continue
        if connection is not found[-1]:
            tls = replace(tls, verdict="rejected")
        elif failed is not None and failed.stage == "tls":
            tls = replace(tls, verdict="rejected", problem=failed.reply)
        elif level in ("verified", "dane"):
            tls = replace(tls, verdict=level, problem="")
        elif failed is not None and not level and failed.tls:
            tls = replace(tls, verdict=failed.tls.rpartition(" ")[2])
        else:
            tls = replace(tls, verdict="unverified")
        judged.append(replace(connection, tls=tls))
    return judged
