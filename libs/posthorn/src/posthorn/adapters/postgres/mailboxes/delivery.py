"""Mailboxes on Postgres: resolve recipients in one round trip, deliver a batch in one transaction.

Theory of deliver():

1. Lock the accounts, by id. Every change to entries, uids or quotas of an account holds this lock,
   so what follows has no contention.
2. Insert the messages with their headers, by id, ignoring existing ones; insert the segments with the live bytes of
   the new messages. A concurrent batch with the same message waits here until the first commits,
   and then finds it: one of them wins.
3. For the new messages, take uids, insert entries, add to counters, change log and quotas, queue
   directory updates of accounts that became full, and insert the quarantined copies (``filing``).
4. For the new messages, remember the correspondents of submitting accounts, and queue the outbound
   part; see ``adapters.postgres.queue.enqueue``.
5. Note what they mean for reports; see ``adapters.postgres.reports.noting``.

Statements take arrays, so their number does not grow with the batch. One
does all of 1 to 3 but for the quarantine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.mailboxes.changes import ADD_COUNTS, changing, log_changes
from posthorn.adapters.postgres.mailboxes.filing import (
    QUARANTINE_DAYS,
    encoded_verdict,
    facts,
    remember_correspondents,
    withhold,
)
from posthorn.adapters.postgres.mailboxes.resolve import resolve
from posthorn.adapters.postgres.queue import enqueue as outbound
from posthorn.adapters.postgres.queue import long_senders
from posthorn.adapters.postgres.replication import confirm
from posthorn.adapters.postgres.reports.noting import note_reports
from posthorn.adapters.postgres.schema import INBOX, JUNK, SENT
from posthorn.model.filter_policy import Action
from posthorn.model.room import crossed_sql
from posthorn.ports.filing import Authors
from posthorn.ports.hand_over import HandOver
from posthorn.ports.mailbox_hints import Announce, Changed, announce_nothing
from posthorn.ports.mailbox_view import SEEN, ChangeKind
from posthorn.ports.mailboxes import AccountsGone, LongSender, Resolution
from posthorn.ports.segments import Segment, SegmentMessage


def _lock_query(parameter: str) -> str:
    return f"SELECT id FROM accounts WHERE id = ANY ({parameter}::bigint[]) ORDER BY id FOR NO KEY UPDATE"


_LOCK_ACCOUNTS = _lock_query("$1")


# A segment of which something was made may be there from an earlier half of the same batch; one of
# which nothing was made may be there under another id (a large body keeps its key when it is
# delivered again), or it is removed by the collector.
def message_steps(only: str = "") -> str:
    """Return the steps of a WITH that write messages and segments, of which ``made`` returns the
    messages' ids; they take ``message_columns`` as $1 to $22. ``only``: a WHERE without which
    nothing is written."""
    return f"""
made AS (
    INSERT INTO messages (id, segment_id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
                          return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id, verdict)
    SELECT id, segment_id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
           return_path_octets, refs, to_timestamp(received_at), reverse_path, subject, from_, date, message_id, verdict::jsonb
      FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::boolean[], $8::bytea[],
                  $9::integer[], $10::integer[], $11::float8[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
                  $17::text[])
           AS message (id, segment_id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
                      return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id, verdict)
     {only}
     ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, segment_id, CASE WHEN refs > 0 THEN stored_octets ELSE 0 END AS live
), headers AS (
    INSERT INTO message_headers (message_id, header)
    SELECT made.id, kept.header FROM unnest($18::uuid[], $19::bytea[]) AS kept (id, header) JOIN made USING (id)
    ON CONFLICT DO NOTHING
), parts AS (
    SELECT segment.id, segment.key, segment.octets, sum(made.live) AS live
      FROM unnest($20::uuid[], $21::text[], $22::bigint[]) AS segment (id, key, octets)
      LEFT JOIN made ON made.segment_id = segment.id
     {only}
     GROUP BY segment.id, segment.key, segment.octets
), kept AS (
    INSERT INTO segments AS s (id, key, octets, live_octets)
    SELECT id, key, octets, live FROM parts WHERE live IS NOT NULL ORDER BY id
    ON CONFLICT (id) DO UPDATE SET live_octets = s.live_octets + excluded.live_octets, condemned_at = NULL
), dead AS (
    INSERT INTO segments (id, key, octets, live_octets, condemned_at)
    SELECT id, key, octets, 0, now() FROM parts WHERE live IS NULL ORDER BY id
    ON CONFLICT DO NOTHING
)
"""


_INSERT_MESSAGES = f"WITH {message_steps()} SELECT id FROM made"


def entry_steps(first: int, only: str = "") -> str:
    """Return the steps of a WITH that make entries and charge quotas, and the query of what changed
    after them; they take ``_entry_columns`` as parameters from number ``first`` on. ``only``: a JOIN
    without which a row of these is left out."""
    account, box, message, size, received = (f"${number}" for number in range(first, first + 5))
    return f"""
