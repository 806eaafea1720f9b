"""From Postgres into the directory that smtp-in reads: the publisher beside the API, on real
NATS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from prometheus_client import REGISTRY

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.nats.bucket import NatsDirectoryBucket
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.directory_entry import AddressEntry, DomainEntry, Entry, RecipientStatus
from posthorn.model.filter_policy import DEFAULT_POLICY, FilterPolicy
from posthorn.model.room import room_of
from posthorn.model.unpublished import NOTHING, Unpublished, of_subjects
from posthorn.ports.directory import DirectoryBehind
from posthorn.ports.errors import Unavailable
from posthorn.runtime.brakes import Brake
from posthorn.runtime.tasks import cancel_and_wait
from posthorn.wire.address import parse_address
from posthorn_api.directory.publisher import REMOVED_LEAST, REMOVED_SHARE, Publisher
from posthorn_local.embedded import Nats
from tests.support.api import Api, running_api
from tests.support.builders import make_message, make_segment
from tests.support.databases import pool
from tests.support.hasty_source import HastySource
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until
from tests.support.seed import DatabaseSeed

HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
FINE = AddressEntry(RecipientStatus.DELIVERABLE)


@dataclass
class ProjectionEnv:
    """An API with its publisher, and a directory as smtp-in has it."""

    api: Api
    seed: DatabaseSeed
    connection: Connection
    bucket: NatsDirectoryBucket
    truth: PostgresDirectorySource
    publisher: Publisher
    directory: NatsDirectory

    async def standing(self, address: str) -> RecipientStatus:
        return await self.directory.standing(parse_address(address))

    async def becomes(
        self, address: str, standing: RecipientStatus, timeout: float = BUSY_SECONDS
    ) -> None:
        async def so() -> bool:
            with suppress(Unavailable):
                return await self.standing(address) is standing
            return False

        await until(so, timeout, f"{address} {standing}")


@pytest.fixture
async def env(database_url: str, nats: Nats, tmp_path: Path) -> AsyncIterator[ProjectionEnv]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api(database_url, FileBlobs(tmp_path)))
        database = await stack.enter_async_context(pool(database_url))
        connection = await stack.enter_async_context(connect(nats_settings(nats), "test"))
        truth, bucket = PostgresDirectorySource(database), NatsDirectoryBucket(connection)
        publisher = Publisher(truth, bucket)
        directory = await stack.enter_async_context(NatsDirectory(connection))
        yield ProjectionEnv(
            api, DatabaseSeed(database), connection, bucket, truth, publisher, directory
        )


@pytest.fixture
async def published(env: ProjectionEnv) -> AsyncIterator[ProjectionEnv]:
    """The same, publishing."""
    running = asyncio.create_task(env.publisher.run())
    env.api.publication.set(env.publisher)
    await until(env.bucket.is_filled, what="the filling of the bucket")
    yield env
    assert not running.done(), "the publisher lives through everything"
    await cancel_and_wait(running)


async def test_an_account_takes_mail_the_moment_it_is_announced(published: ProjectionEnv) -> None:
    await published.api.domain()
    assert await published.standing("carol@example.test") is RecipientStatus.UNKNOWN
    await published.api.account("carol@example.test")
    assert await published.standing("carol@example.test") is RecipientStatus.DELIVERABLE
    assert await published.standing("carol+tag@example.test") is RecipientStatus.DELIVERABLE
    assert await published.standing("carol@elsewhere.test") is RecipientStatus.FOREIGN
    assert (await published.api.client.delete("/v1/accounts/carol@example.test")).status_code == 204
    assert await published.standing("carol@example.test") is RecipientStatus.UNKNOWN
    assert (await published.api.client.delete("/v1/domains/example.test")).status_code == 204
    assert await published.standing("carol@example.test") is RecipientStatus.FOREIGN


async def test_every_change_is_projected(published: ProjectionEnv) -> None:
    client = published.api.client
    await published.api.domain()
    await published.api.account("alice@example.test", quota_bytes=0)
    await published.api.alias("info@example.test", "alice@example.test")
    await published.api.alias("far@example.test", "info@example.test")
    for address in ("alice@example.test", "info@example.test", "far@example.test"):
        assert await published.standing(address) is RecipientStatus.OVER_QUOTA
    await client.patch(
        "/v1/accounts/alice@example.test", json={"quota_bytes": None, "state": "suspended"}
    )
    for address in ("alice@example.test", "info@example.test", "far@example.test"):
        assert await published.standing(address) is RecipientStatus.SUSPENDED
    await client.patch("/v1/accounts/alice@example.test", json={"state": "active"})
    assert await published.standing("far@example.test") is RecipientStatus.DELIVERABLE
    await client.patch("/v1/domains/example.test", json={"catch_all": "info@example.test"})
    assert await published.standing("anyone@example.test") is RecipientStatus.DELIVERABLE
    await client.patch(
        "/v1/domains/example.test", json={"catch_all": None, "plus_addressing": False}
    )
    assert await published.standing("anyone@example.test") is RecipientStatus.UNKNOWN
    assert await published.standing("alice+x@example.test") is RecipientStatus.UNKNOWN


async def test_mail_is_filtered_by_a_policy_the_moment_it_is_answered(
    published: ProjectionEnv,
) -> None:
    async def policy(address: str) -> FilterPolicy:
        return await published.directory.policy(parse_address(address))

    client = published.api.client
    await published.api.domain()
    await published.api.account("alice@example.test")
    await published.api.account("bob@example.test")
    await published.api.alias("sales@example.test", "alice@example.test")
    await published.api.alias("all@example.test", "alice@example.test", "bob@example.test")
    for owner, document in (
        ("", {"block": ["a.test"], "junk_score": 4}),
        ("/tenants/default", {"block": ["b.test"], "greylist": True}),
        ("/domains/example.test", {"block": ["c.test"], "junk_score": 5}),
        ("/accounts/alice@example.test", {"block": ["d.test"], "greylist": False}),
    ):
        answer = await client.put(f"/v1{owner}/filter-policy", json=document)
        assert answer.status_code == 200, answer.text
    of_domain = FilterPolicy(junk_score=5.0, greylist=True, block=("a.test", "b.test", "c.test"))
    own = replace(of_domain, greylist=False, block=(*of_domain.block, "d.test"))
    for address in ("alice@example.test", "alice+tag@example.test", "sales@example.test"):
        assert await policy(address) == own, address
    for address in ("bob@example.test", "all@example.test"):
        assert await policy(address) == of_domain, address
    await published.api.domain("new.test")
    assert (await policy("anybody@new.test")).block == ("a.test", "b.test")
    for owner in ("/accounts/alice@example.test", "/domains/example.test", "/tenants/default", ""):
        answer = await client.delete(f"/v1{owner}/filter-policy")
        assert answer.status_code == 204, answer.text
    for address in ("alice@example.test", "sales@example.test", "anybody@new.test"):
        assert await policy(address) == DEFAULT_POLICY, address


async def test_a_policy_that_the_bucket_lost_is_found_missing(published: ProjectionEnv) -> None:
    await published.api.domain()
    answer = await published.api.client.put(
        "/v1/domains/example.test/filter-policy", json={"junk_score": 4}
    )
    assert answer.status_code == 200, answer.text
    kept = (await published.bucket.entries())["@example.test"]
    await published.bucket.put("@example.test", replace(kept, policy={}))
    await published.publisher.reconcile()

    async def is_back() -> bool:
        return (await published.bucket.entries())["@example.test"] == kept

    await until(is_back, what="the repair")


async def test_changes_of_other_services_come_through_the_outbox(published: ProjectionEnv) -> None:
    await published.api.domain()
    await published.api.account("alice@example.test", quota_bytes=10)
    await published.seed.rows("UPDATE accounts SET used_bytes = 10")
    await published.seed.rows(
        "INSERT INTO directory_outbox (subject) VALUES ('alice@example.test')"
    )
    await published.becomes("alice@example.test", RecipientStatus.OVER_QUOTA, 5)


async def test_a_crossed_step_of_room_is_published_of_the_account_and_what_leads_to_it(
    published: ProjectionEnv,
) -> None:
    await published.api.domain()
    await published.api.account("alice@example.test", quota_bytes=1_000_000)
    await published.api.alias("info@example.test", "alice@example.test")
    await published.api.client.patch(
        "/v1/domains/example.test", json={"catch_all": "info@example.test"}
    )
    names = (
        "alice@example.test",
        "alice+tag@example.test",
        "info@example.test",
        "anyone@example.test",
    )

    async def rooms() -> set[int | None]:
        return {await published.directory.room(parse_address(name)) for name in names}

    before = room_of(1_000_000)
    assert await rooms() == {before}
    (alice,) = (await published.seed.rows("SELECT id FROM accounts"))[0]
    mailboxes = PostgresMailboxes(published.seed.database)
    await mailboxes.deliver([make_segment([make_message([alice], size=10_000)])])
    assert await published.seed.rows("SELECT subject FROM directory_outbox") == [], (
        "within a step nothing is said"
    )
    await mailboxes.deliver([make_segment([make_message([alice], size=900_000)])])
    after = room_of(90_000)
    assert after is not None and before is not None and after < before

    async def so() -> bool:
        return await rooms() == {after}

    await until(so, BUSY_SECONDS, "the new step everywhere")


async def test_while_nats_is_down_accounts_are_made_and_projected_later(
    published: ProjectionEnv, nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    await published.api.domain()
    wait_published = Publisher.wait_published

    async def patient(self: Publisher, outbox_ids: Sequence[int], timeout: float) -> bool:
        return await wait_published(self, outbox_ids, LONG_SECONDS)

    monkeypatch.setattr(Publisher, "wait_published", patient)
    nats.stop(kill=True)
    async with asyncio.timeout(BUSY_SECONDS):  # an answer does not wait for what cannot be
        for number in range(12):
            await published.api.account(f"u{number}@example.test")
    with pytest.raises(Unavailable):
        await published.standing("u0@example.test")
    restart(nats)
    for number in range(12):
        await published.becomes(f"u{number}@example.test", RecipientStatus.DELIVERABLE)
    await published.api.account("afterwards@example.test")
    await published.becomes("afterwards@example.test", RecipientStatus.DELIVERABLE, 5)


async def test_a_directory_that_was_lost_is_made_anew(published: ProjectionEnv) -> None:
    await published.api.domain()
    await published.api.account("alice@example.test")
    await published.connection.api("STREAM.DELETE.KV_directory")
    published.connection.check_soon()
    await published.becomes("nobody@example.test", RecipientStatus.UNKNOWN)
    assert await published.standing("alice@example.test") is RecipientStatus.DELIVERABLE


async def test_the_bucket_is_not_called_filled_before_it_is(env: ProjectionEnv) -> None:
    await env.api.domain()
    await env.api.account("alice@example.test")
    assert await env.publisher.publish()
    with pytest.raises(Unavailable):
        await env.standing("nobody@example.test")
    assert not await env.bucket.is_filled()
    await env.publisher.reconcile()
    assert await env.bucket.is_filled()
    assert await env.standing("nobody@example.test") is RecipientStatus.UNKNOWN


async def test_an_empty_system_has_a_filled_directory(env: ProjectionEnv) -> None:
    assert await env.publisher.reconcile() == 0
    assert await env.bucket.is_filled()
    assert await env.standing("nobody@example.test") is RecipientStatus.FOREIGN


async def test_drift_is_repaired_both_ways(env: ProjectionEnv) -> None:
    await env.api.domain()
    for name in ("kept", "missing", "wrong"):
        await env.api.account(f"{name}@example.test")
    await env.publisher.reconcile()
    right = await env.bucket.entries()
    assert right == {
        "@example.test": DomainEntry(None, True, "kept@example.test"),
        **{f"{name}@example.test": FINE for name in ("kept", "missing", "wrong")},
    }
    await env.bucket.put("missing@example.test", None)
    await env.bucket.put("wrong@example.test", AddressEntry(RecipientStatus.SUSPENDED))
    await env.bucket.put("extra@example.test", FINE)
    await env.bucket.put("@extra.test", DomainEntry(None, False))
    assert await env.publisher.reconcile() == 4
    assert await env.bucket.entries() == right
    assert await env.publisher.reconcile() == 0


async def test_a_rebuild_writes_everything_and_takes_out_the_rest(env: ProjectionEnv) -> None:
    await env.api.domain()
    await env.api.account("alice@example.test")
    await env.bucket.put("extra@example.test", FINE)
    assert await env.publisher.rebuild() == 3
    assert await env.bucket.entries() == {
        "@example.test": DomainEntry(None, True, "alice@example.test"),
        "alice@example.test": FINE,
    }
    assert await env.bucket.is_filled()
    assert await env.seed.drain_outbox() == []


async def test_more_than_one_batch_is_published(env: ProjectionEnv) -> None:
    await env.api.domain()
    await env.seed.rows(
        "INSERT INTO accounts (domain_id, address, password_hash)"
        " SELECT d.id, 'u' || n || '@example.test', 'x' FROM domains d, generate_series(1, 500) n"
    )
    await env.publisher.reconcile()
    entries = await env.bucket.entries()
    assert len(entries) == 501
    assert entries["u500@example.test"] == FINE


async def test_two_publishers_take_turns(env: ProjectionEnv) -> None:
    other = Publisher(env.truth, env.bucket)
    tasks = [asyncio.create_task(each.run()) for each in (env.publisher, other)]
    env.api.publication.set(other)
    await until(env.bucket.is_filled)
    await env.api.domain()
    await asyncio.gather(*(env.api.account(f"u{number}@example.test") for number in range(10)))
    for number in range(10):
        assert await env.standing(f"u{number}@example.test") is RecipientStatus.DELIVERABLE
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_comparison_that_fails_keeps_nothing_from_being_published(
    env: ProjectionEnv,
) -> None:
    await env.publisher.reconcile()
    await env.api.domain()
    comparisons = 0

    class Unreadable(PostgresDirectorySource):
        async def everything(self) -> AsyncIterator[tuple[str, Entry]]:
            nonlocal comparisons
            comparisons += 1
            async for pair in super().everything():
                if comparisons:
                    raise Unavailable("postgres", "it takes too long")
                yield pair

    publisher = Publisher(Unreadable(env.seed.database), env.bucket)
    running = asyncio.create_task(publisher.run())
    env.api.publication.set(publisher)
    for number in range(3):
        await env.api.account(f"u{number}@example.test")
        assert await env.standing(f"u{number}@example.test") is RecipientStatus.DELIVERABLE
    assert comparisons == 1, "a comparison that failed is put off"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_settle_does_not_wait_where_nothing_is_to_come(env: ProjectionEnv) -> None:
    assert await env.publisher.wait_published((), 5)
    async with asyncio.timeout(BUSY_SECONDS):
        assert not await env.publisher.wait_published((10**9,), 0.2), (
            "nothing publishes, so it waits its time out"
        )


NDJSON = {"Content-Type": "application/x-ndjson"}


async def imported(api: Api, domain: str, count: int) -> None:
    lines = [{"address": f"u{number}@{domain}", "password_hash": HASH} for number in range(count)]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    answer = await api.client.post(
        "/v1/import/accounts", content=content, headers=NDJSON, timeout=60
    )
    assert json.loads(answer.text.splitlines()[-1])["created"] == count


class SlowBucket(NatsDirectoryBucket):
    """A bucket in which an import stands still until ``flowing``, and is slow until somebody
    else's entry has been written."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.written: list[str] = []
        self.flowing = asyncio.Event()

    async def put(self, subject: str, entry: Entry | None) -> None:
        if subject.startswith("u"):
            await self.flowing.wait()
            if "carol@b.test" not in self.written:
                await asyncio.sleep(0.3)
        await super().put(subject, entry)
        self.written.append(subject)


