"""Accounts on Postgres."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import former, write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import (
    Scoped,
    check_version,
    one,
    version_of,
)
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.alias_graph import hold_addresses, refuse_while_led_to
from posthorn.adapters.postgres.directory.domains import RULES, SENDING, home, sending, update
from posthorn.adapters.postgres.directory.limits import check_account
from posthorn.adapters.postgres.directory.managers import (
    MANAGER,
    managed_by,
    mark_new,
    note_manager,
)
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.adapters.postgres.mailboxes.expunge import LONG_SECONDS, remove_everything
from posthorn.ports.accounts import Account, AccountState, NewAccount
from posthorn.ports.changes import Change, Versions
from posthorn.ports.errors import Conflict
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery

_COLUMNS = (
    "a.id, a.domain_id, d.tenant_id, a.address, a.quota_bytes, a.used_bytes, a.used_messages, a.state,"
    f" a.save_sent, a.imap_hidden, a.created_at, a.updated_at, {SENDING.format('a')},"
    f" {MANAGER}"
)
_SETTABLE = ("quota_bytes", "state", "save_sent", "imap_hidden", *RULES)
_JOINS = "JOIN domains d ON d.id = a.domain_id LEFT JOIN managed_objects mo ON mo.account_id = a.id"
_ACCOUNT = f"SELECT {_COLUMNS} FROM accounts a {_JOINS} WHERE {{visible}}"
_NAMED = Scoped(f"{_ACCOUNT} AND a.address = $2")
_LIST = Listing(
    "accounts",
    "a",
    _COLUMNS,
    _JOINS,
    orders={
        "address": Order("a.address"),
        "created": Order("a.id", int),  # ids are given in this order
        "used": Order("a.used_bytes", int, "a.id", int),
    },
    searched=("a.address",),
    state="a.state",
    by_domain=True,
)

FOLDERS = """
    WITH made AS (
        INSERT INTO mailboxes (account_id, mailbox_id, name, role, uidvalidity, counted_modseq)
        SELECT account, folder.id, folder.name, folder.role, floor(extract(epoch FROM clock_timestamp()))::bigint + account, 1
          FROM unnest($1::bigint[]) AS account,
               (VALUES (1, 'INBOX', 'inbox'), (2, 'Junk', 'junk'), (3, 'Sent', 'sent'), (4, 'Trash', 'trash'),
                       (5, 'Drafts', NULL), (6, 'Archive', NULL)) AS folder (id, name, role)
        RETURNING account_id, mailbox_id, name, uidvalidity
    ), subscribed AS (
        INSERT INTO mailbox_subscriptions (account_id, name) SELECT account_id, name FROM made
    )
    UPDATE accounts a
       SET last_mailbox_id = n.mailbox_id, last_uidvalidity = n.uidvalidity
      FROM (SELECT account_id, max(mailbox_id) AS mailbox_id, max(uidvalidity) AS uidvalidity FROM made GROUP BY 1) AS n
     WHERE a.id = n.account_id
"""
"""Statement that makes the mailboxes of new accounts, with subscriptions to them.

Drafts and Archive get their roles at the first login by IMAP (``Folders.prepare``), like those of
older accounts: the API of the release before knows neither, and could not list the mailboxes.

