"""Filter policies on Postgres.

A row of ``filter_policies`` exists while a document is set. An owner without one has the version
``UNSET``, so that of two first settings by one version exactly one succeeds: the unique key of the
owner decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.tenant_scope import (
    MOVED,
    Scoped,
    check_version,
    one,
    version_of,
)
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.managers import MANAGER, note_manager
from posthorn.adapters.postgres.directory.outbox import Lane, write_outbox
from posthorn.model.filter_policy import LISTS, merged, origins
from posthorn.ports.changes import Change, Versions
from posthorn.ports.errors import Conflict, PreconditionFailed
from posthorn.ports.filter_policies import (
    MOST_BYTES_BELOW,
    UNSET,
    EffectivePolicy,
    Level,
    PolicyOwner,
    StoredPolicy,
)

_DOMAINS_AT_ONCE: Final = 5000
_MOST_WAITED_FOR: Final = 100
_ROWS_AT_ONCE: Final = 50

# the owner of each level with the documents of the levels above it. A row of the system belongs to
# nobody: a tenant's caller does not see it.
_OWNERS: Final = {
    Level.SYSTEM: Scoped(
        "SELECT NULL::uuid AS tenant_id, NULL::uuid AS of_tenant, NULL::bigint AS of_domain,"
        " NULL::bigint AS of_account, 'system' AS name"
        " FROM (SELECT $2::text, NULL::uuid AS tenant_id) AS d WHERE {visible}"
    ),
    Level.TENANT: Scoped(
        "SELECT t.id AS tenant_id, t.id AS of_tenant, NULL::bigint AS of_domain,"
        " NULL::bigint AS of_account, t.name"
        " FROM tenants t WHERE {visible} AND (t.name = $2 OR t.id::text = lower($2))"
        " ORDER BY t.id::text = lower($2) DESC LIMIT 1",
        "t.id",
    ),
    Level.DOMAIN: Scoped(
        "SELECT d.tenant_id, NULL::uuid AS of_tenant, d.id AS of_domain, NULL::bigint AS of_account,"
        f" d.name, {MANAGER} FROM domains d LEFT JOIN managed_objects mo ON mo.domain_id = d.id"
        " WHERE {visible} AND d.name = $2"
    ),
    Level.ACCOUNT: Scoped(
        "SELECT d.tenant_id, NULL::uuid AS of_tenant, a.domain_id AS above, NULL::bigint AS of_domain,"
        f" a.id AS of_account, a.address AS name, {MANAGER}"
        " FROM accounts a JOIN domains d ON d.id = a.domain_id"
        " LEFT JOIN managed_objects mo ON mo.account_id = a.id WHERE {visible} AND a.address = $2"
    ),
}
# the owner stays as long as its policy is changed
_LOCKED: Final = {
    Level.SYSTEM: _OWNERS[Level.SYSTEM],
    Level.TENANT: _OWNERS[Level.TENANT] + "FOR KEY SHARE OF t",
    Level.DOMAIN: _OWNERS[Level.DOMAIN] + "FOR KEY SHARE OF d",
    Level.ACCOUNT: _OWNERS[Level.ACCOUNT] + "FOR KEY SHARE OF a",
}
_KEY: Final = (
    "tenant_id IS NOT DISTINCT FROM $1 AND domain_id IS NOT DISTINCT FROM $2"
    " AND account_id IS NOT DISTINCT FROM $3"
)
_FIND: Final = (
    f"SELECT id, document::text AS document, updated_at FROM filter_policies WHERE {_KEY}"
)
_INSERT: Final = """
INSERT INTO filter_policies (tenant_id, domain_id, account_id, document)
VALUES ($1, $2, $3, $4::text::jsonb)
ON CONFLICT ON CONSTRAINT filter_policies_owner_key DO NOTHING
RETURNING id, document::text AS document, updated_at
"""
_UPDATE: Final = f"""
UPDATE filter_policies SET document = $2::text::jsonb, updated_at = {MOVED} WHERE id = $1
RETURNING id, document::text AS document, updated_at
"""
_LEVELS: Final = """
SELECT tenant_id, domain_id, account_id, document::text AS document FROM filter_policies
 WHERE (tenant_id IS NULL AND domain_id IS NULL AND account_id IS NULL)
    OR tenant_id = $1 OR domain_id = $2 OR account_id = $3
