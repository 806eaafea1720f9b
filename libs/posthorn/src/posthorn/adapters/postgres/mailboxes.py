"""Mailboxes on Postgres: resolve recipients in one round trip, place a batch in one transaction.

Theory of place():

1. Lock the accounts, by id. Whoever changes entries, uids or quotas of an account holds this lock, so what follows meets no one.
2. Insert the messages, by id, and leave those that are there; insert the segments with what is live of the messages just made.
   A concurrent batch with the same message waits here until the first commits, and then finds it there: one of them wins.
3. For the messages just made, take uids, insert entries, add to the quotas, tell the directory of accounts that became full.
4. For the messages just made, enter the outbound part; see ``adapters.postgres.outbound``.

Statements take arrays, so their number does not grow with the batch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres import outbound
from posthorn.adapters.postgres.charging import ForwardLimits
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.tables import INBOX
from posthorn.model.room import crossed_sql
from posthorn.ports.mailboxes import AccountsGone, Forward, Letter, Resolution, Segment, TooWide

_MOST_ADDRESSES = 2_000
"""That one recipient may come to. An alias may not be made that leads to half as many (``leading``); what was entered otherwise,
or leads on through another tenant's aliases, must not hold up what is delivered beside it."""
_MOST_TOGETHER = 20_000
"""Addresses that several recipients may come to in one statement; beyond, they are asked for in halves."""