placed AS MATERIALIZED (
    SELECT e.account_id, e.mailbox_id, e.message_id, e.size_crlf, e.received_at,
           row_number() OVER (PARTITION BY e.account_id, e.mailbox_id ORDER BY e.place) - 1 AS rank
      FROM unnest({account}::bigint[], {box}::integer[], {message}::uuid[], {size}::bigint[], {
        received
    }::float8[])
           WITH ORDINALITY AS e (account_id, mailbox_id, message_id, size_crlf, received_at, place)
      {only}
), sums AS MATERIALIZED (
    SELECT account_id, mailbox_id, count(*) AS messages, count(*) FILTER (WHERE mailbox_id <> {
        SENT
    }) AS unseen, 0 AS deleted,
           sum(size_crlf)::bigint AS octets
      FROM placed GROUP BY account_id, mailbox_id
), uids AS (
    UPDATE mailboxes b SET uidnext = b.uidnext + n.messages, {ADD_COUNTS}
      FROM sums AS n
     WHERE b.account_id = n.account_id AND b.mailbox_id = n.mailbox_id
    RETURNING b.account_id, b.mailbox_id, b.uidnext - n.messages AS first, b.uidnext, b.modseq
), changes AS (
    {
        log_changes(
            f"SELECT account_id, mailbox_id, modseq, {ChangeKind.ADDED}, int8multirange(int8range(first, uidnext)) FROM uids",
            standard=True,
        )
    }
), entries AS (
    INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date, modseq, flags)
    SELECT e.account_id, e.mailbox_id, uids.first + e.rank, e.message_id, e.size_crlf, to_timestamp(e.received_at),
           uids.modseq, CASE e.mailbox_id WHEN {SENT} THEN {SEEN} ELSE 0 END
      FROM placed AS e JOIN uids ON uids.account_id = e.account_id AND uids.mailbox_id = e.mailbox_id
), quotas AS (
    UPDATE accounts a SET used_bytes = a.used_bytes + n.octets, used_messages = a.used_messages + n.messages
      FROM (SELECT account_id, sum(messages)::bigint AS messages, sum(octets)::bigint AS octets FROM sums GROUP BY account_id)
           AS n
     WHERE a.id = n.account_id
    RETURNING a.address, a.quota_bytes, a.used_bytes, n.octets
), told AS (
    INSERT INTO directory_outbox (subject)
    SELECT address FROM quotas WHERE {
        crossed_sql("quota_bytes", "used_bytes", "used_bytes - octets")
    }
    RETURNING 1
)
SELECT account_id, mailbox_id, modseq, uidnext - first AS entries,
       (SELECT pg_notify('directory', '') WHERE EXISTS (SELECT FROM told)) AS notified
"""


_INSERT_ENTRIES = f"WITH {entry_steps(1)} FROM uids"
# One statement, since each costs a wait and as much CPU as many rows. Nothing is written before the
# accounts are held, nor unless all are there. Under their locks these rows and those of their mailboxes
# are the newest, whatever the statement saw at its begin (READ COMMITTED).
_PLACE = f"""
WITH held AS MATERIALIZED (
    {_lock_query("$23")}
), ready AS MATERIALIZED (
    SELECT WHERE (SELECT count(*) FROM held) = cardinality($23)
), {message_steps("WHERE EXISTS (SELECT FROM ready)")}, {
    entry_steps(24, "JOIN made ON made.id = e.message_id")
}, EXISTS (SELECT FROM ready) AS is_ready, ARRAY (SELECT id FROM made) AS made
  FROM (SELECT) AS one LEFT JOIN uids ON true
