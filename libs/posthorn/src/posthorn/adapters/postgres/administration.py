"""Domains, accounts and aliases on Postgres.

Rules:

- Objects are found through ``_DOMAIN``, ``_ACCOUNT`` and ``_ALIAS`` only, which carry the tenant's filter.
- An address is taken by an account or an alias, never by both, which no unique index can say: whoever makes an alias, or sets its
  targets, holds ``_ALIAS_LOCK`` alone, and whoever makes an account shares it. The same lock keeps two changes from closing a
  loop of aliases together.
- What an alias or a catch-all leads to is locked against removal (FOR KEY SHARE) while that is written; a removal locks its row
  first and looks for what leads to it after that. One of the two always sees the other.
- Within our domains, aliases and catch-alls stay in one tenant. An alias may lead out of here as well, to an address in no domain
  of ours; a catch-all may not.
- A domain that is made or removed changes what an alias comes to that leads to addresses in it: such aliases are published anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.account_mail import LONG_SECONDS, drop_entries
from posthorn.adapters.postgres.api_keys import keep_answer
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory_truth import write_outbox
from posthorn.adapters.postgres.tables import DEFAULT_TENANT
from posthorn.adapters.postgres.tenancy import VISIBLE
from posthorn.ports.administration import (
    Account,
    Alias,
    Change,
    Conflict,
    Domain,
    Fault,
    Missing,
    NewAccount,
    NewDomain,
    Receipt,
    SendingRules,
    State,
    Unfit,
)

MOST_STEPS = 8
"""Aliases that may follow one another; delivery follows a few more, for a ``+tag`` and a catch-all before them."""

_ALIAS_LOCK = 0x706F7374_0002

_RULES = ("max_messages_per_hour", "max_recipients_per_hour", "allowed_networks")
_SENDING = "{0}.max_messages_per_hour, {0}.max_recipients_per_hour, {0}.allowed_networks::text[]"
_DOMAIN = (
    "SELECT d.id, d.tenant_id, d.name, t.name AS tenant, d.catch_all, d.plus_addressing, d.created_at, d.updated_at,"  # noqa: S608
    f" {_SENDING.format('d')}"
    f" FROM domains d JOIN tenants t ON t.id = d.tenant_id WHERE {VISIBLE}"
)
_ACCOUNT = (
    "SELECT a.id, a.address, a.quota_bytes, a.used_bytes, a.used_messages, a.state, a.created_at, a.updated_at,"  # noqa: S608
    f" {_SENDING.format('a')} FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE {VISIBLE}"
)
_ALIAS = (
    "SELECT a.id, d.tenant_id, a.address, a.targets, a.created_at, a.updated_at"  # noqa: S608
    f" FROM aliases a JOIN domains d ON d.id = a.domain_id WHERE {VISIBLE}"
)
_PAGE = "AND ($2::text IS NULL OR d.name = $2) AND a.address > $3 ORDER BY a.address LIMIT $4"

_FOLDERS = """
    INSERT INTO mailboxes (account_id, mailbox_id, name, role, uidvalidity)
    SELECT $1, folder.id, folder.name, folder.role, floor(extract(epoch FROM clock_timestamp()))::bigint + $1
      FROM (VALUES (1, 'INBOX', 'inbox'), (2, 'Junk', 'junk'), (3, 'Sent', 'sent'), (4, 'Trash', 'trash'))
           AS folder (id, name, role)
"""
"""Seconds since the epoch plus the account's id: ids only grow, so that an address made again never has an old uidvalidity, not
within the same second and not when the clock was set back a little; and it fits 32 bits (RFC 9051 §2.3.1.1)."""

# for each target: whether it leads to the alias ($2), and over how many aliases it goes at most
_DOWN = """
    WITH RECURSIVE down (root, address, steps) AS (
        SELECT target, target, 0 FROM unnest($1::text[]) AS target
      UNION
        SELECT down.root, unnest(alias.targets), down.steps + 1
          FROM down JOIN aliases alias ON alias.address = down.address
         WHERE down.steps <= $3 AND down.address <> $2
    ) SELECT root, bool_or(address = $2) AS loops, max(steps) AS steps FROM down GROUP BY root
"""
_UP = """
    WITH RECURSIVE up (address, steps) AS (
        SELECT $1::text, 0
      UNION
        SELECT alias.address, up.steps + 1 FROM up JOIN aliases alias ON alias.targets @> ARRAY[up.address]
         WHERE up.steps <= $2
    ) SELECT max(steps) FROM up
