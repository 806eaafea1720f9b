"""Maildrops on Postgres: the lease, the snapshot, the deletions at QUIT.

Rules:

- One row per account; only the database's clock decides whether a lease has expired. An expired
  lease stays with its holder until another session takes it; taking and committing lock the row, so
  that exactly one of them comes first.
- A lease that is released leaves its row, which belongs to nobody (ADR 40): the next login updates
  it, which neither checks the foreign key nor writes to the log, so that no login waits for the
  disk. A row that is missing (a first login, a crash of the server, a process of the release before)
  is inserted.
- Lease and listing are one statement, whose listing is as old as its beginning. So it takes the
  lease only if the row is still as it was at that time: nobody can have deleted messages meanwhile.
- A listing has a version: UIDVALIDITY and modseq, which each change of the mailbox raises (ADR 33),
  and the start of the server, since another one, or an earlier copy, may count anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.content_access import (
    FINDINGS,
    NETWORK_AGE,
    check_parameters,
    find_ended,
    findings_of,
    remember_networks,
)
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.adapters.postgres.mailboxes.changes import changing
from posthorn.adapters.postgres.mailboxes.expunge import LOCK_ACCOUNT, remove
from posthorn.adapters.postgres.schema import INBOX
from posthorn.model.blob_range import BodyLocation
from posthorn.ports.access import Ending, FamiliarNetwork, LoginCheck, Proof
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_hints import Announce, announce_nothing
from posthorn.ports.maildrops import (
    LEASE_SECONDS,
    AccountLogin,
    LeaseLost,
    Listing,
    MaildropBusy,
    Revoked,
)

_LOGIN = f"""
SELECT a.id, a.address, a.password_hash, a.state <> 'suspended' AND t.state <> 'suspended', d.tenant_id, {NETWORK_AGE},
       d.retention_days, coalesce(nullif(a.allowed_networks, '{{}}'), d.allowed_networks, '{{}}')::text[] AS networks, {FINDINGS}
  FROM accounts a JOIN domains d ON d.id = a.domain_id JOIN tenants t ON t.id = d.tenant_id
 WHERE a.address = $1
"""

# clock_timestamp(): now() would be the time before the wait for another session's lock
_TAKE_LEASE = """
INSERT INTO maildrop_leases AS l (account_id, holder, expires_at, by_app_password)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3), $4)
ON CONFLICT (account_id) DO UPDATE
    SET holder = excluded.holder, expires_at = clock_timestamp() + make_interval(secs => $3),
        by_app_password = excluded.by_app_password
  WHERE l.holder = excluded.holder OR l.expires_at < clock_timestamp()
     OR l.by_app_password AND NOT excluded.by_app_password
RETURNING 1
"""

# Of a row that somebody has changed since the snapshot, the newest version is looked at again, and
# its xmin is another one.
_TAKE_AS_SEEN = """
WITH seen AS MATERIALIZED (
    SELECT xmin AS version FROM maildrop_leases WHERE account_id = $1
), taken AS (
    UPDATE maildrop_leases l
       SET holder = $3, expires_at = clock_timestamp() + make_interval(secs => $4), by_app_password = $5
      FROM seen
     WHERE l.account_id = $1 AND l.xmin = seen.version
       AND (l.holder = $3 OR l.expires_at < clock_timestamp() OR l.by_app_password AND NOT $5)
    RETURNING 1
)
"""

# two arrays, not a row per message: rows would dominate the cost of a login. Both from one scan,
# which is made only if something has changed.
_LISTING = """
SELECT m.uidvalidity, m.version, m.version <> $6 AS is_new, listed.uids, listed.sizes,
       moved.uids AS moved, moved.unique_ids
  FROM (SELECT uidvalidity,
               uidvalidity || '.' || modseq || '.' || extract(epoch FROM pg_postmaster_start_time()) AS version
          FROM mailboxes WHERE account_id = $1 AND mailbox_id = $2) AS m
 CROSS JOIN LATERAL (
       SELECT array_agg(uid) AS uids, array_agg(size_crlf) AS sizes
         FROM (SELECT uid, size_crlf FROM mailbox_entries e
                WHERE e.account_id = $1 AND e.mailbox_id = $2 AND m.version <> $6 {only} ORDER BY uid) AS entries
       ) AS listed
 CROSS JOIN LATERAL (
       SELECT array_agg(uid) AS uids, array_agg(unique_id) AS unique_ids
         FROM unique_ids u WHERE u.account_id = $1 AND m.version <> $6 {only}
       ) AS moved
