"""App passwords over REST, and what an account or a domain may send, and from where."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from posthorn.adapters.postgres.directory import app_passwords
from posthorn.adapters.postgres.directory.senders import PostgresSenders
from posthorn.ports.api_keys import Role
from posthorn.runtime.ids import new_id
from tests.support.api import Api, problem
from tests.support.databases import pool

pytestmark = pytest.mark.usefixtures("alice")

ALICE = "/v1/accounts/alice@example.test"
PLACE = f"{ALICE}/app-passwords"
BODY = {"name": "phone", "scopes": ["smtp", "imap", "pop3"]}
KEY = {"Idempotency-Key": "one"}


async def test_an_app_password_is_shown_once(api: Api) -> None:
    made = await api.client.post(PLACE, json=BODY)
    assert made.status_code == 201
    document = made.json()
    password = document.pop("password")
    assert password.startswith("phap_")
    assert len(password) == 48
    assert made.headers["location"] == f"{PLACE}/{document['id']}"
    assert document["scopes"] == ["imap", "pop3", "smtp"]
    assert document["last_used_at"] is None
    listed = await api.client.get(PLACE)
    assert listed.json() == {"items": [document], "next_cursor": None, "total": None}
    assert [row["key_hash"] for row in await api.sql("SELECT key_hash FROM app_passwords")] == [
        hashlib.sha256(password.encode()).digest()
    ]


async def test_it_logs_in_until_it_is_deleted(api: Api) -> None:
    made = (await api.client.post(PLACE, json={"name": "phone", "scopes": ["pop3", "imap"]})).json()
    digest = hashlib.sha256(made["password"].encode()).digest()
    async with pool(api.database_url) as database:
        senders = PostgresSenders(database)
        known = await senders.credentials("alice@example.test")
        assert known is not None
        assert await senders.app_password(known.account, digest, "pop3")
        assert await senders.app_password(known.account, digest, "imap")
        assert not await senders.app_password(known.account, digest, "smtp")
        assert (await api.client.get(PLACE)).json()["items"][0]["last_used_at"] is not None
        assert (await api.client.delete(f"{PLACE}/{made['id']}")).status_code == 204
        assert not await senders.app_password(known.account, digest, "pop3")
    problem(await api.client.delete(f"{PLACE}/{made['id']}"), 404, "not-found")


async def test_the_password_is_kept_nowhere_and_a_repeat_does_not_show_it(api: Api) -> None:
    first = await api.client.post(PLACE, json=BODY, headers=KEY)
    again = await api.client.post(PLACE, json=BODY, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert first.json()["password"].startswith("phap_")
    assert again.json() == {**first.json(), "password": None}
    assert len(await api.sql("SELECT 1 FROM app_passwords")) == 1
    secret = first.json()["password"].removeprefix("phap_")
    for (table,) in await api.sql(
        "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
    ):
        assert (
            await api.sql(f"SELECT 1 FROM {table} t WHERE strpos(t::text, $1) > 0", secret) == []
        ), table
        assert (
            await api.sql(
                f"SELECT 1 FROM {table} t WHERE strpos(t::text, $1) > 0", secret.encode().hex()
            )
            == []
        ), table


async def test_of_many_at_once_one_is_made_and_shown(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.client.post(PLACE, json=BODY, headers=KEY) for _ in range(6))
    )
    made = [answer.json() for answer in answers if answer.status_code == 201]
    assert len([document for document in made if document["password"]]) == 1
    assert len(await api.sql("SELECT 1 FROM app_passwords")) == 1


async def test_lists_are_pages(api: Api) -> None:
    for number in range(5):
        await api.client.post(PLACE, json={**BODY, "name": f"n{number}"})
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        found = (await api.client.get(PLACE, params={"limit": "2", **cursor})).json()
        names += [item["name"] for item in found["items"]]
        if found["next_cursor"] is None:
            break
        cursor = {"cursor": found["next_cursor"]}
    assert names == [f"n{number}" for number in range(5)]
    elsewhere = (await api.client.get("/v1/domains", params={"limit": "1"})).json()[
        "next_cursor"
    ] or "WzEsICJhIl0"
    problem(await api.client.get(PLACE, params={"cursor": elsewhere}), 422, "invalid", "cursor")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["smtp"]}, "name"),
        ({"name": "", "scopes": ["smtp"]}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["ftp"]}, "scopes[0]"),
        ({"name": "x", "scopes": ["smtp", "smtp"]}, "scopes"),
        ({"name": "x", "scopes": ["smtp"], "password": "mine"}, "password"),
    ],
)
async def test_bad_requests_name_the_field(api: Api, body: dict[str, Any], field: str) -> None:
    problem(await api.client.post(PLACE, json=body), 422, "invalid", field)
    assert await api.sql("SELECT 1 FROM app_passwords") == []


async def test_they_belong_to_their_account_and_tenant(api: Api) -> None:
    made = (await api.client.post(PLACE, json=BODY)).json()
    await api.account("bob@example.test")
    problem(
        await api.client.delete(f"/v1/accounts/bob@example.test/app-passwords/{made['id']}"),
        404,
        "not-found",
    )
    problem(await api.client.delete(f"{PLACE}/{new_id()}"), 404, "not-found")
    nobody = "/v1/accounts/nobody@example.test/app-passwords"
    problem(await api.client.post(nobody, json=BODY), 404, "not-found")
    problem(await api.client.get(nobody), 404, "not-found")
    stranger = await api.key(Role.TENANT_ADMIN, await api.tenant("other"))
    problem(await api.client.post(PLACE, json=BODY, headers=stranger), 404, "not-found")
    problem(await api.client.get(PLACE, headers=stranger), 404, "not-found")
    problem(await api.client.delete(f"{PLACE}/{made['id']}", headers=stranger), 404, "not-found")
    reader = await api.key(Role.READ_ONLY)
    problem(await api.client.post(PLACE, json=BODY, headers=reader), 403, "forbidden")
    assert (await api.client.get(PLACE, headers=reader)).status_code == 200
    # they go with their account
    await api.client.delete(ALICE)
    assert await api.sql("SELECT 1 FROM app_passwords") == []


@pytest.mark.parametrize("place", [ALICE, "/v1/domains/example.test"])
async def test_rules_of_sending_are_set_shown_and_reset(api: Api, place: str) -> None:
    names = ("max_messages_per_hour", "max_recipients_per_hour", "allowed_networks")

    def shown(document: dict[str, Any]) -> list[Any]:
        return [document[name] for name in names]

    assert shown((await api.client.get(place)).json()) == [None, None, None]
    changed = await api.client.patch(
        place,
        json={
            "max_messages_per_hour": 0,
            "max_recipients_per_hour": 2000,
            "allowed_networks": ["192.0.2.0/24", "2001:DB8::/32", "198.51.100.7", "192.0.2.0/24"],
        },
    )
    assert changed.status_code == 200, changed.text
    networks = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"]
    assert shown(changed.json()) == [0, 2000, networks]
    await api.client.patch(place, json={"max_messages_per_hour": 7})
    assert shown((await api.client.get(place)).json()) == [7, 2000, networks]
    reset = await api.client.patch(place, json=dict.fromkeys(names))
    assert shown(reset.json()) == [None, None, None]


@pytest.mark.parametrize("place", [ALICE, "/v1/domains/example.test"])
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"allowed_networks": ["192.0.2.0/24", "192.0.2.1/24"]}, "allowed_networks[1]"),
        ({"allowed_networks": ["example.test"]}, "allowed_networks[0]"),
        ({"allowed_networks": ["fe80::1%eth0"]}, "allowed_networks[0]"),
        ({"allowed_networks": []}, "allowed_networks"),
        ({"max_messages_per_hour": -1}, "max_messages_per_hour"),
        ({"max_recipients_per_hour": 2**31}, "max_recipients_per_hour"),
        ({"max_recipients_per_hour": "many"}, "max_recipients_per_hour"),
    ],
)
async def test_bad_rules_are_refused(
    api: Api, place: str, fields: dict[str, Any], field: str
) -> None:
    problem(await api.client.patch(place, json=fields), 422, "invalid", field)


async def test_an_account_has_so_many_and_no_more(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_passwords, "MOST_APP_PASSWORDS", 3)
    answers = await asyncio.gather(*(api.client.post(PLACE, json=BODY) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 409, 409]
    (made, *_) = [answer.json() for answer in answers if answer.status_code == 201]
    problem(await api.client.post(PLACE, json=BODY), 409, "conflict")
    await api.client.delete(f"{PLACE}/{made['id']}")
    assert (await api.client.post(PLACE, json=BODY)).status_code == 201
