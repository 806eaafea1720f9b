"""Aliases on Postgres. Their rules are in ``alias_graph``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import former, write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import (
    MOVED,
    Scoped,
    check_version,
    one,
    version_of,
)
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.directory.alias_graph import (
    check_targets,
    hold_addresses,
    refuse_while_led_to,
)
from posthorn.adapters.postgres.directory.domains import home
from posthorn.adapters.postgres.directory.entries import UNCONFIRMED
from posthorn.adapters.postgres.directory.forward_targets import (
    NO_POLICY,
    check_number,
    elsewhere_of,
    enter_targets,
    forget_targets,
)
from posthorn.adapters.postgres.directory.limits import check_aliases
from posthorn.adapters.postgres.directory.managers import (
    MANAGER,
    managed_by,
    mark_new,
    note_manager,
)
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.ports.aliases import Alias
from posthorn.ports.changes import Change, Versions
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.forwards import ForwardPolicy
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery

_COLUMNS = (
    f"{MANAGER}, a.id, d.tenant_id, a.address, a.targets, a.keeps_copy, a.created_at, a.updated_at,"
    f" {UNCONFIRMED.format('a')} AS unconfirmed,"
    " ARRAY (SELECT s.address FROM suppressions s WHERE s.tenant_id = d.tenant_id AND s.address = ANY (a.targets)) AS suppressed"
)
_JOINS = "JOIN domains d ON d.id = a.domain_id LEFT JOIN managed_objects mo ON mo.alias_id = a.id"
_ALIAS = f"SELECT {_COLUMNS} FROM aliases a {_JOINS} WHERE {{visible}}"
_NAMED = Scoped(f"{_ALIAS} AND a.address = $2")
_LIST = Listing(
    "aliases",
    "a",
    _COLUMNS,
    _JOINS,
    orders={"address": Order("a.address"), "created": Order("a.id", int)},
    searched=("a.address", "array_to_string(a.targets, ' ')"),
    by_domain=True,
)


class PostgresAliases:
    """The methods of the port Administration for aliases."""

    policy = NO_POLICY
    """Policy for targets of aliases; set by the composition."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_alias(
        self,
        tenant: UUID | None,
        address: str,
        targets: Sequence[str],
        receipt: Receipt[Alias] | None = None,
    ) -> Change[Alias]:
        """Create an alias."""
        async with self._database.transaction() as connection:
            domain = await home(connection, tenant, address)
            owner = domain["tenant_id"]
            await hold_addresses(connection, [owner], alone=True)
            await insert_alias(connection, domain, address, targets, self.policy, tenant)
            alias = _as_alias(await one(connection, tenant, _NAMED, address))
            await write_audit(connection, owner, address, {"targets": list(targets)})
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(alias))
            return Change(alias, await write_outbox(connection, address))

    async def aliases(
        self,
        tenant: UUID | None,
        asked: ListQuery,
        domain: str | None = None,
        target: str | None = None,
    ) -> Listed[Alias]:
        """List by address."""
        scope = Conditions()
        if target is not None:
            scope.add("a.targets @> ARRAY[{}::text]", clean_text(target))
        async with self._database.transaction() as connection:
            return await _LIST.page(
                connection,
                tenant,
                asked,
                _as_alias,
                domain=domain,
                scope=scope,
                few=target is not None,
            )

    async def alias(self, tenant: UUID | None, address: str) -> Alias:
        """Return one."""
        async with self._database.session() as connection:
            return _as_alias(await one(connection, tenant, _NAMED, address))

    async def change_alias(
        self, tenant: UUID | None, address: str, targets: Sequence[str], expected: Versions = None
    ) -> Change[Alias]:
        """Set the targets."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _NAMED, address)
            await hold_addresses(connection, [row["tenant_id"]], alone=True)
            row = await one(connection, tenant, _NAMED, address)  # read again under the lock
            check_version(row, expected)
            if row["keeps_copy"] is not None:
                raise Conflict(f"{address} is an account, whose holder set this forward; delete it")
            note_manager(row, ("targets",))
            await check_targets(connection, row["tenant_id"], address, targets)
            before = await elsewhere_of(connection, row["tenant_id"], row["targets"])
            elsewhere = await elsewhere_of(connection, row["tenant_id"], targets)
            check_number(self.policy, tenant, elsewhere, len(before))
            changed = await connection.execute(
                f"UPDATE aliases SET targets = $2, updated_at = {MOVED} WHERE id = $1",
                row["id"],
                list(targets),
            )
            if changed == "UPDATE 0":
                raise NotFound
            new = [target for target in targets if target not in row["targets"]]
            await forget_targets(connection, row["id"], targets)
            await enter_targets(connection, self.policy, tenant, row["id"], new)
            details = {"targets": list(targets)}
            await write_audit(
                connection, row["tenant_id"], address, details, before=former(row, details)
            )
            alias = _as_alias(await one(connection, tenant, _NAMED, address))
            return Change(alias, await write_outbox(connection, address))

    async def delete_alias(
        self, tenant: UUID | None, address: str, expected: Versions = None
    ) -> Change[None]:
        """Delete an alias."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _NAMED + "FOR UPDATE OF a", address)
            check_version(row, expected)
            note_manager(row)
            await refuse_while_led_to(connection, row["tenant_id"], address)
            await connection.execute("DELETE FROM aliases WHERE id = $1", row["id"])
            led = former(row, ("targets",))
            await write_audit(connection, row["tenant_id"], address, before=led)
            return Change(None, await write_outbox(connection, address))


async def insert_alias(
    connection: Connection,
    domain: Any,
    address: str,
    targets: Sequence[str],
    policy: ForwardPolicy = NO_POLICY,
    tenant: UUID | None = None,
) -> None:
    """Check and insert an alias in the domain of this row (``domains.home``). The caller holds the
    exclusive lock of the tenant's addresses.

    Nothing is written before it raises ValidationFailed or Conflict.
    """
    if await connection.fetchval("SELECT true FROM accounts WHERE address = $1", address):
        raise Conflict(f"{address} is an account; an alias needs another address")
    await check_aliases(connection, domain["tenant_id"])
    await check_targets(connection, domain["tenant_id"], address, targets)
    elsewhere = (
        await elsewhere_of(connection, domain["tenant_id"], targets) if policy != NO_POLICY else []
    )
    check_number(policy, tenant, elsewhere)
    made = await connection.fetchval(
        "INSERT INTO aliases (domain_id, address, targets) VALUES ($1, $2, $3)"
        " ON CONFLICT (address) DO NOTHING RETURNING id",
        domain["id"],
        address,
        list(targets),
    )
    if made is None:
        raise Conflict(f"the alias {address} already exists")
    await mark_new(connection, "alias", made)
    await enter_targets(connection, policy, tenant, made, targets)


def _as_alias(row: Any) -> Alias:
    return Alias(
        row["address"],
        tuple(row["targets"]),
        row["created_at"],
        row["updated_at"],
        version_of(row),
        tuple(row["unconfirmed"]),
        tuple(row["suppressed"]),
        row["keeps_copy"],
        managed_by(row),
    )
