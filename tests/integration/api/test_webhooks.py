"""Webhooks over the REST API, and their sending to a real receiver."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.postgres.events import webhook_dispatch
from posthorn.adapters.postgres.events import webhooks as stored_webhooks
from posthorn.adapters.postgres.events.webhook_dispatch import PostgresDispatch
from posthorn.model.ip_addresses import AddressPolicy
from posthorn.ports.api_keys import Role
from posthorn.ports.webhooks import FAILURES, Shares
from posthorn.runtime.ids import new_id
from posthorn.runtime.secret_box import SecretBox
from posthorn_api.webhooks import sender as webhook_sender
from posthorn_api.webhooks.post import Poster, Unreachable
from posthorn_api.webhooks.sender import Sender
from posthorn_local.certificate import ensure_certificate
from tests.support.api import SECRET_KEY, Api, problem
from tests.support.databases import pool
from tests.support.hook_receiver import HookReceiver, reply
from tests.support.polling import LONG_SECONDS, until

LOOPBACK = AddressPolicy((IPv4Network("127.0.0.0/8"),))


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    async with HookReceiver() as running:
        yield running


@asynccontextmanager
async def sending(
    api: Api, *, seconds: float = LONG_SECONDS, **options: Any
) -> AsyncIterator[Sender]:
    async with pool(api.database_url) as database:
        sender = Sender(
            PostgresDispatch(database),
            Poster(LOOPBACK, seconds=seconds),
            SecretBox([SECRET_KEY]),
            **options,
        )
        task = asyncio.create_task(sender.run())
        try:
            yield sender
        finally:
            task.cancel()
            await asyncio.wait([task])


async def hook(api: Api, url: str, **fields: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/webhooks", json={"url": url, "events": ["*"], **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def try_out(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    answer = await api.client.post(f"/v1/webhooks/{made['id']}/test")
    assert answer.status_code == 201, answer.text
    delivery: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}/deliveries/{delivery['id']}"
    return delivery


async def delivery_of(api: Api, made: dict[str, Any], number: str) -> dict[str, Any]:
    answer = await api.client.get(f"/v1/webhooks/{made['id']}/deliveries/{number}")
    found: dict[str, Any] = answer.json()
    return found


async def in_state(api: Api, made: dict[str, Any], number: str, state: str) -> dict[str, Any]:
    async def there() -> bool:
        return bool((await delivery_of(api, made, number))["state"] == state)

    await until(there, what=f"a delivery {state}")
    return await delivery_of(api, made, number)


async def state_of(api: Api, made: dict[str, Any]) -> str:
    return str((await api.client.get(f"/v1/webhooks/{made['id']}")).json()["state"])


async def test_a_webhook_is_made_shown_changed_and_deleted(api: Api) -> None:
    await api.domain()
    made = await hook(
        api, "https://hooks.example.org/x?y=1", events=["bounced", "delivered", "bounced"]
    )
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["delivered", "bounced"]
    assert (made["state"], made["tenant"], made["domain"]) == ("active", None, None)
    one = f"/v1/webhooks/{made['id']}"
    shown = await api.client.get(one)
    assert "secret" not in shown.json()
    assert (await api.client.get("/v1/webhooks")).json()["items"] == [shown.json()]

    changes = {
        "state": "paused",
        "domain": "Example.test",
        "events": ["*", "read"],
        "url": "http://h.example.org/",
    }
    changed = await api.client.patch(one, json=changes, headers={"If-Match": shown.headers["etag"]})
    assert changed.status_code == 200, changed.text
    wanted = {**changes, "domain": "example.test", "events": ["*"]}
    assert {name: changed.json()[name] for name in changes} == wanted
    stale = await api.client.patch(
        one, json={"state": "active"}, headers={"If-Match": shown.headers["etag"]}
    )
    problem(stale, 412, "changed")
    assert (await api.client.delete(one)).status_code == 204
    problem(await api.client.get(one), 404, "not-found")


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"url": "ftp://example.org/"}, "url"),
    ({"url": "https://"}, "url"),
    ({"url": "https://user:word@example.org/"}, "url"),
    ({"url": "https://example.org:0/"}, "url"),
    ({"url": "https://example.org:99999/"}, "url"),
    ({"url": "https://exa mple.org/"}, "url"),
    ({"url": "https://10.0.0.1/"}, "url"),
    ({"url": "https://169.254.169.254/latest"}, "url"),
    ({"url": "https://[::ffff:10.0.0.1]/"}, "url"),
    ({"events": []}, "events"),
    ({"events": ["exploded"]}, "events[0]"),
    ({"domain": "elsewhere.test"}, "domain"),
    ({"tenant": "nobody"}, "tenant"),
]


async def test_what_makes_no_sense_is_refused_by_name(api: Api) -> None:
    for fields, field in UNFIT:
        body = {"url": "https://example.org/", "events": ["*"], **fields}
        problem(await api.client.post("/v1/webhooks", json=body), 422, "invalid", field)


async def test_a_tenant_has_so_many_webhooks_and_no_more(api: Api) -> None:
    tenant = await api.tenant("acme")
    await api.sql(
        "INSERT INTO webhooks (id, tenant_id, url, secret, events)"
        " SELECT gen_random_uuid(), $1, 'https://x.test/', '', '{*}' FROM generate_series(1, 50)",
        tenant,
    )
    body = {"url": "https://example.org/", "events": ["*"]}
    headers = await api.key(Role.TENANT_ADMIN, tenant)
    problem(await api.client.post("/v1/webhooks", json=body, headers=headers), 409, "conflict")
    assert (await api.client.post("/v1/webhooks", json=body)).status_code == 201


async def test_the_secret_is_shown_once_and_kept_sealed(api: Api) -> None:
    body, headers = {"url": "https://example.org/", "events": ["*"]}, {"Idempotency-Key": "once"}
    first = await api.client.post("/v1/webhooks", json=body, headers=headers)
    again = await api.client.post("/v1/webhooks", json=body, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["secret"]
    assert again.json()["secret"] is None
    (row,) = await api.sql("SELECT secret FROM webhooks")
    assert first.json()["secret"].encode() not in row["secret"]
    rotate = f"/v1/webhooks/{first.json()['id']}/rotate"
    once = await api.client.post(rotate, headers={"Idempotency-Key": "turn"})
    twice = await api.client.post(rotate, headers={"Idempotency-Key": "turn"})
    assert once.json()["secret"]
    assert twice.json()["secret"] is None
    (kept,) = await api.sql("SELECT body FROM idempotency_keys WHERE key = 'turn'")
    assert once.json()["secret"].encode() not in kept["body"]
    audit = (await api.client.get("/v1/audit", params={"action": "webhook"})).json()["items"]
    assert [line["action"] for line in audit] == ["webhook.rotate", "webhook.create"]
    assert "whsec_" not in str(audit)


async def test_what_is_sent_is_signed(api: Api, receiver: HookReceiver) -> None:
    made = await hook(api, receiver.url)
    receiver.answer = lambda _: reply(202, b"thanks")
    async with sending(api):
        delivery = await try_out(api, made)
        done = await in_state(api, made, delivery["id"], "delivered")
    (got,) = receiver.received
    assert got.path == "/hook"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["webhook-id"] == delivery["id"]
    assert got.document == delivery["event"]
    assert got.document["type"] == "test"
    assert got.is_signed_with(made["secret"])
    assert (done["attempts"], done["last_status"], done["last_reply"]) == (1, 202, "thanks")
    assert done["next_attempt_at"] is None


async def test_for_a_while_both_secrets_sign_after_a_rotation(
    api: Api, receiver: HookReceiver
) -> None:
    made = await hook(api, receiver.url)
    new = (await api.client.post(f"/v1/webhooks/{made['id']}/rotate")).json()["secret"]
    newest = (await api.client.post(f"/v1/webhooks/{made['id']}/rotate")).json()["secret"]
    now = 0.0
    async with sending(api, clock=lambda: now) as sender:
        await try_out(api, made)
        sender.wake()
        await until(lambda: _has(receiver, 1))
        now = 4_000_000_000.0
        await try_out(api, made)
        sender.wake()
        await until(lambda: _has(receiver, 2))
    first, second = receiver.received
    assert [first.is_signed_with(each) for each in (made["secret"], new, newest)] == [
        False,
        True,
        True,
    ]
    assert [second.is_signed_with(each) for each in (made["secret"], new, newest)] == [
        False,
        False,
        True,
    ]


async def _has(receiver: HookReceiver, number: int) -> bool:
    return len(receiver.received) >= number


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (reply(500, b"broken"), 500, "broken"),
        (reply(302, b"", "Location: http://127.0.0.1:1/"), 302, ""),
        (reply(404, b"x" * 100_000), 404, "x" * 2048),
        (reply(503, b"\xff\0bad"), 503, "\ufffdbad"),
        (b"nonsense\r\n\r\n", None, "the connection failed (RemoteProtocolError)"),
        (b"", None, "no answer within 2 seconds"),
    ],
    ids=["500", "redirect", "long", "octets", "no http", "silence"],
)
async def test_what_fails_is_tried_again_under_the_same_id(
    api: Api,
    receiver: HookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    status: int | None,
    text: str,
) -> None:
    monkeypatch.setattr(webhook_sender, "PAUSES", (0.05, 3600.0))
    made = await hook(api, receiver.url)
    receiver.answer = lambda _: answer
    async with sending(api, seconds=LONG_SECONDS if answer else 2):
        delivery = await try_out(api, made)

        async def tried_twice() -> bool:
            found = await delivery_of(api, made, delivery["id"])
            return (
                found["attempts"] == 2
                and found["last_reply"] == text
                and len(receiver.received) == 2
            )

        await until(tried_twice, what="two attempts")

        async def put_off() -> bool:
            (row,) = await api.sql(
                "SELECT due_at > now() + interval '45 minutes' AS put_off FROM webhook_deliveries"
            )
            return bool(row["put_off"])

        await until(put_off, what="the long pause")
    found = await delivery_of(api, made, delivery["id"])
    assert (found["state"], found["last_status"]) == ("waiting", status)
    assert {each.headers["webhook-id"] for each in receiver.received} == {delivery["id"]}


async def test_a_delivery_fails_for_good_and_is_replayed(
    api: Api, receiver: HookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sender, "PAUSES", (0.01,))
    made = await hook(api, receiver.url)
    receiver.answer = lambda _: reply(500)
    async with sending(api) as sender:
        delivery = await try_out(api, made)
        failed = await in_state(api, made, delivery["id"], "failed")
        assert failed["attempts"] == 2
        assert failed["closed_at"] is not None
        listed = f"/v1/webhooks/{made['id']}/deliveries"
        assert (await api.client.get(listed, params={"state": "delivered"})).json()["items"] == []
        assert (await api.client.get(listed, params={"state": "failed"})).json()["items"] == [
            failed
        ]
        receiver.answer = lambda _: reply(200)
        replayed = await api.client.post(f"{listed}/{delivery['id']}/replay")
        assert replayed.status_code == 200, replayed.text
        assert (replayed.json()["state"], replayed.json()["attempts"]) == ("waiting", 0)
        sender.wake()
        done = await in_state(api, made, delivery["id"], "delivered")
    assert done["id"] == delivery["id"]
    assert len(receiver.received) == 3


async def test_all_that_failed_is_replayed_the_oldest_first(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_webhooks, "MOST_REPLAYED", 2)
    made, other = (
        await hook(api, "https://a.example.org/"),
        await hook(api, "https://b.example.org/"),
    )
    await api.sql(
        "INSERT INTO webhook_deliveries (id, webhook_id, event_type, event, state, attempts, closed_at)"
        " SELECT lpad(row_number() OVER (ORDER BY n)::text, 32, '0')::uuid, w, n::text, '{}', s, 9, now()"
        " FROM generate_series(1, 3) AS n,"
        " unnest($1::uuid[]) AS w, unnest(ARRAY['failed', 'delivered']) AS s",
        [made["id"], other["id"]],
    )
    replay = f"/v1/webhooks/{made['id']}/deliveries/replay"

    async def waiting() -> list[tuple[str, str, int]]:
        rows = await api.sql(
            "SELECT webhook_id, event_type, attempts FROM webhook_deliveries WHERE state = 'waiting'"
            " AND closed_at IS NULL AND due_at <= now() ORDER BY id"
        )
        return [(str(row[0]), row[1], row[2]) for row in rows]

    first = await api.client.post(replay)
    assert (first.status_code, first.json()) == (200, {"replayed": 2, "left": 1})
    assert await waiting() == [(made["id"], "1", 0), (made["id"], "2", 0)]
    assert (await api.client.post(replay)).json() == {"replayed": 1, "left": 0}
    assert (await api.client.post(replay)).json() == {"replayed": 0, "left": 0}
    assert len(await waiting()) == 3
    await api.client.patch(f"/v1/webhooks/{other['id']}", json={"state": "paused"})
    problem(
        await api.client.post(replay.replace(made["id"], other["id"])),
        409,
        "conflict",
    )


async def test_a_receiver_may_ask_for_more_time(api: Api, receiver: HookReceiver) -> None:
    made = await hook(api, receiver.url)
    receiver.answer = lambda _: reply(429, b"", "Retry-After: 7200")
    async with sending(api):
        await try_out(api, made)

        async def is_put_off() -> bool:
            (row,) = await api.sql(
                "SELECT last_status, due_at - now() AS pause FROM webhook_deliveries"
            )
            return bool(row["last_status"] == 429 and row["pause"].total_seconds() > 7100)

        await until(is_put_off)


async def test_a_receiver_that_is_gone_is_left_alone(api: Api, receiver: HookReceiver) -> None:
    made = await hook(api, receiver.url)
    receiver.answer = lambda _: reply(410)
    async with sending(api):
        delivery = await try_out(api, made)
        await in_state(api, made, delivery["id"], "failed")
    assert await state_of(api, made) == "paused"
    problem(await api.client.post(f"/v1/webhooks/{made['id']}/test"), 409, "conflict")
    replay = f"/v1/webhooks/{made['id']}/deliveries/{delivery['id']}/replay"
    problem(await api.client.post(replay), 409, "conflict")


async def test_failures_in_a_row_are_shown_and_a_success_ends_them(
    api: Api, receiver: HookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sender, "PAUSES", (0.01,) * 100)
    monkeypatch.setattr(webhook_sender, "_POLL_SECONDS", 0.02)
    made = await hook(api, receiver.url)
    version = (await api.client.get(f"/v1/webhooks/{made['id']}")).headers["etag"]
    receiver.answer = lambda _: reply(200 if len(receiver.received) == 1 else 500)
    async with sending(api):
        await try_out(api, made)
        await until(lambda: _has(receiver, 1))
        delivery = await try_out(api, made)

        async def is_failing() -> bool:
            return await state_of(api, made) == "failing"

        await until(is_failing, what="failing")
        assert len(receiver.received) >= 1 + FAILURES
        shown = await api.client.get(f"/v1/webhooks/{made['id']}")
        assert shown.headers["etag"] == version, "its owner has changed nothing"
        receiver.answer = lambda _: reply(200)
        await in_state(api, made, delivery["id"], "delivered")
    assert await state_of(api, made) == "active"


async def test_a_paused_webhook_waits_and_goes_on(api: Api, receiver: HookReceiver) -> None:
    made = await hook(api, receiver.url)
    await try_out(api, made)
    await api.client.patch(f"/v1/webhooks/{made['id']}", json={"state": "paused"})
    async with sending(api) as sender:
        other = await hook(api, receiver.url + "/other")
        await try_out(api, other)
        sender.wake()
        await until(lambda: _has(receiver, 1))
        assert receiver.received[0].path == "/hook/other"
        await api.client.patch(f"/v1/webhooks/{made['id']}", json={"state": "active"})
        sender.wake()
        await until(lambda: _has(receiver, 2))
        assert receiver.received[1].path == "/hook"


async def test_the_first_attempt_is_timed_from_the_event_or_the_replay(
    api: Api, receiver: HookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed() -> tuple[float, float]:
        name = "posthorn_api_webhook_first_attempt_seconds"
        counted = REGISTRY.get_sample_value(f"{name}_count") or 0.0
        return counted, REGISTRY.get_sample_value(f"{name}_sum") or 0.0

    monkeypatch.setattr(webhook_sender, "PAUSES", (0.01,))
    made = await hook(api, receiver.url)
    receiver.answer = lambda _: reply(500)
    happened_at = time.time() - 1000
    id_ = UUID(int=int(happened_at * 1000) << 80 | 0x7 << 76 | 0b10 << 62 | 1)
    await api.sql(
        "INSERT INTO webhook_deliveries (id, webhook_id, event_type, event) VALUES ($1, $2, 'bounced', '{}')",
        *(id_, UUID(made["id"])),
    )
    number, seconds = timed()
    async with sending(api) as sender:
        await in_state(api, made, str(id_), "failed")
        assert len(receiver.received) == 2
        assert timed()[0] == number + 1, "the second attempt is none of the first ones"
        assert timed()[1] - seconds == pytest.approx(1000, abs=100)
        receiver.answer = lambda _: reply(200)
        await api.client.post(f"/v1/webhooks/{made['id']}/deliveries/{id_}/replay")
        sender.wake()
        await in_state(api, made, str(id_), "delivered")
    assert timed()[0] == number + 2
    assert timed()[1] - seconds == pytest.approx(1000, abs=100)


async def test_what_a_dead_sender_had_at_hand_is_sent_by_another(
    api: Api, receiver: HookReceiver
) -> None:
    made = await hook(api, receiver.url)
    delivery = await try_out(api, made)
    async with pool(api.database_url) as database:
        shares = Shares(10, 10, 10, 0)
        (parcel,) = await PostgresDispatch(database).claim(shares, LONG_SECONDS)
        assert not await PostgresDispatch(database).claim(shares, 1), "it is at hand"
    # no test waits for the end of its lease
    await api.sql("UPDATE webhook_deliveries SET due_at = now()")
    assert str(parcel.id) == delivery["id"]
    async with sending(api) as sender:

        async def is_sent() -> bool:
            sender.wake()
            return len(receiver.received) == 1

        await until(is_sent)
        assert (await in_state(api, made, delivery["id"], "delivered"))["attempts"] == 2


async def test_a_backlog_of_one_tenant_hides_no_other_s(api: Api) -> None:
    """By reading: five hundred older deliveries of one tenant hid everybody else's."""
    tenant, lone = await api.tenant("many"), await api.tenant("one")
    many = [await hook(api, f"http://127.0.0.1:1/{number}", tenant="many") for number in range(10)]
    one = await hook(api, "http://127.0.0.1:1/one", tenant="one")
    platform = await hook(api, "http://127.0.0.1:1/platform")
    fill = (
        "INSERT INTO webhook_deliveries (id, webhook_id, event_type, event, due_at)"
        " SELECT gen_random_uuid(), $1, 'test', '{}', now() - $2 * interval '1 minute' FROM generate_series(1, $3)"
    )
    for each in many:
        await api.sql(fill, each["id"], 60, 60)
    await api.sql(fill, one["id"], 2, 3)
    await api.sql(fill, platform["id"], 1, 1)
    async with pool(api.database_url) as database:
        dispatch = PostgresDispatch(database)
        taken = await dispatch.claim(Shares(8, 4, 4, 2), 60)
        by_tenant = Counter(parcel.tenant for parcel in taken)
        assert by_tenant == {tenant: 3, lone: 2, None: 1}, (
            "two of eight stay for who has nothing at work"
        )
        more = await dispatch.claim(Shares(8, 4, 4, 0, at_work={tenant: 3}), 60)
        assert Counter(parcel.tenant for parcel in more)[tenant] == 1, "four at work at a time"
        assert not await dispatch.claim(Shares(8, 4, 4, 0, at_work={tenant: 4}), 60)


