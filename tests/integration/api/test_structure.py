"""The parts of messages over the REST API: listed with names and sizes, fetched decoded, and
never run by a browser."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from tests.support.api import Api, problem

pytestmark = pytest.mark.usefixtures("accounts")

ALICE = "/v1/accounts/alice@example.test"
PAGE = b"<script>alert(1)</script>" * 10
WHOLE = (
    b"Subject: plans\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe=\r\n!\r\n--b\r\nContent-Type: text/html\r\n"
    b"Content-Disposition: attachment;\r\n filename*=utf-8''..%2F%E2%82%AC%20plans.html\r\nContent-Transfer-Encoding: base64\r\n"
    b"\r\n"
    + base64.encodebytes(PAGE).replace(b"\n", b"\r\n")
    + b"--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: within\r\n\r\nHello.\r\n--b--\r\n"
)


async def test_the_parts_of_a_message_are_listed(api: Api, blobs: FileBlobs) -> None:
    message = await api.deliver(blobs, WHOLE)
    answer = await api.client.get(f"{ALICE}/messages/{message}/structure")
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["size_bytes"], shown["is_complete"]) == (len(WHOLE), True)
    fields = ("number", "depth", "type", "charset", "name", "is_attachment", "encoding")
    assert [tuple(part[field] for field in fields) for part in shown["parts"]] == [
        (None, 0, "multipart/mixed", None, None, False, "7bit"),
        ("1", 1, "text/plain", "utf-8", None, False, "quoted-printable"),
        ("2", 1, "text/html", None, "€ plans.html", True, "base64"),
        ("3", 1, "message/rfc822", None, None, True, "7bit"),
        ("3.1", 2, "text/plain", None, None, False, "7bit"),
    ]
    for part in shown["parts"][1:]:
        raw = await api.client.get(f"{ALICE}/messages/{message}/parts/{part['number']}?raw=true")
        assert raw.content == WHOLE[part["body_offset"] : part["body_offset"] + part["body_bytes"]]
        assert raw.headers["content-length"] == str(part["body_bytes"])


async def test_a_part_comes_decoded_and_is_never_shown_by_a_browser(
    api: Api, blobs: FileBlobs
) -> None:
    message = await api.deliver(blobs, WHOLE)
    expected = {
        "1": "Grüße!".encode(),
        "2": PAGE,
        "3": b"Subject: within\r\n\r\nHello.",
        "3.1": b"Hello.",
    }
    for number, content in expected.items():
        answer = await api.client.get(f"{ALICE}/messages/{message}/parts/{number}")
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    named = await api.client.get(f"{ALICE}/messages/{message}/parts/2")
    assert (
        named.headers["content-disposition"]
        == "attachment; filename*=UTF-8''%E2%82%AC%20plans.html"
    )


@pytest.mark.parametrize(
    "path", ["messages/{}/raw", "messages/{}/parts/2", "export?format=mbox", "export?format=eml"]
)
async def test_what_strangers_wrote_cannot_run_in_a_browser(
    api: Api, blobs: FileBlobs, path: str
) -> None:
    message = await api.deliver(blobs, WHOLE)
    answer = await api.client.get(f"{ALICE}/{path.format(message)}")
    assert answer.status_code == 200
    assert answer.headers.get_list("content-security-policy") == ["sandbox; default-src 'none'"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("number", ["0", "4", "3.2", "1.1", "x", "1.", "9" * 400])
async def test_a_part_that_is_not_there_is_told(api: Api, blobs: FileBlobs, number: str) -> None:
    message = await api.deliver(blobs, WHOLE)
    problem(await api.client.get(f"{ALICE}/messages/{message}/parts/{number}"), 404, "not-found")
    problem(await api.client.get(f"{ALICE}/messages/{UUID(int=1)}/parts/1"), 404, "not-found")
    problem(await api.client.get(f"{ALICE}/messages/{UUID(int=1)}/structure"), 404, "not-found")


async def test_large_parts_come_in_pieces(api: Api, blobs: FileBlobs) -> None:
    content = bytes(range(256)) * 40_000
    body = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
        + b"x" * 3_000_000
        + b"\r\n--b\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(content).replace(b"\n", b"\r\n")
        + b"--b--\r\n"
    )
    message = await api.deliver(blobs, body)
    assert (await api.client.get(f"{ALICE}/messages/{message}/parts/2")).content == content
    assert (await api.client.get(f"{ALICE}/messages/{message}/parts/1")).content == b"x" * 3_000_000


async def test_octets_that_cannot_be_had_are_a_503(api: Api, blobs: FileBlobs) -> None:
    message = await api.deliver(blobs, WHOLE)
    await blobs.delete((await api.sql("SELECT key FROM segments"))[0]["key"])
    for path in ("structure", "parts/1"):
        problem(await api.client.get(f"{ALICE}/messages/{message}/{path}"), 503, "unavailable")
