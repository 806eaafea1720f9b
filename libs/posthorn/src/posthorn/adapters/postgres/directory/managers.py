"""Marks of managers on Postgres (``ports.managers``, ADR 51).

Theory:

- A mark refers to its object by id and goes with it, whoever deletes it: an object made anew under
  the same name has none.
- An object that an applied configuration creates is marked in the transaction that creates it
  (``mark_new``). Marks of what is there already are written before its changes, in one transaction
  that fails as a whole when another manager has a mark (``PostgresManagers.claim``). Claims of an
  unchanged document write nothing.
- Objects are locked in the order of their kinds and ids, so that claims do not wait for each other
  in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.managers import MOST_MANAGERS, Claims, ManagedBy, Manager, conflict_of
from posthorn.runtime.audit_context import audit_context

MANAGER: Final = "mo.manager, mo.tenant_id AS manager_tenant, mo.since AS managed_since, mo.fields AS managed_fields"
"""The columns of a mark, joined as ``mo``."""


@dataclass(frozen=True, slots=True)
class _Kind:
    column: str
    """Of ``managed_objects``."""
    rows: str
    """Objects of this kind, ``o``, with what says whose they are."""
    named: str
    """The condition that ``asked.name`` names an object, which is the tenant's."""
    id: str = "o.id"
    shown: str = "asked.name"


_IN_DOMAIN: Final = "o JOIN domains d ON d.id = o.domain_id"
_KINDS: Final = {
    "domain": _Kind("domain_id", "domains o", "o.name = asked.name AND o.tenant_id = $1"),
    "account": _Kind(
        "account_id", f"accounts {_IN_DOMAIN}", "o.address = asked.name AND d.tenant_id = $1"
    ),
    "alias": _Kind(
        "alias_id",
        f"aliases {_IN_DOMAIN}",
        "o.address = asked.name AND d.tenant_id = $1 AND o.keeps_copy IS NULL",
    ),
    "webhook": _Kind(
        "webhook_id", "webhooks o", "o.id = asked.name::uuid AND o.tenant_id = $1", shown="o.url"
    ),
    "route": _Kind(
        "route", "routes o", "o.domain = asked.name AND $1::uuid IS NOT NULL", id="o.domain"
    ),
}

# $1 tenant, $2 manager, $3 names, $4 their fields; an object that is deleted meanwhile drops out
_CLAIM: Final = """
INSERT INTO managed_objects (tenant_id, manager, {column}, fields)
SELECT $1::uuid, $2::text, claimed.id, claimed.fields
  FROM (SELECT {id} AS id, string_to_array(asked.fields, ',') AS fields
          FROM unnest($3::text[], $4::text[]) AS asked (name, fields)
         CROSS JOIN {rows}
          LEFT JOIN managed_objects mo ON mo.{column} = {id}
         WHERE {named} AND (mo.id IS NULL OR (mo.tenant_id, mo.manager) <> ($1, $2)
                            OR mo.fields <> string_to_array(asked.fields, ','))
         ORDER BY {id} FOR KEY SHARE OF o) AS claimed
ON CONFLICT ({column}) WHERE {column} IS NOT NULL DO UPDATE
   SET tenant_id = excluded.tenant_id, manager = excluded.manager, fields = excluded.fields,
       since = CASE WHEN (managed_objects.tenant_id, managed_objects.manager) = ($1, $2)
                    THEN managed_objects.since ELSE excluded.since END
 WHERE $5 OR (managed_objects.tenant_id, managed_objects.manager) = ($1, $2)
RETURNING true
"""
_HELD: Final = """
SELECT {shown} AS name, mo.manager
  FROM unnest($3::text[]) AS asked (name)
 CROSS JOIN {rows}
  JOIN managed_objects mo ON mo.{column} = {id}
 WHERE {named} AND (mo.tenant_id, mo.manager) <> ($1, $2) ORDER BY {id}
"""
# NOT IN: one hash table, whatever the server believes about the number of marks
_DROP: Final = """
DELETE FROM managed_objects mo
 WHERE mo.tenant_id = $1 AND mo.manager = $2 AND mo.{column} IS NOT NULL
   AND mo.{column} NOT IN (SELECT {id} FROM unnest($3::text[]) AS asked (name) CROSS JOIN {rows}
                            WHERE {named})
RETURNING true
"""
_NEW: Final = (
    "INSERT INTO managed_objects (tenant_id, manager, {column}, fields) VALUES ($1, $2, $3, $4)"
)
_OTHERS: Final = "SELECT DISTINCT manager FROM managed_objects WHERE tenant_id = $1 LIMIT $2"
_RELEASE: Final = (
    "DELETE FROM managed_objects WHERE tenant_id = $1 AND manager = $2 AND ($3 OR route IS NULL)"
    " RETURNING true"
)
_COUNTS: Final = ", ".join(f"count({kind.column}) AS {name}" for name, kind in _KINDS.items())
_ALL: Final = f"""
SELECT manager, min(since) AS since, {_COUNTS}
  FROM managed_objects WHERE tenant_id = $1 AND ($2 OR route IS NULL) GROUP BY manager ORDER BY manager
"""
_TENANT: Final = "SELECT name FROM tenants WHERE id = $1"


