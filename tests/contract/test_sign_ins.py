"""The port SignIns, and the recorder before it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.postgres.access.sign_ins import PostgresSignIns
from posthorn.adapters.postgres.database import Database
from posthorn.ports.errors import NotFound, Unavailable
from posthorn.ports.sign_ins import MAX_REFUSED, Attempts, SignIn
from posthorn.runtime.ids import new_id
from posthorn.runtime.sign_ins import SignInRecorder
from tests.support.databases import pool, until_waiting
from tests.support.seed import DatabaseSeed

ALICE = "alice@example.test"


@pytest.fixture
def sign_ins(database: Database) -> PostgresSignIns:
    return PostgresSignIns(database)


async def test_sign_ins_are_added_up_by_kind_and_day(
    sign_ins: PostgresSignIns, seed: DatabaseSeed
) -> None:
    await seed.domain("example.test")
    alice = await seed.account(ALICE)
    digest = hashlib.sha256(b"phap_one").digest()
    number = new_id()
    await seed.rows(
        "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes) VALUES ($1, $2, 'phone', $3, '{imap}')",
        *(number, alice, digest),
    )
    now = 0.0
    recorder = SignInRecorder(sign_ins, pause_seconds=3600, clock=lambda: now)
    (row,) = await seed.rows("SELECT extract(epoch FROM now())::float8 AS now")
    now = row[0] - 86_400
    for client in ("192.0.2.1", "::ffff:192.0.2.1"):
        recorder.note(alice, "imap", client, "accepted", digest)
    await recorder.write()
    now += 5
    recorder.note(alice, "imap", "192.0.2.1", "accepted", digest)
    recorder.note(alice, "imap", "192.0.2.1", "accepted")
    recorder.note(alice, "imap", "192.0.2.1", "accepted", b"deleted since")
    recorder.note(alice, "pop3", "2001:db8::1", "wrong")
    recorder.note(alice + 99, "imap", "192.0.2.1", "accepted")
    await recorder.close()
    now += 86_390
    recorder.note(alice, "imap", "192.0.2.1", "accepted", digest)
    await recorder.close()
    found = [
        (
            day.protocol,
            day.address,
            day.app_password,
            day.app_password_name,
            day.result,
            day.attempts,
        )
        for day in await sign_ins.items(None, ALICE)
    ]
    assert found[0] == ("imap", "192.0.2.1", number, "phone", "accepted", 1)
    assert sorted(found[1:], key=str) == sorted(
        [
            ("imap", "192.0.2.1", number, "phone", "accepted", 3),
            ("imap", "192.0.2.1", None, None, "accepted", 2),
            ("pop3", "2001:db8::1", None, None, "wrong", 1),
        ],
        key=str,
    )
    with pytest.raises(NotFound):
        await sign_ins.items(new_id(), ALICE)
    await seed.rows("UPDATE sign_ins SET last_at = now() - interval '31 days'")
    assert await sign_ins.items(None, ALICE) == []
    recorder.note(alice, "smtp", "192.0.2.1", "accepted")
    await recorder.close()
    assert len(await seed.rows("SELECT FROM sign_ins")) == 1


async def test_strangers_cannot_make_it_grow(sign_ins: PostgresSignIns, seed: DatabaseSeed) -> None:
    await seed.domain("example.test")
    alice = await seed.account(ALICE)
    (row,) = await seed.rows("SELECT extract(epoch FROM now())::float8 AS now")
    seen = [
        (
            SignIn(alice, "smtp", f"2001:db8::{n:x}", b"", "wrong"),
            Attempts(1, row[0] + n, row[0] + n),
        )
        for n in range(MAX_REFUSED + 50)
    ]
    mine = (SignIn(alice, "imap", "192.0.2.1", b"", "accepted"), Attempts(1, row[0], row[0]))
    await sign_ins.record([mine, *seen])
    found = await sign_ins.items(None, ALICE)
    assert len(found) == MAX_REFUSED + 1
    assert found[0].address == f"2001:db8::{MAX_REFUSED + 49:x}"
    assert found[-1].result == "accepted"


@pytest.mark.parametrize("prepared", [True, False])
async def test_an_account_that_is_deleted_meanwhile_costs_the_others_nothing(
    database_url: str, seed: DatabaseSeed, database: Database, prepared: bool
) -> None:
    await seed.domain("example.test")
    alice, bob = await seed.account(ALICE), await seed.account("bob@example.test")
    (row,) = await seed.rows("SELECT extract(epoch FROM now())::float8 AS now")
    seen = [
        (SignIn(account, "imap", "192.0.2.1", b"", "accepted"), Attempts(1, row[0], row[0]))
        for account in (alice, bob)
    ]
    async with (
        pool(database_url, database_prepared=prepared) as one,
        database.session() as watcher,
    ):
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM accounts WHERE id = $1", bob)
            recording = asyncio.create_task(PostgresSignIns(one).record(seen))
            await until_waiting(watcher)
        await recording
    assert len(await PostgresSignIns(database).items(None, ALICE)) == 1


class Away:
    """A store that fails until it is told otherwise."""

    def __init__(self) -> None:
        self.is_away = True
        self.seen: list[tuple[SignIn, Attempts]] = []

    async def record(self, seen: Sequence[tuple[SignIn, Attempts]]) -> None:
        if self.is_away:
            raise Unavailable("postgres", "away")
        self.seen += seen

    async def items(self, tenant: object, address: str) -> list[object]:
        raise AssertionError


async def test_nothing_is_lost_while_the_store_is_away_and_no_sign_in_waits() -> None:
    store = Away()
    recorder = SignInRecorder(store, pause_seconds=0, kept=3, clock=lambda: 1000.0)  # type: ignore[arg-type]
    for name in ("a", "b", "a", "c", "d"):
        recorder.note(1, "imap", name, "accepted")
    await recorder.write()
    recorder.note(1, "imap", "a", "accepted")
    store.is_away = False
    while recorder._task is not None:
        await asyncio.sleep(0)
    counts = {each.address: attempts.count for each, attempts in store.seen}
    assert counts == {"a": 3, "c": 1, "d": 1}, "the kind that was seen longest ago is dropped"


async def test_the_end_waits_for_a_store_that_is_away_and_loses_no_write_under_way() -> None:
    store = Away()
    recorder = SignInRecorder(store, pause_seconds=0)  # type: ignore[arg-type]
    recorder.note(1, "imap", "a", "accepted")
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(recorder.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    store.is_away = False
    await closing
    assert [attempts.count for _, attempts in store.seen] == [1]


async def test_sign_ins_are_counted_by_protocol_and_result(sign_ins: PostgresSignIns) -> None:
    def counted(result: str) -> float:
        labels = {"protocol": "pop3", "result": result}
        return REGISTRY.get_sample_value("posthorn_sign_ins_total", labels) or 0.0

    before = counted("accepted"), counted("wrong")
    recorder = SignInRecorder(sign_ins, pause_seconds=3600)
    for result in ("accepted", "wrong", "wrong"):
        recorder.note(1, "pop3", "192.0.2.1", result)
    await recorder.close()
    assert (counted("accepted"), counted("wrong")) == (before[0] + 1, before[1] + 2)
