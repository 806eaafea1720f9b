"""What the directory must say, read from Postgres: outbox, standing of accounts and aliases.

Theory:

- The outbox names subjects, not states. What is published is what is true when it is read, so that entries may be taken in any
  order and any number of times.
- An outbox row is visible only with the change that wrote it, and the truth is read by a later statement than the row: the
  newest row of a subject is therefore always published with the state it stands for.
- The publisher's lock is an advisory one held by the transaction of ``pending``: two publishers could otherwise write an older
  state over a newer one.
- A domain that is not verified is no domain of ours: neither it nor its addresses are said to be here.
- A change of an account changes what its aliases say; ``pending`` adds every alias that leads to a named address. It adds the
  domain when its oldest account is named, or an address that is gone: the domain says who takes its postmaster's mail.
- Aliases are judged over one graph of distinct addresses, from its ends upwards: a mesh costs its size, not its ways.
- Two lanes: what is changed one by one goes before what is changed in bulk, of which an eighth of each round is all the same. In
  both, tenants take turns (ADR 22). Rows of one lane and tenant keep their order.
- A subject that takes too long all the same is stepped over, so that those behind it are published, and tried again ever more
  rarely; its row stays.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from enum import IntEnum
from itertools import batched
from typing import Any
from uuid import UUID

import structlog
from asyncpg import QueryCanceledError, Record

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.postmasters import OLDEST_ACCOUNT, OLDEST_OF
from posthorn.model.directory_entry import AddressEntry, DomainEntry, Entry, RecipientStatus
from posthorn.model.room import room_of
from posthorn.model.unpublished import MOST_NAMED, Unpublished, of_subjects

log = structlog.get_logger()

PUBLISHER_LOCK = 0x706F7374_0001
"""Advisory lock of the one publisher."""
_DOUBTS_AT_ONCE = 5000
_PREFETCH = 1000
_ALIASES_AT_ONCE = 500
_MOST_SECONDS = 3.0
"""For reading the truth of some subjects; for one statement, as far as the pool's own limit allows."""
_ROUND_SECONDS = 10.0
_RETRY_SECONDS = (60.0, 3600.0)
_MOST_SLOW = 10_000
_MOST_INTERACTIVE = 100
"""Subjects that one change may name and still be interactive."""
_MOST_NAMED_SUBJECTS = 5000
_NOBODY = UUID(int=0)

_STANDING = "CASE WHEN {0}.state = 'suspended' THEN 2 WHEN {0}.used_bytes >= {0}.quota_bytes THEN 1 ELSE 0 END"
_STANDINGS = (RecipientStatus.DELIVERABLE, RecipientStatus.OVER_QUOTA, RecipientStatus.SUSPENDED)
"""From the best to the worst."""
_NOWHERE = AddressEntry(RecipientStatus.SUSPENDED)

# for many addresses at once: what was entered lately stands in a list that each use of this index reads from its beginning
_ABOVE = "SELECT address FROM aliases WHERE targets && $1::text[]"

_VERIFIED = "(SELECT verified_at FROM domains d WHERE d.id = {0}.domain_id) IS NOT NULL"
_DOMAINS = (
    "SELECT '@' || name AS subject, catch_all, plus_addressing,"
    f" CASE WHEN catch_all IS NULL THEN {OLDEST_ACCOUNT.format('domains')} END AS postmaster"
    " FROM domains WHERE verified_at IS NOT NULL"
)
_ACCOUNTS = (
    f"SELECT address AS subject, {_STANDING.format('account')} AS standing, quota_bytes - used_bytes AS left_bytes"
    " FROM accounts account"
    f" WHERE {_VERIFIED.format('account')}"
)

_ALIASES = f"SELECT address FROM aliases WHERE {_VERIFIED.format('aliases')}"

