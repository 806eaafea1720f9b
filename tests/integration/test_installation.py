"""Guards over real Postgres, NATS and blob stores: what belongs together is served, and what
does not is left alone (ADR 18)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from posthorn.adapters.blobs.config import open_blobs
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.installation import DirectoryMark, NatsClock
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.imap.view import PostgresMailboxView
from posthorn.adapters.postgres.installation import PostgresInstallation
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.mailboxes.upkeep import SKIPPED
from posthorn.adapters.postgres.schema import INBOX
from posthorn.model.directory_entry import (
    INSTALLATION_KEY,
    AddressEntry,
    DomainEntry,
    RecipientStatus,
)
from posthorn.model.installation import MARK_BYTES, Copy, Mark, decode_mark, encode_mark
from posthorn.ports.blobs import MARK, Blobs
from posthorn.ports.errors import Halted, Unavailable
from posthorn.runtime.installation import BlobMark, InstallationGuard
from posthorn.runtime.settings import BlobSettings, PostgresSettings
from posthorn.wire.address import parse_address
from posthorn_api.adopt import adopt, release, release_brakes, show, take_over
from posthorn_api.settings import ApiSettings
from posthorn_delivery.gated_source import GatedSource
from posthorn_local.embedded import Nats
from tests.integration.api.test_process import SECRET_KEY
from tests.support.builders import make_message, make_segment
from tests.support.databases import Databases, pool
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, until
from tests.support.seed import DatabaseSeed

ALICE = parse_address("alice@example.test")


@dataclass
class InstallationStores:
    """One installation's stores, and guards over them."""

    url: str
    database: Database
    blobs: Blobs
    nats: Connection

    def guard(
        self, *, keeps: bool = True, beat: float = 30.0, blobs: bool = True
    ) -> InstallationGuard:
        values = {"database_url": self.url, "installation_beat_seconds": beat}
        guard = InstallationGuard(
            PostgresInstallation(self.database),
            PostgresSettings.model_validate(values),
            keeps=keeps,
        )
        if blobs:
            guard.watch_blobs(self.blobs)
        guard.watch_directory(DirectoryMark(self.nats))
        return guard

    async def sql(self, query: str, *values: Any) -> Any:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(query, *values)
        finally:
            await connection.close()

    async def identity(self) -> UUID:
        found = await self.sql("SELECT id FROM installation")
        assert isinstance(found, UUID)
        return found

    async def stage(self) -> str:
        return str(await self.sql("SELECT stage FROM installation"))

    async def marks(self) -> tuple[Mark | None, Mark | None]:
        return (await BlobMark(self.blobs).read()).mark, (
            await DirectoryMark(self.nats).read()
        ).mark

    async def live_in(self) -> None:
        """Accounts and bodies, as an installation has them."""
        await self.sql(
            "INSERT INTO domains (tenant_id, name) SELECT id, 'example.test' FROM tenants LIMIT 1"
        )
        number = uuid4()
        await self.sql(
            "INSERT INTO segments (id, key, octets, live_octets) VALUES ($1, $2, 4, 4)",
            number,
            f"segments/{number}",
        )
        await self.blobs.put(f"segments/{number}", [b"body"])
        bucket = NatsDirectoryBucket(self.nats)
        await bucket.put("@example.test", DomainEntry(None, plus_addressing=False))
        await bucket.put(str(ALICE), AddressEntry(RecipientStatus.DELIVERABLE))
        await bucket.mark_filled()


@pytest.fixture
async def stores(
    database_url: str, nats: Nats, tmp_path: Path
) -> AsyncIterator[InstallationStores]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(pool(database_url))
        blobs = await stack.enter_async_context(
            open_blobs(BlobSettings(blobs=SecretStr(f"file://{tmp_path}/blobs")))
        )
        connection = await stack.enter_async_context(connect(nats_settings(nats), "test"))
        yield InstallationStores(database_url, database, blobs, connection)


async def _stranger(stores: InstallationStores, database: Database, url: str) -> InstallationStores:
    """Another database over the same stores."""
    other = InstallationStores(url, database, stores.blobs, stores.nats)
    # tests' databases are copies of one
    await other.sql("UPDATE installation SET id = gen_random_uuid()")
    return other


