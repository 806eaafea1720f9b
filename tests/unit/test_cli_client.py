"""The Python client: made from the OpenAPI document, and its rules of asking again."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tools import client_source

from posthorn_cli.client import ApiError, Client, Unreachable, UnsafeUrl, every
from posthorn_cli.client.connection import TRIES

OPENAPI = client_source.document()
PROBLEM = {
    "type": "urn:posthorn:problem:invalid",
    "title": "Wrong",
    "status": 422,
    "detail": "password: short",
    "errors": [{"field": "password", "message": "short"}],
}

type Answer = httpx.Response | Exception


class Scripted(httpx.BaseTransport):
    """Gives the answers in their order, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, url: str = "http://127.0.0.1:8080") -> Client:
        return Client(url, "ph_key", transport=self, sleep=self.pauses.append)


def problem(status: int, **changes: object) -> httpx.Response:
    return httpx.Response(status, json={**PROBLEM, "status": status, **changes})


def unavailable() -> httpx.Response:
    return problem(503, type="urn:posthorn:problem:unavailable", errors=None)


# ---- against the OpenAPI document


def test_what_is_made_from_the_document_is_what_is_there() -> None:
    for path, text in client_source.sources(OPENAPI).items():
        assert path.read_text() == text, f"{path.name} is not as the API is: run `make client`"


@pytest.mark.parametrize(("method", "path", "operation"), client_source.operations(OPENAPI))
def test_every_operation_is_a_method_with_the_same_parameters(
    method: str, path: str, operation: dict[str, object]
) -> None:
    name = client_source.method_name(str(operation["operationId"]))
    parameters = inspect.signature(getattr(Client, name)).parameters
    listed = operation.get("parameters", [])
    assert isinstance(listed, list)
    in_query = {each["name"] for each in listed if each["in"] == "query"}
    assert in_query <= {each.rstrip("_") for each in parameters}
    assert path.count("{") == sum(each["in"] == "path" for each in listed)
    sent = {"body", "content"} & (parameters.keys() - in_query)
    assert bool(sent) == ("requestBody" in operation)
    assert ("idempotency_key" in parameters) == (method == "POST")


def test_a_method_asks_what_its_operation_says() -> None:
    transport = Scripted(
        httpx.Response(200, json={"items": [], "next_cursor": None}), httpx.Response(204)
    )
    with transport.client() as api:
        api.list_audit(object_="alice@example.test", limit=3)
        api.delete_account("a/b@example.test", if_match='"1"')
    listed, deleted = transport.requests
    assert str(listed.url) == "http://127.0.0.1:8080/v1/audit?object=alice%40example.test&limit=3"
    assert listed.headers["Authorization"] == "Bearer ph_key"
    assert (deleted.method, deleted.url.raw_path) == ("DELETE", b"/v1/accounts/a%2Fb@example.test")
    assert deleted.headers["If-Match"] == '"1"'


# ---- asking again


def test_a_post_is_sent_again_with_the_same_idempotency_key() -> None:
    transport = Scripted(
        unavailable(),
        httpx.ReadError("cut"),
        problem(409, type="urn:posthorn:problem:idempotency-key-in-use", errors=None),
        httpx.Response(201, json={"name": "acme"}, headers={"ETag": '"7"'}),
    )
    with transport.client() as api:
        assert api.create_tenant({"name": "acme"})["name"] == "acme"
        assert api.etag == '"7"'
    assert len({request.headers["Idempotency-Key"] for request in transport.requests}) == 1
    assert {request.content for request in transport.requests} == {b'{"name": "acme"}'}
    assert transport.pauses == sorted(transport.pauses)


def test_two_posts_have_two_idempotency_keys() -> None:
    transport = Scripted(httpx.Response(201, json={}), httpx.Response(201, json={}))
    with transport.client() as api:
        api.create_tenant({"name": "a"})
        api.create_tenant({"name": "a"})
    assert len({request.headers["Idempotency-Key"] for request in transport.requests}) == 2


def test_it_gives_up_after_some_tries() -> None:
    transport = Scripted(*(httpx.ConnectError("refused") for _ in range(TRIES)))
    with transport.client() as api, pytest.raises(Unreachable, match="refused"):
        api.list_domains()
    assert len(transport.requests) == TRIES
    transport = Scripted(*(unavailable() for _ in range(TRIES)))
    with transport.client() as api, pytest.raises(ApiError) as caught:
        api.list_domains()
    assert caught.value.status == 503