# An alias leads to its targets. An address that is neither account nor alias leads to itself without its +tag, if that is one, or
# else to the domain's catch-all. UNION follows each address once for each recipient, so that loops end and meshes do not explode;
# the LIMIT ends the walk itself, for a recursive query makes no more rows than are read of it.
# ``bare`` and ``base`` follow wire.address: a quoted local part is unquoted, cut at the first plus and quoted again if need be.
# Accounts, aliases and domains are asked for by scalar subqueries, which stay look-ups by index however large the tables are;
# OFFSET 0 keeps the planner from writing out an expression at each of its uses. Which alias leads to an address elsewhere is asked
# afterwards: were it carried along, it would multiply the steps of a mesh. A domain that is not verified is none of ours: what is
# in it is elsewhere, or whoever named another's domain here would get its mail from the other tenants.
_RESOLVE = r"""
WITH RECURSIVE walk (recipient, address, account) AS (
    SELECT asked.address, asked.address, (SELECT id FROM accounts a WHERE a.address = asked.address)
      FROM unnest($1::text[]) AS asked (address)
  UNION
    SELECT walk.recipient, next.address, (SELECT id FROM accounts a WHERE a.address = next.address)
      FROM walk
      CROSS JOIN LATERAL (
          SELECT targets FROM (VALUES (1)) AS one LEFT JOIN aliases ON aliases.address = walk.address
      ) AS alias
      CROSS JOIN LATERAL (
          SELECT unnest(alias.targets) AS address
        UNION ALL
          SELECT coalesce(plain.address, domains.catch_all)
            FROM domains
            LEFT JOIN LATERAL (
                SELECT coalesce((SELECT address FROM accounts a WHERE a.address = base.address),
                                (SELECT address FROM aliases WHERE aliases.address = base.address)) AS address
                  FROM (
                      SELECT CASE WHEN bare.local ~ '^[^ "(),.:;<>@[\]\\]+(\.[^ "(),.:;<>@[\]\\]+)*$' THEN bare.local
                                  ELSE '"' || regexp_replace(bare.local, '(["\\])', '\\\1', 'g') || '"' END
                             || '@' || domains.name AS address
                        FROM (
                            SELECT split_part(CASE WHEN quoted.local LIKE '"%'
                                                   THEN regexp_replace(left(substr(quoted.local, 2), -1), '\\(.)', '\1', 'g')
                                                   ELSE quoted.local END, '+', 1) AS local
                              FROM (SELECT left(walk.address, -1 - length(domains.name)) AS local OFFSET 0) AS quoted
                            OFFSET 0
                        ) AS bare
                       WHERE bare.local <> ''
                      OFFSET 0
                  ) AS base
            ) AS plain ON domains.plus_addressing AND strpos(walk.address, '+') > 0
           WHERE alias.targets IS NULL AND domains.name = split_part(walk.address, '@', -1)
      ) AS next
     WHERE walk.account IS NULL AND next.address IS NOT NULL
       AND (SELECT verified_at FROM domains d WHERE d.name = split_part(walk.address, '@', -1)) IS NOT NULL
), led AS MATERIALIZED (
    SELECT recipient, address, account, row_number() OVER () AS place FROM (SELECT * FROM walk LIMIT $3) AS walk
)
SELECT DISTINCT 'account' AS kind, recipient, account, NULL::uuid AS id, NULL::text AS forward, NULL::text AS alias,
       NULL::text AS withheld
  FROM led
 WHERE account IS NOT NULL AND (SELECT verified_at FROM domains d WHERE d.name = split_part(led.address, '@', -1)) IS NOT NULL
UNION ALL
SELECT 'wide', recipient, NULL, NULL, NULL, NULL, NULL FROM led GROUP BY recipient HAVING count(*) > $4
UNION ALL
SELECT 'more', NULL, NULL, NULL, NULL, NULL, NULL WHERE (SELECT count(*) FROM led) >= $3
UNION ALL
SELECT 'placed', NULL, NULL, id, NULL, NULL, NULL FROM messages WHERE id = ANY ($2::uuid[])
UNION ALL
SELECT 'elsewhere', address, NULL, NULL, NULL, NULL, NULL
  FROM unnest($1::text[]) AS asked (address)
 WHERE address LIKE '_%@_%'
   AND (SELECT verified_at FROM domains d WHERE d.name = split_part(asked.address, '@', -1)) IS NULL
UNION ALL
(
    SELECT DISTINCT ON (led.recipient, via.target)
           'forward', led.recipient, NULL, (SELECT tenant_id FROM domains d WHERE d.id = via.domain_id), via.target, via.address,
           kept.withheld
      FROM led
      CROSS JOIN LATERAL (
          SELECT aliases.id, aliases.address, domain_id, unnest(targets) AS target
            FROM aliases WHERE aliases.address = led.address OFFSET 0
      ) AS via
      CROSS JOIN LATERAL (
          SELECT CASE WHEN EXISTS (SELECT FROM alias_targets t
                                    WHERE t.alias_id = via.id AND t.target = via.target AND t.confirmed_at IS NULL)
                      THEN 'unconfirmed'
                      WHEN EXISTS (SELECT FROM suppressions s
                                    WHERE s.tenant_id = (SELECT tenant_id FROM domains d WHERE d.id = via.domain_id)
                                      AND s.address = via.target)
                      THEN 'suppressed' END AS withheld OFFSET 0
      ) AS kept
     WHERE led.account IS NULL AND via.target LIKE '_%@_%' AND (SELECT count(*) FROM led) < $3
       AND (SELECT verified_at FROM domains d WHERE d.id = via.domain_id) IS NOT NULL
       AND (SELECT verified_at FROM domains d WHERE d.name = split_part(via.target, '@', -1)) IS NULL
     ORDER BY led.recipient, via.target, kept.withheld IS NOT NULL, led.place
)
"""

_LOCK_ACCOUNTS = "SELECT id FROM accounts WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"

# A segment of which something was made may be there from an earlier half of the same batch; one of which nothing was made may be
# there under another id (a large body keeps its key when it is delivered again), or it is removed by the collector.
_INSERT_MESSAGES = """
WITH made AS (
    INSERT INTO messages (id, segment_id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
                          return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id)
    SELECT id, segment_id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
           return_path_octets, refs, to_timestamp(received_at), reverse_path, subject, from_, date, message_id
      FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::boolean[], $8::bytea[],
                  $9::integer[], $10::integer[], $11::float8[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[])
           AS letter (id, segment_id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
                      return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id)
     ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, segment_id, CASE WHEN refs > 0 THEN stored_octets ELSE 0 END AS live
), parts AS (
    SELECT segment.id, segment.key, segment.octets, sum(made.live) AS live
      FROM unnest($17::uuid[], $18::text[], $19::bigint[]) AS segment (id, key, octets)
      LEFT JOIN made ON made.segment_id = segment.id
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
SELECT id FROM made
"""

