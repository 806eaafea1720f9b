"""Forwards that account holders set for themselves, where their domain permits it."""

from __future__ import annotations

import base64
import time
from typing import Any

import httpx
import pytest

from posthorn.adapters.postgres.directory.entries import entries_of
from posthorn.model.directory_entry import AddressEntry, RecipientStatus
from posthorn.model.withheld import encode_withheld
from posthorn.ports.forwards import ForwardPolicy
from posthorn.runtime.ids import new_id
from tests.support.api import Api, problem
from tests.support.builders import make_message
from tests.support.databases import pool

PATH = "/v1/me/forwards"
ALICE = "alice@example.test"
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"{ALICE}:correct horse".encode()).decode()}


@pytest.fixture
def api_options() -> dict[str, Any]:
    return {"policy": ForwardPolicy(tenants_confirm=True)}


@pytest.fixture
async def api(api: Api) -> Api:
    await api.domain()
    for name in ("alice", "bob"):
        await api.account(f"{name}@example.test")
    return api


async def permit(api: Api, number: int) -> None:
    answer = await api.client.patch("/v1/domains/example.test", json={"account_forwards": number})
    assert answer.json()["account_forwards"] == number


async def put(api: Api, *targets: str, **body: Any) -> httpx.Response:
    return await api.client.put(PATH, json={"targets": targets, **body}, headers=LOGIN)


async def states(api: Api) -> dict[str, str]:
    document = (await api.client.get(PATH, headers=LOGIN)).json()
    return {target["address"]: target["state"] for target in document["targets"]}


async def test_a_holder_forwards_what_the_domain_permits(api: Api) -> None:
    nothing = {"targets": [], "keep_copy": True, "permitted": 0}
    assert (await api.client.get(PATH, headers=LOGIN)).json() == nothing
    problem(await put(api, "a@far.test"), 409, "conflict")
    await permit(api, 2)
    for targets, field in (
        (["a@far.test", "b@far.test", "c@far.test"], "targets"),
        (["a@far.test", "bob@example.test"], "targets[1]"),
        (["alice@example.test"], "targets[0]"),
        (["gone@example.test"], "targets[0]"),
        (["a@far.test", "A@FAR.test"], "targets[1]"),
        (["no address"], "targets[0]"),
        ([], "targets"),
    ):
        problem(await put(api, *targets), 422, "invalid", field)
    assert await states(api) == {}
    done = await put(api, "a@far.test", "b@far.test", keep_copy=False)
    assert done.status_code == 200, done.text
    assert (done.json()["keep_copy"], done.json()["permitted"]) == (False, 2)
    assert await states(api) == {"a@far.test": "unconfirmed", "b@far.test": "unconfirmed"}
    # asked as for an alias, and not anew when the same is set again
    (first, second) = await api.sql("SELECT id, target FROM alias_targets ORDER BY target")
    token = api.forwards.token(first["id"])
    confirmed = await api.client.post("/v1/aliases/confirm", json={"token": token})
    assert confirmed.status_code == 200, confirmed.text
    await api.sql(
        "INSERT INTO suppressions (tenant_id, address, reason, source)"
        " SELECT tenant_id, 'b@far.test', '', 'api' FROM domains"
    )
    await api.sql("UPDATE alias_targets SET confirmed_at = now() WHERE id = $1", second["id"])
    await put(api, "a@far.test", "b@far.test")
    assert await states(api) == {"a@far.test": "active", "b@far.test": "suppressed"}
    await permit(api, 0)
    assert set((await states(api)).values()) == {"not-permitted"}
    assert (await api.client.delete(PATH, headers=LOGIN)).status_code == 204
    problem(await api.client.delete(PATH, headers=LOGIN), 404, "not-found")
    assert await states(api) == {}
    lines = (await api.client.get("/v1/audit?action=forward")).json()["items"]
    assert [(line["action"], line["object"]) for line in lines][:2] == [
        ("forward.delete", ALICE),
        ("forward.set", ALICE),
    ]
    assert lines[1]["details"]["targets"] == ["a@far.test", "b@far.test"]


async def test_an_admin_sees_it_and_takes_it_away(api: Api) -> None:
    await permit(api, 1)
    await api.alias("team@example.test", "bob@example.test")
    before = (await api.client.get("/v1/config")).json()
    await put(api, "a@far.test")
    listed = (await api.client.get("/v1/aliases")).json()["items"]
    assert [(each["address"], each["account_copy"]) for each in listed] == [
        (ALICE, True),
        ("team@example.test", None),
    ]
    changed = await api.client.patch(f"/v1/aliases/{ALICE}", json={"targets": ["b@far.test"]})
    problem(changed, 409, "conflict")
    # the configuration leaves it alone
    after = (await api.client.get("/v1/config")).json()
    assert after["aliases"] == before["aliases"]
    applied = await api.client.put("/v1/config?prune=true", json={"aliases": before["aliases"]})
    assert applied.status_code == 200, applied.text
    assert await states(api) == {"a@far.test": "unconfirmed"}
    assert (await api.client.delete(f"/v1/aliases/{ALICE}")).status_code == 204
    assert await states(api) == {}
    # it goes with the account
    await put(api, "a@far.test")
    assert (await api.client.delete(f"/v1/accounts/{ALICE}")).status_code == 204
    assert (await api.client.get(f"/v1/aliases/{ALICE}")).status_code == 404
    await api.account(ALICE)
    assert await states(api) == {}


async def test_the_directory_shows_the_account_alone(api: Api) -> None:
    await permit(api, 1)
    await api.alias("team@example.test", ALICE)
    await put(api, "a@far.test")
    await api.sql("UPDATE alias_targets SET confirmed_at = now()")
    for state, standing in (
        ("active", RecipientStatus.DELIVERABLE),
        ("suspended", RecipientStatus.SUSPENDED),
    ):
        await api.sql("UPDATE accounts SET state = $2 WHERE address = $1", ALICE, state)
        async with pool(api.database_url) as database, database.session() as connection:
            found = await entries_of(connection, [ALICE], time.monotonic() + 60)
        for address in (ALICE, "team@example.test"):
            entry = found[address]
            assert isinstance(entry, AddressEntry) and entry.standing is standing, address


async def test_what_was_not_forwarded_is_found_and_released_by_the_holder(api: Api) -> None:
    message, number = await api.enter("x@far.test", sender=ALICE), new_id()
    await api.sql(
        "INSERT INTO quarantine (id, message_id, tenant_id, recipient, reason, detail, score, envelope, size_crlf,"
        " expires_at) SELECT $1, $2, tenant_id, $3, 'score', '', 9, $4, 1000, now() + interval '1 day' FROM domains",
        *(number, message, ALICE, encode_withheld(make_message(()).envelope, ALICE, ())),
    )
    await api.sql("UPDATE messages SET refs = refs + 1 WHERE id = $1", message)
    items = (await api.client.get("/v1/me/quarantine", headers=LOGIN)).json()["items"]
    assert [each["id"] for each in items] == [str(number)]
    bob = base64.b64encode(b"bob@example.test:correct horse").decode()
    as_bob = {"Authorization": f"Basic {bob}"}
    assert (await api.client.get("/v1/me/quarantine", headers=as_bob)).json()["items"] == []
    path = f"/v1/me/quarantine/{number}/release"
    problem(await api.client.post(path, headers=as_bob), 404, "not-found")
    released = await api.client.post(path, headers=LOGIN)
    assert released.status_code == 200, released.text