"""
_SAVERS = "SELECT address, id FROM accounts WHERE address = ANY ($1::text[]) AND save_sent"


class PostgresMailboxes:
    """The port Mailboxes on Postgres.

    ``policy`` is that of the outbound queue; ``quarantine_days``: how long withheld copies are
    kept; ``counts_dmarc``: whether DMARC reports are to be sent; ``announce`` sends hints of what
    changed.
    """

    def __init__(
        self,
        database: Database,
        policy: outbound.QueuePolicy = outbound.DEFAULT_POLICY,
        *,
        quarantine_days: int = QUARANTINE_DAYS,
        counts_dmarc: bool = True,
        announce: Announce = announce_nothing,
    ) -> None:
        self._database = database
        self._announce = announce
        self._policy = policy
        self._quarantine_days = quarantine_days
        self._counts_dmarc = counts_dmarc

    async def probe(self) -> None:
        await self._database.probe()

    async def resolve(
        self,
        recipients: Collection[str],
        messages: Collection[UUID],
        authors: Authors = MappingProxyType({}),
    ) -> Resolution:
        """Resolve recipients to accounts and addresses elsewhere, and return which messages are
        delivered already; for those in ``authors``, what filing must know.

        An exact account or alias wins over the address without its ``+tag``, and that over the
        catch-all. Suspended accounts resolve: their mail was accepted. Raises Unavailable.
        """
        async with self._database.session() as connection:
            found = await resolve(connection, recipients, messages)
            if found.delivered:
                await confirm(connection)
            return replace(found, filing=await facts(connection, found, authors))

    async def long_senders(self, asked: Collection[LongSender]) -> Mapping[LongSender, str]:
        """Return the long senders that are stored; see the port. Raises Unavailable."""
        async with self._database.session() as connection:
            return await long_senders.find(connection, asked)

    async def savers(self, submitters: Collection[str]) -> Mapping[str, int]:
        """Return the accounts that save what they submit; see the port. Raises Unavailable."""
        asked = [each for each in submitters if clean_text(each) == each]
        async with self._database.session() as connection:
            rows = await connection.fetch(_SAVERS, asked)
        return {row["address"]: row["id"] for row in rows}

    async def deliver(self, segments: Sequence[Segment], over: HandOver | None = None) -> int:
        """Write a batch, all or nothing; return the number of entries created.

        Raises AccountsGone, Unavailable, and asyncpg's DataError or
        IntegrityConstraintViolationError for a message that cannot be written: a retry will fail as
        well.
        """
        messages = _by_receipt(segments)
        accounts = sorted({account for _, message in messages for account in _accounts_of(message)})
        async with changing(self._database, self._announce) as (connection, changed):
            made, entries = await _place(connection, messages, segments, accounts, changed)
            fresh = [message for _, message in messages if message.envelope.id in made]
            await withhold(connection, fresh, self._quarantine_days)
            await remember_correspondents(connection, fresh)
            await outbound.enter(connection, fresh, self._policy, over)
            await note_reports(connection, fresh, counts_dmarc=self._counts_dmarc)
            return entries


async def _place(
    connection: Connection,
    messages: Sequence[tuple[UUID, SegmentMessage]],
    segments: Sequence[Segment],
    accounts: Sequence[int],
    changed: list[Changed],
) -> tuple[set[UUID], int]:
    """Lock the accounts, insert the messages of (segment, message) that are not there, the segments,
    and the entries of the new messages; return their ids and the number of entries, and add the
    mailboxes to ``changed``. Raises AccountsGone unless all accounts exist."""
    if not accounts:
        return await insert_messages(connection, messages, segments), 0
    columns = _entry_columns(message for _, message in messages)
    rows = await connection.fetch(_PLACE, *message_columns(messages, segments), accounts, *columns)
    if not rows[0]["is_ready"]:
        raise AccountsGone
    made = set(rows[0]["made"])
    places = sum(message in made for message in columns[2])
    _note_entries(rows if places else (), places, changed)
    return made, places


async def insert_messages(
    connection: Connection,
    messages: Sequence[tuple[UUID, SegmentMessage]],
    segments: Sequence[Segment],
) -> set[UUID]:
    """Insert the messages of (segment, message) that are not there, and the segments; returns the
    ids of those made.

    The caller holds the accounts, and makes an entry for each account of each message made.
    """
    return {
        row["id"]
        for row in await connection.fetch(_INSERT_MESSAGES, *message_columns(messages, segments))
    }


def _accounts_of(message: SegmentMessage) -> list[int]:
    others = [message.sent, *(each.account for each in message.withheld)]
    return [*message.accounts, *(account for account in others if account is not None)]


def _by_receipt(segments: Sequence[Segment]) -> list[tuple[UUID, SegmentMessage]]:
    """Return (segment, message) in the order of receipt; duplicate ids once."""
    found: dict[UUID, tuple[UUID, SegmentMessage]] = {}
    for segment in segments:
        for message in segment.messages:
            found.setdefault(message.envelope.id, (segment.id, message))
    return sorted(
        found.values(), key=lambda pair: (pair[1].envelope.received_at, pair[1].envelope.id)
    )


def message_columns(
    messages: Sequence[tuple[UUID, SegmentMessage]], segments: Sequence[Segment]
) -> list[list[Any]]:
    """Return the values that ``message_steps`` takes, of (segment, message)."""
    rows = [
        (
            message.envelope.id,
            segment,
            message.blob_range.offset,
            message.blob_range.length,
            message.blob_range.encoding,
            message.envelope.body.size,
            message.envelope.body.has_dot_lines,
            message.envelope.body.sha256,
            message.envelope.body.return_path_octets,
            len(set(message.accounts))
            + len(message.withheld)
            + (message.sent is not None)
            + (outbound.open_rows(message) > 0),
            message.envelope.received_at,
            clean_text(message.envelope.reverse_path),
            clean_text(message.envelope.summary.subject),
            clean_text(message.envelope.summary.from_),
            clean_text(message.envelope.summary.date),
            clean_text(message.envelope.summary.message_id),
            encoded_verdict(message),
        )
        for segment, message in messages
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(17)]
    distinct = {segment.id: segment for segment in segments}.values()
    kept = [message for _, message in messages if message.header is not None]
    return [
        *columns,
        [message.envelope.id for message in kept],
        [message.header for message in kept],
        [s.id for s in distinct],
        [s.key for s in distinct],
        [s.octets for s in distinct],
    ]


async def lock_accounts(connection: Connection, accounts: Sequence[int]) -> None:
    """Lock accounts, by id, until the end of the transaction. Raises AccountsGone unless all
    exist."""
    if accounts and len(await connection.fetch(_LOCK_ACCOUNTS, sorted(accounts))) < len(accounts):
        raise AccountsGone


async def make_entries(
    connection: Connection, messages: Sequence[SegmentMessage], changed: list[Changed]
) -> int:
    """Insert messages, in this order, into INBOX or Junk of each of their accounts, and into Sent
    of the submitting account that keeps a copy; return the
    number of entries, and add the mailboxes to ``changed``."""
    columns = _entry_columns(messages)
    places = len(columns[0])
    if places:
        _note_entries(await connection.fetch(_INSERT_ENTRIES, *columns), places, changed)
    return places


def _note_entries(rows: Sequence[Any], places: int, changed: list[Changed]) -> None:
    """Add the mailboxes of rows to ``changed``, if all entries were made."""
    if sum(row["entries"] or 0 for row in rows) != places:
        # every account is created with its folders
        raise LookupError("an account has no such mailbox")
    changed += [(row["account_id"], row["mailbox_id"], row["modseq"]) for row in rows]


def _entry_columns(messages: Iterable[SegmentMessage]) -> list[list[Any]]:
    """Return the values that ``entry_steps`` takes."""
    rows = [
        (
            account,
            box,
            message.envelope.id,
            message.envelope.body.size,
            message.envelope.received_at,
        )
        for message in messages
        for account, box in _places(message)
    ]
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(5)]


def _places(message: SegmentMessage) -> Iterator[tuple[int, int]]:
    """Return the accounts and mailboxes of a message."""
    for account in dict.fromkeys(message.accounts):
        yield account, _box(message, account)
    if message.sent is not None:
        yield message.sent, SENT


def _box(message: SegmentMessage, account: int) -> int:
    decision = message.filed.get(account)
    return JUNK if decision is not None and decision.action is Action.JUNK else INBOX
