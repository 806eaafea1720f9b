"""An account's mailboxes on Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.tenant_scope import Scoped, found
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.mailboxes.changes import changing, recount
from posthorn.adapters.postgres.mailboxes.edits import change_mailbox
from posthorn.ports.account_mail import Mailbox, MailboxChange
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.folders import MOST_FOLDERS, MOST_SUBSCRIPTIONS
from posthorn.ports.idempotency import Receipt
from posthorn.ports.mailbox_hints import FOLDERS, Announce, announce_nothing
from posthorn.wire.imap.mailbox_names import DELIMITER

_FIND = Scoped(
    "SELECT a.id, a.quota_bytes, a.used_bytes, d.tenant_id, d.undelete_days"
    " FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE {visible} AND a.address = $2"
)
# until its first login by IMAP an account counts as subscribed to everything
_SUBSCRIBED = """
    (NOT (SELECT imap_prepared FROM accounts WHERE id = $1)
     OR EXISTS (SELECT FROM mailbox_subscriptions s WHERE s.account_id = $1 AND s.name = b.name)) AS subscribed
"""
_LIST = f"""
    SELECT mailbox_id, name, role, messages, unseen, octets, uidvalidity, uidnext, counted_modseq = modseq AS is_counted,
           {_SUBSCRIBED}
      FROM mailboxes b WHERE account_id = $1
     ORDER BY role IS NULL, CASE WHEN role IS NULL THEN 0 ELSE mailbox_id END, name
"""
# Of ids and validities what is there counts as well: the release before does not count. A former
# mailbox may be known by its deleted messages or its changes alone.
_MAKE = """
    WITH numbers AS (
        UPDATE accounts a
           SET last_mailbox_id = there.id + cardinality($2::text[]),
               last_uidvalidity = there.validity + cardinality($2::text[])
          FROM (
              SELECT greatest(
                         o.last_mailbox_id, (SELECT max(mailbox_id) FROM mailboxes WHERE account_id = $1),
                         (SELECT max(mailbox_id) FROM deleted_entries WHERE account_id = $1),
                         (SELECT max(mailbox_id) FROM mailbox_changes WHERE account_id = $1)
                     ) AS id,
                     greatest(
                         o.last_uidvalidity, (SELECT max(uidvalidity) FROM mailboxes WHERE account_id = $1),
                         floor(extract(epoch FROM clock_timestamp()))::bigint + $1
                     ) AS validity
                FROM accounts o WHERE o.id = $1
          ) AS there
         WHERE a.id = $1
        RETURNING there.id, there.validity
    )
    INSERT INTO mailboxes (account_id, mailbox_id, name, uidvalidity, counted_modseq)
    SELECT $1, numbers.id + made.place, made.name, numbers.validity + made.place, 1
      FROM numbers, unnest($2::text[]) WITH ORDINALITY AS made (name, place)
    RETURNING name, role, messages, unseen, octets, uidvalidity, uidnext, true AS subscribed
"""
_SUBSCRIBE = f"""
    INSERT INTO mailbox_subscriptions (account_id, name)
    SELECT $1, name FROM unnest($2::text[]) AS name
     LIMIT greatest(0, {MOST_SUBSCRIPTIONS} - (SELECT count(*) FROM mailbox_subscriptions WHERE account_id = $1))
    ON CONFLICT DO NOTHING
"""
_DELETE = """
    WITH changes AS (
        DELETE FROM mailbox_changes WHERE account_id = $1 AND mailbox_id = $2
    )
    DELETE FROM mailboxes WHERE account_id = $1 AND mailbox_id = $2
