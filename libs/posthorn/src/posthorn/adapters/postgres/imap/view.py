"""The port MailboxView on Postgres."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from posthorn.adapters.postgres.imap import moving, storing
from posthorn.adapters.postgres.imap.forms import keep_forms, keep_headers
from posthorn.adapters.postgres.imap.reading import MailboxReading
from posthorn.adapters.postgres.imap.rows import decode_uids
from posthorn.adapters.postgres.imap.searching import search_statement
from posthorn.ports.mailbox_view import Copied, Expunged, Kept, MailboxGone, Stored, UidRange
from posthorn.wire.imap.search_keys import SearchKey


class PostgresMailboxView(MailboxReading):
    """See the port."""

    async def keep(self, made: Sequence[Kept]) -> None:
        """Keep what was made of messages."""
        headers = [(each.message, each.header) for each in made if each.header is not None]
        async with self._database.transaction() as connection:
            await keep_headers(connection, headers)
            await keep_forms(connection, made)

    async def store(
        self,
        account: int,
        mailbox: int,
        uids: Sequence[int],
        action: str,
        flags: int,
        keywords: Sequence[str],
        unchanged_since: int | None = None,
    ) -> Stored:
        """Change flags."""
        return await storing.store(
            self._database, account, mailbox, uids, action, flags, keywords, unchanged_since
        )

    async def copy(
        self, account: int, mailbox: int, uids: Sequence[int], target: str, *, move: bool = False
    ) -> Copied | None:
        """Copy or move messages."""
        return await moving.copy(self._database, account, mailbox, uids, target, move=move)

    async def expunge(
        self, account: int, mailbox: int, ranges: Sequence[UidRange] | None
    ) -> Expunged:
        """Remove messages with ``\\Deleted``."""
        return await moving.expunge(self._database, account, mailbox, ranges)

    async def search(self, account: int, mailbox: int, key: SearchKey) -> array[int]:
        """Return the UIDs that match."""
        statement, values = search_statement(key)
        async with self._database.session() as connection:
            rows = await connection.fetch(statement, account, mailbox, *values)
        if not rows:
            raise MailboxGone
        return decode_uids(rows[0][0])
