"""Maildrops on Postgres: the lease, the snapshot, the deletions at QUIT.

Rules of the lease: one row per account; only the database's clock decides whether it has expired.
An expired lease stays with its holder until another session takes it; taking and committing lock
the row, so that exactly one of them comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.content_access import (
    NETWORK_AGE,
    find_ended,
    remember_networks,
)
from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.adapters.postgres.mailboxes.changes import changing
from posthorn.adapters.postgres.mailboxes.expunge import LOCK_ACCOUNT, remove
from posthorn.adapters.postgres.tables import INBOX
from posthorn.model.blob_range import BodyLocation
from posthorn.ports.access import Ending, FamiliarNetwork, Proof
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
       d.retention_days, coalesce(nullif(a.allowed_networks, '{{}}'), d.allowed_networks, '{{}}')::text[]
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

# two arrays, not a row per message: most logins to a full maildrop find nothing new, and rows would
# dominate their cost. Both from one scan, which is most of what is left.
_SNAPSHOT = """
SELECT m.uidvalidity, coalesce(listed.uids, '{}'), coalesce(listed.sizes, '{}')
  FROM mailboxes m CROSS JOIN LATERAL (
       SELECT array_agg(uid) AS uids, array_agg(size_crlf) AS sizes
         FROM (SELECT uid, size_crlf FROM mailbox_entries e
                WHERE e.account_id = $1 AND e.mailbox_id = $2 ORDER BY uid) AS entries) AS listed
 WHERE m.account_id = $1 AND m.mailbox_id = $2
"""

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
_GIVE_LEASE_BACK = "DELETE FROM maildrop_leases WHERE account_id = $1 AND holder = $2 RETURNING 1"


class PostgresMaildrops:
    """The port Maildrops on Postgres."""

    def __init__(self, database: Database, announce: Announce = announce_nothing) -> None:
        self._database = database
        self._announce = announce

    async def probe(self) -> None:
        await self._database.probe()

    async def login(self, address: str, network: bytes = b"") -> AccountLogin | None:
        """Look an account up by canonical address, and whether the network is familiar to it.
        Raises Unavailable."""
        if clean_text(address) != address:
            return None
        async with self._database.session() as connection:
            row = await connection.fetchrow(_LOGIN, address, network)
        if row is None:
            return None
        known = AccountLogin(*row)
        return replace(known, networks=tuple(known.networks))

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        """Record the networks that accounts were logged in to from. Raises Unavailable."""
        await remember_networks(self._database, networks)

    async def open(self, account: int, holder: UUID, *, by_app_password: bool = False) -> Listing:
        """Take the lease and return the INBOX. Raises MaildropBusy, or Unavailable, after which
        the lease may be taken all the same."""
        is_held = False
        try:
            async with self._database.session() as connection:
                try:
                    is_held = await connection.fetchval(
                        _TAKE_LEASE, account, holder, LEASE_SECONDS, by_app_password
                    )
                except asyncpg.ForeignKeyViolationError:
                    raise Unavailable("postgres", "the account was deleted during login") from None
                if not is_held:
                    raise MaildropBusy
                # a separate statement: its snapshot is later than any transaction that the lease
                # waited for
                row = await connection.fetchrow(_SNAPSHOT, account, INBOX)
        except BaseException:
            if is_held:
                with suppress(Unavailable):
                    await self.release(account, holder)
            raise
        if row is None:
            # never an empty maildrop
            raise Unavailable("postgres", "the account was deleted during login")
        return Listing(*row)

    async def renew(self, holders: Collection[tuple[int, UUID]]) -> set[UUID]:
        """Renew the leases of (account, holder) pairs; return the holders that still hold
        theirs. Raises Unavailable."""
        pairs = list(holders)
        if not pairs:
            return set()
        async with self._database.session() as connection:
            rows = await connection.fetch(
                _RENEW,
                [account for account, _ in pairs],
                [holder for _, holder in pairs],
                LEASE_SECONDS,
            )
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
            if not await connection.fetchval(_GIVE_LEASE_BACK, account, holder):
                # another session took it meanwhile; everything above is rolled back
                raise LeaseLost
        return len(unique)

    async def release(self, account: int, holder: UUID) -> None:
        """Release the lease without deleting anything; a lost lease is no error. Raises
        Unavailable."""
        async with self._database.session() as connection:
            await connection.execute(_GIVE_LEASE_BACK, account, holder)
