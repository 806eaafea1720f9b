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
from posthorn.ports.errors import FieldError, NotFound, PreconditionFailed, ValidationFailed

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


NAMED_TENANT = "{visible} AND (t.name = $2 OR t.id::text = lower($2))"
"""The condition of the tenant with this name or id."""
_TENANT = Scoped(
    f"SELECT t.id FROM tenants t WHERE {NAMED_TENANT} ORDER BY t.id::text = lower($2) DESC LIMIT 1",
    "t.id",
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


async def tenant_named(connection: Connection, tenant: UUID | None, named: str) -> UUID:
    """Return the id of the tenant with this name or id. Raises ValidationFailed (``tenant``) for one
    that the caller does not see."""
    rows = await found(connection, tenant, _TENANT, named)
    if not rows:
        raise ValidationFailed(FieldError("tenant", "there is no such tenant"))
    number: UUID = rows[0]["id"]
    return number


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


async def hold_tenant(connection: Connection, tenant: UUID) -> None:
    """Let nobody else hold the tenant until the end of the transaction, so that what a tenant may
    have is counted by one at a time."""
    await connection.execute("SELECT FROM tenants WHERE id = $1 FOR NO KEY UPDATE", tenant)