async def test_a_large_import_holds_up_nobody_and_bounces_nothing(env: ProjectionEnv) -> None:
    """The audit's p12: tenant A imports; tenant B's account takes mail at once, and A's are
    never said to be unknown."""
    bucket = SlowBucket(env.connection)
    publisher = Publisher(env.truth, bucket)
    env.api.publication.set(publisher)
    await publisher.reconcile()
    await env.api.tenant("a")
    await env.api.tenant("b")
    await env.api.domain("a.test", tenant="a")
    await env.api.domain("b.test", tenant="b")
    assert await publisher.publish()
    await imported(env.api, "a.test", 1500)
    assert await env.seed.value("SELECT count(*) FROM directory_outbox WHERE lane = 1") == 1500
    running = asyncio.create_task(publisher.run())
    try:
        with pytest.raises(DirectoryBehind):
            await env.standing("u1499@a.test")
        assert await env.standing("nobody@b.test") is RecipientStatus.UNKNOWN, (
            "only the tenant itself is late"
        )
        assert await env.standing("nobody@elsewhere.test") is RecipientStatus.FOREIGN
        bucket.flowing.set()
        await env.api.account("carol@b.test")
        assert await env.standing("carol@b.test") is RecipientStatus.DELIVERABLE
        assert len({subject for subject in bucket.written if subject.startswith("u")}) < 1500, (
            "it did not wait for the import"
        )
        seen: set[object] = set()

        async def all_here() -> bool:
            try:
                seen.add(await env.standing("u1499@a.test"))
            except DirectoryBehind:
                seen.add(DirectoryBehind)
            return RecipientStatus.DELIVERABLE in seen

        await until(all_here, 60, "the last account of the import")
        assert seen <= {DirectoryBehind, RecipientStatus.DELIVERABLE}, "never UNKNOWN"

        async def lifted() -> bool:
            with suppress(DirectoryBehind):
                return await env.standing("nobody@a.test") is RecipientStatus.UNKNOWN
            return False

        await until(lifted, 30, "the lifting of the mark")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_account_that_is_announced_unpublished_is_put_off_whoever_dies(
    env: ProjectionEnv,
) -> None:
    """The publisher stands still, so a creation is answered before it is published; then the
    process is gone."""
    await env.publisher.reconcile()
    await env.api.domain("b.test")
    assert await env.publisher.publish()
    dead = Publisher(env.truth, env.bucket)  # it never runs: nothing is published
    env.api.publication.set(dead)
    await env.api.account("carol@b.test")
    with pytest.raises(DirectoryBehind):
        await env.standing("carol@b.test")
    assert await env.standing("dave@b.test") is RecipientStatus.UNKNOWN
    assert await Publisher(env.truth, env.bucket).publish(), "the next publisher"
    assert await env.standing("carol@b.test") is RecipientStatus.DELIVERABLE
    assert (await env.bucket.behind())[1] == NOTHING


