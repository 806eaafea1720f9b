"""Identifiers of objects (RFC 8474)."""

from __future__ import annotations


def mailbox_id(account: int, mailbox: int) -> str:
    """Return MAILBOXID: ids of mailboxes never come again in an account."""
    return f"F{account}-{mailbox}"
