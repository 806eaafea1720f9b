"""Tokens that open mailboxes, where the settings trust an issuer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from posthorn.runtime.oidc.trust import MailTrust
from posthorn.runtime.process import Process

if TYPE_CHECKING:
    from posthorn.runtime.oidc.mailbox_tokens import MailTokens


async def mailbox_tokens(process: Process[Any], trust: MailTrust | None) -> MailTokens | None:
    """Return what reads tokens, the issuer's keys renewed by a task of the process; None without an
    issuer."""
    if trust is None:
        return None
    # only now: without an issuer the process does not pay for the libraries
    from posthorn.adapters.issuer_fetch import fetch
    from posthorn.runtime.oidc.mailbox_tokens import MailTokens

    tokens = MailTokens(trust, fetch)
    await process.task(tokens.keys.run(), "oidc")
    return tokens