_INSERT_ENTRIES = f"""
WITH uids AS (
    UPDATE mailboxes m SET uidnext = m.uidnext + n.messages, modseq = m.modseq + 1
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (account_id, messages, octets)
     WHERE m.account_id = n.account_id AND m.mailbox_id = $9
    RETURNING m.account_id, m.uidnext - n.messages AS first, m.modseq
), entries AS (
    INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, internal_date, modseq)
    SELECT e.account_id, $9, uids.first + e.rank, e.message_id, e.size_crlf, to_timestamp(e.received_at), uids.modseq
      FROM unnest($4::bigint[], $5::bigint[], $6::uuid[], $7::bigint[], $8::float8[])
           AS e (account_id, rank, message_id, size_crlf, received_at)
      JOIN uids ON uids.account_id = e.account_id
    RETURNING 1
), quotas AS (
    UPDATE accounts a SET used_bytes = a.used_bytes + n.octets, used_messages = a.used_messages + n.messages
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (account_id, messages, octets)
     WHERE a.id = n.account_id
    RETURNING a.address, a.quota_bytes, a.used_bytes, n.octets
), told AS (
    INSERT INTO directory_outbox (subject)
    SELECT address FROM quotas WHERE {crossed_sql("quota_bytes", "used_bytes", "used_bytes - octets")}
    RETURNING 1
)
SELECT (SELECT count(*) FROM entries) AS entries, (SELECT pg_notify('directory', '') WHERE EXISTS (SELECT FROM told)) AS notified
"""  # noqa: S608


