"""Outbound mail: recipients elsewhere, and the states and DSN options that delivery, relay and
API share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag
from uuid import UUID

from posthorn.wire.message.dsn import Action


class QueueState(Enum):
    """State of a recipient in the outbound queue."""

    QUEUED = "queued"
    """Not tried yet."""
    SENDING = "sending"
    """Claimed by a relay."""
    DEFERRED = "deferred"
    """Tried, and to be tried again."""
    HELD = "held"
    """Held by an administrator; or an alias that is being expanded (ADR 19)."""
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    CANCELLED = "cancelled"


class Notify(IntFlag):
    """The NOTIFY parameter (RFC 3461 §4.1). UNSAID: not given, which means FAILURE and DELAY."""

    UNSAID = 0
    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


@dataclass(frozen=True, slots=True)
class RecipientDsn:
    """DSN options that the sender gave for one recipient (RFC 3461 §4)."""

    notify: Notify = Notify.UNSAID
    orcpt: str = ""
    """``addr-type;address``, xtext decoded; empty if not given."""

    def wants(self, notice: Action) -> bool:
        """Return whether the sender wants a DSN with this action."""
        if self.notify is Notify.UNSAID:
            return notice in (Action.FAILED, Action.DELAYED)
        bits = {Action.FAILED: Notify.FAILURE, Action.DELAYED: Notify.DELAY}
        return bool(self.notify & bits.get(notice, Notify.SUCCESS))


@dataclass(frozen=True, slots=True)
class Outbound:
    """One recipient elsewhere, as delivery puts it into the queue.

    Also one of our own that ended with a DSN due: then ``state`` is BOUNCED or DELIVERED and
    ``notice`` is set. Also an alias of ours that is expanded in slices: then ``state`` is HELD
    (``ports.expansions``).
    """

    recipient: str
    """The forward-path, its local part as it was written."""
    destination: str
    """Canonical domain of the recipient: what the queue is ordered by."""
    reverse_path: str
    """Reverse-path for MAIL: the sender's, or its SRS form for a forwarded message; empty for
    the null reverse-path."""
    original: str = ""
    """For a forwarded message, our address that it was sent to; otherwise empty."""
    dsn: RecipientDsn = RecipientDsn()
    state: QueueState = QueueState.QUEUED
    status: str = ""
    """Enhanced status code that ended it, such as ``5.1.1``."""
    reply: str = ""
    """The reply, code included, that ended it."""
    notice: Action | None = None
    tenant: UUID | None = None
    """The owner, if it differs from the message's: the tenant of the forwarding alias. Nobody
    else may see the address."""
    alias: str = ""
    """The alias whose target it is, whose owner is charged for it (ADR 20); empty if no alias
    forwards it."""
    returns: bool = False
    """It goes to what a rewritten reverse-path of ours, ``original``, stands for."""
    long_token: str = ""
    """Token of the sender in ``reverse_path``, if that is an SRS2 address: it is stored with the
    row (ADR 27)."""
    header: str = ""
    """Fields that a relay puts before the message, with their line ends (``wire.passed``)."""
