"""What an S3 server does rarely: 503 once, a connection cut in the middle, a range not honoured.
From a scripted server, since no real one does so when asked."""

from __future__ import annotations

import asyncio
import hashlib
import io
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from posthorn.adapters.blobs.s3 import S3Blobs
from posthorn.adapters.blobs.targets import S3Target
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.errors import Unavailable
from tests.support.polling import BUSY_SECONDS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SLOW_DOWN = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nContent-Type: application/xml\r\n\r\n"
CUT = b""


@dataclass
class Script:
    """Answers to requests, in order; what comes after ``CUT`` closes the connection."""

    answers: list[bytes]
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {
                    name.lower(): value
                    for name, _, value in (line.partition(": ") for line in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((first, headers, body))
                answer = self.answers.pop(0) if self.answers else OK
                writer.write(answer.removesuffix(b"CUT"))
                if answer == CUT or answer.endswith(b"CUT"):
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(
    *answers: bytes, read_timeout: float = 5
) -> AsyncIterator[tuple[S3Blobs, Script]]:
    script = Script(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = S3Target(
        f"127.0.0.1:{port}", "mail", "", "us-east-1", False, "key", SecretStr("hidden-secret")
    )
    blobs = S3Blobs(target, read_timeout=read_timeout)
    blobs._ensured = True
    try:
        yield blobs, script
    finally:
        blobs.close()
        server.close()


def _octets(body: bytes, status: str = "206 Partial Content", length: int | None = None) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode()
        + body
    )


@pytest.mark.parametrize("first", [SLOW_DOWN, CUT], ids=["503", "cut"])
async def test_an_upload_is_tried_once_more_from_its_beginning(first: bytes) -> None:
    parts = [b"one", b"", b"two" * 200_000, b"three"]
    async with scripted(first, OK) as (blobs, script):
        await blobs.put("segments/x", parts)
        await blobs.put_file(
            "bodies/x", _at(io.BytesIO(b"skipped" + b"".join(parts) + b"behind"), 7), 600_008
        )
    assert [body for _, _, body in script.requests[1:]] == [b"".join(parts)] * 2
    for request, headers, body in script.requests:
        assert request.startswith("PUT /mail/")
        assert headers["content-md5"] == b64encode(hashlib.md5(body).digest()).decode()
        assert "transfer-encoding" not in headers


def _at(file: io.BytesIO, position: int) -> io.BytesIO:
    file.seek(position)
    return file


async def test_a_store_that_stays_overloaded_is_unavailable_soon() -> None:
    async with scripted(*[SLOW_DOWN] * 10) as (blobs, script):
        async with asyncio.timeout(BUSY_SECONDS):
            with pytest.raises(Unavailable, match="503"):
                await blobs.put("segments/x", [b"x"])
            with pytest.raises(Unavailable):
                await blobs.read("segments/x", 0, 1)
    assert len(script.requests) == 4


async def test_a_store_that_hangs_is_not_asked_twice() -> None:
    async with scripted(b"HTTP/1.1 200", read_timeout=0.3) as (blobs, script):
        async with asyncio.timeout(BUSY_SECONDS):
            with pytest.raises(Unavailable):
                await blobs.put("segments/x", [b"x"])
    assert len(script.requests) == 1


async def test_a_body_cut_in_the_middle_is_a_fault_not_a_short_body() -> None:
    async with scripted(*[_octets(b"x" * 600, length=1000) + b"CUT"] * 4) as (blobs, _):
        with pytest.raises(Unavailable):
            await blobs.read("segments/x", 0, 1000)
        pieces: list[bytes] = []
        with pytest.raises(Unavailable):
            async for piece in blobs.stream("segments/x", 0, 1000, 300):
                pieces.append(piece)  # noqa: PERF401 - what came before the fault counts
        assert b"".join(pieces) == b"x" * 600


async def test_a_store_that_does_not_honour_ranges_is_found_out() -> None:
    whole = _octets(b"0123456789", "200 OK")
    async with scripted(whole, whole, whole) as (blobs, _):
        with pytest.raises(Unavailable, match="ranges"):
            await blobs.read("segments/x", 3, 4)
        with pytest.raises(Unavailable, match="ranges"):
            await blobs.read("segments/x", 0, 4)
        assert await blobs.read("segments/x", 0, 10) == b"0123456789"


async def test_a_connection_is_used_again_after_a_read_and_not_after_a_stream_left_early() -> None:
    async with scripted(*[_octets(b"0123456789")] * 4) as (blobs, _):
        pool = blobs._http.connection_from_url(blobs._client._base_url._url.geturl())
        for _ in range(2):
            assert await blobs.read("segments/x", 0, 10) == b"0123456789"
            assert (
                b"".join([piece async for piece in blobs.stream("segments/x", 0, 10, 3)])
                == b"0123456789"
            )
        assert pool.num_connections == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_octets(b"<Error><Code>AccessDenied</Code></Error>", "403 Forbidden"), "AccessDenied"),
        (_octets(b"<html>hidden-secret</html>", "418 Teapot"), "HTTP 418"),
        (
            _octets(b"<Error><Code>https://hidden-secret/</Code></Error>", "400 Bad Request"),
            "HTTP 400",
        ),
    ],
)
async def test_faults_of_an_upload_carry_a_short_code_only(answer: bytes, said: str) -> None:
    async with scripted(answer) as (blobs, _):
        with pytest.raises(Unavailable) as caught:
            await blobs.put("segments/x", [b"x"])
        assert str(caught.value).startswith(f"blobs: {said}")
        assert "hidden-secret" not in str(caught.value)


