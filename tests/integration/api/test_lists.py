"""Lists: every order page by page, searches, states, totals, and whose objects ``tenant`` shows;
generated from the operations that have these parameters."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from posthorn.adapters.postgres.events.message_index import PostgresMessageIndex
from posthorn.ports.api_keys import Role
from posthorn.ports.message_index import INBOUND, IndexedMessage, MessageHead
from posthorn.runtime.ids import new_id
from posthorn_api.app import operations
from tests.support.api import Api, problem
from tests.support.databases import pool

NAMES = ("ours", "theirs")
SEEN_BY_ALL = {"listRoutes"}
"""Lists of what belongs to no tenant."""


def parameters(operation: APIRoute) -> dict[str, Any]:
    """Query parameters of an operation, with their schemas' values."""
    return {
        each.alias: each.field_info.annotation
        for each in get_flat_params(operation.dependant)
        if isinstance(each.field_info, Query)
    }


def values(annotation: Any) -> list[str]:
    return [value for option in annotation.__args__ for value in getattr(option, "__args__", ())]


LISTS = {
    str(each.operation_id): each
    for each in operations()
    if {"cursor", "sort"} <= parameters(each).keys() and "{" not in each.path
}
"""The lists of nouns that the whole platform has."""


@pytest.fixture
async def both(api: Api) -> Api:
    """Two tenants with three of everything each."""
    for name in NAMES:
        tenant = await api.tenant(name)
        for each in "bca":
            await api.domain(f"{each}.{name}.test", tenant=name)
        for each in "abc":
            await api.account(f"{each}@a.{name}.test")
            await api.alias(f"to-{each}@b.{name}.test", f"{each}@a.{name}.test")
            await api.enter(f"{each}@far.test", sender=f"a@a.{name}.test", tenant=tenant)
            await api.client.put(f"/v1/routes/{each}.{name}.route", json={"host": "mx.test"})
            await api.sql(
                "INSERT INTO suppressions (tenant_id, address, reason, source) VALUES ($1, $2, $3, 'api')",
                *(tenant, f"{each}@{name}.elsewhere.test", f"asked by {each}"),
            )
            await api.sql(
                "INSERT INTO webhooks (id, tenant_id, url, secret, events) VALUES ($1, $2, $3, '', '{*}')",
                *(new_id(), tenant, f"https://{each}.{name}.test/"),
            )
            await api.key(Role.READ_ONLY, tenant)
            await _found(api, tenant, name, each)
    await api.sql("UPDATE accounts SET used_bytes = id % 2, state = 'suspended' WHERE id % 3 = 0")
    await api.sql("UPDATE api_keys SET last_used_at = now() WHERE name = 'key 2'")
    return api


async def _found(api: Api, tenant: UUID, name: str, each: str) -> None:
    """Put a message into quarantine, a complaint and an entry of the index of messages there."""
    message, recipient = new_id(), f"to-{each}@b.{name}.test"
    await api.sql(
        "INSERT INTO messages (id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,"
        " return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id)"
        " VALUES ($1, 0, 9, 'none', 9, false, '', 0, 1, now(), '', $2, $3, '', '')",
        *(message, f"about {each}", f"{each}@{name}.author.test"),
    )
    await api.sql(
        "INSERT INTO quarantine (id, message_id, tenant_id, recipient, reason, detail, score, envelope, size_crlf,"
        " expires_at) VALUES ($1, $2, $3, $4, 'score', 'points', $5, '', 9, now() + interval '1 day')",
        *(new_id(), message, tenant, recipient, (ord(each) * 7) % 5 - 1.5),
    )
    await api.sql(
        "INSERT INTO complaints (id, tenant_id, recipient, domain, feedback_type, reporter, is_believed, is_suppressed)"
        " VALUES ($1, $2, $3, $4, 'abuse', 'provider.test', true, false)",
        *(message, tenant, f"{each}@{name}.elsewhere.test", f"a.{name}.test"),
    )
    entry = IndexedMessage(
        *(message, tenant, recipient, INBOUND),
        MessageHead("", f"{each}@{name}.author.test", f"about {each}", "", 9),
        *("delivered", "filed", 0.0),
    )
    async with pool(api.database_url) as database:
        await PostgresMessageIndex(database).write([entry])


async def whole(api: Api, path: str, limit: int, **asked: Any) -> list[dict[str, Any]]:
    """All items of a list, by pages."""
    items: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next_cursor": None}
    while not items or page["next_cursor"]:
        more = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        answer = await api.client.get(path, params={"limit": limit, **asked, **more})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if not page["items"]:
            break
    return items


