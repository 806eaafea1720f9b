"""The port FilterPolicies on Postgres: versions, sealed tenants, and what is published."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.filter_policies import PostgresFilterPolicies, changes
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.filter_policy import FilterPolicy, Origin
from posthorn.ports.errors import Conflict, NotFound, PreconditionFailed
from posthorn.ports.filter_policies import SYSTEM, Level, PolicyOwner
from posthorn.runtime.ids import new_id
from tests.support.seed import DatabaseSeed

TENANT = PolicyOwner(Level.TENANT, "default")
DOMAIN = PolicyOwner(Level.DOMAIN, "example.test")
ACCOUNT = PolicyOwner(Level.ACCOUNT, "alice@example.test")
OWNERS = (SYSTEM, TENANT, DOMAIN, ACCOUNT)


@pytest.fixture
async def policies(database: Database, seed: DatabaseSeed) -> PostgresFilterPolicies:
    await seed.domain("example.test")
    await seed.domain("other.test")
    await seed.account("alice@example.test")
    return PostgresFilterPolicies(database)


async def other_tenant(seed: DatabaseSeed) -> UUID:
    tenant = new_id()
    await seed.rows("INSERT INTO tenants (id, name) VALUES ($1, 'other')", tenant)
    await seed.rows(
        "INSERT INTO domains (tenant_id, name, catch_all, plus_addressing)"
        " VALUES ($1, 'theirs.test', NULL, true)",
        tenant,
    )
    return tenant


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.level)
async def test_a_policy_is_set_replaced_and_unset_by_its_version(
    policies: PostgresFilterPolicies, owner: PolicyOwner
) -> None:
    silent = await policies.policy(None, owner)
    assert (silent.owner, silent.document, silent.updated_at) == (owner, {}, None)
    wanted = frozenset({silent.version})
    first = (await policies.set_policy(None, owner, {"junk_score": 4.0}, wanted)).value
    assert await policies.policy(None, owner) == first
    assert first.version != silent.version
    with pytest.raises(PreconditionFailed):
        await policies.set_policy(None, owner, {}, wanted)
    second = (
        await policies.set_policy(None, owner, {"block": ["a.test"]}, frozenset({first.version}))
    ).value
    assert (await policies.policy(None, owner)).document == {"block": ["a.test"]}
    with pytest.raises(PreconditionFailed):
        await policies.unset_policy(None, owner, frozenset({first.version}))
    await policies.unset_policy(None, owner, frozenset({second.version}))
    assert await policies.policy(None, owner) == silent
    assert (await policies.unset_policy(None, owner)).outbox_ids == ()
    again = (await policies.set_policy(None, owner, {"junk_score": 4.0})).value
    assert again.version not in (first.version, second.version)


async def test_of_many_first_settings_of_one_version_one_succeeds(
    policies: PostgresFilterPolicies,
) -> None:
    version = frozenset({(await policies.policy(None, SYSTEM)).version})
    answers = await asyncio.gather(
        *(
            policies.set_policy(None, SYSTEM, {"junk_score": float(score)}, version)
            for score in range(1, 6)
        ),
        return_exceptions=True,
    )
    faults = [each for each in answers if isinstance(each, BaseException)]
    assert len(faults) == 4
    assert all(isinstance(each, PreconditionFailed) for each in faults)


async def test_another_tenants_policies_do_not_exist(
    policies: PostgresFilterPolicies, seed: DatabaseSeed
) -> None:
    other = await other_tenant(seed)
    for owner in OWNERS:
        await policies.set_policy(None, owner, {"junk_score": 4.0})
        for call in (
            policies.policy(other, owner),
            policies.effective(other, owner),
            policies.set_policy(other, owner, {}),
            policies.unset_policy(other, owner),
        ):
            with pytest.raises(NotFound):
                await call
        assert (await policies.policy(None, owner)).document == {"junk_score": 4.0}
    theirs = PolicyOwner(Level.DOMAIN, "theirs.test")
    await policies.set_policy(other, theirs, {"junk_score": 7.0})
    assert (await policies.effective(other, theirs)).policy == FilterPolicy(junk_score=7.0), (
        "the system's policy holds for all, another tenant's does not"
    )
    assert (await policies.policy(DEFAULT_TENANT, ACCOUNT)).document == {"junk_score": 4.0}
    with pytest.raises(NotFound):
        await policies.policy(DEFAULT_TENANT, SYSTEM)


async def test_what_holds_says_where_it_comes_from(policies: PostgresFilterPolicies) -> None:
    await policies.set_policy(None, SYSTEM, {"junk_score": 4.0, "block": ["a.test"]})
    await policies.set_policy(None, TENANT, {"junk_score": 5.0, "greylist": True})
    await policies.set_policy(None, DOMAIN, {"spam_action": "mark"})
    await policies.set_policy(None, ACCOUNT, {"block": ["b.test"], "greylist": False})
    found = await policies.effective(None, ACCOUNT)
    assert (found.policy.junk_score, found.policy.greylist) == (5.0, False)
    assert found.policy.block == ("a.test", "b.test")
    for expected in (
        Origin("junk_score", "tenant", 5.0),
        Origin("greylist", "account", False),
        Origin("spam_action", "domain", "mark"),
        Origin("block", "system", ["a.test"]),
        Origin("block", "account", ["b.test"]),
        Origin("digest", "default", False),
    ):
        assert expected in found.origins
    assert (await policies.effective(None, DOMAIN)).policy.greylist is True
    assert (await policies.effective(None, TENANT)).policy.block == ("a.test",)
    assert (await policies.effective(None, SYSTEM)).policy.junk_score == 4.0
    other = await policies.effective(None, PolicyOwner(Level.DOMAIN, "other.test"))
    assert (other.policy.junk_score, str(other.policy.spam_action)) == (5.0, "junk")


async def test_a_change_publishes_whom_it_concerns(
    policies: PostgresFilterPolicies, seed: DatabaseSeed
) -> None:
    await other_tenant(seed)
    ours = ["@example.test", "@other.test"]
    for owner, subjects in (
        (ACCOUNT, ["alice@example.test"]),
        (DOMAIN, ["@example.test"]),
        (TENANT, ours),
        (SYSTEM, [*ours, "@theirs.test"]),
    ):
        made = await policies.set_policy(None, owner, {"junk_score": 4.0})
        unmade = await policies.unset_policy(None, owner)
        for change in (made, unmade):
            rows = await seed.rows(
                "SELECT subject FROM directory_outbox WHERE id = ANY($1) ORDER BY subject",
                list(change.outbox_ids),
            )
            assert [subject for (subject,) in rows] == subjects
        assert await seed.drain_outbox() == [*subjects, *subjects]


async def test_a_change_for_many_domains_is_published_in_the_background(
    policies: PostgresFilterPolicies, seed: DatabaseSeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorn.adapters.postgres.directory.filter_policies._DOMAINS_AT_ONCE", 70)
    await other_tenant(seed)
    await seed.rows(
        "INSERT INTO domains (tenant_id, name, plus_addressing)"
        " SELECT $1, 'd' || n || '.test', true FROM generate_series(1, 200) AS n",
        DEFAULT_TENANT,
    )
    assert (await policies.set_policy(None, SYSTEM, {"junk_score": 4.0})).outbox_ids == ()
    rows = await seed.rows("SELECT subject, lane, tenant_id FROM directory_outbox")
    names = await seed.rows("SELECT '@' || name, 1, tenant_id FROM domains")
    assert Counter(rows) == Counter(names)


async def test_the_policies_below_a_tenant_are_bounded(
    policies: PostgresFilterPolicies, seed: DatabaseSeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await other_tenant(seed)
    for owner in OWNERS:
        await policies.set_policy(None, owner, {"junk_score": 4.0})
    assert await policies.below(tenant) == {}
    found = await policies.below(DEFAULT_TENANT)
    assert found == {owner: await policies.policy(None, owner) for owner in (DOMAIN, ACCOUNT)}
    monkeypatch.setattr("posthorn.adapters.postgres.directory.filter_policies.MOST_BYTES_BELOW", 30)
    with pytest.raises(Conflict):
        await policies.below(DEFAULT_TENANT)


def test_the_audit_log_is_told_what_changed() -> None:
    before = {"allow": ["a.test", "b.test"], "junk_score": 4.0, "digest": True}
    after = {"allow": ["b.test", "c.test"], "junk_score": 4.0, "greylist": True}
    assert changes(before, after) == {
        "allow": {"added": ["c.test"], "removed": ["a.test"]},
        "digest": None,
        "greylist": True,
    }
