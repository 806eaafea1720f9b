"""Large messages over the REST API: the event loop stays free, the octets are right, and no key
keeps the others out."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
import random
import threading
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.model.directory_entry import RecipientStatus
from posthorn.model.envelope import Envelope
from posthorn.ports.api_keys import Role
from posthorn.wire.address import Address
from posthorn_api.http import large_json
from posthorn_api.sending.compose import Attachment, Draft, compose, crlf_lines, mailbox
from posthorn_api.sending.schemas import Sending
from posthorn_api.sending.service import SendingService
from tests.support.api import ADMIN_KEY, Api, problem
from tests.support.polling import BUSY_SECONDS

pytestmark = pytest.mark.usefixtures("accounts")

MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}
HEAD = {"from": "alice@example.test", "to": ["friend@example.org"], "subject": "Hello"}


class Elsewhere:
    """A directory in which nobody is ours."""

    async def standing(self, address: Address) -> RecipientStatus:
        return RecipientStatus.FOREIGN

    async def postmaster(self, domain: str) -> Address | None:
        return None

    async def probe(self) -> None:
        pass


class Kept:
    """An ingest stream that keeps the last envelope."""

    envelope: Envelope

    async def accept(self, envelope: Envelope, body: bytes | None) -> None:
        assert body is None, "large ones lie in the blob store"
        self.envelope = envelope

    async def probe(self) -> None:
        pass


@pytest.fixture
async def api(api: Api) -> Api:
    api.directory.set(Elsewhere())
    return api


@pytest.fixture
def kept(api: Api) -> Kept:
    stream = Kept()
    api.ingest.set(stream)
    return stream


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """The threads in which large documents are read, their contents decoded and messages made,
    by the name of the work."""
    used: dict[str, set[int]] = {}

    def watch(owner: Any, name: str) -> None:
        work = getattr(owner, name)
        used[name] = set()

        def watched(*arguments: Any, **options: Any) -> Any:
            used[name].add(threading.get_ident())
            return work(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    watch(large_json, "read_document")
    watch(Sending, "wish")
    watch(SendingService, "_make")
    return used


def assert_beside_the_loop(threads: dict[str, set[int]]) -> None:
    """All the work was done, and none of it in the thread of the loop, which is this one."""
    for name, used in threads.items():
        assert used and threading.get_ident() not in used, name


async def test_the_loop_goes_on_while_a_large_message_is_read_and_made(
    api: Api, kept: Kept, blobs: FileBlobs, threads: dict[str, set[int]]
) -> None:
    chance = random.Random(1)
    files = [chance.randbytes(8 * MIB), chance.randbytes(3 * MIB)]
    text = 'Schöne "Grüße" \\ von hier\n' * 220_000
    document = {
        **HEAD,
        "text": text,
        "attachments": [{"content": base64.b64encode(each).decode()} for each in files],
    }
    content = json.dumps(document).encode()
    assert len(content) > 22 * MIB
    healthy = 0
    sending = asyncio.create_task(
        api.client.post("/v1/send", content=content, headers=JSON, timeout=60)
    )
    while not sending.done():
        healthy += (await api.client.get("/v1/status")).status_code == 200
        await asyncio.sleep(0.02)
    answer = await sending
    assert answer.status_code == 202, answer.text
    assert healthy > 3
    assert_beside_the_loop(threads)

    facts = kept.envelope.body
    assert kept.envelope.blob is not None
    message = email.message_from_bytes(
        await blobs.read(kept.envelope.blob, 0, facts.size), policy=email.policy.default
    )
    assert isinstance(message, EmailMessage) and not message.defects
    plain = message.get_body(("plain",))
    assert plain is not None and plain.get_content().replace("\r\n", "\n") == text
    assert [each.get_content() for each in message.iter_attachments()] == files


async def test_the_loop_goes_on_while_a_large_message_comes_whole(
    api: Api, kept: Kept, blobs: FileBlobs, threads: dict[str, set[int]]
) -> None:
    header = b"From: alice@example.test\n\n"
    lines = (b"x" * 70 + b"\n") * 320_000
    content = json.dumps(
        {
            "from": "alice@example.test",
            "to": ["x@example.org"],
            "raw": base64.b64encode(header + lines).decode(),
        }
    ).encode()
    assert len(content) > 28 * MIB
    headers = {**JSON, "Idempotency-Key": "large"}
    answer = await api.client.post("/v1/send", content=content, headers=headers, timeout=60)
    assert answer.status_code == 202, answer.text
    assert_beside_the_loop(threads)
    assert kept.envelope.blob is not None
    stored = await blobs.read(kept.envelope.blob, 0, kept.envelope.body.size)
    assert stored.endswith(b"\r\n\r\n" + lines.replace(b"\n", b"\r\n"))


async def test_a_document_that_would_become_millions_of_objects_is_refused(
    api: Api, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_whole(*arguments: Any, **options: Any) -> None:
        raise AssertionError("it is refused before it is read")

    monkeypatch.setattr("posthorn_api.http.large_json.json.loads", read_whole)
    bomb = b'{"from": "alice@example.test", "to": [' + b"{}," * (10 * MIB) + b"{}]}"
    answer = await api.client.post("/v1/send", content=bomb, headers=JSON, timeout=60)
    monkeypatch.undo()
    problem(answer, 413, "too-large")


async def test_a_large_document_that_does_not_read_is_refused_as_a_small_one(
    api: Api, kept: Kept
) -> None:
    for end in (b"", b'"', b'"}}', b'\\q"}', b'\xff"}'):
        content = b'{"text": "' + b"x" * 2 * MIB + end
        answer = await api.client.post("/v1/send", content=content, headers=JSON)
        problem(answer, 400, "malformed")
    content = json.dumps({**HEAD, "unknown": "x" * 2 * MIB}).encode()
    problem(
        await api.client.post("/v1/send", content=content, headers=JSON), 422, "invalid", "unknown"
    )
    content = json.dumps({**HEAD, "raw": "QUJD=" + "QUJD" * MIB}).encode()
    problem(
        await api.client.post("/v1/send", content=content, headers=JSON), 422, "invalid", "subject"
    )
    content = json.dumps({**HEAD, "attachments": [{"content": "QQ==" + "QUJD" * MIB}]}).encode()
    problem(
        await api.client.post("/v1/send", content=content, headers=JSON),
        422,
        "invalid",
        "attachments[0].content",
    )


async def test_a_key_whose_bodies_do_not_come_keeps_no_other_key_out(api: Api, kept: Kept) -> None:
    api.guard.large_bodies.slots.wait_seconds = 0.2
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = (
        "POST /v1/send HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {ADMIN_KEY}",
        "Expect: 100-continue",
    )
    writer.write(
        "".join(f"{line}\r\n" for line in (*lines, *("Content-Length: 2000000", ""))).encode()
    )
    assert (await reader.readline()).split()[1] == b"100", "its body is awaited: it has its place"
    content = json.dumps({**HEAD, "text": "x\n" * MIB}).encode()
    refused = await api.client.post("/v1/send", content=content, headers=JSON)
    problem(refused, 429, "too-many-requests")
    assert int(refused.headers["retry-after"]) > 0
    small = await api.client.post("/v1/send", json={**HEAD, "text": "x" * 600_000})
    assert small.status_code == 202, "small ones need no place"
    other = JSON | await api.key(Role.PLATFORM_ADMIN)
    assert (await api.client.post("/v1/send", content=content, headers=other)).status_code == 202
    writer.close()

    async def again() -> int:
        return (await api.client.post("/v1/send", content=content, headers=JSON)).status_code

    async with asyncio.timeout(BUSY_SECONDS):
        # its place is free as soon as the connection is seen to have gone
        while await again() != 202:
            pass


@pytest.mark.parametrize("length", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB])
@pytest.mark.parametrize("unit", [b"\r\n", b"\n", b"\r", b"\n\r", b"a\r", b"\r\r\n", b"abc"])
def test_line_ends_become_crlf_wherever_they_stand(unit: bytes, length: int) -> None:
    text = (unit * (length // len(unit) + 1))[:length] + b"\nend"
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert crlf_lines(text) == lines.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024, 57 * 1024 * 3, 57 * 1024 * 3 + 1])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_draft_with_large_parts_reads_as_it_was_meant(size: int, end: str) -> None:
    number, file = uuid4(), random.Random(size).randbytes(size)
    parts: dict[str, Any] = {
        "text": "é" * size + end,
        "html": "<p>" + "x" * size + end,
        "attachments": [
            Attachment("a.bin", "application/octet-stream", file),
            Attachment("b.bin", "application/octet-stream", file),
            Attachment("c.png", "image/png", file[::-1], content_id="logo"),
        ],
    }
    draft = Draft(mailbox("from", "alice@example.test"), subject="Hello", **parts)
    octets = compose(draft, number)
    assert octets == compose(draft, number)
    assert octets.isascii() and max(map(len, octets.split(b"\r\n"))) <= 78
    assert b"\n" not in octets.replace(b"\r\n", b"")
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage) and not message.defects
    for kind in ("plain", "html"):
        body = message.get_body((kind,))
        assert body is not None
        assert body.get_content().rstrip("\r\n") == parts[
            "text" if kind == "plain" else "html"
        ].rstrip("\n")
    assert [each.get_content() for each in message.iter_attachments()] == [file, file]
    (image,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (image["Content-ID"], image.get_content()) == ("<logo>", file[::-1])
