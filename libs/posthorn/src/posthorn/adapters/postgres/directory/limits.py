"""Limits of tenants and domains: domains, accounts, aliases, and the sum of quotas.

A limit is enforced by counting under the lock of the row that sets it (FOR NO KEY UPDATE, which
allows references to it), so that two creations do not both take the last place. A limit set below
the present number removes nothing. Tenants are locked before domains, domains before accounts.

A tenant without a limit has the bounds ``MOST_DOMAINS``, ``MOST_ACCOUNTS`` and ``MOST_ALIASES``. The
latter two are checked without a lock, and counted only where the planner's estimate says that the
whole table has about as many rows, so that they cost nothing in all other systems.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.ports.errors import Conflict, FieldError, ValidationFailed

MOST_DOMAINS = 10_000
"""Domains of a tenant without ``max_domains``."""
MOST_ACCOUNTS = 1_000_000
"""Accounts of a tenant without ``max_accounts``."""
MOST_ALIASES = 1_000_000
"""Aliases of a tenant."""

_ESTIMATED = "SELECT reltuples FROM pg_class WHERE oid = $1::text::regclass"
_CERTAIN_SHARE = 0.8
"""Statistics are renewed when a tenth of a table has changed."""
_HELD = """
SELECT count(*) AS accounts, coalesce(sum(a.quota_bytes), 0)::bigint AS promised
  FROM accounts a JOIN domains d ON d.id = a.domain_id
 WHERE {} AND a.id IS DISTINCT FROM $2
"""


async def check_domains(connection: Connection, tenant: UUID) -> None:
    """Lock the tenant, and raise Conflict when it has as many domains as it may."""
    row: Any = await connection.fetchrow(
        "SELECT name, max_domains FROM tenants WHERE id = $1 FOR NO KEY UPDATE", tenant
    )
    if row is None:
        return
    most = MOST_DOMAINS if row["max_domains"] is None else row["max_domains"]
    held = await connection.fetchval("SELECT count(*) FROM domains WHERE tenant_id = $1", tenant)
    if held >= most:
        raise Conflict(f"the tenant {row['name']} may have {most} domains, and has {held}")


async def check_aliases(connection: Connection, tenant: UUID) -> None:
    """Raise Conflict when the tenant has as many aliases as it may."""
    await _check_bound(connection, "aliases", MOST_ALIASES, tenant, 1)


async def _check_bound(
    connection: Connection, table: str, most: int, tenant: UUID, more: int
) -> None:
    """Raise Conflict when a tenant would have too many rows of a table of addresses."""
    if 0 <= await connection.fetchval(_ESTIMATED, table) < most * _CERTAIN_SHARE:
        return
    held = await connection.fetchval(
        f"SELECT count(*) FROM {table} a JOIN domains d ON d.id = a.domain_id WHERE d.tenant_id = $1",
        tenant,
    )
    if held + more > most:
        raise Conflict(f"a tenant may have {most} {table}, and this one has {held}")


async def check_account(
    connection: Connection,
    domain: int,
    quota: int | None,
    account: int | None = None,
) -> None:
    """Lock the rows that limit the accounts of a domain, and raise Conflict or ValidationFailed
    when one more with this quota exceeds a limit.

    ``account`` is one that exists already and gets another quota.
    """
    await check_accounts(connection, domain, [quota], account)


async def check_accounts(
    connection: Connection,
    domain: int,
    quotas: list[int | None],
    account: int | None = None,
    where: str = "quota_bytes",
) -> None:
    """The same for several new accounts at once; ``where`` is the field that names the quota."""
    limits: Any = await connection.fetchrow(
        """
        SELECT t.id AS tenant_id, t.max_accounts AS tenant_accounts, t.quota_bytes AS tenant_quota,
               d.max_accounts AS domain_accounts, d.quota_bytes AS domain_quota
          FROM domains d JOIN tenants t ON t.id = d.tenant_id WHERE d.id = $1
        """,
        domain,
    )
    if limits is None:
        return
    if account is None and limits["tenant_accounts"] is None:
        await _check_bound(connection, "accounts", MOST_ACCOUNTS, limits["tenant_id"], len(quotas))
    for table, number, most, max_bytes, condition in (
        (
            "tenants",
            limits["tenant_id"],
            limits["tenant_accounts"],
            limits["tenant_quota"],
            "d.tenant_id = $1",
        ),
        ("domains", domain, limits["domain_accounts"], limits["domain_quota"], "a.domain_id = $1"),
    ):
        if (most is None or account is not None) and max_bytes is None:
            continue
        row: Any = await connection.fetchrow(
            f"SELECT name, max_accounts, quota_bytes FROM {table} WHERE id = $1 FOR NO KEY UPDATE",
            number,
        )
        if row is None:
            continue
        held: Any = await connection.fetchrow(_HELD.format(condition), number, account)
        owner = f"the {table[:-1]} {row['name']}"
        _check(owner, row, held, quotas, where, is_new=account is None)


def _check(
    owner: str, limits: Any, held: Any, quotas: list[int | None], where: str, *, is_new: bool
) -> None:
    most = limits["max_accounts"]
    if is_new and most is not None and held["accounts"] + len(quotas) > most:
        raise Conflict(f"{owner} may have {most} accounts, and has {held['accounts']}")
    limit = limits["quota_bytes"]
    if limit is None:
        return
    if any(quota is None for quota in quotas):
        raise ValidationFailed(
            FieldError(
                where,
                f"{owner} may promise its accounts {limit} bytes, so each account needs a quota",
            )
        )
    if held["promised"] + sum(quota or 0 for quota in quotas) > limit:
        left = max(0, limit - held["promised"])
        raise ValidationFailed(
            FieldError(
                where,
                f"{owner} may promise its accounts {limit} bytes together; {left} are left",
            )
        )
