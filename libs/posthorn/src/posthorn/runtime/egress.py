"""Connections to hosts named by users: the name is resolved here, and only permitted addresses are
connected to.

Rules (OWASP, Server-Side Request Forgery Prevention):

- Every address of the name is checked, and the connection goes to a checked one: DNS cannot return
  one address to the check and another to the connection.
- No proxy of the environment is used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore

_MAX_ADDRESSES = 3

type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host name; its errors pass through."""
type Select = Callable[[Sequence[str]], Sequence[str]]
"""Returns those of the addresses that may be connected to, in the order to try."""
type Connect = Callable[[str, int, float], Awaitable[httpcore.AsyncNetworkStream]]
"""Connects to an IP address and port within so many seconds."""


class NoAllowedAddress(Exception):
    """The host has no address that may be connected to."""


class HostUnreachable(Exception):
    """No connection to an allowed address was made; the message is the type of the last error."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """A network backend of httpcore for URLs given by users.

    One address gets at most ``address_seconds`` and all of them together ``total_seconds``.
    ``faults`` are the errors of ``connect`` after which the next address is tried.
    """

    def __init__(
        self,
        resolve: Resolve,
        select: Select,
        connect: Connect,
        *,
        address_seconds: float,
        total_seconds: float,
        faults: tuple[type[Exception], ...] = (
            OSError,
            httpcore.NetworkError,
            httpcore.TimeoutException,
        ),
    ) -> None:
        self._resolve = resolve
        self._select = select
        self._connect = connect
        self._address_seconds = address_seconds
        self._total_seconds = total_seconds
        self._faults = faults

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an allowed address of the host. Raises NoAllowedAddress, HostUnreachable,
        and what ``resolve`` raises."""
        addresses = self._select(await self._resolve(host, port))[:_MAX_ADDRESSES]
        if not addresses:
            raise NoAllowedAddress(host)
        seconds = min(self._address_seconds, self._total_seconds / len(addresses))
        fault: Exception | None = None
        for address in addresses:
            try:
                return await self._connect(address, port, seconds)
            except self._faults as error:
                fault = error
        raise HostUnreachable(type(fault).__name__) from fault
