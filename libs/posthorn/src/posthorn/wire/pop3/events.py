"""The events of a POP3 session as the server sees them, frozen (RFC 1939, RFC 2449, RFC 5034, RFC 6856).

Those that carry a ``reply`` carry the whole answer; the answers to the others are the session's. Passwords never show
in a ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Refused:
    """The line was no command that may come now; ``reply`` is the whole answer."""

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
    """USER; answer +OK whoever it is, so that names cannot be probed."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """AUTH goes on; ``reply`` is the continuation to send."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Login:
    """Name and password are complete. The machine pauses until ``accepted`` or ``rejected``.

    Octets that are no UTF-8 come as lone surrogates, which no address and no password holds.
    """

    name: str
    password: str = field(repr=False)
    authorize_as: str = ""
    """SASL PLAIN's authorization identity, empty when it is the name's own (RFC 4616 §2)."""


@dataclass(frozen=True, slots=True)
class Stls:
    """STLS; answer +OK, shake hands, then say ``secured``."""


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
    Refused | Capa | Utf8 | Lang | Mechanisms | Named | Challenge | Login | Stls | Quit
    | Stat | List | Uidl | Retr | Top | Dele | Noop | Rset
)  # fmt: skip
"""What ``next_event`` gives besides the two signals."""
