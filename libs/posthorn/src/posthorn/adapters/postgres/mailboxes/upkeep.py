"""The port MailboxUpkeep on Postgres, and what mailboxes need after a restore.

Theory:

- The check walks the accounts by id, from a random one on, so that processes that live briefly check
  all of them in the long run. Counters and entries are read by one statement without a lock, since
  transactions change both together; what differs is counted again under the account's lock.
- The log is pruned by age over the index on its time, and by number by a walk over the mailboxes:
  of those with a higher modseq, what is ``KEPT_MODSEQS`` behind. The oldest go first, so that what
  stays is complete from some modseq on. Rows that somebody else is deleting are skipped: accounts
  and mailboxes are deleted with their rows in another order.
- A restored database is older than what clients remember: of the UIDs that it would give next, they
  know other messages, which are lost. POP3 clients would take new mail for mail that they have, and
  delete it unread. So UIDs and modseqs go on far beyond (``skip_numbers``); the gap in the modseqs
  makes the change log incomplete for everybody.
- Unique ids of messages that are gone are removed by a walk over all of them.
"""

from __future__ import annotations

from uuid import uuid4

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.imap.rows import LAST_UIDNEXT
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.mailboxes.changes import recount, wrong_counters
from posthorn.adapters.postgres.mailboxes.unique_ids import prune_unique_ids
from posthorn.ports.mailbox_upkeep import (
    KEPT_DAYS,
    KEPT_MODSEQS,
    Checked,
    Counters,
    WrongMailbox,
)

_TASK = "mailbox upkeep"
SKIPPED = 1_000_000
"""Numbers left out after a restore: more than a mailbox gets since a backup."""
_ACCOUNTS_AT_ONCE = 500
_MAILBOXES_AT_ONCE = 5_000

_NEXT_ACCOUNTS = "SELECT id, used_messages FROM accounts WHERE id > $1 ORDER BY id LIMIT $2"
_SOMEWHERE = "SELECT floor(random() * coalesce(max(id), 0))::bigint FROM accounts"
_LOCK = "SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE"
_PRUNE_OLD = f"""
    DELETE FROM mailbox_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM mailbox_changes WHERE created_at < now() - interval '{KEPT_DAYS} days' LIMIT $1 FOR UPDATE SKIP LOCKED
    ))
"""
_NEXT_MAILBOXES = """
    SELECT account_id, mailbox_id, modseq FROM mailboxes WHERE (account_id, mailbox_id) > ($1, $2)
     ORDER BY account_id, mailbox_id LIMIT $3
"""
_PRUNE_MANY = f"""
    DELETE FROM mailbox_changes WHERE ctid = ANY (ARRAY(
        SELECT c.ctid
          FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS w (account_id, mailbox_id, modseq)
          CROSS JOIN LATERAL (
              SELECT ctid FROM mailbox_changes
               WHERE account_id = w.account_id AND mailbox_id = w.mailbox_id AND modseq <= w.modseq - {KEPT_MODSEQS}
               ORDER BY modseq LIMIT $4 FOR UPDATE SKIP LOCKED
          ) AS c
         LIMIT $4
    ))
"""

_LOCK_NEXT = "SELECT id FROM accounts WHERE id > $1 ORDER BY id LIMIT $2 FOR NO KEY UPDATE"
_SKIP = f"""
    UPDATE mailboxes b
       SET uidnext = b.uidnext + {SKIPPED}, modseq = b.modseq + {SKIPPED}, counted_modseq = b.counted_modseq + {SKIPPED}
     WHERE b.account_id = ANY ($1::bigint[]) AND b.uidnext <= {LAST_UIDNEXT - SKIPPED}
"""


async def skip_numbers(database: Database) -> None:
    """Let UIDs and modseqs of all mailboxes go on beyond any that clients may know, some accounts at
    a time. Raises Unavailable; begun anew it comes to its end, and leaves out more."""
    last: int | None = 0
    while last is not None:
        async with database.transaction() as connection:
            rows = await connection.fetch(_LOCK_NEXT, last, _ACCOUNTS_AT_ONCE)
            await connection.execute(_SKIP, [row["id"] for row in rows])
        last = rows[-1]["id"] if rows else None


class PostgresMailboxUpkeep:
    """See the port. Each instance is a separate candidate for doing it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database, _TASK, uuid4())
        self._account: int | None = None  # the last one checked
        self._mailbox = (0, 0)  # the last one whose log was examined
        self._unique_id = (0, 0)  # account and uid of the last one that was examined

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only one to do this."""
        return await self._leadership.lead(seconds)

    async def check(self, messages: int) -> Checked:
        """Check the next accounts."""
        async with self._database.session() as connection:
            if self._account is None:
                self._account = int(await connection.fetchval(_SOMEWHERE))
            rows = await connection.fetch(_NEXT_ACCOUNTS, self._account, _ACCOUNTS_AT_ONCE)
        wrong: list[WrongMailbox] = []
        accounts = 0
        for row in rows:
            if accounts and row["used_messages"] > messages:
                return Checked(accounts, wrong, is_over=False)
            # before the check: an account that cannot be checked must not stop it for all others
            self._account = row["id"]
            wrong += await self._check(row["id"])
            accounts += 1
            messages -= row["used_messages"]
        is_over = len(rows) < _ACCOUNTS_AT_ONCE
        if is_over:
            self._account = 0
        return Checked(accounts, wrong, is_over)

    async def _check(self, account: int) -> list[WrongMailbox]:
        async with self._database.session() as connection:
            if not await wrong_counters(connection, account):
                return []
        async with self._database.transaction() as connection:
            await connection.fetchval(_LOCK, account)
            found = await wrong_counters(connection, account)
            await recount(connection, account, [each.mailbox for each in found], all_=True)
        return [
            WrongMailbox(account, each.mailbox, Counters(*each.stored), Counters(*each.counted))
            for each in found
        ]

    async def prune(self, limit: int) -> int:
        """Delete changes that are too old, or too many."""
        async with self._database.session() as connection:
            gone = _count(await connection.execute(_PRUNE_OLD, limit))
            rows = await connection.fetch(_NEXT_MAILBOXES, *self._mailbox, _MAILBOXES_AT_ONCE)
            long = [tuple(row) for row in rows if row["modseq"] > KEPT_MODSEQS]
            more = 0
            if long:
                columns = [list(column) for column in zip(*long, strict=True)]
                more = _count(await connection.execute(_PRUNE_MANY, *columns, limit))
            self._unique_id = await prune_unique_ids(connection, self._unique_id, limit)
        if more < limit:  # else these have more
            is_end = len(rows) < _MAILBOXES_AT_ONCE
            self._mailbox = (0, 0) if is_end else (rows[-1]["account_id"], rows[-1]["mailbox_id"])
        return gone + more


def _count(tag: str) -> int:
    """Return the number of rows in a command's tag, such as ``DELETE 5``."""
    return int(tag.rpartition(" ")[2])
