"""Connections to other hosts: from the socket to the point where a parcel may be sent (RFC 5321 §3.1, RFC 3207, RFC 4954).

Rules:

- What a hop demands of TLS is met or the connection fails; only OPPORTUNISTIC goes on without, once, on a new connection where the
  handshake failed and on the same one where STARTTLS is not offered or refused (RFC 7435).
- Where an MTA-STS policy is being tested, TLS is tried first as if it were enforced; a failure is noted, and only then the hop's
  own demand counts, on a new connection (RFC 8461 §5).
- Nothing learned before the handshake counts after it: EHLO is said again.
- A login is given under TLS, or to a loopback address reached directly. It is in no log and no reply, even if the host repeats it.
- Whatever goes wrong here is about the host (``Failed.is_hosts``). Only its own 5yz to greeting, EHLO and HELO is permanent; a
  TLS policy that is not met and a refused login pass, for they are mended by people.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from prometheus_client import Counter
from python_socks import ProxyError, ProxyTimeoutError, ProxyType, parse_proxy_url
from python_socks.async_.asyncio import Proxy

from posthorn.runtime.settings import SettingsError
from posthorn.runtime.tls import verifying_context
from posthorn.wire.smtp.client_replies import HostReply, extensions, printable
from posthorn_relay.certificates import Mistrusted, check_dane, check_names
from posthorn_relay.dane import usable
from posthorn_relay.line import Line, LineBroken
from posthorn_relay.mta_sts import note_failure
from posthorn_relay.settings import EgressSettings
from posthorn_relay.transaction import SmtpConnection, broken, refused
from posthorn_relay.transport import Failed, Hop, Tls, TlsResult

log = structlog.get_logger()

_attempts = Counter(
    "posthorn_relay_smtp_connects_total",
    "Connections tried: made, or where they failed",
    ["outcome"],
)
_made = Counter("posthorn_relay_smtp_connections_total", "Connections made, by what is known of the host", ["tls"])
_downgrades = Counter("posthorn_relay_smtp_downgrades_total", "Handshakes that failed where plain was allowed instead")


_VERIFY_RESULTS = {
    9: TlsResult.EXPIRED,  # not valid yet
    10: TlsResult.EXPIRED,
    23: TlsResult.OTHER,  # revoked
    26: TlsResult.OTHER,  # not for servers
}
"""X509_V_ERR codes of OpenSSL; the others are all about the chain."""


class _HandshakeFailed(Failed):
    """TLS was begun and did not come about: where it is opportunistic, plain is tried."""


@dataclass(slots=True)
class _Session:
    """A connection in the making."""

    hop: Hop
    line: Line
    tls: str = ""
    offered: dict[str, str] | None = None

    @property
    def host(self) -> str:
        return f"{self.hop.host} ({self.hop.address})"

    def failed(self, stage: str, code: int, status: str, text: str, result: TlsResult | None = None) -> Failed:
        return Failed(stage, code, status, text, False, self.host, self.tls, result)

    def handshake_failed(self, text: str) -> Failed:
        return _HandshakeFailed("tls", 0, "4.7.5", text, False, self.host, self.tls, TlsResult.OTHER)


UNABLE_SECONDS = 3600.0
"""How long a host that refused BDAT counts as one without CHUNKING."""
_MOST_UNABLE = 10_000


class SmtpConnector:
    """Port Connector. ``trust`` makes the context whose anchors verify certificates; unset, the system's.

    The bind addresses are for direct connections; a proxy is reached as the system likes. Raises SettingsError when the proxy's
    URL does not read.
    """

    def __init__(self, settings: EgressSettings, trust: Callable[[], ssl.SSLContext] | None = None) -> None:
        self._settings = settings
        self._trust = trust or verifying_context
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._unable: OrderedDict[tuple[str, int], float] = OrderedDict()
        """Hosts that offer CHUNKING and refuse BDAT, with the moment until which that is remembered."""
        self._proxy = _proxy(settings)

    async def connect(self, hop: Hop) -> SmtpConnection:
        """Open a connection; see Connector. Raises Failed."""
        try:
            connection = await self._tested(hop) or await self._demanded(hop)
        except Failed as failure:
            _attempts.labels(failure.stage).inc()
            raise
        _attempts.labels("made").inc()
        _made.labels(connection.tls.split()[-1] if connection.tls else "plain").inc()
        return connection

    async def _tested(self, hop: Hop) -> SmtpConnection | None:
        """Try what a policy would demand that is only tested; None where there is none, or TLS fails it."""
        if hop.sts is None or not _is_tested(hop):
            return None
        try:
            return await self._open(hop, Tls.VERIFIED)
        except Failed as failure:
            if failure.tls_result is None:
                raise
            note_failure(hop.sts, hop.host, failure.tls_result, failure.reply)
            return None

    async def _demanded(self, hop: Hop) -> SmtpConnection:
        try:
            return await self._open(hop, hop.tls)
        except Failed as failure:
            if not (isinstance(failure, _HandshakeFailed) and hop.tls is Tls.OPPORTUNISTIC):
                if hop.sts is not None and not _is_tested(hop) and failure.tls_result is not None:
                    note_failure(hop.sts, hop.host, failure.tls_result, failure.reply)
                raise
            _downgrades.inc()
            log.info("no TLS with this host, going on in plain", host=hop.host, address=hop.address, why=failure.reply)
        return await self._open(hop, Tls.NONE)

    async def _open(self, hop: Hop, tls: Tls) -> SmtpConnection:
        session = _Session(hop, await self._reach(hop))
        try:
            if tls is Tls.IMPLICIT:
                await self._secure(session, tls)
            await self._greeting(session)
            await self._hello(session)
            if tls not in (Tls.NONE, Tls.IMPLICIT) and await self._starttls(session, tls):
                await self._hello(session)
            if hop.login:
                await self._login(session, *hop.login)
        except BaseException:
            session.line.abort()
            raise
        offered = dict(session.offered or {})
        if self._unable.get(hop.key, 0.0) > time.monotonic():
            offered.pop("CHUNKING", None)
        return SmtpConnection(
            hop, session.line, offered, session.tls, self._settings, lambda: self._refuses_chunks(hop)
        )

    def _refuses_chunks(self, hop: Hop) -> None:
        log.info("the host offers CHUNKING and refuses BDAT", host=hop.host, address=hop.address)
        self._unable[hop.key] = time.monotonic() + UNABLE_SECONDS
        self._unable.move_to_end(hop.key)
        while len(self._unable) > _MOST_UNABLE:
            self._unable.popitem(last=False)

    # The way to the host

    async def _reach(self, hop: Hop) -> Line:
        settings, host = self._settings, f"{hop.host} ({hop.address})"
        loop = asyncio.get_running_loop()
        bind = settings.relay_bind_ipv6 if ":" in hop.address else settings.relay_bind_ipv4
        try:
            async with asyncio.timeout(settings.relay_connect_seconds):
                if self._proxy is None:
                    local = (bind, 0) if bind else None
                    _, line = await loop.create_connection(Line, hop.address, hop.port, local_addr=local)
                    return line
                gate = await self._through(hop)
                try:
                    _, line = await loop.create_connection(Line, sock=gate)
                except BaseException:
                    gate.close()
                    raise
                return line
        except (TimeoutError, ProxyTimeoutError):
            text = f"no connection within {settings.relay_connect_seconds:g} s"
        except ProxyError as error:  # what the proxy says of the host; its own address and login stay out of it
            text = f"by the proxy: {printable(str(error), 100)}" if error.error_code else "the proxy cannot be used"
        except OSError as error:
            text = os.strerror(error.errno) if error.errno and error.errno > 0 else "no connection"
        raise Failed("connect", 0, "4.4.1", f"connecting to port {hop.port}: {text}", False, host)

    async def _through(self, hop: Hop) -> socket.socket:
        assert self._proxy is not None
        host, port, user, password = self._proxy
        proxy = Proxy(ProxyType.SOCKS5, host, port, user or None, password or None)
        try:
            return await proxy.connect(hop.address, hop.port, timeout=self._settings.relay_connect_seconds)
        except ProxyError:
            raise
        except (OSError, EOFError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise ProxyError("the proxy cannot be used") from None

    # The dialogue

    async def _greeting(self, session: _Session) -> None:
        line, seconds = session.line, self._settings.relay_greeting_seconds
        await line.settle(seconds)
        reply = _take(session, "greeting")
        if reply.code >= 400:
            raise refused("greeting", reply, session.host, session.tls)
        if reply.code // 100 != 2:
            raise session.failed("greeting", reply.code, "4.5.0", reply.line)

    async def _hello(self, session: _Session) -> None:
        name = self._settings.relay_hostname.encode()
        reply = await self._say(session, "ehlo", b"EHLO " + name + b"\r\n")
        if reply.code // 100 == 2:
            session.offered = extensions(reply)
            return
        if reply.code >= 500:  # an old host (RFC 5321 §3.2)
            reply = await self._say(session, "ehlo", b"HELO " + name + b"\r\n")
            if reply.code // 100 == 2:
                session.offered = {}
                return
        if reply.code >= 400:
            raise refused("ehlo", reply, session.host, session.tls)
        raise session.failed("ehlo", reply.code, "4.5.0", reply.line)

    async def _say(self, session: _Session, stage: str, command: bytes) -> HostReply:
        session.line.write(command, 1)
        await session.line.settle(self._settings.relay_greeting_seconds)
        return _take(session, stage)

    # TLS

    async def _starttls(self, session: _Session, tls: Tls) -> bool:
        """Give whether TLS was begun."""
        if "STARTTLS" not in (session.offered or {}):
            if tls is Tls.OPPORTUNISTIC:
                return False
            why = "TLS is required, and the host does not offer STARTTLS"
            raise session.failed("tls", 0, "4.7.4", why, TlsResult.NO_STARTTLS)
        reply = await self._say(session, "tls", b"STARTTLS\r\n")
        if reply.code // 100 == 2:
            await self._secure(session, tls)
            return True
        if tls is Tls.OPPORTUNISTIC and reply.code >= 400:
            return False
        raise session.failed("tls", reply.code, "4.7.4", reply.line, TlsResult.NO_STARTTLS)

    async def _secure(self, session: _Session, tls: Tls) -> None:
        """Shake hands and check the certificate as is demanded."""
        hop, line = session.hop, session.line
        verified = tls in (Tls.VERIFIED, Tls.IMPLICIT)
        records = usable(hop.tlsa) if tls is Tls.DANE else ()
        names = hop.names or (hop.host,)
        try:
            # SNI is the host's name: of the MX (RFC 8461 §8.3), and so the TLSA base domain (RFC 7672 §8.1)
            connection = await line.begin_tls(self._context(verified), hop.host, self._settings.relay_connect_seconds)
            if verified:
                check_names(connection, names)
            elif records:
                check_dane(connection, records, names)
        except LineBroken as gone:
            status = f"4{gone.fault.status[1:]}"
            raise session.failed("tls", gone.fault.code, status, gone.fault.text, TlsResult.OTHER) from None
        except Mistrusted as doubt:
            raise session.failed("tls", 0, "4.7.5", str(doubt), doubt.result) from None
        except ssl.SSLCertVerificationError as error:
            why = printable(f"the certificate: {error.verify_message}", 200)
            result = _VERIFY_RESULTS.get(error.verify_code, TlsResult.NOT_TRUSTED)
            raise session.failed("tls", 0, "4.7.5", why, result) from None
        except ssl.SSLError as error:
            why = printable((error.reason or "no TLS").replace("_", " ").lower(), 100)
            raise session.handshake_failed(f"TLS handshake: {why}") from None
        except (OSError, ValueError):  # cut or too slow; or a host name that cannot be one
            raise session.handshake_failed("TLS handshake: it was cut, or took too long") from None
        level = "verified" if verified else "dane" if records else "unverified"
        session.tls = f"{connection.version()} {(connection.cipher() or ('',))[0]} {level}"
        session.offered = None

    def _context(self, verified: bool) -> ssl.SSLContext:
        """Give the context, made once: reading the system's anchors takes milliseconds."""
        context = self._contexts.get(verified)
        if context is None:
            context = self._trust() if verified else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False  # certificates.py does, for several names
            context.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._contexts[verified] = context
        return context

    # AUTH

    async def _login(self, session: _Session, user: str, password: str) -> None:
        if not session.tls and (self._proxy is not None or not ipaddress.ip_address(session.hop.address).is_loopback):
            raise session.failed("auth", 0, "4.7.11", "the login is not given without TLS")
        offered = (session.offered or {}).get("AUTH", "").upper().split()
        plain = _base64(f"\0{user}\0{password}")
        if "PLAIN" in offered:
            steps = [b"AUTH PLAIN " + plain, plain]
        elif "LOGIN" in offered:
            steps = [b"AUTH LOGIN", _base64(user), _base64(password)]
        else:
            raise session.failed("auth", 0, "4.7.4", "the host offers neither AUTH PLAIN nor AUTH LOGIN")
        try:
            for step in steps:  # 334 asks for the next one: PLAIN's where the host wants no initial response
                reply = await self._say(session, "auth", step + b"\r\n")
                if reply.code != 334:
                    break
        except Failed as failure:
            failure.reply = _without(failure.reply, user, password)
            raise
        if reply.code // 100 != 2:
            status = f"4{reply.status[1:]}" if reply.status else "4.7.8"
            raise session.failed("auth", reply.code, status, _without(reply.line, user, password))


