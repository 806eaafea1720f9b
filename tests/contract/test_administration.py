"""The port Administration on Postgres, where the REST API does not reach it: what happens at
once, and who wins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from posthorn.adapters.postgres.access.api_keys import PostgresApiKeys
from posthorn.adapters.postgres.access.idempotency import PostgresIdempotency
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.administration import PostgresAdministration
from posthorn.adapters.postgres.directory.alias_graph import MOST_STEPS, hold_addresses
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.ports.accounts import Account, AccountState, NewAccount
from posthorn.ports.aliases import Alias
from posthorn.ports.api_keys import Role
from posthorn.ports.changes import Change
from posthorn.ports.domains import NewDomain
from posthorn.ports.errors import Conflict, NotFound, Unavailable, ValidationFailed
from posthorn.ports.idempotency import IdempotencyClash, Receipt, Reservation, StoredAnswer
from posthorn.ports.listing import ListQuery
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import free_port
from tests.support.builders import make_message, make_segment
from tests.support.databases import pool, until_waiting
from tests.support.polling import BUSY_SECONDS
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture
async def administration(database: Database) -> PostgresAdministration:
    made = PostgresAdministration(database)
    await made.create_domain(None, NewDomain("example.test"))
    return made


def account(name: str) -> NewAccount:
    return NewAccount(f"{name}@example.test", "hash")


async def test_times_are_aware_and_changes_move_them(
    administration: PostgresAdministration,
) -> None:
    made = (await administration.create_account(None, account("alice"))).value
    assert abs((datetime.now(UTC) - made.created_at).total_seconds()) < 60
    changed = (
        await administration.change_account(None, made.address, {"state": AccountState.SUSPENDED})
    ).value
    assert changed.state is AccountState.SUSPENDED
    assert changed.updated_at > made.updated_at
    assert changed.created_at == made.created_at


async def test_an_address_becomes_one_thing_however_many_want_it(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    await administration.create_account(None, account("target"))
    for number in range(8):
        address = f"x{number}@example.test"
        tasks: list[asyncio.Task[Change[Account]] | asyncio.Task[Change[Alias]]] = [
            asyncio.create_task(administration.create_account(None, NewAccount(address, "hash"))),
            asyncio.create_task(
                administration.create_alias(None, address, ["target@example.test"])
            ),
            asyncio.create_task(administration.create_account(None, NewAccount(address, "hash"))),
        ]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(each, Change) for each in outcomes) == 1, outcomes
        assert sum(isinstance(each, Conflict) for each in outcomes) == 2, outcomes
        owners = await seed.value(
            "SELECT (SELECT count(*) FROM accounts WHERE address = $1) + (SELECT count(*) FROM aliases WHERE address = $1)",
            address,
        )
        assert owners == 1


async def test_no_two_changes_close_a_loop_together(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    await administration.create_account(None, account("alice"))
    for name in ("a", "b"):
        await administration.create_alias(None, f"{name}@example.test", ["alice@example.test"])
    outcomes = await asyncio.gather(
        administration.change_alias(None, "a@example.test", ["b@example.test"]),
        administration.change_alias(None, "b@example.test", ["a@example.test"]),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in outcomes) == ["Change", "ValidationFailed"]
    resolved = await PostgresMailboxes(seed.database).resolve(
        ["a@example.test", "b@example.test"], []
    )
    assert len(resolved.accounts) == 2


async def test_nothing_leads_to_an_account_that_goes_at_the_same_moment(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    for number in range(8):
        name = f"u{number}"
        address = f"{name}@example.test"
        await administration.create_account(None, account(name))
        outcomes = await asyncio.gather(
            administration.delete_account(None, address),
            administration.create_alias(None, f"to-{name}@example.test", [address]),
            administration.change_domain(None, "example.test", {"catch_all": address}),
            return_exceptions=True,
        )
        there = await seed.value("SELECT count(*) FROM accounts WHERE address = $1", address)
        led_to = await seed.value(
            "SELECT count(*) FROM aliases WHERE targets @> ARRAY[$1::text]", address
        )
        led_to += await seed.value("SELECT count(*) FROM domains WHERE catch_all = $1", address)
        assert there == 1 or led_to == 0, outcomes
        assert all(isinstance(each, Change | Conflict | ValidationFailed) for each in outcomes), (
            outcomes
        )
        await administration.change_domain(None, "example.test", {"catch_all": None})


async def test_a_domain_that_goes_takes_no_account_along(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    for number in range(6):
        name = f"d{number}.test"
        await administration.create_domain(None, NewDomain(name))
        outcomes = await asyncio.gather(
            administration.delete_domain(None, name),
            administration.create_account(None, NewAccount(f"a@{name}", "hash")),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in outcomes) in (
            ["Change", "Conflict"],
            ["Change", "ValidationFailed"],
        )


async def test_an_account_that_goes_while_mail_arrives_leaves_no_sum_wrong(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    await administration.create_account(None, account("stays"))
    stays = await seed.value("SELECT id FROM accounts WHERE address = 'stays@example.test'")
    mailboxes = PostgresMailboxes(seed.database)
    for number in range(4):
        await administration.create_account(None, account("goes"))
        goes = await seed.value("SELECT id FROM accounts WHERE address = 'goes@example.test'")
        await mailboxes.deliver([make_segment([make_message([goes, stays], size=10 + number)])])
        await asyncio.gather(
            administration.delete_account(None, "goes@example.test"),
            *(mailboxes.deliver([make_segment([make_message([goes, stays])])]) for _ in range(3)),
            return_exceptions=True,
        )
        assert await seed.rows("SELECT 1 FROM mailbox_entries WHERE account_id = $1", goes) == []
        await seed.sums_hold()


async def test_the_longest_chain_that_may_be_made_is_followed_by_delivery(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    await administration.create_account(None, account("end"))
    before = "end@example.test"
    for number in range(MOST_STEPS):
        address = f"step{number}@example.test"
        await administration.create_alias(None, address, [before])
        before = address
    await administration.change_domain(None, "example.test", {"catch_all": before})
    resolved = await PostgresMailboxes(seed.database).resolve(["nobody+tag@example.test"], [])
    assert len(resolved.accounts["nobody+tag@example.test"]) == 1


def numbered(name: str, count: int) -> list[str]:
    return [f"{name}{number}@elsewhere.test" for number in range(count)]


async def wide(administration: PostgresAdministration, name: str, parts: int) -> str:
    """An alias that leads to so many aliases of 99 addresses each: so many hundreds of
    addresses."""
    made = [f"{name}-{part}@example.test" for part in range(parts)]
    for part in made:
        await administration.create_alias(None, part, numbered(part.partition("@")[0], 99))
    await administration.create_alias(None, f"{name}@example.test", made)
    return f"{name}@example.test"


async def test_an_alias_leads_to_a_thousand_addresses_and_to_no_more(
    administration: PostgresAdministration,
) -> None:
    full = await wide(administration, "full", 10)
    targets = (await administration.alias(None, full)).targets
    with pytest.raises(ValidationFailed) as refused:
        await administration.change_alias(None, full, [*targets, "one.more@elsewhere.test"])
    assert [(fault.field, fault.message) for fault in refused.value.faults] == [
        ("targets", "the alias would lead to more than 1000 addresses")
    ]
    with pytest.raises(ValidationFailed):
        await administration.create_alias(None, "over@example.test", [full])
    await administration.change_alias(None, full, [*targets[1:], "one.more@elsewhere.test"])


async def test_a_change_below_pushes_no_alias_above_over_the_bound(
    administration: PostgresAdministration,
) -> None:
    full = await wide(administration, "full", 10)
    part = (await administration.alias(None, full)).targets[3]
    with pytest.raises(ValidationFailed) as refused:
        await administration.change_alias(None, part, numbered("other", 100))
    assert [fault.field for fault in refused.value.faults] == ["targets"]
    assert refused.value.faults[0].message.startswith(
        f"the alias {full}, which leads to {part}, would lead to more"
    )
    await administration.change_alias(None, part, numbered("other", 99))  # as many as before
    await administration.change_alias(None, part, ["full-4@example.test"])  # which it led to anyhow


async def test_a_dense_mesh_of_aliases_is_checked_soon(
    administration: PostgresAdministration,
) -> None:
    await administration.create_account(None, account("end"))
    below = ["end@example.test"]
    async with asyncio.timeout(30):
        for layer in range(MOST_STEPS):
            names = [f"l{layer}n{number}@example.test" for number in range(12)]
            for name in names:
                await administration.create_alias(None, name, below)
            below = [*names, *below][:100]
        with pytest.raises(ValidationFailed) as refused:
            await administration.create_alias(None, "top@example.test", below)
    assert {fault.field for fault in refused.value.faults} == {
        f"targets[{number}]" for number in range(12)
    }


async def other_tenant(seed: DatabaseSeed, *domains: str, verified: bool = True) -> UUID:
    tenant = new_id()
    await seed.rows("INSERT INTO tenants (id, name) VALUES ($1, $2)", tenant, f"tenant-{tenant}")
    for domain in domains:
        await seed.rows(
            "INSERT INTO domains (tenant_id, name, verified_at) VALUES ($1, $2, CASE WHEN $3::boolean THEN now() END)",
            *(tenant, domain, verified),
        )
    return tenant


async def test_nobody_is_kept_from_removing_by_anothers_aliases_and_catch_alls(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    await administration.create_account(None, account("alice"))
    await administration.create_alias(None, "info@example.test", ["alice@example.test"])
    await other_tenant(seed, "spy.test")
    # made before the domain was ours
    await seed.alias("secret@spy.test", "alice@example.test", "info@example.test")
    await seed.rows("UPDATE domains SET catch_all = 'alice@example.test' WHERE name = 'spy.test'")
    with pytest.raises(Conflict, match=r"info@example\.test"):
        await administration.delete_account(None, "alice@example.test")
    await administration.delete_alias(None, "info@example.test")
    await administration.delete_account(None, "alice@example.test")
    resolved = await PostgresMailboxes(seed.database).resolve(["secret@spy.test"], [])
    assert not resolved.accounts
    assert not resolved.forwards


async def test_anothers_aliases_count_for_nothing_in_the_bounds(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    await administration.create_account(None, account("alice"))
    await other_tenant(seed, "spy.test")
    before = "info@example.test"
    for number in range(MOST_STEPS + 1):
        await seed.alias(f"step{number}@spy.test", before, *numbered(f"s{number}-", 999))
        before = f"step{number}@spy.test"
    await administration.create_alias(None, "info@example.test", ["alice@example.test"])
    await administration.change_alias(
        None, "info@example.test", ["alice@example.test", "more@elsewhere.test"]
    )


async def test_a_tenant_does_not_wait_for_anothers_aliases(
    administration: PostgresAdministration, database: Database, seed: DatabaseSeed
) -> None:
    tenant = await other_tenant(seed, "other.test")
    await administration.create_account(None, account("alice"))
    async with database.transaction() as connection:
        await hold_addresses(connection, [tenant], alone=True)
        async with asyncio.timeout(BUSY_SECONDS):
            await administration.create_alias(None, "info@example.test", ["alice@example.test"])
        waiting = asyncio.create_task(
            administration.create_account(tenant, NewAccount("bob@other.test", "hash"))
        )
        await until_waiting(connection)
        assert not waiting.done()
    await waiting


async def test_a_claimed_domain_comes_empty_and_verified(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    squatter = await other_tenant(seed, "good.test", verified=False)
    await seed.rows(
        "INSERT INTO domains (tenant_id, name, catch_all) VALUES ($1, 'squat.test', 'x@good.test')",
        squatter,
    )
    owner = await other_tenant(seed)
    await seed.account("x@good.test")
    await seed.alias("y@good.test", "x@good.test")
    with pytest.raises(Conflict, match="posthorn-verification="):
        await administration.create_domain(owner, NewDomain("good.test"))
    await administration.claimable(owner, "good.test")
    await seed.drain_outbox()
    claimed = (await administration.claim_domain(owner, "good.test")).value
    assert (claimed.tenant_id, claimed.verified_at is not None) == (owner, True)
    assert (
        await seed.value("SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM aliases)")
        == 0
    )
    assert await seed.value("SELECT catch_all FROM domains WHERE name = 'squat.test'") is None
    assert await seed.drain_outbox() == ["@squat.test", "@good.test"]
    for tenant in (owner, squatter):
        with pytest.raises(NotFound):
            await administration.claim_domain(tenant, "good.test")
        with pytest.raises(NotFound):
            await administration.claimable(tenant, "good.test")
    with pytest.raises(Conflict, match="already"):
        await administration.create_domain(squatter, NewDomain("good.test"))


async def test_a_domain_with_mail_in_it_is_not_claimed(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    await other_tenant(seed, "good.test", verified=False)
    owner = await other_tenant(seed)
    kept = await seed.account("x@good.test")
    await PostgresMailboxes(seed.database).deliver([make_segment([make_message([kept])])])
    with pytest.raises(Conflict, match="mail"):
        await administration.claim_domain(owner, "good.test")
    assert len(await seed.inbox(kept)) == 1


async def test_marks_name_the_outbox_entries_of_the_change(
    administration: PostgresAdministration, seed: DatabaseSeed
) -> None:
    change = await administration.create_account(None, account("alice"))
    rows = await seed.rows(
        "SELECT subject FROM directory_outbox WHERE id = ANY($1)", list(change.outbox_ids)
    )
    assert rows == [("alice@example.test",)]
    assert (
        await administration.change_account(None, "alice@example.test", {"password_hash": "new"})
    ).outbox_ids == ()
    with pytest.raises(NotFound):
        await administration.delete_account(None, "nobody@example.test")


async def test_the_bootstrap_key_is_replaced_and_keeps_its_id(database: Database) -> None:
    keys = PostgresApiKeys(database)
    await asyncio.gather(*(keys.ensure_bootstrap(b"a" * 32) for _ in range(4)))
    first = await keys.by_hash(b"a" * 32)
    assert first is not None
    assert (first.name, first.role, first.tenant) == ("bootstrap", Role.PLATFORM_ADMIN, None)
    await keys.ensure_bootstrap(b"b" * 32)
    assert await keys.by_hash(b"a" * 32) is None
    again = await keys.by_hash(b"b" * 32)
    assert again is not None
    assert again.id == first.id
    other = replace(first, id=new_id())
    await keys.create(None, other, None, b"c" * 32)
    await keys.ensure_bootstrap(b"d" * 32)
    replaced, kept = await keys.by_hash(b"d" * 32), await keys.by_hash(b"c" * 32)
    assert replaced is not None and kept is not None
    assert (replaced.id, kept.id) == (first.id, other.id), (
        "one that an administrator calls bootstrap is left alone"
    )


def reservation(api_key: UUID | None = None) -> Reservation:
    return Reservation(api_key or UUID(int=1), "key", b"hash", new_id())


async def test_an_attempt_that_was_taken_over_undoes_itself(
    administration: PostgresAdministration, database: Database, seed: DatabaseSeed
) -> None:
    idempotency = PostgresIdempotency(database)
    slow, taker = reservation(), reservation()
    assert await idempotency.reserve(slow) is None
    await seed.rows("UPDATE idempotency_keys SET created_at = now() - interval '2 minutes'")
    assert await idempotency.reserve(taker) is None
    with pytest.raises(Unavailable):
        await administration.create_account(
            None, account("alice"), Receipt(slow, lambda _: StoredAnswer(201, {}, b"slow"))
        )
    assert await seed.rows("SELECT 1 FROM accounts") == []
    await idempotency.release(slow)  # which is not its own any more
    made = Receipt[Account](
        taker, lambda made: StoredAnswer(201, {"location": made.address}, b"made")
    )
    await administration.create_account(None, account("alice"), made)
    await idempotency.complete(taker, StoredAnswer(500, {}, b"later"))
    kept = await idempotency.reserve(reservation())
    assert kept == StoredAnswer(201, {"location": "alice@example.test"}, b"made")


async def test_answers_expire_after_a_day(database: Database, seed: DatabaseSeed) -> None:
    idempotency = PostgresIdempotency(database)
    old, new = reservation(), reservation(UUID(int=2))
    for each in (old, new):
        await idempotency.reserve(each)
        await idempotency.complete(each, StoredAnswer(201, {}, b""))
    await seed.rows(
        "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE api_key_id = $1",
        old.api_key,
    )
    assert await idempotency.expire() == 1
    assert await idempotency.reserve(new) == StoredAnswer(201, {}, b"")
    assert await idempotency.reserve(old) is None
    with pytest.raises(IdempotencyClash) as clash:
        await idempotency.reserve(reservation())
    assert clash.value.running


async def test_an_attempt_that_was_killed_is_taken_over_under_its_first_id_and_forgotten_after_a_day(
    database: Database, seed: DatabaseSeed
) -> None:
    idempotency = PostgresIdempotency(database)
    killed, repeat = reservation(), reservation()
    assert await idempotency.reserve(killed) is None  # and nothing more is heard of it
    await seed.rows("UPDATE idempotency_keys SET created_at = now() - interval '23 hours'")
    # what it had sent may have been kept: a repeat must be the same message
    assert await idempotency.expire() == 0
    assert await idempotency.reserve(repeat) is None
    assert await idempotency.first_attempt(repeat) == killed.holder
    await seed.rows("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert await idempotency.expire() == 1
    assert await seed.rows("SELECT 1 FROM idempotency_keys") == []


async def test_without_postgres_everything_is_unavailable() -> None:
    async with pool(f"postgresql://u:p@127.0.0.1:{free_port()}/x") as database:
        administration = PostgresAdministration(database)
        for work in (
            administration.probe(),
            administration.domains(None, ListQuery(5)),
            administration.create_account(None, account("alice")),
            administration.delete_alias(None, "a@example.test"),
            PostgresApiKeys(database).by_hash(b"x"),
            PostgresIdempotency(database).reserve(reservation()),
        ):
            with pytest.raises(Unavailable):
                await work
