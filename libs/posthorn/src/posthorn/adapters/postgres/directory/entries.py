"""Entries of the directory, read from domains, accounts and aliases (ADR 5).

Rules:

- An unverified domain is not local: neither it nor its addresses have entries.
- A change of an account changes the entries of its aliases, and so does one of an alias. It changes
  that of the domain when its oldest account is named, or an address that is gone: the domain says
  who takes its postmaster's mail.
- The forward that an account holder has set (``own_forwards``) is in no entry.
- Aliases are evaluated over one graph of distinct addresses, from its ends upwards: the cost of a
  mesh follows its size, not its paths.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import batched
from typing import Any

from asyncpg import Record

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.directory.postmasters import OLDEST_ACCOUNT, OLDEST_OF
from posthorn.adapters.postgres.directory.published_policies import (
    OF_ACCOUNT,
    OF_DOMAIN,
    OF_TENANT,
    SYSTEM_POLICY,
    account_policy,
    alias_policies,
    domain_policy,
)
from posthorn.model.directory_entry import AddressEntry, DomainEntry, Entry, RecipientStatus
from posthorn.model.room import room_of

ALIASES_AT_ONCE = 500
_STANDING = "CASE WHEN {0}.state = 'suspended' THEN 2 WHEN {0}.used_bytes >= {0}.quota_bytes THEN 1 ELSE 0 END"
_STANDINGS = (RecipientStatus.DELIVERABLE, RecipientStatus.OVER_QUOTA, RecipientStatus.SUSPENDED)
"""From the best to the worst."""
_NOWHERE = AddressEntry(RecipientStatus.SUSPENDED)
# for many addresses at once: recent entries are in a pending list that each use of this index reads
# from its beginning
_ABOVE = "SELECT address FROM aliases WHERE targets && $1::text[]"
_VERIFIED = "(SELECT verified_at FROM domains d WHERE d.id = {0}.domain_id) IS NOT NULL"
DOMAINS = (
    "SELECT '@' || name AS subject, catch_all, plus_addressing,"
    f" CASE WHEN catch_all IS NULL THEN {OLDEST_ACCOUNT.format('domains')} END AS postmaster,"
    f" {OF_TENANT.format('domains')} AS tenant_policy, {OF_DOMAIN.format('domains')} AS domain_policy"
    " FROM domains WHERE verified_at IS NOT NULL"
)
ACCOUNTS = (
    f"SELECT address AS subject, {_STANDING.format('account')} AS standing, quota_bytes - used_bytes AS left_bytes,"
    f" p.document::text AS policy FROM accounts account {OF_ACCOUNT.format('account')}"
    f" WHERE {_VERIFIED.format('account')}"
)
ALIASES = f"SELECT address FROM aliases WHERE keeps_copy IS NULL AND {_VERIFIED.format('aliases')}"
UNCONFIRMED = """
    ARRAY (SELECT t.target FROM alias_targets t
            WHERE t.alias_id = {0}.id AND t.confirmed_at IS NULL
              AND NOT EXISTS (SELECT FROM domains d WHERE d.name = split_part(t.target, '@', -1) AND d.verified_at IS NOT NULL))
"""
"""Targets of an alias that get nothing before they confirm: not those that have become local."""
# the addresses and all that they lead to: an alias with its targets, an end with its status; null:
# does not exist
_BELOW = f"""
    WITH RECURSIVE below (address) AS (
        SELECT unnest($1::text[])
        UNION
        SELECT unnest(alias.targets) FROM below JOIN aliases alias ON alias.address = below.address AND alias.keeps_copy IS NULL
         WHERE {_VERIFIED.format("alias")}
    )
    SELECT below.address, alias.targets, CASE
               WHEN account.id IS NOT NULL THEN {_STANDING.format("account")}
               WHEN (SELECT verified_at FROM domains d WHERE d.name = split_part(below.address, '@', -1)) IS NULL THEN 0
           END AS standing, account.quota_bytes - account.used_bytes AS left_bytes, account.id IS NULL AS elsewhere,
           extract(epoch FROM alias.limited_until)::float8 AS limited_until, p.document::text AS policy,
           (SELECT t.state = 'suspended' FROM domains d JOIN tenants t ON t.id = d.tenant_id WHERE d.id = alias.domain_id)
               AS suspended,
           {UNCONFIRMED.format("alias")} AS unconfirmed
      FROM below
      LEFT JOIN aliases alias ON alias.address = below.address AND alias.keeps_copy IS NULL AND {_VERIFIED.format("alias")}
      LEFT JOIN accounts account ON account.address = below.address AND {_VERIFIED.format("account")}
      {OF_ACCOUNT.format("account")}