# everything the addresses lead to, and themselves: an alias with its targets, an end with its standing; null: nobody is there
_BELOW = f"""
    WITH RECURSIVE below (address) AS (
        SELECT unnest($1::text[])
        UNION
        SELECT unnest(alias.targets) FROM below JOIN aliases alias ON alias.address = below.address
         WHERE {_VERIFIED.format("alias")}
    )
    SELECT below.address, alias.targets, CASE
               WHEN account.id IS NOT NULL THEN {_STANDING.format("account")}
               WHEN (SELECT verified_at FROM domains d WHERE d.name = split_part(below.address, '@', -1)) IS NULL THEN 0
           END AS standing, account.quota_bytes - account.used_bytes AS left_bytes, account.id IS NULL AS elsewhere,
           extract(epoch FROM alias.limited_until)::float8 AS limited_until,
           (SELECT t.state = 'suspended' FROM domains d JOIN tenants t ON t.id = d.tenant_id WHERE d.id = alias.domain_id)
               AS suspended,
           ARRAY (SELECT t.target FROM alias_targets t WHERE t.alias_id = alias.id AND t.confirmed_at IS NULL) AS unconfirmed
      FROM below
      LEFT JOIN aliases alias ON alias.address = below.address AND {_VERIFIED.format("alias")}
      LEFT JOIN accounts account ON account.address = below.address AND {_VERIFIED.format("account")}
"""

_LEADING_OUT = """
    SELECT a.address FROM aliases a JOIN domains d ON d.id = a.domain_id
     WHERE d.tenant_id = $1
       AND EXISTS (SELECT FROM unnest(a.targets) AS target
                    WHERE NOT EXISTS (SELECT FROM domains o
                                       WHERE o.name = split_part(target, '@', -1) AND o.tenant_id = $1))
     ORDER BY a.address
"""
_LIFT = """
    UPDATE aliases a SET limited_until = NULL
     WHERE a.id = ANY (ARRAY (
               SELECT l.id FROM aliases l JOIN domains d ON d.id = l.domain_id
                WHERE d.tenant_id = $1 AND ($2::bigint IS NULL OR d.id = $2) AND l.limited_until IS NOT NULL
                ORDER BY l.id FOR NO KEY UPDATE OF l))
    RETURNING a.address
"""
_WRITE = """
    INSERT INTO directory_outbox (subject, lane, tenant_id)
    SELECT subject, $2, coalesce((SELECT d.tenant_id FROM domains d WHERE d.name = split_part(subject, '@', -1)), $3)
      FROM unnest($1::text[]) AS subject
    RETURNING id
"""

_BOUND = """
    SELECT set_config('statement_timeout',
                      CASE WHEN reset_val = '0' THEN $1::int ELSE least($1, reset_val::int / 2) END::text, true)
      FROM pg_settings WHERE name = 'statement_timeout'
"""


# The tenants that have rows in a lane ($1), those behind $2 first: found by jumps in the index, however many rows each has. Then of
# each tenant its first row, then of each its second, up to $4.
_NEXT = """
    WITH RECURSIVE waiting (part, tenant_id, place) AS (
        (
            SELECT 1, (SELECT tenant_id FROM directory_outbox WHERE lane = $1 AND tenant_id > $2 ORDER BY tenant_id LIMIT 1), 1
          UNION ALL
            SELECT 2, (SELECT tenant_id FROM directory_outbox WHERE lane = $1 ORDER BY tenant_id LIMIT 1), 1
        )
      UNION ALL
        SELECT part, (SELECT o.tenant_id FROM directory_outbox o
                       WHERE o.lane = $1 AND o.tenant_id > waiting.tenant_id ORDER BY o.tenant_id LIMIT 1), place + 1
          FROM waiting WHERE tenant_id IS NOT NULL AND place < 1000
    ), tenants AS (
        SELECT part, tenant_id, least($4::bigint, 1 + 4096 / count(*) OVER ()) AS most
          FROM waiting WHERE tenant_id IS NOT NULL AND (part = 1 OR tenant_id <= $2)
    )
    SELECT id, subject, tenant_id, turn
      FROM (
          SELECT first.id, first.subject, tenants.part, tenants.tenant_id,
                 row_number() OVER (PARTITION BY tenants.tenant_id ORDER BY first.id) AS turn
            FROM tenants
            CROSS JOIN LATERAL (
                SELECT o.id, o.subject FROM directory_outbox o
                 WHERE o.lane = $1 AND o.tenant_id = tenants.tenant_id AND o.subject <> ALL($3::text[])
                 ORDER BY o.id LIMIT tenants.most
            ) AS first
      ) AS ranked
     ORDER BY turn, part, tenant_id LIMIT $4
"""


