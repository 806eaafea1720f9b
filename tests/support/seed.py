"""Domains, accounts and aliases written straight into a test's database, and a check of every
sum."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.changes import recount
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from tests.support.mailbox_checks import assert_mailboxes_are_sound

FOLDERS = ((1, "INBOX", "inbox"), (2, "Junk", "junk"), (3, "Sent", "sent"), (4, "Trash", "trash"))


class DatabaseSeed:
    """Makes what the API would make, with SQL, and reads what the database holds."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.by_hand = False
        """Whether the test has written mailbox entries itself."""
        self._validity = 1_700_000_000

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.database.session() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]

    async def value(self, query: str, *values: Any) -> Any:
        return (await self.rows(query, *values))[0][0]

    async def domain(self, name: str, *, catch_all: str | None = None, plus: bool = True) -> None:
        await self.rows(
            "INSERT INTO domains (tenant_id, name, catch_all, plus_addressing) VALUES ($1, $2, $3, $4)",
            *(DEFAULT_TENANT, name, catch_all, plus),
        )

    async def account(
        self, address: str, *, quota: int | None = None, state: str = "active"
    ) -> int:
        number: int = await self.value(
            "INSERT INTO accounts (domain_id, address, password_hash, quota_bytes, state)"
            " SELECT id, $1, 'hash', $3, $4 FROM domains WHERE name = $2 RETURNING id",
            *(address, address.rpartition("@")[2], quota, state),
        )
        self._validity += 1
        for mailbox, name, role in FOLDERS:
            await self.rows(
                "INSERT INTO mailboxes (account_id, mailbox_id, name, role, uidvalidity, counted_modseq)"
                " VALUES ($1, $2, $3, $4, $5, 1)",
                *(number, mailbox, name, role, self._validity),
            )
        return number

    async def accounts(
        self, count: int, domain: str = "example.test", quota: int | None = None
    ) -> list[int]:
        await self.domain(domain)
        return [
            await self.account(f"user{number}@{domain}", quota=quota) for number in range(count)
        ]

    async def alias(self, address: str, *targets: str) -> None:
        await self.rows(
            "INSERT INTO aliases (domain_id, address, targets) SELECT id, $1, $3 FROM domains WHERE name = $2",
            *(address, address.rpartition("@")[2], list(targets)),
        )

    async def policy(
        self, *, account: int | None = None, domain: str | None = None, **fields: Any
    ) -> None:
        """Set the filter policy of an account, a domain or (of neither) the system."""
        await self.rows(
            "INSERT INTO filter_policies (account_id, domain_id, document)"
            " VALUES ($1, (SELECT id FROM domains WHERE name = $2), $3::text::jsonb)",
            *(account, domain, json.dumps(fields)),
        )

    async def used(self, account: int) -> tuple[int, int]:
        """Return the bytes and the messages that the account is charged with."""
        octets, messages = (
            await self.rows("SELECT used_bytes, used_messages FROM accounts WHERE id = $1", account)
        )[0]
        return octets, messages

    async def inbox(self, account: int) -> list[tuple[int, UUID]]:
        return [
            (uid, message)
            for uid, message in await self.rows(
                "SELECT uid, message_id FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = 1 ORDER BY uid",
                account,
            )
        ]

    async def entries(self, statement: str, *values: Any) -> None:
        """Write mailbox entries by a statement of the test's own, and make right what follows."""
        await self.rows(statement, *values)
        await self.mend_mailboxes()

    async def mend_mailboxes(self) -> None:
        """Make right what follows from entries that the test wrote itself."""
        self.by_hand = True
        await self.rows(
            """
            UPDATE mailboxes b SET uidnext = greatest(b.uidnext, n.last + 1)
              FROM (SELECT account_id, mailbox_id, max(uid) AS last FROM mailbox_entries GROUP BY 1, 2) AS n
             WHERE (n.account_id, n.mailbox_id) = (b.account_id, b.mailbox_id)
            """
        )
        for account, boxes in await self.rows(
            "SELECT account_id, array_agg(mailbox_id) FROM mailboxes GROUP BY 1"
        ):
            async with self.database.session() as connection:
                await recount(connection, account, boxes, all_=True)

    async def drain_outbox(self) -> list[str]:
        """Return what waits in the directory's outbox, oldest first; the outbox is empty
        afterwards."""
        return [
            subject
            for _, subject in sorted(
                await self.rows("DELETE FROM directory_outbox RETURNING id, subject")
            )
        ]

    async def sums_hold(self) -> None:
        """Assert that every stored sum equals what is counted: quotas, references, open rows of
        the queue, live bytes, uids, counters of mailboxes."""
        await assert_mailboxes_are_sound(self.database, by_hand=self.by_hand)
        assert (
            await self.rows(
                """
                SELECT a.address, a.used_bytes, a.used_messages, sum(e.size_crlf), count(e.uid)
                  FROM accounts a LEFT JOIN mailbox_entries e ON e.account_id = a.id
                 GROUP BY a.id
                HAVING a.used_bytes <> coalesce(sum(e.size_crlf), 0) OR a.used_messages <> count(e.uid)
                """
            )
            == []
        )
        assert (
            await self.rows(
                """
                SELECT m.id, m.refs, count(e.message_id), o.open FROM messages m
                  LEFT JOIN (
                      SELECT message_id FROM mailbox_entries UNION ALL SELECT message_id FROM deleted_entries
                      UNION ALL SELECT message_id FROM quarantine
                  ) AS e
                    ON e.message_id = m.id
                  LEFT JOIN outbound_messages o ON o.message_id = m.id
                 GROUP BY m.id, o.open HAVING m.refs <> count(e.message_id) + CASE WHEN o.open > 0 THEN 1 ELSE 0 END
                """
            )
            == []
        )
        assert (
            await self.rows(
                """
                SELECT o.message_id, o.open, count(r.id) FROM outbound_messages o
                  LEFT JOIN outbound_recipients r ON r.message_id = o.message_id AND r.closed_at IS NULL
                 GROUP BY o.message_id HAVING o.open <> count(r.id)
                """
            )
            == []
        )
        assert (
            await self.rows(
                """
                SELECT c.recipient_id, r.state FROM outbound_claims c
                  LEFT JOIN outbound_recipients r ON r.id = c.recipient_id
                 WHERE r.state IS NULL OR r.state NOT IN ('queued', 'deferred')
                """
            )
            == []
        )
        assert (
            await self.rows(
                """
                SELECT s.key, s.live_octets, sum(m.stored_octets) FILTER (WHERE m.refs > 0)
                  FROM segments s LEFT JOIN messages m ON m.segment_id = s.id
                 GROUP BY s.id HAVING s.live_octets <> coalesce(sum(m.stored_octets) FILTER (WHERE m.refs > 0), 0)
                """
            )
            == []
        )
        assert (
            await self.rows(
                """
                SELECT e.account_id FROM mailbox_entries e
                  LEFT JOIN mailboxes m ON m.account_id = e.account_id AND m.mailbox_id = e.mailbox_id
                  LEFT JOIN messages ON messages.id = e.message_id
                 WHERE messages.id IS NULL OR m.uidnext IS NULL OR e.uid >= m.uidnext OR e.modseq > m.modseq
                """
            )
            == []
        )
