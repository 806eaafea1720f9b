"""Points by training: what the models of the accounts and tenants of a batch say of its messages.

Rules:

- Nothing is read or tokenized unless a model that concerns a recipient has learned enough.
- Tokens are made once for a message, off the event loop, from its first bytes, as in training.
- Models are asked for ``_AT_ONCE`` accounts at a time, which bounds the memory of a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import batched
from uuid import UUID

from prometheus_client import Counter

from posthorn.model.envelope import Envelope
from posthorn.model.verdict import Rule
from posthorn.ports.blobs import Blobs
from posthorn.ports.training import Bayes, SpamModels
from posthorn.wire.spam.bayes import bayes_points, spamminess
from posthorn.wire.spam.facts import read_facts
from posthorn.wire.spam.tokens import tokens_of
from posthorn_delivery.trainer import READ_BYTES

ACCOUNT_RULE = "BAYES_ACCOUNT"
"""The account's own model took part."""
TENANT_RULE = "BAYES_TENANT"
"""The model of its tenant decided alone."""
_AT_ONCE = 64

_tokenized = Counter(
    "posthorn_delivery_tokenized_total", "Messages tokenized to be judged by training"
)


type Judged = tuple[Envelope, bytes | None, Sequence[int]]
"""A message, its body unless a blob holds it, and the accounts that it is judged for."""


class TrainingPoints:
    """Asks the models."""

    def __init__(self, bayes: Bayes, blobs: Blobs) -> None:
        self._bayes = bayes
        self._blobs = blobs

    async def points(self, items: Sequence[Judged]) -> Mapping[tuple[UUID, int], Rule]:
        """Return the rules that training adds, by message and account; none where it gives no
        points. Raises Unavailable."""
        found: dict[tuple[UUID, int], Rule] = {}
        tokens: dict[UUID, tuple[int, ...]] = {}
        accounts = dict.fromkeys(account for _, _, some in items for account in some)
        for some in batched(accounts, _AT_ONCE, strict=False):
            models = await self._bayes.models(some)
            if not models:
                continue
            for envelope, body, recipients in items:
                asked = [(each, models[each]) for each in recipients if each in models]
                if not asked:
                    continue
                if envelope.id not in tokens:
                    tokens[envelope.id] = await self._tokens(envelope, body)
                rules = await asyncio.to_thread(_rules, tokens[envelope.id], asked)
                found |= {(envelope.id, account): rule for account, rule in rules}
        return found

    async def _tokens(self, envelope: Envelope, content: bytes | None) -> tuple[int, ...]:
        if content is None:
            assert envelope.blob is not None
            size = min(envelope.body.size, READ_BYTES)
            content = await self._blobs.read(envelope.blob, 0, size)
        _tokenized.inc()
        return await asyncio.to_thread(_tokens_of, content[:READ_BYTES])


def _tokens_of(content: bytes) -> tuple[int, ...]:
    return tokens_of(read_facts(content))


def _rules(
    tokens: tuple[int, ...], asked: Iterable[tuple[int, SpamModels]]
) -> list[tuple[int, Rule]]:
    found = []
    for account, models in asked:
        spam_like = spamminess(tokens, models.account, models.tenant)
        points = bayes_points(spam_like, models.account, models.tenant)
        if points:
            name = ACCOUNT_RULE if models.account.most_points else TENANT_RULE
            detail = f"{round(100 * spam_like, 1):g} % like spam"
            found.append((account, Rule(name, points, detail)))
    return found
