"""What holds for every request to the REST API: keys, problem documents, limits, health,
metrics, the description."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY, generate_latest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.ports.errors import Unavailable
from posthorn_api.http.permissions import RULES
from tests.support.api import ADMIN_KEY, Api, problem, running_api
from tests.support.polling import BUSY_SECONDS


@pytest.fixture
def api_options() -> dict[str, Any]:
    return {"body_limit": 64 * 1024}


async def test_without_a_key_there_is_a_challenge_and_nothing_else(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url, timeout=BUSY_SECONDS, verify=False) as nobody:
        answer = await nobody.get("/v1/domains")
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Bearer realm="posthorn"'
        for header in ("Basic YTpi", "Bearer", "ph_without_scheme"):
            problem(
                await nobody.get("/v1/domains", headers={"Authorization": header}),
                401,
                "unauthorized",
            )
        wrong = "ph_" + "b" * 43
        answer = await nobody.post(
            "/v1/domains", json={"name": 1}, headers={"Authorization": f"Bearer {wrong}"}
        )
        problem(answer, 401, "unauthorized")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert wrong not in answer.text
        assert (
            await nobody.get("/v1/domains", headers={"Authorization": f"bearer {ADMIN_KEY}"})
        ).status_code == 200


async def test_a_key_is_kept_as_a_hash_only(api: Api) -> None:
    rows = await api.sql("SELECT name, role, key_hash, api_keys::text AS whole FROM api_keys")
    assert [(row["name"], row["role"], len(row["key_hash"])) for row in rows] == [
        ("bootstrap", "platform-admin", 32)
    ]
    assert ADMIN_KEY not in rows[0]["whole"]


async def test_a_key_that_may_not_be_used_says_why(api: Api) -> None:
    async def made(**fields: Any) -> tuple[str, dict[str, str]]:
        body = {"name": "k", "role": "read-only", **fields}
        key = (await api.client.post("/v1/api-keys", json=body)).json()
        return key["id"], {"Authorization": f"Bearer {key['key']}"}

    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    number, expired = await made(expires_at=later)
    await api.sql("UPDATE api_keys SET expires_at = now() WHERE id = $1", UUID(number))
    number, deleted = await made()
    await api.client.delete(f"/v1/api-keys/{number}")
    _, elsewhere = await made(networks=["192.0.2.0/24"])
    _, reader = await made()
    for shown, path, status, said in (
        (expired, "/v1/domains", 401, "this API key has expired; create another"),
        (
            deleted,
            "/v1/domains",
            401,
            "this API key is not known: it is mistyped, or has been deleted",
        ),
        (elsewhere, "/v1/domains", 403, "this API key may not be used from your network"),
        (
            reader,
            "/v1/me/app-passwords",
            403,
            "only an account may do this, by its address and password, and not an API key",
        ),
    ):
        answer = await api.client.get(path, headers=shown)
        slug = "unauthorized" if status == 401 else "forbidden"
        assert problem(answer, status, slug)["detail"] == said
    answer = await api.client.post("/v1/domains", json={"name": "a.test"}, headers=reader)
    said = problem(answer, 403, "forbidden")["detail"]
    assert said == "the role read-only may not do this; it needs platform-admin or tenant-admin"


async def test_unknown_paths_and_methods_are_problems(api: Api) -> None:
    for path in (
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/domains/",
        "/v1/accounts/x/y",
        "/v1/accounts/a@b.test/nothing",
    ):
        problem(await api.client.get(path), 404, "not-found")
    answer = await api.client.put("/v1/domains/example.test")
    said = problem(answer, 405, "method-not-allowed")["detail"]
    assert said == "this path does not allow PUT, but DELETE, GET, HEAD, PATCH"
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PATCH"
    answer = await api.client.delete("/v1/accounts")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    problem(answer, 405, "method-not-allowed")


async def test_head_is_get_without_the_content(api: Api) -> None:
    await api.client.post("/v1/domains", json={"name": "head.test"})
    for path in ("/v1/domains/head.test", "/v1/domains?limit=1", "/openapi.json", "/v1/nothing"):
        got, head = await api.client.get(path), await api.client.head(path)
        assert head.content == b"", path
        assert head.status_code == got.status_code
        names = ("content-type", "content-length", "etag", "cache-control")
        assert [head.headers.get(each) for each in names] == [
            got.headers.get(each) for each in names
        ]
    assert (await api.client.head("/v1/login")).status_code == 405
    made = {"address": "ada@head.test", "password": "correct horse"}
    await api.client.post("/v1/accounts", json=made)
    head = await api.client.head("/v1/accounts/ada@head.test/export?format=maildir")
    assert (head.status_code, head.headers["content-type"]) == (200, "application/x-tar")
    assert head.content == b"", "nothing is made of what would be streamed"


async def test_a_body_that_does_not_read_is_refused(api: Api) -> None:
    json_type = {"Content-Type": "application/json"}
    for octets in (b"{", b'{"name": "a.test",}', b"\xff\xfe", b"[" * 30_000):
        problem(
            await api.client.post("/v1/domains", content=octets, headers=json_type),
            400,
            "malformed",
        )
    for octets in (b"", b"[]", b"null", b'"text"', b"5"):
        problem(
            await api.client.post("/v1/domains", content=octets, headers=json_type),
            422,
            "invalid",
            "body",
        )
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonish", ""):
        answer = await api.client.post(
            "/v1/domains", content=b'{"name":"a.test"}', headers={"Content-Type": kind}
        )
        problem(answer, 415, "unsupported-media-type")
    good = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
    assert (
        await api.client.post("/v1/domains", content=b'{"name":"a.test"}', headers=good)
    ).status_code == 201


async def test_a_body_that_is_too_large_is_refused_known_or_chunked(api: Api) -> None:
    big = b'{"name":"' + b"x" * 100_000 + b'"}'
    json_type = {"Content-Type": "application/json"}
    problem(await api.client.post("/v1/domains", content=big, headers=json_type), 413, "too-large")

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 10_000):
            yield big[start : start + 10_000]

    problem(
        await api.client.post("/v1/domains", content=chunks(), headers=json_type), 413, "too-large"
    )
    assert (await api.client.get("/v1/domains")).status_code == 200


async def test_a_client_that_waits_to_be_asked_for_a_large_body_is_not_asked(api: Api) -> None:
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/domains HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n"
        + f"Authorization: Bearer {ADMIN_KEY}\r\n\r\n".encode()
    )
    status = await asyncio.wait_for(reader.readline(), BUSY_SECONDS)
    assert status.startswith(b"HTTP/1.1 413")
    writer.close()


async def test_several_wrong_fields_are_all_named(api: Api) -> None:
    answer = await api.client.post("/v1/accounts", json={"address": 5, "password": "x", "more": {}})
    document = problem(answer, 422, "invalid")
    assert {fault["field"] for fault in document["errors"]} == {"address", "password", "more"}


async def test_no_database_is_a_503_and_no_secret(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"postgresql://u:sesame@127.0.0.1:{port}/x"
    async with running_api(url, FileBlobs(tmp_path), bootstrap=False) as api:
        answer = await api.client.get("/v1/domains")
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "2"
        assert "sesame" not in answer.text
        assert "127.0.0.1" not in answer.text


async def test_an_unforeseen_failure_shows_an_id_only(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    await api.domain()
    await api.sql(
        "ALTER TABLE domains ALTER COLUMN plus_addressing TYPE text USING 'secret detail'"
    )
    await api.sql("UPDATE domains SET plus_addressing = 'secret detail'")
    document = problem(await api.client.get("/v1/domains/example.test"), 500, "internal")
    assert "secret detail" not in json.dumps(document)
    assert document["detail"].rpartition(" ")[2] in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_health_and_metrics_are_not_on_the_public_port(api: Api, path: str) -> None:
    async with httpx.AsyncClient(base_url=api.url, timeout=BUSY_SECONDS, verify=False) as nobody:
        assert (await nobody.get(path)).status_code == 404


async def test_a_key_is_told_what_the_api_needs(api: Api) -> None:
    assert (await api.client.get("/v1/status")).json() == {"ready": True, "parts": []}

    async def down() -> None:
        raise Unavailable("postgres", "with details")

    api.health.add_check("postgres", down)
    found = (await api.client.get("/v1/status")).json()
    assert found == {"ready": False, "parts": [{"name": "postgres", "state": "unavailable"}]}


async def test_requests_are_counted_by_route_and_logged_without_the_key(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    await api.client.get(
        "/v1/accounts/secret-person@example.test", headers={"X-Request-Id": "trace-1"}
    )
    answer = await api.client.get("/v1/nothing")
    assert len(answer.headers["x-request-id"]) == 36
    metrics = generate_latest(REGISTRY).decode()
    route = "/v1/accounts/{address:address}"
    assert f'posthorn_api_requests_total{{method="GET",route="{route}",status="404"}}' in metrics
    assert 'posthorn_api_requests_total{method="GET",route="(none)",status="404"}' in metrics
    assert f'posthorn_api_request_seconds_count{{method="GET",route="{route}"}}' in metrics
    assert "secret-person" not in metrics
    logged = capsys.readouterr().out
    assert "trace-1" in logged
    assert "bootstrap" in logged
    assert ADMIN_KEY not in logged


async def test_the_description_is_complete(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url, timeout=BUSY_SECONDS, verify=False) as nobody:
        document: dict[str, Any] = (await nobody.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.")
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in document["components"]["schemas"]
    operations = [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    assert (
        len({operation["operationId"] for _, _, operation in operations}) == len(operations) >= 27
    )
    for method, path, operation in operations:
        assert operation["summary"]
        assert operation["description"], path
        name, rule = operation["operationId"], RULES[operation["operationId"]]
        own: list[dict[str, list[str]]] = (
            [{"Account": []}] if rule.own or rule.me or name == "getMe" else []
        )
        shown = [] if rule.public else [{"ApiKey": []}, *own]
        assert sorted(operation.get("security", []), key=str) == sorted(shown, key=str)
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"]
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert ("Idempotency-Key" in names) == (method == "post")
    assert "address:address" not in json.dumps(document)
