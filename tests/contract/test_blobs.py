"""What the port Blobs promises, of a local directory and of a real S3 bucket; and what each does
when its store is gone."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import io
import logging
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from pydantic import SecretStr

from posthorn.adapters.blobs.config import blob_target, open_blobs
from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.blobs.s3 import S3Blobs
from posthorn.adapters.blobs.targets import S3Target
from posthorn.ports.blobs import BODIES, MARK, SEGMENTS, TRASH, BlobMissing, Blobs
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from posthorn.runtime.settings import BlobSettings
from posthorn_smtp_in.spool_file import SpoolFile, WithFields
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until
from tests.support.s3 import S3Server


@pytest.fixture(params=["files", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        f"file://{tmp_path}/blobs"
        if request.param == "files"
        else cast(str, request.getfixturevalue("s3_url"))
    )


@pytest.fixture
async def blobs(url: str) -> AsyncIterator[Blobs]:
    async with open_blobs(BlobSettings(blobs=SecretStr(url))) as store:
        yield store


def _key() -> str:
    return f"segments/{new_id()}"


async def _all(blobs: Blobs, prefix: str) -> list[str]:
    return [blob.key async for blob in blobs.list(prefix)]


async def test_a_blob_moves_with_its_octets_and_its_time_is_that_of_the_move(blobs: Blobs) -> None:
    key, body = _key(), os.urandom(300_000)
    await blobs.put(key, [body])
    (before,) = [blob.modified_at async for blob in blobs.list("segments/")]
    await asyncio.sleep(2.1)  # S3 tells whole seconds
    await blobs.move(key, f"trash/{key}")
    assert await _all(blobs, "segments/") == []
    ((to, size, after),) = [
        (blob.key, blob.size, blob.modified_at) async for blob in blobs.list("trash/")
    ]
    assert (to, size) == (f"trash/{key}", len(body))
    assert after > before
    assert await blobs.read(to, 1000, 299_000) == body[1000:]
    with pytest.raises(BlobMissing):
        await blobs.read(key, 0, 1)
    with pytest.raises(BlobMissing):
        await blobs.move(key, f"trash/{key}")
    await blobs.move(to, key)
    assert await blobs.read(key, 0, len(body)) == body
    assert await _all(blobs, "trash/") == []


async def test_a_move_takes_the_place_of_what_is_there(blobs: Blobs) -> None:
    key = _key()
    await blobs.put(key, [b"same"])
    await blobs.put(f"trash/{key}", [b"same"])  # as a move cut short leaves it
    await blobs.move(f"trash/{key}", key)
    assert (await _all(blobs, "segments/"), await _all(blobs, "trash/")) == ([key], [])
    assert await blobs.read(key, 0, 4) == b"same"


async def test_the_mark_is_put_again_and_again_and_is_in_no_listing_of_bodies(blobs: Blobs) -> None:
    for octets in (b"first", b"later"):
        await blobs.put(MARK, [octets])
        assert await blobs.read(MARK, 0, 5) == octets
    for prefix in (SEGMENTS, BODIES, TRASH):
        assert await _all(blobs, prefix) == []


async def test_parts_come_back_joined(blobs: Blobs) -> None:
    key = _key()
    await blobs.put(key, [b"one", b"", b"two\r\n", bytes(range(256))])
    whole = b"onetwo\r\n" + bytes(range(256))
    assert await blobs.read(key, 0, len(whole)) == whole
    assert [(blob.key, blob.size) async for blob in blobs.list("segments/")] == [(key, len(whole))]


@pytest.mark.parametrize("parts", [[], [b""], [b"", b""]])
async def test_a_blob_may_be_empty(blobs: Blobs, parts: list[bytes]) -> None:
    key = _key()
    await blobs.put(key, parts)
    assert await blobs.read(key, 0, 0) == b""
    assert [blob.size async for blob in blobs.list("segments/")] == [0]
    with pytest.raises(Unavailable):
        await blobs.read(key, 0, 1)


async def test_two_thousand_parts_make_one_blob(blobs: Blobs) -> None:
    key, parts = _key(), [os.urandom(1000 + number % 7) for number in range(2000)]
    await blobs.put(key, parts)
    assert await blobs.read(key, 0, sum(map(len, parts))) == b"".join(parts)


async def test_ranges_are_exact(blobs: Blobs) -> None:
    key, octets = _key(), os.urandom(10_000)
    await blobs.put(key, [octets])
    for offset, length in ((0, 1), (0, 10_000), (9_999, 1), (5_000, 5_000), (17, 4_096)):
        assert await blobs.read(key, offset, length) == octets[offset : offset + length]


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 101), (99, 2), (100, 1), (5_000, 1), (5_000, 0)]
)
async def test_a_range_past_the_end_is_a_fault_not_a_short_answer(
    blobs: Blobs, offset: int, length: int
) -> None:
    key = _key()
    await blobs.put(key, [b"x" * 100])
    if length:
        with pytest.raises(Unavailable):
            await blobs.read(key, offset, length)
        with pytest.raises(Unavailable):
            _ = [piece async for piece in blobs.stream(key, offset, length)]
    assert await blobs.read(key, 0, 100) == b"x" * 100


async def test_a_missing_blob_is_told_apart(blobs: Blobs) -> None:
    await blobs.put(_key(), [b"another"])
    for length in (0, 1, 10):
        with pytest.raises(BlobMissing):
            await blobs.read("segments/none", 0, length)
        with pytest.raises(BlobMissing):
            _ = [piece async for piece in blobs.stream("segments/none", 0, length)]


async def test_deleting_is_final_and_may_be_repeated(blobs: Blobs) -> None:
    key, other = _key(), _key()
    await blobs.put(key, [b"gone"])
    await blobs.put(other, [b"stays"])
    await blobs.delete(key)
    await blobs.delete(key)
    await blobs.delete("bodies/never-there")
    with pytest.raises(BlobMissing):
        await blobs.read(key, 0, 4)
    assert await _all(blobs, "") == [other]
    assert await blobs.read(other, 0, 5) == b"stays"


async def test_storing_again_under_the_same_key_is_harmless(blobs: Blobs) -> None:
    key = _key()
    for _ in range(2):
        await blobs.put(key, [b"the same"])
    assert await _all(blobs, "segments/") == [key]
    assert await blobs.read(key, 0, 8) == b"the same"


async def test_a_file_of_twenty_megabytes_goes_in_and_out_without_being_held(
    blobs: Blobs, tmp_path: Path
) -> None:
    size = 20 * 1024 * 1024
    path, key = tmp_path / "attachment", f"bodies/{new_id()}"
    path.write_bytes(b"ahead" + os.urandom(1 << 20) * 20 + b"behind")
    with path.open("rb") as file:
        file.seek(5)
        await blobs.put_file(key, _Bounded(file), size)
    digest, most = hashlib.sha256(), 0
    async for piece in blobs.stream(key, 0, size, 100_000):
        digest.update(piece)
        most = max(most, len(piece))
    assert digest.digest() == hashlib.sha256(path.read_bytes()[5:-6]).digest()
    assert most <= 100_000
    assert [blob.size async for blob in blobs.list("bodies/")] == [size]


class _Bounded(io.RawIOBase, BinaryIO):
    """A file that refuses to be read in one go."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        assert 0 <= size <= 2 * 1024 * 1024, "read piece by piece"
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