async def test_a_new_installation_takes_itself_up_and_marks_its_stores(
    stores: InstallationStores,
) -> None:
    guard = stores.guard()
    with pytest.raises(Halted, match="not been compared"):
        guard.check()
    assert await guard.compare()
    guard.check()
    blobs, directory = await stores.marks()
    assert blobs == directory
    assert blobs is not None
    assert blobs.id == await stores.identity()
    assert await stores.stage() == "adopted"
    await stores.guard().certain()


async def test_many_processes_take_it_up_at_once(stores: InstallationStores) -> None:
    assert await asyncio.gather(*(stores.guard().compare() for _ in range(6))) == [True] * 6
    await stores.guard(keeps=False).certain()


async def test_marks_that_another_process_writes_during_the_comparison_are_no_contradiction(
    stores: InstallationStores,
) -> None:
    class Overtaken(DirectoryMark):
        """Another process takes the stores up after this one has read the database."""

        async def read(self) -> Copy:
            await stores.guard().certain()
            return await super().read()

    guard = stores.guard()
    guard.watch_directory(Overtaken(stores.nats))
    assert await guard.compare()
    guard.check()
    assert await DirectoryMark(stores.nats).halted() is None


async def test_who_keeps_no_marks_serves_what_is_new_and_writes_nothing(
    stores: InstallationStores,
) -> None:
    guard = stores.guard(keeps=False)
    await guard.compare()
    guard.check()
    assert await stores.marks() == (None, None)
    assert await stores.stage() == "new"


async def test_data_of_a_release_without_marks_is_taken_up_once(stores: InstallationStores) -> None:
    await stores.live_in()
    await stores.guard().certain()
    mark, _ = await stores.marks()
    assert mark is not None
    assert mark.id == await stores.identity()


async def test_a_new_and_empty_database_is_not_taken_up_over_data(
    stores: InstallationStores, databases: Databases, nats: Nats
) -> None:
    await stores.live_in()
    async with databases.one() as url, pool(url) as database:
        stranger = await _stranger(stores, database, url)
        for _ in range(2):  # over data without marks, then over marks
            guard = stranger.guard()
            with pytest.raises(Unavailable):
                await guard.certain()
            with pytest.raises(Halted, match=r"the database is (new and empty|of installation)"):
                guard.check()
            assert await stranger.stage() == "new"
            await stores.guard().certain()
    assert await DirectoryMark(stores.nats).halted() is None, (
        "who finds all in order takes the word back"
    )


async def test_a_second_release_on_the_same_bucket_serves_nothing_and_stops_nobody_else(
    stores: InstallationStores, databases: Databases, tmp_path: Path
) -> None:
    await stores.live_in()
    await stores.guard().certain()
    other = Nats(tmp_path / "other-nats", durable=False)
    other.start()
    try:
        async with (
            databases.one() as url,
            pool(url) as database,
            connect(nats_settings(other), "other") as connection,
        ):
            second = InstallationStores(url, database, stores.blobs, connection)
            await second.sql("UPDATE installation SET id = gen_random_uuid()")
            guard = second.guard()
            assert not await guard.compare()
            with pytest.raises(Halted, match="blob store"):
                guard.check()
            assert await second.marks() == ((await stores.marks())[0], None)
    finally:
        other.stop(kill=True)
    await stores.guard().certain()
    assert await DirectoryMark(stores.nats).halted() is None


async def test_a_database_restored_from_an_old_backup_is_found_out(
    stores: InstallationStores,
) -> None:
    await stores.live_in()
    await stores.guard().certain()
    await stores.sql("UPDATE installation SET progress_at = progress_at - interval '14 minutes'")
    await stores.guard().certain()  # as after a failover; it beats, too
    mark, _ = await stores.marks()
    assert mark is not None
    await stores.sql(
        "UPDATE installation SET progress_at = to_timestamp($1) - interval '16 minutes'",
        mark.progress,
    )
    guard = stores.guard()
    assert not await guard.compare()
    with pytest.raises(Halted, match=r"the database stands at .* before the blob store"):
        guard.check()
    assert await stores.marks() == (mark, (await stores.marks())[1]), "nothing is written"


