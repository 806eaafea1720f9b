"""What may happen in which state of an SMTP session, the server's side (RFC 5321 §4.1.4, RFC
3030 §2, RFC 3207, RFC 4954)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import (
    Auth,
    Bdat,
    Data,
    Ehlo,
    Expn,
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
from posthorn.wire.smtp.events import (
    BareLineEnd,
    Challenge,
    ChunkEnd,
    Content,
    Declined,
    Login,
    MessageEnd,
    Refused,
    TokenLogin,
)
from posthorn.wire.smtp.replies import Reply


class State(Enum):
    """Where a session stands."""

    # members are looked up for each command; Enum hashes their names, in Python
    __hash__ = object.__hash__

    FRESH = "fresh"
    """Neither EHLO nor HELO yet, or TLS has just begun."""
    READY = "ready"
    CHALLENGED = "challenged"
    """The next line is a SASL response."""
    VERIFYING = "verifying"
    HANDSHAKE = "handshake"
    SENDER = "sender"
    """MAIL is being judged."""
    MAIL = "mail"
    """A reverse-path is known, no recipient is."""
    FIRST_RECIPIENT = "first recipient"
    """RCPT is being judged; no recipient is known."""
    RCPT = "rcpt"
    """At least one recipient is known."""
    NEXT_RECIPIENT = "next recipient"
    """RCPT is being judged; a recipient is known."""
    DATA = "data"
    """The message comes in by DATA."""
    CHUNK = "chunk"
    """A chunk comes in by BDAT."""
    CHUNKS = "chunks"
    """A first BDAT has come, the last one has not."""
    COMPLETE = "complete"
    """The message is complete and is being decided on."""
    CLOSED = "closed"


PASSWORD_MECHANISMS: Final = ("PLAIN", "LOGIN")


class Offer(Enum):
    """Whether AUTH can be used."""

    NEVER = "never"
    AFTER_TLS = "after TLS"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Channel:
    """What the connection allows at this moment."""

    tls: bool = False
    """TLS is active."""
    starttls: bool = False
    """There is a certificate for STARTTLS."""
    auth: Offer = Offer.NEVER
    """Where it is not NEVER, MAIL needs a login (RFC 6409 §4.3)."""
    mechanisms: tuple[str, ...] = PASSWORD_MECHANISMS
    """SASL mechanisms where AUTH can be used."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An outcome, not a command: the sender, the recipient or the login is accepted."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An outcome: it is not."""


@dataclass(frozen=True, slots=True)
class Explained:
    """An outcome: the token was refused, and the client is told why."""


@dataclass(frozen=True, slots=True)
class Concluded:
    """An outcome: the message was answered."""


@dataclass(frozen=True, slots=True)
class Secured:
    """An outcome: TLS stands."""


def _commands(here: State, reset: State = State.READY) -> dict[type, State | Reply]:
    """Return what may come anywhere (RFC 5321 §4.1.4); EHLO and HELO reset a transaction."""
    return {
        **dict.fromkeys((Noop, Vrfy, Help), here),
        **dict.fromkeys((Ehlo, Helo), State.READY),
        Rset: reset,
        Quit: State.CLOSED,
        Expn: smtp.NOT_IMPLEMENTED,
    }


TRANSITIONS: dict[State, dict[type, State | Reply]] = {
    State.FRESH: {
        **_commands(State.FRESH, State.FRESH),
        **dict.fromkeys((Mail, Rcpt, Data, Bdat, Auth), smtp.HELLO_FIRST),
        StartTls: State.HANDSHAKE,
    },
    State.READY: {
        **_commands(State.READY),
        **dict.fromkeys((Rcpt, Data, Bdat), smtp.MAIL_FIRST),
        Mail: State.SENDER,
        StartTls: State.HANDSHAKE,
        Auth: State.CHALLENGED,
    },
    State.CHALLENGED: {
        Challenge: State.CHALLENGED,
        Login: State.VERIFYING,
        TokenLogin: State.VERIFYING,
        Declined: State.READY,
        Refused: State.READY,
    },
    State.VERIFYING: {
        Accepted: State.READY,
        Rejected: State.READY,
        Explained: State.CHALLENGED,
    },
    State.HANDSHAKE: {Secured: State.FRESH},
    State.SENDER: {Accepted: State.MAIL, Rejected: State.READY},
    State.MAIL: {
        **_commands(State.MAIL),
        **dict.fromkeys((Mail, StartTls, Auth), smtp.NESTED_MAIL),
        **dict.fromkeys((Data, Bdat), smtp.RCPT_FIRST),
        Rcpt: State.FIRST_RECIPIENT,
    },
    State.FIRST_RECIPIENT: {Accepted: State.RCPT, Rejected: State.MAIL},
    State.RCPT: {
        **_commands(State.RCPT),
        **dict.fromkeys((Mail, StartTls, Auth), smtp.NESTED_MAIL),
        Rcpt: State.NEXT_RECIPIENT,
        Data: State.DATA,
        Bdat: State.CHUNK,
    },
    State.NEXT_RECIPIENT: {Accepted: State.RCPT, Rejected: State.RCPT},
    State.DATA: {Content: State.DATA, BareLineEnd: State.DATA, MessageEnd: State.COMPLETE},
    State.CHUNK: {
        Content: State.CHUNK,
        BareLineEnd: State.CHUNK,
        ChunkEnd: State.CHUNKS,
        MessageEnd: State.COMPLETE,
    },
    State.CHUNKS: {
        **_commands(State.CHUNKS),
        **dict.fromkeys((Mail, Rcpt, Data, StartTls, Auth), smtp.CHUNKS_OPEN),
        Bdat: State.CHUNK,
    },
    State.COMPLETE: {Concluded: State.READY},
    State.CLOSED: {},
}
"""The protocol: state and event (or outcome) to the state that follows, or to the reply that
refuses the command."""

WAITING = frozenset(
    state
    for state, row in TRANSITIONS.items()
    if row.keys() <= {Accepted, Rejected, Explained, Concluded, Secured}
)
"""States that wait for an outcome, or for nothing any more."""
RECEIVING = frozenset({State.DATA, State.CHUNK, State.CHUNKS, State.COMPLETE})
"""States in which a message is coming in, or is complete and not answered yet."""