async def test_claims_go_on_where_the_last_one_ended(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_dispatch, "_LOOKED_AT", 2)
    for number in range(5):
        await try_out(api, await hook(api, f"http://127.0.0.1:1/{number}"))
    async with pool(api.database_url) as database:
        dispatch = PostgresDispatch(database)
        taken = [len(await dispatch.claim(Shares(10, 4, 10, 0), 60)) for _ in range(3)]
    assert taken == [2, 2, 1]


async def test_a_slow_receiver_gets_few_at_a_time_and_holds_up_nobody(
    api: Api, receiver: HookReceiver
) -> None:
    made = await hook(api, receiver.url)
    await api.sql(
        "INSERT INTO webhook_deliveries (id, webhook_id, event_type, event)"
        " SELECT gen_random_uuid(), $1, 'test', '{}' FROM generate_series(1, 30)",
        made["id"],
    )
    async with HookReceiver() as quick:
        other = await hook(api, quick.url)
        receiver.hold.clear()
        async with sending(api, for_each=4):
            await until(lambda: _has(receiver, 4))
            await try_out(api, other)
            await until(lambda: _has(quick, 1))
            assert len(receiver.received) == 4
            receiver.hold.set()
            await until(lambda: _has(receiver, 30))
    assert receiver.most_at_once == 4


