"""The stores of IMAP over a test's database and blobs, and what tests put into them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.imap.folders import PostgresFolders
from posthorn.adapters.postgres.imap.placing import PostgresPlacing
from posthorn.adapters.postgres.imap.view import PostgresMailboxView
from posthorn.ports.blobs import Blobs
from posthorn.ports.folders import Folders
from posthorn.ports.mailbox_view import MailboxView
from posthorn.ports.placing import NewMessage, Placed, Placing
from tests.support.seed import DatabaseSeed

EVERY = ((1, 2**32 - 1),)
"""The range of all UIDs."""
DATE = datetime(2024, 2, 29, 23, 30, tzinfo=UTC)


def new_message(
    text: str = "hello", *, flags: int = 0, keywords: Sequence[str] = (), date: datetime = DATE
) -> NewMessage:
    """Return a message whose subject is the text."""
    content = f"Subject: {text}\r\nFrom: a@b.test\r\n\r\n{text}\r\n".encode()
    return NewMessage(content, None, flags, tuple(keywords), date)


class ImapStore:
    """Folders, view and placing on one database, with the rights of the part imap."""

    def __init__(self, database: Database, blobs: Blobs, seed: DatabaseSeed) -> None:
        self.folders: Folders = PostgresFolders(database)
        self.view: MailboxView = PostgresMailboxView(database)
        self.placing: Placing = PostgresPlacing(database, blobs, zstd_frame)
        self.seed = seed

    async def account(self, address: str = "ada@example.test", **fields: Any) -> int:
        """Make an account, and its domain if need be. Its counters are known to be right."""
        domain = address.rpartition("@")[2]
        if not await self.seed.rows("SELECT FROM domains WHERE name = $1", domain):
            await self.seed.domain(domain)
        number = await self.seed.account(address, **fields)
        await self.seed.rows(
            "UPDATE mailboxes SET counted_modseq = modseq WHERE account_id = $1", number
        )
        return number

    async def put(
        self, account: int, mailbox: str = "INBOX", count: int = 1, **fields: Any
    ) -> list[int]:
        """Place messages; return their UIDs."""
        messages = [new_message(f"message {number}", **fields) for number in range(count)]
        placed = await self.placing.place(account, mailbox, messages)
        assert isinstance(placed, Placed)
        return list(placed.uids)

    async def id_of(self, account: int, name: str) -> int:
        """Return the id of a mailbox."""
        folder = await self.folders.find(account, name)
        assert folder is not None
        return folder.id

    async def held(self, account: int, name: str) -> list[tuple[int, int, tuple[str, ...]]]:
        """Return UID, flags and keywords of the messages in a mailbox."""
        mailbox = await self.id_of(account, name)
        found = await self.view.flags(account, mailbox, EVERY)
        return [(each.uid, each.flags, each.keywords) for each in found]

    async def is_sound(self) -> None:
        """Assert that every sum and counter equals what is counted, and that the change log has a
        row for each modseq."""
        await self.seed.sums_hold()
        assert (
            await self.seed.rows(
                """
                SELECT b.account_id, b.name, b.modseq, b.counted_modseq, b.messages, b.unseen, b.deleted, b.octets
                  FROM mailboxes b CROSS JOIN LATERAL (
                      SELECT count(*) AS messages, count(*) FILTER (WHERE flags & 1 = 0) AS unseen,
                             count(*) FILTER (WHERE flags & 8 <> 0) AS deleted, coalesce(sum(size_crlf), 0) AS octets,
                             coalesce(max(uid), 0) AS last
                        FROM mailbox_entries e WHERE e.account_id = b.account_id AND e.mailbox_id = b.mailbox_id
                  ) AS n
                 WHERE (b.messages, b.unseen, b.deleted, b.octets) <> (n.messages, n.unseen, n.deleted, n.octets)
                    OR b.counted_modseq <> b.modseq OR b.uidnext <= n.last
                    OR b.modseq - 1 <> (
                        SELECT count(DISTINCT modseq) FROM mailbox_changes c
                         WHERE c.account_id = b.account_id AND c.mailbox_id = b.mailbox_id AND c.modseq <= b.modseq)
                """
            )
            == []
        )
        assert (
            await self.seed.rows(
                """
                SELECT e.account_id, e.mailbox_id, e.uid FROM mailbox_entries e
                 WHERE NOT EXISTS (
                     SELECT FROM mailbox_changes c
                      WHERE c.account_id = e.account_id AND c.mailbox_id = e.mailbox_id AND c.modseq = e.modseq
                        AND c.kind < 2 AND c.uids @> e.uid)
                """
            )
            == []
        )
