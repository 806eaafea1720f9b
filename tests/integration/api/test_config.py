"""Declarative configuration over the REST API."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from posthorn.ports.api_keys import Role
from posthorn.runtime.passwords import Passwords
from posthorn_api.config.plan import ALIAS, ByManager, Present, Wanted, planned
from posthorn_api.config.service import ConfigService
from tests.support.api import Api, problem

NOBODY = ByManager(UUID(int=0), None)
HOOK = "https://hooks.example.org/x"
WHOLE: dict[str, Any] = {
    "domains": [
        {
            "name": "Acme.test",
            "catch_all": "team@acme.test",
            "retention_days": 30,
            "allowed_networks": ["192.0.2.0/24"],
        },
        {"name": "b\u00fccher.test", "plus_addressing": False},
    ],
    "accounts": [
        {
            "address": "bob@acme.test",
            "quota_bytes": 1000,
            "state": "receive-only",
            "max_messages_per_hour": 5,
            "save_sent": True,
            "hidden_imap_capabilities": ["qresync", "IDLE"],
        },
        {"address": "Carol@acme.test"},
    ],
    "aliases": [
        {"address": "all@acme.test", "targets": ["team@acme.test", "x@elsewhere.test"]},
        {"address": "team@acme.test", "targets": ["bob@acme.test", "carol@acme.test"]},
    ],
    "webhooks": [{"url": HOOK, "events": ["bounced", "delivered"], "domain": "acme.test"}],
}


@pytest.fixture
async def api(api: Api) -> Api:
    await api.tenant("acme")
    return api


async def put(
    api: Api, document: dict[str, Any], headers: dict[str, str] | None = None, **query: Any
) -> httpx.Response:
    parameters = {"tenant": "acme", **query}
    return await api.client.put("/v1/config", json=document, params=parameters, headers=headers)


async def applied(
    api: Api, document: dict[str, Any], **query: Any
) -> list[tuple[str, str, str, str]]:
    answer = await put(api, document, **query)
    assert answer.status_code == 200, answer.text
    return [
        (each["kind"], each["object"], each["action"], each["outcome"])
        for each in answer.json()["changes"]
    ]


async def test_a_whole_state_is_planned_applied_and_then_nothing_is_left_to_do(api: Api) -> None:
    plan = await put(api, WHOLE, plan=True)
    assert plan.json()["applied"] is False
    wanted = [
        ("domain", "acme.test", "create"),
        ("domain", "xn--bcher-kva.test", "create"),
        ("account", "bob@acme.test", "create"),
        ("account", "carol@acme.test", "create"),
        ("alias", "team@acme.test", "create"),
        ("alias", "all@acme.test", "create"),
        ("webhook", f"{HOOK} acme.test", "create"),
    ]
    assert [
        (each["kind"], each["object"], each["action"]) for each in plan.json()["changes"]
    ] == wanted
    assert {each["outcome"] for each in plan.json()["changes"]} == {"planned"}
    assert (await api.client.get("/v1/domains")).json()["items"] == []
    assert (await api.client.get("/v1/audit", params={"action": "config"})).json()["items"] == []

    answer = await put(api, WHOLE, headers={"If-Match": plan.headers["etag"]})
    assert answer.json()["failed"] == 0, answer.text
    assert [each["outcome"] for each in answer.json()["changes"]] == ["done"] * len(wanted)
    assert answer.json()["changes"][-1]["secret"].startswith("whsec_")
    assert await applied(api, WHOLE) == []
    assert await applied(api, WHOLE, prune=True) == []

    domain = (await api.client.get("/v1/domains/acme.test")).json()
    assert (domain["tenant"], domain["catch_all"], domain["retention_days"]) == (
        "acme",
        "team@acme.test",
        30,
    )
    account = (await api.client.get("/v1/accounts/bob@acme.test")).json()
    assert (account["quota_bytes"], account["state"], account["max_messages_per_hour"]) == (
        1000,
        "receive-only",
        5,
    )
    assert (account["save_sent"], account["hidden_imap_capabilities"]) == (
        True,
        ["QRESYNC", "IDLE"],
    )
    lines = (await api.client.get("/v1/audit", params={"action": "account"})).json()["items"]
    assert {(line["action"], line["object"]) for line in lines} == {
        ("account.create", "bob@acme.test"),
        ("account.create", "carol@acme.test"),
    }


async def test_what_is_shown_can_be_applied_as_it_is(api: Api) -> None:
    await applied(api, WHOLE)
    others = ("*", "example.org", "under_score.example")  # as other hosts write their names
    for domain in others:
        await api.client.put(f"/v1/routes/{domain}", json={"host": "mx.example.net"})
    shown = await api.client.get("/v1/config", params={"tenant": "acme"})
    assert shown.status_code == 200, shown.text
    document = shown.json()
    assert tuple(each["domain"] for each in document["routes"]) == others
    assert "argon2" not in shown.text
    assert "whsec_" not in shown.text
    assert (
        await applied(api, document, prune=True, headers={"If-Match": shown.headers["etag"]}) == []
    )


async def test_changes_are_made_to_what_differs(api: Api) -> None:
    await applied(api, WHOLE)
    document = {
        "domains": [{"name": "acme.test", "catch_all": None}, {"name": "b\u00fccher.test"}],
        "accounts": [{"address": "bob@acme.test", "state": "active"}],
        "aliases": [{"address": "all@acme.test", "targets": ["bob@acme.test"]}],
        "webhooks": [{"url": HOOK, "events": ["*"], "domain": "acme.test", "state": "paused"}],
    }
    answer = await put(api, document)
    assert [
        (each["object"], each["fields"], each["outcome"]) for each in answer.json()["changes"]
    ] == [
        ("bob@acme.test", {"state": "active"}, "done"),
        ("all@acme.test", {"targets": ["bob@acme.test"]}, "done"),
        ("acme.test", {"catch_all": None}, "done"),
        (f"{HOOK} acme.test", {"events": ["*"], "state": "paused"}, "done"),
    ]
    assert answer.json()["unlisted"] == [
        {"kind": "account", "object": "carol@acme.test"},
        {"kind": "alias", "object": "team@acme.test"},
    ]
    assert (await api.client.get("/v1/accounts/bob@acme.test")).json()["quota_bytes"] == 1000, (
        "it was left out"
    )


async def test_filter_policies_are_part_of_domains_and_accounts(api: Api) -> None:
    domain, account = "/v1/domains/acme.test", "/v1/accounts/bob@acme.test"
    document: dict[str, Any] = {
        "domains": [{"name": "acme.test", "filter_policy": {"junk_score": 4}}],
        "accounts": [
            {"address": "bob@acme.test", "filter_policy": {"block": ["Spam.Example."]}},
            {"address": "carol@acme.test"},
        ],
    }
    assert all(outcome == "done" for *_, outcome in await applied(api, document))
    kept = (await api.client.get(f"{account}/filter-policy")).json()
    assert kept["block"] == ["spam.example"]
    assert await applied(api, document) == []
    shown = (await api.client.get("/v1/config", params={"tenant": "acme"})).json()
    assert shown["domains"][0]["filter_policy"]["junk_score"] == 4.0
    assert shown["accounts"][1]["filter_policy"] is None
    assert await applied(api, shown) == []

    document["domains"][0]["filter_policy"] = {"junk_score": 5}
    document["accounts"][0]["filter_policy"] = None
    tag = (await put(api, document, plan=True)).headers["etag"]
    await api.client.put(f"{account}/filter-policy", json={"block": ["other.example"]})
    meanwhile = await put(api, document, headers={"If-Match": tag})
    problem(meanwhile, 412, "changed")
    assert await applied(api, document) == [
        ("account", "bob@acme.test", "change", "done"),
        ("domain", "acme.test", "change", "done"),
    ]
    assert (await api.client.get(f"{domain}/filter-policy")).json()["junk_score"] == 5.0
    assert not any((await api.client.get(f"{account}/filter-policy")).json().values())
    del document["domains"][0]["filter_policy"]
    assert await applied(api, document) == [], "what is left out stays"
    document["domains"][0]["filter_policy"] = {"allow": ["nonsense"]}
    field = "domains[0].filter_policy.allow[0]"
    problem(await put(api, document), 422, "invalid", field)


async def test_nothing_is_deleted_but_by_prune_and_no_mail_but_by_force(api: Api) -> None:
    await applied(api, WHOLE)
    await api.sql(
        "UPDATE accounts SET used_messages = 1, used_bytes = 10 WHERE address = 'carol@acme.test'"
    )
    nothing: dict[str, Any] = {kind: [] for kind in WHOLE}
    assert await applied(api, nothing) == []
    assert len((await put(api, nothing, plan=True)).json()["unlisted"]) == 7

    planned_ = await put(api, nothing, plan=True, prune=True)
    refused = [each for each in planned_.json()["changes"] if each["outcome"] == "failed"]
    assert [each["object"] for each in refused] == ["carol@acme.test"]
    assert "force" in refused[0]["detail"]

    kept = {**nothing, "domains": [{"name": "acme.test", "catch_all": None}]}
    assert await applied(api, kept, prune=True) == [
        ("domain", "acme.test", "change", "done"),
        ("webhook", f"{HOOK} acme.test", "delete", "done"),
        ("alias", "all@acme.test", "delete", "done"),
        ("alias", "team@acme.test", "delete", "done"),
        ("account", "bob@acme.test", "delete", "done"),
        ("account", "carol@acme.test", "delete", "failed"),
        ("domain", "xn--bcher-kva.test", "delete", "done"),
    ]
    assert (await api.client.get("/v1/accounts/carol@acme.test")).status_code == 200
    assert await applied(api, nothing, prune=True, force="Carol@acme.test") == [
        ("account", "carol@acme.test", "delete", "done"),
        ("domain", "acme.test", "delete", "done"),
    ]


async def test_a_password_is_set_by_its_hash_and_compared(api: Api) -> None:
    passwords = Passwords()
    try:
        one, other = await passwords.hash("correct horse"), await passwords.hash("another horse")
    finally:
        passwords.close()
    document: dict[str, Any] = {
        "domains": [{"name": "acme.test"}],
        "accounts": [
            {"address": "bob@acme.test", "password_hash": one},
            {"address": "carol@acme.test"},
        ],
    }
    answer = await put(api, document)
    assert one not in answer.text
    assert answer.json()["changes"][1]["fields"] == {"password_hash": "changed"}
    assert await applied(api, document) == []
    document["accounts"][0]["password_hash"] = other
    assert await applied(api, document) == [("account", "bob@acme.test", "change", "done")]
    rows = await api.sql("SELECT address, password_hash FROM accounts ORDER BY address")
    assert rows[0]["password_hash"] == other
    assert rows[1]["password_hash"].startswith("$argon2id$")
    assert "argon2" not in (await api.client.get("/v1/audit")).text
    document["accounts"][0]["password_hash"] = "secret"
    problem(await put(api, document), 422, "invalid", "accounts[0].password_hash")


async def test_whoever_changes_something_meanwhile_keeps_the_change(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await applied(api, WHOLE)
    plan = await put(api, WHOLE, plan=True)
    document = {
        "accounts": [
            {"address": "bob@acme.test", "quota_bytes": 7},
            {"address": "carol@acme.test", "quota_bytes": 8},
        ]
    }
    know = ConfigService._know_hashes

    async def meanwhile(self: ConfigService, *values: Any) -> None:
        await know(self, *values)
        await api.client.patch("/v1/accounts/bob@acme.test", json={"quota_bytes": 99})

    monkeypatch.setattr(ConfigService, "_know_hashes", meanwhile)
    answer = await put(api, document)
    assert answer.json()["failed"] == 1
    assert [each["outcome"] for each in answer.json()["changes"]] == ["failed", "done"]
    assert "changed" in answer.json()["changes"][0]["detail"]
    assert (await api.client.get("/v1/accounts/bob@acme.test")).json()["quota_bytes"] == 99
    problem(await put(api, document, headers={"If-Match": plan.headers["etag"]}), 412, "changed")


async def test_a_step_that_fails_does_not_stop_the_others(api: Api) -> None:
    await api.domain("taken.test")
    document = {
        "domains": [{"name": "taken.test", "catch_all": "bob@taken.test"}, {"name": "acme.test"}],
        "accounts": [{"address": "bob@taken.test"}, {"address": "bob@acme.test"}],
    }
    assert await applied(api, document) == [
        ("domain", "taken.test", "create", "failed"),
        ("domain", "acme.test", "create", "done"),
        ("account", "bob@taken.test", "create", "failed"),
        ("account", "bob@acme.test", "create", "done"),
    ]


async def test_what_makes_no_sense_is_refused_as_a_whole_by_name(api: Api) -> None:
    document = {
        "domains": [{"name": "acme.test"}, {"name": "ACME.test"}, {"name": "new..test"}],
        "aliases": [{"address": "a@acme.test", "targets": ["b@acme.test", "nobody"]}],
    }
    answer = await put(api, document)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [
        "domains[1]",
        "domains[2].name",
        "aliases[0].targets[1]",
    ]
    assert (await api.client.get("/v1/domains")).json()["items"] == []
    problem(await put(api, {"unknown": []}), 422, "invalid", "unknown")
    problem(await api.client.get("/v1/config", params={"tenant": "nobody"}), 404, "not-found")


async def test_routes_are_for_admins_of_the_platform(api: Api) -> None:
    document = {"routes": [{"domain": "example.org", "host": "mx.example.net", "tls": "verified"}]}
    (tenant,) = await api.sql("SELECT id FROM tenants WHERE name = 'acme'")
    headers = await api.key(Role.TENANT_ADMIN, tenant["id"])
    problem(await put(api, document, headers=headers), 422, "invalid", "routes")
    assert (await api.client.get("/v1/config", headers=headers)).json()["routes"] is None
    assert await applied(api, document) == [("route", "example.org", "create", "done")]
    assert await applied(api, document) == []
    login = {
        "domain": "example.org",
        "host": "mx.example.net",
        "tls": "verified",
        "username": "u",
        "password": "w",
    }
    await api.client.put(
        "/v1/routes/example.org", json={name: login[name] for name in login if name != "domain"}
    )
    document["routes"][0] |= {"username": "u", "connections": 3}  # type: ignore[dict-item]
    assert await applied(api, document) == [("route", "example.org", "change", "done")]
    shown = (await api.client.get("/v1/routes/example.org")).json()
    assert (shown["password_set"], shown["connections"]) == (True, 3)
    assert await applied(api, {"routes": []}, prune=True) == [
        ("route", "example.org", "delete", "done")
    ]


async def test_a_tenants_admin_applies_its_own_alone(api: Api) -> None:
    other = await api.tenant("other")
    headers = await api.key(Role.TENANT_ADMIN, other)
    answer = await api.client.put(
        "/v1/config", json={"domains": [{"name": "other.test"}]}, headers=headers
    )
    assert (answer.json()["tenant"], answer.json()["failed"]) == ("other", 0)
    problem(await put(api, {"domains": []}, headers=headers), 404, "not-found")
    assert (await api.client.get("/v1/domains/other.test")).json()["tenant"] == "other"


def test_aliases_are_made_after_those_they_lead_to_however_many_and_removed_before() -> None:
    chain = [f"a{number}@x.test" for number in range(3000)]
    targets = dict(zip(chain, [*chain[1:], "b@x.test"], strict=True))
    wanted = {ALIAS: {name: Wanted({"targets": [target]}) for name, target in targets.items()}}
    made = planned({}, wanted, NOBODY, prune=False)
    assert [step.name for step in made.steps] == chain[::-1]
    present = {ALIAS: {name: Present({"targets": [target]}) for name, target in targets.items()}}
    removed = planned(present, {ALIAS: {}}, NOBODY, prune=True)
    assert [step.name for step in removed.steps] == chain
    round_ = {ALIAS: {"a@x": Wanted({"targets": ["b@x"]}), "b@x": Wanted({"targets": ["a@x"]})}}
    assert len(planned({}, round_, NOBODY, prune=False).steps) == 2
