"""How long a whole transaction may take, besides the timeout of each reply (RFC 5321 §4.5.3.2).

A host that does next to nothing must not keep its connection for days: the commands have as long as
the slowest host may take for one recipient, and a little for every further one; the content as long
as it may pause, and its bytes at the minimum rate. The wait after the end of data is not cut short.
Time spent waiting for the store does not count.
"""

from __future__ import annotations

from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.content import Content
from posthorn_relay.smtp.protocol import ClientProtocol

_RECIPIENT_SECONDS = 10.0


class TimeLimits:
    """Sets the deadline of a connection at each stage of a transaction."""

    def __init__(self, protocol: ClientProtocol, settings: EgressSettings) -> None:
        self._protocol = protocol
        self._settings = settings

    def begin_commands(self, recipients: int, *, reset: bool) -> None:
        """Limit the commands up to DATA; ``reset``: RSET is one of them."""
        settings = self._settings
        seconds = settings.relay_data_seconds + settings.relay_greeting_seconds * (
            3 if reset else 2
        )
        self._set(seconds + _RECIPIENT_SECONDS * (recipients - 1))

    def begin_content(self, size: int) -> None:
        """Limit the content, of so many bytes."""
        self._set(self._settings.relay_block_seconds + size / self._settings.relay_least_rate)

    async def advance(self, content: Content) -> None:
        """Read the next block; this time does not count as the host's."""
        protocol, began = self._protocol, self._protocol.time()
        await content.advance()
        if protocol.deadline is not None:
            protocol.deadline += protocol.time() - began

    def end(self) -> None:
        """Limit nothing but each reply."""
        self._protocol.deadline = None

    def _set(self, seconds: float) -> None:
        self._protocol.deadline = self._protocol.time() + seconds