"""


class PostgresAdministration:
    """The port Administration over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version. Raises Unavailable."""
        await self._database.probe()

    async def create_domain(
        self, tenant: UUID | None, new: NewDomain, receipt: Receipt[Domain] | None = None
    ) -> Change[Domain]:
        """Make a domain."""
        async with self._database.transaction() as connection:
            owner = await _owner(connection, tenant, new.tenant)
            await _check_catch_all(connection, owner, new.catch_all)
            made = await connection.fetchval(
                "INSERT INTO domains (tenant_id, name, catch_all, plus_addressing) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (name) DO NOTHING RETURNING id",
                owner,
                new.name,
                new.catch_all,
                new.plus_addressing,
            )
            if made is None:
                raise Conflict(f"the domain {new.name} is there already")
            domain = await _domain(connection, tenant, new.name)
            await _doubt_aliases_into(connection, new.name)
            return await _made(connection, domain, f"@{new.name}", receipt)

    async def domains(self, tenant: UUID | None, after: str, limit: int) -> Sequence[Domain]:
        """List by name."""
        rows = await self._fetch(f"{_DOMAIN} AND d.name > $2 ORDER BY d.name LIMIT $3", tenant, after, limit)
        return [_as_domain(row) for row in rows]

    async def domain(self, tenant: UUID | None, name: str) -> Domain:
        """Give one."""
        return _as_domain(_only(await self._fetch(f"{_DOMAIN} AND d.name = $2", tenant, name)))

    async def change_domain(self, tenant: UUID | None, name: str, changes: Mapping[str, object]) -> Change[Domain]:
        """Set the fields that ``changes`` names."""
        async with self._database.transaction() as connection:
            row = _only(await connection.fetch(f"{_DOMAIN} AND d.name = $2", tenant, name))
            if not changes:
                return Change(_as_domain(row))
            if "catch_all" in changes:
                await _check_catch_all(connection, row["tenant_id"], changes["catch_all"])
            await _update(connection, "domains", row["id"], ("catch_all", "plus_addressing", *_RULES), changes)
            return await _made(connection, await _domain(connection, tenant, name), f"@{name}")

    async def delete_domain(self, tenant: UUID | None, name: str) -> Change[None]:
        """Remove an empty domain."""
        async with self._database.transaction() as connection:
            row = _only(await connection.fetch(f"{_DOMAIN} AND d.name = $2 FOR UPDATE OF d", tenant, name))
            for table, kind in (("accounts", "account"), ("aliases", "alias")):
                held = await connection.fetchval(
                    f"SELECT address FROM {table} WHERE domain_id = $1 ORDER BY address LIMIT 1",  # noqa: S608
                    row["id"],
                )
                if held is not None:
                    raise Conflict(f"the domain still has the {kind} {held}; delete its accounts and aliases first")
            await connection.execute("DELETE FROM domains WHERE id = $1", row["id"])
            await _doubt_aliases_into(connection, name)
            return await _made(connection, None, f"@{name}")

    async def create_account(
        self, tenant: UUID | None, new: NewAccount, receipt: Receipt[Account] | None = None
    ) -> Change[Account]:
        """Make an account with its four folders."""
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", _ALIAS_LOCK)
            domain = await _home(connection, tenant, new.address)
            if await connection.fetchval("SELECT true FROM aliases WHERE address = $1", new.address):
                raise Conflict(f"{new.address} is an alias")
            made = await connection.fetchval(
                "INSERT INTO accounts (domain_id, address, password_hash, quota_bytes) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (address) DO NOTHING RETURNING id",
                domain["id"],
                new.address,
                new.password_hash,
                new.quota_bytes,
            )
            if made is None:
                raise Conflict(f"the account {new.address} is there already")
            await connection.execute(_FOLDERS, made)
            account = _as_account(_only(await connection.fetch(f"{_ACCOUNT} AND a.id = $2", tenant, made)))
            return await _made(connection, account, new.address, receipt)

    async def accounts(self, tenant: UUID | None, domain: str | None, after: str, limit: int) -> Sequence[Account]:
        """List by address."""
        return [_as_account(row) for row in await self._fetch(f"{_ACCOUNT} {_PAGE}", tenant, domain, after, limit)]

    async def account(self, tenant: UUID | None, address: str) -> Account:
        """Give one."""
        return _as_account(_only(await self._fetch(f"{_ACCOUNT} AND a.address = $2", tenant, address)))

    async def change_account(self, tenant: UUID | None, address: str, changes: Mapping[str, object]) -> Change[Account]:
        """Set the fields that ``changes`` names."""
        async with self._database.transaction() as connection:
            find = f"{_ACCOUNT} AND a.address = $2"
            row = _only(await connection.fetch(f"{find} FOR NO KEY UPDATE OF a", tenant, address))
            if not changes:
                return Change(_as_account(row))
            values = {name: value.value if isinstance(value, State) else value for name, value in changes.items()}
            await _update(connection, "accounts", row["id"], ("password_hash", "quota_bytes", "state", *_RULES), values)
            account = _as_account(_only(await connection.fetch(find, tenant, address)))
            if {"quota_bytes", "state"} & changes.keys():
                return await _made(connection, account, address)
            return Change(account)

    async def delete_account(self, tenant: UUID | None, address: str) -> Change[None]:
        """Remove an account with its mail."""
        async with self._database.transaction() as connection:
            await connection.execute(f"SET LOCAL statement_timeout = '{LONG_SECONDS}s'")
            found = await connection.fetch(f"{_ACCOUNT} AND a.address = $2 FOR UPDATE OF a", tenant, address)
            account = _only(found)["id"]
            await _refuse_while_led_to(connection, address)
            await drop_entries(connection, account)
            await connection.execute("DELETE FROM accounts WHERE id = $1", account)
            return await _made(connection, None, address)

    async def create_alias(
        self, tenant: UUID | None, address: str, targets: Sequence[str], receipt: Receipt[Alias] | None = None
    ) -> Change[Alias]:
        """Make an alias."""
        async with self._alias_writer() as connection:
            domain = await _home(connection, tenant, address)
            if await connection.fetchval("SELECT true FROM accounts WHERE address = $1", address):
                raise Conflict(f"{address} is an account")
            await _check_targets(connection, domain["tenant_id"], address, targets)
            made = await connection.fetchval(
                "INSERT INTO aliases (domain_id, address, targets) VALUES ($1, $2, $3)"
                " ON CONFLICT (address) DO NOTHING RETURNING id",
                domain["id"],
                address,
                list(targets),
            )
            if made is None:
                raise Conflict(f"the alias {address} is there already")
            return await _made(connection, await _alias(connection, tenant, address), address, receipt)

    async def aliases(self, tenant: UUID | None, domain: str | None, after: str, limit: int) -> Sequence[Alias]:
        """List by address."""
        return [_as_alias(row) for row in await self._fetch(f"{_ALIAS} {_PAGE}", tenant, domain, after, limit)]

    async def alias(self, tenant: UUID | None, address: str) -> Alias:
        """Give one."""
        return _as_alias(_only(await self._fetch(f"{_ALIAS} AND a.address = $2", tenant, address)))

    async def change_alias(self, tenant: UUID | None, address: str, targets: Sequence[str]) -> Change[Alias]:
        """Set the targets."""
        async with self._alias_writer() as connection:
            row = _only(await connection.fetch(f"{_ALIAS} AND a.address = $2", tenant, address))
            await _check_targets(connection, row["tenant_id"], address, targets)
            changed = await connection.execute(
                "UPDATE aliases SET targets = $2, updated_at = now() WHERE id = $1", row["id"], list(targets)
            )
            if changed == "UPDATE 0":
                raise Missing
            return await _made(connection, await _alias(connection, tenant, address), address)

    async def delete_alias(self, tenant: UUID | None, address: str) -> Change[None]:
        """Remove an alias."""
        async with self._database.transaction() as connection:
            row = _only(await connection.fetch(f"{_ALIAS} AND a.address = $2 FOR UPDATE OF a", tenant, address))
            await _refuse_while_led_to(connection, address)
            await connection.execute("DELETE FROM aliases WHERE id = $1", row["id"])
            return await _made(connection, None, address)

    async def _fetch(self, query: str, *values: Any) -> list[Any]:
        async with self._database.session() as connection:
            return await connection.fetch(query, *values)

    @asynccontextmanager
    async def _alias_writer(self) -> AsyncIterator[Connection]:
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _ALIAS_LOCK)
            yield connection


async def _made[T](connection: Connection, value: T, subject: str, receipt: Receipt[T] | None = None) -> Change[T]:
    if receipt is not None:
        await keep_answer(connection, receipt.reservation, receipt.render(value))
    return Change(value, await write_outbox(connection, subject))


async def _update(
    connection: Connection, table: str, row: int, columns: tuple[str, ...], changes: Mapping[str, object]
) -> None:
    setting = [column for column in columns if column in changes]
    places = ", ".join(f"{column} = ${place}" for place, column in enumerate(setting, start=2))
    await connection.execute(
        f"UPDATE {table} SET {places}, updated_at = now() WHERE id = $1",  # noqa: S608
        row,
        *(changes[column] for column in setting),
    )


async def _owner(connection: Connection, tenant: UUID | None, named: str | None) -> UUID:
    if named is None:
        return tenant or DEFAULT_TENANT
    found: UUID | None = await connection.fetchval(
        "SELECT id FROM tenants WHERE (name = $2 OR id::text = lower($2)) AND ($1::uuid IS NULL OR id = $1)",
        tenant,
        named,
    )
    if found is None:
        raise Unfit(Fault("tenant", "there is no such tenant"))
    return found


async def _home(connection: Connection, tenant: UUID | None, address: str) -> Any:
    name = address.rpartition("@")[2]
    found = await connection.fetch(f"{_DOMAIN} AND d.name = $2 FOR KEY SHARE OF d", tenant, name)
    if not found:
        raise Unfit(Fault("address", f"there is no domain {name} here; create it first"))
    return found[0]


async def _check_catch_all(connection: Connection, owner: UUID, catch_all: object) -> None:
    if catch_all is not None and catch_all not in await _hold(connection, owner, [str(catch_all)]):
        raise Unfit(Fault("catch_all", "there is no account or alias with this address"))


async def _hold(connection: Connection, owner: UUID, addresses: Sequence[str]) -> set[str]:
    """Give those of the addresses that are accounts or aliases of the tenant, and keep them from being removed."""
    held: set[str] = set()
    for table in ("accounts", "aliases"):
        rows = await connection.fetch(
            f"SELECT a.address FROM {table} a JOIN domains d ON d.id = a.domain_id"  # noqa: S608
            " WHERE d.tenant_id = $1 AND a.address = ANY($2) ORDER BY a.id FOR KEY SHARE OF a",
            owner,
            list(addresses),
        )
        held |= {row["address"] for row in rows}
    return held


async def _check_targets(connection: Connection, owner: UUID, address: str, targets: Sequence[str]) -> None:
    rows = await connection.fetch(
        "SELECT name, tenant_id FROM domains WHERE name = ANY($1)", [target.rpartition("@")[2] for target in targets]
    )
    owners = {row["name"]: row["tenant_id"] for row in rows}
    held = await _hold(connection, owner, targets)
    above = await connection.fetchval(_UP, address, MOST_STEPS)
    below = {row["root"]: row for row in await connection.fetch(_DOWN, list(targets), address, MOST_STEPS)}
    faults = []
    for number, target in enumerate(targets):
        problem, home = None, owners.get(target.rpartition("@")[2])
        if below[target]["loops"]:
            problem = f"{target} leads back to {address}"
        elif home is not None and home != owner:
            problem = f"{target} is in a domain of another tenant"
        elif home is not None and target not in held:
            problem = f"there is no account or alias {target}"
        elif above + 1 + below[target]["steps"] > MOST_STEPS:
            problem = f"more than {MOST_STEPS} aliases would follow one another"
        if problem:
            faults.append(Fault(f"targets[{number}]", problem))
    if faults:
        raise Unfit(*faults)


async def _doubt_aliases_into(connection: Connection, domain: str) -> None:
    """Reads all aliases: domains are made and removed seldom."""
    led = await connection.fetch(
        "SELECT address FROM aliases"
        " WHERE EXISTS (SELECT FROM unnest(targets) AS target WHERE split_part(target, '@', -1) = $1) ORDER BY address",
        domain,
    )
    if led:
        await write_outbox(connection, *(row["address"] for row in led))


async def _refuse_while_led_to(connection: Connection, address: str) -> None:
    alias = await connection.fetchval(
        "SELECT address FROM aliases WHERE targets @> ARRAY[$1::text] ORDER BY address LIMIT 1", address
    )
    if alias is not None:
        raise Conflict(f"the alias {alias} leads to {address}; change or delete it first")
    domain = await connection.fetchval("SELECT name FROM domains WHERE catch_all = $1 ORDER BY name LIMIT 1", address)
    if domain is not None:
        raise Conflict(f"{address} is the catch-all of the domain {domain}; change that first")


async def _domain(connection: Connection, tenant: UUID | None, name: str) -> Domain:
    return _as_domain(_only(await connection.fetch(f"{_DOMAIN} AND d.name = $2", tenant, name)))


async def _alias(connection: Connection, tenant: UUID | None, address: str) -> Alias:
    return _as_alias(_only(await connection.fetch(f"{_ALIAS} AND a.address = $2", tenant, address)))


def _only(rows: Sequence[Any]) -> Any:
    if not rows:
        raise Missing
    return rows[0]


def _as_domain(row: Any) -> Domain:
    names = ("name", "tenant", "tenant_id", "catch_all", "plus_addressing", "created_at", "updated_at")
    return Domain(sending=_sending(row), **{name: row[name] for name in names})


def _as_account(row: Any) -> Account:
    names = ("address", "quota_bytes", "used_bytes", "used_messages", "created_at", "updated_at")
    return Account(state=State(row["state"]), sending=_sending(row), **{name: row[name] for name in names})


def _sending(row: Any) -> SendingRules:
    messages, recipients, networks = (row[name] for name in _RULES)
    return SendingRules(messages, recipients, None if networks is None else tuple(networks))


def _as_alias(row: Any) -> Alias:
    return Alias(row["address"], tuple(row["targets"]), row["created_at"], row["updated_at"])
