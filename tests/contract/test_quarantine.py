"""The port Quarantine on PostgreSQL: copies withheld, released once, deleted and expired, with every
reference counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.accounts import PostgresAccounts
from posthorn.adapters.postgres.directory.domains import PostgresDomains
from posthorn.adapters.postgres.directory.tenants import PostgresTenants
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.mailboxes.quarantine import PostgresQuarantine
from posthorn.adapters.postgres.mailboxes.retention import PostgresRetention
from posthorn.adapters.postgres.mailboxes.segments import PostgresSegmentCatalog
from posthorn.adapters.postgres.queue.enqueue import QueuePolicy
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import Action
from posthorn.model.outbound import Outbound
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.filing import Withheld
from posthorn.ports.listing import ListQuery
from posthorn.ports.quarantine import QuarantineFilter
from posthorn.ports.segments import SegmentMessage
from posthorn.runtime.ids import new_id
from tests.support.builders import make_message, make_outbound, make_segment
from tests.support.databases import as_part, pool
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("sound")

STRANGER = uuid4()
"""A tenant to whom nothing belongs."""


@pytest.fixture
def quarantine(database: Database) -> PostgresQuarantine:
    return PostgresQuarantine(database)


def withheld_from(
    accounts: Sequence[int],
    *,
    reached: Sequence[int] = (),
    forwards: Sequence[Outbound] = (),
    queued: Sequence[Outbound] = (),
    reason: str = "score",
    size: int = 1000,
) -> SegmentMessage:
    """Return a message that is withheld from accounts and an alias, and reaches others."""
    decision = Decision(Action.QUARANTINE, reason, 9.0, "9 points")
    copies = [
        Withheld(new_id(), f"user{each}@example.test", each, DEFAULT_TENANT, decision)
        for each in accounts
    ]
    if forwards:
        alias = "out@example.test"
        copies.append(Withheld(new_id(), alias, None, DEFAULT_TENANT, decision, tuple(forwards)))
    return replace(
        make_message(reached, size=size),
        outbound=tuple(queued),
        tenant=DEFAULT_TENANT,
        withheld=tuple(copies),
    )


def forward(recipient: str) -> Outbound:
    return make_outbound(
        recipient,
        "SRS0=x@example.test",
        original="out@example.test",
        tenant=DEFAULT_TENANT,
        alias="out@example.test",
        header="X-Mark: 1\r\n",
    )


async def ids(quarantine: PostgresQuarantine, tenant: UUID | None = None) -> list[UUID]:
    return [
        each.id
        for each in (await quarantine.items(tenant, QuarantineFilter(), ListQuery(100))).items
    ]


async def test_a_released_copy_is_in_the_inbox_once(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes, quarantine: PostgresQuarantine
) -> None:
    one, other = await seed.accounts(2)
    message = withheld_from([one, other])
    await mailboxes.deliver([make_segment([message])])
    assert await seed.used(one) == (0, 0)
    first, _ = message.withheld
    results = await asyncio.gather(
        *(quarantine.release(None, first.id, is_ham=True) for _ in range(4)),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in results) == ["NotFound"] * 3 + ["Restored"]
    assert await seed.inbox(one) == [(1, message.envelope.id)]
    assert await seed.used(one) == (1000, 1)
    assert await ids(quarantine) == [message.withheld[1].id]
    assert await seed.rows("SELECT account_id, message_id, wanted FROM classifications") == [
        (one, message.envelope.id, "ham")
    ]
    received = message.envelope.received_at
    assert (
        await seed.value("SELECT extract(epoch FROM internal_date)::float8 FROM mailbox_entries")
        == received
    )
    await seed.sums_hold()


async def test_trap_28_a_full_account_gets_no_release_and_a_virus_none_but_by_admins(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes, quarantine: PostgresQuarantine
) -> None:
    (account,) = await seed.accounts(1, quota=1500)
    messages = [withheld_from([account], reason="virus"), withheld_from([account])]
    await mailboxes.deliver([make_segment(messages)])
    virus, spam = (each.withheld[0].id for each in messages)
    with pytest.raises(NotFound):
        await quarantine.release(None, virus, viruses=False)
    await quarantine.release(None, virus)
    with pytest.raises(Conflict):
        await quarantine.release(None, spam, viruses=False)
    assert await ids(quarantine) == [spam]
    await seed.sums_hold()


@pytest.mark.parametrize("queued", ["never", "open", "closed"])
async def test_trap_28_a_released_forward_is_queued_with_its_envelope(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes, quarantine: PostgresQuarantine, queued: str
) -> None:
    await seed.domain("example.test")
    await seed.alias("out@example.test", "a@far.test", "b@far.test")
    before = [] if queued == "never" else [make_outbound("c@far.test", tenant=DEFAULT_TENANT)]
    forwards = [forward("a@far.test"), forward("b@far.test")]
    message = withheld_from([], forwards=forwards, queued=before)
    await mailboxes.deliver([make_segment([message])])
    if queued == "closed":
        await seed.rows("UPDATE outbound_recipients SET closed_at = now(), state = 'delivered'")
        await seed.rows("UPDATE outbound_messages SET open = 0")
        await seed.rows("UPDATE messages SET refs = refs - 1")
    await seed.sums_hold()
    restored = await quarantine.release(None, message.withheld[0].id)
    assert (restored.queued, restored.destinations) == (2, frozenset({"far.test"}))
    rows = await seed.rows(
        "SELECT recipient, reverse_path, original, header, state FROM outbound_recipients"
        " WHERE original <> '' ORDER BY 1"
    )
    assert rows == [
        (name, "SRS0=x@example.test", "out@example.test", "X-Mark: 1\r\n", "queued")
        for name in ("a@far.test", "b@far.test")
    ]
    assert await seed.value("SELECT due_at <= now() FROM outbound_destinations")
    with pytest.raises(NotFound):
        await quarantine.release(None, message.withheld[0].id)
    await seed.sums_hold()


async def test_what_is_released_is_tried_as_long_as_the_queue_policy_says(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes, database: Database
) -> None:
    quarantine = PostgresQuarantine(database, QueuePolicy(1000, 100))
    message = withheld_from([], forwards=[forward("a@far.test")])
    await mailboxes.deliver([make_segment([message])])
    await quarantine.release(None, message.withheld[0].id)
    tried = "(extract(epoch FROM expires_at - now()) / 10)::int BETWEEN 90 AND 100"
    assert await seed.rows(f"SELECT {tried} FROM outbound_recipients") == [(True,)]


async def test_the_collector_keeps_what_is_withheld_until_it_is_deleted(
    seed: DatabaseSeed,
    mailboxes: PostgresMailboxes,
    quarantine: PostgresQuarantine,
    database: Database,
) -> None:
    (account,) = await seed.accounts(1)
    message = withheld_from([account], forwards=[forward("a@far.test")])
    segment = make_segment([message])
    await mailboxes.deliver([segment])
    catalog = PostgresSegmentCatalog(database)
    assert [each.id for each in await catalog.live_messages(segment.id)] == [message.envelope.id]
    for copy in message.withheld:
        await quarantine.delete(None, copy.id)
        with pytest.raises(NotFound):
            await quarantine.delete(None, copy.id)
    assert await catalog.live_messages(segment.id) == []
    assert await seed.value("SELECT live_octets FROM segments") == 0
    await seed.sums_hold()


async def test_copies_expire_for_the_role_of_delivery(
    seed: DatabaseSeed,
    mailboxes: PostgresMailboxes,
    quarantine: PostgresQuarantine,
    database_url: str,
) -> None:
    (account,) = await seed.accounts(1)
    messages = [withheld_from([account], forwards=[forward("a@far.test")]) for _ in range(3)]
    await mailboxes.deliver([make_segment(messages)])
    days = "SELECT DISTINCT expires_at - created_at = interval '30 days' FROM quarantine"
    assert await seed.rows(days) == [(True,)]
    kept = messages[2].withheld[0].id
    await seed.rows("UPDATE quarantine SET expires_at = now() WHERE id <> $1", kept)
    async with pool(as_part(database_url, "delivery")) as deliverys:
        retention = PostgresRetention(deliverys)
        assert sum((await retention.quarantined()).values()) == 6
        steps = [await retention.expire_quarantine(3) for _ in range(2)]
        assert await retention.quarantined() == {messages[2].withheld[0].decision.reason: 1}
    assert [(each.entries, each.is_over) for each in steps] == [(3, False), (2, True)]
    assert await ids(quarantine) == [kept]
    await seed.sums_hold()


async def test_what_is_deleted_with_its_owner_loses_its_references(
    seed: DatabaseSeed,
    mailboxes: PostgresMailboxes,
    quarantine: PostgresQuarantine,
    database: Database,
) -> None:
    one, other = await seed.accounts(2)
    message = withheld_from([one, other], forwards=[forward("a@far.test")])
    await mailboxes.deliver([make_segment([message])])
    await PostgresAccounts(database).delete_account(None, "user0@example.test")
    assert len(await ids(quarantine)) == 2
    with pytest.raises(NotFound):
        await quarantine.release(None, message.withheld[0].id)
    await seed.sums_hold()
    await seed.rows("INSERT INTO tenants (id, name) VALUES ($1, 'acme')", STRANGER)
    await seed.rows("UPDATE quarantine SET tenant_id = $1", STRANGER)
    await PostgresTenants(database).delete(None, "acme")
    assert await ids(quarantine) == []
    await seed.sums_hold()


async def test_a_domain_that_is_taken_over_takes_no_copies_along(
    seed: DatabaseSeed,
    mailboxes: PostgresMailboxes,
    quarantine: PostgresQuarantine,
    database: Database,
) -> None:
    (account,) = await seed.accounts(1)
    message = withheld_from([account], forwards=[forward("a@far.test")])
    await mailboxes.deliver([make_segment([message])])
    await seed.rows("INSERT INTO tenants (id, name) VALUES ($1, 'acme')", STRANGER)
    await seed.rows("UPDATE domains SET verified_at = NULL")
    await PostgresDomains(database).claim_domain(STRANGER, "example.test")
    assert await ids(quarantine) == []
    assert await seed.value("SELECT refs FROM messages") == 0
    await seed.sums_hold()


async def test_tenants_see_their_own_copies_alone(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes, quarantine: PostgresQuarantine
) -> None:
    (account,) = await seed.accounts(1)
    message = withheld_from([account], forwards=[forward("a@far.test")])
    await mailboxes.deliver([make_segment([message])])
    copies = [each.id for each in reversed(message.withheld)]
    assert await ids(quarantine, DEFAULT_TENANT) == copies
    assert await ids(quarantine, STRANGER) == []
    for copy in copies:
        for call in (quarantine.item, quarantine.body, quarantine.release, quarantine.delete):
            with pytest.raises(NotFound):
                await call(STRANGER, copy)
    with pytest.raises(NotFound):
        await quarantine.items(STRANGER, QuarantineFilter("user0@example.test"), ListQuery(10))
    assert await ids(quarantine) == copies


async def test_copies_are_listed_by_page_and_filter(
    seed: DatabaseSeed, mailboxes: PostgresMailboxes, quarantine: PostgresQuarantine
) -> None:
    one, other = await seed.accounts(2)
    first = withheld_from([one, other], reason="virus")
    second = withheld_from([one], forwards=[forward("a@far.test")])
    await mailboxes.deliver([make_segment([first, second])])
    everything = [each.id for message in (second, first) for each in reversed(message.withheld)]
    start = await quarantine.items(None, QuarantineFilter(), ListQuery(2))
    rest = await quarantine.items(None, QuarantineFilter(), ListQuery(10, start.last))
    pages = [*start.items, *rest.items]
    assert [each.id for each in pages] == everything

    async def number(**which: object) -> int:
        return len((await quarantine.items(None, QuarantineFilter(**which), ListQuery(10))).items)  # type: ignore[arg-type]

    assert await number(account="user0@example.test") == 2
    assert await number(reason="virus") == 2
    assert await number(message=second.envelope.id) == 2
    assert await number(domain="example.test", account="user1@example.test") == 1
    assert await number(domain="other.test") == 0
    copy, location = await quarantine.body(None, everything[0])
    assert (copy.account, copy.recipient, copy.subject) == (None, "out@example.test", "Hello")
    assert (location.message, location.size) == (second.envelope.id, 1000)
