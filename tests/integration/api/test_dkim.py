"""DKIM keys over REST: made, published, rotated with overlap, and good for signatures that
verify."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dkim
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.dkim import DkimSigner, generate
from posthorn.adapters.postgres.access.idempotency import PostgresIdempotency
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.ports.api_keys import Role
from posthorn.ports.errors import Unavailable
from posthorn.runtime.secret_box import SecretBox
from tests.support.api import SECRET_KEY, Api, problem, running_api
from tests.support.databases import pool
from tests.support.polling import BUSY_SECONDS

KEYS = "/v1/domains/example.test/dkim"
ROTATE = f"{KEYS}/rotate"
QUICK = {"algorithms": ["ed25519"]}
MESSAGE = b"From: alice@example.test\r\nSubject: Hello\r\n\r\nHello\r\n"


pytestmark = pytest.mark.usefixtures("domain")


def seconds_to(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment - datetime.now(moment.tzinfo)) / timedelta(seconds=1)


async def rotated(api: Api, **body: Any) -> list[dict[str, Any]]:
    answer = await api.client.post(ROTATE, json=body)
    assert answer.status_code == 201, answer.text
    keys: list[dict[str, Any]] = answer.json()["keys"]
    return keys


async def test_the_first_keys_are_of_both_kinds_and_sign_what_their_records_verify(
    api: Api,
) -> None:
    assert (await api.client.get(KEYS)).json() == {"domain": "example.test", "keys": []}
    answer = await api.client.post("/v1/domains/EXAMPLE.test/dkim/rotate", json={})
    assert answer.status_code == 201
    assert answer.headers["location"] == KEYS
    made = answer.json()
    assert made["domain"] == "example.test"
    assert sorted((key["algorithm"], key["state"]) for key in made["keys"]) == [
        ("ed25519", "signing"),
        ("rsa", "signing"),
    ]
    assert (await api.client.get(KEYS)).json() == made
    records: dict[str, str] = {}
    for key in made["keys"]:
        record = key["dns"]
        assert record["type"] == "TXT"
        assert record["name"] == f"{key['selector']}._domainkey.example.test"
        assert "".join(record["strings"]) == record["value"]
        assert all(len(part) <= 255 for part in record["strings"])
        records[record["name"]] = record["value"]
        assert not any("private" in name for name in key)

    def dns(name: bytes, timeout: int = 5) -> bytes:
        return records[name.decode().rstrip(".")].encode()

    async with pool(api.database_url) as database:
        signer = DkimSigner(PostgresDkimKeys(database), SecretBox([SECRET_KEY]))
        message = (await signer.sign("example.test", MESSAGE)).encode() + MESSAGE
        signer.close()
    assert [dkim.DKIM(message).verify(number, dnsfunc=dns) for number in (0, 1)] == [True, True]


async def published(api: Api, domain: str) -> list[tuple[str, str, str]]:
    """The names, values and states of the records of a domain's keys, as ``GET …/dkim`` has
    them."""
    keys = (await api.client.get(f"/v1/domains/{domain}/dkim")).json()["keys"]
    return sorted((key["dns"]["name"], key["dns"]["value"], key["state"]) for key in keys)


def shown(records: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return sorted(
        (each["name"], each["values"][0], each["state"])
        for each in records
        if each["purpose"] == "dkim"
    )


async def test_a_domain_is_created_with_keys_that_sign_and_its_answer_holds_their_records(
    api: Api,
) -> None:
    answer = await api.client.post("/v1/domains", json={"name": "New.test"})
    assert answer.status_code == 201, answer.text
    records = answer.json()["dns_records"]
    assert {each["purpose"] for each in records} >= {"mx", "spf", "dkim", "dmarc"}
    made = await published(api, "new.test")
    assert shown(records) == made
    assert [state for _, _, state in made] == ["signing", "signing"]
    assert ["k=ed25519" in value for _, value, _ in made] == [True, False]
    assert [len(value) > 380 for _, value, _ in made] == [False, True], (
        "the second is RSA with 2048 bits"
    )
    assert not any(
        "no DKIM key" in note
        for note in (await api.client.get("/v1/domains/new.test/dns")).json()["notes"]
    )
    async with pool(api.database_url) as database:
        signer = DkimSigner(PostgresDkimKeys(database), SecretBox([SECRET_KEY]))
        assert (await signer.sign("new.test", MESSAGE)).count("DKIM-Signature") == 2, (
            "the stored keys open"
        )
        signer.close()
    line = (await api.client.get("/v1/audit", params={"object": "new.test"})).json()["items"][0]
    assert sorted(line["details"]["selectors"]) == sorted(
        name.partition(".")[0] for name, _, _ in made
    )


async def test_a_domain_is_created_without_keys_on_request(api: Api) -> None:
    answer = await api.client.post("/v1/domains", json={"name": "new.test", "dkim": False})
    assert answer.status_code == 201
    assert {each["purpose"] for each in answer.json()["dns_records"]} >= {"mx", "spf"}
    assert shown(answer.json()["dns_records"]) == await published(api, "new.test") == []


async def test_a_repeated_creation_answers_with_the_same_keys(api: Api) -> None:
    header = {"Idempotency-Key": "one"}
    first = await api.client.post("/v1/domains", json={"name": "new.test"}, headers=header)
    again = await api.client.post("/v1/domains", json={"name": "new.test"}, headers=header)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert len(await published(api, "new.test")) == 2


async def test_an_answer_with_keys_is_stored_with_them(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash right after the commit: the repeat gets the answer that the creation's own
    transaction has stored."""

    async def lost(*_: object) -> None:
        raise Unavailable("postgres", "gone")

    header = {"Idempotency-Key": "one"}
    with monkeypatch.context() as patched:
        patched.setattr(PostgresIdempotency, "complete", lost)
        await api.client.post("/v1/domains", json={"name": "new.test"}, headers=header)
    again = await api.client.post("/v1/domains", json={"name": "new.test"}, headers=header)
    assert again.status_code == 201
    assert shown(again.json()["dns_records"]) == await published(api, "new.test") != []


