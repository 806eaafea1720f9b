"""What all connections of the process share."""

from __future__ import annotations

from dataclasses import dataclass, field

from posthorn.ports.bodies import BodyReader
from posthorn.ports.folders import Folders
from posthorn.ports.mailbox_view import MailboxView
from posthorn.ports.placing import Placing
from posthorn.runtime.read_events import ReadEvents
from posthorn_imap.hints import ProcessHints
from posthorn_imap.logins import Logins
from posthorn_imap.metrics import READS_DROPPED
from posthorn_imap.search_slots import SearchSlots
from posthorn_imap.watching import Watching


@dataclass(frozen=True, slots=True)
class Backend:
    """The stores, by their ports."""

    folders: Folders
    view: MailboxView
    placing: Placing
    bodies: BodyReader
    hints: ProcessHints


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections are allowed, from the settings; times in seconds."""

    login: float = 60.0
    idle: float = 1860.0
    keepalive: float = 120.0
    write: float = 120.0
    login_attempts: int = 3
    failure_delay: float = 1.0
    append_bytes: int = 50 * 1024 * 1024
    hidden: frozenset[str] = field(default_factory=frozenset)
    """Capabilities that are shown to nobody, in upper case."""


@dataclass(frozen=True, slots=True)
class ImapContext:
    """What all sessions of a process share."""

    backend: Backend
    limits: Limits
    logins: Logins
    watching: Watching
    searches: SearchSlots = field(default_factory=SearchSlots)
    read_events: ReadEvents = field(default_factory=lambda: ReadEvents(READS_DROPPED.inc))