async def test_every_order_is_whole_page_by_page_and_both_ways(both: Api) -> None:
    for operation in LISTS.values():
        path, orders = operation.path, values(parameters(operation)["sort"])
        assert {order.removeprefix("-") for order in orders} == {
            order for order in orders if not order.startswith("-")
        }
        asked = {"tenant": "ours"} if path == "/v1/suppressions" else {}
        counted = (await both.client.get(path, params={"total": True, **asked})).json()
        plain = await whole(both, path, 2, **asked)
        assert counted["total"] >= 2
        if path not in ("/v1/audit", "/v1/api-keys"):  # asking writes there
            assert len(plain) == counted["total"], path
        for order in orders:
            items = await whole(both, path, 2, sort=order, **asked)
            assert sorted(map(str, items)) == sorted(map(str, plain)), (path, order)
            if order.startswith("-"):
                forth = await whole(both, path, 500, sort=order[1:], **asked)
                assert items == forth[::-1], (path, order)
        first = await both.client.get(path, params={"limit": 1, "sort": orders[0], **asked})
        encoded = first.json()["next_cursor"]
        tag, _ = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        for other in (*orders[1:], None):
            wrong = {"cursor": encoded, **asked}
            answer = await both.client.get(path, params=wrong | ({"sort": other} if other else {}))
            problem(answer, 422, "invalid", "cursor")
        problem(await both.client.get(path, params={"sort": "x"}), 422, "invalid", "sort")
        for place in (
            [],
            ["x"],
            [1],
            ["x", "y"],
            [1, 1],
            ["2026-01-01", 1],
            [True],
            [[1]],
            [2**70],
        ):
            for made_for in (None, *orders):
                text = json.dumps([tag, place if made_for is None else [made_for, *place]])
                forged = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
                given = {"cursor": forged, **({"sort": made_for} if made_for else {})}
                answer = await both.client.get(path, params=given)
                assert answer.status_code in (200, 422), (path, given, answer.text)


async def test_what_is_sorted_by(both: Api) -> None:
    async def of(path: str, field: str, sort: str) -> list[Any]:
        return [item[field] for item in await whole(both, path, 4, sort=sort)]

    for path, sort, field in (
        ("/v1/accounts", "address", "address"),
        ("/v1/accounts", "used", "used_bytes"),
        ("/v1/accounts", "created", "created_at"),
        ("/v1/domains", "created", "created_at"),
        ("/v1/tenants", "created", "created_at"),
        ("/v1/api-keys", "name", "name"),
        ("/v1/webhooks", "url", "url"),
        ("/v1/queue", "due", "next_attempt_at"),
        ("/v1/audit", "at", "id"),
        ("/v1/quarantine", "score", "score"),
        ("/v1/quarantine", "created", "created_at"),
        ("/v1/messages", "received", "received_at"),
        ("/v1/complaints", "created", "id"),
    ):
        found = await of(path, field, sort)
        assert found == sorted(found), (path, sort)
    assert (await of("/v1/api-keys", "name", "-used"))[0] in ("key 2", "bootstrap")


async def test_q_and_state_narrow_the_list_and_its_total(both: Api) -> None:
    for path, asked, number in (
        ("/v1/domains", {"q": "A.OURS"}, 1),
        ("/v1/domains", {"state": "verified"}, 6),
        ("/v1/domains", {"state": "unverified"}, 0),
        ("/v1/domains", {"dns": "unchecked", "q": "ours"}, 3),
        ("/v1/accounts", {"q": "b@A."}, 2),
        ("/v1/accounts", {"state": "suspended"}, 2),
        ("/v1/accounts", {"q": "ours", "domain": "b.ours.test"}, 0),
        ("/v1/aliases", {"q": "to-c@"}, 2),
        ("/v1/aliases", {"q": "c@a.theirs"}, 1),
        ("/v1/aliases", {"target": "C@A.theirs.test"}, 1),
        ("/v1/aliases", {"target": "c@a.theirs.test", "tenant": "ours"}, 0),
        ("/v1/routes", {"q": "ours"}, 3),
        ("/v1/routes", {"q": "MX.test"}, 6),
        ("/v1/webhooks", {"q": "//a.", "state": "active"}, 2),
        ("/v1/webhooks", {"state": "failing"}, 0),
        ("/v1/tenants", {"q": "our"}, 1),
        ("/v1/tenants", {"state": "suspended"}, 0),
        ("/v1/api-keys", {"q": "Bootstrap", "state": "active"}, 1),
        ("/v1/api-keys", {"state": "expired"}, 0),
        ("/v1/queue", {"q": "B@far"}, 2),
        ("/v1/queue", {"q": "a.ours", "state": "queued"}, 3),
        ("/v1/suppressions", {"q": "asked BY", "tenant": "theirs"}, 3),
        ("/v1/audit", {"q": "@B.ours"}, 3),
        ("/v1/quarantine", {"q": "TO-b@"}, 2),
        ("/v1/quarantine", {"q": "About C", "tenant": "ours"}, 1),
        ("/v1/quarantine", {"q": "ours.author", "reason": "score"}, 3),
        ("/v1/quarantine", {"q": "points", "domain": "b.theirs.test"}, 3),
        ("/v1/quarantine", {"reason": "virus"}, 0),
        ("/v1/complaints", {"q": "C@"}, 2),
        ("/v1/complaints", {"q": "Provider", "domain": "a.ours.test"}, 3),
        ("/v1/messages", {"q": "about", "tenant": "ours"}, 3),
        ("/v1/messages", {"from": "a@theirs.author.test"}, 1),
    ):
        answer = await both.client.get(path, params={"total": True, **asked})
        found = answer.json()
        assert (len(found["items"]), found["total"]) == (number, number), (path, asked, answer.text)
    assert (await both.client.get("/v1/domains")).json()["total"] is None
    problem(await both.client.get("/v1/accounts", params={"state": "odd"}), 422, "invalid", "state")


