"""Accounts whose passwords come as hashes of another program: set by every way, verified, replaced
at the first sign-in, and not set again by the same configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.api.test_login import Browser
from tests.integration.api.test_me import basic
from tests.support.api import Api, problem
from tests.support.polling import until

SSHA = "{SSHA}zkw8BXTwcSwL+6Rym/M5XRXJJef+DfTz"
BCRYPT = "{BLF-CRYPT}$2y$05$mMKoQILqWImB4apBUo1Pr.cG.8FbphDqU5zfXUbeNtfa9HM7Zrkoq"
WEAK = "{PLAIN-MD5}3cb4e732631f47e6eb961f34554b7cde"
DEAR = "pbkdf2_sha256$2147483648$saltsalt12345$fAA0A0T9GDNWWYbkWRjvto4vjBZMndBQo7vQHz7VGh8="
PASSWORD = "correct horse"


@pytest.fixture
async def acme(api: Api) -> Api:
    await api.domain("acme.test")
    return api


async def hash_of(api: Api, address: str) -> str:
    rows = await api.sql("SELECT password_hash FROM accounts WHERE address = $1", address)
    return str(rows[0][0])


async def test_the_accounts_api_takes_hashes_and_the_first_sign_in_replaces_them(acme: Api) -> None:
    api, address = acme, "erin@acme.test"
    made = await api.post("/v1/accounts", {"address": address, "password_hash": SSHA})
    assert made.status_code == 201, made.text
    assert SSHA not in made.text
    browser = Browser(api)
    async with browser.client:
        await browser.sign_in(account=address, password=PASSWORD)

        async def replaced() -> bool:
            return (await hash_of(api, address)).startswith("$argon2id$")

        await until(replaced)
        me = await browser.ask("GET", "/v1/me")
        assert me.status_code == 200, "the session that signed in with the old hash goes on"
        wrong = await api.client.get("/v1/me", headers=basic(address, "wrong"))
        problem(wrong, 401, "unauthorized")
        right = await api.client.get("/v1/me", headers=basic(address, PASSWORD))
        assert right.status_code == 200
        changed = await api.client.patch(f"/v1/accounts/{address}", json={"password_hash": BCRYPT})
        assert changed.status_code == 200
        assert await hash_of(api, address) == BCRYPT

        async def ended() -> bool:
            return (await browser.ask("GET", "/v1/me")).status_code == 401

        await until(ended, what="the end of the session of the password before")


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({}, "password", "needed"),
        ({"password": "correct horse", "password_hash": SSHA}, "password_hash", "either"),
        ({"password_hash": WEAK}, "password_hash", "MD5"),
        ({"password_hash": DEAR}, "password_hash", "iterations"),
        ({"password_hash": "secret word"}, "password_hash", "known scheme"),
    ],
)
async def test_what_cannot_be_taken_is_said_by_field(
    acme: Api, fields: dict[str, Any], field: str, why: str
) -> None:
    answer = await acme.post("/v1/accounts", {"address": "frank@acme.test", **fields})
    assert why in problem(answer, 422, "invalid", field)["errors"][0]["message"]


async def test_a_configuration_with_hashes_is_applied_once(acme: Api) -> None:
    api, address = acme, "grace@acme.test"
    document = {"accounts": [{"address": address, "password_hash": SSHA}]}

    async def changes(**query: str) -> list[Any]:
        answer = await api.client.put("/v1/config", json=document, params=query)
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["changes"]
        return found

    assert [step["outcome"] for step in await changes()] == ["done"]
    lines = json.dumps({"address": address, "password_hash": SSHA})

    async def imported() -> str:
        answer = await api.client.post(
            "/v1/import/accounts",
            content=lines,
            headers={"Content-Type": "application/x-ndjson"},
        )
        return str(json.loads(answer.text.splitlines()[0])["status"])

    assert await imported() == "unchanged"
    right = await api.client.get("/v1/me", headers=basic(address, PASSWORD))
    assert right.status_code == 200

    async def replaced() -> bool:
        return (await hash_of(api, address)).startswith("$argon2id$")

    await until(replaced)
    assert await changes() == [], "a hash that a sign-in has replaced is still that of the file"
    assert await imported() == "unchanged"
    document["accounts"][0]["password_hash"] = BCRYPT
    assert [step["action"] for step in await changes(plan="true")] == ["change"]
    document["accounts"][0]["password_hash"] = WEAK
    answer = await api.client.put("/v1/config", json=document)
    message = problem(answer, 422, "invalid", "password_hash")["errors"][0]["message"]
    assert message.startswith(address)
    await api.sql("UPDATE accounts SET password_hash = 'another' WHERE address = $1", address)
    document["accounts"][0]["password_hash"] = SSHA
    assert [step["action"] for step in await changes(plan="true")] == ["change"]
