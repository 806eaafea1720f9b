"""Where a body lies until delivery has it, and what a store that does not answer is."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.ports.errors import Unavailable
from posthorn.runtime.bodies import BodyStore
from posthorn.runtime.ids import new_id


async def test_only_what_is_larger_than_the_stream_takes_has_a_blob(tmp_path: Path) -> None:
    bodies, message = BodyStore(FileBlobs(tmp_path), 100, 5), new_id()
    assert bodies.blob(message, 100) is None
    assert bodies.blob(message, 101) == f"bodies/{message}"


@pytest.mark.parametrize("body", [b"octets", io.BytesIO(b"octets")], ids=["octets", "file"])
async def test_a_body_is_stored_as_octets_or_as_a_file(
    tmp_path: Path, body: bytes | io.BytesIO
) -> None:
    blobs = FileBlobs(tmp_path)
    await blobs.open()
    await BodyStore(blobs, 0, 5).store("bodies/x", body, 6)
    assert await blobs.read("bodies/x", 0, 6) == b"octets"
    blobs.close()


async def test_a_store_that_takes_too_long_is_a_fault_of_ours(tmp_path: Path) -> None:
    class Slow(FileBlobs):
        async def put(self, *_: object) -> None:
            await asyncio.sleep(60)

    with pytest.raises(Unavailable) as caught:
        await BodyStore(Slow(tmp_path), 0, 0.01).store("bodies/x", b"octets", 6)
    assert caught.value.part == "blobs"


@pytest.mark.parametrize("may_delete", [True, False])
async def test_a_body_that_is_given_up_takes_no_room(tmp_path: Path, may_delete: bool) -> None:
    class Refusing(FileBlobs):
        async def delete(self, key: str) -> None:
            if not may_delete:
                raise Unavailable("blobs", "AccessDenied")
            await super().delete(key)

    blobs = Refusing(tmp_path)
    await blobs.open()
    bodies = BodyStore(blobs, 0, 5)
    await bodies.store("bodies/x", b"octets", 6)
    await bodies.give_up("bodies/x")
    left = [(blob.key, blob.size) async for blob in blobs.list("")]
    assert left == ([] if may_delete else [("bodies/x", 0)])
    blobs.close()