async def test_a_webhook_without_hope_is_paused_and_what_is_old_forgotten(api: Api) -> None:
    hopeless, hopeful = (
        await hook(api, "https://a.example.org/"),
        await hook(api, "https://b.example.org/"),
    )
    await api.sql("UPDATE webhooks SET state = 'failing', updated_at = now() - interval '5 days'")
    await api.sql(
        "INSERT INTO webhook_deliveries (id, webhook_id, event_type, event, state, created_at, closed_at)"
        " SELECT gen_random_uuid(), w, 'test', '{}', 'failed', now() - age, now() - age"
        " FROM unnest($1::uuid[]) AS w, unnest(ARRAY[interval '4 days', interval '8 days']) AS age",
        [hopeless["id"], hopeful["id"]],
    )
    await api.sql(
        "INSERT INTO webhook_deliveries (id, webhook_id, event_type, event, state, closed_at)"
        " VALUES (gen_random_uuid(), $1, 'test', '{}', 'delivered', now() - interval '1 day')",
        hopeful["id"],
    )
    async with pool(api.database_url) as database:
        assert [str(each) for each in await PostgresDispatch(database).upkeep()] == [hopeless["id"]]
    assert (await state_of(api, hopeless), await state_of(api, hopeful)) == ("paused", "failing")
    (row,) = await api.sql(
        "SELECT count(*), min(closed_at) > now() - interval '7 days' AS young FROM webhook_deliveries"
    )
    assert tuple(row) == (3, True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "192.0.2.1",
        "192.88.99.1",
        "::127.0.0.1",
    ],
)
def test_addresses_that_a_webhook_may_not_lead_to(address: str) -> None:
    assert not AddressPolicy().allows(address)