"""
_BELOW: Final = """
SELECT p.id, p.updated_at, p.document::text AS document, d.name AS domain, NULL AS account
  FROM filter_policies p JOIN domains d ON d.id = p.domain_id WHERE d.tenant_id = $1
UNION ALL
SELECT p.id, p.updated_at, p.document::text, NULL, a.address
  FROM filter_policies p JOIN accounts a ON a.id = p.account_id JOIN domains d ON d.id = a.domain_id
 WHERE d.tenant_id = $1
"""
_SOME_DOMAINS: Final = (
    "SELECT name FROM domains WHERE $1::uuid IS NULL OR tenant_id = $1 ORDER BY id LIMIT $2"
)
_PUBLISH_DOMAINS: Final = """
WITH slice AS (
    SELECT id, '@' || name AS subject, tenant_id FROM domains
     WHERE ($1::uuid IS NULL OR tenant_id = $1) AND id > $2 ORDER BY id LIMIT $3
), written AS (
    INSERT INTO directory_outbox (subject, lane, tenant_id)
    SELECT subject, $4, tenant_id FROM slice
)
SELECT max(id) FROM slice
"""


class PostgresFilterPolicies:
    """The port FilterPolicies over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def policy(self, tenant: UUID | None, owner: PolicyOwner) -> StoredPolicy:
        async with self._database.session() as connection:
            found = await one(connection, tenant, _OWNERS[owner.level], owner.name)
            return _as_policy(owner, found, await connection.fetchrow(_FIND, *_key(found)))

    async def set_policy(
        self,
        tenant: UUID | None,
        owner: PolicyOwner,
        document: Mapping[str, Any],
        expected: Versions = None,
    ) -> Change[StoredPolicy]:
        """Insert the row, or replace its document."""
        text = json.dumps(document)
        async with self._database.transaction() as connection:
            found = await one(connection, tenant, _LOCKED[owner.level], owner.name)
            row: Any = None
            present: Any = None
            while row is None and present is None:  # it may be unset between the two
                row = await connection.fetchrow(_INSERT, *_key(found), text)
                if row is None:
                    present = await connection.fetchrow(f"{_FIND} FOR UPDATE", *_key(found))
            if present is None:
                _check_unset(expected)
                before: Mapping[str, Any] = {}
            else:
                check_version(present, expected)
                before = json.loads(present["document"])
                row = await connection.fetchrow(_UPDATE, present["id"], text)
            note_manager(found, ("filter_policy",))
            stored = _as_policy(owner, found, row)
            await _note(connection, found, before, document)
            return Change(stored, await _publish(connection, owner.level, found))

    async def unset_policy(
        self, tenant: UUID | None, owner: PolicyOwner, expected: Versions = None
    ) -> Change[None]:
        """Delete the row."""
        async with self._database.transaction() as connection:
            found = await one(connection, tenant, _LOCKED[owner.level], owner.name)
            present: Any = await connection.fetchrow(f"{_FIND} FOR UPDATE", *_key(found))
            if present is None:
                _check_unset(expected)
                return Change(None)
            check_version(present, expected)
            note_manager(found, ("filter_policy",))
            await connection.execute("DELETE FROM filter_policies WHERE id = $1", present["id"])
            await _note(connection, found, json.loads(present["document"]), {})
            return Change(None, await _publish(connection, owner.level, found))

    async def below(self, tenant: UUID) -> Mapping[PolicyOwner, StoredPolicy]:
        """Read row by row, to stop at the limit."""
        found: dict[PolicyOwner, StoredPolicy] = {}
        left = MOST_BYTES_BELOW
        async with self._database.transaction() as connection:
            async for row in connection.cursor(_BELOW, tenant, prefetch=_ROWS_AT_ONCE):
                left -= len(row["document"])
                if left < 0:
                    raise Conflict("the filter policies of the tenant do not fit into one document")
                owner = (
                    PolicyOwner(Level.ACCOUNT, row["account"])
                    if row["domain"] is None
                    else PolicyOwner(Level.DOMAIN, row["domain"])
                )
                found[owner] = _as_policy(owner, {"name": owner.name}, row)
        return found

    async def effective(self, tenant: UUID | None, owner: PolicyOwner) -> EffectivePolicy:
        """Read the documents of all levels in one statement."""
        async with self._database.session() as connection:
            found = await one(connection, tenant, _OWNERS[owner.level], owner.name)
            domain = found["above"] if owner.level is Level.ACCOUNT else found["of_domain"]
            rows = await connection.fetch(_LEVELS, found["tenant_id"], domain, found["of_account"])
        documents: dict[str, Mapping[str, Any] | None] = dict.fromkeys(Level)
        for row in rows:
            documents[_level_of(row)] = json.loads(row["document"])
        return EffectivePolicy(merged(*documents.values()), origins(documents))


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, object]:
    """Return the fields that differ, with their new values, for the audit log; of a list, the
    entries that were added and removed."""
    found: dict[str, object] = {}
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if name in LISTS:
            found[name] = {
                "added": [each for each in new or () if each not in (old or ())],
                "removed": [each for each in old or () if each not in (new or ())],
            }
        else:
            found[name] = new
    return found


