"""What passes over a connection, for those who look at it: commands, replies, TLS.

Commands and replies are paired in the order of the connector: one command, one wait, one reply. No
credential is noted: what follows AUTH is replaced, and a password that a host repeats as well.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509

from posthorn.ports.route_probes import ProbedConnection, ProbedTls, ProbeStep
from posthorn.wire.smtp.client_replies import HostReply, extensions, printable
from posthorn_relay.smtp.certificates import CertificateRejected, check_names
from posthorn_relay.smtp.login_secrets import without_login
from posthorn_relay.smtp.protocol import ClientProtocol, ConnectionFailed
from posthorn_relay.smtp.types import RemoteHost

_HIDDEN = "***"
_MOST_LINES = 64
_MOST_NAMES = 50
_STAGES = {
    "EHLO": "ehlo",
    "HELO": "ehlo",
    "STARTTLS": "starttls",
    "AUTH": "auth",
    "MAIL": "mail",
    "RCPT": "rcpt",
    "RSET": "rset",
    "QUIT": "quit",
}


class Witness:
    """Notes what passes over the connections to one remote host."""

    def __init__(self, remote: RemoteHost) -> None:
        self._remote = remote
        self.connections: list[WitnessedProtocol] = []

    def protocol(self) -> WitnessedProtocol:
        """Return the protocol of a new connection."""
        return WitnessedProtocol(self._remote, self.connections.append)

    def seen(self) -> list[ProbedConnection]:
        """Return what passed, by connection."""
        remote = self._remote
        return [
            ProbedConnection(
                remote.host,
                remote.address,
                remote.port,
                (*each.steps, *each.unanswered(is_last=each is self.connections[-1])),
                [printable(f"{name} {value}") for name, value in each.offered.items()],
                each.tls,
            )
            for each in self.connections
        ]


class WitnessedProtocol(ClientProtocol):
    """A connection that notes what passes over it."""

    __slots__ = (
        "_announce",
        "_begun",
        "_command",
        "_refusal",
        "_remote",
        "_stage",
        "offered",
        "steps",
        "tls",
    )

    def __init__(self, remote: RemoteHost, announce: Callable[[WitnessedProtocol], None]) -> None:
        super().__init__()
        self._announce: Callable[[WitnessedProtocol], None] | None = announce
        self.steps: list[ProbeStep] = []
        self.offered: dict[str, str] = {}
        """What the last reply to EHLO offers."""
        self.tls: ProbedTls | None = None
        self._refusal = ""
        self._remote = remote
        self._begun = self.time()
        self._stage, self._command = "greeting", ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be one of the witness's connections; TLS on it is no further one."""
        super().connection_made(transport)
        if self._announce is not None:
            self._announce(self)
            self._announce = None

    def write(self, data: bytes, replies: int) -> None:
        """Note the command, and send it."""
        if not self.fault:
            text = printable(data.decode("utf-8", "replace"))
            verb = text.partition(" ")[0].upper()
            if self._stage == "auth" and verb != "AUTH" and self._is_asked_for_more():
                text = _HIDDEN
            else:
                self._stage = _STAGES.get(verb, verb.lower())
                words = text.split(" ")
                if verb == "AUTH" and len(words) > 2:
                    text = " ".join((*words[:2], _HIDDEN))
            self._command, self._begun = text, self.time()
        super().write(data, replies)

    def next_reply(self) -> HostReply:
        """Note the next reply, or the fault."""
        try:
            reply = super().next_reply()
        except ConnectionFailed as gone:
            self._note(gone.fault.code, gone.fault.status, gone.fault.text)
            raise
        lines = [
            f"{reply.code}{'-' if place < len(reply.lines) - 1 else ' '}{line.decode('utf-8', 'replace')}"
            for place, line in enumerate(reply.lines)
        ]
        if self._stage == "ehlo" and reply.code // 100 == 2:
            self.offered = extensions(reply)
        self._note(reply.code, reply.status, *lines[:_MOST_LINES])
        return reply

    async def begin_tls(
        self, context: ssl.SSLContext, name: str | None, seconds: float
    ) -> ssl.SSLObject:
        """Start TLS, and note what the host showed."""
        begun = self.time()
        self._stage, self._command = "tls", ""
        try:
            secured = await super().begin_tls(context, name, seconds)
        except (OSError, ConnectionFailed) as error:
            reason = getattr(error, "reason", None) or "the connection was lost"
            self._refusal = printable(f"TLS handshake: {reason.replace('_', ' ').lower()}", 200)
            raise
        remote = self._remote
        self.tls = _shown(secured, remote.names or (remote.host,))
        self.steps.append(
            ProbeStep(
                "tls", "", 0, "", f"{self.tls.version} {self.tls.cipher}", self.time() - begun
            )
        )
        self._stage, self._begun = "greeting", self.time()
        return secured

    def unanswered(self, *, is_last: bool) -> list[ProbeStep]:
        """Return the command that has no reply yet, or the handshake that failed. ``is_last``: the
        connector has told of its handshake."""
        seconds = self.time() - self._begun
        if self._refusal and not is_last:
            return [ProbeStep("tls", "", 0, "4.7.5", self._refusal, seconds)]
        if self.pending_replies and not self.fault:
            return [ProbeStep(self._stage, self._command, 0, "4.4.2", "no reply", seconds)]
        return []

    def _is_asked_for_more(self) -> bool:
        return bool(self.steps) and self.steps[-1].code == 334

    def _note(self, code: int, status: str, *lines: str) -> None:
        user, password = self._remote.login or ("", "")
        shown = "\n".join(printable(without_login(line, user, password)) for line in lines)
        seconds = self.time() - self._begun
        self.steps.append(ProbeStep(self._stage, self._command, code, status, shown, seconds))


def _shown(secured: ssl.SSLObject, names: tuple[str, ...]) -> ProbedTls:
    """Return version, cipher and certificate; the verdict is not known yet."""
    version, cipher = secured.version() or "", (secured.cipher() or ("",))[0]
    problem = ""
    try:
        check_names(secured, names)
    except CertificateRejected as doubt:
        problem = str(doubt)
    data = secured.getpeercert(binary_form=True)
    try:
        certificate = x509.load_der_x509_certificate(data or b"")
        expires = certificate.not_valid_after_utc
        issuer = printable(certificate.issuer.rfc4514_string(), 200)
        found = _names(certificate)
    except ValueError:
        return ProbedTls(version, cipher, "", problem=problem or "the certificate does not read")
    if not problem and expires < datetime.now(UTC):
        problem = "the certificate has expired"
    return ProbedTls(version, cipher, "", found, issuer, expires.timestamp(), problem)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return ()
    names = alternatives.value
    found = [*names.get_values_for_type(x509.DNSName)]
    found += map(str, names.get_values_for_type(x509.IPAddress))
    return tuple(printable(name, 255) for name in found[:_MOST_NAMES])