async def test_a_body_may_be_written_again_with_fields_in_it(blobs: Blobs, tmp_path: Path) -> None:
    """As smtp-in does once the verdict is known, from the same file."""
    spooled = SpoolFile.new(tmp_path)
    spooled.append(body := os.urandom(700_000))
    key, fields = f"bodies/{new_id()}", b"X-Posthorn-Verdict: deliver\r\n"
    spooled.seek(0)
    await blobs.put_file(key, cast(BinaryIO, spooled), len(body))
    whole = WithFields(spooled, len(body), fields, 300)
    await blobs.put_file(key, cast(BinaryIO, whole), whole.size)
    expected = body[:300] + fields + body[300:]
    assert await blobs.read(key, 0, len(expected)) == expected
    assert whole.digest() == hashlib.sha256(expected).digest()


async def test_a_file_that_ends_too_early_leaves_nothing_behind(blobs: Blobs) -> None:
    with pytest.raises(ValueError, match="ends before"):
        await blobs.put_file("bodies/short", io.BytesIO(b"x" * 99), 100)
    assert await _all(blobs, "") == []


async def test_an_empty_file_may_be_stored(blobs: Blobs) -> None:
    await blobs.put_file("bodies/empty", io.BytesIO(), 0)
    assert await blobs.read("bodies/empty", 0, 0) == b""


