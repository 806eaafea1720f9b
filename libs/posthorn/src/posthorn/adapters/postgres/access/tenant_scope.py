"""Tenant scope: binds every statement to the objects that the caller may see.

Rules:

- Every statement that finds an object for a caller is a ``Scoped``: it contains ``{visible}`` among
  its conditions. One without cannot be constructed, so that a forgotten filter ends the process at
  import.
- A ``Scoped`` runs through ``found`` and ``one`` only, which pass the caller's tenant as ``$1``;
  null is the whole platform. Later statements use the id of the row that it returned.
- An object that does not exist or is another tenant's is NotFound.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.ports.changes import Versions
from posthorn.ports.errors import NotFound, PreconditionFailed

VISIBLE = "($1::uuid IS NULL OR d.tenant_id = $1)"
"""The condition for statements that join the object's domain as ``d``."""


class Scoped:
    """A statement bound to the caller's tenant.

    ``text`` contains ``{visible}`` once; ``column`` holds the owner. The caller's values begin at
    ``$2``.
    """

    __slots__ = ("text",)

    def __init__(self, text: str, column: str = "d.tenant_id") -> None:
        if text.count("{visible}") != 1:
            raise ValueError(f"a statement that is not bound to a tenant: {text.strip()[:80]}")
        self.text = text.replace("{visible}", VISIBLE.replace("d.tenant_id", column))

    def __add__(self, more: str) -> Scoped:
        """Return the statement with conditions, an order or a lock appended."""
        longer = object.__new__(Scoped)
        longer.text = f"{self.text} {more}"
        return longer


class Listing:
    """Pages of what domains own (``accounts``, ``aliases``), by address. Each form of the query
    uses an index of its own, so that a page costs the same however many there are. In
    ``columns`` the object is ``a`` and its domain ``d``."""

    def __init__(self, columns: str, table: str) -> None:
        joined = f"SELECT {columns} FROM {table} a JOIN domains d ON d.id = a.domain_id WHERE {{visible}}"
        self._all = Scoped(f"{joined} AND a.address > $2 ORDER BY a.address LIMIT $3")
        self._of_domain = Scoped(
            f"{joined} AND a.domain_id = (SELECT id FROM domains WHERE name = $2) AND a.address > $3"
            " ORDER BY a.address LIMIT $4"
        )
        self._of_tenant = Scoped(
            f"SELECT {columns} FROM domains d CROSS JOIN LATERAL"
            f" (SELECT * FROM {table} WHERE domain_id = d.id AND address > $2 ORDER BY address LIMIT $3) AS a"
            " WHERE {visible} ORDER BY a.address LIMIT $3"
        )

    async def page(
        self,
        connection: Connection,
        tenant: UUID | None,
        domain: str | None,
        after: str,
        limit: int,
    ) -> list[Any]:
        """Return the items after ``after``, of one domain or of all of the tenant's."""
        if domain is not None:
            return await found(connection, tenant, self._of_domain, domain, after, limit)
        return await found(
            connection, tenant, self._all if tenant is None else self._of_tenant, after, limit
        )


async def found(
    connection: Connection, tenant: UUID | None, statement: Scoped, *values: Any
) -> list[Any]:
    """Return the rows that the caller may see."""
    return await connection.fetch(statement.text, tenant, *values)


async def one(connection: Connection, tenant: UUID | None, statement: Scoped, *values: Any) -> Any:
    """Return the row that the caller may see. Raises NotFound."""
    row = await connection.fetchrow(statement.text, tenant, *values)
    if row is None:
        raise NotFound
    return row


def version_of(row: Any) -> str:
    """Return the version of a row, made of its ``id`` and ``updated_at``, which every change
    through the API advances."""
    moved = row["updated_at"]
    return f"{row['id']}-{int(moved.timestamp()):x}.{moved.microsecond:x}"


def check_version(row: Any, expected: Versions) -> None:
    """Raise PreconditionFailed unless the row, which the caller has locked, is in one of the
    versions."""
    if expected is not None and version_of(row) not in expected:
        raise PreconditionFailed("it has changed since it was read; read it again")


MOVED = "greatest(clock_timestamp(), updated_at + interval '1 microsecond')"
"""The new ``updated_at`` of a changed row: always later than the former one."""