class PostgresManagers:
    """The port Managers over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, tenant: UUID, manager: str, claims: Claims, *, routes: bool, take_over: bool
    ) -> None:
        """Write in one transaction what differs, with a line in the audit log."""
        async with self._database.transaction() as connection:
            known = {row["manager"] for row in await connection.fetch(_OTHERS, tenant, 1000)}
            if manager not in known and len(known) >= MOST_MANAGERS:
                raise Conflict(f"there are already {len(known)} managers; release one first")
            marked = dropped = 0
            held: list[str] = []
            for name, kind in _KINDS.items():
                if name == "route" and not routes:
                    continue
                wanted = claims.get(name, {})
                names = list(wanted)
                fields = [",".join(sorted(each)) for each in wanted.values()]
                claim = _of(_CLAIM, kind)
                marked += len(
                    await connection.fetch(claim, tenant, manager, names, fields, take_over)
                )
                if not take_over:
                    found = await connection.fetch(_of(_HELD, kind), tenant, manager, names)
                    held += [f"{name} {row['name']} by {row['manager']}" for row in found]
                dropped += len(await connection.fetch(_of(_DROP, kind), tenant, manager, names))
            if held:
                raise conflict_of(held)
            if marked or dropped:
                await _record(connection, tenant, {"marked": marked, "released": dropped})

    async def release(self, tenant: UUID, manager: str, *, routes: bool) -> None:
        """Delete the rows, with a line in the audit log."""
        async with self._database.transaction() as connection:
            dropped = await connection.fetch(_RELEASE, tenant, manager, routes)
            if not dropped:
                raise NotFound(f"nothing is managed by {manager}")
            await _record(connection, tenant, {"manager": manager, "released": len(dropped)})

    async def all(self, tenant: UUID, *, routes: bool) -> Sequence[Manager]:
        """Count the marks."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_ALL, tenant, routes)
        return [
            Manager(row["manager"], row["since"], {kind: row[kind] for kind in _KINDS})
            for row in rows
        ]


async def mark_new(connection: Connection, kind: str, number: object) -> None:
    """Mark the object that was just created with this id, if an applied configuration with a
    manager creates it."""
    request = audit_context()
    if request is None or request.applying is None or request.applying.manager is None:
        return
    step = request.applying
    await connection.execute(
        _of(_NEW, _KINDS[kind]), step.tenant, step.manager, number, list(step.fields)
    )


def note_manager(row: Any, fields: Collection[str] | None = None) -> None:
    """Note for the current request that it changes these fields of a managed object, None: all of
    them, if another than its manager does so. ``row`` may have the columns ``MANAGER``."""
    request, mark = audit_context(), managed_by(row)
    if request is None or mark is None:
        return
    step = request.applying
    if step is not None and (step.tenant, step.manager) == (mark.tenant, mark.manager):
        return
    if fields is None or not set(mark.fields).isdisjoint(fields):
        request.managed_by = mark.manager


def managed_by(row: Any) -> ManagedBy | None:
    """Return the mark of a row, which has the columns ``MANAGER``, or none of them."""
    if row.get("manager") is None:
        return None
    since: datetime = row["managed_since"]
    return ManagedBy(row["manager"], row["manager_tenant"], since, tuple(row["managed_fields"]))


async def _record(connection: Connection, tenant: UUID, details: dict[str, object]) -> None:
    name: str = await connection.fetchval(_TENANT, tenant)
    await write_audit(connection, tenant, name, details)


def _of(statement: str, kind: _Kind) -> str:
    return statement.format(**asdict(kind))
