"""Filter policies as the directory publishes them (ADR 31).

A domain's entry holds the policies of system, tenant and domain combined. An account's entry holds
its own. An alias has the policy of the accounts that it leads to, if all have the same; else that
of its domain alone, since smtp-in has one answer for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from posthorn.model.filter_policy import combined

SYSTEM_POLICY: Final = (
    "SELECT document::text FROM filter_policies"
    " WHERE tenant_id IS NULL AND domain_id IS NULL AND account_id IS NULL"
)
OF_TENANT: Final = (
    "(SELECT p.document::text FROM filter_policies p WHERE p.tenant_id = {0}.tenant_id)"
)
"""The policy of the tenant of the domain named."""
OF_DOMAIN: Final = "(SELECT p.document::text FROM filter_policies p WHERE p.domain_id = {0}.id)"
OF_ACCOUNT: Final = "LEFT JOIN filter_policies p ON p.account_id = {0}.id"
"""Joins the policy of the account named as ``p``."""
_REMEMBERED: Final = 128


def account_policy(text: str | None) -> Mapping[str, Any]:
    """Return what the entry of an account holds."""
    return {} if text is None else json.loads(text)


def domain_policy(*texts: str | None) -> Mapping[str, Any]:
    """Return what the entry of a domain holds, of the documents of system, tenant and domain."""
    return {} if not any(texts) else _combined(texts)


@lru_cache(maxsize=_REMEMBERED)
def _combined(texts: tuple[str | None, ...]) -> Mapping[str, Any]:
    # reconciliation asks for each domain; most have the same documents
    return combined(*(None if text is None else json.loads(text) for text in texts))


def alias_policies(
    ends: Mapping[str, str | None], above: Mapping[str, Sequence[str]]
) -> Mapping[str, Mapping[str, Any]]:
    """Return what the entries of aliases hold, if not nothing. ``ends``: the documents of final
    targets; ``above``: the aliases that lead directly to an address. Each alias is visited twice
    at most, however many accounts it leads to."""
    shared: dict[str, str | None] = {}
    differing: set[str] = set()
    for end, document in ends.items():
        found = [end]
        while found:
            for alias in above.get(found.pop(), ()):
                if alias in differing or (alias in shared and shared[alias] == document):
                    continue
                if alias in shared:
                    differing.add(alias)
                shared[alias] = document
                found.append(alias)
    return {
        alias: account_policy(document)
        for alias, document in shared.items()
        if alias not in differing
    }