def test_addresses_that_a_webhook_may_lead_to() -> None:
    assert AddressPolicy().allows("8.8.8.8")
    assert AddressPolicy().allows("2606:4700::1111")
    assert AddressPolicy((ip_network("10.0.0.0/8"),)).allows("10.1.2.3")
    assert AddressPolicy((ip_network("10.0.0.0/8"),)).allows("::ffff:10.1.2.3")
    assert not AddressPolicy((ip_network("10.0.0.0/16"), ip_network("fc00::/7"))).allows("10.1.2.3")


async def test_a_name_that_leads_inside_is_not_connected_to(receiver: HookReceiver) -> None:
    with pytest.raises(Unreachable, match="no address that a webhook may lead to"):
        await Poster().post(f"http://localhost:{receiver.port}/", {}, b"{}")
    assert receiver.received == []
    assert (
        await Poster(_both()).post(f"http://localhost:{receiver.port}/", {}, b"{}")
    ).status == 200
    assert receiver.received[0].headers["host"] == f"localhost:{receiver.port}"


async def test_a_certificate_is_verified_for_the_name(tmp_path: Path) -> None:
    ensure_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    trust = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    async with HookReceiver(tls=server) as receiver:
        with pytest.raises(Unreachable, match="TLS: "):
            await Poster(_both()).post(f"https://localhost:{receiver.port}/", {}, b"{}")
        assert (
            await Poster(_both(), trust=trust).post(
                f"https://localhost:{receiver.port}/", {}, b"{}"
            )
        ).status == 200
    assert len(receiver.received) == 1


def _both() -> AddressPolicy:
    return AddressPolicy((*LOOPBACK.allowed, ip_network("::1/128")))


async def test_a_tenant_sees_its_own_webhooks_alone(api: Api) -> None:
    ours, theirs = await api.tenant("ours"), await api.tenant("theirs")
    headers = await api.key(Role.TENANT_ADMIN, ours)
    foreign = await hook(api, "https://example.org/", tenant="theirs")
    platform = await hook(api, "https://example.org/")
    own = await api.client.post(
        "/v1/webhooks", json={"url": "https://o.test/", "events": ["*"]}, headers=headers
    )
    assert own.json()["tenant"] == "ours"
    listed = (await api.client.get("/v1/webhooks", headers=headers)).json()["items"]
    assert [each["id"] for each in listed] == [own.json()["id"]]
    for other in (foreign, platform):
        problem(
            await api.client.get(f"/v1/webhooks/{other['id']}", headers=headers), 404, "not-found"
        )
    assert theirs
    unknown = f"/v1/webhooks/{own.json()['id']}/deliveries/{new_id()}"
    problem(await api.client.get(unknown, headers=headers), 404, "not-found")
