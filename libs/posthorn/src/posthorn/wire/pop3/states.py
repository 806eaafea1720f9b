"""What may happen in which state of a POP3 session, the server's side (RFC 1939, RFC 2595, RFC
5034).

``TRANSITIONS`` is the protocol: a missing key *is* the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from posthorn.wire.pop3.events import (
    Capa,
    Challenge,
    Declined,
    Dele,
    Lang,
    List,
    Login,
    Mechanisms,
    Named,
    Noop,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    TokenLogin,
    Top,
    Uidl,
    Utf8,
)
from posthorn.wire.sasl_bearer import BEARER_MECHANISMS

MECHANISMS = ("PLAIN", "LOGIN")
"""SASL mechanisms; both send the password, so they are offered only where that is safe, as are those
for tokens."""


class State(Enum):
    """Where the session stands. AUTHORIZATION of RFC 1939 is split, since RFC 5034 and 2595 put
    exchanges inside it."""

    AUTHORIZATION = "authorization"
    NAMED = "named"
    """USER was received, PASS may follow."""
    CHALLENGED = "challenged"
    """The next line is a SASL response."""
    HANDSHAKE = "handshake"
    VERIFYING = "verifying"
    TRANSACTION = "transaction"
    UPDATE = "update"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Channel:
    """Properties of the connection at present."""

    passwords: bool
    """Whether a password may be sent: with TLS, or from this host."""
    stls: bool
    """Whether there is a certificate and no TLS yet."""
    tokens: bool = False
    """Whether tokens of an issuer are taken where passwords are (RFC 7628)."""

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """SASL mechanisms that are offered."""
        if not self.passwords:
            return ()
        return MECHANISMS + (BEARER_MECHANISMS if self.tokens else ())


@dataclass(frozen=True, slots=True)
class Accepted:
    """An outcome, not a command: the login succeeded and the maildrop is open."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An outcome: the login failed."""


@dataclass(frozen=True, slots=True)
class Explained:
    """An outcome: the token was refused, and the client is told why."""


@dataclass(frozen=True, slots=True)
class Secured:
    """An outcome: TLS is established."""


_BEFORE_LOGIN: dict[type, State] = {
    Capa: State.AUTHORIZATION,
    Utf8: State.AUTHORIZATION,
    Lang: State.AUTHORIZATION,
    Mechanisms: State.AUTHORIZATION,
    Named: State.NAMED,
    Challenge: State.CHALLENGED,
    Login: State.VERIFYING,
    TokenLogin: State.VERIFYING,
    Stls: State.HANDSHAKE,
    Quit: State.CLOSED,
}

TRANSITIONS: dict[State, dict[type, State]] = {
    State.AUTHORIZATION: _BEFORE_LOGIN,
    # CAPA between USER and PASS is harmless, and clients send it.
    State.NAMED: _BEFORE_LOGIN | {Capa: State.NAMED, Lang: State.NAMED},
    State.CHALLENGED: {
        Challenge: State.CHALLENGED,
        Login: State.VERIFYING,
        TokenLogin: State.VERIFYING,
        Declined: State.AUTHORIZATION,
    },
    State.HANDSHAKE: {Secured: State.AUTHORIZATION},
    State.VERIFYING: {
        Accepted: State.TRANSACTION,
        Rejected: State.AUTHORIZATION,
        Explained: State.CHALLENGED,
    },
    State.TRANSACTION: {
        **dict.fromkeys(
            (Capa, Lang, Stat, List, Uidl, Retr, Top, Dele, Noop, Rset), State.TRANSACTION
        ),
        Quit: State.UPDATE,
    },
    State.UPDATE: {},
    State.CLOSED: {},
}
"""The protocol: state and event (or outcome) to the next state."""

WAITING: Final = frozenset({State.HANDSHAKE, State.VERIFYING, State.UPDATE, State.CLOSED})
"""States that wait for an outcome, or for nothing any more."""
