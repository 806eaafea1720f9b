"""The quarantine over the API: who may see, read, release and delete what was withheld."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.model.blob_range import BlobRange
from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import Action
from posthorn.model.verdict import Engine, EngineState, Rule, Verdict
from posthorn.ports.api_keys import Role
from posthorn.ports.filing import Withheld
from posthorn.runtime.ids import new_id
from posthorn.wire.auth.results import Authentication, Dkim, Dmarc, Outcome, Spf
from posthorn.wire.message.header import Summary
from tests.support.api import Api, problem
from tests.support.builders import make_message, make_outbound, make_segment
from tests.support.seed import DatabaseSeed

pytestmark = pytest.mark.usefixtures("accounts")

ALICE = "alice@example.test"
BODY = b"Subject: spam\r\n\r\nbuy\r\n"
VERDICT = Verdict(
    1_800_000_000.0,
    Authentication(
        spf=(Spf(Outcome.PASS, "mailfrom", "bulk.test"),),
        dkim=(Dkim(Outcome.FAIL, "bulk.test", "s", "body hash"),),
        dmarc=Dmarc(Outcome.FAIL, "bulk.test"),
    ),
    rules=(Rule("SPAMMY", 9.5, "buy"),),
    engines=(Engine("builtin", EngineState.OK, 4),),
)


async def withhold(
    seed: DatabaseSeed,
    blobs: FileBlobs,
    accounts: Sequence[str] = (ALICE,),
    alias: str = "",
    reason: str = "score",
) -> list[UUID]:
    """Deliver a message that is withheld from accounts, and from what an alias leads to; return the
    ids of the copies and, last, that of the message."""
    decision = Decision(Action.QUARANTINE, reason, 9.5, "9.5 points")
    copies = []
    for address in accounts:
        number = await seed.value("SELECT id FROM accounts WHERE address = $1", address)
        copies.append(Withheld(new_id(), address, number, DEFAULT_TENANT, decision))
    if alias:
        forward = make_outbound("x@far.test", original=alias, alias=alias, tenant=DEFAULT_TENANT)
        copies.append(Withheld(new_id(), alias, None, DEFAULT_TENANT, decision, (forward,)))
    made = make_message((), size=len(BODY))
    summary = Summary("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Bulk <b@bulk.test>", "today", "<1@bulk.test>")
    message = replace(
        made,
        envelope=replace(made.envelope, verdict=VERDICT, summary=summary),
        blob_range=BlobRange(0, len(BODY)),
        withheld=tuple(copies),
    )
    packed = make_segment([message])
    await blobs.put(packed.key, [BODY])
    await PostgresMailboxes(seed.database).deliver([packed])
    return [*(each.id for each in copies), message.envelope.id]


async def listed(api: Api, **query: Any) -> list[str]:
    answer = await api.client.get("/v1/quarantine", params=query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_a_copy_is_shown_with_its_verdict_and_read_with_an_audit_line(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    copy, message = await withhold(seed, blobs)
    shown = (await api.client.get(f"/v1/quarantine/{copy}")).json()
    assert shown["verdict"]["rules"] == [{"name": "SPAMMY", "points": 9.5, "detail": "buy"}]
    assert shown["verdict"]["engines"][0]["milliseconds"] == 4
    assert [(each["method"], each["result"]) for each in shown["verdict"]["authentication"]] == [
        ("iprev", "none"),
        ("spf", "pass"),
        ("dkim", "fail"),
        ("dmarc", "fail"),
    ]
    assert (shown["subject"], shown["from"]) == ("Grüße", "Bulk <b@bulk.test>")
    assert (shown["message"], shown["account"], shown["score"]) == (str(message), ALICE, 9.5)
    raw = await api.client.get(f"/v1/quarantine/{copy}/raw")
    assert (raw.content, raw.headers["content-type"]) == (BODY, "message/rfc822")
    accesses = (await api.client.get(f"/v1/accounts/{ALICE}/content-access")).json()["items"]
    assert [(each["action"], each["details"]["message"]) for each in accesses] == [
        ("content.read", str(copy))
    ]
    reader = await api.key(Role.READ_ONLY)
    problem(await api.client.get(f"/v1/quarantine/{copy}/raw", headers=reader), 403, "forbidden")
    assert (await api.client.get("/v1/quarantine", headers=reader)).status_code == 200


async def test_a_copy_is_released_once_and_told(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    copy, message = await withhold(seed, blobs)
    path = f"/v1/quarantine/{copy}/release"
    released = await api.client.post(
        path, json={"classify": "ham"}, headers={"Idempotency-Key": "one"}
    )
    assert (released.status_code, released.json()["id"]) == (200, str(copy))
    again = await api.client.post(
        path, json={"classify": "ham"}, headers={"Idempotency-Key": "one"}
    )
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    problem(await api.client.post(path, json={}), 404, "not-found")
    inbox = (await api.client.get(f"/v1/accounts/{ALICE}/messages")).json()["items"]
    assert [each["id"] for each in inbox] == [str(message)]
    assert inbox[0]["verdict"]["score"] == 9.5
    assert await seed.rows("SELECT wanted FROM classifications") == [("ham",)]
    lines = (await api.client.get("/v1/audit", params={"action": "quarantine.release"})).json()
    assert [(each["object"], each["details"]["quarantine"]) for each in lines["items"]] == [
        (ALICE, str(copy))
    ]
    await seed.sums_hold()


async def test_all_copies_of_a_message_are_released_each_by_itself(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    await api.sql("UPDATE accounts SET quota_bytes = 1 WHERE address = 'bob@example.test'")
    await api.alias("out@example.test", "x@far.test")
    alice, bob, out, message = await withhold(
        seed, blobs, (ALICE, "bob@example.test"), "out@example.test"
    )
    assert await listed(api, message=str(message)) == [str(out), str(bob), str(alice)]
    answer = await api.client.post("/v1/quarantine/release", json={"message": str(message)})
    results = {each["id"]: each["released"] for each in answer.json()["items"]}
    assert results == {str(alice): True, str(bob): False, str(out): True}
    assert await listed(api) == [str(bob)]
    assert await seed.rows("SELECT recipient, original FROM outbound_recipients") == [
        ("x@far.test", "out@example.test")
    ]
    problem(await api.client.post("/v1/quarantine/release", json={}), 422, "invalid", "ids")
    unknown = {"ids": [str(alice)]}
    (gone,) = (await api.client.post("/v1/quarantine/release", json=unknown)).json()["items"]
    assert (gone["released"], gone["recipient"]) == (False, None)
    await seed.sums_hold()


async def test_copies_are_found_by_filter_and_page_and_deleted(
    api: Api, seed: DatabaseSeed, blobs: FileBlobs
) -> None:
    first, _ = await withhold(seed, blobs)
    second, _ = await withhold(seed, blobs, ("bob@example.test",), reason="virus")
    assert await listed(api) == [str(second), str(first)]
    assert await listed(api, account=ALICE) == [str(first)]
    assert await listed(api, reason="virus", domain="Example.TEST") == [str(second)]
    assert await listed(api, since="2999-01-01T00:00:00Z") == []
    page = (await api.client.get("/v1/quarantine", params={"limit": 1})).json()
    assert await listed(api, cursor=page["next_cursor"]) == [str(first)]
    answer = await api.client.get("/v1/quarantine", params={"account": "nobody@example.test"})
    problem(answer, 404, "not-found")
    assert (await api.client.delete(f"/v1/quarantine/{first}")).status_code == 204
    problem(await api.client.delete(f"/v1/quarantine/{first}"), 404, "not-found")
    assert await listed(api) == [str(second)]
    await seed.sums_hold()
