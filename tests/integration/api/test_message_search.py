"""The search for messages over the REST API: what events came to, for those who may see it."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.postgres.events.message_index import PostgresMessageIndex
from posthorn.model.events import (
    ACCEPTED,
    BOUNCED,
    DELIVERED,
    FILED,
    QUARANTINED,
    QUEUED,
    REFUSED,
    Event,
)
from posthorn.ports.api_keys import Role
from posthorn.ports.message_index import MessageFilter
from posthorn.runtime.ids import new_id
from posthorn_api.search.indexing import Indexer
from tests.support.api import Api, problem
from tests.support.databases import pool


async def happened(api: Api, *events: Event) -> None:
    """Index events, as the reader of events does."""
    async with pool(api.database_url) as database:
        indexer = Indexer(PostgresMessageIndex(database), 1e9, hold_seconds=0.0)
        for event in events:
            indexer.add(event)
        await indexer.work()


def accepted(message: UUID, *to: str, tenant: UUID | None = None, **about: Any) -> Event:
    detail = {"to": list(to), "reverse_path": "Eve@evil.test", "from": "Eve <eve@evil.test>"}
    return Event(
        message, 1.0, ACCEPTED, {**detail, **about, "tenant": str(tenant) if tenant else None}
    )


async def found(
    api: Api, headers: dict[str, str] | None = None, **query: Any
) -> list[dict[str, Any]]:
    """Return all pages of a search."""
    items: list[dict[str, Any]] = []
    if "from_" in query:
        query["from"] = query.pop("from_")
    while True:
        answer = await api.client.get("/v1/messages", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        query["cursor"] = answer.json()["next_cursor"]
        if query["cursor"] is None:
            return items


async def ids(api: Api, headers: dict[str, str] | None = None, **query: Any) -> list[str]:
    return [each["message"] for each in await found(api, headers, **query)]


@pytest.mark.usefixtures("accounts")
async def test_messages_are_found_by_what_is_known_of_them(api: Api) -> None:
    acme = await api.tenant("acme")
    await api.domain("acme.test", tenant="acme")
    came, sent, withheld, refused = (new_id() for _ in range(4))
    mine, others = "ann@acme.test", "alice@example.test"
    await happened(
        api,
        accepted(came, mine, others, subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?= from Eve", size=77),
        Event(came, 2.0, DELIVERED, {"recipients": [mine, others]}),
        Event(came, 2.0, FILED, {"recipient": mine, "action": "junk", "reason": "score"}),
        accepted(
            sent,
            "bob@home.test",
            tenant=acme,
            reverse_path=mine,
            message_id="<Id.42@acme.test>",
            **{"from": f"Ann <{mine}>"},
        ),
        Event(sent, 2.0, QUEUED, {"recipients": ["bob@home.test"]}),
        Event(
            sent,
            3.0,
            BOUNCED,
            {"recipient": "bob@home.test", "status": "5.1.1", "reply": "550 \\u0000 \0 gone"},
        ),
        accepted(withheld, others),
        Event(withheld, 2.0, QUARANTINED, {"recipient": others, "reason": "virus"}),
        Event(
            refused,
            2.0,
            REFUSED,
            {
                "recipients": [mine, others],
                "reply": "550 5.7.26 no",
                "reason": "dmarc",
                "author": "eve@evil.test",
                "reverse_path": "",
            },
        ),
    )
    key = await api.key(Role.READ_ONLY, acme)
    first, second, third, fourth = map(str, (came, sent, withheld, refused))
    # newest first, an item for each recipient, in pages of any length
    everything = [fourth, fourth, third, second, first, first]
    assert await ids(api) == everything
    assert await ids(api, limit=1) == everything
    assert await ids(api, key) == [fourth, second, first]
    for query, expected in (
        ({"q": second}, [second]),
        ({"q": mine.upper()}, [second, fourth, first]),
        ({"q": "<ID.42@acme.test>"}, [second]),
        ({"q": "grüsse eve"}, [first]),
        ({"q": "grüsse nobody"}, []),
        ({"q": "home.test"}, [second]),
        ({"q": "@home.test"}, [second]),
        ({"q": f"{mine} grüsse"}, [first]),
        ({"from": "eve@evil.test"}, [fourth, first]),
        ({"sender": "EVE@evil.test", "recipient": mine, "outcome": "junk"}, [first]),
        ({"from": "acme.test"}, [second]),
        ({"to": mine}, [fourth, first]),
        ({"to": "home.test", "direction": "outbound"}, [second]),
        ({"to": "home.test", "direction": "inbound"}, []),
        ({"subject": "Eve"}, [first]),
        ({"outcome": "bounced"}, [second]),
        ({"outcome": "refused", "reason": "dmarc"}, [fourth]),
        ({"outcome": "quarantined"}, []),
        ({"to": others}, []),
        ({"tenant": "acme", "outcome": "junk"}, [first]),
        ({"after": "2999-01-01T00:00:00Z"}, []),
        ({"before": "2999-01-01T00:00:00Z", "q": third}, []),
        ({"since": "2020-01-01T00:00:00Z", "outcome": "junk"}, [first]),
    ):
        assert sorted(await ids(api, key, **query)) == sorted(expected), query
    assert await ids(api, outcome="quarantined", reason="virus") == [third]
    (shown,) = await found(api, key, outcome="bounced")
    assert shown["received_at"].startswith(time.strftime("%Y-"))
    del shown["received_at"]
    assert shown == {
        "message": second,
        "at": "1970-01-01T00:00:03Z",
        "kind": "bounced",
        "detail": {
            "recipient": "bob@home.test",
            "recipients": ["bob@home.test"],
            "author": mine,
            "reverse_path": mine,
            "status": "5.1.1",
            "reply": "550 \\u0000  gone",
        },
        "outcome": "bounced",
        "direction": "outbound",
        "tenant": "acme",
        "sender": mine,
        "author": mine,
        "recipient": "bob@home.test",
        "targets": [],
        "subject": "",
        "message_id": "<Id.42@acme.test>",
        "size_bytes": 0,
    }
    problem(await api.client.get("/v1/messages?cursor=WzEsImEiXQ"), 422, "invalid", "cursor")
    problem(await api.client.get("/v1/messages?tenant=nobody"), 422, "invalid", "tenant")
    problem(await api.client.get("/v1/messages?to=a&recipient=b"), 422, "invalid", "to")
    problem(await api.client.get("/v1/messages?tenant=default", headers=key), 422, "invalid")


async def test_old_entries_are_forgotten_and_earlier_events_change_nothing(api: Api) -> None:
    message = new_id()
    bounced = Event(message, 3.0, BOUNCED, {"recipient": "x@home.test", "status": "5.0.0"})
    await happened(api, accepted(message, "x@home.test"), bounced)
    await happened(api, Event(message, 2.0, QUEUED, {"recipients": ["x@home.test"]}))
    assert [each["outcome"] for each in await found(api)] == ["bounced"]
    async with pool(api.database_url) as database:
        index = PostgresMessageIndex(database)
        assert await index.forget(3600.0) == 0
        assert await index.forget(-60.0) == 1
        assert await index.search(None, MessageFilter(), None, 10) == []


async def test_who_has_only_named_a_domain_finds_nothing_of_the_mail_to_it(api: Api) -> None:
    acme, squatter = await api.tenant("acme"), await api.tenant("squatter")
    await api.sql("UPDATE tenants SET verify_domains = true WHERE id = $1", squatter)
    await api.domain("far.test", tenant="squatter")
    message = new_id()
    await happened(
        api,
        accepted(message, "bob@far.test", tenant=acme, subject="secret"),
        Event(message, 2.0, DELIVERED, {"recipient": "bob@far.test", "reply": "250 ok"}),
    )
    assert await ids(api, await api.key(Role.READ_ONLY, squatter)) == []
    assert await ids(api, await api.key(Role.READ_ONLY, acme)) == [str(message)]


async def test_a_tenant_does_not_learn_where_anothers_alias_leads_nor_whence_another_sent(
    api: Api,
) -> None:
    acme, other = await api.tenant("acme"), await api.tenant("other")
    await api.domain("other.test", tenant="other")
    message, alias, secret = new_id(), "team@other.test", "secret@far.test"
    await happened(
        api, accepted(message, alias, tenant=acme, client="192.0.2.7", helo="laptop.acme.test")
    )
    keys = [await api.key(Role.READ_ONLY, tenant) for tenant in (acme, other)]
    of_sender, of_owner = [(await found(api, key))[0]["detail"] for key in keys]
    assert (of_sender["client"], of_sender["helo"]) == ("192.0.2.7", "laptop.acme.test")
    assert "client" not in of_owner and "helo" not in of_owner
    detail = {"recipient": secret, "original": alias, "host": "mx.far.test", "status": "5.1.1"}
    await happened(api, Event(message, 3.0, BOUNCED, {**detail, "reply": f"550 <{secret}> no"}))
    of_sender, of_owner = [(await found(api, key))[0] for key in keys]
    assert (of_owner["outcome"], of_owner["targets"]) == ("bounced", [secret])
    assert of_owner["detail"]["host"] == "mx.far.test"
    assert of_sender["outcome"] == "bounced"
    assert "far.test" not in str(of_sender)
