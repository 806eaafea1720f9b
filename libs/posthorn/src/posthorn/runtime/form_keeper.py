"""What was made of the bodies of messages (headers, envelopes, structures), kept for the next time.

Rules:

- It is kept at the end of a command, and before that whenever it has come to ``MOST_BYTES``.
- A fault costs only time, the next time.
"""

from __future__ import annotations

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import Kept, MailboxView

log = structlog.get_logger()

MOST_BYTES = 1024 * 1024
"""Bytes of forms beyond which they are kept at once."""


class FormKeeper:
    """Keeps what one command makes."""

    def __init__(self, view: MailboxView) -> None:
        self._view = view
        self._made: list[Kept] = []
        self._bytes = 0

    def note(self, made: Kept) -> None:
        """Note what was made of a message."""
        self._made.append(made)
        self._bytes += sum(
            len(form or b"") for form in (made.header, made.envelope, made.structure)
        )

    async def keep_if_much(self) -> None:
        """Keep what was noted if it is more than ``MOST_BYTES``."""
        if self._bytes > MOST_BYTES:
            await self.keep()

    async def keep(self) -> None:
        """Keep what was noted."""
        made, self._made, self._bytes = self._made, [], 0
        if made:
            try:
                await self._view.keep(made)
            except Unavailable as error:
                log.warning("forms of messages not kept", fault=error)
