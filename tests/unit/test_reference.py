"""The page of the API's reference: its assets are the released ones, and it needs no other host
and no inline script."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from deploy.reference_viewer import ASSETS, read_lock, sha256_of
from starlette.applications import Starlette

from posthorn_api.reference.routes import CONTENT_SECURITY_POLICY, reference_routes

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Mail & <more>", "version": "1"},
    "paths": {},
}
LOCK = read_lock()


class Client:
    """Asks the application, without a socket."""

    def __init__(self, application: Starlette) -> None:
        self._transport = httpx.ASGITransport(application)

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def answer() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://api.test"
            ) as client:
                return await client.get(path, headers=headers)

        return asyncio.run(answer())


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(
        Starlette(routes=list(reference_routes(DOCUMENT["info"]["title"], lambda: DOCUMENT)))
    )


class References(HTMLParser):
    """What a page refers to, and whether it holds code or style of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.addresses += [value for key in ("src", "href") if (value := named.get(key))]
        if tag == "style" or (tag == "script" and "src" not in named):
            self.inline.append(tag)
        self.inline += [key for key in named if key == "style" or key.startswith("on")]


@pytest.mark.parametrize("name", LOCK["sha256"])
def test_a_file_of_the_viewer_is_the_released_one(name: str) -> None:
    assert sha256_of(name) == LOCK["sha256"][name]


def test_the_viewer_comes_with_its_licences() -> None:
    assert "Apache License" in (ASSETS / "LICENSE").read_text()
    assert "SmartBear" in (ASSETS / "NOTICE").read_text()
    assert "MIT License" in (ASSETS / "swagger-ui-bundle.js.LICENSE.txt").read_text()


def test_the_page_refers_to_this_host_alone_and_holds_no_inline_code(client: Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Mail &amp; &lt;more&gt;</title>" in page.text
    assert "{" not in page.text, "a name was not replaced"
    found = References(page.text)
    assert found.inline == []
    assert len(found.addresses) == 6
    for address in found.addresses:
        assert re.fullmatch(
            r"openapi\.json|docs/[a-z0-9-]+\.[0-9a-f]{16}\.(js|css|png)", address
        ), address
        assert client.get("/" + address).status_code == 200


def test_the_policy_allows_no_inline_code_no_eval_and_no_other_host(client: Client) -> None:
    headers = client.get("/docs").headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    rules = dict(rule.split(" ", 1) for rule in CONTENT_SECURITY_POLICY.split("; "))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_an_asset_is_kept_for_a_year_and_sent_compressed(client: Client) -> None:
    addresses = References(client.get("/docs").text).addresses
    bundle = next(address for address in addresses if "swagger-ui-bundle" in address)
    plain = client.get("/" + bundle, headers={"Accept-Encoding": "identity"})
    packed = client.get("/" + bundle, headers={"Accept-Encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 600_000 < len(packed.content)
    assert packed.content == plain.content
    assert "content-encoding" not in plain.headers
    for answer in (plain, packed):
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_page_and_the_document_are_revalidated(client: Client, path: str) -> None:
    first = client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["nothing.js", "LICENSE", "viewer.lock.json", "swagger-ui-bundle.js.gz"]
)
def test_a_name_that_is_no_asset_is_not_found(client: Client, name: str) -> None:
    answer = client.get(f"/docs/{name}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:posthorn:problem:not-found"
