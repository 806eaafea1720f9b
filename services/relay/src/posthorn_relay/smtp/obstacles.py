"""What a host cannot take of a transaction, known from its EHLO before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping

from posthorn_relay.smtp.envelope import ends_early, needs_utf8, needs_utf8_for_header_only
from posthorn_relay.smtp.types import MailTransaction


def obstacle(transaction: MailTransaction, offered: Mapping[str, str]) -> tuple[str, str] | None:
    """Return status and text of why the host cannot take the transaction; None: it may (RFC 6531
    §3.2). ``offered``: its extensions, with their parameters."""
    if ends_early(transaction.reverse_path):
        return "5.1.7", "this sender cannot be named in SMTP"
    if (
        "SMTPUTF8" not in offered
        and needs_utf8(transaction)
        and not needs_utf8_for_header_only(transaction)
    ):
        return "5.6.7", "the message needs SMTPUTF8, which the host does not offer"
    return oversize(transaction, offered)


def oversize(transaction: MailTransaction, offered: Mapping[str, str]) -> tuple[str, str] | None:
    """Compare the size with the limit of the host (RFC 1870 §5)."""
    limit = offered.get("SIZE", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit[:20]) < transaction.size:
        return (
            "5.3.4",
            f"the message has {transaction.size} bytes, the host takes {limit[:20]} at most",
        )
    return None