async def test_a_directory_bucket_lost_and_made_anew_heals_by_itself(
    stores: InstallationStores, nats: Nats
) -> None:
    await stores.live_in()
    await stores.guard().certain()
    await stores.nats.api("STREAM.DELETE.KV_directory")
    stores.nats.check_soon()

    async def is_there() -> bool:
        try:
            return not await NatsDirectoryBucket(stores.nats).is_filled()
        except Unavailable:
            return False

    await until(is_there)
    assert await stores.guard().compare()
    blobs, directory = await stores.marks()
    assert blobs is not None
    assert directory is not None
    assert directory.id == blobs.id


async def test_an_emptied_blob_store_is_not_taken_up(stores: InstallationStores) -> None:
    await stores.live_in()
    await stores.guard().certain()
    for key in [blob.key async for blob in stores.blobs.list("")]:
        await stores.blobs.delete(key)
    guard = stores.guard()
    assert not await guard.compare()
    with pytest.raises(Halted, match="the blob store is empty"):
        guard.check()
    assert await stores.marks() == (None, (await stores.marks())[1])


async def test_parts_that_are_down_close_nothing_but_allow_no_deletion(
    stores: InstallationStores, nats: Nats
) -> None:
    await stores.live_in()
    guard = stores.guard()
    await guard.certain()
    nats.stop()
    with pytest.raises(Unavailable, match="not every store"):
        await guard.certain()
    guard.check()
    fresh = stores.guard()
    await fresh.compare()
    fresh.check()
    restart(nats)
    await until(guard.compare, BUSY_SECONDS)
    await guard.certain()


async def test_the_database_alone_does_not_open_a_gate_over_a_new_one(
    stores: InstallationStores,
) -> None:
    alone = stores.guard(blobs=False)
    assert not await alone.compare()
    with pytest.raises(Halted, match="the blob store does not answer"):
        alone.check()


async def test_a_closed_gate_keeps_everybody_from_the_database_but_the_probe(
    stores: InstallationStores,
) -> None:
    guard = stores.guard()
    stores.database.gate = guard.check
    for lend in (stores.database.session, stores.database.transaction):
        with pytest.raises(Halted):
            async with lend():
                pass
    with pytest.raises(Halted), stores.database.faults():
        pass
    await stores.database.probe()
    await guard.compare()
    async with stores.database.session() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_new_connection_to_another_database_is_used_for_nothing(
    stores: InstallationStores,
) -> None:
    guard = stores.guard()
    database = stores.database
    database.gate, database.installation = guard.check, guard.installation
    await guard.compare()
    async with database.session() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    own = await stores.identity()
    await stores.sql("UPDATE installation SET id = gen_random_uuid()")
    async with database.session() as connection:
        assert await connection.fetchval("SELECT 1") == 1, (
            "a connection that is known is not asked again"
        )
    await database.pool.clear()  # as after a failover: the next connection is a new one
    for lend in (database.session, database.transaction):
        with pytest.raises(Halted, match="a new connection leads to installation"):
            async with lend():
                pass
    await stores.sql("UPDATE installation SET id = $1", own)
    async with database.session() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_the_progress_grows_with_time_and_the_copies_follow(
    stores: InstallationStores,
) -> None:
    guard = stores.guard(beat=0.1)
    await guard.certain()
    first, _ = await stores.marks()
    assert first is not None

    async def both_later() -> bool:
        await guard.compare()
        blobs, directory = await stores.marks()
        assert blobs is not None
        assert directory is not None
        progress = await stores.sql(
            "SELECT extract(epoch FROM progress_at)::float8 FROM installation"
        )
        assert blobs.progress <= directory.progress <= progress + 1e-6, "Postgres first"
        return blobs.progress > first.progress + 1

    await until(both_later, BUSY_SECONDS)