def test_the_pause_that_the_api_asks_for_is_kept_within_reason() -> None:
    transport = Scripted(
        httpx.Response(503, headers={"Retry-After": "4"}),
        httpx.Response(503, headers={"Retry-After": "86400"}),
        httpx.Response(200, json={"items": [], "next_cursor": None}),
    )
    with transport.client() as api:
        api.list_domains()
    assert transport.pauses == [4.0, 10.0]


def test_a_patch_whose_answer_is_lost_is_not_sent_again() -> None:
    transport = Scripted(httpx.ReadTimeout("slow"))
    with transport.client() as api, pytest.raises(Unreachable):
        api.change_account("a@example.test", {"quota_bytes": 1}, if_match='"1"')
    assert len(transport.requests) == 1


def test_a_delete_whose_answer_was_lost_is_done() -> None:
    transport = Scripted(httpx.ReadError("cut"), problem(404, errors=None))
    with transport.client() as api:
        api.delete_domain("example.test")
    transport = Scripted(problem(404, errors=None))
    with transport.client() as api, pytest.raises(ApiError):
        api.delete_domain("example.test")


def test_what_is_read_piece_by_piece_is_sent_once() -> None:
    transport = Scripted(unavailable())
    with transport.client() as api, pytest.raises(ApiError):
        api.import_accounts(iter([b'{"address":', b' "a@b.c"}\n']))
    assert transport.requests[0].content == b'{"address": "a@b.c"}\n'


# ---- what goes wrong


def test_a_problem_document_is_read() -> None:
    with Scripted(problem(422)).client() as api, pytest.raises(ApiError) as caught:
        api.create_tenant({"name": ""})
    assert (caught.value.status, caught.value.slug) == (422, "invalid")
    assert [(fault.field, fault.message) for fault in caught.value.faults] == [
        ("password", "short")
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors": [3], "type": 7}'])
def test_an_answer_that_is_no_problem_document_is_an_error_all_the_same(body: bytes) -> None:
    with (
        Scripted(httpx.Response(400, content=body)).client() as api,
        pytest.raises(ApiError) as caught,
    ):
        api.list_domains()
    assert caught.value.status == 400


def test_an_answer_that_is_no_json_is_told() -> None:
    with (
        Scripted(httpx.Response(200, text="<html>")).client() as api,
        pytest.raises(Unreachable, match="no JSON"),
    ):
        api.list_domains()


def test_a_redirect_is_not_followed() -> None:
    transport = Scripted(httpx.Response(302, headers={"Location": "http://elsewhere.example/"}))
    with transport.client() as api, pytest.raises(ApiError):
        api.list_domains()
    assert len(transport.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.org",
        "ftp://mail.example.org",
        "http://",
        "https://u:p@mail.example.org",
        "http://[::1",
    ],
)
def test_a_url_that_cannot_be_the_api_is_refused(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        Client(url, "ph_key")


def test_a_key_with_a_line_break_is_refused() -> None:
    with pytest.raises(UnsafeUrl):
        Client("http://127.0.0.1", "ph_key\r\nX-Other: 1")


def test_a_stream_that_is_cut_is_told() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"first"
        raise httpx.ReadError("cut")

    with Scripted(httpx.Response(200, content=pieces())).client() as api:
        found = api.get_raw_message("a@example.test", "1")
        assert next(found) == b"first"
        with pytest.raises(Unreachable):
            next(found)


# ---- pages


def test_pages_are_followed_as_far_as_wanted() -> None:
    def paged(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor") or 0)
        size = int(request.url.params["limit"])
        items = [{"name": str(number)} for number in range(start, min(start + size, 1200))]
        return httpx.Response(
            200,
            json={
                "items": items,
                "next_cursor": str(start + size) if start + size < 1200 else None,
            },
        )

    counted = _Counting(paged)
    with Client("http://127.0.0.1", "k", transport=counted) as api:
        assert len(list(every(api.list_domains))) == 1200
        assert counted.number == 3
        assert [each["name"] for each in every(api.list_domains, 501)][-1] == "500"
        assert counted.number == 5
        assert next(every(api.list_domains))["name"] == "0"
        assert counted.number == 6


class _Counting(httpx.BaseTransport):
    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.answer = answer
        self.number = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.number += 1
        return self.answer(request)


def test_the_client_holds_no_key_in_what_it_shows_of_itself() -> None:
    with Scripted().client() as api:
        assert "ph_key" not in repr(api)
        assert "ph_key" not in json.dumps(api.url)
    assert Path(inspect.getfile(Client)).name == "__init__.py"
