"""Answers whom accounts have written to, for smtp-in."""

from __future__ import annotations

from collections.abc import Collection

from posthorn.ports.mailboxes import Mailboxes


class StoredCorrespondents:
    """The port Correspondents on what delivery resolves recipients by."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes

    async def is_protected(self, author: str, recipients: Collection[str]) -> bool:
        """Look it up; see the port."""
        asked = dict.fromkeys(recipients, frozenset([author]))
        facts = (await self._mailboxes.resolve(recipients, (), asked)).filing
        return any(
            name == author and facts.accounts[account].policy.protect_known
            for account, name in facts.known
            if account in facts.accounts
        )
