"""Answers of a host to commands, and whether they can be answers to them at all (RFC 5321 §4.3.2)."""

from __future__ import annotations

from posthorn.wire.smtp.client_replies import HostReply
from posthorn_relay.smtp.protocol import ClientProtocol, Fault


class Answers:
    """The replies of one connection, command by command. What is raised is ConnectionFailed."""

    def __init__(self, protocol: ClientProtocol, *, pipelining: bool) -> None:
        """``pipelining``: commands have been sent, and their replies waited for, when they are
        asked about here."""
        self._protocol = protocol
        self._pipelining = pipelining

    async def to(self, command: bytes, seconds: float) -> HostReply:
        """Return the reply to a command, which is sent now unless commands are pipelined."""
        if self._pipelining:
            return self._protocol.next_reply()
        return await self._protocol.request(command, seconds)

    def unless_positive(self, reply: HostReply) -> HostReply | None:
        """Return a refusal, None for what is none."""
        return None if self.is_positive(reply) else reply

    def is_positive(self, reply: HostReply) -> bool:
        """Return whether a command was obeyed. Raises for a reply that asks for more."""
        if reply.code // 100 == 3:
            self.out_of_order()
        return reply.code < 300

    def expect_positive(self, reply: HostReply) -> None:
        """Raise unless a command was obeyed that cannot be refused."""
        if not self.is_positive(reply):
            self.out_of_order()

    def out_of_order(self) -> None:
        """Fail the connection: host and client are out of step, and no reply can be assigned."""
        self._protocol.fail(
            Fault(0, "4.5.0", "the host gave a reply that does not fit the command")
        )
        self._protocol.replies.clear()
        self._protocol.next_reply()
