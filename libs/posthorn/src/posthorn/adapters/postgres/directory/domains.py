"""Domains on Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import former, write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import (
    MOVED,
    Scoped,
    check_version,
    found,
    one,
    tenant_named,
    version_of,
)
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.alias_graph import check_catch_all, recheck_aliases_into
from posthorn.adapters.postgres.directory.dkim_keys import SIGNS_FROM, insert_dkim_keys
from posthorn.adapters.postgres.directory.dns_checks import as_check
from posthorn.adapters.postgres.directory.forward_targets import NO_POLICY, enter_targets_into
from posthorn.adapters.postgres.directory.limits import check_domains
from posthorn.adapters.postgres.directory.managers import (
    MANAGER,
    managed_by,
    mark_new,
    note_manager,
)
from posthorn.adapters.postgres.directory.outbox import lane_of, lift_limits, write_outbox
from posthorn.adapters.postgres.directory.postmasters import postmasters_of
from posthorn.adapters.postgres.mailboxes.expunge import LONG_SECONDS
from posthorn.adapters.postgres.mailboxes.quarantine import discard
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.dns_records import CHALLENGE_LABEL, CHALLENGE_PREFIX, claim_token
from posthorn.ports.changes import Change, Versions
from posthorn.ports.domains import Domain, NewDomain, SendingRules
from posthorn.ports.errors import Conflict, FieldError, NotFound, ValidationFailed
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.signing import DkimKey

SENDING = "{0}.max_messages_per_hour, {0}.max_recipients_per_hour, {0}.allowed_networks::text[]"
"""The columns of SendingRules, for a table alias."""
RULES = ("max_messages_per_hour", "max_recipients_per_hour", "allowed_networks")

_OWN = (
    "name",
    "tenant_id",
    "catch_all",
    "plus_addressing",
    "created_at",
    "updated_at",
    "max_accounts",
    "quota_bytes",
    "retention_days",
    "undelete_days",
    "account_forwards",
    "verification_token",
    "verified_at",
)
_SETTABLE = (
    "catch_all",
    "plus_addressing",
    "max_accounts",
    "quota_bytes",
    "retention_days",
    "undelete_days",
    "account_forwards",
    *RULES,
)
_COLUMNS = (
    f"d.id, {', '.join(f'd.{name}' for name in _OWN)}, {SENDING.format('d')}, t.name AS tenant,"
    " t.max_messages_per_hour AS tenant_messages, t.max_recipients_per_hour AS tenant_recipients, t.min_password_length,"
    " t.verify_domains, c.state AS dns_state, c.checked_at AS dns_checked_at, c.records::text AS dns_records,"
    f" {MANAGER}, {SIGNS_FROM} AS dkim_signs_from"
)
_JOINS = (
    "JOIN tenants t ON t.id = d.tenant_id LEFT JOIN dns_checks c ON c.domain_id = d.id"
    " LEFT JOIN managed_objects mo ON mo.domain_id = d.id"
)
_SHOWN = f"{_COLUMNS}, (SELECT count(*) FROM accounts a WHERE a.domain_id = d.id) AS accounts"
_FROM = f"FROM domains d {_JOINS} WHERE {{visible}}"
_PROMISED = (
    "(SELECT coalesce(sum(a.quota_bytes), 0)::bigint FROM accounts a WHERE a.domain_id = d.id)"
)
_NAMED = Scoped(f"SELECT {_SHOWN}, {_PROMISED} AS promised_bytes {_FROM} AND d.name = $2")
_LIST = Listing(
    "domains",
    "d",
    _SHOWN,
    _JOINS,
    orders={"name": Order("d.name"), "created": Order("d.id", int)},
    searched=("d.name",),
    state="CASE WHEN d.verified_at IS NULL THEN 'unverified' ELSE 'verified' END",
    owner="d.tenant_id = {}",
)
_DNS_STATE = (
    "coalesce((SELECT c.state FROM dns_checks c WHERE c.domain_id = d.id AND c.checked_at IS NOT NULL),"
    " 'unchecked') = {}"
)
# without the number of accounts: each creation of one reads it
_HOMES = Scoped(f"SELECT {_COLUMNS} {_FROM} AND d.name = ANY($2) ORDER BY d.id FOR KEY SHARE OF d")

_MAKE = """
INSERT INTO domains (tenant_id, name, catch_all, plus_addressing, verification_token, verified_at)
SELECT t.id, $2, $3, $4, replace(gen_random_uuid()::text, '-', ''), CASE WHEN NOT t.verify_domains THEN now() END
  FROM tenants t WHERE t.id = $1
