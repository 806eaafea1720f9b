"""Hashes of other programs are replaced once, by services that may write no password, and sessions
go on."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from posthorn.adapters.postgres.access.password_rehashes import PostgresPasswordRehashes
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.ports.access import Ending, Proof, digest_of, is_same_password
from posthorn.ports.errors import Unavailable
from posthorn.runtime.passwords import Passwords
from posthorn.runtime.rehashing import PasswordRehasher
from tests.support.databases import as_part, logged_in, pool
from tests.support.seed import DatabaseSeed

ALICE, BOB = "alice@example.test", "bob@example.test"
OLD = "{SSHA}zkw8BXTwcSwL+6Rym/M5XRXJJef+DfTz"
NEW = "$argon2id$v=19$m=8192,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
OTHER = NEW.replace("aGFza", "bGFza")
PASSWORD = "correct horse"


@pytest.fixture
async def seed(database: Database) -> DatabaseSeed:
    made = DatabaseSeed(database)
    await made.domain("example.test")
    return made


async def account(seed: DatabaseSeed, address: str, stored: str) -> int:
    number = await seed.account(address)
    await seed.rows("UPDATE accounts SET password_hash = $2 WHERE id = $1", number, stored)
    return number


async def stored(seed: DatabaseSeed, number: int) -> str:
    (row,) = await seed.rows("SELECT password_hash FROM accounts WHERE id = $1", number)
    return str(row[0])


@pytest.mark.parametrize("part", ["submission", "pop3", "imap", "api"])
async def test_only_a_hash_of_another_program_is_replaced_and_only_by_argon2id(
    database_url: str, seed: DatabaseSeed, part: str
) -> None:
    alice, bob = await account(seed, ALICE, OLD), await account(seed, BOB, OTHER)
    async with pool(as_part(database_url, part)) as own:
        rehashes = PostgresPasswordRehashes(own)
        assert not await rehashes.replace(bob, digest_of(OTHER), NEW), "argon2id stays"
        assert not await rehashes.replace(alice, digest_of(NEW), NEW), "changed meanwhile"
        assert not await rehashes.replace(alice, digest_of(OLD), "{SSHA}mine")
        assert not await rehashes.replace(alice, digest_of(OLD), NEW + "x" * 256)
        assert not await rehashes.replace(0, digest_of(OLD), NEW)
        assert (await stored(seed, alice), await stored(seed, bob)) == (OLD, OTHER)
        assert await rehashes.replace(alice, digest_of(OLD), NEW)
        assert not await rehashes.replace(alice, digest_of(OLD), OTHER), "once"
        assert await stored(seed, alice) == NEW


@pytest.mark.parametrize("part", ["delivery", "relay"])
async def test_parts_that_check_no_password_replace_none(database_url: str, part: str) -> None:
    connection = await asyncpg.connect(logged_in(database_url, part))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT rehash_password(1, ''::bytea, '')")
    finally:
        await connection.close()


async def test_sessions_with_the_replaced_hash_go_on_until_the_password_is_changed(
    database: Database, seed: DatabaseSeed
) -> None:
    alice = await account(seed, ALICE, OLD)
    senders = PostgresSenders(database)
    before, after = Proof(alice, digest_of(OLD)), Proof(alice, digest_of(NEW))
    assert await senders.ended({before, after}) == {after: Ending.CHANGED}
    assert await PostgresPasswordRehashes(database).replace(alice, digest_of(OLD), NEW)
    assert await senders.ended({before, after, Proof(alice, digest_of("{SSHA}x"))}) == {
        Proof(alice, digest_of("{SSHA}x")): Ending.CHANGED
    }
    known = await senders.credentials(ALICE)
    assert known is not None
    assert is_same_password(before.password, known.password_hash, known.rehashed)
    await seed.rows("UPDATE accounts SET password_hash = $1", OTHER)
    assert set(await senders.ended({before, after})) == {before, after}
    known = await senders.credentials(ALICE)
    assert known is not None
    assert not is_same_password(before.password, known.password_hash, known.rehashed)


async def test_a_login_is_noted_and_the_hash_replaced_once_whoever_notes_it(
    database: Database, seed: DatabaseSeed
) -> None:
    alice, bob = await account(seed, ALICE, OLD), await account(seed, BOB, OTHER)
    passwords = Passwords()
    store = PostgresPasswordRehashes(database)
    processes = [PasswordRehasher(passwords, store) for _ in range(2)]
    for process in processes:
        assert process.note(alice, OLD, PASSWORD)
        assert not process.note(bob, OTHER, PASSWORD)
    await asyncio.gather(*(process.finish() for process in processes))
    made = await stored(seed, alice)
    assert made.startswith("$argon2id$")
    assert await passwords.verify(made, PASSWORD)
    assert not await passwords.verify(made, "wrong")
    assert await stored(seed, bob) == OTHER
    passwords.close()


class Away:
    """A store that is away for a while."""

    def __init__(self) -> None:
        self.asked = 0

    async def replace(self, account: int, old: bytes, new: str) -> bool:
        self.asked += 1
        raise Unavailable("postgres", "away")


async def test_a_fault_of_the_store_is_nobodys_and_the_next_login_tries_again() -> None:
    passwords, store = Passwords(), Away()
    rehasher = PasswordRehasher(passwords, store)
    for number in (1, 2):
        assert rehasher.note(7, OLD, PASSWORD)
        await rehasher.finish()
        assert store.asked == number
    passwords.close()
