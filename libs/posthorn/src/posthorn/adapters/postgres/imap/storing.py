"""STORE: changes of flags and keywords (RFC 9051 §6.4.6, RFC 7162 §3.1.3).

Theory:

- One statement changes the entries that would differ, the counters, and the change log. When no
  entry differs, nothing is written and the modseq stays.
- What is known of the mailbox beforehand is asked for only where there are keywords: each statement
  costs a wait.
- Entries are asked for by an array of UIDs, without a join: a plan made before Postgres has
  statistics would compare each UID with each entry.
- Entries hold keywords as their mailbox spells them, so that arrays can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.imap.rows import (
    admit_keywords,
    lock_account,
    mailbox_by_id,
    spelled,
)
from posthorn.adapters.postgres.mailboxes.changes import ONCE
from posthorn.ports.mailbox_view import EntryFlags, Stored

# $4: bits, $5: keywords, as the mailbox spells them
_AFTER: Final = {
    "+": (
        "e.flags | $4::integer",
        "e.keywords || ARRAY (SELECT k FROM unnest($5::text[]) AS k WHERE k <> ALL (e.keywords))",
    ),
    "-": (
        "e.flags & ~$4::integer",
        "ARRAY (SELECT k FROM unnest(e.keywords) WITH ORDINALITY AS u (k, n) WHERE k <> ALL ($5::text[]) ORDER BY n)",
    ),
    "": ("$4::integer", "$5::text[]"),
}
_STORE = """
    WITH wanted AS MATERIALIZED (
        SELECT uid, flags, keywords, modseq, is_failed, new_flags, new_keywords,
               NOT is_failed AND (
                   flags <> new_flags OR NOT (keywords @> new_keywords AND new_keywords @> keywords)
               ) AS differs
          FROM (
              SELECT e.uid, e.flags, e.keywords, e.modseq, coalesce(e.modseq > $6::bigint, false) AS is_failed,
                     ({flags})::integer AS new_flags, {new_keywords} AS new_keywords
                FROM mailbox_entries e WHERE e.account_id = $1 AND e.mailbox_id = $2 AND e.uid = ANY ($3::bigint[])
          ) AS looked
    ), sums AS MATERIALIZED (
        SELECT count(*) AS entries, sum((flags & 1) - (new_flags & 1)) AS unseen,
               sum((new_flags >> 3 & 1) - (flags >> 3 & 1)) AS deleted, range_agg(int8range(uid, uid + 1)) AS uids
          FROM wanted WHERE differs
    ), box AS (
        UPDATE mailboxes b
           SET modseq = b.modseq + 1, counted_modseq = b.counted_modseq + 1,
               unseen = b.unseen + sums.unseen, deleted = b.deleted + sums.deleted
          FROM sums WHERE b.account_id = $1 AND b.mailbox_id = $2 AND sums.entries > 0
        RETURNING b.modseq
    ), logged AS (
        INSERT INTO mailbox_changes (account_id, mailbox_id, modseq, kind, uids)
        SELECT $1, $2, box.modseq, 1, sums.uids FROM box, sums
        {once}
    ), changed AS (
        UPDATE mailbox_entries e SET flags = {flags}, keywords = {new_keywords}, modseq = box.modseq
          FROM box
         WHERE e.account_id = $1 AND e.mailbox_id = $2 AND e.uid = ANY (ARRAY (SELECT uid FROM wanted WHERE differs))
    )
    SELECT uid, is_failed, CASE WHEN differs THEN new_flags ELSE flags END AS flags,
           CASE WHEN differs THEN new_keywords ELSE keywords END AS keywords,
           CASE WHEN differs THEN (SELECT modseq FROM box) ELSE modseq END AS modseq,
           (SELECT modseq FROM mailboxes WHERE account_id = $1 AND mailbox_id = $2) AS before
      FROM wanted ORDER BY uid
"""
_STATEMENTS: Final = {
    action: _STORE.format(
        once=ONCE,
        flags=flags,
        new_keywords=f"CASE WHEN $5::text[] = '{{}}' THEN e.keywords ELSE {keywords} END"
        if action
        else keywords,
    )
    for action, (flags, keywords) in _AFTER.items()
}


async def store(
    database: Database,
    account: int,
    mailbox: int,
    uids: Sequence[int],
    action: str,
    flags: int,
    keywords: Sequence[str],
    unchanged_since: int | None,
) -> Stored:
    """Change flags; see ``MailboxView.store``."""
    statement = _STATEMENTS[action]
    async with database.transaction() as connection:
        await lock_account(connection, account)
        spellings: list[str] = []
        if keywords:
            box = await mailbox_by_id(connection, account, mailbox)
            wanted = () if action == "-" else keywords
            spellings = spelled(keywords, await admit_keywords(connection, account, box, wanted))
        rows = await connection.fetch(
            statement,
            account,
            mailbox,
            sorted(set(uids)),
            flags,
            spellings,
            unchanged_since,
        )
        before = rows[0]["before"] if rows else None
        if before is None:
            before = (await mailbox_by_id(connection, account, mailbox))["modseq"]
    changed = [
        EntryFlags(row["uid"], row["flags"], tuple(row["keywords"]), row["modseq"])
        for row in rows
        if not row["is_failed"]
    ]
    modseq = max([before, *(each.modseq for each in changed)])
    failed = [row["uid"] for row in rows if row["is_failed"]]
    return Stored(modseq, changed, failed, advanced=modseq > before)
