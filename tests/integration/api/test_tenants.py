"""Tenants and API keys over HTTP: rights, limits, expiry, suspension."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from posthorn.adapters.postgres.access import api_keys
from posthorn.adapters.postgres.directory.outbox import PostgresDirectorySource
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.adapters.postgres.mailboxes.maildrops import PostgresMaildrops
from posthorn.model.directory_entry import AddressEntry, RecipientStatus
from posthorn.ports.accounts import AccountState
from posthorn.ports.api_keys import Role
from tests.support.api import Api, problem
from tests.support.databases import pool
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS


async def tenant(api: Api, name: str, **fields: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/tenants", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def key(
    api: Api, role: str, of: str | None = None, **fields: Any
) -> tuple[dict[str, str], dict[str, Any]]:
    answer = await api.client.post(
        "/v1/api-keys", json={"name": f"a {role}", "role": role, "tenant": of, **fields}
    )
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['key']}"}, answer.json()


async def test_a_tenant_is_made_read_changed_and_deleted(api: Api) -> None:
    made = await tenant(api, "acme", max_domains=3)
    assert (
        made["state"],
        made["max_domains"],
        made["max_accounts"],
        made["min_password_length"],
    ) == (
        "active",
        3,
        None,
        8,
    )
    for name in ("acme", made["id"], made["id"].upper()):
        assert (await api.client.get(f"/v1/tenants/{name}")).json() == made
    listed = (await api.client.get("/v1/tenants")).json()["items"]
    assert [each["name"] for each in listed] == ["acme", "default"]
    changed = await api.client.patch(
        "/v1/tenants/acme", json={"name": "acme-2", "quota_bytes": 5, "state": "suspended"}
    )
    assert changed.json() | {"updated_at": ""} == made | {
        "name": "acme-2",
        "quota_bytes": 5,
        "state": "suspended",
        "updated_at": "",
    }
    assert (await api.client.delete("/v1/tenants/acme-2")).status_code == 204
    problem(await api.client.get("/v1/tenants/acme-2"), 404, "not-found")


async def test_a_tenant_that_cannot_be_is_refused(api: Api) -> None:
    made = await tenant(api, "acme")
    problem(await api.client.post("/v1/tenants", json={"name": "acme"}), 409, "conflict")
    problem(await api.client.post("/v1/tenants", json={"name": "Acme!"}), 422, "invalid", "name")
    problem(await api.client.post("/v1/tenants", json={"name": made["id"]}), 422, "invalid", "name")
    problem(
        await api.client.post("/v1/tenants", json={"name": "b", "max_domains": -1}),
        422,
        "invalid",
        "max_domains",
    )
    problem(await api.client.patch("/v1/tenants/acme", json={"name": "default"}), 409, "conflict")
    problem(
        await api.client.patch("/v1/tenants/acme", json={"min_password_length": 4}),
        422,
        "invalid",
        "min_password_length",
    )


async def test_a_tenant_that_owns_something_is_not_deleted(api: Api) -> None:
    made = await tenant(api, "acme")
    await api.domain("acme.test", tenant="acme")
    assert (
        "acme.test"
        in problem(await api.client.delete("/v1/tenants/acme"), 409, "conflict")["detail"]
    )
    await api.client.delete("/v1/domains/acme.test")
    _, shown = await key(api, "read-only", "acme")
    problem(await api.client.delete("/v1/tenants/acme"), 409, "conflict")
    await api.client.delete(f"/v1/api-keys/{shown['id']}")
    await api.sql(
        "INSERT INTO suppressions (tenant_id, address, reason, source) VALUES ($1::text::uuid, 'x@y.test', '', 'bounce')",
        made["id"],
    )
    assert (await api.client.delete("/v1/tenants/acme")).status_code == 204
    assert await api.sql("SELECT * FROM suppressions") == []


async def test_a_key_is_shown_once_and_works_until_it_is_deleted(api: Api) -> None:
    await tenant(api, "acme")
    shows, made = await key(api, "tenant-admin", "acme")
    assert (made["role"], made["tenant"], made["expires_at"]) == ("tenant-admin", "acme", None)
    seen = (await api.client.get(f"/v1/api-keys/{made['id']}")).json()
    assert "key" not in seen
    assert seen["last_used_at"] is None
    stored = await api.sql("SELECT key_hash FROM api_keys WHERE id::text = $1", made["id"])
    assert made["key"].encode() not in stored[0]["key_hash"]
    assert (await api.client.get("/v1/domains", headers=shows)).status_code == 200
    assert (await api.client.get(f"/v1/api-keys/{made['id']}")).json()["last_used_at"] is not None
    assert (await api.client.delete(f"/v1/api-keys/{made['id']}")).status_code == 204
    await eventually(api, shows, 401)
    problem(await api.client.get(f"/v1/api-keys/{made['id']}"), 404, "not-found")


async def test_a_repeat_of_a_key_under_its_idempotency_key_does_not_show_it_again(api: Api) -> None:
    body = {"name": "job", "role": "read-only"}
    first = await api.client.post("/v1/api-keys", json=body, headers={"Idempotency-Key": "k1"})
    again = await api.client.post("/v1/api-keys", json=body, headers={"Idempotency-Key": "k1"})
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json() | {"key": None}
    assert len((await api.client.get("/v1/api-keys")).json()["items"]) == 2


async def test_a_tenants_admin_makes_keys_of_its_tenant_only(api: Api) -> None:
    await tenant(api, "acme")
    await tenant(api, "other")
    admin, _ = await key(api, "tenant-admin", "acme")

    async def ask(**fields: Any) -> httpx.Response:
        return await api.client.post("/v1/api-keys", json={"name": "n", **fields}, headers=admin)

    assert (await ask(role="send-only")).json()["tenant"] == "acme"
    assert (await ask(role="tenant-admin", tenant="acme")).json()["tenant"] == "acme"
    problem(await ask(role="read-only", tenant="other"), 422, "invalid", "tenant")
    problem(await ask(role="platform-admin"), 422, "invalid", "role")
    listed = (await api.client.get("/v1/api-keys", headers=admin)).json()["items"]
    assert {each["tenant"] for each in listed} == {"acme"}


async def test_a_role_and_a_tenant_must_fit(api: Api) -> None:
    await tenant(api, "acme")
    problem(
        await api.client.post("/v1/api-keys", json={"name": "n", "role": "tenant-admin"}),
        422,
        "invalid",
        "tenant",
    )
    problem(
        await api.client.post(
            "/v1/api-keys", json={"name": "n", "role": "platform-admin", "tenant": "acme"}
        ),
        422,
        "invalid",
        "tenant",
    )
    # entered by hand: it would administer everybody
    nobody = await api.key(Role.TENANT_ADMIN, None)
    problem(await api.client.get("/v1/domains", headers=nobody), 403, "forbidden")


async def test_a_key_that_has_expired_is_refused(api: Api) -> None:
    later = (datetime.now(UTC) + timedelta(seconds=LONG_SECONDS)).isoformat()
    shows, made = await key(api, "read-only", expires_at=later)
    assert (await api.client.get("/v1/domains", headers=shows)).status_code == 200
    await api.sql("UPDATE api_keys SET expires_at = now() WHERE id = $1", made["id"])
    await eventually(api, shows, 401)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    answer = await api.client.post(
        "/v1/api-keys", json={"name": "n", "role": "read-only", "expires_at": past}
    )
    problem(answer, 422, "invalid", "expires_at")
    naive = await api.client.post(
        "/v1/api-keys", json={"name": "n", "role": "read-only", "expires_at": "2036-01-01T00:00:00"}
    )
    problem(naive, 422, "invalid", "expires_at")


async def test_keys_of_a_suspended_tenant_are_refused_until_it_is_active(api: Api) -> None:
    await tenant(api, "acme")
    shows, _ = await key(api, "tenant-admin", "acme")
    await eventually(api, shows, 200)
    await api.client.patch("/v1/tenants/acme", json={"state": "suspended"})
    await eventually(api, shows, 403)
    await api.client.patch("/v1/tenants/acme", json={"state": "active"})
    await eventually(api, shows, 200)


async def test_a_tenant_has_no_more_domains_than_it_may_however_many_are_made_at_once(
    api: Api,
) -> None:
    await tenant(api, "acme", max_domains=2)
    answers = await asyncio.gather(
        *(
            api.client.post("/v1/domains", json={"name": f"d{n}.test", "tenant": "acme"})
            for n in range(5)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]
    assert (await api.client.get("/v1/tenants/acme")).json()["domains"] == 2
    assert (await api.client.post("/v1/domains", json={"name": "mine.test"})).status_code == 201


async def test_a_tenant_without_limits_is_bounded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = "posthorn.adapters.postgres.directory.limits"
    for name in ("MOST_DOMAINS", "MOST_ACCOUNTS", "MOST_ALIASES"):
        monkeypatch.setattr(f"{limits}.{name}", 1)
    monkeypatch.setattr(f"{limits}._CERTAIN_SHARE", 0)  # count, whatever the planner believes
    await tenant(api, "acme")
    await api.domain("acme.test", tenant="acme")
    await api.account("a@acme.test")
    await api.alias("x@acme.test", "a@acme.test")
    for path, body, said in (
        ("domains", {"name": "two.test", "tenant": "acme"}, "acme may have 1 domains, and has 1"),
        (
            "accounts",
            {"address": "b@acme.test", "password": "correct horse"},
            "a tenant may have 1 accounts, and this one has 1",
        ),
        (
            "aliases",
            {"address": "y@acme.test", "targets": ["a@acme.test"]},
            "a tenant may have 1 aliases, and this one has 1",
        ),
    ):
        answer = await api.client.post(f"/v1/{path}", json=body)
        assert said in problem(answer, 409, "conflict")["detail"]
    await api.client.patch("/v1/tenants/acme", json={"max_domains": 2, "max_accounts": 2})
    await api.domain("two.test", tenant="acme")
    await api.account("b@acme.test")


@pytest.mark.parametrize("limited", ["/v1/tenants/acme", "/v1/domains/acme.test"])
async def test_accounts_and_their_quotas_are_limited(api: Api, limited: str) -> None:
    await tenant(api, "acme")
    await api.domain("acme.test", tenant="acme")
    await api.client.patch(limited, json={"max_accounts": 3, "quota_bytes": 100})

    async def ask(name: str, quota: int | None) -> httpx.Response:
        body = {"address": f"{name}@acme.test", "password": "correct horse", "quota_bytes": quota}
        return await api.client.post("/v1/accounts", json=body)

    problem(await ask("a", None), 422, "invalid", "quota_bytes")
    assert (await ask("a", 60)).status_code == 201
    problem(await ask("b", 41), 422, "invalid", "quota_bytes")
    assert (await ask("b", 40)).status_code == 201
    change = await api.client.patch("/v1/accounts/b@acme.test", json={"quota_bytes": 41})
    assert "40 are left" in problem(change, 422, "invalid", "quota_bytes")["detail"]
    problem(
        await api.client.patch("/v1/accounts/b@acme.test", json={"quota_bytes": None}),
        422,
        "invalid",
        "quota_bytes",
    )
    assert (
        await api.client.patch("/v1/accounts/b@acme.test", json={"quota_bytes": 20})
    ).status_code == 200
    answers = await asyncio.gather(*(ask(f"c{n}", 1) for n in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_a_password_follows_the_tenants_policy(api: Api) -> None:
    await tenant(api, "acme", min_password_length=12)
    await api.domain("acme.test", tenant="acme")

    async def ask(password: str, local: str = "a") -> httpx.Response:
        return await api.client.post(
            "/v1/accounts", json={"address": f"{local}@acme.test", "password": password}
        )

    problem(await ask("elevenchars"), 422, "invalid", "password")
    problem(await ask("aaaaaaaaaaaa"), 422, "invalid", "password")
    problem(await ask("Long-Enough-1@acme.test", "long-enough-1"), 422, "invalid", "password")
    problem(await ask("LONG-enough-1", "long-enough-1"), 422, "invalid", "password")
    assert (await ask("twelve chars")).status_code == 201
    change = await api.client.patch("/v1/accounts/a@acme.test", json={"password": "elevenchars"})
    problem(change, 422, "invalid", "password")


@pytest.mark.parametrize(
    ("path", "state"),
    [("/v1/accounts/a@acme.test", AccountState.SUSPENDED), ("/v1/tenants/acme", None)],
)
async def test_who_is_suspended_can_neither_log_in_nor_send_from_that_moment(
    api: Api, path: str, state: AccountState | None
) -> None:
    await tenant(api, "acme", verify_domains=False)
    await api.domain("acme.test", tenant="acme")
    await api.account("a@acme.test")
    async with pool(api.database_url) as database:
        senders, maildrops, truth = (
            PostgresSenders(database),
            PostgresMaildrops(database),
            PostgresDirectorySource(database),
        )

        async def seen() -> tuple[AccountState, bool]:
            credentials, login = (
                await senders.credentials("a@acme.test"),
                await maildrops.login("a@acme.test"),
            )
            assert credentials is not None
            assert login is not None
            return credentials.state, login.active

        assert await seen() == (AccountState.ACTIVE, True)
        await api.client.patch(path, json={"state": "suspended"})
        assert await seen() == (AccountState.SUSPENDED, False)
        standing = {subject: entry async for subject, entry in truth.everything()}["a@acme.test"]
        refused = (
            RecipientStatus.SUSPENDED if state else RecipientStatus.DELIVERABLE
        )  # a suspended tenant goes on receiving
        assert standing == AddressEntry(refused)
        await api.client.patch(path, json={"state": "active"})
        assert await seen() == (AccountState.ACTIVE, True)


async def eventually(api: Api, headers: dict[str, str], status: int) -> None:
    """Wait until requests with the key are answered so, for the two seconds that a change may
    take."""
    async with asyncio.timeout(BUSY_SECONDS):
        while (await api.client.get("/v1/domains", headers=headers)).status_code != status:
            await asyncio.sleep(0.05)


async def test_a_tenant_has_so_many_keys_and_no_more(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "MOST_KEYS", 3)
    await tenant(api, "acme")
    admin, _ = await key(api, "tenant-admin", "acme")
    body = {"name": "n", "role": "read-only"}
    answers = await asyncio.gather(
        *(api.client.post("/v1/api-keys", json=body, headers=admin) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]
    problem(await api.client.post("/v1/api-keys", json=body, headers=admin), 409, "conflict")
    assert (await api.client.post("/v1/api-keys", json=body)).status_code == 201
