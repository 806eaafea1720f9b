"""Idempotency-Key: the same request once, whatever happens between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.ports.api_keys import Role
from tests.support.api import Api, problem, running_api

BODY = {"address": "carol@example.test", "password": "correct horse"}
KEY = {"Idempotency-Key": "one"}


@pytest.fixture
async def api(api: Api) -> Api:
    await api.domain()
    return api


async def test_a_repeat_gets_the_stored_answer(api: Api) -> None:
    first = await api.client.post("/v1/accounts", json=BODY, headers=KEY)
    again = await api.client.post("/v1/accounts", json=BODY, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(await api.sql("SELECT 1 FROM accounts")) == 1
    # the answer stays even when the object has gone: the request was made once
    await api.client.delete("/v1/accounts/carol@example.test")
    assert (await api.client.post("/v1/accounts", json=BODY, headers=KEY)).content == first.content
    assert await api.sql("SELECT 1 FROM accounts") == []


async def test_an_answer_survives_a_restart(database_url: str, tmp_path: Path) -> None:
    async with running_api(database_url, FileBlobs(tmp_path)) as api:
        await api.domain()
        first = await api.client.post("/v1/accounts", json=BODY, headers=KEY)
    async with running_api(database_url, FileBlobs(tmp_path)) as api:
        again = await api.client.post("/v1/accounts", json=BODY, headers=KEY)
    assert (again.status_code, again.content) == (201, first.content)


async def test_a_refusal_is_an_answer_too(api: Api) -> None:
    bad = {**BODY, "address": "carol@elsewhere.test"}
    first = await api.client.post("/v1/accounts", json=bad, headers=KEY)
    problem(first, 422, "invalid", "address")
    await api.domain("elsewhere.test")
    again = await api.client.post("/v1/accounts", json=bad, headers=KEY)
    assert again.content == first.content
    problem(again, 422, "invalid", "address")


async def test_a_key_belongs_to_its_request_and_to_its_caller(api: Api) -> None:
    await api.client.post("/v1/accounts", json=BODY, headers=KEY)
    other = await api.client.post("/v1/accounts", json={**BODY, "quota_bytes": 5}, headers=KEY)
    problem(other, 422, "idempotency-key-reused")
    elsewhere = await api.client.post("/v1/domains", json={"name": "a.test"}, headers=KEY)
    problem(elsewhere, 422, "idempotency-key-reused")
    someone_else = await api.key(Role.PLATFORM_ADMIN)
    theirs = await api.client.post(
        "/v1/domains", json={"name": "a.test"}, headers=KEY | someone_else
    )
    assert theirs.status_code == 201


async def test_a_bad_key_is_refused(api: Api) -> None:
    for bad in ("", "x" * 256, "two words"):
        answer = await api.client.post("/v1/accounts", json=BODY, headers={"Idempotency-Key": bad})
        problem(answer, 400, "malformed")
    assert await api.sql("SELECT 1 FROM accounts") == []


async def test_of_many_at_once_one_is_done(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.client.post("/v1/accounts", json=BODY, headers=KEY) for _ in range(8))
    )
    made = [answer for answer in answers if answer.status_code == 201]
    assert made
    assert len({answer.content for answer in made}) == 1
    for answer in answers:
        if answer.status_code != 201:
            problem(answer, 409, "idempotency-key-in-use")
            assert answer.headers["retry-after"] == "1"
    assert sum("idempotency-replayed" not in answer.headers for answer in made) == 1
    assert len(await api.sql("SELECT 1 FROM accounts")) == 1


async def test_one_that_runs_keeps_others_off_until_it_is_taken_for_dead(api: Api) -> None:
    first = await api.client.post("/v1/accounts", json=BODY, headers=KEY)
    assert first.status_code == 201
    await api.client.delete("/v1/accounts/carol@example.test")
    # as after a kill between taking the key and doing the work
    await api.sql("UPDATE idempotency_keys SET status = NULL, body = NULL, headers = 'killed'")
    problem(
        await api.client.post("/v1/accounts", json=BODY, headers=KEY), 409, "idempotency-key-in-use"
    )
    problem(
        await api.client.post("/v1/accounts", json={**BODY, "quota_bytes": 1}, headers=KEY),
        422,
        "idempotency-key-reused",
    )
    await api.sql("UPDATE idempotency_keys SET created_at = now() - interval '61 seconds'")
    assert (await api.client.post("/v1/accounts", json=BODY, headers=KEY)).status_code == 201


async def test_an_answer_is_kept_in_the_transaction_of_what_it_tells_of(api: Api) -> None:
    """Were it written after the commit, a crash in between would make the repeat a 409 for a
    thing that was made."""
    await api.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '57P01';"
        " END $$"
    )
    await api.sql(
        "CREATE TRIGGER refuse BEFORE UPDATE ON idempotency_keys FOR EACH ROW WHEN (new.status = 201) EXECUTE FUNCTION refuse()"
    )
    problem(await api.client.post("/v1/accounts", json=BODY, headers=KEY), 503, "unavailable")
    assert await api.sql("SELECT 1 FROM accounts") == []
    await api.sql("DROP TRIGGER refuse ON idempotency_keys")
    assert (await api.client.post("/v1/accounts", json=BODY, headers=KEY)).status_code == 201


async def test_after_a_day_a_key_is_new(api: Api) -> None:
    await api.client.post("/v1/accounts", json=BODY, headers=KEY)
    await api.sql("UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'")
    problem(await api.client.post("/v1/accounts", json=BODY, headers=KEY), 409, "conflict")


async def test_without_a_key_a_repeat_is_a_second_request(api: Api) -> None:
    first: httpx.Response = await api.client.post("/v1/accounts", json=BODY)
    assert first.status_code == 201
    problem(await api.client.post("/v1/accounts", json=BODY), 409, "conflict")
    assert await api.sql("SELECT 1 FROM idempotency_keys") == []


async def test_no_password_can_be_guessed_from_what_is_kept(api: Api) -> None:
    await api.client.post("/v1/accounts", json=BODY, headers=KEY)
    first = (await api.sql("SELECT request_hash FROM idempotency_keys"))[0]["request_hash"]
    other = await api.key(Role.PLATFORM_ADMIN)
    await api.client.post("/v1/accounts", json=BODY, headers=KEY | other)
    hashes = {
        row["request_hash"] for row in await api.sql("SELECT request_hash FROM idempotency_keys")
    }
    assert len(hashes) == 2, "the hash is keyed with the caller's API key"
    assert first in hashes
