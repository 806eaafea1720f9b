"""The port Folders on Postgres: login, the list of mailboxes, subscriptions, quota. Changes of
mailboxes are in ``folder_changes``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from posthorn.adapters.postgres.access.content_access import (
    FINDINGS,
    NETWORK_AGE,
    check_parameters,
    find_ended,
    findings_of,
    remember_networks,
)
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.imap import folder_changes
from posthorn.adapters.postgres.imap.rows import BOX, Row, lock_account
from posthorn.adapters.postgres.mailboxes.changes import recount
from posthorn.ports.access import Ending, FamiliarNetwork, LoginCheck, Proof
from posthorn.ports.errors import Unavailable
from posthorn.ports.folders import (
    Folder,
    FolderList,
    ImapAccount,
    Quota,
)
from posthorn.ports.mailbox_view import MailboxGone

_LOGIN = f"""
    SELECT a.id, a.address, a.password_hash, a.state <> 'suspended' AND t.state <> 'suspended' AS active, d.tenant_id,
           {NETWORK_AGE} AS network_age,
           coalesce(nullif(a.allowed_networks, '{{}}'), d.allowed_networks, '{{}}')::text[] AS networks,
           a.imap_hidden, a.imap_prepared, a.scram, {FINDINGS}
      FROM accounts a JOIN domains d ON d.id = a.domain_id JOIN tenants t ON t.id = d.tenant_id
     WHERE a.address = $1
"""
_BY_NAME = f"{BOX} AND name = $2"
_SUBSCRIBED = "SELECT name FROM mailbox_subscriptions WHERE account_id = $1"
_QUOTA = "SELECT used_bytes, quota_bytes, used_messages FROM accounts WHERE id = $1"


class PostgresFolders:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def probe(self) -> None:
        """Check the store."""
        await self._database.probe()

    async def login(
        self, address: str, network: bytes = b"", check: LoginCheck | None = None
    ) -> ImapAccount | None:
        """Return an account by address."""
        if clean_text(address) != address:
            return None
        async with self._database.session() as connection:
            row = await connection.fetchrow(_LOGIN, address, network, *check_parameters(check))
        if row is None:
            return None
        return ImapAccount(
            account=row["id"],
            address=row["address"],
            password_hash=row["password_hash"],
            active=row["active"],
            tenant=row["tenant_id"],
            network_age=row["network_age"],
            networks=tuple(row["networks"]),
            hidden=tuple(row["imap_hidden"]),
            prepared=row["imap_prepared"],
            scram=row["scram"],
            findings=findings_of(row, check),
        )

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        """Record networks."""
        await remember_networks(self._database, networks)

    async def ended(self, proofs: Mapping[int, Proof]) -> dict[int, Ending]:
        """Return the connections that must end."""
        if not proofs:
            return {}
        async with self._database.session() as connection:
            found = await find_ended(
                connection, [(proof, None) for proof in dict.fromkeys(proofs.values())]
            )
        return {
            number: ending
            for number, proof in proofs.items()
            if (ending := found.get((proof, None))) is not None
        }

    async def prepare(self, account: int) -> None:
        """Complete the standard mailboxes."""
        async with self._database.transaction() as connection:
            await _lock(connection, account)
            await folder_changes.prepare(connection, account)

    async def list(self, account: int) -> FolderList:
        """Return mailboxes and subscriptions, as one moment has them."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(BOX, account)
            if stale := [row["mailbox_id"] for row in rows if not row["is_counted"]]:
                await _lock(connection, account)
                await recount(connection, account, stale)
                rows = await connection.fetch(BOX, account)
            names = [row["name"] for row in await connection.fetch(_SUBSCRIBED, account)]
        if not rows:
            raise Unavailable("postgres", "the account was deleted")
        folders = sorted((_as_folder(row) for row in rows), key=lambda folder: folder.name)
        return FolderList(folders, frozenset(names))

    async def find(self, account: int, name: str) -> Folder | None:
        """Return one mailbox."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_BY_NAME, account, clean_text(name))
        if row is None or row["is_counted"]:
            return None if row is None else _as_folder(row)
        async with self._database.transaction() as connection:
            await _lock(connection, account)
            await recount(connection, account, [row["mailbox_id"]])
            row = await connection.fetchrow(_BY_NAME, account, name)
        return None if row is None else _as_folder(row)

    async def create(self, account: int, name: str, role: str | None = None) -> Folder:
        """Create a mailbox."""
        async with self._database.transaction() as connection:
            await _lock(connection, account)
            await folder_changes.create(connection, account, name, role)
            row: Any = await connection.fetchrow(_BY_NAME, account, name)
            return _as_folder(row)

    async def delete(self, account: int, name: str) -> None:
        """Delete a mailbox."""
        mailbox = None
        while True:
            async with self._database.transaction() as connection:
                owner = await _lock(connection, account)
                mailbox = await folder_changes.delete(connection, owner, account, name, mailbox)
            if mailbox is None:
                return

    async def rename(self, account: int, name: str, to: str) -> None:
        """Rename a mailbox."""
        async with self._database.transaction() as connection:
            owner = await _lock(connection, account)
            await folder_changes.rename(connection, owner, account, name, to)

    async def subscribe(self, account: int, name: str) -> None:
        """Subscribe to a name."""
        folder_changes.check_levels([name])
        async with self._database.transaction() as connection:
            await _lock(connection, account)
            await folder_changes.subscribe(connection, account, name)

    async def unsubscribe(self, account: int, name: str) -> None:
        """End a subscription."""
        async with self._database.session() as connection:
            await folder_changes.unsubscribe(connection, account, name)

    async def quota(self, account: int) -> Quota:
        """Return use and limit."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_QUOTA, account)
        if row is None:
            raise Unavailable("postgres", "the account was deleted")
        return Quota(row["used_bytes"], row["quota_bytes"], row["used_messages"])


async def _lock(connection: Connection, account: int) -> Row:
    try:
        return await lock_account(connection, account)
    except MailboxGone:
        raise Unavailable("postgres", "the account was deleted") from None


def _as_folder(row: Row) -> Folder:
    names = ("name", "role", "uidvalidity", "uidnext", "modseq", "messages", "unseen", "deleted")
    return Folder(id=row["mailbox_id"], octets=row["octets"], **{name: row[name] for name in names})
