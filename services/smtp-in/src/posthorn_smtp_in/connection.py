"""What a session asks of the connection that it is spoken on."""

from __future__ import annotations

from typing import Protocol

from posthorn.wire.smtp.replies import Reply


class HangUp(Exception):
    """The session ends with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.kind)
        self.reply = reply


class Connection(Protocol):
    """What a session asks of the connection that it is spoken on."""

    @property
    def is_stressed(self) -> bool:
        """Whether places for connections run short."""
        ...

    def reply(self, reply: Reply) -> None:
        """Queue a reply."""
        ...

    async def start_tls(self) -> None:
        """Send what is queued and shake hands; the client's TLS is known then. Ends the session
        when it fails."""
        ...

    async def tarpit(self, seconds: float) -> None:
        """Let the client wait for its next reply."""
        ...

    def transaction_began(self) -> None:
        """Tell the connection limiter that a transaction has begun."""
        ...

    def transaction_ended(self) -> None:
        """Tell it that the transaction is over."""
        ...

    def claim(self, account: str, tenant: str) -> bool:
        """Take a place of the share of an account and its tenant, for a whole session; return
        whether there was one."""
        ...

    def hang_up(self, reply: Reply) -> None:
        """End the session with this reply as soon as no work of ours is under way."""
        ...
