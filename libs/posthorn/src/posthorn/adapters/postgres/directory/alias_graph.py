"""The graph of aliases and catch-alls, and its constraints.

Rules:

- An address belongs to an account or an alias, never to both, which no unique index can express:
  creating an alias, or setting its targets, takes an exclusive lock of the tenant's addresses
  (``hold_addresses``), and creating an account a shared one. The same lock keeps two changes from
  closing a loop of aliases together. A domain never changes its tenant, so one tenant's lock is
  enough; the domain's row is locked first.
- The targets of an alias or catch-all are locked against removal (FOR KEY SHARE) while it is
  written; a removal locks its row first and then looks for references to it. One of the two always
  sees the other.
- Within our domains, aliases and catch-alls stay in one tenant. An alias may also lead to an
  address elsewhere, in no local domain; a catch-all may not. Such a domain can become another
  tenant's later: the alias then leads to whatever is there, as it would to an address elsewhere,
  and neither tenant's rules consider the other's aliases. They are not disclosed, and prevent no
  creation or removal; a removed address simply does not exist.
- An alias leads to ``MOST_ADDRESSES`` at most, itself not counted, over ``MOST_STEPS`` aliases at
  most. Both apply to aliases that lead to it as well. Each is found by steps over distinct
  addresses, so that the cost of a mesh is linear in its size.
- An unverified domain of another tenant does not count: creating a domain does not prove ownership.
- Creating, verifying or removing a domain changes the targets of aliases that lead into it: such
  aliases are published again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import batched
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.ports.errors import Conflict, FieldError, ValidationFailed

MOST_STEPS = 8
"""Most aliases that may follow one another."""
MOST_ADDRESSES = 1_000
"""Most addresses, aliases included, that an alias may lead to."""
MOST_ABOVE = 5_000
"""Most aliases that may lead to an alias that gets more targets: each is checked."""
_AT_ONCE = 100

ALIAS_LOCK = 0x706F_0002
"""Class of the advisory locks of tenants' addresses."""

_OWN = "aliases alias JOIN domains d ON d.id = alias.domain_id AND d.tenant_id = $2"
_BELOW = f"SELECT DISTINCT unnest(alias.targets) AS address FROM {_OWN} WHERE alias.address = ANY($1) LIMIT $3"
_ABOVE = f"SELECT DISTINCT alias.address FROM {_OWN} WHERE alias.targets && $1::text[] LIMIT $3"
_TO = f"SELECT alias.address FROM {_OWN} WHERE alias.address = ANY($1) AND alias.targets && $3::text[]"
_TARGETS = f"SELECT alias.targets FROM {_OWN} WHERE alias.address = $1"

# how many addresses besides $4 each of the aliases ($1) comes to other than over $3
_WIDTHS = f"""
    WITH RECURSIVE below (root, address) AS (
        SELECT root, root FROM unnest($1::text[]) AS root
      UNION
        SELECT below.root, unnest(alias.targets)
          FROM below JOIN {_OWN} ON alias.address = below.address
         WHERE below.address <> $3
    )
    SELECT root, count(*) FILTER (WHERE address <> root AND address <> $3 AND address <> ALL($4::text[])) AS others,
           sum(count(*)) OVER () AS read
      FROM (SELECT * FROM below LIMIT $5) AS below GROUP BY root ORDER BY root
"""


async def hold_addresses(connection: Connection, owners: Collection[UUID], *, alone: bool) -> None:
    """Keep others from writing aliases of these tenants, and with ``alone`` from creating
    accounts too, until the end of the transaction."""
    take = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    for key in sorted(
        {owner.int & 0x7FFF_FFFF for owner in owners}
    ):  # in one order, so that no two wait for each other
        await connection.execute(f"SELECT {take}($1, $2)", ALIAS_LOCK, key)


async def check_catch_all(connection: Connection, owner: UUID, catch_all: object) -> None:
    """Raise ValidationFailed unless the tenant has this account or alias; lock it against
    removal."""
    if catch_all is not None and catch_all not in await _hold(connection, owner, [str(catch_all)]):
        raise ValidationFailed(
            FieldError("catch_all", "there is no account or alias with this address")
        )


async def _hold(connection: Connection, owner: UUID, addresses: Sequence[str]) -> set[str]:
    """Return those of the addresses that are accounts or aliases of the tenant, and lock them
    against removal."""
    held: set[str] = set()
    for table in ("accounts", "aliases"):
        rows = await connection.fetch(
            f"SELECT a.address FROM {table} a JOIN domains d ON d.id = a.domain_id"
            " WHERE d.tenant_id = $1 AND a.address = ANY($2) ORDER BY a.id FOR KEY SHARE OF a",
            owner,
            list(addresses),
        )
        held |= {row["address"] for row in rows}
    return held


