"""Routes over the REST API: what may be set, that no password comes out again, and who may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from posthorn.ports.api_keys import Role
from posthorn.runtime.secret_box import SecretBox
from tests.support.api import SECRET_KEY, Api, problem
from tests.support.events import CountedWakeUps, RecordedEvents

WHOLE = {
    "domain": "Example.ORG",
    "host": "SMTP.example.net",
    "port": 587,
    "tls": "verified",
    "username": "posthorn",
    "password": "sesame open",
    "connections": 4,
    "messages_per_minute": 60,
}
BARE = {"domain": "sink.test", "host": "127.0.0.1", "port": 2500}


async def password(api: Api, domain: str) -> str | None:
    """The password as the relay reads it."""
    (row,) = await api.sql("SELECT password FROM routes WHERE domain = $1", domain)
    return (
        row["password"]
        and SecretBox([SECRET_KEY]).decrypt(row["password"], f"route:{domain}").decode()
    )


async def refuse_updates(api: Api, table: str, when: str = "") -> None:
    """Have Postgres answer updates of a table as if it were going down."""
    await api.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '57P01';"
        " END $$"
    )
    await api.sql(
        f"CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW {when} EXECUTE FUNCTION refuse()"
    )


async def test_a_route_is_made_shown_and_deleted(api: Api) -> None:
    made = await api.client.post("/v1/routes", json=WHOLE)
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/routes/example.org"
    assert made.json() == {
        "domain": "example.org",
        "host": "smtp.example.net",
        "port": 587,
        "tls": "verified",
        "username": "posthorn",
        "password_set": True,
        "connections": 4,
        "messages_per_minute": 60,
        "last_hour": {"delivered": 0, "deferred": 0, "refused": 0},
        "managed_by": None,
    }
    assert (await api.client.get("/v1/routes/EXAMPLE.org")).json() == made.json()
    problem(await api.client.post("/v1/routes", json=WHOLE), 409, "conflict")
    await api.client.post("/v1/routes", json=BARE)
    await api.client.post("/v1/routes", json={"domain": "*", "host": "::1"})
    items = (await api.client.get("/v1/routes")).json()["items"]
    assert [
        (each["domain"], each["host"], each["tls"], each["password_set"]) for each in items
    ] == [
        ("*", "::1", "opportunistic", False),
        ("example.org", "smtp.example.net", "verified", True),
        ("sink.test", "127.0.0.1", "opportunistic", False),
    ]
    for domain in ("*", "example.org", "sink.test"):
        assert (await api.client.delete(f"/v1/routes/{domain}")).status_code == 204
        problem(await api.client.delete(f"/v1/routes/{domain}"), 404, "not-found")
        problem(await api.client.get(f"/v1/routes/{domain}"), 404, "not-found")


async def test_a_password_lies_sealed_and_is_never_shown(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = {"Idempotency-Key": "route"}
    shown = [
        await api.client.post("/v1/routes", json=WHOLE, headers=headers),
        await api.client.post("/v1/routes", json=WHOLE, headers=headers),
        await api.client.put("/v1/routes/example.org", json=WHOLE),
        await api.client.get("/v1/routes/example.org"),
        await api.client.get("/v1/routes"),
    ]
    assert [answer.status_code for answer in shown] == [201, 201, 422, 200, 200]
    assert all("sesame" not in answer.text for answer in shown)
    assert await password(api, "example.org") == "sesame open"
    for table in ("routes", "idempotency_keys"):
        for row in await api.sql(f"SELECT t::text AS whole FROM {table} t"):
            assert "sesame" not in row["whole"] and b"sesame".hex() not in row["whole"]
    assert "sesame" not in capsys.readouterr().out


async def test_of_several_that_make_the_same_route_at_once_one_does(api: Api) -> None:
    bodies = [{**WHOLE, "port": 2000 + number} for number in range(6)]
    answers = await asyncio.gather(*(api.client.post("/v1/routes", json=body) for body in bodies))
    (made,) = [answer for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer is not made:
            problem(answer, 409, "conflict")
    assert (await api.client.get("/v1/routes/example.org")).json() == made.json()


async def test_the_answer_is_kept_in_the_transaction_that_makes_the_route(api: Api) -> None:
    """Were it written after the commit, a crash in between would make the repeat a 409 for a
    route that was made."""
    headers = {"Idempotency-Key": "route"}
    await refuse_updates(api, "idempotency_keys", "WHEN (new.status = 201)")
    problem(await api.client.post("/v1/routes", json=WHOLE, headers=headers), 503, "unavailable")
    assert await api.sql("SELECT 1 FROM routes") == []
    await api.sql("DROP TRIGGER refuse ON idempotency_keys")
    assert (await api.client.post("/v1/routes", json=WHOLE, headers=headers)).status_code == 201


async def test_putting_sets_all_of_a_route(api: Api) -> None:
    document: dict[str, Any] = {name: value for name, value in WHOLE.items() if name != "domain"}
    assert (await api.client.put("/v1/routes/example.org", json=document)).status_code == 201
    document |= {"password": "another", "port": 465, "tls": "implicit", "connections": None}
    changed = await api.client.put("/v1/routes/example.org", json=document)
    assert (changed.status_code, changed.json()["port"], changed.json()["connections"]) == (
        200,
        465,
        None,
    )
    assert await password(api, "example.org") == "another"
    bare = await api.client.put("/v1/routes/example.org", json={"host": "smtp.example.net"})
    assert (bare.json()["username"], bare.json()["password_set"], bare.json()["tls"]) == (
        None,
        False,
        "opportunistic",
    )
    assert await password(api, "example.org") is None


async def test_a_password_that_is_left_out_stays_only_for_the_same_login_at_the_same_host(
    api: Api,
) -> None:
    await api.client.post("/v1/routes", json=WHOLE)
    same = {"host": "smtp.EXAMPLE.net", "tls": "implicit", "username": "posthorn"}
    kept = await api.client.put("/v1/routes/example.org", json=same)
    assert (kept.status_code, kept.json()["password_set"], kept.json()["tls"]) == (
        200,
        True,
        "implicit",
    )
    assert await password(api, "example.org") == "sesame open"
    for change in ({"host": "elsewhere.example.net"}, {"username": "other"}):
        problem(
            await api.client.put("/v1/routes/example.org", json={**same, **change}),
            422,
            "invalid",
            "password",
        )
    # whoever stands in between could read the password
    for tls in ("none", "opportunistic", "required"):
        problem(
            await api.client.put("/v1/routes/example.org", json={**same, "tls": tls}),
            422,
            "invalid",
            "tls",
        )
    assert await password(api, "example.org") == "sesame open"


async def test_what_makes_no_route_is_refused_by_the_name_of_its_field(api: Api) -> None:
    login = {"username": "u", "password": "p"}
    for field, changes in (
        ("domain", {"domain": "a..b"}),
        ("domain", {"domain": "*.example.org"}),
        ("host", {"host": "two words"}),
        ("host", {"host": "fe80::1%eth0"}),
        ("host", {"host": "[192.0.2.1"}),
        ("port", {"port": 0}),
        ("port", {"port": 65536}),
        ("port", {"port": "25"}),
        ("port", {"host": None}),
        ("tls", {"tls": "maybe"}),
        ("tls", {"host": None, "port": None, "tls": "implicit"}),
        ("tls", {**login, "host": "smtp.example.net", "tls": "none"}),
        ("username", {"password": "p"}),
        ("password", {"username": "u"}),
        ("connections", {"connections": 0}),
        ("messages_per_minute", {"messages_per_minute": -1}),
        ("secret", {"secret": "x"}),
    ):
        problem(
            await api.client.post("/v1/routes", json={**BARE, **changes}), 422, "invalid", field
        )
    for number, host in enumerate(("127.0.0.1", "::1", "localhost")):
        good = {**BARE, **login, "host": host, "tls": "none", "domain": f"loopback{number}.example"}
        assert (await api.client.post("/v1/routes", json=good)).status_code == 201
    limits = {"domain": "limits.example", "tls": "required", "connections": 1}
    assert (await api.client.post("/v1/routes", json=limits)).status_code == 201, (
        "the MX, with limits"
    )


async def test_a_new_route_makes_what_waits_for_it_due_and_wakes_the_relays(api: Api) -> None:
    wake_ups = CountedWakeUps()
    api.hints.set(wake_ups, RecordedEvents())
    await api.enter("reader@sink.test", "other@example.org")
    await api.sql(
        "UPDATE outbound_recipients SET state = 'deferred', due_at = now() + interval '1 hour', attempts = 1"
    )
    await api.client.post("/v1/routes", json=BARE)
    due = await api.sql("SELECT recipient FROM outbound_recipients WHERE due_at <= now()")
    assert [row["recipient"] for row in due] == ["reader@sink.test"]
    await api.client.put("/v1/routes/sink.test", json={"host": "127.0.0.1"})
    await api.client.delete("/v1/routes/sink.test")
    assert wake_ups.count == 3


async def test_a_route_is_made_though_what_waits_for_it_cannot_be_hastened(api: Api) -> None:
    await api.enter("reader@sink.test")
    await api.sql(
        "UPDATE outbound_recipients SET state = 'deferred', due_at = now() + interval '1 hour', attempts = 1"
    )
    await refuse_updates(api, "outbound_recipients")
    assert (await api.client.post("/v1/routes", json=BARE)).status_code == 201
    assert (
        await api.client.put("/v1/routes/sink.test", json={"host": "127.0.0.1"})
    ).status_code == 200


async def test_routes_are_for_keys_of_the_whole_platform(api: Api) -> None:
    await api.client.post("/v1/routes", json=BARE)
    tenant = await api.tenant("acme")
    for role in (Role.TENANT_ADMIN, Role.READ_ONLY):
        headers = await api.key(role, tenant)
        problem(await api.client.get("/v1/routes", headers=headers), 403, "forbidden")
        problem(await api.client.get("/v1/routes/sink.test", headers=headers), 403, "forbidden")
        problem(await api.client.delete("/v1/routes/sink.test", headers=headers), 403, "forbidden")
        problem(await api.client.post("/v1/routes", json=BARE, headers=headers), 403, "forbidden")
    reader = await api.key(Role.READ_ONLY)
    assert (await api.client.get("/v1/routes", headers=reader)).status_code == 200
