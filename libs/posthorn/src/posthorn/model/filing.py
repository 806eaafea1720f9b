"""How delivery applies filter policies to the copies of a message.

Rules:

- Mail of strangers (role ``mx``) is decided by its verdict and the policy's lists; without a
  verdict by the lists alone.
- What accounts, API keys and we ourselves send is withheld for a virus only, if it was scanned.
- It is too late for a refusal: what would be refused is quarantined.
"""

from __future__ import annotations

from posthorn.model.envelope import Envelope
from posthorn.model.filter_decision import Decision, Sender, decide, sender_of
from posthorn.model.filter_policy import Action, FilterPolicy
from posthorn.wire.auth.results import Authentication

_UNSCANNED = Authentication()
_DELIVER = Decision(Action.DELIVER, "", 0.0)


def needs_filing(envelope: Envelope) -> bool:
    """Return whether policies have a say about the message."""
    return envelope.role == "mx" or _has_virus(envelope)


def sender_in(envelope: Envelope) -> Sender:
    """Return who sends the message, for lists and protection."""
    verdict = envelope.verdict
    return sender_of(
        envelope.summary.from_,
        envelope.reverse_path,
        envelope.client_address,
        _UNSCANNED if verdict is None else verdict.authentication,
    )


def shown_author(envelope: Envelope, sender: Sender | None = None) -> str:
    """Return the author in canonical form if authentication shows it; else empty. ``sender``: what
    ``sender_in`` returns, if it is known."""
    if envelope.verdict is None or not needs_filing(envelope):
        return ""
    sender = sender or sender_in(envelope)
    return sender.address if sender.is_shown else ""


def decide_copy(
    envelope: Envelope,
    sender: Sender,
    policy: FilterPolicy,
    *,
    is_known: bool = False,
    extra_points: float = 0.0,
) -> Decision:
    """Return what happens to one copy; arguments as of ``filter_decision.decide``."""
    if envelope.role != "mx" and not _has_virus(envelope):
        return _DELIVER
    decision = decide(
        envelope.verdict, policy, sender, is_known=is_known, extra_points=extra_points
    )
    if envelope.role != "mx" and decision.reason != "virus":
        return _DELIVER
    return decision


def is_withheld(decision: Decision) -> bool:
    """Return whether the copy goes to quarantine."""
    return decision.action in (Action.QUARANTINE, Action.REFUSE)


def is_sent_on(decision: Decision) -> bool:
    """Return whether an alias sends the copy on: nothing that would be junk here, for the sake of
    our reputation."""
    return decision.action in (Action.DELIVER, Action.MARK)


def _has_virus(envelope: Envelope) -> bool:
    return envelope.verdict is not None and bool(envelope.verdict.virus)
