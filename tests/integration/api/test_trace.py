"""The trace of a message over the REST API: in the order of time, for those whose message it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.events import NatsEvents, NatsTrace
from posthorn.adapters.nats.notifications import NatsNotifier
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.model.events import (
    ACCEPTED,
    DEFERRED,
    DELIVERED,
    FILED,
    QUARANTINED,
    QUEUED,
    READ,
    REFUSED,
    SCANNED,
    Event,
)
from posthorn.model.outbound import Outbound
from posthorn.ports.api_keys import Role
from posthorn.runtime.ids import new_id
from posthorn_local.embedded import Nats
from tests.support.api import Api, problem
from tests.support.builders import make_message, make_segment
from tests.support.databases import pool


@pytest.fixture
async def api(api: Api, connection: Connection) -> Api:
    api.trace.set(NatsTrace(connection))
    return api


async def happened(connection: Connection, *events: Event) -> None:
    async with NatsEvents(connection) as recorder:
        recorder.record(*events)


def path(message: UUID) -> str:
    return f"/v1/messages/{message}/trace"


async def test_a_trace_is_in_the_order_of_time(api: Api, connection: Connection) -> None:
    message = new_id()
    detail = {
        "recipient": "bob@example.org",
        "host": "mx.example.org",
        "reply": "250 ok",
        "tls": "TLSv1.3",
    }
    await happened(
        connection,
        Event(message, 1_800_000_002.5, DELIVERED, detail),
        Event(message, 1_800_000_000, ACCEPTED, {"size": 5}),
    )
    assert (await api.client.get(path(message))).json() == {
        "items": [
            {
                "at": "2027-01-15T08:00:00Z",
                "kind": "accepted",
                "detail": {"size": 5},
                "meaning": None,
            },
            {
                "at": "2027-01-15T08:00:02.500000Z",
                "kind": "delivered",
                "detail": detail,
                "meaning": "The server took the message.",
            },
        ],
        "next_cursor": None,
        "trace_url": None,
    }


async def test_of_a_message_that_is_not_known_there_is_no_trace(api: Api) -> None:
    problem(await api.client.get(path(new_id())), 404, "not-found")
    problem(await api.client.get("/v1/messages/x/trace"), 422, "invalid", "id")


async def test_a_message_in_the_queue_has_a_trace_even_when_nothing_was_recorded(api: Api) -> None:
    message = await api.enter("bob@example.org")
    assert (await api.client.get(path(message))).json()["items"] == []


async def test_a_tenant_sees_the_traces_of_what_it_sent(api: Api, connection: Connection) -> None:
    theirs, other = await api.tenant("acme"), await api.tenant("other")
    key, reader = await api.key(Role.TENANT_ADMIN, theirs), await api.key(Role.READ_ONLY, theirs)
    foreign = await api.key(Role.TENANT_ADMIN, other)
    sent, came, queued = new_id(), new_id(), await api.enter("bob@example.org", tenant=theirs)
    await happened(
        connection,
        Event(sent, 1.0, ACCEPTED, {"tenant": str(theirs)}),
        Event(sent, 2.0, DELIVERED, {"tenant": str(other)}),
        Event(came, 1.0, ACCEPTED, {"tenant": None}),
        Event(queued, 1.0, ACCEPTED, {}),
    )
    for message in (sent, queued):
        for headers in (key, reader, None):
            assert (await api.client.get(path(message), headers=headers)).status_code == 200
        problem(await api.client.get(path(message), headers=foreign), 404, "not-found")
    problem(await api.client.get(path(came), headers=key), 404, "not-found")
    assert (await api.client.get(path(came))).status_code == 200


async def test_what_a_tenant_was_refused_has_a_trace(api: Api, connection: Connection) -> None:
    acme = await api.tenant("acme")
    await api.domain("acme.test", tenant="acme")
    await api.sql("UPDATE domains SET verified_at = 'epoch'")
    tried, came = new_id(), new_id()
    detail = {"stage": "rcpt", "reply": "550 5.1.1 no", "reverse_path": "a@acme.test"}
    recipients = ["x@acme.test", "y@home.test"]
    await happened(
        connection,
        Event(tried, 1.0, REFUSED, {**detail, "recipients": recipients, "tenant": str(acme)}),
        Event(came, 1.0, REFUSED, {**detail, "recipients": recipients}),
    )
    key = await api.key(Role.READ_ONLY, acme)
    for message, named in ((tried, recipients), (came, recipients[:1])):
        (seen,) = (await api.client.get(path(message), headers=key)).json()["items"]
        assert seen["detail"]["recipients"] == named
    foreign = await api.key(Role.READ_ONLY, await api.tenant("other"))
    problem(await api.client.get(path(tried), headers=foreign), 404, "not-found")


@pytest.mark.usefixtures("accounts")
async def test_a_tenant_sees_what_happened_to_the_copies_for_its_domains(
    api: Api, connection: Connection
) -> None:
    acme = await api.tenant("acme")
    await api.domain("acme.test", tenant="acme")
    await api.sql("UPDATE domains SET verified_at = 'epoch'")
    message = new_id()
    mine, others = "ann@acme.test", "alice@example.test"
    await happened(
        connection,
        Event(message, 1.0, ACCEPTED, {"tenant": None, "recipients": 2}),
        Event(message, 2.0, SCANNED, {"recipients": [mine, others], "score": 9.5}),
        Event(message, 3.0, FILED, {"recipient": others, "action": "junk"}),
        Event(message, 4.0, QUARANTINED, {"recipient": mine, "reason": "score"}),
    )
    answer = await api.client.get(path(message), headers=await api.key(Role.READ_ONLY, acme))
    seen = answer.json()["items"]
    assert [each["kind"] for each in seen] == ["scanned", "quarantined"]
    assert seen[0]["detail"] == {"recipients": [mine], "score": 9.5}


class Crossing:
    """A message of one tenant, to somebody elsewhere, and to another tenant's alias,
    team@other.test, that leads to private@home.test."""

    def __init__(self, api: Api, sender: UUID, owner: UUID) -> None:
        self.api, self.sender, self.owner = api, sender, owner
        self.message = UUID(int=0)

    async def enter(self, recipient: str) -> None:
        outbound = (
            Outbound(recipient, recipient.rpartition("@")[2], "ann@acme.test"),
            Outbound(
                "private@home.test",
                "home.test",
                "srs@other.test",
                "team@other.test",
                tenant=self.owner,
            ),
        )
        made = replace(
            make_message((), reverse_path="ann@acme.test"), outbound=outbound, tenant=self.sender
        )
        async with pool(self.api.database_url) as database:
            await PostgresMailboxes(database).deliver([make_segment([made])])
        self.message = made.envelope.id

    async def items(self, headers: dict[str, str] | None) -> list[dict[str, Any]]:
        """What is seen, in the order of time, without the times."""
        answer = await self.api.client.get(path(self.message), headers=headers)
        assert answer.status_code == 200, answer.text
        return [{"kind": item["kind"], **item["detail"]} for item in answer.json()["items"]]


@pytest.fixture
async def crossing(api: Api) -> Crossing:
    return Crossing(api, await api.tenant("acme"), await api.tenant("other"))


FRIEND = {"recipient": "friend@far.test", "host": "mx.far.test", "reply": "250 ok", "tls": ""}
PRIVATE = {
    "recipient": "private@home.test",
    "host": "mx.home.test",
    "reply": "451 later",
    "tls": "TLSv1.3",
}
LED = {"original": "team@other.test"}


async def test_a_sender_learns_of_anothers_alias_what_it_wrote_to_and_no_more(
    crossing: Crossing, connection: Connection
) -> None:
    api = crossing.api
    await crossing.enter("friend@far.test")
    read = {"account": "otto@other.test", "tenant": str(crossing.owner)}
    accepted = {"tenant": str(crossing.sender)}
    await happened(
        connection,
        Event(crossing.message, 1.0, ACCEPTED, accepted),
        Event(
            crossing.message, 2.0, QUEUED, {"recipients": ["friend@far.test", "team@other.test"]}
        ),
        Event(crossing.message, 3.0, DELIVERED, FRIEND),
        Event(crossing.message, 4.0, DEFERRED, PRIVATE | LED),
        Event(crossing.message, 5.0, READ, read),
    )
    first = [
        {"kind": "accepted", **accepted},
        {"kind": "queued", "recipients": ["friend@far.test", "team@other.test"]},
        {"kind": "delivered", **FRIEND},
    ]
    sender = await api.key(Role.READ_ONLY, crossing.sender)
    assert await crossing.items(sender) == [
        *first,
        {"kind": "deferred", "recipient": "team@other.test"},
    ]
    owner = await api.key(Role.READ_ONLY, crossing.owner)
    theirs = [{"kind": "deferred", **PRIVATE, **LED}, {"kind": "read", **read}]
    assert await crossing.items(owner) == theirs, (
        "what came of the alias is its owner's, the rest is not"
    )
    assert await crossing.items(None) == [*first, *theirs]
    third = await api.key(Role.TENANT_ADMIN, await api.tenant("third"))
    problem(await api.client.get(path(crossing.message), headers=third), 404, "not-found")


async def test_a_sender_that_writes_to_the_same_place_itself_does_not_learn_that_an_alias_leads_there(
    crossing: Crossing, connection: Connection
) -> None:
    await crossing.enter("private@home.test")
    await happened(
        connection,
        Event(crossing.message, 1.0, ACCEPTED, {"tenant": str(crossing.sender)}),
        Event(crossing.message, 2.0, DEFERRED, PRIVATE),
        Event(crossing.message, 3.0, DEFERRED, PRIVATE | LED),
    )
    sender = await crossing.api.key(Role.READ_ONLY, crossing.sender)
    assert (await crossing.items(sender))[1:] == [
        {"kind": "deferred", **PRIVATE},
        {"kind": "deferred", "recipient": "team@other.test"},
    ]
    owner = await crossing.api.key(Role.READ_ONLY, crossing.owner)
    assert await crossing.items(owner) == [{"kind": "deferred", **PRIVATE, **LED}]


async def test_what_the_owner_of_an_alias_does_in_the_queue_tells_the_sender_neither_where_nor_who(
    crossing: Crossing, connection: Connection
) -> None:
    api = crossing.api
    await crossing.enter("friend@far.test")
    await happened(
        connection, Event(crossing.message, 1.0, ACCEPTED, {"tenant": str(crossing.sender)})
    )
    sender = await api.key(Role.TENANT_ADMIN, crossing.sender)
    owner = await api.key(Role.TENANT_ADMIN, crossing.owner)
    async with NatsEvents(connection) as events:
        api.hints.set(NatsNotifier(connection), events)
        (item,) = (await api.client.get("/v1/queue", headers=owner)).json()["items"]
        assert (item["recipient"], item["forwarded_for"]) == (
            "private@home.test",
            "team@other.test",
        )
        assert (
            await api.client.post(f"/v1/queue/{item['id']}/hold", headers=owner)
        ).status_code == 200
        released = await api.client.post("/v1/queue/release", json={"all": True}, headers=owner)
        assert released.json()["matched"] == 1
        held = await api.client.post("/v1/queue/hold", json={"all": True}, headers=sender)
        assert held.json()["matched"] == 1
    seen = (await crossing.items(sender))[1:]
    team = {"recipient": "team@other.test"}
    assert seen == [
        {"kind": "held", **team},
        {"kind": "released", **team},
        {"kind": "held", "recipient": "friend@far.test", "by": "key:key 1"},
    ]
    by = {"recipient": "private@home.test", "by": "key:key 2", **LED}
    assert await crossing.items(owner) == [{"kind": "held", **by}, {"kind": "released", **by}]


async def test_without_nats_a_trace_is_a_503(api: Api, nats: Nats) -> None:
    nats.stop(kill=True)
    problem(await api.client.get(path(new_id())), 503, "unavailable")


async def test_a_domain_shows_only_mail_since_its_ownership_was_verified(
    api: Api, connection: Connection
) -> None:
    acme = await api.tenant("acme")
    await api.sql("UPDATE tenants SET verify_domains = true")
    await api.domain("far.test", tenant="acme")
    key = await api.key(Role.READ_ONLY, acme)
    message = new_id()
    await happened(connection, Event(message, 1000.0, DELIVERED, {"recipients": ["bob@far.test"]}))
    for verified_at, status in ((None, 404), (2000.0, 404), (500.0, 200)):
        await api.sql("UPDATE domains SET verified_at = to_timestamp($1)", verified_at)
        answer = await api.client.get(path(message), headers=key)
        assert answer.status_code == status, answer.text
