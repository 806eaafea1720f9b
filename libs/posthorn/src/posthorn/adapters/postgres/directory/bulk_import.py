"""Imports on Postgres.

A batch of accounts takes the same number of statements however many it has. Where a limit would be
exceeded the lines are processed one by one, so that exactly those beyond it fail. Domains are
processed in the order of their tenants, which is the lock order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.tenant_scope import Scoped, found
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.accounts import FOLDERS
from posthorn.adapters.postgres.directory.alias_graph import hold_addresses
from posthorn.adapters.postgres.directory.aliases import insert_alias
from posthorn.adapters.postgres.directory.domains import homes
from posthorn.adapters.postgres.directory.forward_targets import NO_POLICY
from posthorn.adapters.postgres.directory.limits import check_accounts
from posthorn.adapters.postgres.directory.outbox import Lane, write_outbox
from posthorn.ports.access import digest_of, is_same_password
from posthorn.ports.accounts import NewAccount
from posthorn.ports.errors import Conflict, FieldError, ValidationFailed
from posthorn.ports.forwards import ForwardPolicy
from posthorn.ports.imports import Known, Outcome, Result

_HASHES = Scoped(
    "SELECT a.address, a.password_hash, a.rehashed, a.quota_bytes, a.state, mo.manager"
    " FROM accounts a JOIN domains d ON d.id = a.domain_id LEFT JOIN managed_objects mo ON mo.account_id = a.id"
    " WHERE {visible} AND a.address = ANY($2)"
)
_SHORTEST = Scoped(
    "SELECT d.name, t.min_password_length FROM domains d JOIN tenants t ON t.id = d.tenant_id"
    " WHERE {visible} AND d.name = ANY($2)"
)
_TARGETS = Scoped(
    "SELECT a.targets, mo.manager FROM aliases a JOIN domains d ON d.id = a.domain_id"
    " LEFT JOIN managed_objects mo ON mo.alias_id = a.id WHERE {visible} AND a.address = $2"
)
_INSERT = """
INSERT INTO accounts (domain_id, address, password_hash, quota_bytes, state)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[])
ON CONFLICT (address) DO NOTHING RETURNING id, address
"""


class _Planned(Exception):
    """Rolls back what a plan has done to see what would come of it."""


_CREATED, _UNCHANGED = Result(Outcome.CREATED), Result(Outcome.UNCHANGED)


class PostgresImports:
    """The port Imports over Postgres."""

    def __init__(self, database: Database, policy: ForwardPolicy = NO_POLICY) -> None:
        self._database = database
        self._policy = policy

    async def known(self, tenant: UUID | None, addresses: Sequence[str]) -> Known:
        names = sorted({_domain(address) for address in addresses})
        async with self._database.session() as connection:
            accounts = await found(connection, tenant, _HASHES, list(addresses))
            domains = await found(connection, tenant, _SHORTEST, names)
        hashes = {row["address"]: row["password_hash"] for row in accounts}
        rehashed = {row["address"]: row["rehashed"] for row in accounts if row["rehashed"]}
        shortest = {row["name"]: row["min_password_length"] for row in domains}
        return Known(hashes, shortest, rehashed)

    async def accounts(
        self, tenant: UUID | None, batch: Sequence[NewAccount], *, is_plan: bool = False
    ) -> Sequence[Result]:
        """Create those that do not exist."""
        results: dict[str, Result] = {}
        addresses = [new.address for new in batch]
        async with self._made(is_plan) as connection:
            domains = await homes(
                connection, tenant, sorted({_domain(address) for address in addresses})
            )
            await hold_addresses(
                connection, [domain["tenant_id"] for domain in domains.values()], alone=False
            )
            there = {
                row["address"]: row for row in await found(connection, tenant, _HASHES, addresses)
            }
            aliases = await connection.fetch(
                "SELECT address FROM aliases WHERE address = ANY($1)", addresses
            )
            taken = {row["address"] for row in aliases}
            groups: defaultdict[str, list[NewAccount]] = defaultdict(list)
            for new in batch:
                if new.address in there:
                    results[new.address] = _compared(new, there[new.address])
                elif (name := _domain(new.address)) not in domains:
                    results[new.address] = _no_domain(name)
                elif new.address in taken:
                    results[new.address] = _failed("address", f"{new.address} is an alias")
                else:
                    groups[name].append(new)
            made: defaultdict[UUID, list[str]] = defaultdict(list)
            for name in sorted(
                groups, key=lambda name: (domains[name]["tenant_id"], domains[name]["id"])
            ):
                outcome = await _make(connection, domains[name]["id"], groups[name])
                results |= outcome
                created = [address for address, result in outcome.items() if result is _CREATED]
                made[domains[name]["tenant_id"]] += created
            for owner, created in made.items():
                if created:
                    await write_audit(
                        connection, owner, f"{len(created)} accounts", {"created": created}
                    )
                    await write_outbox(connection, *created, lane=Lane.BULK)
        return [results[address] for address in addresses]

    async def aliases(
        self,
        tenant: UUID | None,
        batch: Sequence[tuple[str, Sequence[str]]],
        *,
        is_plan: bool = False,
    ) -> Sequence[Result]:
        """Create those that do not exist."""
        results: list[Result] = []
        made: defaultdict[UUID, list[str]] = defaultdict(list)
        async with self._made(is_plan) as connection:
            domains = await homes(
                connection, tenant, sorted({_domain(address) for address, _ in batch})
            )
            await hold_addresses(
                connection, [domain["tenant_id"] for domain in domains.values()], alone=True
            )
            for address, targets in batch:
                if (domain := domains.get(_domain(address))) is None:
                    results.append(_no_domain(_domain(address)))
                    continue
                rows = await found(connection, tenant, _TARGETS, address)
                if rows:
                    is_same = set(rows[0]["targets"]) == set(targets)
                    result = (
                        _UNCHANGED
                        if is_same
                        else _failed("targets", f"{address} has other targets")
                    )
                    results.append(replace(result, manager=rows[0]["manager"]))
                    continue
                try:
                    await insert_alias(connection, domain, address, targets, self._policy, tenant)
                except Conflict as conflict:
                    results.append(_failed("address", str(conflict)))
                except ValidationFailed as unfit:
                    results.append(Result(Outcome.FAILED, tuple(unfit.faults)))
                else:
                    made[domain["tenant_id"]].append(address)
                    results.append(_CREATED)
            for owner, created in made.items():
                await write_audit(
                    connection, owner, f"{len(created)} aliases", {"created": created}
                )
                await write_outbox(connection, *created, lane=Lane.BULK)
        return results

    @asynccontextmanager
    async def _made(self, is_plan: bool) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction, which a plan rolls back."""
        with suppress(_Planned):
            async with self._database.transaction() as connection:
                yield connection
                if is_plan:
                    raise _Planned