async def test_smtp_in_is_told_by_the_bucket_and_reads_nothing_for_it(
    stores: InstallationStores, databases: Databases, nats: Nats
) -> None:
    await stores.live_in()
    await stores.guard(beat=0.1).certain()
    async with (
        connect(nats_settings(nats), "smtp-in") as connection,
        NatsDirectory(connection) as directory,
    ):
        await until(_live(directory))
        assert await directory.standing(ALICE) is RecipientStatus.DELIVERABLE
        async with databases.one() as url, pool(url) as database:
            stranger = (await _stranger(stores, database, url)).guard(beat=0.1)

            async def halted() -> bool:
                await stranger.compare()
                try:
                    await directory.standing(ALICE)
                except Halted as fault:
                    return "adopt" in fault.detail
                return False

            await until(halted)
            with pytest.raises(Halted, match="halted"):
                await directory.probe()
            with pytest.raises(Halted):
                await directory.standing(parse_address("nobody@foreign.test"))
        async with connect(nats_settings(nats), "later") as other, NatsDirectory(other) as later:
            await until(_live(later))
            with pytest.raises(Halted):
                await later.standing(ALICE)
        await stores.guard().compare()  # the old database is back

        async def serves() -> bool:
            try:
                return await directory.standing(ALICE) is RecipientStatus.DELIVERABLE
            except Unavailable:
                return False

        await until(serves)
        await directory.probe()


async def test_one_wrong_process_does_not_halt_a_system_that_works(
    stores: InstallationStores, databases: Databases
) -> None:
    await stores.live_in()
    await stores.guard().certain()
    async with databases.one() as url, pool(url) as database:
        wrong = (await _stranger(stores, database, url)).guard()
        for _ in range(3):
            assert not await wrong.compare()
    assert await DirectoryMark(stores.nats).halted() is None, (
        "others have written marks a moment ago"
    )


def _live(directory: NatsDirectory) -> Any:
    async def live() -> bool:
        return directory.is_live

    return live


async def test_marks_are_no_entries_of_the_directory(stores: InstallationStores) -> None:
    await stores.live_in()
    await stores.guard().certain()
    await DirectoryMark(stores.nats).halt("for a test")
    assert set(await NatsDirectoryBucket(stores.nats).entries()) == {"@example.test", str(ALICE)}


async def test_a_mark_that_does_not_read_closes_the_gate(stores: InstallationStores) -> None:
    await stores.guard().certain()
    await stores.blobs.put(MARK, [b"x" * MARK_BYTES])
    guard = stores.guard()
    assert not await guard.compare()
    with pytest.raises(Halted, match="does not read"):
        guard.check()


