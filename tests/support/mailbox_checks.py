"""Whether mailboxes are as their writers must leave them (ADR 33)."""

from __future__ import annotations

from posthorn.adapters.postgres.database import Database

_COUNTERS = """
SELECT b.account_id, b.mailbox_id, b.modseq, b.counted_modseq, b.messages, n.messages, b.unseen, n.unseen, b.deleted, n.deleted,
       b.octets, n.octets
  FROM mailboxes b CROSS JOIN LATERAL (
      SELECT count(*) AS messages, count(*) FILTER (WHERE flags & 1 = 0) AS unseen,
             count(*) FILTER (WHERE flags & 8 > 0) AS deleted, coalesce(sum(size_crlf), 0) AS octets
        FROM mailbox_entries e WHERE e.account_id = b.account_id AND e.mailbox_id = b.mailbox_id
  ) AS n
 WHERE b.counted_modseq <> b.modseq OR (b.messages, b.unseen, b.deleted, b.octets) <> (n.messages, n.unseen, n.deleted, n.octets)
"""
_GAPS = """
SELECT b.account_id, b.mailbox_id, step.modseq FROM mailboxes b, generate_series(2, b.modseq) AS step (modseq)
 WHERE NOT EXISTS (
     SELECT FROM mailbox_changes c WHERE (c.account_id, c.mailbox_id, c.modseq) = (b.account_id, b.mailbox_id, step.modseq)
 )
"""
# entries of the first modseq were written by the test itself
_ENTRIES = """
SELECT e.account_id, e.mailbox_id, e.uid, e.modseq FROM mailbox_entries e
  LEFT JOIN mailboxes b USING (account_id, mailbox_id)
 WHERE b.account_id IS NULL OR e.uid >= b.uidnext OR e.modseq > b.modseq OR NOT e.keywords <@ b.keywords
    OR e.modseq > 1 AND NOT EXISTS (
        SELECT FROM mailbox_changes c
         WHERE (c.account_id, c.mailbox_id, c.modseq) = (e.account_id, e.mailbox_id, e.modseq) AND c.kind < 2 AND c.uids @> e.uid
    )
    OR EXISTS (
        SELECT FROM mailbox_changes c
         WHERE (c.account_id, c.mailbox_id) = (e.account_id, e.mailbox_id) AND c.kind = 2 AND c.uids @> e.uid
    )
"""
_STRAY = """
SELECT c.account_id, c.mailbox_id, c.modseq, c.kind FROM mailbox_changes c
  LEFT JOIN mailboxes b USING (account_id, mailbox_id)
 WHERE b.account_id IS NULL OR c.modseq > b.modseq OR isempty(c.uids)
"""
_REMOVED = """
SELECT account_id, mailbox_id, modseq FROM mailbox_changes removed
 WHERE kind = 2 AND NOT removed.uids <@ (
     SELECT coalesce(range_agg(added.uids), '{}') FROM mailbox_changes added
      WHERE (added.account_id, added.mailbox_id) = (removed.account_id, removed.mailbox_id) AND added.kind = 0
        AND added.modseq < removed.modseq
 )
"""
_IDS = """
SELECT a.id FROM accounts a
 WHERE imap_prepared AND (last_mailbox_id, last_uidvalidity)
       <> (SELECT greatest(max(mailbox_id), last_mailbox_id), greatest(max(uidvalidity), last_uidvalidity)
             FROM mailboxes WHERE account_id = a.id)
"""
_ORPHANS = """
SELECT message_id FROM message_headers h WHERE NOT EXISTS (SELECT FROM messages WHERE id = h.message_id)
 UNION ALL
SELECT message_id FROM message_structures s WHERE NOT EXISTS (SELECT FROM messages WHERE id = s.message_id)
"""


async def assert_mailboxes_are_sound(database: Database, *, by_hand: bool = False) -> None:
    """Assert that all counters equal what is there, that the log has each modseq and names each
    entry, and that nothing is left of what is gone. ``by_hand``: the test itself has written
    entries, so that removals need not have been added."""
    async with database.session() as connection:
        for query in (_COUNTERS, _GAPS, _ENTRIES, _STRAY, _IDS, _ORPHANS, _REMOVED):
            if query is not _REMOVED or not by_hand:
                assert [tuple(row) for row in await connection.fetch(query)] == [], query
