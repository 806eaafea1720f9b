"""What every operation answers to a request that is wrong: a problem document, in plain words."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tools.client_source import document, operations

from posthorn_api.http.permissions import RULES
from tests.support.api import Api, problem

DOCUMENT = document()
OPERATIONS = operations(DOCUMENT)
FOREIGN = re.compile(
    r"pydantic|traceback|\binput\b|pars(?:e|ing)|\bNone\b|\bdict(?:ionary)?\b|\bstr\b|\boctets?\b"
    r"|should be|regular expression|does not appear|\bvalue_error\b|validation error|\binvalid literal\b"
    r"|asyncpg|postgres|\bselect\b|\bobject at 0x"
)
"""Words of Python, of pydantic and of SQL."""
SAMPLES = {
    "address": "alice@example.test",
    "name": "example.test",
    "domain": "example.test",
    "tenant": "default",
    "id": "01890000-0000-7000-8000-000000000000",
}
JUNK = ("nonsense", "\0", "😀" * 300, "01890000-0000-7000-8000-000000000000", "-1")
LEAVES = (5, 1e300, -1, "\ud800\0", "", "x" * 5000, {"a": [True]}, None)
JSON = {"Content-Type": "application/json"}


def faults_of(answer: httpx.Response) -> Iterator[str]:
    """Yield what is wrong with a refusal: it is to be a problem document in plain words, and no
    failure of the server. 503 is the answer where NATS is needed, which these tests have not."""
    status = answer.status_code
    if status < 400:
        return
    if answer.headers["content-type"] != "application/problem+json":
        yield "no problem document"
        return
    found = answer.json()
    if status == 500 or found["status"] != status:
        yield f"the status is {status}"
    if status in (429, 503) and int(answer.headers["retry-after"]) < 1:
        yield "Retry-After is no whole number of seconds"
    if (status == 422) != ("errors" in found):
        yield f"{status} with or without fields"
    for text in (found["detail"], *(fault["message"] for fault in found.get("errors", ()))):
        if not text or FOREIGN.search(text):
            yield text


class Asker:
    """Makes requests, and notes what is wrong with their answers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.faults: list[str] = []

    async def ask(self, method: str, path: str, **request: Any) -> int:
        answer = await self._api.client.request(method, path, **request)
        asked = f"{method} {path} {request}"[:300]
        self.faults += [f"{asked}: {fault}" for fault in faults_of(answer)]
        return answer.status_code


@pytest.fixture
async def asker(api: Api, alice: None) -> AsyncIterator[Asker]:
    made = Asker(api)
    yield made
    assert made.faults == []


def path_of(path: str, junk: str | None = None) -> str:
    return re.sub(
        r"{([^}]+)}", lambda found: quote(junk or SAMPLES.get(found[1], "x"), safe=""), path
    )


def shape(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, where another one or null is a choice."""
    while True:
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        elif "anyOf" in schema:
            schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
        else:
            return schema


def filled(schema: dict[str, Any], leaf: object, depth: int) -> Any:
    """A document of this schema down to ``depth``, with ``leaf`` in place of all beneath."""
    schema = shape(schema)
    if depth and (fields := schema.get("properties")):
        return {name: filled(each, leaf, depth - 1) for name, each in fields.items()}
    if depth and schema.get("type") == "array":
        return [filled(schema["items"], leaf, depth - 1)]
    return leaf


def bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for method, path, operation in OPERATIONS:
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            yield method, path, content["application/json"]["schema"]


async def test_a_path_that_names_nothing(asker: Asker) -> None:
    for method, path, operation in OPERATIONS:
        if "{" in path:
            body: dict[str, Any] = {"json": {}} if "requestBody" in operation else {}
            for junk in JUNK:
                await asker.ask(method, path_of(path, junk), **body)


async def test_a_parameter_that_is_none(asker: Asker) -> None:
    for method, path, operation in OPERATIONS:
        if operation["operationId"] == "followEvents":
            continue  # its answer has no end where the parameter is taken
        names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
        for junk in (*JUNK, "", "9" * 30) if names else ():
            await asker.ask(method, path_of(path), params=dict.fromkeys(names, junk))


async def test_a_parameter_that_no_operation_has(api: Api, alice: None) -> None:
    """By reading: ``?tennant=`` listed everything."""
    holder = httpx.BasicAuth("alice@example.test", "correct horse")
    for method, path, operation in OPERATIONS:
        known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
        kinds = operation.get("requestBody", {}).get("content", {"application/json": {}})
        login = holder if RULES[operation["operationId"]].me else None
        answer = await api.client.request(
            method,
            path_of(path),
            params={"tennant": "acme"},
            content=b"{}",
            headers={"Content-Type": next(iter(kinds))},
            auth=login,
        )
        said = problem(answer, 422, "invalid", "tennant")["errors"][0]["message"]
        takes = ", ".join(sorted(known)) or "none"
        assert said == f"unknown query parameter; this operation takes {takes}", (method, path)
    both = await api.client.get("/v1/domains", params={"limit": "0", "b": "1", "a": "2"})
    assert [each["field"] for each in both.json()["errors"]] == ["a", "b"]
    unknown = await api.client.get("/v1/domains", params={"a": ""}, headers={"Authorization": ""})
    problem(unknown, 401, "unauthorized")


async def test_what_others_add_to_a_path_is_let_be(api: Api) -> None:
    """Issuers add parameters of their own, and links get them on their way."""
    for path in (
        "/v1/login/oidc/callback?code=c&state=s&session_state=x&iss=https%3A%2F%2Fid.test",
        *("/openapi.json?utm_source=mail", "/docs?x=1"),
    ):
        answer = await api.client.get(path)
        assert answer.status_code in (200, 404) and "unknown query" not in answer.text, path


async def test_a_body_of_another_kind(asker: Asker) -> None:
    for method, path, _ in bodies():
        asked = path_of(path)
        for body in (b"", b"{", b"\xff\xfe", b"null", b"5", b"[]", b'"text"', b'{"no_such": 1}'):
            status = await asker.ask(method, asked, content=body, headers=JSON)
            assert status >= 400, (method, asked, body)
        text = {"Content-Type": "text/plain"}
        status = await asker.ask(method, asked, content=b"{}", headers=text)
        assert status in (403, 415), (method, asked)


@pytest.mark.parametrize("depth", [1, 4])
async def test_fields_of_other_types(asker: Asker, depth: int) -> None:
    for method, path, schema in bodies():
        for leaf in LEAVES:
            body = json.dumps(filled(schema, leaf, depth)).encode()
            await asker.ask(method, path_of(path), content=body, headers=JSON)
