"""Statements of the release before schema 0016, literally: they write entries and mailboxes without
counters, changes and ids of the account."""

from __future__ import annotations

FOLDERS = """
    INSERT INTO mailboxes (account_id, mailbox_id, name, role, uidvalidity)
    SELECT account, folder.id, folder.name, folder.role, floor(extract(epoch FROM clock_timestamp()))::bigint + account
      FROM unnest($1::bigint[]) AS account,
           (VALUES (1, 'INBOX', 'inbox'), (2, 'Junk', 'junk'), (3, 'Sent', 'sent'), (4, 'Trash', 'trash'))
           AS folder (id, name, role)
"""
"""Makes the mailboxes of the accounts $1."""

MAKE = """
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
"""Makes mailboxes of the account $1 with the names $2."""

MOVE = """
    WITH gone AS (
        DELETE FROM mailbox_entries WHERE account_id = $1 AND message_id = $2 AND mailbox_id <> $3
        RETURNING mailbox_id, message_id, size_crlf, flags, keywords, internal_date
    ), box AS (
        UPDATE mailboxes b SET uidnext = b.uidnext + n.entries, modseq = b.modseq + 1
          FROM (SELECT count(*) AS entries FROM gone) AS n
         WHERE b.account_id = $1 AND b.mailbox_id = $3 AND n.entries > 0
        RETURNING b.uidnext - n.entries AS first, b.modseq
    ), others AS (
        UPDATE mailboxes SET modseq = modseq + 1 WHERE account_id = $1 AND mailbox_id IN (SELECT mailbox_id FROM gone)
    ), made AS (
        INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, flags, keywords, internal_date, modseq)
        SELECT $1, $3, box.first + row_number() OVER (ORDER BY gone.mailbox_id) - 1, message_id, size_crlf, flags, keywords,
               internal_date, box.modseq
          FROM gone, box
        RETURNING 1
    )
    SELECT FROM made
"""
"""Moves the message $2 of the account $1 into the mailbox $3."""

ENTER = """
WITH uids AS (
    UPDATE mailboxes m SET uidnext = m.uidnext + n.messages, modseq = m.modseq + 1
      FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS n (account_id, mailbox_id, messages)
     WHERE m.account_id = n.account_id AND m.mailbox_id = n.mailbox_id
    RETURNING m.account_id, m.mailbox_id, m.uidnext - n.messages AS first, m.modseq
)
INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date, modseq)
SELECT e.account_id, e.mailbox_id, uids.first + e.rank, e.message_id, e.size_crlf, to_timestamp(e.received_at),
       uids.modseq
  FROM unnest($4::bigint[], $5::integer[], $6::bigint[], $7::uuid[], $8::bigint[], $9::float8[])
       AS e (account_id, mailbox_id, rank, message_id, size_crlf, received_at)
  JOIN uids ON uids.account_id = e.account_id AND uids.mailbox_id = e.mailbox_id
"""
"""Adds entries, as delivery does, without quotas."""
