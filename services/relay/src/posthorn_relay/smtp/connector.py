"""Opens connections: from the socket to the point where a transaction may be sent (RFC 5321 §3.1,
RFC 3207, RFC 4954).

Rules:

- The TLS that a remote host requires is established or the connection fails; only OPPORTUNISTIC
  continues without: once, on a new connection where the handshake failed or STARTTLS had no answer,
  and on the same one where it is not offered or refused (RFC 7435). A host that fell silent there is
  remembered for a while and gets plain text at once, for its silence costs half a minute.
- Where an MTA-STS policy is in testing mode, TLS is tried first as if it were enforced; a failure
  is reported, and only then the host's own requirement counts, on a new connection (RFC 8461 §5).
- Nothing learned before the handshake counts after it: EHLO is sent again.
- A login is sent under TLS, or to a loopback address reached directly. It is in no log and no
  reply, even if the host repeats it.
- Every failure here is about the host (``Failed.is_about_host``). Only its own 5yz to greeting,
  EHLO and HELO is permanent; an unmet TLS policy and a refused login are transient, for people mend
  them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from prometheus_client import Counter
from python_socks import ProxyError, ProxyTimeoutError, ProxyType, parse_proxy_url
from python_socks.async_.asyncio import Proxy

from posthorn.model.ip_addresses import is_loopback
from posthorn.runtime.env_settings import SettingsError
from posthorn.runtime.tls import verifying_context
from posthorn.wire.smtp.client_replies import HostReply, extensions, printable
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.certificates import (
    CertificateRejected,
    check_dane,
    check_names,
    usable_records,
)
from posthorn_relay.smtp.connection import SmtpConnection
from posthorn_relay.smtp.failures import broken, refused
from posthorn_relay.smtp.host_memory import HostMemory
from posthorn_relay.smtp.login_secrets import in_base64, without_login
from posthorn_relay.smtp.protocol import ClientProtocol, ConnectionFailed
from posthorn_relay.smtp.sts_failures import note_failure
from posthorn_relay.smtp.types import Failed, RemoteHost, Tls, TlsResult

log = structlog.get_logger()

_attempts = Counter(
    "posthorn_relay_smtp_connects_total",
    "Connections tried, by outcome: made, or the stage that failed",
    ["outcome"],
)
_made = Counter(
    "posthorn_relay_smtp_connections_total", "Connections made, by TLS verification", ["tls"]
)
_downgrades = Counter(
    "posthorn_relay_smtp_downgrades_total",
    "Failed TLS handshakes where plain text was allowed instead",
)


_VERIFY_RESULTS = {
    9: TlsResult.EXPIRED,  # not valid yet
    10: TlsResult.EXPIRED,
    23: TlsResult.OTHER,  # revoked
    26: TlsResult.OTHER,  # not for servers
}
"""X509_V_ERR codes of OpenSSL; all others are about the chain."""


class _HandshakeFailed(Failed):
    """The TLS handshake failed: where TLS is opportunistic, plain text is tried."""


@dataclass(slots=True)
class _Opening:
    """A connection that is being opened."""

    remote: RemoteHost
    protocol: ClientProtocol
    tls: str = ""
    offered: dict[str, str] | None = None

    @property
    def host(self) -> str:
        return f"{self.remote.host} ({self.remote.address})"

    def failed(
        self, stage: str, code: int, status: str, text: str, result: TlsResult | None = None
    ) -> Failed:
        return Failed(stage, code, status, text, False, self.host, self.tls, result)

    def handshake_failed(self, text: str) -> Failed:
        return _HandshakeFailed(
            "tls", 0, "4.7.5", text, False, self.host, self.tls, TlsResult.OTHER
        )


class SmtpConnector:
    """Opens SMTP connections. ``trust`` returns the context whose anchors verify certificates;
    default: the system's. ``protocol`` makes the protocol of each connection.

    The bind addresses are for direct connections; a proxy is reached from any address. Raises
    SettingsError when the proxy's URL is invalid.
    """

    def __init__(
        self,
        settings: EgressSettings,
        trust: Callable[[], ssl.SSLContext] | None = None,
        *,
        protocol: Callable[[], ClientProtocol] = ClientProtocol,
    ) -> None:
        self._settings = settings
        self._protocol = protocol
        self._trust = trust or verifying_context
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._without_bdat = HostMemory()
        """Hosts that offer CHUNKING and refuse BDAT."""
        self._without_announcements = HostMemory()
        """Hosts that offer PIPELINING and do not take it across messages."""
        self._silent_at_tls = HostMemory()
        """Hosts that fell silent at STARTTLS or in the handshake; asked only where plain text is
        allowed instead."""
        self._proxy = _proxy(settings)

    async def connect(self, remote: RemoteHost) -> SmtpConnection:
        """Open a connection; see the port. Raises Failed."""
        try:
            connection = await self._tested(remote) or await self._demanded(remote)
        except Failed as failure:
            _attempts.labels(failure.stage).inc()
            raise
        _attempts.labels("made").inc()
        _made.labels(connection.tls.split()[-1] if connection.tls else "plain").inc()
        return connection

    async def _tested(self, remote: RemoteHost) -> SmtpConnection | None:
        """Try what a policy in testing mode would require; None without one, or where TLS does
        not satisfy it."""
        if remote.sts is None or not _is_tested(remote):
            return None
        if remote in self._silent_at_tls:
            why = "STARTTLS: the host was silent within the last hour"
            note_failure(remote.sts, remote.host, TlsResult.OTHER, why)
            return None
        try:
            return await self._open(remote, Tls.VERIFIED)
        except Failed as failure:
            if failure.tls_result is None:
                raise
            note_failure(remote.sts, remote.host, failure.tls_result, failure.reply)
            return None

    async def _demanded(self, remote: RemoteHost) -> SmtpConnection:
        if remote.tls is Tls.OPPORTUNISTIC and remote in self._silent_at_tls:
            return await self._open(remote, Tls.NONE)
        try:
            return await self._open(remote, remote.tls)
        except Failed as failure:
            if not (isinstance(failure, _HandshakeFailed) and remote.tls is Tls.OPPORTUNISTIC):
                if (
                    remote.sts is not None
                    and not _is_tested(remote)
                    and failure.tls_result is not None
                ):
                    note_failure(remote.sts, remote.host, failure.tls_result, failure.reply)
                raise
            _downgrades.inc()
            log.info(
                "no TLS with this host, continuing in plain text",
                host=remote.host,
                address=remote.address,
                why=failure.reply,
            )
        return await self._open(remote, Tls.NONE)

    async def _open(self, remote: RemoteHost, tls: Tls) -> SmtpConnection:
        opening = _Opening(remote, await self._connect(remote))
        try:
            if tls is Tls.IMPLICIT:
                await self._secure(opening, tls)
            await self._greeting(opening)
            await self._hello(opening)
            if tls not in (Tls.NONE, Tls.IMPLICIT) and await self._starttls(opening, tls):
                await self._hello(opening)
            if remote.login:
                await self._login(opening, *remote.login)
        except BaseException:
            opening.protocol.abort()
            raise
        offered = dict(opening.offered or {})
        if remote in self._without_bdat:
            offered.pop("CHUNKING", None)
        return SmtpConnection(
            remote,
            opening.protocol,
            offered,
            opening.tls,
            self._settings,
            lambda: self._refuses_chunks(remote),
            lambda: self._refuses_announcements(remote),
            announces=remote not in self._without_announcements,
        )

    def _refuses_chunks(self, remote: RemoteHost) -> None:
        log.info(
            "the host offers CHUNKING and refuses BDAT", host=remote.host, address=remote.address
        )
        self._without_bdat.add(remote)

    def _refuses_announcements(self, remote: RemoteHost) -> None:
        log.info(
            "the host offers PIPELINING and does not take it across messages",
            host=remote.host,
            address=remote.address,
        )
        self._without_announcements.add(remote)

    # TCP

    async def _connect(self, remote: RemoteHost) -> ClientProtocol:
        settings, host = self._settings, f"{remote.host} ({remote.address})"
        loop = asyncio.get_running_loop()
        bind = settings.relay_bind_ipv6 if ":" in remote.address else settings.relay_bind_ipv4
        try:
            async with asyncio.timeout(settings.relay_connect_seconds):
                if self._proxy is None:
                    local = (bind, 0) if bind else None
                    _, protocol = await loop.create_connection(
                        self._protocol, remote.address, remote.port, local_addr=local
                    )
                    return protocol
                proxied = await self._through_proxy(remote)
                try:
                    _, protocol = await loop.create_connection(self._protocol, sock=proxied)
                except BaseException:
                    proxied.close()
                    raise
                return protocol
        except (TimeoutError, ProxyTimeoutError):
            text = f"no connection within {settings.relay_connect_seconds:g} s"
        except (
            ProxyError
        ) as error:  # the proxy's words about the host, without its own address and login
            text = (
                f"by the proxy: {printable(str(error), 100)}"
                if error.error_code
                else "the proxy cannot be used"
            )
        except OSError as error:
            text = os.strerror(error.errno) if error.errno and error.errno > 0 else "no connection"
        raise Failed(
            "connect", 0, "4.4.1", f"connecting to port {remote.port}: {text}", False, host
        )

    async def _through_proxy(self, remote: RemoteHost) -> socket.socket:
        assert self._proxy is not None
        host, port, user, password = self._proxy
        proxy = Proxy(ProxyType.SOCKS5, host, port, user or None, password or None)
        try:
            return await proxy.connect(
                remote.address, remote.port, timeout=self._settings.relay_connect_seconds
            )
        except ProxyError:
            raise
        except (OSError, EOFError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise ProxyError("the proxy cannot be used") from None

    # The dialogue

    async def _greeting(self, opening: _Opening) -> None:
        protocol, seconds = opening.protocol, self._settings.relay_greeting_seconds
        await protocol.wait_replies(seconds)
        reply = _take(opening, "greeting")
        if reply.code >= 400:
            raise refused("greeting", reply, opening.host, opening.tls)
        if reply.code // 100 != 2:
            raise opening.failed("greeting", reply.code, "4.5.0", reply.line)

    async def _hello(self, opening: _Opening) -> None:
        name = self._settings.relay_hostname.encode()
        reply = await self._say(opening, "ehlo", b"EHLO " + name + b"\r\n")
        if reply.code // 100 == 2:
            opening.offered = extensions(reply)
            return
        if reply.code >= 500:  # a host without EHLO (RFC 5321 §3.2)
            reply = await self._say(opening, "ehlo", b"HELO " + name + b"\r\n")
            if reply.code // 100 == 2:
                opening.offered = {}
                return
        if reply.code >= 400:
            raise refused("ehlo", reply, opening.host, opening.tls)
        raise opening.failed("ehlo", reply.code, "4.5.0", reply.line)

    async def _say(
        self, opening: _Opening, stage: str, command: bytes, seconds: float | None = None
    ) -> HostReply:
        opening.protocol.write(command, 1)
        await opening.protocol.wait_replies(seconds or self._settings.relay_greeting_seconds)
        return _take(opening, stage)

    # TLS

    async def _starttls(self, opening: _Opening, tls: Tls) -> bool:
        """Return whether TLS was established."""
        if "STARTTLS" not in (opening.offered or {}):
            if tls is Tls.OPPORTUNISTIC:
                return False
            why = "TLS is required, and the host does not offer STARTTLS"
            raise opening.failed("tls", 0, "4.7.4", why, TlsResult.NO_STARTTLS)
        may_be_plain = opening.remote.tls is Tls.OPPORTUNISTIC
        begun, seconds = opening.protocol.time(), self._settings.relay_connect_seconds
        try:
            reply = await self._say(
                opening, "tls", b"STARTTLS\r\n", seconds if may_be_plain else None
            )
            if reply.code // 100 == 2:
                await self._secure(opening, tls)
                return True
        except Failed as failure:
            if may_be_plain and not failure.code and opening.protocol.time() - begun >= seconds:
                self._silent_at_tls.add(opening.remote)
            is_tried = tls is Tls.OPPORTUNISTIC or _is_tested(opening.remote)
            if is_tried and not failure.code and failure.tls_result is None:  # cut, or silent
                raise opening.handshake_failed(failure.reply) from None
            raise
        if tls is Tls.OPPORTUNISTIC and reply.code >= 400:
            return False
        raise opening.failed("tls", reply.code, "4.7.4", reply.line, TlsResult.NO_STARTTLS)

    async def _secure(self, opening: _Opening, tls: Tls) -> None:
        """Establish TLS and check the certificate as required."""
        remote, protocol = opening.remote, opening.protocol
        verified = tls in (Tls.VERIFIED, Tls.IMPLICIT)
        records = usable_records(remote.tlsa) if tls is Tls.DANE else ()
        names = remote.names or (remote.host,)
        try:
            # SNI is the host's name: of the MX (RFC 8461 §8.3), and so the TLSA base domain (RFC
            # 7672 §8.1)
            connection = await protocol.begin_tls(
                self._context(verified), remote.host, self._settings.relay_connect_seconds
            )
            if verified:
                check_names(connection, names)
            elif records:
                check_dane(connection, records, names)
        except ConnectionFailed as gone:
            status = f"4{gone.fault.status[1:]}"
            raise opening.failed(
                "tls", gone.fault.code, status, gone.fault.text, TlsResult.OTHER
            ) from None
        except CertificateRejected as doubt:
            raise opening.failed("tls", 0, "4.7.5", str(doubt), doubt.result) from None
        except ssl.SSLCertVerificationError as error:
            why = printable(f"the certificate: {error.verify_message}", 200)
            result = _VERIFY_RESULTS.get(error.verify_code, TlsResult.NOT_TRUSTED)
            raise opening.failed("tls", 0, "4.7.5", why, result) from None
        except ssl.SSLError as error:
            why = printable((error.reason or "no TLS").replace("_", " ").lower(), 100)
            raise opening.handshake_failed(f"TLS handshake: {why}") from None
        except (OSError, ValueError):  # closed or too slow, or an invalid host name
            raise opening.handshake_failed("TLS handshake: it was cut, or took too long") from None
        level = "verified" if verified else "dane" if records else "unverified"
        opening.tls = f"{connection.version()} {(connection.cipher() or ('',))[0]} {level}"
        opening.offered = None

    def _context(self, verified: bool) -> ssl.SSLContext:
        """Return the context, made once: reading the system's anchors takes milliseconds."""
        context = self._contexts.get(verified)
        if context is None:
            context = self._trust() if verified else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False  # certificates.py does, for several names
            context.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._contexts[verified] = context
        return context

    # AUTH

    async def _login(self, opening: _Opening, user: str, password: str) -> None:
        if not opening.tls and (self._proxy is not None or not is_loopback(opening.remote.address)):
            raise opening.failed("auth", 0, "4.7.11", "the login is not given without TLS")
        offered = (opening.offered or {}).get("AUTH", "").upper().split()
        plain = in_base64(f"\0{user}\0{password}")
        if "PLAIN" in offered:
            steps = [b"AUTH PLAIN " + plain, plain]
        elif "LOGIN" in offered:
            steps = [b"AUTH LOGIN", in_base64(user), in_base64(password)]
        else:
            raise opening.failed(
                "auth", 0, "4.7.4", "the host offers neither AUTH PLAIN nor AUTH LOGIN"
            )
        try:
            # 334 asks for the next step: PLAIN's where the host takes no initial response
            for step in steps:
                reply = await self._say(opening, "auth", step + b"\r\n")
                if reply.code != 334:
                    break
        except Failed as failure:
            failure.reply = without_login(failure.reply, user, password)
            raise
        if reply.code // 100 != 2:
            status = f"4{reply.status[1:]}" if reply.status else "4.7.8"
            raise opening.failed(
                "auth", reply.code, status, without_login(reply.line, user, password)
            )


def _is_tested(remote: RemoteHost) -> bool:
    """Return whether a policy in testing mode requires more than the host does."""
    return (
        remote.sts is not None
        and not remote.sts.enforced
        and remote.tls in (Tls.OPPORTUNISTIC, Tls.REQUIRED)
    )


def _take(opening: _Opening, stage: str) -> HostReply:
    try:
        return opening.protocol.next_reply()
    except ConnectionFailed as gone:
        if stage == "ehlo" and opening.tls and not gone.fault.code and opening.offered is None:
            # TLS 1.3: the client finishes its handshake before it learns that the host refused it
            raise opening.handshake_failed(f"after the TLS handshake: {gone.fault.text}") from None
        raise broken(stage, gone.fault, opening.host, opening.tls) from None


def _proxy(settings: EgressSettings) -> tuple[str, int, str, str] | None:
    if settings.relay_proxy is None:
        return None
    try:
        kind, host, port, user, password = parse_proxy_url(settings.relay_proxy.get_secret_value())
        if kind is ProxyType.SOCKS5:
            return host, port, user or "", password or ""
    except ValueError:
        pass
    raise SettingsError(
        "refusing to start:\n  POSTHORN_RELAY_PROXY: must be socks5://[user:password@]host:port"
    )
