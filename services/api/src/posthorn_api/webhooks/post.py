"""Posting to places that strangers name: no redirect, no private address, little time, little of the answer.

Rules (OWASP, Server-Side Request Forgery Prevention):

- The name is looked up here, every address is checked, and the connection goes to one that was: nobody can name one address to the
  check and another to the connection.
- Only addresses that are reachable on the Internet may be used, and those in networks that the settings list. IPv6 forms of IPv4
  addresses are looked through.
- The certificate is always verified, for the name in the URL. No proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore

from posthorn.model.public_addresses import Network, is_public, plain_ip
from posthorn.runtime.tls import verifying_context

_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
_ADDRESSES = 3
MOST_REPLY = 2048
"""Octets of an answer that are read."""


class Unreachable(Exception):
    """There was no answer; the message, for the webhook's owner, says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    text: str
    """Its beginning."""
    retry_after: float | None = None
    """Seconds that the receiver asks for."""


def may_reach(address: str, allowed: Sequence[Network]) -> bool:
    """Tell whether a webhook may lead to the address."""
    ip = plain_ip(address)
    return is_public(ip) or any(ip in network for network in allowed if network.version == ip.version)


class Poster:
    """Posts JSON. ``trust`` is another than the system's certificates in tests only."""

    def __init__(
        self, allowed: Sequence[Network] = (), *, trust: ssl.SSLContext | None = None, seconds: float = _SECONDS
    ) -> None:
        self._trust = trust or verifying_context()
        self._backend = _Backend(allowed)
        self._seconds = seconds

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Post the body once. Raises Unreachable."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(url, headers, body)
        except TimeoutError:
            raise Unreachable(f"no answer within {self._seconds:g} seconds") from None
        except ssl.SSLError as error:
            raise Unreachable(f"TLS: {getattr(error, 'verify_message', '') or error.reason}") from None
        except httpcore.ConnectError as error:
            cause = error.__context__
            if isinstance(cause, ssl.SSLError):
                raise Unreachable(f"TLS: {getattr(cause, 'verify_message', '') or cause.reason}") from None
            raise Unreachable("the connection failed") from None
        except (OSError, EOFError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise Unreachable(f"the connection failed ({type(error).__name__})") from None

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        fields = {
            "Content-Type": "application/json",
            "User-Agent": "posthorn",
            "Accept-Encoding": "identity",
            **headers,
        }
        sent = [("Host", urlsplit(url).netloc), *fields.items(), ("Content-Length", str(len(body)))]
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._trust, network_backend=self._backend) as pool,
            pool.stream("POST", url, headers=sent, content=body) as response,
        ):
            octets = b""
            async for part in response.aiter_stream():
                octets += part
                if len(octets) >= MOST_REPLY:
                    break  # what is left is not read: the connection is closed
            text = octets[:MOST_REPLY].decode("utf-8", "replace")
            return Reply(response.status, text, _retry_after(response.headers))


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that may be reached, and to no others."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look the name up, and connect to what it comes to."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Unreachable("the host's name is not known") from None
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        usable = [address for address in addresses if may_reach(address.partition("%")[0], self._allowed)]
        if not usable:
            raise Unreachable("the host has no address that a webhook may lead to")
        fault: Exception | None = None
        for address in usable[:_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(address, port, _CONNECT_SECONDS)
            except (OSError, httpcore.NetworkError, httpcore.TimeoutException) as error:
                fault = error
        raise Unreachable(f"the host cannot be reached ({type(fault).__name__})")


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    for name, value in headers:
        if name.lower() == b"retry-after" and value.strip().isdigit() and len(value) < 8:
            return float(value)
    return None
