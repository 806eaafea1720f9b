"""The port Classifications on Postgres."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.mailboxes.changes import changed_of, changing
from posthorn.adapters.postgres.mailboxes.classifications import classify, mailboxes_of
from posthorn.adapters.postgres.mailboxes.folders import account_of
from posthorn.adapters.postgres.mailboxes.messages import MOVE
from posthorn.adapters.postgres.schema import INBOX
from posthorn.model.classification import JUNK, Classification
from posthorn.ports.classifications import Classified
from posthorn.ports.errors import NotFound
from posthorn.ports.mailbox_hints import Announce, announce_nothing

_STATE = """
SELECT (SELECT c.taught FROM classifications c WHERE c.account_id = $1 AND c.message_id = $2) AS taught,
       (SELECT b.name FROM mailbox_entries e
          JOIN mailboxes b ON b.account_id = e.account_id AND b.mailbox_id = e.mailbox_id
         WHERE e.account_id = $1 AND e.message_id = $2 ORDER BY e.mailbox_id LIMIT 1) AS mailbox
"""


class PostgresClassifications:
    """See the port."""

    def __init__(self, database: Database, announce: Announce = announce_nothing) -> None:
        self._database = database
        self._announce = announce

    async def classify(
        self,
        tenant: UUID | None,
        address: str,
        message: UUID,
        wanted: Classification,
        *,
        move: bool = True,
    ) -> Classified:
        """Move the message and record what is said, in one transaction."""
        async with changing(self._database, self._announce) as (connection, changed):
            found = await account_of(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            account = found["id"]
            held = await mailboxes_of(connection, account, message)
            if not held:
                raise NotFound(f"{address} has no such message")
            if move and wanted is Classification.SPAM and held != [JUNK]:
                changed += changed_of(account, await connection.fetch(MOVE, account, message, JUNK))
            elif move and wanted is Classification.HAM and JUNK in held:
                moved = await connection.fetch(MOVE, account, message, INBOX)
                changed += changed_of(account, moved)
            await classify(connection, account, message, wanted)
            details = {"message": message, "classification": wanted.value}
            await write_audit(connection, found["tenant_id"], address, details)
            state: Any = await connection.fetchrow(_STATE, account, message)
        taught = Classification(state["taught"] or Classification.NONE)
        return Classified(message, wanted, taught, state["mailbox"], found["tenant_id"])
