"""DKIM keys on Postgres.

Rules:

- A domain signs with one key per algorithm: the newest that is active. A new key ends those of its
  algorithm at the moment it becomes active, those not active yet included; other algorithms are not
  affected.
- A domain has at most ``MOST_DKIM_KEYS``: for new ones, the oldest of those that need not be published
  any more are deleted.
- The domain's row is locked while its keys are rotated, so that rotations are serialised.
- The database's clock decides which keys are active.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.tenant_scope import Scoped, one
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.ports.errors import Conflict
from posthorn.ports.signing import MOST_DKIM_KEYS, DkimKey

_COLUMNS = (
    "k.id, d.name AS domain, k.selector, k.algorithm, k.public_key, k.private_key,"
    " k.signs_from, k.signs_until, k.published_until, k.created_at"
)
_SIGNING = f"""
SELECT DISTINCT ON (d.name, k.algorithm) {_COLUMNS}
  FROM dkim_keys k JOIN domains d ON d.id = k.domain_id
 WHERE d.name = ANY ($1::text[]) AND k.signs_from <= now() AND (k.signs_until IS NULL OR k.signs_until > now())
 ORDER BY d.name, k.algorithm, k.signs_from DESC, k.id DESC
"""
SIGNS_FROM = """
(SELECT min(signing.signs_from) FROM (
    SELECT DISTINCT ON (k.algorithm) k.signs_from FROM dkim_keys k
     WHERE k.domain_id = d.id AND k.signs_from <= now() AND (k.signs_until IS NULL OR k.signs_until > now())
     ORDER BY k.algorithm, k.signs_from DESC
) AS signing)
"""
"""From when the oldest of the keys that sign for a domain ``d`` has signed."""
_OF = f"""
SELECT {_COLUMNS} FROM dkim_keys k JOIN domains d ON d.id = k.domain_id WHERE d.id = $1
 ORDER BY k.created_at DESC, k.id DESC
"""
_DOMAIN = Scoped("SELECT d.id, d.tenant_id FROM domains d WHERE {visible} AND d.name = $2")
_SIGNED = """
SELECT d.name FROM domains d
 WHERE EXISTS (SELECT FROM dkim_keys k WHERE k.domain_id = d.id) ORDER BY d.name LIMIT $1
"""
_END = """
UPDATE dkim_keys
   SET signs_until = $3, published_until = $3::timestamptz + make_interval(secs => $4)
 WHERE domain_id = $1 AND algorithm = $2 AND (signs_until IS NULL OR signs_until > $3)
"""
_ENTER = """
INSERT INTO dkim_keys (id, domain_id, selector, algorithm, public_key, private_key, signs_from)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_MAKE_ROOM = """
WITH spare AS (
    SELECT id FROM dkim_keys WHERE domain_id = $1 AND published_until <= now() ORDER BY published_until, id
     LIMIT greatest(0, (SELECT count(*) FROM dkim_keys WHERE domain_id = $1) + $2 - $3)
), gone AS (
    DELETE FROM dkim_keys WHERE id IN (SELECT id FROM spare) RETURNING 1
)
SELECT (SELECT count(*) FROM dkim_keys WHERE domain_id = $1) - (SELECT count(*) FROM gone)
"""


class PostgresDkimKeys:
    """The port DkimKeys over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def signing_domains(self, limit: int) -> Sequence[str]:
        """Return names of domains that have a key, at most ``limit``, in order."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_SIGNED, limit)
        return [row["name"] for row in rows]

    async def signing(self, domains: Collection[str]) -> Mapping[str, Sequence[DkimKey]]:
        """Return the active keys of each domain; a domain without any is left out."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_SIGNING, list(domains))
        found: defaultdict[str, list[DkimKey]] = defaultdict(list)
        for row in rows:
            found[row["domain"]].append(DkimKey(**row))
        return found

    async def for_domain(self, tenant: UUID | None, domain: str) -> Sequence[DkimKey]:
        """Return all keys of a domain, newest first."""
        async with self._database.session() as connection:
            number = (await one(connection, tenant, _DOMAIN, domain))["id"]
            return await _keys(connection, number)

    async def rotate(
        self, tenant: UUID | None, domain: str, keys: Sequence[DkimKey], overlap: float
    ) -> Sequence[DkimKey]:
        """Add new keys and return them as stored. Raises NotFound, and Conflict when a selector
        is taken or the domain has too many keys."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _DOMAIN + "FOR NO KEY UPDATE", domain)
            number = row["id"]
            held = await connection.fetchval(_MAKE_ROOM, number, len(keys), MOST_DKIM_KEYS)
            if held + len(keys) > MOST_DKIM_KEYS:
                raise Conflict(
                    f"the domain already has {held} DKIM keys that must stay published; wait until"
                    " the overlap of earlier rotations has passed"
                )
            for algorithm in sorted({key.algorithm for key in keys}):
                begin = min(key.signs_from for key in keys if key.algorithm == algorithm)
                await connection.execute(_END, number, algorithm, begin, overlap)
            await insert_dkim_keys(connection, number, keys)
            made = {key.id for key in keys}
            await write_audit(
                connection, row["tenant_id"], domain, {"selectors": [key.selector for key in keys]}
            )
            return [key for key in await _keys(connection, number) if key.id in made]


async def insert_dkim_keys(connection: Connection, domain: int, keys: Sequence[DkimKey]) -> None:
    """Enter the keys of a domain, by its number. Raises Conflict when a selector is taken."""
    try:
        await connection.executemany(_ENTER, [_row(domain, key) for key in keys])
    except asyncpg.UniqueViolationError:
        raise Conflict("the domain already has a key with this selector") from None


def _row(domain: int, key: DkimKey) -> tuple[Any, ...]:
    return (
        key.id,
        domain,
        key.selector,
        key.algorithm,
        key.public_key,
        key.private_key,
        key.signs_from,
    )


async def _keys(connection: Connection, domain: int) -> list[DkimKey]:
    return [DkimKey(**row) for row in await connection.fetch(_OF, domain)]
