"""DKIM keys over REST: made, published, rotated with overlap, and good for signatures that verify."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dkim
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.dkim import DkimSigner
from posthorn.adapters.postgres.directory.dkim_keys import PostgresDkimKeys
from posthorn.ports.api_keys import Role
from posthorn.runtime.secret_box import SecretBox
from tests.contract.town import pool
from tests.support.api import SECRET_KEY, Api, problem, running_api

KEYS = "/v1/domains/example.test/dkim"
ROTATE = f"{KEYS}/rotate"
QUICK = {"algorithms": ["ed25519"]}
MESSAGE = b"From: alice@example.test\r\nSubject: Hello\r\n\r\nHello\r\n"


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database_url, FileBlobs(tmp_path)) as running:
        await running.domain()
        yield running


def seconds_to(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment - datetime.now(moment.tzinfo)) / timedelta(seconds=1)


async def rotated(api: Api, **body: Any) -> list[dict[str, Any]]:
    answer = await api.client.post(ROTATE, json=body)
    assert answer.status_code == 201, answer.text
    keys: list[dict[str, Any]] = answer.json()["keys"]
    return keys


async def test_the_first_keys_are_of_both_kinds_and_sign_what_their_records_verify(api: Api) -> None:
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


async def test_private_keys_are_sealed(api: Api) -> None:
    await rotated(api, **QUICK)
    (row,) = await api.sql("SELECT id, private_key FROM dkim_keys")
    opened = SecretBox([SECRET_KEY]).decrypt(row["private_key"], f"dkim:{row['id']}")
    assert opened[-32:] not in row["private_key"]


async def test_a_rotation_waits_for_the_dns_and_keeps_the_old_record(api: Api) -> None:
    (first,) = await rotated(api, **QUICK)
    assert abs(seconds_to(first["signs_from"])) < 20
    (second,) = await rotated(api, **QUICK, overlap_seconds=3600)
    assert second["state"] == "pending"
    assert seconds_to(second["signs_from"]) == pytest.approx(86_400, abs=20)
    new, old = (await api.client.get(KEYS)).json()["keys"]
    assert (new["id"], old["id"], old["state"]) == (second["id"], first["id"], "signing")
    assert old["signs_until"] == new["signs_from"]
    assert seconds_to(old["published_until"]) == pytest.approx(90_000, abs=20)
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
    answers = [await api.client.post(ROTATE, json=QUICK, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert len(await api.sql("SELECT 1 FROM dkim_keys")) == 1


async def test_making_keys_does_not_hold_up_others(api: Api) -> None:
    making = asyncio.create_task(rotated(api, algorithms=["rsa"]))
    while not making.done():
        async with asyncio.timeout(5):
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
    problem(await api.client.post("/v1/domains/absent.test/dkim/rotate", json=QUICK), 404, "not-found")
    reader = await api.key(Role.READ_ONLY)
    assert (await api.client.get(KEYS, headers=reader)).status_code == 200
    problem(await api.client.post(ROTATE, json=QUICK, headers=reader), 403, "forbidden")
    assert len(await api.sql("SELECT 1 FROM dkim_keys")) == 1


async def test_keys_go_with_their_domain(api: Api) -> None:
    await rotated(api, **QUICK)
    assert (await api.client.delete("/v1/domains/example.test")).status_code == 204
    assert await api.sql("SELECT 1 FROM dkim_keys") == []