async def test_a_mark_that_is_set_while_another_is_lifted_stays(env: ProjectionEnv) -> None:
    await env.publisher.reconcile()
    await env.api.domain("b.test")

    class Interrupted(PostgresDirectorySource):
        async def unpublished(self, outbox_ids: Sequence[int] | None = None) -> Unpublished:
            found = await super().unpublished(outbox_ids)
            await env.seed.rows("INSERT INTO directory_outbox (subject) VALUES ('late@b.test')")
            await other.announce(["late@b.test"])
            return found

    other = Publisher(env.truth, env.bucket)
    await other.announce(["b@b.test"])
    lifting = Publisher(Interrupted(env.seed.database), env.bucket)
    assert await lifting.publish()
    assert (await env.bucket.behind())[1].covers("late@b.test")
    assert await env.publisher.publish()
    assert (await env.bucket.behind())[1] == NOTHING


async def test_a_subject_that_is_stepped_over_keeps_only_itself_marked(env: ProjectionEnv) -> None:
    await env.api.domain("b.test")
    await env.api.account("hub@b.test")
    await env.seed.rows(
        "INSERT INTO aliases (domain_id, address, targets)"
        " SELECT id, 'n' || n || '@b.test', ARRAY['hub@b.test'] FROM domains, generate_series(1, 20000) n"
    )
    hasty = Publisher(HastySource(env.seed.database, "hub@b.test"), env.bucket)
    await env.bucket.mark_filled()
    await hasty.announce(["hub@b.test", "gone@b.test"])
    assert await hasty.publish()
    assert (await env.bucket.behind())[1] == of_subjects(["hub@b.test"])
    assert await env.standing("gone@b.test") is RecipientStatus.UNKNOWN