def _is_tested(hop: Hop) -> bool:
    """Whether there is a policy that demands more than the hop does."""
    return hop.sts is not None and not hop.sts.enforced and hop.tls in (Tls.OPPORTUNISTIC, Tls.REQUIRED)


def _take(session: _Session, stage: str) -> HostReply:
    try:
        return session.line.take()
    except LineBroken as gone:
        if stage == "ehlo" and session.tls and not gone.fault.code and session.offered is None:
            # TLS 1.3: the client ends its handshake before it can hear that the host refused it
            raise session.handshake_failed(f"after the TLS handshake: {gone.fault.text}") from None
        raise broken(stage, gone.fault, session.host, session.tls) from None


def _base64(text: str) -> bytes:
    return base64.b64encode(text.encode())


def _without(text: str, user: str, password: str) -> str:
    """Take out a password that a host repeats."""
    for secret in (password, *(_base64(one).decode() for one in (f"\0{user}\0{password}", password))):
        if secret:
            text = text.replace(secret, "***")
    return text


def _proxy(settings: EgressSettings) -> tuple[str, int, str, str] | None:
    if settings.relay_proxy is None:
        return None
    try:
        kind, host, port, user, password = parse_proxy_url(settings.relay_proxy.get_secret_value())
        if kind is ProxyType.SOCKS5:
            return host, port, user or "", password or ""
    except ValueError:
        pass
    raise SettingsError("refusing to start:\n  POSTHORN_RELAY_PROXY: must be socks5://[user:password@]host:port")
