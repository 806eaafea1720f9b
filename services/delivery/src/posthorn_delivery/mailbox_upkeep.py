"""The upkeep of mailboxes: checks their counters, and prunes their change logs (ADR 33).

One process does it at a time. Every round does a bounded amount, so that all accounts are checked
in the course of days.
"""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import Counter

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_upkeep import MailboxUpkeep as Store

log = structlog.get_logger()

_checked = Counter(
    "posthorn_delivery_mailbox_checks_total", "Accounts whose mailbox counters were checked"
)
_wrong = Counter(
    "posthorn_delivery_mailbox_counters_wrong_total",
    "Mailboxes whose counters were wrong and were repaired",
)
_pruned = Counter(
    "posthorn_delivery_mailbox_changes_pruned_total", "Old rows deleted from mailboxes' change logs"
)

ROUND_SECONDS = 600.0
CHECKED_MESSAGES = 20_000
"""Approximate number of messages whose mailboxes are checked in a round: three million a day."""
PRUNED = 20_000
"""Approximate number of changes deleted in a round, by age and by number each."""


class MailboxUpkeep:
    """Runs the rounds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Run a round per interval until cancelled; run as a supervised task."""
        while True:
            try:
                await self.round()
            except Unavailable as fault:
                log.warning("upkeep of mailboxes ended early", fault=fault)
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Do one round, if this process leads. Raises Unavailable."""
        if not await self._store.lead(2 * ROUND_SECONDS):
            return
        pruned = await self._store.prune(PRUNED)
        _pruned.inc(pruned)
        checked = await self._store.check(CHECKED_MESSAGES)
        _checked.inc(checked.accounts)
        _wrong.inc(len(checked.wrong))
        for each in checked.wrong:
            log.error(
                "the counters of a mailbox were wrong; they are repaired",
                account=each.account,
                mailbox=each.mailbox,
                stored=str(each.stored),
                counted=str(each.counted),
            )