async def test_a_stream_may_be_left_early_again_and_again(blobs: Blobs) -> None:
    key, octets = _key(), os.urandom(3_000_000)
    await blobs.put(key, [octets])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(40):
        async with aclosing(blobs.stream(key, 10, 2_999_990, 50_000)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                assert piece == octets[10:50_010]
                break
    gc.collect()
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 20, (
        "each stream left early kept its file or connection"
    )
    assert b"".join([piece async for piece in blobs.stream(key, 0, 3_000_000)]) == octets


async def test_streams_end_well_when_their_reader_is_cancelled(blobs: Blobs) -> None:
    key, octets = _key(), os.urandom(2_000_000)
    await blobs.put(key, [octets])

    async def drink() -> None:
        async for _ in blobs.stream(key, 0, 2_000_000, 10_000):
            await asyncio.sleep(0)

    for delay in range(30):
        reader = asyncio.create_task(drink())
        await asyncio.sleep(delay / 2000)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    assert await blobs.read(key, 0, 2_000_000) == octets


async def test_a_slow_reader_does_not_hold_up_others(blobs: Blobs) -> None:
    key = _key()
    await blobs.put(key, [b"z" * 400_000])
    slow = [blobs.stream(key, 0, 400_000, 20_000) for _ in range(40)]
    for stream in slow:
        assert len(await anext(stream)) == 20_000
    async with asyncio.timeout(BUSY_SECONDS):
        assert await blobs.read(key, 0, 10) == b"z" * 10
    for stream in slow:
        assert 20_000 + sum([len(piece) async for piece in stream]) == 400_000


async def test_many_store_at_once_and_each_reads_its_own(blobs: Blobs) -> None:
    bodies = {_key(): os.urandom(5_000) for _ in range(60)}
    await asyncio.gather(
        *(blobs.put(key, [body[:100], body[100:]]) for key, body in bodies.items())
    )
    read = await asyncio.gather(*(blobs.read(key, 0, 5_000) for key in bodies))
    assert dict(zip(bodies, read, strict=True)) == bodies


async def test_a_listing_of_many_is_complete_and_in_key_order(blobs: Blobs, url: str) -> None:
    number = 1_200 if url.startswith("file") else 230  # the test server gives pages of 100
    keys = [f"segments/{new_id()}" for _ in range(number)]
    extra = [
        "bodies/0",
        "bodies/0-1",
        "bodies/0/1",
        "bodies/00",
        "bodies/zzzzzz-1",
        "bodies/zzzzzz/1",
        "bodies/zzzzzz0",
    ]
    gate = asyncio.Semaphore(32)

    async def store(key: str) -> None:
        async with gate:
            await blobs.put(key, [key.encode()])

    await asyncio.gather(*map(store, keys + extra))
    assert await _all(blobs, "segments/") == sorted(keys)
    assert await _all(blobs, "bodies/") == sorted(extra)
    assert await _all(blobs, "bodies/0") == sorted(
        key for key in extra if key.startswith("bodies/0")
    )
    assert await _all(blobs, keys[3]) == [keys[3]]
    assert await _all(blobs, "segments/0000") == await _all(blobs, "other/") == []
    assert await _all(blobs, "") == sorted(keys + extra)


async def test_a_listing_tells_size_and_time(blobs: Blobs) -> None:
    before = datetime.now(UTC)
    await blobs.put("segments/one", [b"12345"])
    (blob,) = [blob async for blob in blobs.list("segments/")]
    assert (blob.key, blob.size) == ("segments/one", 5)
    inaccuracy = timedelta(seconds=2)  # S3 tells whole seconds
    assert before - inaccuracy < blob.modified_at < datetime.now(UTC) + inaccuracy


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "segments/../../x",
        "segments/",
        "a//b",
        ".hidden",
        "a/.b",
        "a b",
        "a\0b",
        "ä",
        "a~/b",
    ],
)
async def test_a_key_that_is_none_is_refused(blobs: Blobs, key: str) -> None:
    with pytest.raises(ValueError, match="blob key"):
        await blobs.put(key, [b"x"])
    with pytest.raises(ValueError, match="blob key"):
        await blobs.read(key, 0, 1)
    with pytest.raises(ValueError, match="blob key"):
        await blobs.delete(key)