"""
_OPEN = f"""
{_TAKE_AS_SEEN}
SELECT EXISTS (SELECT FROM taken) AS is_taken, found.*
  FROM ({_LISTING.format(only="AND EXISTS (SELECT FROM taken)")}) AS found
"""
_SNAPSHOT = _LISTING.format(only="").replace("$6", "$3")

_RENEW = """
UPDATE maildrop_leases l SET expires_at = clock_timestamp() + make_interval(secs => $3)
  FROM unnest($1::bigint[], $2::uuid[]) AS held (account_id, holder)
 WHERE l.account_id = held.account_id AND l.holder = held.holder
RETURNING l.holder
"""

_LOCATE = """
SELECT e.uid, m.id, s.key, m.offset_octets, m.stored_octets, m.encoding, m.size_crlf, m.has_dot_lines
  FROM mailbox_entries e JOIN messages m ON m.id = e.message_id JOIN segments s ON s.id = m.segment_id
 WHERE e.account_id = $1 AND e.mailbox_id = $2 AND e.uid = ANY ($3::bigint[])
"""

_HELD = "SELECT 1 FROM maildrop_leases WHERE account_id = $1 AND holder = $2"
_NOBODY = UUID(int=0)
_GIVE_LEASES_BACK = f"""
UPDATE maildrop_leases l SET holder = '{_NOBODY}', expires_at = '-infinity', by_app_password = false
  FROM unnest($1::bigint[], $2::uuid[]) AS held (account_id, holder)
 WHERE l.account_id = held.account_id AND l.holder = held.holder
