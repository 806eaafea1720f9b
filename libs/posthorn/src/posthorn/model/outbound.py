"""Messages out: what is known of a recipient elsewhere, and the words for it that delivery, relay and API share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag
from uuid import UUID


class QueueState(Enum):
    """Where a recipient stands in the outbound queue."""

    QUEUED = "queued"
    """Never tried yet."""
    SENDING = "sending"
    """A relay has it at hand."""
    DEFERRED = "deferred"
    """Tried, to be tried again."""
    HELD = "held"
    """An administrator holds it back; or it is an alias that is being expanded (ADR 19)."""
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    CANCELLED = "cancelled"


class Notify(IntFlag):
    """RFC 3461 §4.1. UNSAID: the sender said nothing, which stands for FAILURE and DELAY."""

    UNSAID = 0
    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


class Notice(Enum):
    """What a sender is to be told of a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class RecipientDsn:
    """What the sender asked of us for one recipient (RFC 3461 §4)."""

    notify: Notify = Notify.UNSAID
    orcpt: str = ""
    """``addr-type;address``, xtext decoded; empty when it was not given."""

    def wants(self, notice: Notice) -> bool:
        """Return whether the sender is to be told of this."""
        if self.notify is Notify.UNSAID:
            return notice in (Notice.FAILED, Notice.DELAYED)
        bits = {Notice.FAILED: Notify.FAILURE, Notice.DELAYED: Notify.DELAY}
        return bool(self.notify & bits.get(notice, Notify.SUCCESS))


@dataclass(frozen=True, slots=True)
class Outbound:
    """One recipient elsewhere, as delivery enters it into the queue.

    Also one of ours that came to an end which its sender must hear of: then ``state`` is BOUNCED or DELIVERED and ``notice``
    is set. Also an alias of ours that is to be expanded in slices: then ``state`` is HELD (``ports.expansions``).
    """

    recipient: str
    """The forward-path, its local part as it was written."""
    destination: str
    """Canonical domain of the recipient: what the queue is ordered by."""
    reverse_path: str
    """What MAIL shall say: the sender's, or its SRS form for a forwarded message; empty for the null reverse-path."""
    original: str = ""
    """For a forwarded message, the address of ours that it was for; else empty."""
    dsn: RecipientDsn = RecipientDsn()
    state: QueueState = QueueState.QUEUED
    status: str = ""
    """Enhanced code of what ended it, such as ``5.1.1``."""
    reply: str = ""
    """The reply, code included, that ended it."""
    notice: Notice | None = None
    tenant: UUID | None = None
    """Whose it is, where that is not the message's: the tenant of the alias that forwards. Nobody else may see the address."""
    alias: str = ""
    """The alias whose target it is: its owner is charged for it (ADR 20); empty for what no alias forwards."""
    returns: bool = False
    """It goes to what a rewritten reverse-path of ours, ``original``, stands for."""
    long_token: str = ""
    """Token of the sender in ``reverse_path``, if that is an SRS2 address: it is stored with the row (ADR 27)."""
    header: str = ""
    """Fields that a relay puts before the message, with their line ends (``wire.passed``)."""
