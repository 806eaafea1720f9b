"""The ports Directory and DirectoryBucket on a JetStream bucket: true answers within
milliseconds, or none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from posthorn.adapters.nats import directory as directory_module
from posthorn.adapters.nats import watch as watch_module
from posthorn.adapters.nats.bucket import NatsDirectoryBucket, read_key
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.layout import BUCKET_PREFIX, BUCKET_STREAM
from posthorn.model.directory_entry import (
    AddressEntry,
    DomainEntry,
    Entry,
    RecipientStatus,
    encode_key,
)
from posthorn.model.filter_policy import (
    DEFAULT_POLICY,
    MOST_BYTES,
    Action,
    FilterPolicy,
    PolicyError,
    checked,
    combined,
)
from posthorn.model.unpublished import NOTHING, of_subjects
from posthorn.ports.directory import DirectoryBehind
from posthorn.ports.errors import Unavailable
from posthorn.wire.address import parse_address
from posthorn_local.embedded import Nats
from tests.support.jetstream import restart
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

HERE = AddressEntry(RecipientStatus.DELIVERABLE)
PLAIN = DomainEntry(catch_all=None, plus_addressing=True)


@pytest.fixture
async def bucket(connection: Connection) -> NatsDirectoryBucket:
    """A bucket with a domain and an account, filled."""
    made = NatsDirectoryBucket(connection)
    await made.put("@example.test", PLAIN)
    await made.put("alice@example.test", HERE)
    await made.mark_filled()
    return made


@pytest.fixture
async def directory(
    connection: Connection, bucket: NatsDirectoryBucket
) -> AsyncIterator[NatsDirectory]:
    """A directory over that bucket, its watch alive."""
    async with NatsDirectory(connection) as made:
        await live(made)
        yield made


async def live(directory: NatsDirectory) -> None:
    async def is_live() -> bool:
        return directory.is_live

    await until(is_live, what="the watch's coming alive")


async def standing(directory: NatsDirectory, address: str) -> RecipientStatus:
    return await directory.standing(parse_address(address))


async def becomes(directory: NatsDirectory, address: str, wanted: RecipientStatus) -> None:
    async def so() -> bool:
        return await standing(directory, address) is wanted

    await until(so, what=f"{address} {wanted}", every=0.001)


async def raw(connection: Connection, subject: str, value: bytes) -> None:
    await connection.request(f"{BUCKET_PREFIX}{encode_key(subject)}", value)


async def test_what_an_address_is(bucket: NatsDirectoryBucket, directory: NatsDirectory) -> None:
    await bucket.put("full@example.test", AddressEntry(RecipientStatus.OVER_QUOTA))
    await bucket.put("away@example.test", AddressEntry(RecipientStatus.SUSPENDED))
    assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE
    assert await standing(directory, "ALICE@Example.Test") is RecipientStatus.DELIVERABLE
    assert await standing(directory, "full@example.test") is RecipientStatus.OVER_QUOTA
    assert await standing(directory, "away@example.test") is RecipientStatus.SUSPENDED
    assert await standing(directory, "nobody@example.test") is RecipientStatus.UNKNOWN
    assert await standing(directory, "alice@elsewhere.test") is RecipientStatus.FOREIGN
    await directory.probe()


async def test_the_oldest_account_of_a_domain_is_known(
    bucket: NatsDirectoryBucket, directory: NatsDirectory
) -> None:
    await bucket.put("@old.test", DomainEntry(None, True, '"a b"@old.test'))
    assert await directory.postmaster("old.test") == parse_address('"a b"@old.test')
    assert await directory.postmaster("example.test") is None
    assert await directory.postmaster("elsewhere.test") is None


async def test_a_tag_leads_to_its_account_where_the_domain_allows_it(
    bucket: NatsDirectoryBucket, directory: NatsDirectory
) -> None:
    await bucket.put("@strict.test", DomainEntry(catch_all=None, plus_addressing=False))
    await bucket.put("alice@strict.test", HERE)
    await bucket.put("full@example.test", AddressEntry(RecipientStatus.OVER_QUOTA))
    await bucket.put("full+vip@example.test", HERE)
    assert await standing(directory, "alice+lists@example.test") is RecipientStatus.DELIVERABLE
    assert await standing(directory, "full+lists@example.test") is RecipientStatus.OVER_QUOTA
    assert await standing(directory, "full+vip@example.test") is RecipientStatus.DELIVERABLE
    assert await standing(directory, "nobody+lists@example.test") is RecipientStatus.UNKNOWN
    assert await standing(directory, "alice+lists@strict.test") is RecipientStatus.UNKNOWN


async def test_a_catch_all_takes_the_rest_as_its_own_entry_says(
    bucket: NatsDirectoryBucket, directory: NatsDirectory
) -> None:
    await bucket.put("@all.test", DomainEntry(catch_all="box@all.test", plus_addressing=True))
    # the box itself is not there
    assert await standing(directory, "any@all.test") is RecipientStatus.UNKNOWN
    await bucket.put("box@all.test", AddressEntry(RecipientStatus.OVER_QUOTA))
    await becomes(directory, "any@all.test", RecipientStatus.OVER_QUOTA)
    assert await standing(directory, "any+tag@all.test") is RecipientStatus.OVER_QUOTA
    await bucket.put("any@all.test", HERE)
    await becomes(directory, "any@all.test", RecipientStatus.DELIVERABLE)
    assert await standing(directory, "any+tag@all.test") is RecipientStatus.DELIVERABLE


async def test_mail_is_filtered_by_the_policy_of_whom_it_reaches(
    bucket: NatsDirectoryBucket, directory: NatsDirectory
) -> None:
    async def policy(address: str) -> FilterPolicy:
        return await directory.policy(parse_address(address))

    fine = RecipientStatus.DELIVERABLE
    assert await policy("alice@example.test") is DEFAULT_POLICY
    assert await policy("nobody@elsewhere.test") is DEFAULT_POLICY
    own = {"junk_score": 9.0, "allow": ["b.test"]}
    await bucket.put(
        "@strict.test", DomainEntry(None, True, None, {"junk_score": 3.0, "allow": ["a.test"]})
    )
    await bucket.put("alice@strict.test", AddressEntry(fine, policy=own))
    await bucket.put("bob@strict.test", HERE)
    await bucket.put("@all.test", DomainEntry("alice@strict.test", True, None, {"greylist": True}))
    await bucket.put("carol@all.test", AddressEntry(fine, policy={"digest": True}))
    closest = FilterPolicy(junk_score=9.0, allow=("a.test", "b.test"))
    for address in ("alice@strict.test", "alice+tag@strict.test", "anybody@all.test"):
        assert await policy(address) == closest, address
    of_domain = FilterPolicy(junk_score=3.0, allow=("a.test",))
    for address in ("bob@strict.test", "nobody@strict.test"):
        assert await policy(address) == of_domain, address
    assert await policy("carol@all.test") == FilterPolicy(greylist=True, digest=True)
    assert await policy("alice@strict.test") is await policy("alice@strict.test"), "made once"

    await bucket.put("alice@strict.test", AddressEntry(fine, policy={"spam_action": "mark"}))

    async def is_known() -> bool:
        return (await policy("alice@strict.test")).spam_action is Action.MARK

    await until(is_known, what="the change of the policy")


async def test_the_longest_policies_of_three_levels_fit_into_an_entry(
    bucket: NatsDirectoryBucket, directory: NatsDirectory
) -> None:
    def longest(level: str) -> dict[str, Any]:
        label = f"\u00fc{'x' * 40}"  # six bytes in JSON, more in an A-label
        for count in range(1000, 0, -10):
            with suppress(PolicyError):
                return checked({"block": [f"{label}{n}@{level}.test" for n in range(count)]})
        raise AssertionError("no document is short enough")

    documents = [longest(level) for level in ("system", "tenant", "domain")]
    assert min(len(json.dumps(each)) for each in documents) > 0.9 * MOST_BYTES
    await bucket.put("@big.test", DomainEntry(None, True, None, combined(*documents)))
    await bucket.put("box@big.test", AddressEntry(RecipientStatus.DELIVERABLE, policy=longest("a")))
    found = await directory.policy(parse_address("box@big.test"))
    assert len(found.block) == sum(len(each["block"]) for each in [*documents, longest("a")])


async def test_a_policy_of_a_later_release_is_read_as_far_as_it_is_known(
    bucket: NatsDirectoryBucket, directory: NatsDirectory
) -> None:
    later = {"spam_action": "teleport", "colour": "red", "junk_score": 4}
    await bucket.put("bob@example.test", AddressEntry(RecipientStatus.DELIVERABLE, policy=later))
    found = await directory.policy(parse_address("bob@example.test"))
    assert found == FilterPolicy(junk_score=4.0)


async def test_a_change_is_known_without_waiting(
    bucket: NatsDirectoryBucket, directory: NatsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch tells it: nothing is compared in between."""
    monkeypatch.setattr(watch_module, "_SILENCE", LONG_SECONDS)
    changes: list[tuple[Entry | None, RecipientStatus]] = [
        (AddressEntry(RecipientStatus.SUSPENDED), RecipientStatus.SUSPENDED),
        (None, RecipientStatus.UNKNOWN),
        (HERE, RecipientStatus.DELIVERABLE),
        (None, RecipientStatus.UNKNOWN),
    ]
    assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE
    for entry, wanted in changes:
        await bucket.put("alice@example.test", entry)
        await becomes(directory, "alice@example.test", wanted)
    await bucket.put("@example.test", None)
    await becomes(directory, "alice@example.test", RecipientStatus.FOREIGN)