ON CONFLICT (name) DO NOTHING RETURNING id
"""


# an unverified domain of another tenant ($2): the only look-up across tenants
_UNSHOWN = (
    "SELECT id, tenant_id FROM domains WHERE name = $1 AND tenant_id <> $2 AND verified_at IS NULL"
)
_WITH_MAIL = """
SELECT true FROM accounts a
 WHERE a.domain_id = $1 AND (EXISTS (SELECT FROM mailbox_entries e WHERE e.account_id = a.id)
                             OR EXISTS (SELECT FROM deleted_entries e WHERE e.account_id = a.id)) LIMIT 1
"""
_FREE_CATCH_ALLS = f"""
UPDATE domains SET catch_all = NULL, updated_at = {MOVED}
 WHERE tenant_id = $1 AND name <> $2 AND split_part(catch_all, '@', -1) = $2 RETURNING name
"""
_CLAIM = """
INSERT INTO domains (tenant_id, name, verification_token, verified_at)
VALUES ($1, $2, replace(gen_random_uuid()::text, '-', ''), now()) RETURNING id
"""
_ADDRESSES = "(SELECT address FROM accounts WHERE domain_id = $1 UNION ALL SELECT address FROM aliases WHERE domain_id = $1)"
_COUNT_ADDRESSES = f"SELECT count(*) FROM {_ADDRESSES} AS of_domain"
_PUBLISH_ADDRESSES = f"""
INSERT INTO directory_outbox (subject, lane, tenant_id) SELECT address, $2, $3 FROM {_ADDRESSES} AS of_domain
"""


class PostgresDomains:
    """The methods of the port Administration for domains."""

    policy = NO_POLICY
    """Policy for targets of aliases; set by the composition."""

    def __init__(self, database: Database, postmasters: Sequence[str] = ()) -> None:
        """``postmasters``: addresses that take the mail for those of domains without one, first
        to last."""
        self._database = database
        self.postmasters = postmasters

    async def _as_domains(self, connection: Connection, rows: Sequence[Any]) -> list[Domain]:
        found = await postmasters_of(connection, [row["id"] for row in rows], self.postmasters)
        return [_as_domain(row, found.get(row["id"])) for row in rows]

    async def _named(self, connection: Connection, tenant: UUID | None, name: str) -> Domain:
        (domain,) = await self._as_domains(
            connection, [await one(connection, tenant, _NAMED, name)]
        )
        return domain

    async def create_domain(
        self, tenant: UUID | None, new: NewDomain, receipt: Receipt[Domain] | None = None
    ) -> Change[Domain]:
        """Create a domain."""
        async with self._database.transaction() as connection:
            owner = tenant or DEFAULT_TENANT
            if new.tenant is not None:
                owner = await tenant_named(connection, tenant, new.tenant)
            await check_domains(connection, owner)
            await check_catch_all(connection, owner, new.catch_all)
            number = await connection.fetchval(
                _MAKE, owner, new.name, new.catch_all, new.plus_addressing
            )
            if number is None:
                raise Conflict(await _taken(connection, owner, new.name))
            await mark_new(connection, "domain", number)
            await insert_dkim_keys(connection, number, new.dkim_keys)
            domain = await self._named(connection, tenant, new.name)
            await recheck_aliases_into(connection, new.name)
            selectors = [key.selector for key in new.dkim_keys]
            details = {
                "catch_all": new.catch_all,
                "plus_addressing": new.plus_addressing,
                "selectors": selectors,
            }
            await write_audit(connection, owner, new.name, details)
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(domain))
            return Change(domain, await write_outbox(connection, f"@{new.name}"))

    async def domains(
        self, tenant: UUID | None, asked: ListQuery, dns: str | None = None
    ) -> Listed[Domain]:
        """List by name."""
        filters = [] if dns is None else [(_DNS_STATE, dns)]
        async with self._database.transaction() as connection:
            listed = await _LIST.rows(connection, tenant, asked, filters=filters)
            domains = await self._as_domains(connection, listed.items)
            return Listed(domains, listed.last, listed.total)

    async def domain(self, tenant: UUID | None, name: str) -> Domain:
        """Return one."""
        async with self._database.session() as connection:
            return await self._named(connection, tenant, name)

    async def change_domain(
        self,
        tenant: UUID | None,
        name: str,
        changes: Mapping[str, object],
        expected: Versions = None,
    ) -> Change[Domain]:
        """Set the fields that ``changes`` names."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _NAMED + "FOR NO KEY UPDATE OF d", name)
            check_version(row, expected)
            if not changes:
                return Change(await self._named(connection, tenant, name))
            note_manager(row, changes)
            if "catch_all" in changes:
                await check_catch_all(connection, row["tenant_id"], changes["catch_all"])
            await update(connection, "domains", row["id"], _SETTABLE, changes)
            await write_audit(
                connection, row["tenant_id"], name, changes, before=former(row, changes)
            )
            if "max_recipients_per_hour" in changes:
                await lift_limits(connection, row["tenant_id"], row["id"])
            domain = await self._named(connection, tenant, name)
            return Change(domain, await write_outbox(connection, f"@{name}"))

    async def verify_domain(self, tenant: UUID | None, name: str) -> Change[Domain]:
        """Record that its ownership is verified."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _NAMED + "FOR NO KEY UPDATE OF d", name)
            if row["verified_at"] is not None:
                return Change(await self._named(connection, tenant, name))
            await connection.execute(
                f"UPDATE domains SET verified_at = now(), updated_at = {MOVED} WHERE id = $1",
                row["id"],
            )
            lane = lane_of(await connection.fetchval(_COUNT_ADDRESSES, row["id"]))
            await connection.execute(_PUBLISH_ADDRESSES, row["id"], lane, row["tenant_id"])
            await recheck_aliases_into(connection, name)
            await write_audit(connection, row["tenant_id"], name)
            domain = await self._named(connection, tenant, name)
            # the last entry of the same lane: the others are published before it
            return Change(domain, await write_outbox(connection, f"@{name}", lane=lane))

    async def claimable(self, tenant: UUID, name: str) -> None:
        """Raise NotFound unless another tenant's row is not verified."""
        async with self._database.session() as connection:
            if not await connection.fetchval(_UNSHOWN, name, tenant):
                raise NotFound

    async def claim_domain(
        self, tenant: UUID, name: str, dkim_keys: Sequence[DkimKey] = ()
    ) -> Change[Domain]:
        """Take it from a tenant that has not verified its ownership."""
        async with self._database.transaction() as connection:
            await connection.execute(f"SET LOCAL statement_timeout = '{LONG_SECONDS}s'")
            await check_domains(connection, tenant)
            row: Any = await connection.fetchrow(f"{_UNSHOWN} FOR UPDATE", name, tenant)
            if row is None:
                raise NotFound
            accounts = "SELECT FROM accounts WHERE domain_id = $1 ORDER BY id FOR UPDATE"
            # nothing is delivered to them from here on
            await connection.execute(accounts, row["id"], timeout=LONG_SECONDS)
            if await connection.fetchval(_WITH_MAIL, row["id"], timeout=LONG_SECONDS):
                raise Conflict(
                    f"another tenant has mail in the domain {name}: ask the operator of this system to remove it"
                )
            await discard(
                connection,
                "account_id IN (SELECT id FROM accounts WHERE domain_id = $1)"
                " OR account_id IS NULL AND tenant_id = $2 AND split_part(recipient, '@', -1) = $3",
                *(row["id"], row["tenant_id"], name),
            )
            for table in ("aliases", "accounts"):
                await connection.execute(
                    f"DELETE FROM {table} WHERE domain_id = $1",
                    row["id"],
                    timeout=LONG_SECONDS,
                )
            freed = await connection.fetch(_FREE_CATCH_ALLS, row["tenant_id"], name)
            await connection.execute("DELETE FROM domains WHERE id = $1", row["id"])
            await insert_dkim_keys(
                connection, await connection.fetchval(_CLAIM, tenant, name), dkim_keys
            )
            await recheck_aliases_into(connection, name)
            await write_audit(
                connection,
                row["tenant_id"],
                name,
                {"lost": "another tenant has shown that it owns it"},
            )
            await write_audit(
                connection, tenant, name, {"selectors": [key.selector for key in dkim_keys]}
            )
            domain = await self._named(connection, tenant, name)
            return Change(
                domain,
                await write_outbox(connection, *(f"@{each['name']}" for each in freed), f"@{name}"),
            )

    async def delete_domain(
        self, tenant: UUID | None, name: str, expected: Versions = None
    ) -> Change[None]:
        """Delete an empty domain."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _NAMED + "FOR UPDATE OF d", name)
            check_version(row, expected)
            note_manager(row)
            for table, kind in (("accounts", "account"), ("aliases", "alias")):
                held = await connection.fetchval(
                    f"SELECT address FROM {table} WHERE domain_id = $1 ORDER BY address LIMIT 1",
                    row["id"],
                )
                if held is not None:
                    raise Conflict(
                        f"the domain still has the {kind} {held}; delete its accounts and aliases first"
                    )
            await connection.execute("DELETE FROM domains WHERE id = $1", row["id"])
            if row["verified_at"] is not None:
                await enter_targets_into(connection, self.policy, name)
            await recheck_aliases_into(connection, name)
            await write_audit(connection, row["tenant_id"], name, before=former(row, _SETTABLE))
            return Change(None, await write_outbox(connection, f"@{name}"))


async def _taken(connection: Connection, owner: UUID, name: str) -> str:
    """Return the error for a taken name, with how to claim it from a tenant that has not
    verified it."""
    if not await connection.fetchval(_UNSHOWN, name, owner):
        return f"the domain {name} already exists"
    return (
        f"another tenant has created the domain {name} without verifying its ownership. If it is yours, publish at"
        f' {CHALLENGE_LABEL}.{name} the TXT record "{CHALLENGE_PREFIX}{claim_token(owner, name)}" and then, with a key of your'
        f" tenant, POST /v1/domains/{name}/verify"
    )


async def home(connection: Connection, tenant: UUID | None, address: str) -> Any:
    """Return the row of an address's domain, locked against removal. Raises ValidationFailed."""
    name = address.rpartition("@")[2]
    row = (await homes(connection, tenant, [name])).get(name)
    if row is None:
        raise ValidationFailed(
            FieldError("address", f"there is no domain {name} here; create it first")
        )
    return row


