"""Searching the text of messages over the REST API, as IMAP's SEARCH finds it, in bounded pages."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from uuid import UUID

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn_api.mailboxes import content_search
from tests.support.api import Api, problem

pytestmark = pytest.mark.usefixtures("accounts")

MESSAGES = "/v1/accounts/alice@example.test/messages"
ENCODED = base64.encodebytes("Grüße aus Köln, Rechnung".encode()).replace(b"\n", b"\r\n")
BODIES = {
    "header": b"Subject: =?utf-8?q?Rechnung_f=C3=BCr_Mai?=\r\n\r\nnothing\r\n",
    "plain": b"Subject: a\r\n\r\nthe rechnung is attached\r\n",
    "base64": b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + ENCODED,
    "html": b"Content-Type: text/html\r\n\r\n<p class=rechnung>Invoice &amp; bill</p>\r\n",
    "large": b"Subject: large\r\n\r\n" + b"x" * 70 * 20_000 + b"\r\nRECHNUNG at the end\r\n",
}


@pytest.fixture
async def placed(api: Api, blobs: FileBlobs) -> dict[str, UUID]:
    """The messages by their names, the oldest first."""
    return {name: await api.deliver(blobs, body) for name, body in BODIES.items()}


async def pages(api: Api, placed: dict[str, UUID], **query: Any) -> list[list[str]]:
    """The names of the messages of all pages."""
    names = {str(message): name for name, message in placed.items()}
    found: list[list[str]] = []
    for _ in range(20):
        answer = await api.client.get(MESSAGES, params=query)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        found.append([names[item["id"]] for item in document["items"]])
        if document["next_cursor"] is None:
            return found
        query["cursor"] = document["next_cursor"]
    raise AssertionError("the list does not end")


async def test_texts_are_found_as_imap_finds_them(api: Api, placed: dict[str, UUID]) -> None:
    assert await pages(api, placed, text="rechnung") == [["large", "base64", "plain", "header"]]
    assert await pages(api, placed, body="Rechnung") == [["large", "base64", "plain"]]
    assert await pages(api, placed, text="für mai") == [["header"]]
    assert await pages(api, placed, body="grüsse aus köln") == [["base64"]]
    assert await pages(api, placed, body="invoice & bill") == [["html"]]
    assert await pages(api, placed, text="rechnung", body="attached") == [["plain"]]
    assert await pages(api, placed, text="rechnung", larger=1000) == [["large"]]
    assert await pages(api, placed, text="nowhere") == [[]]
    assert await pages(api, placed, text="rechnung", mailbox="Junk") == [[]]
    kept = await api.sql("SELECT message_id FROM message_headers")
    assert {row["message_id"] for row in kept} == set(placed.values()), "for the next search"
    problem(
        await api.client.get(MESSAGES, params={"text": "x", "mailbox": "nowhere"}), 404, "not-found"
    )


async def test_a_page_ends_at_its_bounds_and_the_next_goes_on(
    api: Api, placed: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ["large", "base64", "plain", "header"]
    singly = await pages(api, placed, text="rechnung", limit=1)
    assert [name for page in singly for name in page] == found
    monkeypatch.setattr(content_search, "MOST_BYTES", 1)
    assert await pages(api, placed, body="rechnung") == [["large"], [], ["base64"], ["plain"], []]
    monkeypatch.setattr(content_search, "MOST_BYTES", 10_000_000)
    monkeypatch.setattr(content_search, "MOST_SECONDS", -1.0)
    assert await pages(api, placed, body="rechnung") == [["large"], [], ["base64"], ["plain"], []]
    monkeypatch.setattr(content_search, "MOST_SECONDS", 60.0)
    monkeypatch.setattr(content_search, "EXAMINED", 2)
    assert await pages(api, placed, text="rechnung") == [["large"], ["base64", "plain"], ["header"]]


async def test_a_message_that_cannot_be_read_is_not_passed_over(
    api: Api, blobs: FileBlobs, placed: dict[str, UUID]
) -> None:
    (row,) = await api.sql(
        "SELECT key FROM segments s JOIN messages m ON m.segment_id = s.id WHERE m.id = $1",
        placed["html"],
    )
    await blobs.delete(row["key"])
    problem(await api.client.get(MESSAGES, params={"text": "rechnung"}), 503, "unavailable")
    await api.sql("DELETE FROM mailbox_entries WHERE message_id = $1", placed["html"])
    found = await asyncio.gather(*(pages(api, placed, body="rechnung") for _ in range(3)))
    assert found == [[["large", "base64", "plain"]]] * 3
