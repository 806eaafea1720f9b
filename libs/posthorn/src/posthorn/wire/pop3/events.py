"""Events of a POP3 session on the server side, frozen (RFC 1939, RFC 2449, RFC 5034, RFC 6856).

An event with a ``reply`` has the whole answer; the session answers the others. Passwords never
appear in a ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from posthorn.wire.sasl_bearer import Bearer


@dataclass(frozen=True, slots=True)
class Refused:
    """The line is not a command permitted in this state; ``reply`` is the whole answer."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Capa:
    """CAPA; answer with ``Machine.capabilities``."""


@dataclass(frozen=True, slots=True)
class Utf8:
    """UTF8 (RFC 6856 §2.1); answer +OK."""


@dataclass(frozen=True, slots=True)
class Lang:
    """LANG (RFC 6856 §3); ``reply`` is the whole answer."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Mechanisms:
    """AUTH without argument; ``reply`` is the whole answer."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """USER; always answer +OK, so that names cannot be probed."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """AUTH goes on; ``reply`` is the continuation to send."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Login:
    """Name and password are complete. The machine pauses until ``accepted`` or ``rejected``.

    Bytes that are not UTF-8 are lone surrogates, which no address and no password contains.
    """

    name: str
    password: str = field(repr=False)
    authorize_as: str = ""
    """SASL PLAIN's authorization identity; empty for that of the name (RFC 4616 §2)."""


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A token is complete. The machine pauses until ``accepted``, ``rejected`` or ``explain``."""

    bearer: Bearer


@dataclass(frozen=True, slots=True)
class Declined:
    """The client has taken the reason why its token was refused; answer -ERR."""


@dataclass(frozen=True, slots=True)
class Stls:
    """STLS; answer +OK, do the handshake, then call ``secured``."""


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT; after login the state is now UPDATE."""


@dataclass(frozen=True, slots=True)
class Stat:
    """STAT."""


@dataclass(frozen=True, slots=True)
class List:
    """LIST, of one message or of all."""

    number: int | None


@dataclass(frozen=True, slots=True)
class Uidl:
    """UIDL, of one message or of all."""

    number: int | None


@dataclass(frozen=True, slots=True)
class Retr:
    """RETR."""

    number: int


@dataclass(frozen=True, slots=True)
class Top:
    """TOP: the header and that many lines of the body."""

    number: int
    lines: int


@dataclass(frozen=True, slots=True)
class Dele:
    """DELE."""

    number: int


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP."""


@dataclass(frozen=True, slots=True)
class Rset:
    """RSET."""


type Event = (
    Refused | Capa | Utf8 | Lang | Mechanisms | Named | Challenge | Login | TokenLogin | Declined
    | Stls | Quit | Stat | List | Uidl | Retr | Top | Dele | Noop | Rset
)  # fmt: skip
"""Events that ``next_event`` returns, besides the two signals."""
