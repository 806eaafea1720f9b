"""Marks of what applied configurations name (ADR 51)."""

from __future__ import annotations

from typing import Any

import httpx

from posthorn.ports.api_keys import Role
from tests.support.api import Api, problem

HOOK = "https://hooks.example.org/x"
WHOLE: dict[str, Any] = {
    "domains": [
        {
            "name": "acme.test",
            "retention_days": 30,
            "dkim": False,
            "filter_policy": {"rspamd": True},
        }
    ],
    "accounts": [{"address": "bob@acme.test", "quota_bytes": 1000}, {"address": "eve@acme.test"}],
    "aliases": [{"address": "all@acme.test", "targets": ["bob@acme.test"]}],
    "webhooks": [{"url": HOOK, "events": ["bounced"]}],
    "routes": [{"domain": "partner.test", "host": "smart.test"}],
}
LISTS = ("domains", "accounts", "aliases", "webhooks", "routes")
EDITED = "posthorn-managed-by"


async def put(api: Api, document: dict[str, Any], manager: str | None, **query: Any) -> Any:
    parameters = {"tenant": "acme", **query} | ({"manager": manager} if manager else {})
    return await api.client.put("/v1/config", json=document, params=parameters)


async def applied(api: Api, document: dict[str, Any], manager: str | None, **query: Any) -> Any:
    answer = await put(api, document, manager, **query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["failed"] == 0, answer.text
    return answer.json()


async def marks(api: Api) -> dict[str, str | None]:
    """The manager of each object, by what the lists call it."""
    found = {}
    for kind in LISTS:
        for each in (await api.client.get(f"/v1/{kind}")).json()["items"]:
            name = each.get("address") or each.get("url") or each.get("name") or each["domain"]
            found[name] = each["managed_by"] and each["managed_by"]["manager"]
    return found


def audited(items: list[dict[str, Any]], action: str, subject: str) -> dict[str, Any]:
    return next(
        each["details"] for each in items if (each["action"], each["object"]) == (action, subject)
    )


async def test_what_a_document_names_is_marked_and_what_it_names_no_more_is_released(
    api: Api,
) -> None:
    await api.tenant("acme")
    plan = await applied(api, WHOLE, "argo-cd", plan="true")
    assert (len(plan["marked"]), plan["manager"], await marks(api)) == (6, "argo-cd", {})
    done = await applied(api, WHOLE, "argo-cd")
    assert (done["marked"], done["released"]) == (plan["marked"], [])
    everything = {
        *("acme.test", "bob@acme.test", "eve@acme.test", "all@acme.test"),
        *(HOOK, "partner.test"),
    }
    assert await marks(api) == dict.fromkeys(everything, "argo-cd")
    domain = (await api.client.get("/v1/domains/acme.test")).json()["managed_by"]
    assert domain["fields"] == ["filter_policy", "retention_days"]
    log = (await api.client.get("/v1/audit", params={"limit": 100})).json()["items"]
    assert audited(log, "account.create", "bob@acme.test").items() >= {
        ("via", "config"),
        ("manager", "argo-cd"),
    }

    # an unchanged document writes nothing
    rows = "SELECT xmin::text, xmax::text, * FROM managed_objects ORDER BY id"
    before = await api.sql(rows)
    again = await applied(api, WHOLE, "argo-cd")
    assert (again["changes"], again["marked"], await api.sql(rows)) == ([], [], before)

    # an object that is there is marked too; one that is no longer named is let go and stays
    await api.client.post(
        "/v1/aliases", json={"address": "new@acme.test", "targets": ["bob@acme.test"]}
    )
    named = {
        **{kind: WHOLE[kind] for kind in ("domains", "routes")},
        "accounts": WHOLE["accounts"][:1],
        "aliases": [{"address": "new@acme.test", "targets": ["bob@acme.test"]}],
    }
    moved = await applied(api, named, "argo-cd")
    assert moved["changes"] == []
    assert moved["marked"] == [{"kind": "alias", "object": "new@acme.test"}]
    assert {each["object"] for each in moved["released"]} == {
        "eve@acme.test",
        "all@acme.test",
        HOOK,
    }
    kept = {"acme.test", "bob@acme.test", "new@acme.test", "partner.test"}
    expected = {name: "argo-cd" if name in kept else None for name in {*everything, *kept}}
    assert await marks(api) == expected
    (line,) = (
        await api.client.get("/v1/audit", params={"action": "config.apply", "limit": 1})
    ).json()["items"]
    assert line["object"] == "acme"
    assert line["details"] == {"marked": 1, "released": 3, "via": "config", "manager": "argo-cd"}

    (manager,) = (await api.client.get("/v1/config/managers?tenant=acme")).json()["items"]
    assert manager["name"] == "argo-cd"
    assert manager["objects"] == dict(zip(LISTS, (1, 1, 1, 0, 1), strict=True))
    assert (await api.client.delete("/v1/config/managers/argo-cd?tenant=acme")).status_code == 204
    assert set((await marks(api)).values()) == {None}
    again = await api.client.delete("/v1/config/managers/argo-cd?tenant=acme")
    assert problem(again, 404, "not-found")["detail"] == "nothing is managed by argo-cd"


async def test_objects_of_another_manager_are_taken_only_on_demand_and_never_pruned(
    api: Api,
) -> None:
    await api.tenant("acme")
    await applied(api, WHOLE, "flux")
    mine = {
        "accounts": [{"address": "bob@acme.test", "quota_bytes": 5}, {"address": "al@acme.test"}]
    }
    for query in ({"plan": "true"}, {}):
        fault = problem(await put(api, mine, "argo-cd", **query), 409, "conflict")["detail"]
        assert fault.startswith(
            "the document names objects of other managers: account bob@acme.test by flux."
        )
    assert (await api.client.get("/v1/accounts/bob@acme.test")).json()["quota_bytes"] == 1000
    assert (await api.client.get("/v1/config/managers?tenant=acme")).json()["items"][0][
        "name"
    ] == "flux"

    # the others of flux stay, though they are not named
    done = await applied(api, mine, "argo-cd", take_over="true", prune="true")
    assert [(each["object"], each["action"]) for each in done["changes"]] == [
        ("bob@acme.test", "change"),
        ("al@acme.test", "create"),
    ]
    assert done["changes"][0]["managed_by"] == "flux"
    assert done["unlisted"] == [{"kind": "account", "object": "eve@acme.test"}]
    found = await marks(api)
    assert (found["bob@acme.test"], found["al@acme.test"]) == ("argo-cd", "argo-cd")
    assert (found["eve@acme.test"], found["acme.test"]) == ("flux", "flux")

    # without a name, whoever applies may do all, and reads whose work it undoes
    plain = await applied(api, {"accounts": WHOLE["accounts"][:1]}, None, prune="true")
    assert {(each["object"], each["action"], each["managed_by"]) for each in plain["changes"]} == {
        ("bob@acme.test", "change", "argo-cd"),
        ("eve@acme.test", "delete", "flux"),
        ("al@acme.test", "delete", "argo-cd"),
    }
    assert "eve@acme.test" not in await marks(api)

    for name in ("", "a b", "-x", "x" * 65, "a/b", "a\n"):
        refused = await api.client.put("/v1/config", params={"manager": name}, json={})
        assert problem(refused, 422, "invalid")["errors"][0]["field"] == "manager"


async def test_an_edit_beside_the_manager_is_made_and_names_it(api: Api) -> None:
    await api.tenant("acme")
    await applied(api, WHOLE, "argo-cd")
    (hook,) = (await api.client.get("/v1/webhooks")).json()["items"]

    async def edit(method: str, path: str, body: Any = None) -> str | None:
        answer: httpx.Response = await api.client.request(method, f"/v1/{path}", json=body)
        assert answer.status_code in (200, 204), answer.text
        header: str | None = answer.headers.get(EDITED)
        return header

    # what the document does not set is nobody's
    assert await edit("PATCH", "domains/acme.test", {"plus_addressing": False}) is None
    assert await edit("PATCH", "accounts/bob@acme.test", {"password": "a good password"}) is None
    assert await edit("PUT", "accounts/bob@acme.test/filter-policy", {"rspamd": True}) is None
    edits: list[tuple[str, str, Any]] = [
        ("PATCH", "domains/acme.test", {"retention_days": 9, "plus_addressing": True}),
        ("PUT", "domains/acme.test/filter-policy", {"rspamd": False}),
        ("DELETE", "domains/acme.test/filter-policy", None),
        ("PATCH", "accounts/bob@acme.test", {"quota_bytes": None}),
        ("PATCH", "aliases/all@acme.test", {"targets": ["eve@acme.test"]}),
        ("PATCH", f"webhooks/{hook['id']}", {"events": ["*"]}),
        ("PUT", "routes/partner.test", {"host": "other.test"}),
        ("DELETE", "routes/partner.test", None),
        ("DELETE", f"webhooks/{hook['id']}", None),
        ("DELETE", "aliases/all@acme.test", None),
        ("DELETE", "accounts/bob@acme.test", None),
    ]
    for each in edits:
        assert await edit(*each) == "argo-cd", each
    log = (await api.client.get("/v1/audit", params={"limit": 100})).json()["items"]
    assert audited(log, "alias.delete", "all@acme.test") == {"managed_by": "argo-cd"}

    # what is made anew by hand has no mark, and the next apply takes it back
    await api.account("bob@acme.test")
    assert (await marks(api))["bob@acme.test"] is None
    back = await applied(api, WHOLE, "argo-cd")
    assert set((await marks(api)).values()) == {"argo-cd"}
    assert len(back["changes"]) == 6 - 1


async def test_managers_of_tenants_do_not_meet(api: Api) -> None:
    acme = await api.tenant("acme")
    await api.tenant("other")
    await applied(api, WHOLE, "argo-cd")
    # the same name in another tenant is another manager
    fault = problem(
        await put(api, {"routes": WHOLE["routes"]}, "argo-cd", tenant="other"), 409, "conflict"
    )
    assert "route partner.test by argo-cd" in fault["detail"]
    admin = await api.key(Role.TENANT_ADMIN, acme)
    own = {kind: WHOLE[kind] for kind in ("domains", "accounts")}
    client = api.client
    answer = await client.put("/v1/config", json=own, params={"manager": "argo-cd"}, headers=admin)
    assert {each["object"] for each in answer.json()["released"]} == {"all@acme.test", HOOK}
    assert (await marks(api))["partner.test"] == "argo-cd"  # it does not see routes
    (manager,) = (await client.get("/v1/config/managers", headers=admin)).json()["items"]
    assert manager["objects"]["routes"] == 0
    gone = await client.delete("/v1/config/managers/argo-cd", headers=admin)
    assert gone.status_code == 204
    assert {name for name, each in (await marks(api)).items() if each} == {"partner.test"}