class Lane(IntEnum):
    """Which changes of the directory are published first."""

    INTERACTIVE = 0
    """Somebody waits for it."""
    BULK = 1
    """One of many."""


class PostgresDirectoryTruth:
    """The port DirectoryTruth over Postgres. ``seconds`` may be spent on what is true of some subjects, before they are stepped
    over."""

    def __init__(self, database: Database, seconds: float = _MOST_SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._slow: dict[str, tuple[float, float]] = {}
        """Subjects that took too long: when each is tried again, and how long it was put off."""
        self._turns = dict.fromkeys(Lane, _NOBODY)
        """The tenant after which the next round of a lane begins."""

    @asynccontextmanager
    async def pending(self, limit: int) -> AsyncIterator[Mapping[str, Entry | None] | None]:
        """Open the next outbox entries; see the port."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", PUBLISHER_LOCK):
                yield None
                return
            truth: dict[str, Entry | None] = {}
            told: set[str] = set()
            rows: list[Record] = []
            end = time.monotonic() + _ROUND_SECONDS
            while not told and (now := time.monotonic()) < end:
                waiting = [subject for subject, (again, _) in self._slow.items() if again > now]
                rows = await self._next(connection, Lane.INTERACTIVE, waiting, limit - limit // 8)
                rows += await self._next(connection, Lane.BULK, waiting, limit - len(rows))
                if not rows:
                    break
                truth, told = await self._read(connection, {row["subject"] for row in rows}, end)
            yield truth
            if told:
                done = [row["id"] for row in rows if row["subject"] in told]
                await connection.execute("DELETE FROM directory_outbox WHERE id = ANY($1)", done)

    async def _next(self, connection: Connection, lane: Lane, waiting: list[str], most: int) -> list[Record]:
        if most <= 0:
            return []
        rows: list[Record] = await connection.fetch(_NEXT, lane, self._turns[lane], waiting, most)
        for row in rows:
            if row["turn"] == 1:
                self._turns[lane] = row["tenant_id"]
        return rows

    async def everything(self) -> AsyncIterator[tuple[str, Entry]]:
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for query in (_DOMAINS, _ACCOUNTS):
                async for row in connection.cursor(query, prefetch=_PREFETCH):
                    yield row["subject"], _entry(row)
            cursor = await connection.cursor(_ALIASES)
            while rows := await cursor.fetch(_ALIASES_AT_ONCE):
                for subject, entry in (await _alias_entries(connection, [row["address"] for row in rows])).items():
                    yield subject, entry

    async def doubt(self, subjects: Collection[str]) -> None:
        """Have the subjects published anew."""
        ordered = sorted(subjects)
        lane = lane_of(len(ordered))
        for start in range(0, len(ordered), _DOUBTS_AT_ONCE):
            async with self._database.transaction() as connection:
                await write_outbox(connection, *ordered[start : start + _DOUBTS_AT_ONCE], lane=lane)

    async def published(self, outbox_ids: Sequence[int]) -> bool:
        """Return whether none of the outbox entries is waiting any more."""
        async with self._database.session() as connection:
            return not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM directory_outbox WHERE id = ANY($1))", list(outbox_ids)
            )

    async def unpublished(self, outbox_ids: Sequence[int] | None = None) -> Unpublished:
        """Beyond some thousand rows only their domains are named."""
        async with self._database.session() as connection:
            if outbox_ids is not None:
                query = "SELECT subject FROM directory_outbox WHERE id = ANY($1)"
                return of_subjects([row["subject"] for row in await connection.fetch(query, list(outbox_ids))])
            rows = await connection.fetch("SELECT subject FROM directory_outbox LIMIT $1", _MOST_NAMED_SUBJECTS + 1)
            if len(rows) <= _MOST_NAMED_SUBJECTS:
                return of_subjects([row["subject"] for row in rows])
            query = "SELECT DISTINCT split_part(subject, '@', -1) AS domain FROM directory_outbox LIMIT $1"
            domains = await connection.fetch(query, MOST_NAMED + 1)
            return of_subjects((), [row["domain"] for row in domains])

    async def _read(
        self, connection: Connection, subjects: set[str], end: float
    ) -> tuple[dict[str, Entry | None], set[str]]:
        """Return what is true of the subjects, and of which of them; those that take too long are stepped over."""
        known_slow = subjects & self._slow.keys()
        together = subjects - known_slow
        if together and (truth := await self._in_time(connection, together)) is not None:
            return truth, together
        truth, told = {}, set[str]()
        for subject in (*sorted(together), *sorted(known_slow)):
            entries = await self._in_time(connection, {subject})
            if entries is None:
                self._step_over(subject)
            else:
                self._slow.pop(subject, None)
                truth |= entries
                told.add(subject)
            if time.monotonic() > end:
                break
        return truth, told

    async def _in_time(self, connection: Connection, subjects: set[str]) -> dict[str, Entry | None] | None:
        """Return what is true of the subjects; None when that takes too long."""
        try:
            async with connection.transaction():  # a savepoint: what is cancelled takes only this back
                await connection.execute(_BOUND, round(self._seconds * 1000))
                return await _truth(connection, subjects, time.monotonic() + self._seconds)
        except (QueryCanceledError, _TooSlow):
            return None

    def _step_over(self, subject: str) -> None:
        first, last = _RETRY_SECONDS
        _, before = self._slow.pop(subject, (0.0, 0.0))
        pause = min(last, before * 2) or first
        if len(self._slow) >= _MOST_SLOW:
            self._slow.pop(next(iter(self._slow)))
        self._slow[subject] = time.monotonic() + pause, pause
        log.error("what is true of a subject takes too long to read", subject=subject, again_in_seconds=pause)


def lane_of(subjects: int) -> Lane:
    """Return the lane of a change that names so many subjects."""
    return Lane.INTERACTIVE if subjects <= _MOST_INTERACTIVE else Lane.BULK


async def write_outbox(connection: Connection, *subjects: str, lane: Lane | None = None) -> tuple[int, ...]:
    """Name subjects whose directory entries have changed, in the transaction that changes them; returns the rows' ids.

    ``lane``: by the number of subjects, if it is not given.
    """
    rows = await connection.fetch(_WRITE, list(subjects), lane_of(len(subjects)) if lane is None else lane, _NOBODY)
    return tuple(row["id"] for row in rows)


async def write_aliases(connection: Connection, tenant: UUID) -> tuple[int, ...]:
    """Have the aliases of a tenant published anew that lead out of its domains: its suspension began or ended."""
    rows = await connection.fetch(_LEADING_OUT, tenant)
    return await write_outbox(connection, *(row["address"] for row in rows))


async def lift_limits(connection: Connection, tenant: UUID, domain: int | None = None) -> tuple[int, ...]:
    """Have the aliases of a tenant, or of one domain of it, take mail again that were limited: the limit is another now."""
    rows = await connection.fetch(_LIFT, tenant, domain)
    return await write_outbox(connection, *sorted(row["address"] for row in rows))


class _TooSlow(Exception):
    """The truth is not read by its deadline."""


async def _affected(connection: Connection, named: Collection[str], deadline: float) -> list[str]:
    """Return the subjects, and every alias that leads to one of them, over any number of aliases."""
    affected, last = set(named), set(named)
    while last:
        found: set[str] = set()
        for some in batched(last, _ALIASES_AT_ONCE, strict=False):
            found |= {row["address"] for row in await connection.fetch(_ABOVE, list(some))}
            if time.monotonic() > deadline:
                raise _TooSlow
        last = found - affected
        affected |= found
    return list(affected)


async def _truth(connection: Connection, named: Collection[str], deadline: float) -> dict[str, Entry | None]:
    affected = await _affected(connection, named, deadline)
    truth: dict[str, Entry | None] = dict.fromkeys(affected)
    addresses = [subject for subject in affected if not subject.startswith("@")]
    names = [subject[1:] for subject in affected if subject.startswith("@")]
    for query, values in (
        (f"{_DOMAINS} AND name = ANY($1)", names),
        (f"{_ACCOUNTS} AND address = ANY($1)", addresses),
    ):
        for row in await connection.fetch(query, values):
            truth[row["subject"]] = _entry(row)
    for some in batched(addresses, _ALIASES_AT_ONCE, strict=False):
        truth |= await _alias_entries(connection, some)
        if time.monotonic() > deadline:
            raise _TooSlow
    changed = {f"@{name.rpartition('@')[2]}" for name in named if truth[name] is None}
    changed |= {row["subject"] for row in await connection.fetch(OLDEST_OF, list(named))}
    names = [subject[1:] for subject in changed - truth.keys()]
    for row in await connection.fetch(f"{_DOMAINS} AND name = ANY($1) AND catch_all IS NULL", names):
        truth[row["subject"]] = _entry(row)
    return truth


async def _alias_entries(connection: Connection, addresses: Sequence[str]) -> dict[str, AddressEntry]:
    """Return the entries of those of the addresses that are aliases.

    An alias is as good as the best it leads to: delivery places a message for it whenever one account takes mail, and an address in
    no domain of ours takes all. Of accounts that take none, a full one is emptied sooner than a suspended one wakes. An alias leads
    nowhere once a domain is made that it led to while it was elsewhere; it is called suspended until its targets are put right. One
    that leads elsewhere takes nothing while its tenant is suspended, and a target that has not confirmed counts for nothing.
    The room of an alias is the most that a mailbox has to which it leads, and unlimited when it leads elsewhere.
    """
    rows: Sequence[Any] = await connection.fetch(_BELOW, list(addresses)) if addresses else ()
    above: defaultdict[str, list[str]] = defaultdict(list)
    elsewhere = {row["address"] for row in rows if row["standing"] == 0 and row["elsewhere"]}
    for row in rows:
        ways = set(row["targets"] or ()) - set(row["unconfirmed"] or ())
        if not (row["suspended"] and ways & elsewhere):
            for target in ways:
                above[target].append(row["address"])
    ends = [(_end(row), row["address"]) for row in rows if row["standing"] is not None]
    best: dict[str, AddressEntry] = {}
    for end, address in sorted(ends, key=lambda each: _goodness(each[0]), reverse=True):
        found = [address]
        while found:
            for alias in above[found.pop()]:
                if alias not in best:
                    best[alias] = end
                    found.append(alias)
    limited = {row["address"]: row["limited_until"] for row in rows if row["targets"] is not None}
    return {
        address: replace(best.get(address, _NOWHERE), limited_until=limited[address])
        for address in addresses
        if address in limited
    }


def _goodness(end: AddressEntry) -> tuple[int, float]:
    return -_STANDINGS.index(end.standing), math.inf if end.room_bytes is None else end.room_bytes


def _entry(row: Record) -> Entry:
    if row["subject"].startswith("@"):
        return DomainEntry(row["catch_all"], row["plus_addressing"], row["postmaster"])
    return _end(row)


def _end(row: Record) -> AddressEntry:
    """Return the entry of an address to which aliases may lead and which leads nowhere itself."""
    standing = _STANDINGS[row["standing"]]
    return AddressEntry(
        standing, room_bytes=room_of(row["left_bytes"]) if standing is RecipientStatus.DELIVERABLE else None
    )
