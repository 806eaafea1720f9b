"""Posting to places that strangers name: no redirect, no private address, little time, little of
the answer.

Rules (OWASP, Server-Side Request Forgery Prevention):

- The name is resolved and its addresses are checked by ``runtime.egress``. Only public addresses
  may be used, and those in networks that the settings list.
- The certificate is always verified, for the name in the URL.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore

from posthorn.model.ip_addresses import PUBLIC_ADDRESSES, AddressPolicy
from posthorn.runtime.egress import GuardedBackend, HostUnreachable, NoAllowedAddress
from posthorn.runtime.tls import verifying_context

_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
MOST_REPLY = 2048
"""Bytes of an answer that are read."""


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


class Poster:
    """Posts JSON. ``trust`` is another than the system's certificates in tests only."""

    def __init__(
        self,
        policy: AddressPolicy = PUBLIC_ADDRESSES,
        *,
        trust: ssl.SSLContext | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        self._trust = trust or verifying_context()
        self._policy = policy
        self._connector = httpcore.AnyIOBackend()
        self._backend = GuardedBackend(
            _resolve,
            self._allowed,
            self._connect,
            address_seconds=_CONNECT_SECONDS,
            total_seconds=_SECONDS,
        )
        self._seconds = seconds

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Post the body once. Raises Unreachable."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(url, headers, body)
        except TimeoutError:
            raise Unreachable(f"no answer within {self._seconds:g} seconds") from None
        except NoAllowedAddress:
            raise Unreachable("the host has no address that a webhook may lead to") from None
        except HostUnreachable as error:
            raise Unreachable(f"the host cannot be reached ({error})") from None
        except ssl.SSLError as error:
            raise Unreachable(
                f"TLS: {getattr(error, 'verify_message', '') or error.reason}"
            ) from None
        except httpcore.ConnectError as error:
            cause = error.__context__
            if isinstance(cause, ssl.SSLError):
                raise Unreachable(
                    f"TLS: {getattr(cause, 'verify_message', '') or cause.reason}"
                ) from None
            raise Unreachable("the connection failed") from None
        except (
            OSError,
            EOFError,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
        ) as error:
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
            httpcore.AsyncConnectionPool(
                ssl_context=self._trust, network_backend=self._backend
            ) as pool,
            pool.stream("POST", url, headers=sent, content=body) as response,
        ):
            data = b""
            async for part in response.aiter_stream():
                data += part
                if len(data) >= MOST_REPLY:
                    break  # what is left is not read: the connection is closed
            text = data[:MOST_REPLY].decode("utf-8", "replace")
            return Reply(response.status, text, _retry_after(response.headers))

    def _allowed(self, addresses: Sequence[str]) -> Sequence[str]:
        return [address for address in addresses if self._policy.allows(address.partition("%")[0])]

    async def _connect(
        self, address: str, port: int, seconds: float
    ) -> httpcore.AsyncNetworkStream:
        return await self._connector.connect_tcp(address, port, seconds)


async def _resolve(host: str, port: int) -> Sequence[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable("the host's name is not known") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    for name, value in headers:
        if name.lower() == b"retry-after" and value.strip().isdigit() and len(value) < 8:
            return float(value)
    return None
