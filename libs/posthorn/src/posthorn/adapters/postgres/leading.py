"""What leads to what: aliases and catch-alls, and what keeps them whole.

Rules:

- An address is taken by an account or an alias, never by both, which no unique index can say: whoever makes an alias, or sets its
  targets, holds ``ALIAS_LOCK`` alone, and whoever makes an account shares it. The same lock keeps two changes from closing a
  loop of aliases together.
- What an alias or a catch-all leads to is locked against removal (FOR KEY SHARE) while that is written; a removal locks its row
  first and looks for what leads to it after that. One of the two always sees the other.
- Within our domains, aliases and catch-alls stay in one tenant. An alias may lead out of here as well, to an address in no domain
  of ours; a catch-all may not.
- A domain of another tenant that is not verified counts for nothing: whoever names a domain does not own it.
- A domain that is made, verified or removed changes what an alias comes to that leads to addresses in it: such aliases are
  published anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.directory_truth import write_outbox
from posthorn.ports.administration import Conflict, Fault, Unfit

MOST_STEPS = 8
"""Aliases that may follow one another; delivery follows a few more, for a ``+tag`` and a catch-all before them."""

ALIAS_LOCK = 0x706F7374_0002

# for each target: whether it leads to the alias ($2), and over how many aliases it goes at most
_DOWN = """
    WITH RECURSIVE down (root, address, steps) AS (
        SELECT target, target, 0 FROM unnest($1::text[]) AS target
      UNION
        SELECT down.root, unnest(alias.targets), down.steps + 1
          FROM down JOIN aliases alias ON alias.address = down.address
         WHERE down.steps <= $3 AND down.address <> $2
    ) SELECT root, bool_or(address = $2) AS loops, max(steps) AS steps FROM down GROUP BY root
"""
_UP = """
    WITH RECURSIVE up (address, steps) AS (
        SELECT $1::text, 0
      UNION
        SELECT alias.address, up.steps + 1 FROM up JOIN aliases alias ON alias.targets @> ARRAY[up.address]
         WHERE up.steps <= $2
    ) SELECT max(steps) FROM up
"""


async def check_catch_all(connection: Connection, owner: UUID, catch_all: object) -> None:
    """Raise Unfit unless the tenant has this account or alias, which is then kept from being removed."""
    if catch_all is not None and catch_all not in await _hold(connection, owner, [str(catch_all)]):
        raise Unfit(Fault("catch_all", "there is no account or alias with this address"))


async def _hold(connection: Connection, owner: UUID, addresses: Sequence[str]) -> set[str]:
    """Give those of the addresses that are accounts or aliases of the tenant, and keep them from being removed."""
    held: set[str] = set()
    for table in ("accounts", "aliases"):
        rows = await connection.fetch(
            f"SELECT a.address FROM {table} a JOIN domains d ON d.id = a.domain_id"  # noqa: S608
            " WHERE d.tenant_id = $1 AND a.address = ANY($2) ORDER BY a.id FOR KEY SHARE OF a",
            owner,
            list(addresses),
        )
        held |= {row["address"] for row in rows}
    return held


async def check_targets(connection: Connection, owner: UUID, address: str, targets: Sequence[str]) -> None:
    """Raise Unfit unless the alias may lead there; the caller holds ALIAS_LOCK."""
    rows = await connection.fetch(
        "SELECT name, tenant_id FROM domains WHERE name = ANY($1) AND (verified_at IS NOT NULL OR tenant_id = $2)",
        [target.rpartition("@")[2] for target in targets],
        owner,
    )
    owners = {row["name"]: row["tenant_id"] for row in rows}
    held = await _hold(connection, owner, targets)
    above = await connection.fetchval(_UP, address, MOST_STEPS)
    below = {row["root"]: row for row in await connection.fetch(_DOWN, list(targets), address, MOST_STEPS)}
    faults = []
    for number, target in enumerate(targets):
        problem, home = None, owners.get(target.rpartition("@")[2])
        if below[target]["loops"]:
            problem = f"{target} leads back to {address}"
        elif home is not None and home != owner:
            problem = f"{target} is in a domain of another tenant"
        elif home is not None and target not in held:
            problem = f"there is no account or alias {target}"
        elif above + 1 + below[target]["steps"] > MOST_STEPS:
            problem = f"more than {MOST_STEPS} aliases would follow one another"
        if problem:
            faults.append(Fault(f"targets[{number}]", problem))
    if faults:
        raise Unfit(*faults)


async def doubt_aliases_into(connection: Connection, domain: str) -> None:
    """Publish anew the aliases that lead into a domain. Reads all aliases: domains are made and removed seldom."""
    led = await connection.fetch(
        "SELECT address FROM aliases"
        " WHERE EXISTS (SELECT FROM unnest(targets) AS target WHERE split_part(target, '@', -1) = $1) ORDER BY address",
        domain,
    )
    if led:
        await write_outbox(connection, *(row["address"] for row in led))


async def refuse_while_led_to(connection: Connection, address: str) -> None:
    """Raise Conflict while an alias or a catch-all leads to the address."""
    alias = await connection.fetchval(
        "SELECT address FROM aliases WHERE targets @> ARRAY[$1::text] ORDER BY address LIMIT 1", address
    )
    if alias is not None:
        raise Conflict(f"the alias {alias} leads to {address}; change or delete it first")
    domain = await connection.fetchval("SELECT name FROM domains WHERE catch_all = $1 ORDER BY name LIMIT 1", address)
    if domain is not None:
        raise Conflict(f"{address} is the catch-all of the domain {domain}; change that first")