async def _note(
    connection: Connection, found: Any, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Write the audit line. A list says itself what was added and removed."""
    details = changes(before, after)
    replaced = {name: before.get(name) for name in details if name not in LISTS}
    await write_audit(connection, found["tenant_id"], found["name"], details, before=replaced)


async def _publish(connection: Connection, level: Level, found: Any) -> tuple[int, ...]:
    match level:
        case Level.ACCOUNT:
            return await write_outbox(connection, found["name"])
        case Level.DOMAIN:
            return await write_outbox(connection, f"@{found['name']}")
    return await _publish_domains(connection, found["of_tenant"])


async def _publish_domains(connection: Connection, tenant: UUID | None) -> tuple[int, ...]:
    """Publish all domains of a tenant, or of the system, again. Return no ids for many: nobody
    waits for them."""
    names = [
        row["name"] for row in await connection.fetch(_SOME_DOMAINS, tenant, _MOST_WAITED_FOR + 1)
    ]
    if len(names) <= _MOST_WAITED_FOR:
        return await write_outbox(connection, *(f"@{name}" for name in names))
    last: int | None = 0
    while last is not None:
        last = await connection.fetchval(
            _PUBLISH_DOMAINS, tenant, last, _DOMAINS_AT_ONCE, Lane.BULK
        )
    return ()


def _key(found: Any) -> tuple[UUID | None, int | None, int | None]:
    return found["of_tenant"], found["of_domain"], found["of_account"]


def _level_of(row: Any) -> Level:
    for column, level in (
        ("account_id", Level.ACCOUNT),
        ("domain_id", Level.DOMAIN),
        ("tenant_id", Level.TENANT),
    ):
        if row[column] is not None:
            return level
    return Level.SYSTEM


def _check_unset(expected: Versions) -> None:
    if expected is not None and UNSET not in expected:
        raise PreconditionFailed("it has changed since it was read; read it again")


def _as_policy(owner: PolicyOwner, found: Any, row: Any) -> StoredPolicy:
    whose = PolicyOwner(owner.level, "" if owner.level is Level.SYSTEM else found["name"])
    if row is None:
        return StoredPolicy(whose, {}, UNSET)
    return StoredPolicy(whose, json.loads(row["document"]), version_of(row), row["updated_at"])
