"""The events of an SMTP session as the server sees them, besides the commands (RFC 5321, RFC 3030,
RFC 4954).

Commands are events of their own (``wire.smtp.commands``). Passwords never show in a ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass

from posthorn.wire.sasl_bearer import Bearer
from posthorn.wire.smtp.commands import (
    Bdat,
    Data,
    Ehlo,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
)
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import Secret


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that cannot be obeyed; answer with ``reply``."""

    reply: Reply
    is_error: bool = True
    """Whether it is a mistake of the client; RCPT commands that were all refused before are
    none."""


@dataclass(frozen=True, slots=True)
class Fatal:
    """What follows cannot be understood: answer with ``reply`` and close. The machine is CLOSED."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Challenge:
    """AUTH goes on; answer with ``reply``."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Login:
    """Name and password are complete. The machine pauses until ``accepted`` or ``rejected``."""

    secret: Secret


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A token is complete. The machine pauses until ``accepted``, ``rejected`` or ``explained``."""

    bearer: Bearer


@dataclass(frozen=True, slots=True)
class Declined:
    """The client has taken the reason why its token was refused; answer that the login failed."""


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of the message, with dots taken off and whole line ends."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class BareLineEnd:
    """The message has a bare CR or LF and must be refused at its end; no more of its content is
    returned."""


@dataclass(frozen=True, slots=True)
class ChunkEnd:
    """A chunk that is not the last one is complete."""

    size: int
    """Bytes of the chunk."""


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The message is complete. The machine pauses until ``concluded``."""


type Event = (
    Ehlo | Helo | Mail | Rcpt | Data | Bdat | StartTls | Rset | Noop | Vrfy | Help | Quit
    | Refused | Fatal | Challenge | Login | TokenLogin | Declined | Content | BareLineEnd | ChunkEnd
    | MessageEnd
)  # fmt: skip
"""What ``Machine.next_event`` returns besides the two signals."""
