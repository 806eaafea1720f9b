"""An account's mailboxes on Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.tenant_scope import Scoped, found
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.ports.account_mail import Mailbox
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.idempotency import Receipt

MOST_MAILBOXES = 1000
"""Most mailboxes of an account."""

_FIND = Scoped(
    "SELECT a.id, a.quota_bytes, a.used_bytes, d.tenant_id, d.undelete_days"
    " FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE {visible} AND a.address = $2"
)
_LIST = """
    SELECT box.name, box.role, coalesce(n.messages, 0) AS messages, coalesce(n.unseen, 0) AS unseen,
           coalesce(n.octets, 0)::bigint AS octets, box.uidvalidity, box.uidnext
      FROM mailboxes box
      LEFT JOIN (
          SELECT mailbox_id, count(*) AS messages, count(*) FILTER (WHERE flags & 1 = 0) AS unseen, sum(size_crlf) AS octets
            FROM mailbox_entries WHERE account_id = $1 GROUP BY mailbox_id
      ) AS n ON n.mailbox_id = box.mailbox_id
     WHERE box.account_id = $1
     ORDER BY box.role IS NULL, CASE WHEN box.role IS NULL THEN 0 ELSE box.mailbox_id END, box.name
"""
# an id is not reused while a deleted message that can be restored refers to it; a new uidvalidity
# exceeds all existing ones
_MAKE = """
    INSERT INTO mailboxes (account_id, mailbox_id, name, uidvalidity)
    SELECT $1, numbers.last + made.place, made.name,
           greatest(floor(extract(epoch FROM clock_timestamp()))::bigint + $1, numbers.validity) + made.place
      FROM unnest($2::text[]) WITH ORDINALITY AS made (name, place),
           (
               SELECT greatest(max(mailbox_id), (SELECT max(mailbox_id) FROM deleted_entries WHERE account_id = $1)) AS last,
                      max(uidvalidity) AS validity
                 FROM mailboxes WHERE account_id = $1
           ) AS numbers
    RETURNING name, role, 0::bigint AS messages, 0::bigint AS unseen, 0::bigint AS octets, uidvalidity, uidnext
"""


class PostgresAccountMailboxes:
    """The methods of the port AccountMail for mailboxes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mailboxes(self, tenant: UUID | None, address: str) -> Sequence[Mailbox]:
        """List them with their counts."""
        async with self._database.session() as connection:
            account = (await account_of(connection, tenant, address))["id"]
            return [Mailbox(**row) for row in await connection.fetch(_LIST, account)]

    async def create_mailbox(
        self, tenant: UUID | None, address: str, name: str, receipt: Receipt[Mailbox] | None = None
    ) -> Mailbox:
        """Make one."""
        async with self._database.transaction() as connection:
            account = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            if not (made := await make_mailboxes(connection, account["id"], address, [name])):
                raise Conflict(f"{address} already has a mailbox {name}")
            await write_audit(connection, account["tenant_id"], address, {"mailbox": name})
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(made[0]))
            return made[0]

    async def delete_mailbox(self, tenant: UUID | None, address: str, name: str) -> None:
        """Delete an empty mailbox that is not a standard one."""
        async with self._database.transaction() as connection:
            account = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            query = "SELECT mailbox_id, role FROM mailboxes WHERE account_id = $1 AND name = $2"
            row = await connection.fetchrow(query, account["id"], name)
            if row is None:
                raise NotFound(f"{address} has no mailbox of this name")
            if row["role"] is not None:
                raise Conflict(f"every account has a mailbox {name}")
            holds = "SELECT EXISTS (SELECT FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = $2)"
            if await connection.fetchval(holds, account["id"], row["mailbox_id"]):
                raise Conflict(f"the mailbox {name} contains messages; move or delete them first")
            gone = "DELETE FROM mailboxes WHERE account_id = $1 AND mailbox_id = $2"
            await connection.execute(gone, account["id"], row["mailbox_id"])
            await write_audit(connection, account["tenant_id"], address, {"mailbox": name})


async def make_mailboxes(
    connection: Connection, account: int, address: str, names: Sequence[str]
) -> list[Mailbox]:
    """Create the missing mailboxes and return all of them. The caller holds the account's row.
    Raises Conflict when there would be too many."""
    there = {
        row["name"]
        for row in await connection.fetch(
            "SELECT name FROM mailboxes WHERE account_id = $1", account
        )
    }
    missing = [name for name in dict.fromkeys(names) if name not in there]
    if len(there) + len(missing) > MOST_MAILBOXES:
        raise Conflict(f"{address} would have more than {MOST_MAILBOXES} mailboxes")
    return (
        [Mailbox(**row) for row in await connection.fetch(_MAKE, account, missing)]
        if missing
        else []
    )


async def account_of(
    connection: Connection, tenant: UUID | None, address: str, lock: str = ""
) -> Any:
    """Return the row of an account visible to the caller. Raises NotFound."""
    rows = await found(connection, tenant, _FIND + lock, address)
    if not rows:
        raise NotFound(f"there is no account {address}")
    return rows[0]