"""


class PostgresAccountMailboxes:
    """The methods of the port AccountMail for mailboxes."""

    def __init__(self, database: Database, announce: Announce = announce_nothing) -> None:
        self._database = database
        self._announce = announce

    async def mailboxes(self, tenant: UUID | None, address: str) -> Sequence[Mailbox]:
        """List them with their counters, counted again where these may be wrong."""
        async with self._database.session() as connection:
            account = (await account_of(connection, tenant, address))["id"]
            rows = await connection.fetch(_LIST, account)
        if not all(row["is_counted"] for row in rows):
            async with self._database.transaction() as connection:
                await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
                await recount(connection, account, [row["mailbox_id"] for row in rows])
                rows = await connection.fetch(_LIST, account)
        return [_as_mailbox(row) for row in rows]

    async def create_mailbox(
        self, tenant: UUID | None, address: str, name: str, receipt: Receipt[Mailbox] | None = None
    ) -> Mailbox:
        """Make one."""
        async with changing(self._database, self._announce) as (connection, changed):
            account = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            if not (made := await make_mailboxes(connection, account["id"], address, [name])):
                raise Conflict(f"{address} already has a mailbox {name}")
            changed.append((account["id"], FOLDERS, 0))
            await write_audit(connection, account["tenant_id"], address, {"mailbox": name})
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(made[0]))
            return made[0]

    async def change_mailbox(
        self, tenant: UUID | None, address: str, name: str, change: MailboxChange
    ) -> Mailbox:
        """Rename it, or change its subscription."""
        async with changing(self._database, self._announce) as (connection, changed):
            account = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            present = await change_mailbox(connection, account, name, change)
            changed.append((account["id"], FOLDERS, 0))
            details = {"mailbox": name} | {
                field: value
                for field, value in (("to", change.name), ("subscribed", change.subscribed))
                if value is not None
            }
            await write_audit(connection, account["tenant_id"], address, details)
            rows = await connection.fetch(_LIST, account["id"])
            if not all(row["is_counted"] for row in rows):
                await recount(connection, account["id"], [row["mailbox_id"] for row in rows])
                rows = await connection.fetch(_LIST, account["id"])
            return next(_as_mailbox(row) for row in rows if row["name"] == present)

    async def delete_mailbox(self, tenant: UUID | None, address: str, name: str) -> None:
        """Delete an empty mailbox that is not a standard one."""
        async with changing(self._database, self._announce) as (connection, changed):
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
            await connection.execute(_DELETE, account["id"], row["mailbox_id"])
            changed.append((account["id"], row["mailbox_id"], 0))
            await write_audit(connection, account["tenant_id"], address, {"mailbox": name})


async def make_mailboxes(
    connection: Connection, account: int, address: str, names: Sequence[str]
) -> list[Mailbox]:
    """Create the mailboxes that are missing, subscribe the account to them, and return them. The
    caller holds the account's row. Raises Conflict when there would be too many."""
    there = {
        row["name"]
        for row in await connection.fetch(
            "SELECT name FROM mailboxes WHERE account_id = $1", account
        )
    }
    missing = [name for name in dict.fromkeys(names) if name not in there]
    if len(there) + len(missing) > MOST_FOLDERS:
        raise Conflict(f"{address} would have more than {MOST_FOLDERS} mailboxes")
    if not missing:
        return []
    made = await connection.fetch(_MAKE, account, missing)
    await connection.execute(_SUBSCRIBE, account, missing)
    return [_as_mailbox(row) for row in made]


def with_those_above(names: Iterable[str]) -> list[str]:
    """Return names of mailboxes with those above them, each once, the higher ones first."""
    found: dict[str, None] = {}
    for name in names:
        levels = name.split(DELIMITER)
        found.update((DELIMITER.join(levels[:count]), None) for count in range(1, len(levels) + 1))
    return list(found)


def _as_mailbox(row: Any) -> Mailbox:
    names = (
        *("name", "role", "messages", "unseen", "octets", "uidvalidity", "uidnext"),
        "subscribed",
    )
    return Mailbox(**{name: row[name] for name in names})


async def account_of(
    connection: Connection, tenant: UUID | None, address: str, lock: str = ""
) -> Any:
    """Return the row of an account visible to the caller. Raises NotFound."""
    rows = await found(connection, tenant, _FIND + lock, address)
    if not rows:
        raise NotFound(f"there is no account {address}")
    return rows[0]
