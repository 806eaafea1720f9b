"""Where replies go: what a session needs of its connection."""

from __future__ import annotations

from typing import Protocol


class Outlet(Protocol):
    """The sending side of a connection."""

    def send(self, octets: bytes) -> None:
        """Collect output; it is written when the command is done, or at ``room``."""
        ...

    async def room(self) -> None:
        """Write what is collected and wait until the client takes more: at most some 500 KB are
        ever held. Raises ConnectionError when the client is gone. Call it at least once for each
        64 KiB that are sent."""
        ...

    def flush(self) -> None:
        """Write what is collected now; close afterwards, if that was asked for."""
        ...

    def close(self) -> None:
        """Close once the event under way is done and what is collected was taken."""
        ...

    def cut(self) -> None:
        """Close at once: a reply cannot be finished."""
        ...

    async def start_tls(self) -> None:
        """Write what is collected and shake hands for TLS. Raises OSError."""
        ...

    def start_deflate(self, octets: bytes) -> None:
        """Write what is collected, and compress both directions from here on; ``octets``: what
        has come already."""
        ...

    def claim(self, account: str, tenant: str) -> bool:
        """Take a place of the share of an account and its tenant, if there is one."""
        ...

    def unclaim(self) -> None:
        """Release it: the login came to nothing."""
        ...