async def test_tenant_shows_what_it_owns_and_nothing_to_others(both: Api) -> None:
    ours = await both.client.get("/v1/tenants/ours")
    shown = await both.key(Role.READ_ONLY, ours.json()["id"])
    for name, operation in LISTS.items():
        path = operation.path
        if "tenant" not in parameters(operation):
            assert name in (*SEEN_BY_ALL, "listTenants"), f"{name} has no parameter tenant"
            continue
        mine = await whole(both, path, 2, tenant="ours")
        text = json.dumps(mine)
        assert len(mine) >= 3 and "theirs" not in text, path
        by_id = await whole(both, path, 100, tenant=ours.json()["id"])
        assert by_id == mine, path
        total = await both.client.get(path, params={"tenant": "ours", "total": True})
        assert total.json()["total"] == len(mine), path
        problem(await both.client.get(path, params={"tenant": "no"}), 422, "invalid", "tenant")
        # a key of the tenant sees the same with and without it, and no other by name
        own = await both.client.get(path, params={"total": True}, headers=shown)
        assert own.json()["total"] == len(mine), path
        assert "theirs" not in own.text
        named = await both.client.get(path, params={"tenant": "ours"}, headers=shown)
        assert named.json()["items"] == own.json()["items"]
        other = await both.client.get(path, params={"tenant": "theirs"}, headers=shown)
        problem(other, 422, "invalid", "tenant")
        searched = await both.client.get(path, params={"q": "theirs", "total": True}, headers=shown)
        assert (searched.json()["items"], searched.json()["total"]) == ([], 0), path


async def test_a_cursor_is_of_its_list_alone(both: Api) -> None:
    """By reading: one of another list with the same kind of key was taken, and began anywhere."""
    holder, mailbox = "a@a.ours.test", "/v1/accounts/a@a.ours.test"
    hook = (await both.client.get("/v1/webhooks")).json()["items"][0]["id"]
    for _ in range(2):
        made = await both.client.post(
            f"{mailbox}/app-passwords", json={"name": "phone", "scopes": ["imap"]}
        )
        assert made.status_code == 201, made.text
        assert (await both.client.get(f"{mailbox}/messages")).status_code == 200
    lists = [each for each in operations() if "cursor" in parameters(each)]
    assert len(lists) > 25

    async def ask(operation: APIRoute, **asked: Any) -> httpx.Response:
        path = operation.path.replace(":address", "").format(address=holder, id=hook, name="x")
        login = httpx.BasicAuth(holder, "correct horse") if path.startswith("/v1/me/") else None
        return await both.client.get(path, params=asked, auth=login)

    cursors: dict[str, str] = {}
    for operation in lists:
        answer = await ask(operation, limit=1)
        if answer.status_code == 200 and (cursor := answer.json()["next_cursor"]):
            cursors[str(operation.operation_id)] = cursor
            assert (await ask(operation, limit=1, cursor=cursor)).status_code == 200
    assert len(cursors) >= 15, cursors
    assert len(set(cursors.values())) == len(cursors)
    for operation in lists:
        for name, cursor in cursors.items():
            if name != operation.operation_id:
                problem(await ask(operation, cursor=cursor), 422, "invalid", "cursor")


async def test_deliveries_of_a_webhook(api: Api) -> None:
    body = {"url": "https://hooks.test/", "events": ["*"]}
    webhook = (await api.client.post("/v1/webhooks", json=body)).json()["id"]
    for number, (kind, reply) in enumerate([("delivered", ""), ("bounced", "Busy"), ("test", "")]):
        await api.sql(
            "INSERT INTO webhook_deliveries (id, webhook_id, event, event_type, state, last_reply)"
            " VALUES ($1, $2, '{}', $3, $4, $5)",
            *(new_id(), webhook, kind, "failed" if number else "waiting", reply),
        )
    path = f"/v1/webhooks/{webhook}/deliveries"
    newest = await whole(api, path, 2)
    assert [each["event_type"] for each in newest] == ["test", "bounced", "delivered"]
    assert await whole(api, path, 2, sort="-created") == newest
    assert await whole(api, path, 2, sort="created") == newest[::-1]
    for asked, number in (({}, 3), ({"state": "failed"}, 2), ({"q": "BUSY"}, 1), ({"q": "e"}, 3)):
        answer = await api.client.get(path, params={"total": True, **asked})
        found = answer.json()
        assert (len(found["items"]), found["total"]) == (number, number), asked
    answer = await api.client.get(path, params={"sort": "created", "cursor": "x"})
    problem(answer, 422, "invalid", "cursor")
