"""The library's client: what nats-py does differently from what Posthorn needs, overridden in
one place."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client

from posthorn.runtime.tls import verifying_context

CONNECT_SECONDS = 2
"""Time limit of connecting, and of the flush that ends a reconnect."""
FAULTS = (nats.errors.Error, OSError, TimeoutError)
"""Exceptions of the library that mean Unavailable."""


class ReconnectingClient(Client):
    """nats-py's client, except that a reconnect neither waits for a dead peer nor sends what was
    buffered for it."""

    async def _attempt_reconnect(self) -> None:
        # The library waits for the old socket to close until all bytes are sent: minutes, when the
        # peer has vanished.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        # The senders of unsent messages are told 451; sent later, these would be duplicates.
        self._pending: list[bytes] = []
        self._pending_data_size = 0
        await super()._attempt_reconnect()

    async def flush(self, timeout: int = CONNECT_SECONDS) -> None:
        # a reconnect ends with a flush, and the library would wait ten seconds for a silent peer
        await super().flush(timeout)


async def close_quietly(client: Client) -> None:
    """Close a client within a second, ignoring its errors."""
    if not client.is_closed:
        with suppress(Exception):  # one that never connected cannot be closed
            async with asyncio.timeout(1):
                await client.close()


def describe(error: BaseException | None) -> str:
    """Return type and text of an error without credentials of URLs; empty for None."""
    text = f"{type(error).__name__}: {error}" if error is not None else ""
    return re.sub(r"//[^/@\s]*@", "//", text)


def login_options(
    servers: Sequence[str], user: str | None, password: str | None, creds_file: Path | None
) -> dict[str, Any]:
    """Return the library's options of the login and of TLS. A user without a password is a
    token."""
    options: dict[str, Any] = {}
    if creds_file is not None:
        options["user_credentials"] = str(creds_file)
    elif password is not None:
        options["user"], options["password"] = user, password
    elif user is not None:
        options["token"] = user
    if any(server.startswith(("tls:", "wss:")) for server in servers):
        options["tls"] = verifying_context()
    return options
