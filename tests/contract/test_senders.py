"""The port Senders on Postgres: what a login needs to know, and in whose name an account may
send."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.ports.access import Ending, LoginCheck, Proof
from posthorn.ports.accounts import AccountState
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Limits
from posthorn.runtime.ids import new_id
from posthorn.wire.address import parse_address
from tests.support.databases import as_part, pool
from tests.support.seed import DatabaseSeed


@pytest.fixture(params=["submission", "pop3"])
async def senders(
    database_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[PostgresSenders]:
    async with pool(as_part(database_url, request.param)) as own:
        yield PostgresSenders(own)


@pytest.fixture
async def seed(database: Database) -> DatabaseSeed:
    made = DatabaseSeed(database)
    await made.domain("example.test")
    return made


async def test_credentials_hold_what_a_login_needs(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    alice = await seed.account("alice@example.test", state="receive-only")
    await seed.rows("UPDATE accounts SET max_messages_per_hour = 10")
    await seed.rows("UPDATE domains SET max_recipients_per_hour = 500")
    await seed.rows(
        "UPDATE tenants SET max_messages_per_hour = 900, max_recipients_per_hour = 5000"
    )
    known = await senders.credentials("alice@example.test")
    assert known is not None
    assert (known.account, known.address, known.domain) == (
        alice,
        "alice@example.test",
        "example.test",
    )
    assert (known.tenant, known.password_hash, known.state) == (
        DEFAULT_TENANT,
        "hash",
        AccountState.RECEIVE_ONLY,
    )
    assert known.networks == ()
    assert known.account_limits == Limits(10, None)
    assert known.domain_limits == Limits(None, 500)
    assert known.tenant_limits == Limits(900, 5000)


async def test_who_is_not_there_has_no_credentials(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    await seed.account("alice@example.test")
    await seed.alias("team@example.test", "alice@example.test")
    for name in (
        "nobody@example.test",
        "team@example.test",
        "alice\0@example.test",
        "\udc80@example.test",
    ):
        assert await senders.credentials(name) is None


async def test_networks_are_the_accounts_or_else_the_domains(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    await seed.account("alice@example.test")

    async def networks() -> tuple[str, ...]:
        known = await senders.credentials("alice@example.test")
        assert known is not None
        return known.networks

    await seed.rows("UPDATE domains SET allowed_networks = '{192.0.2.0/24,2001:db8::/32}'")
    assert await networks() == ("192.0.2.0/24", "2001:db8::/32")
    await seed.rows("UPDATE accounts SET allowed_networks = '{198.51.100.7/32}'")
    assert await networks() == ("198.51.100.7/32",)
    await seed.rows("UPDATE accounts SET allowed_networks = '{}'")
    assert await networks() == ("192.0.2.0/24", "2001:db8::/32")


async def _app_password(seed: DatabaseSeed, account: int, password: str, *scopes: str) -> bytes:
    digest = hashlib.sha256(password.encode()).digest()
    await seed.rows(
        "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes) VALUES ($1, $2, 'phone', $3, $4)",
        *(new_id(), account, digest, list(scopes)),
    )
    return digest


async def test_an_app_password_is_good_for_its_account_and_scopes(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    alice, bob = await seed.account("alice@example.test"), await seed.account("bob@example.test")
    digest = await _app_password(seed, alice, "phap_one", "smtp")
    assert await senders.app_password(alice, digest, "smtp")
    assert not await senders.app_password(alice, digest, "pop3")
    assert not await senders.app_password(bob, digest, "smtp")
    assert not await senders.app_password(alice, hashlib.sha256(b"phap_other").digest(), "smtp")


async def test_an_app_password_may_expire_and_hold_for_networks(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    alice = await seed.account("alice@example.test")
    digest = await _app_password(seed, alice, "phap_one", "smtp")
    proof = Proof(alice, app_password=digest, scope="smtp")

    maildrops = PostgresMaildrops(seed.database)

    async def good(client: str = "192.0.2.1") -> bool:
        allowed = await senders.app_password(alice, digest, "smtp", client)
        # the statement of a login by POP3 or IMAP says the same
        check = LoginCheck((), digest, "smtp", client)
        known = await maildrops.login("alice@example.test", b"", check)
        assert known is not None
        assert known.findings is not None
        assert (known.findings.app_password_age is not None) == allowed
        return allowed

    await seed.rows("UPDATE app_passwords SET networks = '{192.0.2.0/24,2001:db8::/32}'")
    for client in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7%eth0"):
        assert await good(client), client
    for client in ("198.51.100.1", "2001:db9::7", "::1", "", "unknown"):
        assert not await good(client), client
    await seed.rows("UPDATE app_passwords SET last_used_at = NULL")
    assert await good("::ffff:192.0.2.7")
    (row,) = await seed.rows("SELECT last_used_address, last_used_protocol FROM app_passwords")
    assert tuple(row) == ("192.0.2.7", "smtp")
    await seed.rows("UPDATE app_passwords SET expires_at = now() + interval '1 hour'")
    assert await good()
    assert await senders.ended([proof]) == {}
    await seed.rows("UPDATE app_passwords SET expires_at = now()")
    assert not await good()
    assert await senders.ended([proof]) == {proof: Ending.CHANGED}


async def test_use_is_noted_once_a_minute(senders: PostgresSenders, seed: DatabaseSeed) -> None:
    alice = await seed.account("alice@example.test")
    digest = await _app_password(seed, alice, "phap_one", "smtp", "pop3")
    used = "SELECT last_used_at, xmin::text FROM app_passwords"
    assert not await senders.app_password(alice, digest, "imap")
    assert (await seed.rows(used))[0][0] is None
    assert await senders.app_password(alice, digest, "pop3")
    first = await seed.rows(used)
    assert first[0][0] is not None
    assert all(
        await asyncio.gather(*(senders.app_password(alice, digest, "smtp") for _ in range(4)))
    )
    assert await seed.rows(used) == first
    await seed.rows("UPDATE app_passwords SET last_used_at = now() - interval '61 seconds'")
    assert await senders.app_password(alice, digest, "smtp")
    assert (await seed.rows(used))[0][0] > first[0][0]


async def test_an_account_owns_its_name_and_its_tags(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    await seed.domain("plain.test", plus=False)
    alice, plain = await seed.account("alice@example.test"), await seed.account("alice@plain.test")
    bob = await seed.account("alice+bob@example.test")

    async def owns(account: int, text: str) -> bool:
        return await senders.owns(account, parse_address(text))

    assert await owns(alice, "Alice@EXAMPLE.test")
    assert await owns(alice, "alice+shop@example.test")
    assert await owns(alice, '"alice+two words"@example.test')
    assert not await owns(alice, "alice@plain.test")
    assert not await owns(alice, "alice@elsewhere.test")
    assert not await owns(alice, "alice+x@elsewhere.test")
    assert not await owns(alice, "alicia@example.test")
    assert await owns(plain, "alice@plain.test")
    assert not await owns(plain, "alice+shop@plain.test")
    # a name of its own comes before the same name without its tag
    assert not await owns(alice, "alice+bob@example.test")
    assert await owns(bob, "alice+bob@example.test")
    assert not await owns(bob, "alice@example.test")


async def test_an_account_owns_the_aliases_that_lead_to_it(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    alice, bob = await seed.account("alice@example.test"), await seed.account("bob@example.test")
    await seed.alias("sales@example.test", "alice@example.test")
    await seed.alias("all@example.test", "sales@example.test", "bob@example.test")
    await seed.alias("alice+vip@example.test", "bob@example.test")

    async def owners(text: str) -> list[int]:
        return [
            account for account in (alice, bob) if await senders.owns(account, parse_address(text))
        ]

    assert await owners("sales@example.test") == [alice]
    assert await owners("sales+spring@example.test") == [alice]
    assert await owners("all@example.test") == [alice, bob]
    assert await owners("alice+vip@example.test") == [bob]


async def test_a_catch_all_makes_nobody_an_owner(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    await seed.domain("caught.test", catch_all="alice@example.test")
    alice = await seed.account("alice@example.test")
    assert not await senders.owns(alice, parse_address("anything@caught.test"))


async def test_an_alias_that_leads_into_another_tenants_domain_gives_it_nothing(
    senders: PostgresSenders, seed: DatabaseSeed
) -> None:
    # the alias led out of here when it was made; the domain came later
    await seed.alias("friend@example.test", "carol@later.test")
    await seed.domain("later.test")
    carol = await seed.account("carol@later.test")
    assert await senders.owns(carol, parse_address("friend@example.test"))
    other = new_id()
    await seed.rows("INSERT INTO tenants (id, name) VALUES ($1, 'other')", other)
    await seed.rows("UPDATE domains SET tenant_id = $1 WHERE name = 'later.test'", other)
    assert not await senders.owns(carol, parse_address("friend@example.test"))
    assert await senders.owns(carol, parse_address("carol@later.test"))


async def test_a_loop_of_aliases_ends(senders: PostgresSenders, seed: DatabaseSeed) -> None:
    alice = await seed.account("alice@example.test")
    await seed.alias("a@example.test", "b@example.test", "c@example.test")
    await seed.alias("b@example.test", "a@example.test", "c@example.test")
    await seed.alias("c@example.test", "a@example.test", "b@example.test")
    assert not await senders.owns(alice, parse_address("a@example.test"))


async def test_an_outage_is_unavailable(database_url: str) -> None:
    async with pool(database_url.rpartition("/")[0] + "/absent") as gone:
        senders = PostgresSenders(gone)
        for call in (
            senders.credentials("alice@example.test"),
            senders.app_password(1, b"x", "smtp"),
            senders.owns(1, parse_address("alice@example.test")),
        ):
            with pytest.raises(Unavailable):
                await call
