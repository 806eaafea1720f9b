"""ETag and If-Match: a change is made to the object that was read, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Header
from fastapi.routing import APIRoute

from posthorn_api.app import operations
from tests.support.api import Api, problem

CHANGES = {
    "changeTenant": {"max_domains": 1},
    "changeDomain": {"plus_addressing": False},
    "changeAccount": {"quota_bytes": 1},
    "changeAlias": {"targets": ["b@acme.test"]},
    "changeWebhook": {"events": ["*"]},
    "setRoute": {"host": "relay.test"},
    "setSystemFilterPolicy": {},
    "setTenantFilterPolicy": {},
    "setDomainFilterPolicy": {},
    "setAccountFilterPolicy": {},
    "putConfig": {"domains": []},
}
"""A body for each operation that changes what has an ETag."""
OBJECTS: dict[str, list[dict[str, Any]]] = {
    "/v1/tenants/acme": [{"max_domains": 1}, {"max_domains": 2}],
    "/v1/domains/acme.test": [{"plus_addressing": False}, {"plus_addressing": True}],
    "/v1/accounts/a@acme.test": [{"quota_bytes": 1}, {"quota_bytes": 2}],
    "/v1/aliases/x@acme.test": [{"targets": ["b@acme.test"]}, {"targets": ["a@acme.test"]}],
}


@pytest.fixture
async def api(api: Api) -> Api:
    assert (await api.client.post("/v1/tenants", json={"name": "acme"})).headers["etag"]
    await api.domain("acme.test", tenant="acme")
    await api.account("a@acme.test")
    await api.account("b@acme.test")
    await api.alias("x@acme.test", "a@acme.test", "b@acme.test")
    return api


@pytest.mark.parametrize("path", OBJECTS)
async def test_of_two_changes_of_one_version_one_is_made(api: Api, path: str) -> None:
    tag = (await api.client.get(path)).headers["etag"]
    answers = await asyncio.gather(
        *(
            api.client.patch(path, json=body, headers={"If-Match": tag})
            for body in OBJECTS[path] * 3
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]
    problem(next(answer for answer in answers if answer.status_code == 412), 412, "changed")
    won = next(answer for answer in answers if answer.status_code == 200)
    assert won.headers["etag"] not in (tag, "")
    now = await api.client.get(path)
    assert (now.headers["etag"], now.json()) == (won.headers["etag"], won.json())


@pytest.mark.parametrize("path", OBJECTS)
async def test_if_match_names_one_of_several_or_any(api: Api, path: str) -> None:
    tag = (await api.client.get(path)).headers["etag"]
    body = OBJECTS[path][0]
    weak = await api.client.patch(path, json=body, headers={"If-Match": f"W/{tag}"})
    problem(weak, 412, "changed")
    problem(
        await api.client.patch(path, json=body, headers={"If-Match": tag.strip('"')}),
        400,
        "malformed",
    )
    several = await api.client.patch(path, json=body, headers={"If-Match": f'"other", {tag}'})
    assert several.status_code == 200
    assert (await api.client.patch(path, json=body, headers={"If-Match": "*"})).status_code == 200


async def test_an_object_that_has_changed_is_not_deleted(api: Api) -> None:
    path = "/v1/aliases/x@acme.test"
    old = (await api.client.get(path)).headers["etag"]
    new = (await api.client.patch(path, json={"targets": ["b@acme.test"]})).headers["etag"]
    problem(await api.client.delete(path, headers={"If-Match": old}), 412, "changed")
    assert (await api.client.delete(path, headers={"If-Match": new})).status_code == 204


async def test_mail_that_arrives_is_no_new_version_of_an_account(api: Api) -> None:
    tag = (await api.client.get("/v1/accounts/a@acme.test")).headers["etag"]
    await api.sql(
        "UPDATE accounts SET used_bytes = 7, used_messages = 1 WHERE address = 'a@acme.test'"
    )
    assert (await api.client.get("/v1/accounts/a@acme.test")).headers["etag"] == tag


async def test_what_is_made_again_has_another_version(api: Api) -> None:
    old = (await api.client.get("/v1/accounts/b@acme.test")).headers["etag"]
    await api.client.delete("/v1/aliases/x@acme.test")
    assert (await api.client.delete("/v1/accounts/b@acme.test")).status_code == 204
    await api.account("b@acme.test")
    assert (await api.client.get("/v1/accounts/b@acme.test")).headers["etag"] != old


async def test_the_answer_of_a_creation_keeps_its_tag_for_a_repeat(api: Api) -> None:
    body = {"address": "y@acme.test", "targets": ["a@acme.test"]}
    first = await api.client.post("/v1/aliases", json=body, headers={"Idempotency-Key": "y"})
    again = await api.client.post("/v1/aliases", json=body, headers={"Idempotency-Key": "y"})
    assert again.headers["idempotency-replayed"] == "true"
    read = await api.client.get("/v1/aliases/y@acme.test")
    assert first.headers["etag"] == again.headers["etag"] == read.headers["etag"]


@pytest.mark.parametrize(
    "operation",
    [each for each in operations() if (each.methods or set()) & {"PUT", "PATCH", "DELETE"}],
    ids=lambda operation: str(operation.operation_id),
)
async def test_what_has_an_etag_is_changed_in_that_version_alone(
    api: Api, operation: APIRoute
) -> None:
    """By reading: PUT of a route ignored If-Match."""
    (method,) = operation.methods or {""}
    named = str(operation.operation_id)
    shows = any(
        each.path == operation.path and "GET" in (each.methods or ()) for each in operations()
    )
    takes = any(
        isinstance(each.field_info, Header) and each.alias.lower() == "if-match"
        for each in get_flat_params(operation.dependant)
    )
    if not shows or method == "DELETE":
        assert named not in CHANGES
    if not shows:
        assert not takes
        return
    webhook = await api.client.post(
        "/v1/webhooks", json={"url": "https://hooks.test/", "events": ["*"], "tenant": "acme"}
    )
    await api.client.post("/v1/routes", json={"domain": "far.test"})
    path = operation.path.replace(":address", "").format_map(
        {
            "tenant": "acme",
            "name": "acme.test",
            "address": "a@acme.test" if "accounts" in operation.path else "x@acme.test",
            "id": webhook.json()["id"],
            "webhook": webhook.json()["id"],
            "domain": "far.test",
        }
        | dict.fromkeys(("mailbox", "key", "number", "manager"), "none")
    )
    which = {"tenant": "acme"} if named == "putConfig" else {}
    shown = await api.client.get(path, params=which)
    assert ("etag" in shown.headers) == takes, (named, shown.status_code)
    if not takes:
        return
    tag = shown.headers["etag"]

    async def change(versions: str) -> httpx.Response:
        body = None if method == "DELETE" else CHANGES[named]
        headers = {"If-Match": versions}
        return await api.client.request(method, path, params=which, headers=headers, json=body)

    for other in ('"another"', f"W/{tag}"):
        problem(await change(other), 412, "changed")
    if method == "DELETE":  # what others depend on is not deleted
        assert (await change(tag)).status_code in (204, 409)
    else:
        assert (await change(tag)).status_code == 200


async def test_a_route_that_is_gone_is_not_set_again(api: Api) -> None:
    path, body = "/v1/routes/far.test", {"host": "relay.test"}
    made = await api.client.post("/v1/routes", json={"domain": "far.test"})
    tag = {"If-Match": made.headers["etag"]}
    changed = await api.client.put(path, json=body, headers=tag)
    assert (changed.status_code, changed.headers["etag"] != tag["If-Match"]) == (200, True)
    assert (await api.client.get(path)).headers["etag"] == changed.headers["etag"]
    assert (await api.client.delete(path)).status_code == 204
    refused = await api.client.put(path, json=body, headers={"If-Match": changed.headers["etag"]})
    assert "there is no route for far.test any more" in problem(refused, 412, "changed")["detail"]
    again = await api.client.put(path, json=body)
    assert again.status_code == 201
    assert again.headers["etag"] not in (made.headers["etag"], changed.headers["etag"])
