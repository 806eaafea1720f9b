"""Fetching MTA-STS policies over HTTPS (RFC 8461 §3.3): no redirect, only text/plain, at most 64
KiB.

Connections are made like those to mail hosts: to addresses that the relay's own resolver returns,
from its bind address, through its proxy. From an address that mail is not sent to, no policy is
fetched.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import httpcore
from python_socks import ProxyError
from python_socks.async_.asyncio import Proxy

from posthorn.ports.resolver import LookupFailed, Resolver
from posthorn.runtime.egress import GuardedBackend, HostUnreachable, NoAllowedAddress
from posthorn.runtime.tls import verifying_context
from posthorn.wire.mta_sts import MAX_POLICY_OCTETS, Policy, PolicyError, parse_policy
from posthorn_relay.routing.addresses import HostAddresses
from posthorn_relay.settings import EgressSettings

_SECONDS = 10.0


class FetchFailed(Exception):
    """No policy was fetched; the message says why."""


class PolicyFetcher:
    """Fetches policies. ``trust`` and ``port`` differ from the system's certificates and 443
    only in tests."""

    def __init__(
        self,
        settings: EgressSettings,
        resolver: Resolver,
        *,
        trust: ssl.SSLContext | None = None,
        port: int = 443,
    ) -> None:
        self._trust = trust or verifying_context()
        self._settings = settings
        self._resolver = resolver
        self._port = port
        self._backend = GuardedBackend(
            self._resolve,
            HostAddresses.from_settings(settings).allowed,
            self._connect,
            address_seconds=_SECONDS,
            total_seconds=_SECONDS,
            faults=(OSError, ProxyError),
        )

    async def fetch(self, domain: str) -> Policy:
        """Return the domain's policy. Raises FetchFailed."""
        try:
            async with asyncio.timeout(_SECONDS):
                return parse_policy(await self._get(domain))
        except TimeoutError:
            raise FetchFailed("no answer in time") from None
        except (PolicyError, LookupFailed) as error:
            raise FetchFailed(str(error)) from None
        except NoAllowedAddress:
            raise FetchFailed("its host has no address that could be used") from None
        except HostUnreachable as error:
            raise FetchFailed(f"its host cannot be reached ({error})") from None
        except ssl.SSLError as error:
            raise FetchFailed(
                f"TLS: {getattr(error, 'verify_message', '') or error.reason}"
            ) from None
        except (
            OSError,
            EOFError,
            ProxyError,
            httpcore.NetworkError,
            httpcore.ProtocolError,
        ) as error:
            raise FetchFailed(f"the connection failed ({type(error).__name__})") from None

    async def _get(self, domain: str) -> bytes:
        headers = [
            (b"Accept", b"text/plain"),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", b"posthorn-relay"),
        ]
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._trust, network_backend=self._backend
            ) as pool,
            pool.stream("GET", url, headers=headers) as response,
        ):
            if response.status != 200:
                raise FetchFailed(f"the answer has status {response.status}")
            fields = {name.lower(): value.strip().lower() for name, value in response.headers}
            if fields.get(b"content-type", b"").partition(b";")[0].strip() != b"text/plain":
                raise FetchFailed("the answer is not text/plain")
            if fields.get(b"content-encoding", b"identity") != b"identity":
                raise FetchFailed("the answer is encoded")
            content = b""
            async for part in response.aiter_stream():
                content += part
                if len(content) > MAX_POLICY_OCTETS:
                    raise FetchFailed(f"the answer is longer than {MAX_POLICY_OCTETS} octets")
            return content

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        found, _ = await self._resolver.addresses(host)
        return found

    async def _connect(
        self, address: str, port: int, seconds: float
    ) -> httpcore.AsyncNetworkStream:
        async with asyncio.timeout(seconds):
            return _Stream(*await self._open(address))

    async def _open(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._settings.relay_proxy is not None:
            proxy = Proxy.from_url(self._settings.relay_proxy.get_secret_value())
            made = await proxy.connect(dest_host=address, dest_port=self._port)
            return await asyncio.open_connection(sock=made)
        is_ipv6 = ipaddress.ip_address(address).version == 6
        local = self._settings.relay_bind_ipv6 if is_ipv6 else self._settings.relay_bind_ipv4
        return await asyncio.open_connection(
            address,
            self._port,
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            local_addr=(local, 0) if local else None,
        )


class _Stream(httpcore.AsyncNetworkStream):
    """One connection; the timeout is that of the whole fetch."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._writer.write(buffer)
        await self._writer.drain()

    async def aclose(self) -> None:
        transport = self._writer.transport
        transport.abort()  # the answer was read whole or is not wanted

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException:
            self._writer.transport.abort()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        return self._writer.get_extra_info("ssl_object") if info == "ssl_object" else None
