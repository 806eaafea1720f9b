"""The outbound queue and suppressions over the REST API: searched, held, retried, cancelled,
each tenant its own."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn.ports.api_keys import Role
from tests.support.api import Api, problem
from tests.support.events import CountedWakeUps, RecordedEvents


@pytest.fixture
def events(api: Api, wake_ups: CountedWakeUps) -> RecordedEvents:
    """What the API tells others about the queue."""
    recorded = RecordedEvents()
    api.hints.set(wake_ups, recorded)
    return recorded


@pytest.fixture
def wake_ups() -> CountedWakeUps:
    return CountedWakeUps()


def _recorded(events: RecordedEvents) -> list[tuple[str, str]]:
    return [(event.kind, event.detail["recipient"]) for event in events.events]


async def listed(api: Api, headers: dict[str, str] | None = None, **filters: Any) -> list[str]:
    answer = await api.client.get("/v1/queue", params=filters, headers=headers)
    assert answer.status_code == 200, answer.text
    return [item["recipient"] for item in answer.json()["items"]]


async def only(api: Api, **filters: Any) -> dict[str, Any]:
    (item,) = (await api.client.get("/v1/queue", params=filters)).json()["items"]
    found: dict[str, Any] = item
    return found


async def state(api: Api, number: int, to: str) -> None:
    await api.sql("UPDATE outbound_recipients SET state = $2 WHERE id = $1", number, to)


async def test_a_recipient_is_described(api: Api) -> None:
    message = await api.enter("Bob@example.org")
    item = await only(api)
    assert item == (await api.client.get(f"/v1/queue/{item['id']}")).json()
    for name in ("created_at", "next_attempt_at", "expires_at"):
        assert item.pop(name).endswith("Z")
    assert item == {
        "id": item["id"],
        "message": str(message),
        "state": "queued",
        "sender": "Alice@example.test",
        "recipient": "Bob@example.org",
        "domain": "example.org",
        "forwarded_for": None,
        "subject": "Grüße",
        "size": 1000,
        "attempts": 0,
        "last_attempt_at": None,
        "last_host": None,
        "last_status": None,
        "last_reply": None,
        "last_tls": None,
        "next_hop_closed_until": None,
        "next_hop_host": None,
        "next_hop_reply": None,
    }
    problem(await api.client.get("/v1/queue/999999"), 404, "not-found")
    problem(await api.client.get("/v1/queue/x"), 422, "invalid", "id")


async def test_the_queue_is_searched_by_each_filter_and_by_several(api: Api) -> None:
    first = await api.enter("Bob@one.example", "Carol@two.example")
    await api.enter("dave@two.example", sender="")
    held = await only(api, recipient="bob@one.example")
    await state(api, held["id"], "held")
    await api.sql(
        "UPDATE outbound_recipients SET created_at = now() - interval '1 hour' WHERE message_id = $1",
        first,
    )
    assert await listed(api) == ["dave@two.example", "Carol@two.example", "Bob@one.example"], (
        "the newest first"
    )
    for filters, found in (
        ({"domain": "TWO.example"}, ["dave@two.example", "Carol@two.example"]),
        ({"state": "held"}, ["Bob@one.example"]),
        ({"sender": "Alice@EXAMPLE.test"}, ["Carol@two.example", "Bob@one.example"]),
        ({"sender": "<>"}, ["dave@two.example"]),
        ({"recipient": "CAROL@two.example"}, ["Carol@two.example"]),
        ({"message": str(first)}, ["Carol@two.example", "Bob@one.example"]),
        ({"older_than": 1800}, ["Carol@two.example", "Bob@one.example"]),
        ({"younger_than": 1800}, ["dave@two.example"]),
        ({"domain": "two.example", "older_than": 1800, "state": "queued"}, ["Carol@two.example"]),
        ({"domain": "nowhere.example"}, []),
    ):
        assert await listed(api, None, **filters) == found, filters
    for name, bad in (
        ("domain", "a..b"),
        ("state", "lost"),
        ("sender", "x y"),
        ("recipient", "x"),
        ("message", "x"),
        ("older_than", "-1"),
        ("younger_than", "inf"),
        ("cursor", "x"),
    ):
        problem(await api.client.get("/v1/queue", params={name: bad}), 422, "invalid", name)


async def test_pages_give_everything_once(api: Api) -> None:
    await api.enter(*(f"user{number}@example.org" for number in range(5)))
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2, "domain": "example.org"}
    while True:
        document = (await api.client.get("/v1/queue", params=query)).json()
        seen += [item["recipient"] for item in document["items"]]
        if document["next_cursor"] is None:
            break
        query["cursor"] = document["next_cursor"]
    assert seen == [f"user{number}@example.org" for number in reversed(range(5))]


async def test_one_is_held_released_retried_and_cancelled_and_the_trace_and_the_relays_hear_of_it(
    api: Api, events: RecordedEvents, wake_ups: CountedWakeUps
) -> None:
    message = await api.enter("bob@example.org")
    path = f"/v1/queue/{(await only(api))['id']}"
    held = await api.client.post(f"{path}/hold")
    assert (held.status_code, held.json()["state"], held.json()["next_attempt_at"]) == (
        200,
        "held",
        None,
    )
    assert wake_ups.count == 0
    problem(await api.client.post(f"{path}/retry"), 409, "conflict")
    assert (await api.client.post(f"{path}/release")).json()["state"] == "queued"
    await api.sql(
        "UPDATE outbound_recipients SET state = 'deferred', due_at = now() + interval '1 hour', attempts = 1"
    )
    retried = (await api.client.post(f"{path}/retry")).json()
    assert retried["state"] == "deferred"
    assert retried["next_attempt_at"] < retried["expires_at"]
    (row,) = await api.sql("SELECT due_at <= now() AS due FROM outbound_recipients")
    assert row["due"] and wake_ups.count == 2
    assert (await api.client.delete(path)).status_code == 204
    problem(await api.client.delete(path), 409, "conflict")
    problem(await api.client.post(f"{path}/release"), 409, "conflict")
    assert await listed(api, state="cancelled") == ["bob@example.org"]
    kinds = ["held", "released", "retried", "cancelled"]
    assert _recorded(events) == [(kind, "bob@example.org") for kind in kinds]
    assert {event.message for event in events.events} == {message}
    assert {event.detail["by"] for event in events.events} == {"key:bootstrap"}
    for action in ("hold", "release", "retry"):
        problem(await api.client.post(f"/v1/queue/999999/{action}"), 404, "not-found")
    problem(await api.client.post(f"{path}/explode"), 404, "not-found")


async def test_many_are_acted_on_by_a_filter(
    api: Api, events: RecordedEvents, wake_ups: CountedWakeUps
) -> None:
    await api.enter("a@one.example", "b@one.example", "c@two.example")

    async def act(action: str, **selection: Any) -> int:
        answer = await api.client.post(f"/v1/queue/{action}", json=selection)
        assert answer.status_code == 200, answer.text
        assert answer.json()["more"] is False
        matched: int = answer.json()["matched"]
        return matched

    assert await act("hold", domain="one.example") == 2
    assert await act("hold", domain="one.example") == 0
    assert sorted(_recorded(events)) == [("held", "a@one.example"), ("held", "b@one.example")]
    assert await act("release", recipient="A@one.example") == 1
    assert await act("release", state="held", older_than=0) == 1
    await api.sql(
        "UPDATE outbound_recipients SET state = 'deferred', due_at = now() + interval '1 hour', attempts = 1"
    )
    assert await act("retry", all=True) == 3
    assert wake_ups.count == 3
    message = (await only(api, recipient="c@two.example"))["message"]
    assert await act("cancel", message=message, domain="one.example") == 2
    assert await listed(api, state="deferred") == ["c@two.example"]


@pytest.mark.usefixtures("events")
async def test_chosen_recipients_are_acted_on_in_one_request(api: Api) -> None:
    acme = await api.tenant("acme")
    await api.enter("a@one.example", "b@one.example", "c@two.example")
    await api.enter("theirs@one.example", tenant=acme)
    numbers = {
        row["recipient"]: row["id"]
        for row in await api.sql("SELECT id, recipient FROM outbound_recipients")
    }
    ids = [numbers["a@one.example"], numbers["c@two.example"], numbers["theirs@one.example"]]

    async def act(action: str, **selection: Any) -> tuple[int, int, int]:
        answer = await api.client.post(
            f"/v1/queue/{action}", json=selection, headers=selection.pop("headers", None)
        )
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["more"] is False
        return found["matched"], found["passed_over"], found["left"]

    key = await api.key(Role.TENANT_ADMIN, acme)
    assert await act("hold", ids=[*ids, 999_999_999], headers=key) == (1, 3, 0)
    (audited,) = (await api.client.get("/v1/audit?limit=1", headers=key)).json()["items"]
    assert audited["details"] == {"ids": 4, "recipients": 1}
    assert await act("hold", ids=[*ids, ids[0]]) == (2, 1, 0)
    assert await listed(api, state="queued") == ["b@one.example"]
    assert await act("hold", domain="one.example") == (1, 2, 0)
    assert await act("release", ids=ids, domain="one.example") == (2, 1, 0)
    for wrong in ([], [0], ["1"], [1] * 1001):
        answer = await api.client.post("/v1/queue/hold", json={"ids": wrong})
        assert answer.status_code == 422, answer.text


async def test_the_queue_is_summarized_by_destination_state_and_reply(api: Api) -> None:
    acme = await api.tenant("acme")
    await api.enter("a@one.example", "b@one.example", "c@one.example", "d@two.example")
    await api.enter("e@two.example", "f@two.example", tenant=acme)
    await api.sql(
        "UPDATE outbound_recipients SET state = 'deferred', due_at = '2040-01-01Z', last_status = '4.7.1',"
        " last_reply = '451 4.7.1 later, ' || recipient, last_host = 'mx (192.0.2.1)'"
        " WHERE recipient IN ('b@one.example', 'c@one.example')"
    )
    await api.sql("UPDATE outbound_recipients SET state = 'held' WHERE recipient = 'd@two.example'")
    await api.sql(
        "UPDATE outbound_recipients SET state = 'bounced', closed_at = now() WHERE recipient = 'e@two.example'"
    )

    async def summary(headers: dict[str, str] | None = None, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = await api.client.get("/v1/queue/summary", params=query, headers=headers)
            assert answer.status_code == 200, answer.text
            found += answer.json()["items"]
            query["cursor"] = answer.json()["next_cursor"]
            if query["cursor"] is None:
                return found

    def keys(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return [
            (each["domain"], each["state"], each["reply_class"], each["recipients"])
            for each in found
        ]

    whole = await summary()
    assert keys(whole) == [
        ("one.example", "deferred", "4.7", 2),
        ("one.example", "queued", None, 1),
        ("two.example", "held", None, 1),
        ("two.example", "queued", None, 1),
    ]
    assert await summary(limit=1) == whole
    first = whole[0]
    assert first["sample_reply"] == "451 4.7.1 later, c@one.example"
    assert first["next_attempt_at"] == "2040-01-01T00:00:00Z"
    assert (await api.client.get(f"/v1/queue/{first['sample']}")).json()["recipient"] == (
        "c@one.example"
    )
    assert (whole[2]["next_attempt_at"], whole[2]["sample_reply"]) == (None, None)
    assert keys(await summary(domain="two.example", state="held")) == [
        ("two.example", "held", None, 1)
    ]
    assert keys(await summary(q="B@One")) == [("one.example", "deferred", "4.7", 1)]
    assert keys(await summary(q="later", state="queued")) == []
    key = await api.key(Role.READ_ONLY, acme)
    theirs = [("two.example", "queued", None, 1)]
    assert keys(await summary(key)) == keys(await summary(tenant="acme")) == theirs


async def test_everything_is_meant_only_when_that_is_said(api: Api, events: RecordedEvents) -> None:
    await api.enter("a@one.example")
    for action in ("retry", "hold", "release", "cancel"):
        path = f"/v1/queue/{action}"
        problem(await api.client.post(path, json={}), 422, "invalid", "all")
        problem(
            await api.client.post(path, json={"all": False, "domain": None}), 422, "invalid", "all"
        )
        problem(
            await api.client.post(path, json={"domian": "one.example"}), 422, "invalid", "domian"
        )
    problem(
        await api.client.post("/v1/queue/hold", json={"message": "x"}), 422, "invalid", "message"
    )
    assert await listed(api, state="queued") == ["a@one.example"]
    assert _recorded(events) == []


async def test_many_thousands_are_acted_on_in_one_request(api: Api, events: RecordedEvents) -> None:
    await api.enter(*(f"user{number}@example.org" for number in range(2500)))
    for action in ("hold", "release", "cancel"):
        answer = await api.client.post(f"/v1/queue/{action}", json={"all": True})
        assert answer.json() == {"matched": 2500, "more": False, "passed_over": 0, "left": 0}
    assert len(events.events) == 7500


@pytest.mark.usefixtures("events")
async def test_a_tenant_sees_and_changes_its_own_only(api: Api) -> None:
    theirs = await api.tenant("acme")
    key, reader = await api.key(Role.TENANT_ADMIN, theirs), await api.key(Role.READ_ONLY, theirs)
    await api.enter("ours@example.org")
    await api.enter("theirs@example.org", tenant=theirs)
    ours = f"/v1/queue/{(await only(api, recipient='ours@example.org'))['id']}"
    assert await listed(api, key) == await listed(api, reader) == ["theirs@example.org"]
    problem(await api.client.get(ours, headers=key), 404, "not-found")
    problem(await api.client.post(f"{ours}/hold", headers=key), 404, "not-found")
    problem(await api.client.delete(ours, headers=key), 404, "not-found")
    problem(
        await api.client.post("/v1/queue/hold", json={"all": True}, headers=reader),
        403,
        "forbidden",
    )
    answer = await api.client.post("/v1/queue/hold", json={"all": True}, headers=key)
    assert answer.json()["matched"] == 1
    assert await listed(api, state="held") == ["theirs@example.org"]


async def test_actions_are_done_without_nats(api: Api) -> None:
    await api.enter("bob@example.org")
    item = await only(api)
    assert (await api.client.post(f"/v1/queue/{item['id']}/retry")).status_code == 200


async def test_an_address_is_suppressed_once_and_taken_off_again(api: Api) -> None:
    document = {"address": "Gone@Example.ORG", "reason": "asked for it"}
    made = await api.client.post("/v1/suppressions", json=document)
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/suppressions/gone@example.org"
    shown = made.json()
    assert (shown["address"], shown["reason"], shown["source"]) == (
        "gone@example.org",
        "asked for it",
        "api",
    )
    again = await api.client.post("/v1/suppressions", json={"address": "gone@example.org"})
    assert (again.status_code, again.json()) == (200, shown)
    await api.client.post("/v1/suppressions", json={"address": "a/b@other.example"})
    everything = (await api.client.get("/v1/suppressions")).json()["items"]
    assert [each["address"] for each in everything] == ["a/b@other.example", "gone@example.org"]
    found = (await api.client.get("/v1/suppressions", params={"domain": "EXAMPLE.org"})).json()[
        "items"
    ]
    assert found == [shown]
    first = (await api.client.get("/v1/suppressions", params={"limit": 1})).json()
    rest = await api.client.get(
        "/v1/suppressions", params={"limit": 1, "cursor": first["next_cursor"]}
    )
    assert rest.json() == {"items": [shown], "next_cursor": None, "total": None}
    for address in ("GONE@example.org", "a/b@other.example"):
        assert (await api.client.delete(f"/v1/suppressions/{address}")).status_code == 204
        problem(await api.client.delete(f"/v1/suppressions/{address}"), 404, "not-found")
    problem(
        await api.client.post("/v1/suppressions", json={"address": "x"}), 422, "invalid", "address"
    )


async def test_suppressions_are_searched_also_those_of_another_tenant(api: Api) -> None:
    acme = await api.tenant("acme")
    key = await api.key(Role.TENANT_ADMIN, acme)
    for address, reason in (("gone@a.test", "by hand"), ("x_1@b.test", "User Gone 100%")):
        made = {"address": address, "reason": reason}
        await api.client.post("/v1/suppressions", json=made, headers=key)

    async def found(headers: dict[str, str] | None = None, **query: str) -> list[str]:
        answer = await api.client.get("/v1/suppressions", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return [each["address"] for each in answer.json()["items"]]

    assert await found(key, q="GONE") == ["gone@a.test", "x_1@b.test"]
    assert await found(key, q="gone", domain="b.test") == ["x_1@b.test"]
    assert await found(key, q="x_") == await found(key, q="0%") == ["x_1@b.test"]
    assert await found(key, q="_%") == await found(q="gone") == []
    assert await found(tenant="acme", q="hand") == ["gone@a.test"]
    answer = await api.client.get("/v1/suppressions?tenant=default", headers=key)
    problem(answer, 422, "invalid", "tenant")


async def test_suppressions_belong_to_a_tenant(api: Api) -> None:
    key = await api.key(Role.TENANT_ADMIN, await api.tenant("acme"))
    await api.client.post("/v1/suppressions", json={"address": "x@example.org"}, headers=key)
    assert (await api.client.get("/v1/suppressions")).json()["items"] == []
    problem(await api.client.delete("/v1/suppressions/x@example.org"), 404, "not-found")
    assert (
        await api.client.delete("/v1/suppressions/x@example.org", headers=key)
    ).status_code == 204


@pytest.mark.usefixtures("events")
async def test_a_platform_key_searches_and_holds_what_is_one_tenants(api: Api) -> None:
    theirs = await api.tenant("acme")
    await api.tenant("others")
    await api.enter("a@example.org", tenant=theirs)
    await api.enter("b@example.org")
    for named in ("acme", str(theirs)):
        assert await listed(api, tenant=named) == ["a@example.org"]
    assert await listed(api, tenant="others") == []
    problem(
        await api.client.get("/v1/queue", params={"tenant": "nobody"}), 422, "invalid", "tenant"
    )
    answer = await api.post("/v1/queue/hold", {"tenant": "acme"})
    assert (answer.json()["matched"], answer.json()["more"]) == (1, False)
    assert await listed(api, state="held") == ["a@example.org"]
    key = await api.key(Role.TENANT_ADMIN, theirs)
    assert await listed(api, key, tenant="acme") == ["a@example.org"]
    problem(
        await api.client.get("/v1/queue", params={"tenant": "others"}, headers=key),
        422,
        "invalid",
        "tenant",
    )
