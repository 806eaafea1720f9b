"""Filter policies: what may be set, how it is kept and shown, and who is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from posthorn.model.filter_policy import FIELDS, MOST_ENTRIES
from posthorn.ports.api_keys import Role
from tests.support.api import Api, problem

SYSTEM, DOMAIN = "/v1/filter-policy", "/v1/domains/example.test/filter-policy"
TENANT, ACCOUNT = (
    "/v1/tenants/default/filter-policy",
    "/v1/accounts/alice@example.test/filter-policy",
)
SILENT = dict.fromkeys(FIELDS)


@pytest.mark.parametrize("path", [SYSTEM, TENANT, DOMAIN, ACCOUNT])
@pytest.mark.usefixtures("accounts")
async def test_a_policy_is_set_shown_and_unset(api: Api, path: str) -> None:
    silent = await api.client.get(path)
    assert (silent.status_code, silent.json()) == (200, SILENT)
    document = {"junk_score": 5, "allow": [" Bob@Example.ORG ", "192.0.2.1"], "greylist": None}
    made = await api.client.put(path, json=document, headers={"If-Match": silent.headers["etag"]})
    assert made.status_code == 200, made.text
    expected = {**SILENT, "junk_score": 5.0, "allow": ["bob@example.org", "192.0.2.1/32"]}
    assert made.json() == expected
    shown = await api.client.get(path)
    assert (shown.json(), shown.headers["etag"]) == (expected, made.headers["etag"])
    again = await api.client.put(path, json=shown.json())
    assert again.json() == expected, "what is shown can be set"
    old = {"If-Match": made.headers["etag"]}
    problem(await api.client.put(path, json={}, headers=old), 412, "changed")
    problem(await api.client.delete(path, headers=old), 412, "changed")
    assert (await api.client.delete(path)).status_code == 204
    assert (await api.client.delete(path)).status_code == 204
    assert (await api.client.get(path)).json() == SILENT


@pytest.mark.usefixtures("accounts")
async def test_of_two_changes_of_one_version_one_is_made(api: Api) -> None:
    tag = (await api.client.get(ACCOUNT)).headers["etag"]
    answers = await asyncio.gather(
        *(
            api.client.put(ACCOUNT, json={"junk_score": score}, headers={"If-Match": tag})
            for score in (4, 5, 6)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"junk_score": 0}, "junk_score"),
        ({"junk_score": "6"}, "junk_score"),
        ({"spam_action": "refuse"}, "spam_action"),
        ({"virus_action": "deliver"}, "virus_action"),
        ({"greylist": "yes"}, "greylist"),
        ({"allow": ["a.test", "nonsense"]}, "allow[1]"),
        ({"block": ["192.0.2.1/24"]}, "block[0]"),
        ({"forwarders": ["bob@example.org"]}, "forwarders[0]"),
        ({"block": ["a.test"] * (MOST_ENTRIES + 1)}, "block"),
        ({"block": [f"{'x' * 60}.{number}.test" for number in range(MOST_ENTRIES)]}, "block"),
    ],
)
@pytest.mark.usefixtures("domain")
async def test_what_cannot_be_set_is_named(api: Api, document: dict[str, Any], field: str) -> None:
    problem(await api.client.put(DOMAIN, json=document), 422, "invalid", field)
    assert (await api.client.get(DOMAIN)).json() == SILENT


@pytest.mark.usefixtures("accounts")
async def test_what_holds_is_shown_with_its_origins(api: Api) -> None:
    for path, document in (
        (SYSTEM, {"junk_score": 4, "block": ["a.test"]}),
        (TENANT, {"junk_score": 5}),
        (DOMAIN, {"spam_action": "mark"}),
        (ACCOUNT, {"block": ["b.test"]}),
    ):
        assert (await api.client.put(path, json=document)).status_code == 200
    tenant = (await api.sql("SELECT id FROM tenants"))[0]["id"]
    reader = await api.key(Role.READ_ONLY, tenant)
    found = (await api.client.get(f"{ACCOUNT}/effective", headers=reader)).json()
    assert found["policy"].keys() == set(FIELDS)
    assert found["policy"] | {"junk_score": 5.0, "spam_action": "mark"} == found["policy"]
    assert found["policy"]["block"] == ["a.test", "b.test"]
    for origin in (
        {"field": "junk_score", "source": "tenant", "value": 5.0},
        {"field": "spam_action", "source": "domain", "value": "mark"},
        {"field": "block", "source": "system", "value": ["a.test"]},
        {"field": "block", "source": "account", "value": ["b.test"]},
        {"field": "greylist", "source": "default", "value": False},
        {"field": "allow", "source": "default", "value": []},
    ):
        assert origin in found["origins"]
    values = {each["field"]: each["value"] for each in found["origins"]}
    assert (values["greylist"], type(values["refuse_score"])) == (False, float)
    assert values["greylist"] is False
    of_domain = (await api.client.get(f"{DOMAIN}/effective")).json()
    assert of_domain["policy"]["block"] == ["a.test"]


@pytest.mark.usefixtures("accounts")
async def test_what_a_later_release_has_written_is_shown_as_far_as_it_is_known(api: Api) -> None:
    await api.sql(
        "INSERT INTO filter_policies (document)"
        """ VALUES ('{"colour": "red", "spam_action": "teleport", "junk_score": 4}')"""
    )
    shown = await api.client.get(SYSTEM)
    assert shown.json() == {**SILENT, "spam_action": "teleport", "junk_score": 4}
    found = (await api.client.get(f"{ACCOUNT}/effective")).json()["policy"]
    assert (found["junk_score"], found["spam_action"]) == (4.0, "junk")


async def test_what_is_not_there_has_no_policy(api: Api) -> None:
    for path in ("/v1/tenants/nobody", "/v1/domains/nowhere.test", "/v1/accounts/x@nowhere.test"):
        for answer in (
            await api.client.get(f"{path}/filter-policy"),
            await api.client.put(f"{path}/filter-policy", json={}),
            await api.client.delete(f"{path}/filter-policy"),
        ):
            assert path.rpartition("/")[2] in problem(answer, 404, "not-found")["detail"]
    bad = await api.client.get("/v1/accounts/nonsense/filter-policy")
    problem(bad, 422, "invalid", "address")


@pytest.mark.usefixtures("accounts")
async def test_the_audit_log_names_what_changed(api: Api) -> None:
    await api.client.put(ACCOUNT, json={"allow": ["a.test"], "junk_score": 4})
    await api.client.put(ACCOUNT, json={"allow": ["b.test"], "junk_score": 4, "digest": True})
    await api.client.delete(ACCOUNT)
    await api.client.put(SYSTEM, json={"greylist": True})
    lines = (await api.client.get("/v1/audit", params={"action": "filter-policy"})).json()["items"]
    assert [(line["action"], line["object"], line["details"]) for line in lines] == [
        ("filter-policy.set", "system", {"greylist": True}),
        (
            "filter-policy.unset",
            "alice@example.test",
            {"allow": {"added": [], "removed": ["b.test"]}, "digest": None, "junk_score": None},
        ),
        (
            "filter-policy.set",
            "alice@example.test",
            {"allow": {"added": ["b.test"], "removed": ["a.test"]}, "digest": True},
        ),
        (
            "filter-policy.set",
            "alice@example.test",
            {"allow": {"added": ["a.test"], "removed": []}, "junk_score": 4.0},
        ),
    ]
    assert lines[0]["tenant"] is None
    assert lines[1]["tenant"] is not None


@pytest.mark.usefixtures("accounts")
async def test_a_policy_goes_with_its_owner(api: Api) -> None:
    await api.client.put(ACCOUNT, json={"junk_score": 4})
    assert (await api.client.delete("/v1/accounts/alice@example.test")).status_code == 204
    await api.account("alice@example.test")
    assert (await api.client.get(ACCOUNT)).json() == SILENT
