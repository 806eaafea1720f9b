"""States of an IMAP session, and the commands that each permits (RFC 9051 §3, §6).

``COMMANDS`` is the protocol; a verb that is missing *is* the error.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

from posthorn.wire.imap.capabilities import CAPABILITIES
from posthorn.wire.imap.commands import Authenticate, Command, Login, StartTls
from posthorn.wire.imap.reader import BadCommand


class State(Enum):
    """States of RFC 9051 §3."""

    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"
    LOGOUT = "logout"


PASSWORD_MECHANISMS: Final = ("PLAIN", "LOGIN")


@dataclass(frozen=True, slots=True)
class Channel:
    """Properties of the connection at present."""

    passwords: bool
    """Whether a password may be sent: with TLS, or from this host."""
    starttls: bool
    """Whether there is a certificate and no TLS yet."""
    mechanisms: tuple[str, ...] = PASSWORD_MECHANISMS
    """Mechanisms of AUTHENTICATE where passwords may be sent."""


ANY: Final = frozenset({"CAPABILITY", "NOOP", "LOGOUT", "ID"})
_LOGIN = frozenset({"STARTTLS", "AUTHENTICATE", "LOGIN"})
_MAILBOXES = frozenset({
    "ENABLE", "SELECT", "EXAMINE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE",
    "LIST", "LSUB", "NAMESPACE", "STATUS", "APPEND", "IDLE", "GETQUOTA", "GETQUOTAROOT",
    "COMPRESS", "NOTIFY",
})  # fmt: skip
_MESSAGES = frozenset({
    "CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "UID EXPUNGE", "SEARCH", "UID SEARCH", "SORT",
    "UID SORT", "THREAD", "UID THREAD", "UIDBATCHES", "FETCH", "UID FETCH", "STORE", "UID STORE",
    "COPY", "UID COPY", "MOVE", "UID MOVE", "REPLACE", "UID REPLACE",
})  # fmt: skip

COMMANDS: dict[State, frozenset[str]] = {
    State.NOT_AUTHENTICATED: ANY | _LOGIN,
    State.AUTHENTICATED: ANY | _MAILBOXES,
    State.SELECTED: ANY | _MAILBOXES | _MESSAGES,
    State.LOGOUT: frozenset(),
}
"""State to the verbs it permits."""

VERBS: Final = ANY | _LOGIN | _MAILBOXES | _MESSAGES
"""Every verb there is."""


def capabilities(
    state: State, channel: Channel, *, append_limit: int, hidden: Collection[str] = ()
) -> str:
    """Return the capabilities in a line, without ``CAPABILITY`` (RFC 9051 §7.2.2).

    The list before login is the full one, since some clients never ask again. ``append_limit``:
    bytes of the largest message (RFC 7889); ``hidden``: names in any case that are left out.
    """
    hide = {name.upper() for name in hidden}
    names = list(CAPABILITIES)
    if state is State.NOT_AUTHENTICATED:
        if channel.starttls:
            names.append("STARTTLS")
        if channel.passwords:
            names += [f"AUTH={mechanism}" for mechanism in channel.mechanisms]
        else:
            names.append("LOGINDISABLED")
    return " ".join(
        f"APPENDLIMIT={append_limit}" if name == "APPENDLIMIT" else name
        for name in names
        if name.upper() not in hide
    )


def check_channel(channel: Channel, command: Command) -> None:
    """Check that the connection permits a command that its state permits. Raises BadCommand."""
    match command:
        case StartTls() if not channel.starttls:
            raise BadCommand("STARTTLS is not offered on this connection")
        case Login() | Authenticate() if not channel.passwords:
            way = "use STARTTLS first" if channel.starttls else "use a connection with TLS"
            raise BadCommand(
                f"[PRIVACYREQUIRED] no password is taken on an unencrypted connection: {way}", "NO"
            )
        case Authenticate(mechanism) if mechanism not in channel.mechanisms:
            raise BadCommand("this mechanism is not offered", "NO")
        case _:
            pass
