"""Events of an IMAP session on the server side, frozen.

An event with a ``reply`` has the whole answer. Passwords and responses of SASL never appear in a
``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from posthorn.wire.imap.append import MessageOptions, Target
from posthorn.wire.imap.commands import Command

CONTINUE = b"+ OK\r\n"
"""The continuation that a synchronising literal waits for."""


@dataclass(frozen=True, slots=True)
class Request:
    """A command that the state permits; the machine pauses until ``ready`` or another outcome."""

    tag: bytes
    command: Command


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that is not valid or not permitted; ``reply`` is the whole answer.

    When it ends an APPEND, what came of its messages is to be discarded.
    """

    reply: bytes


@dataclass(frozen=True, slots=True)
class Continue:
    """The client waits for a continuation; ``reply`` is to be sent at once."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Fatal:
    """The end of the next command cannot be found; send ``reply`` and close."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class SaslResponse:
    """A response of the exchange that AUTHENTICATE began; the machine pauses for its outcome."""

    tag: bytes
    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """APPEND or REPLACE announces a message; the machine pauses until ``accept`` or ``refuse``."""

    tag: bytes
    target: Target
    options: MessageOptions
    size_bytes: int
    is_binary: bool
    """Whether it may contain NUL (literal8, RFC 3516 §4.4)."""
    index: int
    """0 for the first message of the command (RFC 3502)."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of the message that was accepted."""

    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppendEnd:
    """The command is complete with so many messages; the machine pauses until ``ready``."""

    tag: bytes
    messages: int


type Event = (
    Request | Refused | Continue | Fatal | SaslResponse | AppendMessage | Content | AppendEnd
)
"""Events that ``next_event`` returns, besides the two signals."""
