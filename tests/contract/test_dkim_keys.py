"""The port DkimKeys on Postgres: which key signs when, and whose keys are whose."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from posthorn.adapters.dkim import DkimSigner, generate
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.administration import PostgresAdministration
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.ports.domains import NewDomain
from posthorn.ports.errors import Conflict, NotFound, Unavailable
from posthorn.ports.signing import DkimKey
from posthorn.runtime.ids import new_id
from posthorn.runtime.secret_box import SecretBox
from tests.support.databases import pool
from tests.support.seed import DatabaseSeed

DOMAIN = "example.test"
WEEK = 604_800.0


@pytest.fixture
async def seed(database: Database) -> DatabaseSeed:
    made = DatabaseSeed(database)
    await made.domain(DOMAIN)
    return made


@pytest.fixture
def keys(database: Database, seed: DatabaseSeed) -> PostgresDkimKeys:
    return PostgresDkimKeys(database)


def key(
    selector: str, algorithm: str = "ed25519", *, begins: float = -1.0, domain: str = DOMAIN
) -> DkimKey:
    """A key that begins in so many seconds."""
    now = datetime.now(UTC)
    begin = now + timedelta(seconds=begins)
    return DkimKey(
        new_id(), domain, selector, algorithm, b"public", b"encrypted", begin, None, None, now
    )


async def signing(keys: PostgresDkimKeys, domain: str = DOMAIN) -> list[str]:
    return [each.selector for each in (await keys.signing([domain])).get(domain, ())]


async def test_what_is_entered_comes_back(keys: PostgresDkimKeys) -> None:
    entered = key("one")
    (made,) = await keys.rotate(None, DOMAIN, [entered], WEEK)
    assert (made.id, made.selector, made.public_key, made.private_key) == (
        entered.id,
        "one",
        b"public",
        b"encrypted",
    )
    assert (made.domain, made.signs_from, made.signs_until, made.published_until) == (
        DOMAIN,
        entered.signs_from,
        None,
        None,
    )
    assert list(await keys.for_domain(None, DOMAIN)) == [made]
    assert dict(await keys.signing([DOMAIN, "unknown.test"])) == {DOMAIN: [made]}
    assert dict(await keys.signing([])) == {}


async def test_a_new_key_waits_and_the_old_one_signs_meanwhile(
    keys: PostgresDkimKeys, seed: DatabaseSeed
) -> None:
    await keys.rotate(None, DOMAIN, [key("old")], WEEK)
    await keys.rotate(None, DOMAIN, [key("new", begins=3600)], WEEK)
    assert await signing(keys) == ["old"]
    new, old = await keys.for_domain(None, DOMAIN)
    assert (old.signs_until, new.signs_until) == (new.signs_from, None)
    assert old.published_until == new.signs_from + timedelta(seconds=WEEK)
    await seed.rows(
        "UPDATE dkim_keys SET signs_from = signs_from - interval '2 hours', signs_until = signs_until - interval '2 hours'"
    )
    assert await signing(keys) == ["new"]


async def test_algorithms_are_rotated_each_by_itself(keys: PostgresDkimKeys) -> None:
    await keys.rotate(None, DOMAIN, [key("r1", "rsa"), key("e1")], WEEK)
    assert sorted(await signing(keys)) == ["e1", "r1"]
    await keys.rotate(None, DOMAIN, [key("r2", "rsa")], WEEK)
    assert sorted(await signing(keys)) == ["e1", "r2"]


async def test_a_key_that_has_not_begun_gives_way_to_a_newer_one(keys: PostgresDkimKeys) -> None:
    await keys.rotate(None, DOMAIN, [key("one")], WEEK)
    await keys.rotate(None, DOMAIN, [key("two", begins=3600)], WEEK)
    await keys.rotate(None, DOMAIN, [key("three", begins=0)], 0.0)
    ends = {each.selector: each.signs_until for each in await keys.for_domain(None, DOMAIN)}
    three = next(each for each in await keys.for_domain(None, DOMAIN) if each.selector == "three")
    assert ends == {"one": three.signs_from, "two": three.signs_from, "three": None}
    assert await signing(keys) == ["three"]


async def test_a_domain_has_so_many_keys(
    keys: PostgresDkimKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorn.adapters.postgres.directory.dkim_keys.MOST_DKIM_KEYS", 3)
    for name in ("one", "two", "three"):
        await keys.rotate(None, DOMAIN, [key(name)], 0.0)
    await keys.rotate(
        None, DOMAIN, [key("four")], WEEK
    )  # in the place of the oldest, which is over
    assert [each.selector for each in await keys.for_domain(None, DOMAIN)] == [
        *("four", "three", "two")
    ]
    await keys.rotate(None, DOMAIN, [key("five")], WEEK)
    with pytest.raises(Conflict, match="already has 3 DKIM keys that must stay published"):
        await keys.rotate(None, DOMAIN, [key("six")], WEEK)
    assert [each.selector for each in await keys.for_domain(None, DOMAIN)] == [
        *("five", "four", "three")
    ]
    assert await signing(keys) == ["five"]


async def test_a_later_rotation_leaves_the_end_of_older_keys(keys: PostgresDkimKeys) -> None:
    await keys.rotate(None, DOMAIN, [key("one")], WEEK)
    (two,) = await keys.rotate(None, DOMAIN, [key("two", begins=3600)], WEEK)
    (three,) = await keys.rotate(None, DOMAIN, [key("three", begins=7200)], WEEK)
    ends = {each.selector: each.signs_until for each in await keys.for_domain(None, DOMAIN)}
    assert ends == {"one": two.signs_from, "two": three.signs_from, "three": None}


async def test_a_taken_selector_changes_nothing(keys: PostgresDkimKeys) -> None:
    await keys.rotate(None, DOMAIN, [key("one")], WEEK)
    with pytest.raises(Conflict):
        await keys.rotate(None, DOMAIN, [key("two", "rsa"), key("one")], WEEK)
    assert await signing(keys) == ["one"]
    assert (await keys.for_domain(None, DOMAIN))[0].signs_until is None


async def test_two_rotations_at_once_leave_one_key_signing(keys: PostgresDkimKeys) -> None:
    for turn in range(5):
        await asyncio.gather(
            *(
                keys.rotate(None, DOMAIN, [key(f"s{turn}-{number}", begins=0)], WEEK)
                for number in range(4)
            )
        )
        assert len(await signing(keys)) == 1
        assert sum(each.signs_until is None for each in await keys.for_domain(None, DOMAIN)) == 1


async def test_keys_belong_to_their_domain_and_tenant(
    keys: PostgresDkimKeys, seed: DatabaseSeed
) -> None:
    await seed.domain("other.test")
    await keys.rotate(DEFAULT_TENANT, DOMAIN, [key("one")], WEEK)
    await keys.rotate(None, "other.test", [key("one", domain="other.test")], WEEK)
    assert [each.domain for each in await keys.for_domain(None, "other.test")] == ["other.test"]
    stranger = new_id()
    for call in (
        keys.for_domain(stranger, DOMAIN),
        keys.for_domain(None, "absent.test"),
        keys.rotate(stranger, DOMAIN, [key("two")], WEEK),
        keys.rotate(None, "absent.test", [key("two")], WEEK),
    ):
        with pytest.raises(NotFound):
            await call
    await seed.rows("DELETE FROM domains WHERE name = 'other.test'")
    assert await signing(keys, "other.test") == []
    assert await signing(keys) == ["one"]


async def test_a_signer_signs_with_what_is_kept(keys: PostgresDkimKeys) -> None:
    secret_box = SecretBox([b"v" * 32])
    made = key("one")
    private, public = generate("ed25519")
    encrypted = secret_box.encrypt(private, f"dkim:{made.id}")
    kept = DkimKey(
        made.id,
        DOMAIN,
        "one",
        "ed25519",
        public,
        encrypted,
        made.signs_from,
        None,
        None,
        made.created_at,
    )
    await keys.rotate(None, DOMAIN, [kept], WEEK)
    signer = DkimSigner(keys, secret_box)
    assert "s=one;" in await signer.sign(DOMAIN, b"From: a@example.test\r\n\r\nx\r\n")
    signer.close()


async def test_an_outage_is_unavailable(database_url: str) -> None:
    async with pool(database_url.rpartition("/")[0] + "/absent") as gone:
        keys = PostgresDkimKeys(gone)
        for call in (
            keys.signing([DOMAIN]),
            keys.for_domain(None, DOMAIN),
            keys.rotate(None, DOMAIN, [key("x")], 0.0),
        ):
            with pytest.raises(Unavailable):
                await call


async def test_a_domain_is_created_with_its_keys_or_not_at_all(
    keys: PostgresDkimKeys, database: Database
) -> None:
    administration = PostgresAdministration(database)
    both = (key("r", "rsa", domain="new.test"), key("e", domain="new.test"))
    await administration.create_domain(None, NewDomain("new.test", dkim_keys=both))
    assert {each.selector for each in await keys.for_domain(None, "new.test")} == {"r", "e"}
    assert sorted(await signing(keys, "new.test")) == ["e", "r"]
    with pytest.raises(Conflict):
        await administration.create_domain(
            None, NewDomain("other.test", dkim_keys=(key("same"), key("same")))
        )
    with pytest.raises(NotFound):
        await administration.domain(None, "other.test")


async def test_a_claimed_domain_has_the_new_owners_keys_alone(
    keys: PostgresDkimKeys, seed: DatabaseSeed
) -> None:
    squatter, owner = new_id(), new_id()
    for tenant in (squatter, owner):
        await seed.rows("INSERT INTO tenants (id, name) VALUES ($1, $2)", tenant, str(tenant))
    administration = PostgresAdministration(seed.database)
    await seed.rows("UPDATE tenants SET verify_domains = true")
    await administration.create_domain(squatter, NewDomain("good.test", dkim_keys=(key("old"),)))
    await administration.claim_domain(owner, "good.test", [key("new")])
    assert [each.selector for each in await keys.for_domain(None, "good.test")] == ["new"]