"""


class TooSlow(Exception):
    """The state was not read before the deadline."""


async def _affected(connection: Connection, named: Collection[str], deadline: float) -> list[str]:
    """Return the subjects, and every alias that leads to one of them, over any number of
    aliases."""
    affected, last = set(named), set(named)
    while last:
        found: set[str] = set()
        for some in batched(last, ALIASES_AT_ONCE, strict=False):
            found |= {row["address"] for row in await connection.fetch(_ABOVE, list(some))}
            if time.monotonic() > deadline:
                raise TooSlow
        last = found - affected
        affected |= found
    return list(affected)


async def entries_of(
    connection: Connection, named: Collection[str], deadline: float
) -> dict[str, Entry | None]:
    """Return the entries of the subjects and of those whose entries change with them; None: there
    is none. Raises TooSlow after ``deadline`` (monotonic)."""
    affected = await _affected(connection, named, deadline)
    found: dict[str, Entry | None] = dict.fromkeys(affected)
    addresses = [subject for subject in affected if not subject.startswith("@")]
    names = [subject[1:] for subject in affected if subject.startswith("@")]
    system = await connection.fetchval(SYSTEM_POLICY)
    for query, values in (
        (f"{DOMAINS} AND name = ANY($1)", names),
        (f"{ACCOUNTS} AND address = ANY($1)", addresses),
    ):
        for row in await connection.fetch(query, values):
            found[row["subject"]] = entry_of_row(row, system)
    for some in batched(addresses, ALIASES_AT_ONCE, strict=False):
        found |= await alias_entries(connection, some)
        if time.monotonic() > deadline:
            raise TooSlow
    changed = {f"@{name.rpartition('@')[2]}" for name in named if found[name] is None}
    changed |= {row["subject"] for row in await connection.fetch(OLDEST_OF, list(named))}
    names = [subject[1:] for subject in changed - found.keys()]
    for row in await connection.fetch(f"{DOMAINS} AND name = ANY($1) AND catch_all IS NULL", names):
        found[row["subject"]] = entry_of_row(row, system)
    return found


async def alias_entries(
    connection: Connection, addresses: Sequence[str]
) -> dict[str, AddressEntry]:
    """Return the entries of those of the addresses that are aliases.

    An alias has the best status of its targets: delivery accepts a message for it whenever one
    account accepts mail, and an address elsewhere accepts all. Among accounts that accept none,
    full ranks above suspended, since it is more likely to end soon. An alias leads nowhere after a
    domain was created that its target was in while elsewhere; it is published as suspended until
    its targets are corrected. One with targets elsewhere accepts nothing while its tenant is
    suspended, and an unconfirmed target does not count. The room of an alias is the largest of its
    mailboxes, and unlimited with a target elsewhere. Its policy is that of ``alias_policies``.
    """
    rows: Sequence[Any] = await connection.fetch(_BELOW, list(addresses)) if addresses else ()
    above: defaultdict[str, list[str]] = defaultdict(list)
    elsewhere = {row["address"] for row in rows if row["standing"] == 0 and row["elsewhere"]}
    for row in rows:
        ways = set(row["targets"] or ()) - set(row["unconfirmed"] or ())
        if not (row["suspended"] and ways & elsewhere):
            for target in ways:
                above[target].append(row["address"])
    ends = [(_end(row), row["address"]) for row in rows if row["standing"] is not None]
    best: dict[str, AddressEntry] = {}
    for end, address in sorted(ends, key=lambda each: _goodness(each[0]), reverse=True):
        found = [address]
        while found:
            for alias in above[found.pop()]:
                if alias not in best:
                    best[alias] = end
                    found.append(alias)
    limited = {row["address"]: row["limited_until"] for row in rows if row["targets"] is not None}
    documents = {row["address"]: row["policy"] for row in rows if row["standing"] is not None}
    policies = alias_policies(documents, above)
    return {
        address: replace(
            best.get(address, _NOWHERE),
            limited_until=limited[address],
            policy=policies.get(address, {}),
        )
        for address in addresses
        if address in limited
    }


def _goodness(end: AddressEntry) -> tuple[int, float]:
    return -_STANDINGS.index(end.standing), math.inf if end.room_bytes is None else end.room_bytes


def entry_of_row(row: Record, system: str | None) -> Entry:
    """Return the entry of a row of DOMAINS or ACCOUNTS. ``system``: the result of
    SYSTEM_POLICY."""
    if row["subject"].startswith("@"):
        return DomainEntry(
            row["catch_all"],
            row["plus_addressing"],
            row["postmaster"],
            domain_policy(system, row["tenant_policy"], row["domain_policy"]),
        )
    return _end(row)


def _end(row: Record) -> AddressEntry:
    """Return the entry of an address that is a final target of aliases."""
    standing = _STANDINGS[row["standing"]]
    return AddressEntry(
        standing,
        room_bytes=room_of(row["left_bytes"]) if standing is RecipientStatus.DELIVERABLE else None,
        policy=account_policy(row["policy"]),
    )
