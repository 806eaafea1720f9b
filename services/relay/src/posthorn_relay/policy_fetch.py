"""Fetching MTA-STS policies over HTTPS (RFC 8461 §3.3): no redirect, no other type than text/plain, no more than 64 KiB.

Connections are made as those to mail hosts are: to addresses that the relay's own resolver gives, from its bind address, by its
proxy. Where a name leads to an address that mail is not sent to, no policy is fetched from it either.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
from python_socks import ProxyError
from python_socks.async_.asyncio import Proxy

from posthorn.ports.resolver import LookupFailed, Resolver
from posthorn.runtime.tls import verifying_context
from posthorn.wire.mta_sts import MAX_POLICY_OCTETS, Policy, PolicyError, parse_policy
from posthorn_relay.reach import Reach
from posthorn_relay.settings import EgressSettings

_SECONDS = 10.0
_ADDRESSES = 3


class FetchFailed(Exception):
    """There is no policy to be had; the message says why."""


class PolicyFetcher:
    """Fetches policies. ``trust`` and ``port`` are others than the system's certificates and 443 only in tests."""

    def __init__(
        self, settings: EgressSettings, resolver: Resolver, *, trust: ssl.SSLContext | None = None, port: int = 443
    ) -> None:
        self._trust = trust or verifying_context()
        self._backend = _Backend(settings, resolver, port)

    async def fetch(self, domain: str) -> Policy:
        """Give the domain's policy. Raises FetchFailed."""
        try:
            async with asyncio.timeout(_SECONDS):
                return parse_policy(await self._get(domain))
        except TimeoutError:
            raise FetchFailed("no answer in time") from None
        except PolicyError as error:
            raise FetchFailed(str(error)) from None
        except LookupFailed as error:
            raise FetchFailed(str(error)) from None
        except ssl.SSLError as error:
            raise FetchFailed(f"TLS: {getattr(error, 'verify_message', '') or error.reason}") from None
        except (OSError, EOFError, ProxyError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise FetchFailed(f"the connection failed ({type(error).__name__})") from None

    async def _get(self, domain: str) -> bytes:
        headers = [(b"Accept", b"text/plain"), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"posthorn-relay")]
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._trust, network_backend=self._backend) as pool,
            pool.stream("GET", url, headers=headers) as response,
        ):
            if response.status != 200:
                raise FetchFailed(f"the answer has status {response.status}")
            fields = {name.lower(): value.strip().lower() for name, value in response.headers}
            if fields.get(b"content-type", b"").partition(b";")[0].strip() != b"text/plain":
                raise FetchFailed("the answer is not text/plain")
            if fields.get(b"content-encoding", b"identity") != b"identity":
                raise FetchFailed("the answer is encoded")
            octets = b""
            async for part in response.aiter_stream():
                octets += part
                if len(octets) > MAX_POLICY_OCTETS:
                    raise FetchFailed(f"the answer is longer than {MAX_POLICY_OCTETS} octets")
            return octets


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects the relay's way; names go to the relay's resolver."""

    def __init__(self, settings: EgressSettings, resolver: Resolver, port: int) -> None:
        self._settings = settings
        self._resolver = resolver
        self._reach = Reach.of(settings)
        self._port = port

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found, _ = await self._resolver.addresses(host)
        addresses = self._reach.sendable(found)[:_ADDRESSES]
        if not addresses:
            raise FetchFailed("its host has no address that could be used")
        fault: Exception | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(_SECONDS / len(addresses)):
                    return _Stream(*await self._open(address))
            except (OSError, ProxyError) as error:  # TimeoutError is an OSError
                fault = error
        raise FetchFailed(f"its host cannot be reached ({type(fault).__name__})")

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
    """One connection; the time limit is that of the whole fetch."""

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
        transport.abort()  # the answer is read whole or not wanted: nothing is worth waiting for

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException:
            self._writer.transport.abort()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        return self._writer.get_extra_info("ssl_object") if info == "ssl_object" else None
