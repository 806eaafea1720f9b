"""Keywords of imported messages, written in the transaction that enters them.

A mailbox lists each keyword that a message of it may have, once in any case and in its first
spelling, and at most ``MOST_KEYWORDS``: those beyond are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.ports.mailbox_view import MOST_KEYWORDS

_KNOWN = "SELECT name, keywords FROM mailboxes WHERE account_id = $1 AND name = ANY ($2::text[])"
_LIST = """
    UPDATE mailboxes SET keywords = keywords || string_to_array(n.words, ' ')
      FROM unnest($2::text[], $3::text[]) AS n (mailbox, words)
     WHERE account_id = $1 AND name = n.mailbox
"""
_SET = """
    UPDATE mailbox_entries SET keywords = string_to_array(n.words, ' ')
      FROM unnest($2::uuid[], $3::text[]) AS n (message, words)
     WHERE account_id = $1 AND message_id = n.message
"""


async def set_keywords(
    connection: Connection, account: int, entries: Sequence[tuple[UUID, str, Sequence[str]]]
) -> None:
    """Set the keywords of messages that were entered in this transaction: id, name of the mailbox,
    keywords. The caller holds the account's row."""
    if not entries:
        return
    names = list({mailbox for _, mailbox, _ in entries})
    spelled: dict[str, dict[str, str]] = {
        row["name"]: {word.lower(): word for word in row["keywords"]}
        for row in await connection.fetch(_KNOWN, account, names)
    }
    new: dict[str, list[str]] = {}
    found: list[tuple[UUID, str]] = []
    for message, mailbox, keywords in entries:
        known = spelled[mailbox]
        for word in keywords:
            if word.lower() not in known and len(known) < MOST_KEYWORDS:
                known[word.lower()] = word
                new.setdefault(mailbox, []).append(word)
        if kept := [known[word.lower()] for word in keywords if word.lower() in known]:
            found.append((message, " ".join(kept)))
    if new:
        await connection.execute(
            _LIST, account, list(new), [" ".join(words) for words in new.values()]
        )
    if found:
        await connection.execute(_SET, account, *(list(each) for each in zip(*found, strict=True)))
