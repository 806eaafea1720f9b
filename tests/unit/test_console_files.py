"""The console's files: their size, and how the API serves them."""

from __future__ import annotations

import gzip
import re

import pytest
from starlette.applications import Starlette

from posthorn_api.console.routes import CONTENT_SECURITY_POLICY, console_routes
from posthorn_console import console_files
from tests.unit.test_reference import Client

FIRST_LOAD_BYTES = 150 * 1024
ALL_BYTES = 300 * 1024
FILES = console_files()
assert FILES is not None, "the console is not built: make console"


@pytest.fixture(scope="module")
def client() -> Client:
    assert FILES is not None
    return Client(Starlette(routes=console_routes(FILES)))


def compressed(names: set[str]) -> int:
    assert FILES is not None
    return sum(len(gzip.compress(FILES.joinpath(f"assets/{name}").read_bytes())) for name in names)


def test_it_stays_within_its_budget(client: Client) -> None:
    page = client.get("/console/").text
    first = set(re.findall(r"/console/assets/([^\"]+\.(?:js|css))", page))
    assert len(first) >= 2
    assert compressed(first) < FIRST_LOAD_BYTES
    assert FILES is not None
    everything = {file.name for file in FILES.joinpath("assets").iterdir()}
    assert compressed(everything) < ALL_BYTES


def test_the_page_may_run_nothing_that_is_not_its_own(client: Client) -> None:
    answer = client.get("/console/")
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "require-trusted-types-for 'script'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "<script>" not in answer.text and "<style" not in answer.text


def test_assets_are_kept_for_a_year_and_deep_links_are_the_page(client: Client) -> None:
    page = client.get("/console/")
    (script,) = re.findall(r'src="(/console/assets/[^"]+\.js)"', page.text)
    asset = client.get(script, {"Accept-Encoding": "gzip"})
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.headers["content-encoding"] == "gzip"
    assert asset.headers["content-type"].startswith("text/javascript")
    for path in ("/console/domains/example.test", "/console/messages/a%2Fb?x=1"):
        assert client.get(path).text == page.text
    assert client.get("/console/assets/none.js").status_code == 404
    lead = client.get("/")
    assert lead.status_code == 307 and lead.headers["location"] == "/console/"