async def test_a_clock_that_is_wrong_makes_a_process_not_ready(
    stores: InstallationStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = stores.guard()
    await guard.compare()
    await guard.probe_clock()
    await NatsClock(stores.nats).probe()
    wrong = InstallationGuard(
        PostgresInstallation(stores.database),
        PostgresSettings.model_validate({"database_url": stores.url}),
        clock=lambda: time.time() - 600,
    )
    await wrong.compare()
    with pytest.raises(Halted, match="-600 s from that of Postgres"):
        await wrong.probe_clock()
    real = time.time
    monkeypatch.setattr("posthorn.adapters.nats.installation.time.time", lambda: real() + 300)
    with pytest.raises(Halted, match=r"\+300 s from that of NATS"):
        await NatsClock(stores.nats).probe()


async def test_delivery_takes_nothing_while_the_gate_is_closed_and_gives_back_what_came_at_that_moment() -> (
    None
):
    class Taken:
        given_back: float | None = None

        async def nak(self, delay: float) -> None:
            self.given_back = delay

    class Source:
        takes = 0

        async def take(self, most: int, octets: int) -> list[Any]:
            self.takes += 1
            return [taken]

    open_for, taken, source = [2], cast(Any, Taken()), Source()

    def check() -> None:
        open_for[0] -= 1
        if open_for[0] < 0:
            raise Halted("installation", "another one")

    guarded = GatedSource(source, check)  # type: ignore[arg-type]
    assert list(await guarded.take(1, 1)) == [taken]
    with pytest.raises(Halted):
        await guarded.take(1, 1)
    assert source.takes == 1
    open_for[0] = 1
    with pytest.raises(Halted):
        await guarded.take(1, 1)
    assert (source.takes, taken.given_back is not None) == (2, True)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out


async def test_adopting_takes_the_stores_over_and_the_former_database_is_foreign_from_then_on(
    stores: InstallationStores,
    databases: Databases,
    nats: Nats,
    tmp_path: Path,
    said: Callable[[], str],
) -> None:
    await stores.live_in()
    await stores.guard().certain()
    async with databases.one() as url, pool(url) as database:
        new = await _stranger(stores, database, url)
        settings = _settings(new, nats, tmp_path)
        before = await new.identity()
        assert await show(settings) == 1
        out = said()
        for text in (str(before), str(await stores.identity()), "foreign"):
            assert text in out
        assert await take_over(settings, await stores.identity()) == 1, (
            "named must be the database one stands before"
        )
        assert "nothing was done" in said()
        assert await new.identity() == before
        assert await take_over(settings, before) == 0
        after = await new.identity()
        assert after not in (before, await stores.identity())
        assert {mark.id for mark in await new.marks() if mark} == {after}
        assert await new.stage() == "adopted"
        assert await NatsDirectoryBucket(stores.nats).entries() == {}, (
            "the directory is that of the database"
        )
        await new.guard().certain()
        assert await show(settings) == 0
    former = stores.guard()
    assert not await former.compare()
    with pytest.raises(Halted, match="of installation"):
        former.check()


async def test_adopting_a_database_from_an_old_backup_lets_it_go_on(
    stores: InstallationStores, nats: Nats, tmp_path: Path
) -> None:
    await stores.live_in()
    await stores.guard().certain()
    ahead = Mark(await stores.identity(), (datetime.now(UTC) + timedelta(days=2)).timestamp())
    await stores.blobs.put(MARK, [encode_mark(ahead)])
    assert not await stores.guard().compare()
    seed = DatabaseSeed(stores.database)
    account = await seed.account("ada@example.test")
    mailboxes, maildrops = PostgresMailboxes(stores.database), PostgresMaildrops(stores.database)
    await mailboxes.deliver([make_segment([make_message([account])])])
    before = await maildrops.open(account, uuid4())
    view = PostgresMailboxView(stores.database)
    since = (await view.reopen(account, INBOX)).modseq
    await stores.sql("UPDATE maildrop_leases SET expires_at = '-infinity'")
    assert await take_over(_settings(stores, nats, tmp_path), await stores.identity()) == 0
    await stores.guard().certain()
    await mailboxes.deliver([make_segment([make_message([account])])])
    after = await maildrops.open(account, uuid4(), known=before)
    # what the lost database gave meanwhile is known to clients by the next numbers
    assert (after.uidvalidity, list(after.uids)) == (before.uidvalidity, [1, 2 + SKIPPED])
    assert await view.changes(account, INBOX, since) is None
    assert await view.changes(account, INBOX, since + 5) is None
    counted = "SELECT bool_and(counted_modseq = modseq) AND max(messages) = 2 FROM mailboxes"
    assert await seed.value(counted), "the counters are still known to be right"


async def test_brakes_are_let_go_for_a_while(
    stores: InstallationStores, nats: Nats, tmp_path: Path
) -> None:
    guard = stores.guard()
    await guard.certain()
    assert not guard.brakes_released()
    assert await release(_settings(stores, nats, tmp_path), 2) == 0
    await guard.certain()
    assert guard.brakes_released()
    await stores.sql("UPDATE installation SET brakes_released_until = now() - interval '1 second'")
    await guard.certain()
    assert not guard.brakes_released()


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "x", "169"])
def test_hours_that_make_no_sense_let_no_brake_go(hours: str) -> None:
    with pytest.raises(SystemExit, match="give hours"):
        release_brakes(cast(ApiSettings, None), hours)


def test_adopting_wants_an_id() -> None:
    with pytest.raises(SystemExit, match="named by its id"):
        adopt(cast(ApiSettings, None), "yes")


def _settings(stores: InstallationStores, nats: Nats, tmp_path: Path) -> ApiSettings:
    values = {
        "database_url": stores.url,
        "nats_url": nats.url,
        "blobs": f"file://{tmp_path}/blobs",
        "secret_key": SECRET_KEY,
    }
    return ApiSettings.model_validate(values)


async def test_the_mark_in_the_bucket_is_what_the_documents_say(stores: InstallationStores) -> None:
    await stores.guard().certain()
    octets = await stores.blobs.read("posthorn.id", 0, MARK_BYTES)
    assert (
        json.loads(octets)["installation"]
        == str(decode_mark(octets).id)
        == str(await stores.identity())
    )
    assert INSTALLATION_KEY == "installation"