async def test_the_probe_is_content_with_a_store_that_serves(blobs: Blobs) -> None:
    await blobs.probe()
    await blobs.probe()
    assert await _all(blobs, "") == []


async def test_another_process_reads_what_this_one_stored(blobs: Blobs, url: str) -> None:
    await blobs.put("segments/shared", [b"for all"])
    async with open_blobs(BlobSettings(blobs=SecretStr(url))) as other:
        assert await other.read("segments/shared", 0, 7) == b"for all"
        await other.delete("segments/shared")
    assert await _all(blobs, "") == []


async def test_a_closed_store_says_so(url: str) -> None:
    async with open_blobs(BlobSettings(blobs=SecretStr(url))) as blobs:
        await blobs.put("segments/x", [b"x"])
    with pytest.raises(Unavailable):
        await blobs.read("segments/x", 0, 1)


# ----- a local directory


async def test_files_are_private_and_nothing_unfinished_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "er" / "blobs"
    files = FileBlobs(root)
    await files.open()
    await files.put("segments/0190abcdef", [b"x"])
    assert (root / "segments/0190ab~/0190abcdef").read_bytes() == b"x"
    assert (
        root.stat().st_mode & 0o777,
        (root / "segments/0190ab~/0190abcdef").stat().st_mode & 0o777,
    ) == (
        0o700,
        0o600,
    )
    assert list((root / ".incoming").iterdir()) == []
    (root / ".incoming" / "half").write_bytes(b"half")
    assert [blob.key async for blob in files.list("")] == ["segments/0190abcdef"]
    files.close()


async def test_what_crashed_writers_left_is_cleared_after_an_hour(tmp_path: Path) -> None:
    incoming = tmp_path / ".incoming"
    incoming.mkdir()
    for name, age in (("old", 3_700), ("young", 60)):
        (incoming / name).write_bytes(b"half")
        os.utime(incoming / name, (time.time() - age,) * 2)
    files = FileBlobs(tmp_path)
    await files.open()
    assert [path.name for path in incoming.iterdir()] == ["young"]
    files.close()


