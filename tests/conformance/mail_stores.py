"""Accounts and mail on real parts: PostgreSQL and a local directory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.database import Database, connect
from posthorn.adapters.postgres.directory.administration import PostgresAdministration
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.model.envelope import Body, Envelope
from posthorn.ports.accounts import NewAccount
from posthorn.ports.domains import NewDomain
from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import unique_id
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.runtime.settings import PostgresSettings
from tests.conformance.twins import in_groups, pack

_EMPTY = "TRUNCATE mailbox_entries, messages, segments, mailboxes, maildrop_leases, aliases, accounts, domains CASCADE"


class PostgresMailStore:
    """A MailStore on PostgreSQL and a local directory."""

    def __init__(self, database: Database, blobs: FileBlobs, password_hash: str) -> None:
        self._database = database
        self._administration = PostgresAdministration(database)
        self._mailboxes = PostgresMailboxes(database)
        self.maildrops = PostgresMaildrops(database)
        self.blobs = blobs
        self._hash = password_hash
        self._domains: set[str] = set()

    async def account(self, address: str, *, active: bool = True) -> int:
        domain = address.rpartition("@")[2]
        if domain not in self._domains:
            self._domains.add(domain)
            await self._administration.create_domain(None, NewDomain(domain))
        await self._administration.create_account(None, NewAccount(address, self._hash))
        if not active:
            await self._administration.change_account(None, address, {"state": "suspended"})
        login = await self.maildrops.login(address)
        assert login is not None
        return login.account

    async def deliver(
        self, account: int, messages: Iterable[bytes], encoding: str = "identity"
    ) -> None:
        for group in in_groups(messages):
            packed = pack(group, encoding)
            await self.blobs.put(packed.key, [packed.octets])
            placed = tuple(
                SegmentMessage(
                    Envelope(
                        id=id_,
                        received_at=1_700_000_000.0,
                        reverse_path="",
                        recipients=("somebody@example.test",),
                        body=Body.from_message(message),
                    ),
                    place,
                    (account,),
                )
                for id_, message, place in packed.blob_ranges
            )
            await self._mailboxes.deliver(
                [Segment(packed.id, packed.key, len(packed.octets), placed)]
            )

    async def remove(self, account: int, uid: int) -> None:
        async with self._database.session() as connection:
            await connection.execute(
                "WITH gone AS (DELETE FROM mailbox_entries WHERE account_id = $1 AND uid = $2)"
                " UPDATE mailboxes SET modseq = modseq + 1 WHERE account_id = $1 AND mailbox_id = 1",
                *(account, uid),
            )

    async def uidls(self, account: int) -> list[str]:
        holder = new_id()
        listing = await self.maildrops.open(account, holder)
        await self.maildrops.release([(account, holder)])
        return [unique_id(listing.uidvalidity, uid).decode() for uid in listing.uids]


async def _empty(database: Database) -> None:
    """Empty the tables; what a login notes in the background may be under way, and stand in a
    circle of locks with this."""
    for last in (False, False, False, True):
        try:
            async with database.session() as connection:
                await connection.execute(_EMPTY)
            return
        except Unavailable:
            if last:
                raise


@asynccontextmanager
async def postgres_mail_store(
    database_url: str, directory: Path, password_hash: str
) -> AsyncGenerator[PostgresMailStore]:
    """Open a store on a database with the newest schema; afterwards the database is empty again."""
    settings = PostgresSettings.model_validate({"database_url": database_url})
    blobs = FileBlobs(directory)
    await blobs.open()
    try:
        async with connect(settings) as database:
            try:
                yield PostgresMailStore(database, blobs, password_hash)
            finally:
                await _empty(database)
    finally:
        blobs.close()