async def check_targets(
    connection: Connection, owner: UUID, address: str, targets: Sequence[str]
) -> None:
    """Raise ValidationFailed unless the alias may have these targets; the caller holds the
    exclusive lock of the tenant's addresses."""
    rows = await connection.fetch(
        "SELECT name, tenant_id FROM domains WHERE name = ANY($1) AND (verified_at IS NOT NULL OR tenant_id = $2)",
        [target.rpartition("@")[2] for target in targets],
        owner,
    )
    owners = {row["name"]: row["tenant_id"] for row in rows}
    held = await _hold(connection, owner, targets)
    above = await _steps(connection, _ABOVE, owner, {address}, MOST_ABOVE)
    below = await _steps(connection, _BELOW, owner, set(targets), MOST_ADDRESSES, at=address)
    looping = set[str]().union(*above)
    deep = await _deep(connection, owner, below, MOST_STEPS + 1 - len(above))
    faults = []
    for number, target in enumerate(targets):
        problem, home = None, owners.get(target.rpartition("@")[2])
        if target in looping:
            problem = f"{target} leads back to {address}"
        elif home is not None and home != owner:
            problem = f"{target} is in a domain of another tenant"
        elif home is not None and target not in held:
            problem = f"there is no account or alias {target}"
        elif target in deep:
            problem = f"more than {MOST_STEPS} aliases would follow one another"
        if problem:
            faults.append(FieldError(f"targets[{number}]", problem))
    if not faults and (problem := await _too_wide(connection, owner, address, above, below)):
        faults.append(FieldError("targets", problem))
    if faults:
        raise ValidationFailed(*faults)


async def _steps(
    connection: Connection,
    step: str,
    owner: UUID,
    start: set[str],
    most: int,
    at: str | None = None,
) -> list[set[str]]:
    """Return what is reached from ``start`` after zero steps, one step and so on, within the
    tenant's aliases, and not beyond ``at``.

    Ends when more than ``most`` addresses or more than the permitted steps are seen.
    """
    reached, seen = [start], set(start)
    while len(reached) <= MOST_STEPS + 1 and len(seen) <= most:
        rows = await connection.fetch(step, list(reached[-1] - {at}), owner, most + 1)
        if not rows:
            break
        reached.append({row["address"] for row in rows})
        seen |= reached[-1]
    return reached


async def _deep(
    connection: Connection, owner: UUID, below: Sequence[set[str]], most: int
) -> set[str]:
    """Return those of the first addresses from which a path leads over ``most`` aliases or more."""
    if most <= 0:
        return below[0]
    if len(below) <= most:
        return set()
    found = below[most]
    for earlier in reversed(below[:most]):
        found = {
            row["address"] for row in await connection.fetch(_TO, list(earlier), owner, list(found))
        }
    return found


async def _too_wide(
    connection: Connection,
    owner: UUID,
    address: str,
    above: Sequence[set[str]],
    below: Sequence[set[str]],
) -> str | None:
    """Raise ValidationFailed when the alias, or one above it, would lead to too many addresses."""
    reached = set[str]().union(*below) - {address}
    if len(reached) > MOST_ADDRESSES:
        return f"the alias would lead to more than {MOST_ADDRESSES} addresses"
    roots = sorted(set[str]().union(*above[1:]) - {address})
    if not roots:
        return None
    before = await connection.fetchval(_TARGETS, address, owner)
    if before:
        led = await _steps(connection, _BELOW, owner, set(before), MOST_ADDRESSES, at=address)
        if reached <= set[str]().union(*led):
            return None  # no alias leads to more than before
    if len(roots) > MOST_ABOVE:
        return f"more than {MOST_ABOVE} aliases lead to {address}: it may be given no more targets"
    for some in batched(roots, _AT_ONCE, strict=False):
        most = len(some) * (MOST_ADDRESSES + 2)
        for row in await connection.fetch(_WIDTHS, list(some), owner, address, list(reached), most):
            if row["others"] + 1 + len(reached) > MOST_ADDRESSES or row["read"] >= most:
                return f"the alias {row['root']}, which leads to {address}, would lead to more than {MOST_ADDRESSES} addresses"
    return None


async def recheck_aliases_into(connection: Connection, domain: str) -> None:
    """Publish the aliases that lead into a domain again. Reads all aliases: domains are rarely
    created and removed."""
    led = await connection.fetch(
        "SELECT address FROM aliases"
        " WHERE EXISTS (SELECT FROM unnest(targets) AS target WHERE split_part(target, '@', -1) = $1) ORDER BY address",
        domain,
    )
    if led:
        await write_outbox(connection, *(row["address"] for row in led))


async def refuse_while_led_to(connection: Connection, owner: UUID, address: str) -> None:
    """Raise Conflict while an alias or a catch-all of the tenant leads to the address."""
    alias = await connection.fetchval(
        "SELECT a.address FROM aliases a JOIN domains d ON d.id = a.domain_id AND d.tenant_id = $2"
        " WHERE a.targets @> ARRAY[$1::text] ORDER BY a.address LIMIT 1",
        address,
        owner,
    )
    if alias is not None:
        raise Conflict(f"the alias {alias} forwards to {address}; change or delete it first")
    domain = await connection.fetchval(
        "SELECT name FROM domains WHERE catch_all = $1 AND tenant_id = $2 ORDER BY name LIMIT 1",
        address,
        owner,
    )
    if domain is not None:
        raise Conflict(f"{address} is the catch-all of the domain {domain}; change that first")