async def _put_strangers(env: ProjectionEnv, number: int) -> set[str]:
    subjects = {f"stranger{each}@example.test" for each in range(number)}
    for subject in subjects:
        await env.bucket.put(subject, FINE)
    return subjects


async def test_a_comparison_removes_no_more_than_a_small_share_of_the_entries(
    env: ProjectionEnv,
) -> None:
    await env.api.domain("example.test")
    await env.api.account("alice@example.test")
    released = False
    publisher = Publisher(
        env.truth, env.bucket, brake=Brake("directory", 0.01, 10, lambda: released)
    )
    await publisher.publish()
    few = await _put_strangers(env, 10)
    assert await publisher.reconcile() == 10
    assert few.isdisjoint(await env.bucket.entries())
    many = await _put_strangers(env, 11)
    await env.bucket.put("alice@example.test", None)
    assert await publisher.reconcile() == 1, "what is missing is put there all the same"
    entries = await env.bucket.entries()
    assert many < entries.keys()
    assert entries["alice@example.test"] == FINE
    assert REGISTRY.get_sample_value("posthorn_brake_holding", {"brake": "directory"}) == 1
    released = True
    assert await publisher.reconcile() == 11
    assert set(await env.bucket.entries()) == {"@example.test", "alice@example.test"}
    assert REGISTRY.get_sample_value("posthorn_brake_holding", {"brake": "directory"}) == 0


