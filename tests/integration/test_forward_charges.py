"""Forwards are charged to their alias's owner, wait beyond the limit, and stop at a loop;
reports that come back are counted."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from posthorn.adapters.postgres.directory.domains import PostgresDomains
from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.directory.tenants import PostgresTenants
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.queue.administration import PostgresQueueAdministration
from posthorn.adapters.postgres.queue.enqueue import QueuePolicy
from posthorn.adapters.postgres.queue.rate_limits import PostgresThrottle
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.directory_entry import AddressEntry, RecipientStatus
from posthorn.model.forward_limits import ForwardLimits
from posthorn.model.outbound import Notify, RecipientDsn
from posthorn.ports.queue_administration import QueueFilter
from posthorn.ports.sending import Limits, RateLimitSubject, sent_message
from posthorn.ports.tenants import TenantState
from posthorn.wire.message.passed import fields_of, mark_of
from posthorn.wire.srs import rewrite
from tests.support.delivery_env import DeliveryEnv

BODY = b"From: someone@sender.example\r\nSubject: hello\r\n\r\nworld\r\n"
SENDER = "someone@sender.example"


@pytest.fixture
async def env(env: DeliveryEnv) -> DeliveryEnv:
    await env.seed.domain("example.test")
    return env


async def arrives(env: DeliveryEnv, *to: str, **facts: Any) -> None:
    await env.send(BODY, *to, **({"reverse_path": SENDER} | facts))
    await env.deliver(1)
    await env.settled()
    assert await env.dead.parked(0, 10) == []
    await env.seed.sums_hold()


async def limit(env: DeliveryEnv, kind: str, most: int | None) -> None:
    await env.seed.rows(f"UPDATE {kind} SET max_recipients_per_hour = $1", most)


async def waits(env: DeliveryEnv) -> list[float]:
    """Seconds until each forward may go, to the minute, in the order they were entered. The test
    itself takes some of them."""
    rows = await env.seed.rows(
        "SELECT extract(epoch FROM due_at - created_at)::float8 FROM outbound_recipients ORDER BY id"
    )
    return [60 * round(seconds / 60) for (seconds,) in rows]


async def standing(env: DeliveryEnv, address: str) -> AddressEntry:
    truth = {
        subject: entry
        async for subject, entry in PostgresDirectorySource(env.seed.database).everything()
    }
    entry = truth[address]
    assert isinstance(entry, AddressEntry)
    return entry


@pytest.mark.parametrize("kind", ["tenants", "domains"])
async def test_beyond_its_owners_limit_an_alias_forwards_later(env: DeliveryEnv, kind: str) -> None:
    await limit(env, kind, 2)
    await env.seed.alias("team@example.test", *(f"u{n}@far.test" for n in range(5)))
    await arrives(env, "team@example.test")
    rows = await env.seed.rows(
        "SELECT state, last_status, last_reply LIKE '450 4.7.1 the %limit of 2 %', attempts FROM outbound_recipients ORDER BY id"
    )
    assert rows == [("queued", "", False, 0)] * 2 + [("deferred", "4.7.1", True, 0)] * 3
    assert await waits(env) == [0, 0, 1800, 3600, 5400]
    assert await env.seed.value("SELECT due_at <= now() FROM outbound_destinations") is True
    await arrives(env, "team@example.test")  # at the end of the line
    assert (await waits(env))[5:] == [7200, 9000, 10800, 12600, 14400]
    await env.seed.rows("DELETE FROM throttles")
    await limit(env, kind, None)
    await arrives(env, "team@example.test")
    assert (await waits(env))[10:] == [0] * 5


async def test_the_counter_is_the_one_of_the_owners_own_sending_and_its_line_does_not_stop_that(
    env: DeliveryEnv,
) -> None:
    await limit(env, "tenants", 3600)
    await env.seed.alias("team@example.test", "a@far.test", "b@far.test")
    payer = RateLimitSubject("tenant", str(DEFAULT_TENANT), Limits(recipients_per_hour=3600))
    throttle = PostgresThrottle(env.seed.database)
    assert await throttle.take(sent_message([payer], 3599)) == 0
    await arrives(env, "team@example.test")
    first, second = await waits(env)
    assert first == 0 and second <= 1
    for _ in range(3):
        await arrives(env, "team@example.test")
    key = f"recipients-tenant:{DEFAULT_TENANT}"
    ((ahead,),) = await env.seed.rows(
        "SELECT extract(epoch FROM full_at - now())::float8 FROM throttles WHERE key = $1", key
    )
    assert ahead <= 3600


async def test_an_alias_without_limited_owners_has_the_limit_of_the_settings(
    env: DeliveryEnv,
) -> None:
    mailboxes = PostgresMailboxes(
        env.seed.database, QueuePolicy(limits=ForwardLimits(alias_recipients=1))
    )
    env.deliverer._mailboxes = mailboxes
    for name in ("one", "two"):
        await env.seed.alias(f"{name}@example.test", "a@far.test", "b@far.test")
        await arrives(env, f"{name}@example.test")
    assert await waits(env) == [0, 3600, 0, 3600]


async def test_what_is_delivered_again_is_charged_once(env: DeliveryEnv) -> None:
    await limit(env, "tenants", 1)
    await env.seed.alias("team@example.test", "a@far.test")
    sent = await env.send(BODY, "team@example.test", reverse_path=SENDER)
    (delivery,) = await env.take(1)
    await env.deliverer.deliver([delivery])
    before = await env.seed.rows("SELECT key, full_at FROM throttles ORDER BY key")
    await env.ingest.accept(sent, BODY)  # its acknowledgement was lost
    await arrives(env, "nobody@example.test", reverse_path="")
    assert await env.seed.rows("SELECT key, full_at FROM throttles ORDER BY key") == before
    assert len(before) == 1


async def test_mail_without_forwards_asks_no_counter(env: DeliveryEnv) -> None:
    await limit(env, "tenants", 1)
    await env.seed.account("bob@example.test")
    for _ in range(3):
        await arrives(
            env, "bob@example.test", "x@far.test", role="submission", tenant=DEFAULT_TENANT
        )
    assert await waits(env) == [0, 0, 0]
    assert await env.seed.rows("SELECT key FROM throttles") == []


async def test_while_its_owners_counter_is_empty_the_directory_says_so_of_the_alias(
    env: DeliveryEnv,
) -> None:
    await limit(env, "tenants", 1)
    await env.seed.alias("inner@example.test", "a@far.test", "b@far.test")
    await env.seed.alias("team@example.test", "inner@example.test")
    await env.seed.alias("other@example.test", "c@far.test")
    assert await standing(env, "team@example.test") == AddressEntry(RecipientStatus.DELIVERABLE)
    await env.seed.drain_outbox()
    await arrives(env, "team@example.test")
    assert await env.seed.drain_outbox() == ["inner@example.test", "team@example.test"]
    now = time.time()
    for address in ("team@example.test", "inner@example.test"):
        entry = await standing(env, address)
        assert (
            entry.at(now) is RecipientStatus.LIMITED
            and entry.at(now + 3590) is RecipientStatus.LIMITED
        )
        assert (
            entry.at(now + 3700) is RecipientStatus.DELIVERABLE
            or entry.at(now + 7300) is RecipientStatus.DELIVERABLE
        )
    assert (await standing(env, "other@example.test")).limited_until is None
    await arrives(env, "team@example.test")
    await env.seed.drain_outbox()
    await PostgresTenants(env.seed.database).change(
        None, "default", {"max_recipients_per_hour": 100}
    )
    assert await env.seed.drain_outbox() == ["inner@example.test", "team@example.test"]
    assert await standing(env, "team@example.test") == AddressEntry(RecipientStatus.DELIVERABLE)


async def test_a_limit_of_none_at_all_keeps_forwards_until_their_time_is_over(
    env: DeliveryEnv,
) -> None:
    await PostgresDomains(env.seed.database).change_domain(
        None, "example.test", {"max_recipients_per_hour": 0}
    )
    await env.seed.alias("team@example.test", "a@far.test")
    await arrives(env, "team@example.test")
    ((state, at_end),) = await env.seed.rows(
        "SELECT state, due_at >= expires_at - interval '1 second' FROM outbound_recipients"
    )
    assert (state, at_end) == ("deferred", True)


async def test_a_tenant_cannot_hurry_past_its_limit_and_the_platform_can(env: DeliveryEnv) -> None:
    await limit(env, "tenants", 1)
    await env.seed.alias("team@example.test", "a@far.test", "b@far.test")
    await arrives(env, "team@example.test")
    queue = PostgresQueueAdministration(env.seed.database)
    (late,) = [
        item
        for item in await queue.items(None, QueueFilter(), None, 10)
        if item.due_at and item.due_at > item.created_at
    ]
    for action in ("retry", "hold", "release"):
        item = await queue.act(DEFAULT_TENANT, action, late.id)
    assert item.due_at is not None and item.due_at > item.created_at + timedelta(seconds=3000)
    item = await queue.act(None, "retry", late.id)
    assert item.due_at is not None and item.due_at < item.created_at + timedelta(seconds=600)


# Loops


async def test_a_forwarded_copy_carries_its_aliass_mark_and_is_not_forwarded_by_it_again(
    env: DeliveryEnv,
) -> None:
    (key,) = env.secret_box.derived("srs")
    await env.seed.alias("loop@example.test", "a@far.test", "b@far.test")
    await env.seed.alias("other@example.test", "c@far.test")
    await arrives(env, "loop@example.test")
    headers = await env.seed.rows("SELECT DISTINCT header FROM outbound_recipients")
    assert headers == [(fields_of("loop@example.test", key),)]
    assert headers[0][0].startswith("Delivered-To: loop@example.test\r\nX-Posthorn-Passed: ")
    await env.seed.rows("DELETE FROM outbound_recipients")
    await env.seed.rows("UPDATE outbound_messages SET open = 0")
    await env.seed.rows("UPDATE messages SET refs = 0")
    await env.seed.rows("UPDATE segments SET live_octets = 0")
    sent = await env.send(
        BODY,
        "loop@example.test",
        "other@example.test",
        reverse_path=SENDER,
        passed=(mark_of("loop@example.test", key),),
    )
    await env.deliver(1)
    rows = await env.seed.rows(
        "SELECT recipient, state, last_status, notice FROM outbound_recipients ORDER BY recipient"
    )
    assert rows == [
        ("c@far.test", "queued", "", None),
        ("loop@example.test", "bounced", "5.4.6", "failed"),
    ]
    ((_, detail),) = [event for event in env.events.details_of(sent.id) if event[0] == "bounced"]
    assert (detail["recipient"], detail["status"]) == ("loop@example.test", "5.4.6")


async def test_nobody_is_told_of_a_loop_of_notices_but_it_is_found(env: DeliveryEnv) -> None:
    (key,) = env.secret_box.derived("srs")
    await env.seed.alias("loop@example.test", "a@far.test", "b@far.test")
    await arrives(
        env, "loop@example.test", reverse_path="", passed=(mark_of("loop@example.test", key),)
    )
    rows = await env.seed.rows(
        "SELECT recipient, state, notice, closed_at IS NULL, tenant_id FROM outbound_recipients"
    )
    assert rows == [("loop@example.test", "bounced", None, False, DEFAULT_TENANT)]


async def test_a_mark_that_is_forged_stops_nothing(env: DeliveryEnv) -> None:
    await env.seed.alias("team@example.test", "a@far.test")
    await arrives(
        env, "team@example.test", passed=(mark_of("team@example.test", b"another key"), "x")
    )
    assert await env.seed.rows("SELECT state FROM outbound_recipients") == [("queued",)]


# Returns and strangers


async def test_few_reports_an_hour_come_back_by_one_address(env: DeliveryEnv) -> None:
    env.deliverer._mailboxes = PostgresMailboxes(
        env.seed.database,
        QueuePolicy(limits=ForwardLimits(returns_per_path=2, returns_per_address=3)),
    )
    (key,) = env.secret_box.derived("srs")
    day = int(time.time() // 86_400)
    one, other = (
        rewrite("victim@other.test", "example.test", key, day, tag).lower()
        for tag in ("AAAA", "BBBB")
    )
    for path in (one, one, one, other, other):
        await arrives(env, path, reverse_path="")
    # what is put off counts for its address as well
    assert await waits(env) == [0, 0, 1800, 1200, 2400]
    rows = await env.seed.rows(
        "SELECT recipient, last_status FROM outbound_recipients WHERE state = 'deferred'"
    )
    assert rows == [("victim@other.test", "4.7.1")] * 3


async def test_a_stranger_gets_no_report_of_success_and_never_a_body(env: DeliveryEnv) -> None:
    await env.seed.account("bob@example.test")
    await env.seed.alias("out@example.test", "a@far.test")
    dsn = dict.fromkeys(
        ("bob@example.test", "out@example.test"), RecipientDsn(Notify.SUCCESS | Notify.FAILURE)
    )
    await arrives(
        env,
        "bob@example.test",
        "out@example.test",
        dsn=dsn,
        ret="FULL",
        client_address="192.0.2.77",
    )
    assert await env.seed.rows("SELECT recipient, state, notify FROM outbound_recipients") == [
        ("a@far.test", "queued", Notify.FAILURE)
    ]
    assert await env.seed.rows("SELECT ret, client_network FROM outbound_messages") == [
        ("HDRS", "192.0.2.0/24")
    ]


async def test_a_suppressed_target_of_an_alias_gets_nothing_and_nobody_is_told(
    env: DeliveryEnv,
) -> None:
    await env.seed.alias("out@example.test", "gone@far.test")
    await env.seed.alias("list@example.test", "gone@far.test", "well@far.test")
    await env.seed.rows(
        "INSERT INTO suppressions (tenant_id, address, reason, source) VALUES ($1, 'gone@far.test', 'x', 'api')",
        DEFAULT_TENANT,
    )
    await arrives(env, "out@example.test")
    await arrives(env, "list@example.test")
    rows = await env.seed.rows(
        "SELECT original, recipient, state, notice, tenant_id FROM outbound_recipients ORDER BY id"
    )
    assert rows == [
        ("out@example.test", "gone@far.test", "bounced", None, DEFAULT_TENANT),
        ("list@example.test", "well@far.test", "queued", None, DEFAULT_TENANT),
        ("list@example.test", "gone@far.test", "bounced", None, DEFAULT_TENANT),
    ]


async def test_an_alias_that_leads_elsewhere_takes_nothing_while_its_tenant_is_suspended(
    env: DeliveryEnv,
) -> None:
    await env.seed.account("bob@example.test")
    await env.seed.alias("out@example.test", "a@far.test")
    await env.seed.alias("above@example.test", "out@example.test")
    await env.seed.alias("mixed@example.test", "a@far.test", "bob@example.test")
    await env.seed.alias("here@example.test", "bob@example.test")
    tenants = PostgresTenants(env.seed.database)
    await tenants.change(None, "default", {"state": TenantState.SUSPENDED})
    assert {"mixed@example.test", "out@example.test"} <= set(await env.seed.drain_outbox())
    for address in ("out@example.test", "above@example.test", "mixed@example.test"):
        assert await standing(env, address) == AddressEntry(RecipientStatus.SUSPENDED)
    for address in ("bob@example.test", "here@example.test"):
        assert await standing(env, address) == AddressEntry(RecipientStatus.DELIVERABLE)
    await tenants.change(None, "default", {"state": TenantState.ACTIVE})
    assert {"mixed@example.test", "out@example.test"} <= set(await env.seed.drain_outbox())
    assert await standing(env, "above@example.test") == AddressEntry(RecipientStatus.DELIVERABLE)
