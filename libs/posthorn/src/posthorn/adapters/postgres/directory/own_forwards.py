"""The port OwnForwards on Postgres.

Theory:

- The forward of an account is a row of ``aliases`` with the address of the account, and with
  ``keeps_copy`` set, which it is in no other. Its targets are elsewhere, and confirm like those of
  any alias. Delivery finds it where it finds aliases (``mailboxes.resolve``).
- The directory shows the account, and not this row: what smtp-in accepts depends on the account
  alone (``entries``).
- When the domain permits no forwards any more the row stays, and delivery leaves it aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.tenant_scope import MOVED, Scoped, one
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.alias_graph import hold_addresses
from posthorn.adapters.postgres.directory.entries import UNCONFIRMED
from posthorn.adapters.postgres.directory.forward_targets import (
    elsewhere_of,
    enter_targets,
    forget_targets,
)
from posthorn.ports.changes import Change
from posthorn.ports.errors import Conflict, FieldError, NotFound, ValidationFailed
from posthorn.ports.forwards import ForwardPolicy
from posthorn.ports.own_forwards import OwnForward

_ACCOUNT = Scoped(
    "SELECT a.id, a.domain_id, d.tenant_id, d.account_forwards FROM accounts a JOIN domains d ON d.id = a.domain_id"
    " WHERE {visible} AND a.address = $2"
)
_FIND = f"""
SELECT id, targets, keeps_copy,
       {UNCONFIRMED.format("aliases")} AS unconfirmed,
       ARRAY (SELECT s.address FROM suppressions s WHERE s.tenant_id = $2 AND s.address = ANY (targets)) AS suppressed
  FROM aliases WHERE address = $1 AND keeps_copy IS NOT NULL
"""
_PUT = f"""
INSERT INTO aliases AS a (domain_id, address, targets, keeps_copy) VALUES ($1, $2, $3, $4)
ON CONFLICT (address) DO UPDATE SET targets = excluded.targets, keeps_copy = excluded.keeps_copy,
       updated_at = {MOVED.replace("updated_at", "a.updated_at")}
RETURNING id
"""
_DELETE = "DELETE FROM aliases WHERE address = $1 AND keeps_copy IS NOT NULL RETURNING targets, keeps_copy"


class PostgresOwnForwards:
    """See the port. ``policy``: which targets must confirm."""

    def __init__(self, database: Database, policy: ForwardPolicy) -> None:
        self._database = database
        self._policy = policy

    async def get(self, tenant: UUID | None, address: str) -> OwnForward:
        """Return the forward of an account."""
        async with self._database.session() as connection:
            account = await one(connection, tenant, _ACCOUNT, address)
            return await _forward(connection, account, address)

    async def put(
        self, tenant: UUID | None, address: str, targets: Sequence[str], *, keeps_copy: bool
    ) -> Change[OwnForward]:
        """Set the forward of an account."""
        async with self._database.transaction() as connection:
            account = await one(connection, tenant, _ACCOUNT, address)
            await hold_addresses(connection, [account["tenant_id"]], alone=True)
            account = await one(
                connection, tenant, _ACCOUNT + "FOR KEY SHARE OF a", address
            )  # read again under the lock
            before = await connection.fetchrow(_FIND, address, account["tenant_id"])
            await _check(connection, account, targets)
            number = await connection.fetchval(
                _PUT, account["domain_id"], address, list(targets), keeps_copy
            )
            held = () if before is None else before["targets"]
            new = [target for target in targets if target not in held]
            await forget_targets(connection, number, targets)
            await enter_targets(connection, self._policy, tenant, number, new)
            details = {"targets": list(targets), "keep_copy": keeps_copy}
            await write_audit(
                connection, account["tenant_id"], address, details, before=_set_before(before)
            )
            return Change(await _forward(connection, account, address))

    async def delete(self, tenant: UUID | None, address: str) -> Change[None]:
        """Delete the forward of an account."""
        async with self._database.transaction() as connection:
            account = await one(connection, tenant, _ACCOUNT, address)
            gone = await connection.fetchrow(_DELETE, address)
            if gone is None:
                raise NotFound("your mail is not forwarded")
            await write_audit(connection, account["tenant_id"], address, before=_set_before(gone))
            return Change(None)


def _set_before(row: Any) -> dict[str, object]:
    return {} if row is None else {"targets": row["targets"], "keep_copy": row["keeps_copy"]}


async def _check(connection: Connection, account: Any, targets: Sequence[str]) -> None:
    """Raise Conflict or ValidationFailed unless the account may forward to these."""
    most = account["account_forwards"]
    if not most:
        raise Conflict("this domain does not let its accounts forward their mail")
    if len(targets) > most:
        raise ValidationFailed(FieldError("targets", f"at most {most} addresses are permitted"))
    elsewhere = await elsewhere_of(connection, account["tenant_id"], targets)
    faults = [
        FieldError(
            f"targets[{number}]", f"{target} is an address here; an alias can lead to it as well"
        )
        for number, target in enumerate(targets)
        if target not in elsewhere
    ]
    if faults:
        raise ValidationFailed(*faults)


async def _forward(connection: Connection, account: Any, address: str) -> OwnForward:
    row: Any = await connection.fetchrow(_FIND, address, account["tenant_id"])
    if row is None:
        return OwnForward(permitted=account["account_forwards"])
    return OwnForward(
        tuple(row["targets"]),
        row["keeps_copy"],
        account["account_forwards"],
        tuple(row["unconfirmed"]),
        tuple(row["suppressed"]),
    )