@pytest.mark.parametrize("status", ["400 Bad Request", "301 Moved Permanently"])
async def test_a_bucket_of_another_region_is_said_to_be_one(status: str) -> None:
    async with scripted(*[_octets(b"", status)] * 4) as (blobs, _):
        blobs._ensured = False
        with pytest.raises(Unavailable, match="is POSTHORN_S3_REGION the region of the bucket"):
            await blobs.probe()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        ("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>", None),
        (
            "403 Forbidden",
            b"<Error><Code>AccessDenied</Code><Message>hidden-secret</Message></Error>",
            "AccessDenied",
        ),
        ("403 Forbidden", b"<Error><Code>see https://hidden-secret/</Code></Error>", "S3Error"),
        ("502 Bad Gateway", b"", "InvalidResponseError"),
    ],
)
async def test_faults_of_a_read_carry_a_short_code_only(
    status: str, body: bytes, said: str | None
) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with scripted(*[head + body] * 3) as (blobs, _):
        with pytest.raises(Unavailable) as caught:
            await blobs.read("segments/x", 0, 1)
        assert isinstance(caught.value, BlobMissing) == (said is None)
        assert said is None or str(caught.value).startswith(f"blobs: {said}")
        assert "hidden-secret" not in str(caught.value)
        assert caught.value.__cause__ is None


async def test_time_and_faults_of_each_operation_are_counted() -> None:
    def counted(operation: str) -> tuple[float, float]:
        labels = {"operation": operation}
        found = [
            REGISTRY.get_sample_value(f"posthorn_s3_{name}", labels) or 0.0
            for name in ("operation_seconds_count", "errors_total")
        ]
        return found[0], found[1]

    before = {operation: counted(operation) for operation in ("put", "read", "delete", "open")}
    body = b"<Error><Code>NoSuchKey</Code></Error>"
    head = f"HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
    missing = head.encode() + b"\r\n\r\n" + body
    async with scripted(OK, SLOW_DOWN, SLOW_DOWN, missing, _octets(b"x")) as (blobs, _):
        await blobs.put("segments/x", [b"x"])
        with pytest.raises(Unavailable):
            await blobs.put("segments/x", [b"x"])
        with pytest.raises(BlobMissing):
            await blobs.read("segments/gone", 0, 1)
        assert [piece async for piece in blobs.stream("segments/x", 0, 1)] == [b"x"]
        await blobs.delete("segments/x")
    moved = {
        operation: tuple(now - then for now, then in zip(counted(operation), was, strict=True))
        for operation, was in before.items()
    }
    assert moved == {"put": (2, 1), "read": (3, 0), "delete": (1, 0), "open": (1, 0)}