RETURNING 1
"""


class PostgresMaildrops:
    """The port Maildrops on Postgres."""

    def __init__(self, database: Database, announce: Announce = announce_nothing) -> None:
        self._database = database
        self._announce = announce

    async def probe(self) -> None:
        await self._database.probe()

    async def login(
        self, address: str, network: bytes = b"", check: LoginCheck | None = None
    ) -> AccountLogin | None:
        """Look an account up by canonical address, whether the network is familiar to it, and what
        ``check`` asks. Raises Unavailable."""
        if clean_text(address) != address:
            return None
        async with self._database.session() as connection:
            row = await connection.fetchrow(_LOGIN, address, network, *check_parameters(check))
        if row is None:
            return None
        known = AccountLogin(*row[:7])
        return replace(known, networks=tuple(row["networks"]), findings=findings_of(row, check))

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        """Record the networks that accounts were logged in to from. Raises Unavailable."""
        await remember_networks(self._database, networks)

    async def open(
        self,
        account: int,
        holder: UUID,
        *,
        by_app_password: bool = False,
        known: Listing | None = None,
    ) -> Listing:
        """Take the lease and return the INBOX, ``known`` itself if it has not changed. Raises
        MaildropBusy, or Unavailable, after which the lease may be taken all the same."""
        version = known.version if known else ""
        lease = account, INBOX, holder, LEASE_SECONDS, by_app_password
        is_held = False
        try:
            async with self._database.session() as connection:
                row = await connection.fetchrow(_OPEN, *lease, version)
                is_held = row is not None and row["is_taken"]
                if not is_held:
                    await _take(connection, account, holder, by_app_password=by_app_password)
                    is_held = True
                    # a separate statement: its snapshot is later than any transaction that the
                    # lease waited for
                    row = await connection.fetchrow(_SNAPSHOT, account, INBOX, version)
        except BaseException:
            if is_held:
                with suppress(Unavailable):
                    await self.release([(account, holder)])
            raise
        if row is None:
            # never an empty maildrop
            raise Unavailable("postgres", "the account was deleted during login")
        if known is not None and not row["is_new"]:
            return known
        moved = zip(row["moved"] or (), row["unique_ids"] or (), strict=True)
        return Listing(
            row["uidvalidity"],
            row["uids"] or [],
            row["sizes"] or [],
            version=row["version"],
            unique_ids={uid: text.encode() for uid, text in moved},
        )

    async def renew(self, holders: Collection[tuple[int, UUID]]) -> set[UUID]:
        """Renew the leases of (account, holder) pairs; return the holders that still hold
        theirs. Raises Unavailable."""
        if not holders:
            return set()
        async with self._database.session() as connection:
            rows = await connection.fetch(_RENEW, *_columns(holders), LEASE_SECONDS)
        return {row["holder"] for row in rows}

    async def ended(self, sessions: Mapping[UUID, Proof]) -> dict[UUID, Ending]:
        """Return the sessions, by their leases' holders, that must end. Raises Unavailable."""
        asked: list[tuple[Proof, UUID | None]] = [
            (proof, holder) for holder, proof in sessions.items()
        ]
        if not asked:
            return {}
        async with self._database.session() as connection:
            found = await find_ended(connection, asked)
        return {holder: ending for (_, holder), ending in found.items() if holder is not None}

    async def locate(self, account: int, uids: Collection[int]) -> dict[int, BodyLocation]:
        """Return the present locations of messages; a missing uid no longer exists. Raises
        Unavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_LOCATE, account, INBOX, list(uids))
        return {row["uid"]: BodyLocation(*tuple(row)[1:]) for row in rows}

    async def commit(
        self, account: int, holder: UUID, uids: Collection[int], proof: Proof | None = None
    ) -> int:
        """Delete the messages, release quota and lease, all in one transaction; returns how many
        were deleted. In a domain with an undelete window they can be brought back through the API.

        A message that is already gone counts as deleted. Raises LeaseLost or Revoked with nothing
        deleted, or Unavailable, after which the deletion may all the same have happened.
        """
        unique = sorted(set(uids))
        async with changing(self._database, self._announce) as (connection, changed):
            row = await connection.fetchrow(LOCK_ACCOUNT, account)
            if row is None or not await connection.fetchval(_HELD, account, holder):
                raise LeaseLost
            if proof is not None and (found := await find_ended(connection, [(proof, None)])):
                raise Revoked(next(iter(found.values())))
            where = [(INBOX, uid) for uid in unique]
            removed = await remove(connection, account, where, keep=row["undelete_days"] > 0)
            changed += removed.changed
            if removed.below_quota:
                await write_outbox(connection, row["address"])
                await connection.execute("SELECT pg_notify('directory', '')")
            # last, so that the lease's row is locked only briefly: renewals of all leases update it
            if not await connection.fetchval(_GIVE_LEASES_BACK, [account], [holder]):
                # another session took it meanwhile; everything above is rolled back
                raise LeaseLost
        return len(unique)

    async def release(self, holders: Collection[tuple[int, UUID]]) -> None:
        """Release leases without deleting anything; a lost lease is no error. Raises
        Unavailable."""
        async with self._database.session() as connection:
            await connection.execute(_GIVE_LEASES_BACK, *_columns(holders))


async def _take(
    connection: Connection, account: int, holder: UUID, *, by_app_password: bool
) -> None:
    """Take the lease, whatever has become of its row. Raises MaildropBusy."""
    try:
        is_held = await connection.fetchval(
            _TAKE_LEASE, account, holder, LEASE_SECONDS, by_app_password
        )
    except asyncpg.ForeignKeyViolationError:
        raise Unavailable("postgres", "the account was deleted during login") from None
    if not is_held:
        raise MaildropBusy


def _columns(holders: Collection[tuple[int, UUID]]) -> tuple[list[int], list[UUID]]:
    return [account for account, _ in holders], [holder for _, holder in holders]
