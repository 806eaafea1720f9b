"""Filing: which copies of a routed message go to INBOX, to Junk, to quarantine, or on to elsewhere.

Rules:

- Each account decides on its own copy, and the owner of each alias on the copies that it sends on.
- What an alias would send on is quarantined for its owner from Junk on, unless the policy only
  marks: the next hop would count it against us.
- An alias that is expanded later decides in its slices.
- The copies of a message are filed in the transaction that delivers it, so a redelivery files
  nothing again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from prometheus_client import Counter

from posthorn.model.envelope import Envelope
from posthorn.model.filing import (
    decide_copy,
    is_sent_on,
    is_withheld,
    needs_filing,
    sender_in,
    shown_author,
)
from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import Action
from posthorn.model.outbound import Outbound, QueueState
from posthorn.model.verdict import Rule
from posthorn.ports.filing import FilingFacts, Withheld
from posthorn.ports.mailboxes import AccountsGone
from posthorn_delivery.routing import Routes

_filed = Counter(
    "posthorn_delivery_filed_total",
    "Copies filed by their recipients' policies, by action and reason",
    ["action", "reason"],
)

type Points = Callable[
    [Sequence[tuple[Envelope, bytes | None, tuple[int, ...]]]],
    Awaitable[Mapping[tuple[UUID, int], Rule]],
]
"""Returns what training adds to the score of messages, by message and account; where it adds
nothing, nothing. Asked with the envelope, the body unless a blob holds it, and the accounts."""


@dataclass(frozen=True, slots=True)
class Filing:
    """The routes of a message once it is filed."""

    routes: Routes
    """Without what is withheld."""
    filed: Mapping[int, Decision] = field(default_factory=dict)
    """Decisions that had a reason, for some of the routes' accounts."""
    withheld: tuple[Withheld, ...] = ()

    @property
    def wanted(self) -> list[int]:
        """Accounts that have it in INBOX, not marked as spam."""
        decisions = {account: self.filed.get(account) for account in self.routes.accounts}
        return [
            account
            for account, decision in decisions.items()
            if decision is None or decision.action is Action.DELIVER
        ]


def authors_of(
    envelope: Envelope, originals: Mapping[str, tuple[str, ...]]
) -> dict[str, frozenset[str]]:
    """Return the recipients about whose policies to ask, with the author to know (``Authors``)."""
    if not needs_filing(envelope):
        return {}
    author = shown_author(envelope)
    asked = frozenset([author] if author else [])
    addresses = [*envelope.recipients, *(each for chain in originals.values() for each in chain)]
    return dict.fromkeys(addresses, asked)


def file_copies(
    envelope: Envelope,
    routes: Routes,
    facts: FilingFacts,
    new_id: Callable[[], UUID],
    points: Mapping[tuple[UUID, int], Rule],
) -> Filing:
    """Decide on every copy. Raises AccountsGone if an account has been deleted meanwhile."""
    if not needs_filing(envelope):
        return Filing(routes)
    sender = sender_in(envelope)
    author = shown_author(envelope, sender)
    filed: dict[int, Decision] = {}
    withheld: list[Withheld] = []
    addressed = {
        account: recipient
        for recipient, accounts in reversed(list(routes.reached.items()))
        for account in accounts
    }
    kept: list[int] = []
    for account in routes.accounts:
        owner = facts.accounts.get(account)
        if owner is None:
            raise AccountsGone
        learned = points.get((envelope.id, account))
        decision = decide_copy(
            envelope,
            sender,
            owner.policy,
            is_known=(account, author) in facts.known,
            extra_points=learned.points if learned else 0.0,
        )
        if learned is not None and decision.reason == "score":
            part = f"{learned.points:g} of them by {learned.name} ({learned.detail})"
            decision = replace(decision, detail=f"{decision.detail}, {part}")
        if is_withheld(decision):
            recipient = addressed[account]
            withheld.append(
                Withheld(new_id(), recipient, account, owner.tenant, decision),
            )
            continue
        kept.append(account)
        if decision.reason:
            filed[account] = decision
    outbound: list[Outbound] = []
    stopped: defaultdict[str, list[Outbound]] = defaultdict(list)
    decisions: dict[str, Decision] = {}
    for copy in routes.outbound:
        if not copy.alias or copy.state is not QueueState.QUEUED:
            outbound.append(copy)
            continue
        if copy.alias not in decisions:
            owner = facts.aliases.get(copy.alias)
            if owner is None:
                raise AccountsGone
            decisions[copy.alias] = decide_copy(envelope, sender, owner.policy)
        if is_sent_on(decisions[copy.alias]):
            outbound.append(copy)
        else:
            stopped[copy.alias].append(copy)
    for alias, copies in stopped.items():
        tenant = facts.aliases[alias].tenant
        withheld.append(
            Withheld(new_id(), alias, None, tenant, decisions[alias], tuple(copies)),
        )
    there = set(kept)
    return Filing(
        replace(
            routes,
            accounts=tuple(kept),
            local=tuple(
                recipient
                for recipient in routes.local
                if there.intersection(routes.reached.get(recipient, ()))
            ),
            outbound=tuple(outbound),
        ),
        filed,
        tuple(withheld),
    )


def count(accounts: int, filed: Mapping[int, Decision], withheld: Sequence[Withheld]) -> None:
    """Count copies that were filed, of which ``accounts`` are in mailboxes."""
    if accounts > len(filed):
        _filed.labels("deliver", "none").inc(accounts - len(filed))
    for decision in (*filed.values(), *(each.decision for each in withheld)):
        action = "quarantine" if is_withheld(decision) else decision.action.value
        _filed.labels(action, decision.reason).inc()
