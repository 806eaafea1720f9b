"""Targets of aliases elsewhere, on Postgres.

Theory:

- A target that must confirm has a row in ``alias_targets`` until its alias no longer leads to it;
  ``confirmed_at`` is when it confirmed. One without a row counts as confirmed: those older than the
  table, and those that need not confirm.
- A domain that is not verified is not local: mail to it goes elsewhere, so its addresses must confirm
  like others; those from before that rule got rows by migration 0025, or get them when a verified
  domain is deleted. While it is one of the tenant's own they are not asked. Once it is verified
  nothing leaves any more; the row stays, for the domain may go again.
- The row is written in the transaction that writes the alias. By ``due_at`` the API asks the target
  afterwards, under the row's id, so that asking twice sends one message (ADR 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.tenant_scope import MOVED
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.ports.changes import Change
from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn.ports.forwards import ForwardPolicy, Unconfirmed
from posthorn.runtime.ids import new_id

NO_POLICY = ForwardPolicy()
_ELSEWHERE = """
SELECT target FROM unnest($1::text[]) AS target
 WHERE NOT EXISTS (SELECT FROM domains d
                    WHERE d.name = split_part(target, '@', -1) AND (d.verified_at IS NOT NULL OR d.tenant_id = $2))
"""
_FORGET = "DELETE FROM alias_targets WHERE alias_id = $1 AND target <> ALL ($2::text[])"
_ENTER = """
INSERT INTO alias_targets (id, alias_id, target)
SELECT id, $2, target FROM unnest($1::uuid[], $3::text[]) AS new (id, target)
 WHERE NOT EXISTS (SELECT FROM domains d WHERE d.name = split_part(target, '@', -1) AND d.verified_at IS NOT NULL)
ON CONFLICT (alias_id, target) DO NOTHING
"""
_INTO = """
SELECT DISTINCT a.id AS alias, way.target FROM aliases a CROSS JOIN LATERAL unnest(a.targets) AS way (target)
 WHERE split_part(way.target, '@', -1) = $1
   AND NOT EXISTS (SELECT FROM alias_targets t WHERE t.alias_id = a.id AND t.target = way.target)
"""
_ENTER_INTO = """
INSERT INTO alias_targets (id, alias_id, target)
SELECT new.* FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS new (id, alias, target)
  JOIN aliases a ON a.id = new.alias FOR KEY SHARE OF a
ON CONFLICT (alias_id, target) DO NOTHING
"""
_TARGET = """
SELECT t.id, a.address AS alias, t.target, d.tenant_id AS tenant, n.name AS tenant_name
  FROM alias_targets t JOIN aliases a ON a.id = t.alias_id JOIN domains d ON d.id = a.domain_id JOIN tenants n ON n.id = d.tenant_id
"""
_DUE = f"""
{_TARGET} WHERE t.due_at <= now() AND t.confirmed_at IS NULL AND n.state = 'active'
   AND NOT EXISTS (SELECT FROM domains o WHERE o.name = split_part(t.target, '@', -1) AND o.tenant_id = d.tenant_id)
 ORDER BY t.due_at LIMIT $1
"""
_FIND = f"{_TARGET} WHERE t.id = $1"


async def elsewhere_of(connection: Connection, owner: UUID, targets: Sequence[str]) -> list[str]:
    """Return those of the targets that are in no local domain."""
    return [row["target"] for row in await connection.fetch(_ELSEWHERE, list(targets), owner)]


def check_number(
    policy: ForwardPolicy, tenant: UUID | None, elsewhere: Sequence[str], before: int = 0
) -> None:
    """Raise ValidationFailed when a tenant's key sets more targets elsewhere than permitted, and
    more than before."""
    most = policy.most_targets
    if tenant is not None and most is not None and len(elsewhere) > max(most, before):
        text = f"an alias may lead to {most} addresses elsewhere, and here are {len(elsewhere)}; a platform admin may set more"
        raise ValidationFailed(FieldError("targets", text))


async def enter_targets(
    connection: Connection,
    policy: ForwardPolicy,
    tenant: UUID | None,
    alias: int,
    new: Sequence[str],
) -> None:
    """Record which of the new targets of an alias, just written, must confirm."""
    must_confirm = policy.platform_confirms if tenant is None else policy.tenants_confirm
    if must_confirm and new:
        await connection.execute(_ENTER, [new_id() for _ in new], alias, list(new))


async def enter_targets_into(connection: Connection, policy: ForwardPolicy, domain: str) -> None:
    """Record that targets in a domain that is no longer local must confirm, if nothing is recorded
    of them. Who set them is not known: they count as set by tenants' keys. Reads all aliases, as
    ``recheck_aliases_into`` does, which is to publish them."""
    found = await connection.fetch(_INTO, domain) if policy.tenants_confirm else []
    if found:
        ids = [new_id() for _ in found]
        aliases, targets = ([row[name] for row in found] for name in ("alias", "target"))
        await connection.execute(_ENTER_INTO, ids, aliases, targets)


async def forget_targets(connection: Connection, alias: int, targets: Sequence[str]) -> None:
    """Delete what is recorded of targets that an alias had before it got these."""
    await connection.execute(_FORGET, alias, list(targets))


class PostgresForwardTargets:
    """The port ForwardTargets over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, limit: int) -> Sequence[Unconfirmed]:
        async with self._database.session() as connection:
            return [_as_target(row) for row in await connection.fetch(_DUE, limit)]

    async def asked(self, target: UUID) -> None:
        async with self._database.session() as connection:
            await connection.execute("UPDATE alias_targets SET due_at = NULL WHERE id = $1", target)

    async def postpone(self, target: UUID, seconds: float) -> None:
        async with self._database.session() as connection:
            await connection.execute(
                "UPDATE alias_targets SET due_at = now() + make_interval(secs => $2) WHERE id = $1",
                target,
                seconds,
            )

    async def find(self, target: UUID) -> Unconfirmed | None:
        """Return a target, whether it has confirmed or not."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_FIND, target)
        return None if row is None else _as_target(row)

    async def confirm(self, tenant: UUID | None, target: UUID) -> Change[str]:
        """Record that the target has confirmed."""
        async with self._database.transaction() as connection:
            row: Any = await connection.fetchrow(_FIND, target)
            if row is None or tenant not in (None, row["tenant"]):
                raise NotFound
            changed = await connection.fetchval(
                "UPDATE alias_targets SET confirmed_at = now(), due_at = NULL WHERE id = $1 AND confirmed_at IS NULL"
                " RETURNING true",
                target,
            )
            if not changed:
                return Change(row["alias"])
            await connection.execute(
                f"UPDATE aliases SET updated_at = {MOVED} WHERE address = $1",
                row["alias"],
            )
            await write_audit(connection, row["tenant"], row["alias"], {"confirmed": row["target"]})
            return Change(row["alias"], await write_outbox(connection, row["alias"]))


def _as_target(row: Any) -> Unconfirmed:
    return Unconfirmed(row["id"], row["alias"], row["target"], row["tenant"], row["tenant_name"])