async def homes(
    connection: Connection, tenant: UUID | None, names: Sequence[str]
) -> dict[str, Any]:
    """Return the rows of the domains visible to the caller, locked against removal."""
    return {row["name"]: row for row in await found(connection, tenant, _HOMES, list(names))}


async def update(
    connection: Connection,
    table: str,
    row: int,
    columns: Sequence[str],
    changes: Mapping[str, object],
) -> None:
    """Set the columns that ``changes`` names, and advance the row to a new version."""
    setting = [column for column in columns if column in changes]
    places = ", ".join(f"{column} = ${place}" for place, column in enumerate(setting, start=2))
    await connection.execute(
        f"UPDATE {table} SET {places}, updated_at = {MOVED} WHERE id = $1",
        row,
        *(changes[column] for column in setting),
    )


def sending(row: Any) -> SendingRules:
    """Read SendingRules from a row."""
    messages, recipients, networks = (row[name] for name in RULES)
    return SendingRules(messages, recipients, None if networks is None else tuple(networks))


def _as_domain(row: Any, postmaster: str | None) -> Domain:
    return Domain(
        postmaster=postmaster,
        tenant=row["tenant"],
        sending=sending(row),
        tenant_sending=SendingRules(row["tenant_messages"], row["tenant_recipients"]),
        min_password_length=row["min_password_length"],
        must_be_verified=row["verify_domains"],
        version=version_of(row),
        dns=as_check(row),
        dkim_signs_from=row["dkim_signs_from"],
        accounts=row["accounts"],
        promised_bytes=row.get("promised_bytes"),
        managed_by=managed_by(row),
        **{name: row[name] for name in _OWN},
    )