async def test_a_directory_that_goes_and_comes_back(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    files = FileBlobs(root)
    await files.open()
    await files.put("segments/one", [b"one"])
    root.rename(tmp_path / "away")
    root.write_text("in the way")
    for call in (
        files.put("segments/two", [b"two"]),
        files.read("segments/one", 0, 3),
        files.delete("segments/one"),
        files.probe(),
    ):
        with pytest.raises(Unavailable) as caught:
            await call
        assert "segments" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
    root.unlink()
    (tmp_path / "away").rename(root)
    assert await files.read("segments/one", 0, 3) == b"one"
    await files.put("segments/two", [b"two"])
    await files.probe()
    files.close()


async def test_a_directory_removed_below_a_running_process_is_made_again(tmp_path: Path) -> None:
    files = FileBlobs(tmp_path)
    await files.open()
    await files.put("segments/one", [b"one"])
    (tmp_path / "segments/one~/one").unlink()
    (tmp_path / "segments/one~").rmdir()
    with pytest.raises(Unavailable):
        await files.put("segments/one", [b"one"])
    await files.put("segments/one", [b"one"])
    assert await files.read("segments/one", 0, 3) == b"one"
    files.close()


async def test_every_write_is_synced_with_its_directory_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    files = FileBlobs(tmp_path / "blobs")
    await files.open()
    await files.put("bodies/0190abcdef", [b"x"])
    root = str(tmp_path / "blobs")
    assert synced[0] == str(tmp_path), "the entry of the root"
    for entry in (root, f"{root}/bodies", f"{root}/bodies/0190ab~"):
        assert entry in synced
    incoming = next(place for place, path in enumerate(synced) if "/.incoming/" in path)
    assert synced[incoming + 1] == f"{root}/bodies/0190ab~", "first the octets, then the name"
    await files.put("segments/0190abcde0", [b"x"])
    synced.clear()
    await files.put("segments/0190abcdef", [b"x"])
    place = f"{root}/segments/0190ab~"
    assert sorted(synced) == [place, f"{place}/0190abcdef"], "both, under the name that stays"
    files.close()


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_a_segment_is_acknowledged_when_both_its_file_and_its_name_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    files = FileBlobs(tmp_path)
    await files.open()
    await files.put("segments/0190abcde0", [b"x"])
    goes_on, fails = threading.Event(), False
    real = os.fsync

    def sync(descriptor: int) -> None:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if is_file == (kind == "file"):
            goes_on.wait()
            if fails:
                raise OSError(errno.EIO, "no")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    putting = asyncio.create_task(files.put("segments/0190abcdef", [b"one", b"two"]))
    await asyncio.wait({putting}, timeout=0.1)
    assert not putting.done()
    goes_on.set()
    await putting
    assert await files.read("segments/0190abcdef", 0, 6) == b"onetwo"
    fails = True
    with pytest.raises(Unavailable):
        await files.put("segments/0190abcdee", [b"x"])
    files.close()


# ----- S3 that is down, or not as it should be


@pytest.fixture(scope="module")
def own_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that tests may stop."""
    server = S3Server(tmp_path_factory.mktemp("own-s3"))
    server.start()
    yield server
    server.stop()


def _target(url: str) -> S3Target:
    target = blob_target(BlobSettings(blobs=SecretStr(url)))
    assert isinstance(target, S3Target)
    return target


async def _fails_soon(blobs: Blobs, secrets: tuple[str, ...]) -> None:
    calls = [
        blobs.put("segments/new", [b"new"]),
        blobs.put_file("bodies/new", io.BytesIO(b"new"), 3),
        blobs.read("segments/kept", 0, 4),
        blobs.delete("segments/other"),
        blobs.probe(),
        anext(aiter(blobs.stream("segments/kept", 0, 4))),
        anext(aiter(blobs.list("segments/"))),
    ]
    async with asyncio.timeout(BUSY_SECONDS):
        faults = await asyncio.gather(*calls, return_exceptions=True)
    for fault in faults:
        assert type(fault) is Unavailable
        assert not any(secret in str(fault) for secret in secrets)


async def test_a_stopped_s3_is_unavailable_at_once_and_serves_when_it_is_back(
    own_s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    blobs = S3Blobs(
        _target(own_s3.url("stopped")), connect_timeout=LONG_SECONDS, read_timeout=LONG_SECONDS
    )
    await blobs.open()
    await blobs.put("segments/kept", [b"kept"])
    own_s3.stop()
    try:
        await _fails_soon(blobs, ("segments", "127.0.0.1", "testing", "stopped", "Signature"))
    finally:
        own_s3.start()
    assert await blobs.read("segments/kept", 0, 4) == b"kept"
    await blobs.put("segments/new", [b"new"])
    await blobs.probe()
    assert "Signature" not in caplog.text, "a signed URL in a log would let its reader write"
    blobs.close()


async def test_a_hung_s3_is_unavailable_after_the_timeout_and_serves_when_it_goes_on(
    own_s3: S3Server,
) -> None:
    patient = S3Blobs(_target(own_s3.url("hung")))
    await patient.open()
    await patient.put("segments/kept", [b"kept"])
    patient.close()
    blobs = S3Blobs(_target(own_s3.url("hung")), read_timeout=0.7)
    own_s3.pause()
    try:
        await _fails_soon(blobs, ("segments", "127.0.0.1", "testing"))
        many = await asyncio.gather(
            *(blobs.read("segments/kept", 0, 4) for _ in range(100)), return_exceptions=True
        )
        assert all(isinstance(fault, Unavailable) for fault in many)
        assert sum("no thread became free" in str(fault) for fault in many) > 50, (
            "calls behind hung ones are refused, not served one by one"
        )
    finally:
        own_s3.resume()

    async def serves() -> bool:
        try:
            return await blobs.read("segments/kept", 0, 4) == b"kept"
        except Unavailable:
            return False

    await until(serves)  # the server works off what it was sent before it sees us
    blobs.close()


async def test_s3_being_down_at_start_is_no_hindrance_and_the_bucket_is_made_when_it_comes(
    own_s3: S3Server,
) -> None:
    own_s3.stop()
    try:
        blobs = S3Blobs(
            _target(own_s3.url("later")), connect_timeout=LONG_SECONDS, read_timeout=LONG_SECONDS
        )
        async with asyncio.timeout(BUSY_SECONDS):
            await blobs.open()
        with pytest.raises(Unavailable):
            await blobs.put("segments/x", [b"x"])
    finally:
        own_s3.start()
    await blobs.put("segments/x", [b"x"])
    assert await blobs.read("segments/x", 0, 1) == b"x"
    blobs.close()


async def test_many_processes_make_the_same_bucket_at_once(s3_url: str) -> None:
    stores = [S3Blobs(_target(s3_url)) for _ in range(8)]
    await asyncio.gather(
        *(store.put(f"segments/{number}", [b"x"]) for number, store in enumerate(stores))
    )
    assert len([blob async for blob in stores[0].list("segments/")]) == 8
    for store in stores:
        store.close()


async def test_a_bucket_removed_below_a_running_process_is_made_again(s3_url: str) -> None:
    blobs = S3Blobs(_target(s3_url))
    await blobs.put("segments/x", [b"x"])
    await blobs.delete("segments/x")
    client = blobs._client
    await asyncio.to_thread(client.remove_bucket, _target(s3_url).bucket)
    with pytest.raises(Unavailable):
        await blobs.put("segments/y", [b"y"])
    await blobs.put("segments/y", [b"y"])
    assert await blobs.read("segments/y", 0, 1) == b"y"
    blobs.close()


async def test_a_prefix_keeps_two_systems_in_one_bucket_apart(s3_url: str) -> None:
    first = S3Blobs(_target(s3_url.replace("?", "/mail/one?")))
    second = S3Blobs(_target(s3_url.replace("?", "/mail/two?")))
    await first.put("segments/x", [b"1"])
    await second.put("segments/x", [b"2"])
    assert await first.read("segments/x", 0, 1) == b"1"
    assert [blob.key async for blob in second.list("")] == ["segments/x"]
    assert [blob.key async for blob in S3Blobs(_target(s3_url)).list("mail/o")] == [
        "mail/one/segments/x"
    ]
    first.close()
    second.close()


async def test_a_wrong_secret_is_unavailable_and_never_shown(s3_url: str) -> None:
    blobs = S3Blobs(_target(s3_url.replace(":testing@", ":not-the-secret@")))
    await blobs.open()
    for call in (blobs.put("segments/x", [b"x"]), blobs.read("segments/x", 0, 1), blobs.probe()):
        with pytest.raises(Unavailable) as caught:
            await call
        assert "not-the-secret" not in str(caught.value)
        assert caught.value.__cause__ is None
    blobs.close()


async def test_octets_damaged_on_their_way_are_refused_by_the_store(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = S3Blobs(_target(s3_url))
    await blobs.open()

    class Flipped:
        def __init__(self, **_: object) -> None:
            self._real = hashlib.sha256()

        def update(self, octets: bytes) -> None:
            self._real.update(octets)

        def digest(self) -> bytes:
            return self._real.digest()[:16]

    monkeypatch.setattr(hashlib, "md5", Flipped)
    with pytest.raises(Unavailable, match="BadDigest"):
        await blobs.put("segments/x", [b"x"])
    monkeypatch.undo()
    assert [blob.key async for blob in blobs.list("")] == []
    blobs.close()