async def test_keys_are_made_beside_the_event_loop_and_not_for_a_domain_that_exists(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noted(algorithm: str) -> tuple[bytes, bytes]:
        threads.append(threading.current_thread())
        return generate(algorithm)

    monkeypatch.setattr("posthorn_api.services.generate", noted)
    async with running_api(database_url, FileBlobs(tmp_path)) as api:
        assert (await api.client.post("/v1/domains", json={"name": "new.test"})).status_code == 201
        assert len(threads) == 2
        assert threading.main_thread() not in threads
        problem(await api.client.post("/v1/domains", json={"name": "NEW.test"}), 409, "conflict")
        problem(
            await api.client.post("/v1/domains", json={"name": "[192.0.2.1]"}),
            422,
            "invalid",
            "name",
        )
        assert len(threads) == 2


async def test_a_declared_domain_is_created_with_keys_unless_it_says_otherwise(api: Api) -> None:
    declared = {"domains": [{"name": "one.test"}, {"name": "two.test", "dkim": False}]}
    answer = await api.client.put("/v1/config", json=declared)
    assert [each["outcome"] for each in answer.json()["changes"]] == ["done", "done"], answer.text
    made = await published(api, "one.test")
    assert len(made) == 2
    assert await published(api, "two.test") == []
    for dkim_field in ({}, {"dkim": True}, {"dkim": False}):
        again = await api.client.put(
            "/v1/config", json={"domains": [{"name": "one.test"} | dkim_field]}
        )
        assert again.json()["changes"] == []
    assert await published(api, "one.test") == made


async def test_private_keys_are_sealed(api: Api) -> None:
    await rotated(api, **QUICK)
    (row,) = await api.sql("SELECT id, private_key FROM dkim_keys")
    opened = SecretBox([SECRET_KEY]).decrypt(row["private_key"], f"dkim:{row['id']}")
    assert opened[-32:] not in row["private_key"]


async def test_a_rotation_waits_for_the_dns_and_keeps_the_old_record(api: Api) -> None:
    (first,) = await rotated(api, **QUICK)
    assert abs(seconds_to(first["signs_from"])) < BUSY_SECONDS
    (second,) = await rotated(api, **QUICK, overlap_seconds=3600)
    assert second["state"] == "pending"
    assert seconds_to(second["signs_from"]) == pytest.approx(86_400, abs=BUSY_SECONDS)
    new, old = (await api.client.get(KEYS)).json()["keys"]
    assert (new["id"], old["id"], old["state"]) == (second["id"], first["id"], "signing")
    assert old["signs_until"] == new["signs_from"]
    domain = (await api.client.get("/v1/domains/example.test")).json()
    assert domain["dkim_signs_from"] == first["signs_from"]
    assert seconds_to(old["published_until"]) == pytest.approx(90_000, abs=BUSY_SECONDS)
    assert new["published_until"] is None


async def test_a_rotation_at_once_retires_the_old_key_now(api: Api) -> None:
    await rotated(api, **QUICK)
    await rotated(api, **QUICK)
    (new,) = await rotated(api, **QUICK, delay_seconds=0, selector="urgent")
    assert new["selector"].startswith("urgent-")
    states = {key["id"]: key["state"] for key in (await api.client.get(KEYS)).json()["keys"]}
    assert sorted(states.values()) == ["retired", "retired", "signing"]
    assert states[new["id"]] == "signing"


async def test_a_repeat_with_its_key_rotates_once(api: Api) -> None:
    answers = [
        await api.client.post(ROTATE, json=QUICK, headers={"Idempotency-Key": "one"})
        for _ in range(2)
    ]
    assert answers[0].content == answers[1].content
    assert len(await api.sql("SELECT 1 FROM dkim_keys")) == 1


async def test_making_keys_does_not_hold_up_others(api: Api) -> None:
    making = asyncio.create_task(rotated(api, algorithms=["rsa"]))
    while not making.done():
        async with asyncio.timeout(BUSY_SECONDS):
            assert (await api.client.get(KEYS)).status_code == 200
    assert len(making.result()) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"algorithms": []}, "algorithms"),
        ({"algorithms": ["dsa"]}, "algorithms[0]"),
        ({"algorithms": ["rsa", "rsa"]}, "algorithms"),
        ({"selector": "Upper"}, "selector"),
        ({"selector": "a.b"}, "selector"),
        ({"selector": "-a"}, "selector"),
        ({"selector": "a" * 31}, "selector"),
        ({"delay_seconds": -1}, "delay_seconds"),
        ({"delay_seconds": 1e12}, "delay_seconds"),
        ({"overlap_seconds": "long"}, "overlap_seconds"),
        ({"private_key": "mine"}, "private_key"),
    ],
)
async def test_bad_requests_name_the_field(api: Api, body: dict[str, Any], field: str) -> None:
    problem(await api.client.post(ROTATE, json=body), 422, "invalid", field)
    assert await api.sql("SELECT 1 FROM dkim_keys") == []


async def test_only_those_who_may_see_the_domain_see_its_keys(api: Api) -> None:
    await rotated(api, **QUICK)
    stranger = await api.key(Role.TENANT_ADMIN, await api.tenant("other"))
    problem(await api.client.get(KEYS, headers=stranger), 404, "not-found")
    problem(await api.client.post(ROTATE, json=QUICK, headers=stranger), 404, "not-found")
    problem(await api.client.get("/v1/domains/absent.test/dkim"), 404, "not-found")
    problem(
        await api.client.post("/v1/domains/absent.test/dkim/rotate", json=QUICK), 404, "not-found"
    )
    reader = await api.key(Role.READ_ONLY)
    assert (await api.client.get(KEYS, headers=reader)).status_code == 200
    problem(await api.client.post(ROTATE, json=QUICK, headers=reader), 403, "forbidden")
    assert len(await api.sql("SELECT 1 FROM dkim_keys")) == 1


async def test_keys_go_with_their_domain(api: Api) -> None:
    await rotated(api, **QUICK)
    assert (await api.client.delete("/v1/domains/example.test")).status_code == 204
    assert await api.sql("SELECT 1 FROM dkim_keys") == []
