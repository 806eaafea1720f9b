"""The port Bayes on Postgres: models by account, cached by their version.

Theory:

- Most installations have no model that gives points, and then a batch costs nothing: whether there
  is one is asked every ``LOOK_SECONDS``.
- Otherwise one statement returns the versions of the models that concern the accounts, and a second
  the contents of those that are not cached. Least recently used models leave the cache.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.stored_models import unpack_model
from posthorn.ports.training import SpamModels
from posthorn.wire.spam.bayes import LEAST_TAUGHT, BayesModel

LOOK_SECONDS = 30.0
CACHE_BYTES = 64 * 1024 * 1024
"""Bytes of the arrays of cached models; one may be larger only if it is the only one."""
_MODEL_COST = 500  # bytes of a cached model besides its tokens

_ANY = f"""
SELECT EXISTS (SELECT FROM bayes_models WHERE least(spam_messages, ham_messages) >= {LEAST_TAUGHT})
"""
# two look-ups by the whole key: one with OR would read all models of the tenant
_HEADS = f"""
SELECT a.id AS account, b.id, b.version, b.account_id IS NULL AS is_tenants,
       least(b.spam_messages, b.ham_messages) >= {LEAST_TAUGHT} AS gives_points
  FROM accounts a JOIN domains d ON d.id = a.domain_id
  CROSS JOIN LATERAL (
      SELECT id, account_id, version, spam_messages, ham_messages FROM bayes_models
       WHERE tenant_id = d.tenant_id AND account_id = a.id
    UNION ALL
      SELECT id, account_id, version, spam_messages, ham_messages FROM bayes_models
       WHERE tenant_id = d.tenant_id AND account_id IS NULL
  ) AS b
 WHERE a.id = ANY ($1::bigint[])
"""
_CONTENTS = "SELECT id, version, tokens FROM bayes_models WHERE id = ANY ($1::bigint[])"


class _Head(NamedTuple):
    id: int
    version: int
    is_tenants: bool


class PostgresBayes:
    """See the port."""

    def __init__(
        self,
        database: Database,
        *,
        cache_bytes: int = CACHE_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._cache_bytes = cache_bytes
        self._monotonic = monotonic
        self._cache: OrderedDict[int, tuple[int, BayesModel]] = OrderedDict()
        self._cached = 0
        self._looked_at = -LOOK_SECONDS
        self._has_any = False

    @property
    def cached_bytes(self) -> int:
        """Bytes that the cached models take."""
        return self._cached

    async def models(self, accounts: Collection[int]) -> Mapping[int, SpamModels]:
        if not accounts or not await self._gives_points():
            return {}
        heads: defaultdict[int, list[_Head]] = defaultdict(list)
        useful: set[int] = set()
        async with self._database.session() as connection:
            for row in await connection.fetch(_HEADS, list(accounts)):
                account = row["account"]
                heads[account].append(_Head(row["id"], row["version"], row["is_tenants"]))
                if row["gives_points"]:
                    useful.add(account)
        wanted = {head for account in useful for head in heads[account]}
        models = await self._read(wanted)
        found = {}
        for account in useful:
            mine = {
                head.is_tenants: models[head.id] for head in heads[account] if head.id in models
            }
            found[account] = SpamModels(
                mine.get(False, SpamModels().account), mine.get(True, SpamModels().tenant)
            )
        return found

    async def _gives_points(self) -> bool:
        if self._monotonic() - self._looked_at >= LOOK_SECONDS:
            async with self._database.session() as connection:
                self._has_any = bool(await connection.fetchval(_ANY))
            self._looked_at = self._monotonic()
        return self._has_any

    async def _read(self, heads: Collection[_Head]) -> dict[int, BayesModel]:
        """Return models by id, from the cache where it has their version."""
        found: dict[int, BayesModel] = {}
        for head in heads:
            version, model = self._cache.get(head.id, (0, None))
            if model is not None and version == head.version:
                self._cache.move_to_end(head.id)
                found[head.id] = model
        missing = [head.id for head in heads if head.id not in found]
        if not missing:
            return found
        async with self._database.session() as connection:
            rows = await connection.fetch(_CONTENTS, missing)
        for row in rows:
            model = await asyncio.to_thread(unpack_model, row["tokens"])
            found[row["id"]] = model
            self._keep(row["id"], row["version"], model)
        return found

    def _keep(self, number: int, version: int, model: BayesModel) -> None:
        _, before = self._cache.pop(number, (0, None))
        if before is not None:
            self._cached -= _cost(before)
        self._cache[number] = version, model
        self._cached += _cost(model)
        while self._cached > self._cache_bytes and len(self._cache) > 1:
            _, (_, dropped) = self._cache.popitem(last=False)
            self._cached -= _cost(dropped)


def _cost(model: BayesModel) -> int:
    return _MODEL_COST + 12 * len(model.tokens)
