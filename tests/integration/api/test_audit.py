"""The audit log: a line for every change, in the transaction of the change, without secrets, for
whom it concerns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from posthorn.adapters.postgres.access.audit import PostgresAudit
from posthorn.adapters.postgres.database import Database
from posthorn.ports.api_keys import Role
from posthorn_api.upkeep import Upkeep
from tests.support.api import Api, problem


async def lines(
    api: Api, headers: dict[str, str] | None = None, **which: str
) -> list[dict[str, Any]]:
    answer = await api.client.get("/v1/audit", params=which, headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_a_change_leaves_a_line_that_says_who_and_what(api: Api) -> None:
    await api.domain("acme.test")
    await api.account("a@acme.test", quota_bytes=5)
    await api.client.patch(
        "/v1/accounts/a@acme.test",
        json={"password": "a new passphrase", "state": "suspended"},
        headers={"X-Request-Id": "number-7"},
    )
    changed, made, domain = await lines(api)
    assert (changed["action"], changed["object"]) == ("account.change", "a@acme.test")
    assert changed["details"] == {"password_hash": "changed", "state": "suspended"}
    assert changed["before"] == {"state": "active"}
    assert (changed["actor_name"], changed["actor_role"]) == ("bootstrap", "platform-admin")
    assert changed["request_id"] == "number-7"
    assert (made["action"], made["details"]) == ("account.create", {"quota_bytes": 5})
    assert made["before"] == {}
    assert (domain["action"], domain["object"]) == ("domain.create", "acme.test")
    stored = await api.sql("SELECT string_agg(a::text, ' ') AS all FROM audit a")
    assert "passphrase" not in stored[0]["all"]
    assert "argon2" not in stored[0]["all"]


async def test_old_lines_are_deleted_oldest_first(api: Api, database: Database) -> None:
    for name in ("old.test", "older.test", "new.test"):
        await api.domain(name)
    for name, days in (("old.test", 401), ("older.test", 402), ("new.test", 399)):
        await api.sql(
            "UPDATE audit SET at = now() - make_interval(days => $2) WHERE object = $1", name, days
        )
    audit = PostgresAudit(database)

    def upkeep(days: int) -> Upkeep:
        unused: Any = None
        return Upkeep(unused, unused, unused, None, unused, unused, audit, days)

    assert await upkeep(0).forget_audit() == 0
    assert await audit.forget(400, 1) == 1
    assert {line["object"] for line in await lines(api)} == {"older.test", "new.test"}
    assert await upkeep(400).forget_audit() == 1
    assert [line["object"] for line in await lines(api)] == ["new.test"]
    assert await upkeep(400).forget_audit() == 0


async def test_a_line_says_what_was_before(api: Api) -> None:
    await api.domain("acme.test")
    await api.account("a@acme.test")
    listening = {"url": "https://h.test/1", "events": ["*"]}
    hook = (await api.client.post("/v1/webhooks", json=listening)).json()["id"]
    await api.client.post(
        "/v1/aliases", json={"address": "b@acme.test", "targets": ["a@acme.test"]}
    )
    await api.client.post("/v1/suppressions", json={"address": "x@y.test", "reason": "bounced"})
    await api.client.post("/v1/tenants", json={"name": "other", "max_domains": 3})
    networks = {"allowed_networks": ["192.0.2.0/24"]}
    await api.client.patch("/v1/domains/acme.test", json=networks)
    await api.client.put("/v1/domains/acme.test/filter-policy", json={"junk_score": 4})
    route = {"host": "mx.test", "port": 26, "tls": "verified"}
    route |= {"username": "u", "password": "a secret of ours"}
    await api.client.put("/v1/routes/x.test", json=route)
    moved = {name: value for name, value in route.items() if name != "port"}
    last = (await lines(api))[0]["id"]
    for method, path, change in (
        ("PATCH", "domains/acme.test", {"allowed_networks": None, "max_accounts": 7}),
        ("PUT", "domains/acme.test/filter-policy", {"junk_score": 5}),
        ("PATCH", "tenants/other", {"max_domains": 4}),
        ("DELETE", "tenants/other", None),
        ("PATCH", f"webhooks/{hook}", {"url": "https://h.test/2", "state": "paused"}),
        ("DELETE", f"webhooks/{hook}", None),
        ("PATCH", "aliases/b@acme.test", {"targets": ["c@far.test"]}),
        ("DELETE", "aliases/b@acme.test", None),
        ("PUT", "routes/x.test", moved),
        ("DELETE", "routes/x.test", None),
        ("DELETE", "suppressions/x@y.test", None),
        ("DELETE", "accounts/a@acme.test", None),
        ("DELETE", "domains/acme.test", None),
    ):
        answer = await api.client.request(method, f"/v1/{path}", json=change)
        assert answer.status_code < 300, (path, answer.text)
    found = [
        (line["action"], line["details"], line["before"])
        for line in reversed(await lines(api))
        if line["id"] > last
    ]
    whole = [before for action, _, before in found if action.endswith(".delete")]
    assert [entry for entry in found if not entry[0].endswith(".delete")] == [
        (
            "domain.change",
            {"allowed_networks": None, "max_accounts": 7},
            {"allowed_networks": ["192.0.2.0/24"], "max_accounts": None},
        ),
        ("filter-policy.set", {"junk_score": 5.0}, {"junk_score": 4.0}),
        ("tenant.change", {"max_domains": 4}, {"max_domains": 3}),
        (
            "webhook.change",
            {"url": "https://h.test/2", "state": "paused"},
            {"url": "https://h.test/1", "state": "active"},
        ),
        ("alias.change", {"targets": ["c@far.test"]}, {"targets": ["a@acme.test"]}),
        ("route.set", {"port": None, "password": "changed"}, {"port": 26}),
    ]
    tenant, webhook, alias, gone_route, suppression, account, domain = whole
    assert (tenant["max_domains"], tenant["state"]) == (4, "active")
    assert (webhook["url"], webhook["state"]) == ("https://h.test/2", "paused")
    assert alias == {"targets": ["c@far.test"]}
    assert (gone_route["host"], gone_route["username"]) == ("mx.test", "u")
    assert suppression == {"reason": "bounced", "source": "api"}
    assert (account["state"], account["used_messages"]) == ("active", 0)
    assert domain["max_accounts"] == 7
    stored = await api.sql("SELECT string_agg(a::text, ' ') AS all FROM audit a")
    assert "a secret of ours" not in stored[0]["all"]
    assert 'password": "changed' in stored[0]["all"].replace('""', '"')


async def test_what_comes_to_nothing_leaves_no_line(api: Api) -> None:
    await api.domain("acme.test")
    before = await lines(api)
    problem(await api.client.post("/v1/domains", json={"name": "acme.test"}), 409, "conflict")
    problem(await api.client.delete("/v1/accounts/nobody@acme.test"), 404, "not-found")
    await api.client.get("/v1/domains")
    assert await lines(api) == before


async def test_a_repeat_under_an_idempotency_key_leaves_one_line(api: Api) -> None:
    for _ in range(2):
        await api.client.post(
            "/v1/domains", json={"name": "acme.test"}, headers={"Idempotency-Key": "1"}
        )
        await api.client.post(
            "/v1/suppressions", json={"address": "x@y.test"}, headers={"Idempotency-Key": "2"}
        )
    assert [line["action"] for line in await lines(api)] == ["suppression.create", "domain.create"]


async def test_changes_made_elsewhere_than_in_the_directory_are_noted_too(api: Api) -> None:
    await api.client.put("/v1/routes/x.test", json={"host": "mx.test"})
    await api.client.delete("/v1/routes/x.test")
    await api.client.post("/v1/routes", json={"domain": "y.test", "host": "mx.test"})
    assert [(line["action"], line["object"]) for line in await lines(api)] == [
        ("route.create", "routes/y.test"),
        ("route.delete", "routes/x.test"),
        ("route.set", "routes/x.test"),
    ]


async def test_a_tenant_reads_what_was_done_to_its_own_by_whomever(api: Api) -> None:
    await api.client.post("/v1/tenants", json={"name": "acme"})
    await api.client.post("/v1/tenants", json={"name": "other"})
    await api.domain("acme.test", tenant="acme")
    await api.domain("other.test", tenant="other")
    (row,) = await api.sql("SELECT id FROM tenants WHERE name = 'acme'")
    reader = await api.key(Role.READ_ONLY, row["id"])
    assert [line["object"] for line in await lines(api, reader)] == ["acme.test", "acme"]
    sender = await api.key(Role.SEND_ONLY, row["id"])
    problem(await api.client.get("/v1/audit", headers=sender), 403, "forbidden")


async def test_what_a_platform_admin_does_to_messages_and_suppressions_is_told_to_their_tenant(
    api: Api,
) -> None:
    acme, other = await api.tenant("acme"), await api.tenant("other")
    reads, reads_other = await api.key(Role.READ_ONLY, acme), await api.key(Role.READ_ONLY, other)
    message = await api.enter(
        "x@elsewhere.test", "y@elsewhere.test", sender="a@acme.test", tenant=acme
    )
    await api.enter("z@elsewhere.test", sender="o@other.test", tenant=other)
    rows = await api.sql(
        "SELECT id FROM outbound_recipients WHERE message_id = $1 ORDER BY id", message
    )
    one = rows[0]["id"]
    assert (await api.client.post(f"/v1/queue/{one}/hold")).status_code == 200
    (line,) = await lines(api, reads)
    assert (line["action"], line["object"], line["actor_role"]) == (
        "queue.hold",
        f"queue/{one}",
        "platform-admin",
    )
    assert await lines(api, reads_other) == []
    assert (
        await api.client.post("/v1/queue/cancel", json={"domain": "elsewhere.test"})
    ).status_code == 200
    (line, _) = await lines(api, reads)
    assert (line["action"], line["details"]) == (
        "queue.cancel",
        {"domain": "elsewhere.test", "recipients": 2},
    )
    (line,) = await lines(api, reads_other)
    assert (line["object"], line["details"]["recipients"]) == ("queue", 1)

    by_default = await api.key(
        Role.READ_ONLY, (await api.sql("SELECT id FROM tenants WHERE name = 'default'"))[0]["id"]
    )
    await api.client.post(
        "/v1/suppressions", json={"address": "s@elsewhere.test", "reason": "asked for it"}
    )
    await api.client.delete("/v1/suppressions/s@elsewhere.test")
    gone, made = await lines(api, by_default)
    assert (gone["action"], gone["object"]) == ("suppression.delete", "s@elsewhere.test")
    assert (made["action"], made["details"]) == ("suppression.create", {"reason": "asked for it"})


async def test_what_is_done_to_messages_leaves_one_line_or_none(api: Api) -> None:
    await api.enter("x@elsewhere.test")
    (row,) = await api.sql("SELECT id FROM outbound_recipients")
    problem(await api.client.post(f"/v1/queue/{row['id']}/release"), 409, "conflict")
    assert await lines(api) == []
    await api.client.post(f"/v1/queue/{row['id']}/hold")
    await api.client.post(f"/v1/queue/{row['id']}/release")
    assert [line["action"] for line in await lines(api)] == ["queue.release", "queue.hold"]


async def test_the_log_is_searched_and_read_in_pages(api: Api) -> None:
    for number in range(5):
        await api.domain(f"d{number}.test")
    await api.client.patch("/v1/domains/d0.test", json={"plus_addressing": False})
    assert [line["action"] for line in await lines(api, object="d0.test")] == [
        "domain.change",
        "domain.create",
    ]
    assert len(await lines(api, action="domain")) == 6
    assert len(await lines(api, action="domain.create")) == 5
    assert await lines(api, action="dom") == []
    assert len(await lines(api, actor="bootstrap")) == 6
    assert await lines(api, actor="nobody") == []
    now = datetime.now(UTC)
    assert await lines(api, until=(now - timedelta(hours=1)).isoformat()) == []
    assert len(await lines(api, since=(now - timedelta(hours=1)).isoformat())) == 6
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "4"} | ({"cursor": cursor} if cursor else {})
        answer = (await api.client.get("/v1/audit", params=params)).json()
        seen += [line["object"] for line in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert seen == ["d0.test", "d4.test", "d3.test", "d2.test", "d1.test", "d0.test"]