async def test_an_empty_truth_takes_nobody_out_of_a_filled_directory_by_comparison(
    env: ProjectionEnv,
) -> None:
    many = await _put_strangers(env, 101)
    await env.bucket.mark_filled()
    publisher = Publisher(
        env.truth, env.bucket, brake=Brake("directory", REMOVED_SHARE, REMOVED_LEAST)
    )
    assert await publisher.reconcile() == 0
    assert set(await env.bucket.entries()) == many


async def test_nothing_is_removed_while_it_is_not_certain_that_postgres_is_the_truth(
    env: ProjectionEnv,
) -> None:
    await env.api.domain("example.test")
    await _put_strangers(env, 1)

    async def uncertain() -> None:
        raise Unavailable("installation", "another one")

    publisher = Publisher(env.truth, env.bucket, certain=uncertain)
    await publisher.reconcile()
    assert set(await env.bucket.entries()) == {"@example.test", "stranger0@example.test"}
    assert not await env.bucket.is_filled(), "what may be wrong is not called whole"


async def test_many_accounts_deleted_by_the_api_leave_the_directory_by_the_outbox(
    env: ProjectionEnv,
) -> None:
    await env.api.domain("example.test")
    for number in range(12):
        await env.api.account(f"user{number}@example.test")
    publisher = Publisher(env.truth, env.bucket, brake=Brake("directory", 0.01, 3))
    await publisher.publish()
    assert len(await env.bucket.entries()) == 13
    for number in range(12):
        await env.api.client.delete(f"/v1/accounts/user{number}@example.test")
    await publisher.publish()
    assert set(await env.bucket.entries()) == {"@example.test"}
    assert await publisher.reconcile() == 0
