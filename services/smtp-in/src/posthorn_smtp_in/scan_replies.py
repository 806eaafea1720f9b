"""Replies that refuse a client or a message by what the scanning tier found.

Rules:

- A reply names the reason, the rule, and our id of the message, by which the recipient's side can
  find it (promise 8). It names no entry of a recipient's lists.
- What strangers, or lists elsewhere, have a hand in is cut, and cleaned to a few characters that
  end nothing.
"""

from __future__ import annotations

import re

from posthorn.model.filter_decision import Decision
from posthorn.model.verdict import Verdict
from posthorn.ports.scan import Listing
from posthorn.wire.smtp.replies import Reply

REFUSED_BY_VERDICT = ("virus", "dmarc", "score", "blocked")
"""Reasons for which a verdict refuses a message; where recipients have several, the first one is
told."""
_UNSAFE = re.compile(r"[^A-Za-z0-9 ._:/@+=,;()-]")
_MOST_RULES = 3


def refused_by(decision: Decision, verdict: Verdict, message_id: str) -> Reply:
    """Return the reply that refuses a message: ``decision`` is one that refuses."""
    status = "5.7.1"
    match decision.reason:
        case "virus":
            why = f"the message holds a virus ({_clean(decision.detail, 60)})"
        case "dmarc":
            # RFC 7372 §3.4; the rule is RFC 9989's
            status = "5.7.26"
            domain = _clean(verdict.authentication.dmarc.domain, 80)
            why = f"neither SPF nor DKIM shows the author to be of {domain}, whose DMARC policy is p=reject"
        case "score":
            strongest = sorted(verdict.rules, key=lambda rule: -rule.points)[:_MOST_RULES]
            rules = ", ".join(f"{_clean(each.name, 40)} {each.points:g}" for each in strongest)
            why = f"the message looks like spam: {decision.score:g} points ({rules})"
        case _:
            why = "the recipient does not accept mail from this sender"
    return Reply(550, status, f"{why}; message {message_id}", decision.reason)


def listed(listing: Listing, message_id: str) -> Reply:
    """Return the reply that refuses a client that is on a blocklist."""
    reason = f" ({_clean(listing.reason, 120)})" if listing.reason else ""
    subject, zone = _clean(listing.subject, 50), _clean(listing.zone, 100)
    return Reply(
        550,
        "5.7.1",
        f"{subject} is on the blocklist {zone}{reason}; message {message_id}",
        "listed",
    )


def greylisted(seconds: int) -> Reply:
    """Return the reply that asks a stranger to come again."""
    return Reply(451, "4.7.1", f"greylisted; try again in {seconds} seconds", "greylisted")


def unchecked(verdict: Verdict) -> Reply:
    """Return the reply to a message whose author cannot be checked now."""
    domain = _clean(verdict.authentication.dmarc.domain, 80)
    why = f"whether {domain}, whose DMARC policy is p=reject, sent this cannot be looked up now"
    return Reply(451, "4.7.0", f"{why}; try again later", "dmarc-lookup")


def _clean(text: str, most: int) -> str:
    return _UNSAFE.sub("?", text[:most])