class PostgresMailboxes:
    """The port Mailboxes on Postgres.

    ``give_up`` and ``delay_notice`` are seconds: how long a recipient elsewhere is tried, and after how long its sender is told
    that it is late (0: never). ``limits`` are those of forwards, besides what domains and tenants have.
    """

    def __init__(
        self,
        database: Database,
        *,
        give_up: float = 432_000.0,
        delay_notice: float = 14_400.0,
        limits: ForwardLimits = outbound.NO_LIMITS,
    ) -> None:
        self._database = database
        self._limits = limits
        self._patience = outbound.Patience(give_up, delay_notice)

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version. Raises Unavailable."""
        await self._database.probe()

    async def resolve(self, recipients: Collection[str], messages: Collection[UUID]) -> Resolution:
        """Follow recipients to accounts and out of here, and tell which messages are placed already, in one round trip.

        An exact account or alias wins over the address without its ``+tag``, and that over the catch-all. Suspended accounts
        resolve: their mail was promised. Raises TooWide, Unavailable.
        """
        asked = [recipient for recipient in dict.fromkeys(recipients) if clean_text(recipient) == recipient]
        async with self._database.session() as connection:
            rows = await _led(connection, asked, list(messages))
        accounts: defaultdict[str, list[int]] = defaultdict(list)
        forwards: defaultdict[str, list[Forward]] = defaultdict(list)
        placed, elsewhere = [], []
        for kind, recipient, account, number, forward, alias, withheld in rows:
            match kind:
                case "account":
                    accounts[recipient].append(account)
                case "forward":
                    forwards[recipient].append(Forward(forward, alias, number, withheld or ""))
                case "elsewhere":
                    elsewhere.append(recipient)
                case _:
                    placed.append(number)
        return Resolution(
            {recipient: tuple(sorted(ids)) for recipient, ids in accounts.items()},
            frozenset(placed),
            {recipient: tuple(sorted(found, key=lambda each: each.address)) for recipient, found in forwards.items()},
            frozenset(elsewhere),
        )

    async def place(self, segments: Sequence[Segment]) -> int:
        """Write a batch, all or nothing; gives the number of entries made.

        Raises AccountsGone, Unavailable, and asyncpg's DataError or IntegrityConstraintViolationError for a letter that cannot
        be written: such a letter is poison, and trying again will not help.
        """
        letters = _by_receipt(segments)
        accounts = sorted({account for _, letter in letters for account in letter.accounts})
        async with self._database.transaction() as connection:
            if accounts and len(await connection.fetch(_LOCK_ACCOUNTS, accounts)) < len(accounts):
                raise AccountsGone
            made = await insert_messages(connection, letters, segments)
            fresh = [letter for _, letter in letters if letter.envelope.id in made]
            entries = await _enter(connection, fresh)
            await outbound.enter(connection, fresh, self._patience, self._limits)
            return entries


async def _led(connection: Connection, asked: list[str], messages: list[UUID]) -> list[Any]:
    """Give the rows of what the recipients come to. Raises TooWide."""
    most = _MOST_ADDRESSES + 1 if len(asked) == 1 else _MOST_TOGETHER + 4 * len(asked)
    rows: list[Any] = await connection.fetch(_RESOLVE, asked, messages, most, _MOST_ADDRESSES)
    kinds = {row["kind"] for row in rows}
    if "wide" in kinds:
        raise TooWide
    if "more" not in kinds:
        return rows
    half = len(asked) // 2
    return await _led(connection, asked[:half], messages) + await _led(connection, asked[half:], [])


async def insert_messages(
    connection: Connection, letters: Sequence[tuple[UUID, Letter]], segments: Sequence[Segment]
) -> set[UUID]:
    """Insert the messages of (segment, letter) that are not there, and the segments; gives the ids of those made.

    The caller holds the accounts, and makes an entry for each account of each letter made.
    """
    return {row["id"] for row in await connection.fetch(_INSERT_MESSAGES, *_columns(letters, segments))}


def _by_receipt(segments: Sequence[Segment]) -> list[tuple[UUID, Letter]]:
    """Give (segment, letter) in the order of receipt; an id that is there twice, once."""
    found: dict[UUID, tuple[UUID, Letter]] = {}
    for segment in segments:
        for letter in segment.letters:
            found.setdefault(letter.envelope.id, (segment.id, letter))
    return sorted(found.values(), key=lambda pair: (pair[1].envelope.received_at, pair[1].envelope.id))


def _columns(letters: Sequence[tuple[UUID, Letter]], segments: Sequence[Segment]) -> list[list[Any]]:
    rows = [
        (
            letter.envelope.id,
            segment,
            letter.placement.offset,
            letter.placement.length,
            letter.placement.encoding,
            letter.envelope.body.size,
            letter.envelope.body.has_dot_lines,
            letter.envelope.body.sha256,
            letter.envelope.body.return_path_octets,
            len(set(letter.accounts)) + (outbound.open_rows(letter) > 0),
            letter.envelope.received_at,
            clean_text(letter.envelope.reverse_path),
            clean_text(letter.envelope.summary.subject),
            clean_text(letter.envelope.summary.from_),
            clean_text(letter.envelope.summary.date),
            clean_text(letter.envelope.summary.message_id),
        )
        for segment, letter in letters
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(16)]
    distinct = {segment.id: segment for segment in segments}.values()
    return [*columns, [s.id for s in distinct], [s.key for s in distinct], [s.octets for s in distinct]]


async def _enter(connection: Connection, letters: Sequence[Letter]) -> int:
    """Put letters, in this order, into the INBOX of each of their accounts."""
    ranks: Counter[int] = Counter()
    octets: Counter[int] = Counter()
    entries: list[tuple[int, int, UUID, int, float]] = []
    for letter in letters:
        envelope = letter.envelope
        for account in dict.fromkeys(letter.accounts):
            entries.append((account, ranks[account], envelope.id, envelope.body.size, envelope.received_at))
            ranks[account] += 1
            octets[account] += envelope.body.size
    if not entries:
        return 0
    made = await connection.fetchval(
        _INSERT_ENTRIES,
        list(ranks),
        list(ranks.values()),
        [octets[account] for account in ranks],
        *(list(column) for column in zip(*entries, strict=True)),
        INBOX,
    )
    if made != len(entries):
        raise LookupError("an account has no INBOX")  # every account is made with its folders
    return len(entries)