Their uidvalidity is seconds since the epoch plus the account's id: ids only grow, so that a
recreated address never has an old uidvalidity, even within the same second or after the clock was
set back a little; and it fits 32 bits (RFC 9051 §2.3.1.1)."""


class PostgresAccounts:
    """The methods of the port Administration for accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_account(
        self, tenant: UUID | None, new: NewAccount, receipt: Receipt[Account] | None = None
    ) -> Change[Account]:
        """Create an account with its mailboxes."""
        async with self._database.transaction() as connection:
            domain = await home(connection, tenant, new.address)
            await hold_addresses(connection, [domain["tenant_id"]], alone=False)
            if await connection.fetchval(
                "SELECT true FROM aliases WHERE address = $1", new.address
            ):
                raise Conflict(f"{new.address} is an alias; delete it first")
            await check_account(connection, domain["id"], new.quota_bytes)
            made = await connection.fetchval(
                "INSERT INTO accounts (domain_id, address, password_hash, quota_bytes, state) VALUES ($1, $2, $3, $4, $5)"
                " ON CONFLICT (address) DO NOTHING RETURNING id",
                domain["id"],
                new.address,
                new.password_hash,
                new.quota_bytes,
                new.state.value,
            )
            if made is None:
                raise Conflict(f"the account {new.address} already exists")
            await mark_new(connection, "account", made)
            await connection.execute(FOLDERS, [made])
            account = _as_account(await one(connection, tenant, _NAMED, new.address))
            await write_audit(
                connection, domain["tenant_id"], new.address, {"quota_bytes": new.quota_bytes}
            )
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(account))
            return Change(account, await write_outbox(connection, new.address))

    async def accounts(
        self, tenant: UUID | None, asked: ListQuery, domain: str | None = None
    ) -> Listed[Account]:
        """List by address."""
        async with self._database.transaction() as connection:
            return await _LIST.page(connection, tenant, asked, _as_account, domain=domain)

    async def account(self, tenant: UUID | None, address: str) -> Account:
        """Return one."""
        async with self._database.session() as connection:
            return _as_account(await one(connection, tenant, _NAMED, address))

    async def change_account(
        self,
        tenant: UUID | None,
        address: str,
        changes: Mapping[str, object],
        expected: Versions = None,
    ) -> Change[Account]:
        """Set the fields that ``changes`` names."""
        async with self._database.transaction() as connection:
            if "quota_bytes" in changes:  # the rows that limit it are locked first
                row = await one(connection, tenant, _NAMED, address)
                quota: Any = changes["quota_bytes"]
                await check_account(connection, row["domain_id"], quota, row["id"])
            row = await one(connection, tenant, _NAMED + "FOR NO KEY UPDATE OF a", address)
            check_version(row, expected)
            if not changes:
                return Change(_as_account(row))
            note_manager(row, changes)
            values = {
                name: value.value if isinstance(value, AccountState) else value
                for name, value in changes.items()
            }
            await update(connection, "accounts", row["id"], ("password_hash", *_SETTABLE), values)
            await write_audit(
                connection, row["tenant_id"], address, values, before=former(row, values)
            )
            account = _as_account(await one(connection, tenant, _NAMED, address))
            if {"quota_bytes", "state"} & changes.keys():
                return Change(account, await write_outbox(connection, address))
            return Change(account)

    async def delete_account(
        self, tenant: UUID | None, address: str, expected: Versions = None
    ) -> Change[None]:
        """Delete an account with its mail."""
        async with self._database.transaction() as connection:
            await connection.execute(f"SET LOCAL statement_timeout = '{LONG_SECONDS}s'")
            row = await one(connection, tenant, _NAMED + "FOR UPDATE OF a", address)
            check_version(row, expected)
            note_manager(row)
            await refuse_while_led_to(connection, row["tenant_id"], address)
            await remove_everything(connection, row["id"])
            await connection.execute(
                "DELETE FROM aliases WHERE address = $1", address
            )  # its forward
            await connection.execute("DELETE FROM accounts WHERE id = $1", row["id"])
            held = former(row, ("used_messages", "used_bytes", *_SETTABLE))
            await write_audit(connection, row["tenant_id"], address, before=held)
            return Change(None, await write_outbox(connection, address))


def _as_account(row: Any) -> Account:
    names = ("address", "quota_bytes", "used_bytes", "used_messages", "created_at", "updated_at")
    values = {name: row[name] for name in (*names, "save_sent")}
    return Account(
        state=AccountState(row["state"]),
        sending=sending(row),
        imap_hidden=tuple(row["imap_hidden"]),
        version=version_of(row),
        managed_by=managed_by(row),
        **values,
    )