async def _make(
    connection: Connection, domain: int, group: Sequence[NewAccount]
) -> dict[str, Result]:
    """Create accounts of one domain. Nothing is written when a limit is exceeded."""
    try:
        await check_accounts(connection, domain, [new.quota_bytes for new in group])
    except (Conflict, ValidationFailed) as limit:
        if len(group) > 1:
            results: dict[str, Result] = {}
            for new in group:
                results |= await _make(connection, domain, [new])
            return results
        faults = (
            tuple(limit.faults)
            if isinstance(limit, ValidationFailed)
            else (FieldError("address", str(limit)),)
        )
        return {group[0].address: Result(Outcome.FAILED, faults)}
    rows = await connection.fetch(
        _INSERT,
        domain,
        [new.address for new in group],
        [new.password_hash for new in group],
        [new.quota_bytes for new in group],
        [new.state.value for new in group],
    )
    await connection.execute(FOLDERS, [row["id"] for row in rows])
    made = {row["address"] for row in rows}
    return {
        new.address: _CREATED
        if new.address in made
        else _failed(
            "address",
            f"the account {new.address} was created at the same time; send the line again",
        )
        for new in group
    }


def _compared(new: NewAccount, row: Any) -> Result:
    differs = [
        FieldError(field, f"the account {new.address} exists with another value")
        for field, is_same in (
            (
                "password",
                is_same_password(
                    digest_of(new.password_hash), row["password_hash"], row["rehashed"]
                ),
            ),
            ("quota_bytes", new.quota_bytes == row["quota_bytes"]),
            ("state", new.state.value == row["state"]),
        )
        if not is_same
    ]
    outcome = Outcome.FAILED if differs else Outcome.UNCHANGED
    return Result(outcome, tuple(differs), row["manager"])


def _no_domain(name: str) -> Result:
    return _failed("address", f"there is no domain {name} here; create it first")


def _failed(field: str, message: str) -> Result:
    return Result(Outcome.FAILED, (FieldError(field, message),))


def _domain(address: str) -> str:
    return address.rpartition("@")[2]
