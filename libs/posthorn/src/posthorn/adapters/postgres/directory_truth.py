"""What the directory must say, read from Postgres: outbox, standing of accounts and aliases.

Theory:

- The outbox names subjects, not states. What is published is what is true when it is read, so that entries may be taken in any
  order and any number of times.
- An outbox row is visible only with the change that wrote it, and the truth is read by a later statement than the row: the
  newest row of a subject is therefore always published with the state it stands for.
- The publisher's lock is an advisory one held by the transaction of ``pending``: two publishers could otherwise write an older
  state over a newer one.
- A domain that is not verified is no domain of ours: neither it nor its addresses are said to be here.
- A change of an account changes what its aliases say; ``pending`` adds every alias that leads to a named address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from asyncpg import Record

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.model.directory_entry import AddressEntry, DomainEntry, Entry, Standing

PUBLISHER_LOCK = 0x706F7374_0001
"""Advisory lock of the one publisher."""
_DOUBTS_AT_ONCE = 5000
_PREFETCH = 1000

_STANDING = "CASE WHEN {0}.state = 'suspended' THEN 2 WHEN {0}.used_bytes >= {0}.quota_bytes THEN 1 ELSE 0 END"
_STANDINGS = (Standing.DELIVERABLE, Standing.OVER_QUOTA, Standing.SUSPENDED)

# every subject asked for, and every alias that leads to one of them, over any number of aliases
_AFFECTED = """
    WITH RECURSIVE affected(subject) AS (
        SELECT unnest($1::text[])
        UNION
        SELECT alias.address FROM affected JOIN aliases alias ON alias.targets @> ARRAY[affected.subject]
    ) SELECT subject FROM affected
"""

_VERIFIED = "(SELECT verified_at FROM domains d WHERE d.id = {0}.domain_id) IS NOT NULL"
_DOMAINS = "SELECT '@' || name AS subject, catch_all, plus_addressing FROM domains WHERE verified_at IS NOT NULL"
_ACCOUNTS = (
    f"SELECT address AS subject, {_STANDING.format('account')} AS standing FROM accounts account"  # noqa: S608
    f" WHERE {_VERIFIED.format('account')}"
)

# An alias is as good as the best it leads to: delivery places a letter for it whenever one account takes mail, and an address in
# no domain of ours takes all. Of accounts that take none, a full one is emptied sooner than a suspended one wakes. An alias leads
# nowhere once a domain is made that it led to while it was elsewhere; it is called suspended until its targets are put right.
_ALIASES = f"""
    WITH RECURSIVE leads(subject, address) AS (
        SELECT address, unnest(targets) FROM aliases WHERE {_VERIFIED.format("aliases")} {{condition}}
        UNION
        SELECT leads.subject, unnest(alias.targets) FROM leads JOIN aliases alias ON alias.address = leads.address
         WHERE {_VERIFIED.format("alias")}
    )
    SELECT leads.subject, coalesce(min(CASE
               WHEN account.id IS NOT NULL THEN {_STANDING.format("account")}
               WHEN (SELECT verified_at FROM domains d WHERE d.name = split_part(leads.address, '@', -1)) IS NULL THEN 0
           END), 2) AS standing
    FROM leads LEFT JOIN accounts account ON account.address = leads.address AND {_VERIFIED.format("account")}
    GROUP BY leads.subject
"""  # noqa: S608


class PostgresDirectoryTruth:
    """The port DirectoryTruth over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def pending(self, limit: int) -> AsyncIterator[Mapping[str, Entry | None] | None]:
        """Open the oldest outbox entries; see the port."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", PUBLISHER_LOCK):
                yield None
                return
            rows = await connection.fetch("SELECT id, subject FROM directory_outbox ORDER BY id LIMIT $1", limit)
            if not rows:
                yield {}
                return
            yield await _truth(connection, {row["subject"] for row in rows})
            await connection.execute("DELETE FROM directory_outbox WHERE id = ANY($1)", [row["id"] for row in rows])

    async def everything(self) -> AsyncIterator[tuple[str, Entry]]:
        """All subjects with their entries, in one consistent reading."""
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for query in (_DOMAINS, _ACCOUNTS, _ALIASES.format(condition="")):
                async for row in connection.cursor(query, prefetch=_PREFETCH):
                    yield row["subject"], _entry(row)

    async def doubt(self, subjects: Collection[str]) -> None:
        """Have the subjects published anew."""
        ordered = sorted(subjects)
        for start in range(0, len(ordered), _DOUBTS_AT_ONCE):
            async with self._database.transaction() as connection:
                await write_outbox(connection, *ordered[start : start + _DOUBTS_AT_ONCE])

    async def published(self, marks: Sequence[int]) -> bool:
        """Whether none of the outbox entries is waiting any more."""
        async with self._database.session() as connection:
            return not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM directory_outbox WHERE id = ANY($1))", list(marks)
            )


async def write_outbox(connection: Connection, *subjects: str) -> tuple[int, ...]:
    """Name subjects whose directory entries have changed, in the transaction that changes them; gives the rows' ids."""
    rows = await connection.fetch(
        "INSERT INTO directory_outbox (subject) SELECT unnest($1::text[]) RETURNING id", list(subjects)
    )
    return tuple(row["id"] for row in rows)


async def _truth(connection: Connection, named: Collection[str]) -> dict[str, Entry | None]:
    affected = [row["subject"] for row in await connection.fetch(_AFFECTED, list(named))]
    truth: dict[str, Entry | None] = dict.fromkeys(affected)
    addresses = [subject for subject in affected if not subject.startswith("@")]
    names = [subject[1:] for subject in affected if subject.startswith("@")]
    for query, values in (
        (f"{_DOMAINS} AND name = ANY($1)", names),
        (f"{_ACCOUNTS} AND address = ANY($1)", addresses),
        (_ALIASES.format(condition="AND address = ANY($1)"), addresses),
    ):
        for row in await connection.fetch(query, values):
            truth[row["subject"]] = _entry(row)
    return truth


def _entry(row: Record) -> Entry:
    if row["subject"].startswith("@"):
        return DomainEntry(row["catch_all"], row["plus_addressing"])
    return AddressEntry(_STANDINGS[row["standing"]])