async def test_a_read_under_way_does_not_bring_back_what_was_changed_meanwhile(
    bucket: NatsDirectoryBucket, directory: NatsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_read, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection, key: str) -> object:
        message = await read_key(connection, key)
        has_read.set()
        await go_on.wait()
        return message

    monkeypatch.setattr(directory_module, "read_key", slow)
    reading = asyncio.create_task(standing(directory, "alice@example.test"))
    await has_read.wait()
    assert "alice@example.test" in directory._reads
    await bucket.put("alice@example.test", AddressEntry(RecipientStatus.SUSPENDED))
    await until(lambda: "alice@example.test" not in directory._reads, what="the change")
    go_on.set()
    await reading
    assert await standing(directory, "alice@example.test") is RecipientStatus.SUSPENDED


async def test_many_who_ask_for_the_same_wait_for_one_read(
    directory: NatsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []

    async def counted(connection: Connection, key: str) -> object:
        keys.append(key)
        return await read_key(connection, key)

    monkeypatch.setattr(directory_module, "read_key", counted)
    answers = await asyncio.gather(*(standing(directory, "alice@example.test") for _ in range(50)))
    assert set(answers) == {RecipientStatus.DELIVERABLE}
    assert keys == [encode_key("alice@example.test")]


async def test_the_cache_is_bounded(connection: Connection, bucket: NatsDirectoryBucket) -> None:
    async with NatsDirectory(connection, entries=10) as directory:
        await live(directory)
        for number in range(50):
            assert await standing(directory, f"u{number}@example.test") is RecipientStatus.UNKNOWN
        assert len(directory._cache) == 10


async def test_a_cached_answer_asks_nobody_and_gives_no_turn_away(
    directory: NatsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = parse_address("alice@example.test")
    await directory.standing(address)

    async def read(connection: Connection, key: str) -> object:
        raise AssertionError("the bucket is read")

    monkeypatch.setattr(directory_module, "read_key", read)
    with pytest.raises(StopIteration) as answer:  # it ends at its first step
        directory.standing(address).send(None)
    assert answer.value.value is RecipientStatus.DELIVERABLE


async def test_nothing_is_answered_before_the_bucket_is_filled(connection: Connection) -> None:
    bucket = NatsDirectoryBucket(connection)
    await bucket.put("@example.test", PLAIN)
    await bucket.put("alice@example.test", HERE)
    async with NatsDirectory(connection) as directory:
        await live(directory)
        for address in ("alice@example.test", "nobody@example.test", "alice@elsewhere.test"):
            with pytest.raises(Unavailable):
                await standing(directory, address)
        with pytest.raises(Unavailable):
            await directory.probe()
        assert not await bucket.is_filled()
        await bucket.mark_filled()
        assert await bucket.is_filled()
        assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE
        assert await standing(directory, "nobody@example.test") is RecipientStatus.UNKNOWN


async def test_without_its_watch_the_directory_answers_from_the_bucket(
    connection: Connection, bucket: NatsDirectoryBucket
) -> None:
    directory = NatsDirectory(connection)  # never run
    assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE
    await bucket.put("alice@example.test", None)
    assert await standing(directory, "alice@example.test") is RecipientStatus.UNKNOWN


async def test_a_bucket_that_was_lost_and_made_anew_never_says_unknown(
    connection: Connection, directory: NatsDirectory
) -> None:
    assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE
    assert await standing(directory, "nobody@example.test") is RecipientStatus.UNKNOWN
    await connection.api(f"STREAM.DELETE.{BUCKET_STREAM}")

    async def unavailable() -> bool:
        try:
            await standing(directory, "alice@example.test")
        except Unavailable:
            return True
        return False

    await until(unavailable, BUSY_SECONDS, "noticing the loss")

    async def made_anew() -> bool:
        try:
            await connection.api(f"STREAM.INFO.{BUCKET_STREAM}")
        except Unavailable:
            return False
        return True

    await until(made_anew, BUSY_SECONDS, "making the bucket anew")
    await live(directory)
    for address in ("alice@example.test", "nobody@example.test", "other@elsewhere.test"):
        with pytest.raises(Unavailable):
            await standing(directory, address)
    bucket = NatsDirectoryBucket(connection)
    await bucket.put("@example.test", PLAIN)
    await bucket.put("alice@example.test", HERE)
    await bucket.mark_filled()
    await becomes(directory, "alice@example.test", RecipientStatus.DELIVERABLE)
    assert await standing(directory, "nobody@example.test") is RecipientStatus.UNKNOWN


async def test_an_entry_that_does_not_read_is_a_fault_not_an_absence(
    connection: Connection, directory: NatsDirectory
) -> None:
    await raw(connection, "odd@example.test", b"{")
    await raw(connection, "wrong@example.test", b'{"kind":"domain","catch_all":null,"plus":true}')
    await raw(connection, "@odd.test", b'{"kind":"address","standing":"deliverable"}')
    for address in ("odd@example.test", "wrong@example.test", "any@odd.test"):
        with pytest.raises(Unavailable):
            await standing(directory, address)


async def test_a_killed_server_makes_it_unavailable_and_a_restart_makes_it_whole(
    nats: Nats, connection: Connection, bucket: NatsDirectoryBucket, directory: NatsDirectory
) -> None:
    assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE
    nats.stop(kill=True)

    async def lost() -> bool:
        return not directory.is_live

    await until(lost, BUSY_SECONDS, "noticing the loss")
    for address in ("alice@example.test", "nobody@example.test", "other@elsewhere.test"):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(standing(directory, address), BUSY_SECONDS)
    with pytest.raises(Unavailable):
        await directory.probe()
    with pytest.raises(Unavailable):
        await bucket.put("bob@example.test", HERE)
    restart(nats)
    await connection.wait_up(BUSY_SECONDS)
    assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE
    assert await standing(directory, "nobody@example.test") is RecipientStatus.UNKNOWN
    await live(directory)
    await bucket.put("alice@example.test", AddressEntry(RecipientStatus.SUSPENDED))
    await becomes(directory, "alice@example.test", RecipientStatus.SUSPENDED)


async def test_a_watch_whose_consumer_vanished_is_renewed(
    connection: Connection,
    bucket: NatsDirectoryBucket,
    directory: NatsDirectory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE
    monkeypatch.setattr(watch_module, "_SILENCE", 1.0)
    (name,) = (await connection.api(f"CONSUMER.NAMES.{BUCKET_STREAM}"))["consumers"]
    await connection.api(f"CONSUMER.DELETE.{BUCKET_STREAM}.{name}")
    await bucket.put("alice@example.test", AddressEntry(RecipientStatus.SUSPENDED))
    await becomes(directory, "alice@example.test", RecipientStatus.SUSPENDED)


async def test_the_writer_reads_back_all_it_wrote(connection: Connection) -> None:
    bucket = NatsDirectoryBucket(connection)
    assert await bucket.entries() == {}
    wanted: dict[str, Entry] = {f"u{number}@example.test": HERE for number in range(1200)}
    wanted |= {
        "@example.test": PLAIN,
        '"a b@c"@example.test': AddressEntry(RecipientStatus.SUSPENDED),
        "grüße@xn--mnchen-3ya.de": AddressEntry(RecipientStatus.OVER_QUOTA),
        "@all.test": DomainEntry("box@all.test", False),
    }
    await asyncio.gather(*(bucket.put(subject, entry) for subject, entry in wanted.items()))
    await bucket.put("gone@example.test", HERE)
    await bucket.put("gone@example.test", None)
    await bucket.put("never@example.test", None)
    await raw(connection, "odd@example.test", b"{")
    await bucket.mark_filled()
    assert await bucket.entries() == wanted


async def test_marking_twice_changes_nothing(
    connection: Connection, bucket: NatsDirectoryBucket
) -> None:
    before = (await connection.api(f"STREAM.INFO.{BUCKET_STREAM}"))["state"]["last_seq"]
    await bucket.mark_filled()
    assert (await connection.api(f"STREAM.INFO.{BUCKET_STREAM}"))["state"]["last_seq"] == before


async def marked(bucket: NatsDirectoryBucket, *subjects: str) -> None:
    revision, _ = await bucket.behind()
    assert await bucket.mark_behind(of_subjects(subjects), revision)


async def is_behind(directory: NatsDirectory, address: str) -> RecipientStatus | None:
    try:
        await standing(directory, address)
    except DirectoryBehind as behind:
        return behind.standing
    return None


async def behind_soon(
    directory: NatsDirectory, address: str, wanted: RecipientStatus | None
) -> None:
    async def so() -> bool:
        return await is_behind(directory, address) is wanted

    await until(so, BUSY_SECONDS, f"{address} {wanted}")


async def test_what_is_absent_is_not_known_while_it_is_marked_as_behind(
    bucket: NatsDirectoryBucket, directory: NatsDirectory
) -> None:
    await bucket.put("@all.test", DomainEntry(catch_all="box@example.test", plus_addressing=True))
    await bucket.put("@strict.test", DomainEntry(catch_all=None, plus_addressing=False))
    await marked(bucket, "new@example.test", "@new.test", "box@example.test", "new@strict.test")
    await behind_soon(directory, "new@example.test", RecipientStatus.UNKNOWN)
    assert await is_behind(directory, "new+tag@example.test") is RecipientStatus.UNKNOWN
    assert await is_behind(directory, "any@all.test") is RecipientStatus.UNKNOWN, (
        "its catch-all may be there"
    )
    assert await is_behind(directory, "any@new.test") is RecipientStatus.FOREIGN
    assert await standing(directory, "alice@example.test") is RecipientStatus.DELIVERABLE, (
        "what is there is there"
    )
    assert await standing(directory, "other@example.test") is RecipientStatus.UNKNOWN, (
        "nobody else is held up"
    )
    assert await standing(directory, "new+tag@strict.test") is RecipientStatus.UNKNOWN
    assert await standing(directory, "new@elsewhere.test") is RecipientStatus.FOREIGN
    await bucket.put("new@example.test", HERE)
    await becomes_anyhow(directory, "new@example.test")
    await marked(bucket)
    await behind_soon(directory, "any@new.test", None)
    assert await standing(directory, "any@new.test") is RecipientStatus.FOREIGN


async def becomes_anyhow(directory: NatsDirectory, address: str) -> None:
    async def so() -> bool:
        try:
            return await standing(directory, address) is RecipientStatus.DELIVERABLE
        except DirectoryBehind:
            return False

    await until(so, BUSY_SECONDS, address)


async def test_a_mark_is_replaced_by_who_knows_its_revision_only(
    bucket: NatsDirectoryBucket,
) -> None:
    assert await bucket.behind() == (0, NOTHING)
    assert await bucket.mark_behind(of_subjects(["a@example.test"]), 0)
    revision, mark = await bucket.behind()
    assert mark == of_subjects(["a@example.test"])
    assert not await bucket.mark_behind(NOTHING, 0)
    assert await bucket.mark_behind(mark, revision), "the same mark again has another revision"
    assert not await bucket.mark_behind(NOTHING, revision)
    later, _ = await bucket.behind()
    assert await bucket.mark_behind(NOTHING, later)
    assert (await bucket.behind())[1] == NOTHING
    assert set(await bucket.entries()) == {"@example.test", "alice@example.test"}, (
        "the mark is no entry"
    )


async def test_without_a_watch_the_mark_is_read(
    connection: Connection, bucket: NatsDirectoryBucket
) -> None:
    directory = NatsDirectory(connection)
    assert await standing(directory, "new@example.test") is RecipientStatus.UNKNOWN
    await marked(bucket, "new@example.test")
    assert await is_behind(directory, "new@example.test") is RecipientStatus.UNKNOWN
    assert await standing(directory, "other@example.test") is RecipientStatus.UNKNOWN


async def test_a_watch_that_comes_alive_knows_the_mark(
    connection: Connection, bucket: NatsDirectoryBucket
) -> None:
    await marked(bucket, "new@example.test")
    async with NatsDirectory(connection) as directory:
        await live(directory)
        assert await is_behind(directory, "new@example.test") is RecipientStatus.UNKNOWN


async def test_a_mark_that_is_lifted_while_an_entry_is_read_still_counts(
    bucket: NatsDirectoryBucket, directory: NatsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await marked(bucket, "new@example.test")
    await behind_soon(directory, "new@example.test", RecipientStatus.UNKNOWN)
    directory._cache.clear()
    go_on, has_read = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection, key: str) -> object:
        message = await read_key(connection, key)
        has_read.set()
        await go_on.wait()
        return message

    monkeypatch.setattr(directory_module, "read_key", slow)
    reading = asyncio.create_task(is_behind(directory, "new@example.test"))
    await has_read.wait()
    await marked(bucket)
    revision, _ = await bucket.behind()

    async def heard() -> bool:
        return directory._behind is not None and directory._behind[0] == revision

    await until(heard, BUSY_SECONDS, "the mark's being lifted")
    go_on.set()
    assert await reading is RecipientStatus.UNKNOWN
