"""The port DirectorySource on Postgres: what is true of each subject, and the outbox that says
where to look."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.directory_entry import (
    AddressEntry,
    DomainEntry,
    Entry,
    RecipientStatus,
    decode_entry,
    encode_entry,
)
from posthorn.model.room import room_of
from posthorn.model.unpublished import Unpublished
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import free_port
from tests.support.databases import pool
from tests.support.hasty_source import HastySource
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS
from tests.support.seed import DatabaseSeed

FINE, FULL, ASLEEP = (
    AddressEntry(each)
    for each in (RecipientStatus.DELIVERABLE, RecipientStatus.OVER_QUOTA, RecipientStatus.SUSPENDED)
)
NARROW = AddressEntry(RecipientStatus.DELIVERABLE, room_bytes=room_of(1))


@pytest.fixture
async def seed(database_url: str) -> AsyncIterator[DatabaseSeed]:
    async with pool(database_url) as database:
        made = DatabaseSeed(database)
        await made.domain("example.test", catch_all="full@example.test", plus=False)
        await made.account("fine@example.test", quota=1)
        await made.account("unlimited@example.test")
        await made.account("reads@example.test", state="receive-only")
        await made.account("full@example.test", quota=0)
        await made.account("asleep@example.test", state="suspended", quota=0)
        await made.alias(
            "all@example.test", "asleep@example.test", "full@example.test", "fine@example.test"
        )
        await made.alias("both@example.test", "asleep@example.test", "full@example.test")
        await made.alias("drowsy@example.test", "asleep@example.test")
        await made.alias("far@example.test", "drowsy@example.test", "near@example.test")
        await made.alias("near@example.test", "fine@example.test")
        await made.alias("broken@example.test", "nobody@example.test")
        await made.alias("out@example.test", "someone@elsewhere.test")
        await made.alias("further@example.test", "asleep@example.test", "out@example.test")
        yield made


@pytest.fixture
def truth(seed: DatabaseSeed) -> PostgresDirectorySource:
    return PostgresDirectorySource(seed.database)


EVERYTHING: dict[str, Entry] = {
    "@example.test": DomainEntry("full@example.test", False),
    "fine@example.test": NARROW,
    "unlimited@example.test": FINE,
    "reads@example.test": FINE,
    "full@example.test": FULL,
    "asleep@example.test": ASLEEP,
    "all@example.test": NARROW,
    "both@example.test": FULL,
    "drowsy@example.test": ASLEEP,
    "far@example.test": NARROW,
    "near@example.test": NARROW,
    "broken@example.test": ASLEEP,
    "out@example.test": FINE,
    "further@example.test": FINE,
}


async def taken(truth: PostgresDirectorySource, limit: int = 100) -> dict[str, Entry | None] | None:
    async with truth.pending(limit) as changes:
        return None if changes is None else dict(changes)


async def test_everything_is_everything(truth: PostgresDirectorySource) -> None:
    assert {subject: entry async for subject, entry in truth.everything()} == EVERYTHING


async def test_pending_says_the_same_of_each_subject(truth: PostgresDirectorySource) -> None:
    await truth.recheck([*EVERYTHING, "gone@example.test", "@gone.test"])
    assert await taken(truth) == {**EVERYTHING, "gone@example.test": None, "@gone.test": None}
    assert await taken(truth) == {}


async def test_changes_are_timed_from_when_they_were_made_but_for_bulk_ones(
    seed: DatabaseSeed,
) -> None:
    timed: list[float] = []
    truth = PostgresDirectorySource(seed.database, on_published=timed.append)
    while await taken(truth):
        pass
    timed.clear()
    await truth.recheck(["fine@example.test", "full@example.test"])
    async with seed.database.session() as connection:
        await connection.execute(
            "UPDATE directory_outbox SET created_at = now() - interval '1000 s' WHERE subject = 'fine@example.test'"
        )
    await truth.recheck([f"bulk{number}@example.test" for number in range(101)])
    while await taken(truth):
        pass
    soon, late = sorted(timed)
    assert soon < 100
    assert late == pytest.approx(1000, abs=100)


async def test_a_change_of_an_account_names_every_alias_that_leads_to_it(
    truth: PostgresDirectorySource,
) -> None:
    await truth.recheck(["fine@example.test"])
    assert await taken(truth) == {
        "fine@example.test": NARROW,
        "all@example.test": NARROW,
        "near@example.test": NARROW,
        "far@example.test": NARROW,
    }


async def test_the_room_of_an_alias_is_the_most_that_a_mailbox_has_to_which_it_leads(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    await seed.account("wide@example.test", quota=1_000_000)
    await seed.alias("x@example.test", "fine@example.test", "y@example.test", "full@example.test")
    await seed.alias("y@example.test", "x@example.test", "wide@example.test", "asleep@example.test")
    await seed.alias("z@example.test", "y@example.test", "someone@elsewhere.test")
    await seed.alias("free@example.test", "fine@example.test", "unlimited@example.test")
    wide = AddressEntry(RecipientStatus.DELIVERABLE, room_bytes=room_of(1_000_000))
    names = [f"{name}@example.test" for name in ("x", "y", "z", "free")]
    found = {subject: entry async for subject, entry in truth.everything() if subject in names}
    assert found == dict(zip(names, (wide, wide, FINE, FINE), strict=True))
    await seed.rows(
        "UPDATE accounts SET used_bytes = quota_bytes - 10 WHERE address = 'wide@example.test'"
    )
    await truth.recheck(["wide@example.test"])
    assert await taken(truth) == {
        **dict.fromkeys(("wide@example.test", "x@example.test", "y@example.test"), NARROW),
        "z@example.test": FINE,
    }


async def test_entries_hold_the_policies_that_smtp_in_needs(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    await seed.domain("silent.test")
    for level, value, document in (
        ("tenant_id", None, {"junk_score": 4.0, "block": ["a.test"]}),
        ("tenant_id", f"'{DEFAULT_TENANT}'", {"junk_score": 5.0, "greylist": True}),
        (
            "domain_id",
            "(SELECT id FROM domains WHERE name = 'example.test')",
            {"block": ["b.test"], "spam_action": "mark"},
        ),
        (
            "account_id",
            "(SELECT id FROM accounts WHERE address = 'fine@example.test')",
            {"junk_score": 9.0},
        ),
    ):
        await seed.rows(
            f"INSERT INTO filter_policies ({level}, document) VALUES ({value or 'NULL'}, $1::text::jsonb)",
            json.dumps(document),
        )
    general = {"junk_score": 5.0, "greylist": True, "block": ["a.test"]}
    own = replace(NARROW, policy={"junk_score": 9.0})
    expected = {
        **EVERYTHING,
        "@silent.test": DomainEntry(None, True, None, general),
        "@example.test": DomainEntry(
            "full@example.test",
            False,
            None,
            {**general, "block": ["a.test", "b.test"], "spam_action": "mark"},
        ),
        # what leads to this account alone has its policy; with others, that of the domain
        **dict.fromkeys(("fine@example.test", "near@example.test"), own),
    }
    found = {subject: entry async for subject, entry in truth.everything()}
    assert found == expected
    for entry in found.values():
        assert decode_entry(encode_entry(entry)) == entry, "reconciliation would repair it for ever"
    await truth.recheck(expected)
    assert await taken(truth) == expected


async def test_an_alias_that_led_out_of_here_leads_nowhere_once_the_domain_is_ours(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    await seed.domain("elsewhere.test")
    await truth.recheck(["out@example.test"])
    assert await taken(truth) == {"out@example.test": ASLEEP, "further@example.test": ASLEEP}


async def test_a_domain_without_a_catch_all_names_its_oldest_account(
    seed: DatabaseSeed, truth: PostgresDirectorySource
) -> None:
    await seed.domain("new.test")
    for name in ("zoe", "anna", "max"):
        await seed.account(f"{name}@new.test")
    await truth.recheck(["zoe@new.test"])
    of_zoe = DomainEntry(None, True, "zoe@new.test")
    assert await taken(truth) == {"zoe@new.test": FINE, "@new.test": of_zoe}
    assert {subject: entry async for subject, entry in truth.everything()}["@new.test"] == of_zoe
    await truth.recheck(["anna@new.test"])
    assert await taken(truth) == {"anna@new.test": FINE}, (
        "nothing of the domain changes with a younger one"
    )
    await seed.rows("DELETE FROM accounts WHERE address = 'zoe@new.test'")
    await truth.recheck(["zoe@new.test"])
    assert await taken(truth) == {
        "zoe@new.test": None,
        "@new.test": DomainEntry(None, True, "anna@new.test"),
    }
    await seed.rows("DELETE FROM accounts WHERE address LIKE '%@new.test'")
    await truth.recheck(["anna@new.test"])
    assert await taken(truth) == {"anna@new.test": None, "@new.test": DomainEntry(None, True)}


async def test_an_error_keeps_the_entries_and_their_order(truth: PostgresDirectorySource) -> None:
    await truth.recheck(["unlimited@example.test"])
    await truth.recheck(["reads@example.test"])
    with pytest.raises(Unavailable, match="nats"):
        async with truth.pending(1) as changes:
            assert changes is not None
            raise Unavailable("nats")
    assert await taken(truth, 1) == {"unlimited@example.test": FINE}
    assert await taken(truth, 1) == {"reads@example.test": FINE}


async def test_there_is_one_publisher_at_a_time(truth: PostgresDirectorySource) -> None:
    await truth.recheck(["fine@example.test"])
    async with truth.pending(10) as changes:
        assert changes
        assert await taken(truth) is None
    assert await taken(truth) == {}


async def test_a_change_during_publishing_is_not_struck_off_with_it(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    await truth.recheck(["unlimited@example.test"])
    async with truth.pending(10) as changes:
        assert changes == {"unlimited@example.test": FINE}
        await seed.rows(
            "UPDATE accounts SET state = 'suspended' WHERE address = 'unlimited@example.test'"
        )
        await truth.recheck(["unlimited@example.test"])
    assert await taken(truth) == {"unlimited@example.test": ASLEEP}


async def test_published_tells_whether_an_entry_waits(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    await truth.recheck(["fine@example.test", "full@example.test"])
    outbox_ids = [number for (number,) in await seed.rows("SELECT id FROM directory_outbox")]
    assert not await truth.published(outbox_ids)
    await taken(truth, 1)
    assert not await truth.published(outbox_ids)
    await taken(truth, 1)
    assert await truth.published(outbox_ids)
    assert await truth.published([])


async def test_a_subject_that_takes_too_long_holds_up_none_behind_it(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    await seed.account("hub@example.test")
    await seed.rows(
        "INSERT INTO aliases (domain_id, address, targets)"
        " SELECT id, 'n' || n || '@example.test', ARRAY['hub@example.test'] FROM domains, generate_series(1, 20000) n"
    )
    hasty = HastySource(seed.database, "hub@example.test")
    await truth.recheck(["hub@example.test"])
    await truth.recheck(["unlimited@example.test"])
    with capture_logs() as logs:
        assert await taken(hasty) == {"unlimited@example.test": FINE}
        assert await taken(hasty) == {}
    assert [line["subject"] for line in logs] == ["hub@example.test"]
    assert await seed.rows("SELECT subject FROM directory_outbox") == [("hub@example.test",)]
    patient = await taken(PostgresDirectorySource(seed.database, seconds=LONG_SECONDS))
    assert patient is not None
    assert len(patient) == 20_001


async def test_everything_is_one_reading(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    seen: list[str] = []
    async for subject, _ in truth.everything():
        if not seen:
            await seed.rows("DELETE FROM aliases")
        seen.append(subject)
    assert sorted(seen) == sorted(EVERYTHING)


async def test_many_doubts_are_kept(truth: PostgresDirectorySource, seed: DatabaseSeed) -> None:
    await truth.recheck(f"u{number}@example.test" for number in range(12_000))  # type: ignore[arg-type]
    assert await seed.value("SELECT count(DISTINCT subject) FROM directory_outbox") == 12_000


async def test_without_postgres_it_is_unavailable() -> None:
    async with pool(f"postgresql://u:p@127.0.0.1:{free_port()}/x") as database:
        truth = PostgresDirectorySource(database)
        with pytest.raises(Unavailable):
            await taken(truth)
        with pytest.raises(Unavailable):
            await truth.published([1])
        with pytest.raises(Unavailable):
            await truth.recheck(["a@example.test"])
        with pytest.raises(Unavailable):
            async with asyncio.timeout(BUSY_SECONDS):
                async for _ in truth.everything():
                    pass


async def lane_of_tenant(seed: DatabaseSeed, tenant: UUID, lane: int, *subjects: str) -> None:
    await seed.rows(
        "INSERT INTO directory_outbox (subject, lane, tenant_id) SELECT subject, $2, $3 FROM unnest($1::text[]) AS subject",
        list(subjects),
        lane,
        tenant,
    )


async def order(truth: PostgresDirectorySource, limit: int) -> list[list[str]]:
    """What is published round by round."""
    rounds: list[list[str]] = []
    while changes := await taken(truth, limit):
        rounds.append(sorted(changes))
    return rounds


async def test_tenants_take_turns_and_bulk_comes_after_what_is_interactive(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    first, second, third = sorted(new_id() for _ in range(3))
    await lane_of_tenant(seed, first, 1, *(f"i{number}@bulk.test" for number in range(9)))
    await lane_of_tenant(seed, first, 0, *(f"a{number}@a.test" for number in range(9)))
    await lane_of_tenant(seed, second, 0, "b0@b.test", "b1@b.test")
    await lane_of_tenant(seed, third, 0, "c0@c.test")
    assert await order(truth, 8) == [
        [
            "a0@a.test",
            "a1@a.test",
            "a2@a.test",
            "a3@a.test",
            "b0@b.test",
            "b1@b.test",
            "c0@c.test",
            "i0@bulk.test",
        ],
        [
            *(f"a{number}@a.test" for number in range(4, 9)),
            "i1@bulk.test",
            "i2@bulk.test",
            "i3@bulk.test",
        ],
        [f"i{number}@bulk.test" for number in range(4, 9)],
    ]


async def test_the_turn_goes_on_where_a_round_was_full(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    tenants = sorted(new_id() for _ in range(5))
    for place, tenant in enumerate(tenants):
        await lane_of_tenant(seed, tenant, 1, *(f"u{number}@t{place}.test" for number in range(2)))
    assert await order(truth, 3) == [
        ["u0@t0.test", "u0@t1.test", "u0@t2.test"],
        ["u0@t3.test", "u0@t4.test", "u1@t0.test"],
        ["u1@t1.test", "u1@t2.test", "u1@t3.test"],
        ["u1@t4.test"],
    ]


async def test_rows_know_their_tenant_and_lane(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    await truth.recheck(["fine@example.test", "who@nowhere.test"])
    await truth.recheck([f"u{number}@example.test" for number in range(101)])
    rows = await seed.rows(
        "SELECT lane, tenant_id, count(*) FROM directory_outbox GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert [tuple(row) for row in rows] == [
        (0, UUID(int=0), 1),
        (0, DEFAULT_TENANT, 1),
        (1, DEFAULT_TENANT, 101),
    ]


async def test_what_is_not_published_is_named_within_bounds(
    truth: PostgresDirectorySource, seed: DatabaseSeed
) -> None:
    assert await truth.unpublished() == Unpublished()
    await truth.recheck(["fine@example.test", "@example.test"])
    assert await truth.unpublished() == Unpublished(
        frozenset({"fine@example.test", "@example.test"})
    )
    outbox_ids = [
        number
        for (number,) in await seed.rows(
            "SELECT id FROM directory_outbox WHERE subject LIKE 'fine%'"
        )
    ]
    assert await truth.unpublished(outbox_ids) == Unpublished(frozenset({"fine@example.test"}))
    await truth.recheck([f"u{number}@example.test" for number in range(6000)])
    assert await truth.unpublished() == Unpublished(domains=frozenset({"example.test"}))
    await truth.recheck([f"@d{number}.test" for number in range(300)])
    assert await truth.unpublished() == Unpublished(everything=True)
