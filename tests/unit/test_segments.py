"""SegmentReader: the right octets, few reads, bounded memory, faults that say so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from posthorn.adapters.blobs.segments import GAP_LIMIT, RANGE_LIMIT, SegmentReader, coalesce
from posthorn.model.blob_range import BodyLocation
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from tests.conformance.twins import MemoryBlobs, locations, pack
from tests.support.polling import BUSY_SECONDS


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
async def reader(blobs: MemoryBlobs) -> AsyncIterator[SegmentReader]:
    made = SegmentReader(blobs)
    yield made
    await made.close()


async def stored(
    blobs: MemoryBlobs, messages: list[bytes], encoding: str = "identity"
) -> list[BodyLocation]:
    packed = pack(messages, encoding)
    await blobs.put(packed.key, [packed.octets])
    return locations(packed)


async def settled(reader: SegmentReader) -> None:
    """Wait until nothing is on its way."""
    async with asyncio.timeout(BUSY_SECONDS):
        while reader._tasks:
            await asyncio.sleep(0)


@pytest.mark.parametrize("encoding", ["identity", "zstd"])
async def test_neighbours_come_with_one_read(
    blobs: MemoryBlobs, reader: SegmentReader, encoding: str
) -> None:
    messages = [b"message %d\r\n" % number * 50 for number in range(40)]
    where = await stored(blobs, messages, encoding)
    assert reader.cached(where[0]) is None
    assert await reader.read(where[0], where[1:]) == messages[0]
    assert [reader.cached(location) for location in where] == messages
    assert len(blobs.reads) == 1


async def test_a_read_without_neighbours_takes_its_own_range_only(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    where = await stored(blobs, [b"one", b"two", b"three"])
    assert await reader.read(where[1]) == b"two"
    assert blobs.reads == [(where[1].key, 3, 3)]


async def test_other_segments_are_not_waited_for(blobs: MemoryBlobs, reader: SegmentReader) -> None:
    one, other = (await stored(blobs, [b"one"]))[0], (await stored(blobs, [b"other"]))[0]
    assert await reader.read(one, [other]) == b"one"
    assert reader.cached(other) is None


async def test_many_readers_of_one_message_make_one_read(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    where = await stored(blobs, [b"one", b"two"])
    blobs.hold = asyncio.Event()
    readers = [asyncio.create_task(reader.read(where[number % 2], where)) for number in range(20)]
    await asyncio.sleep(0)
    readers[0].cancel()  # one that gives up takes nothing from the others
    blobs.hold.set()
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [b"two", b"one"] * 9 + [b"two"]
    assert len(blobs.reads) == 1


async def test_prefetch_fills_the_cache_and_a_reader_joins_it(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    first, second = await stored(blobs, [b"one", b"two"]), await stored(blobs, [b"three"])
    reader.prefetch([*first, *second])
    assert await reader.read(second[0]) == b"three"
    await settled(reader)
    assert [reader.cached(location) for location in first] == [b"one", b"two"]
    assert len(blobs.reads) == 2
    reader.prefetch(first)
    await settled(reader)
    assert len(blobs.reads) == 2


async def test_prefetch_stops_at_its_budget_and_goes_on_when_that_is_free(
    blobs: MemoryBlobs,
) -> None:
    reader = SegmentReader(blobs, ahead_octets=250)
    where = [(await stored(blobs, [b"x" * 100]))[0] for _ in range(5)]
    reader.prefetch(where)
    await settled(reader)
    assert len(blobs.reads) == 2
    reader.prefetch(where)
    await settled(reader)
    assert len(blobs.reads) == 4


async def test_faults_of_prefetch_show_only_to_those_who_read(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    where = await stored(blobs, [b"one"])
    blobs.fault = Unavailable("blobs", "down")
    reader.prefetch(where)
    await settled(reader)
    with pytest.raises(Unavailable):
        await reader.read(where[0])
    blobs.fault = None
    assert await reader.read(where[0]) == b"one"


async def test_a_fault_that_is_no_unavailable_becomes_one(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    where = await stored(blobs, [b"one"])
    blobs.fault = OSError("secret detail")  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        await reader.read(where[0])


async def test_a_blob_that_has_moved_says_so(blobs: MemoryBlobs, reader: SegmentReader) -> None:
    where = await stored(blobs, [b"one"])
    await blobs.delete(where[0].key)
    with pytest.raises(BlobMissing):
        await reader.read(where[0])


async def test_the_cache_is_bounded_and_the_least_recently_used_go(blobs: MemoryBlobs) -> None:
    reader = SegmentReader(blobs, cache_octets=10 * 1200)
    where = [(await stored(blobs, [b"x" * 1000]))[0] for _ in range(11)]
    for location in where[:10]:
        await reader.read(location)
    assert reader.cached(where[0]) is not None  # used: the second is the oldest now
    await reader.read(where[10])
    assert [reader.cached(location) is None for location in where] == [False, True, *[False] * 9]


async def test_an_empty_message_needs_no_read(blobs: MemoryBlobs, reader: SegmentReader) -> None:
    where = await stored(blobs, [b""])
    assert await reader.read(where[0]) == b""
    assert [piece async for piece in reader.stream(where[0])] == []
    assert blobs.reads == []


async def test_a_cached_message_is_found_wherever_it_has_moved(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    where = await stored(blobs, [b"one"])
    await reader.read(where[0])
    assert reader.cached(replace(where[0], key="segments/elsewhere", offset=77)) == b"one"


@pytest.mark.parametrize(
    "change",
    [
        {"size": 99},
        {"encoding": "brotli"},
        {"encoding": "zstd"},
        {"offset": 1},
    ],
)
async def test_what_is_not_the_message_is_never_given(
    blobs: MemoryBlobs, reader: SegmentReader, change: dict[str, object]
) -> None:
    where = await stored(blobs, [b"a message of some length"])
    with pytest.raises(Unavailable):
        await reader.read(replace(where[0], **change))  # type: ignore[arg-type]


async def test_one_damaged_message_does_not_spoil_its_neighbours(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    messages = [os.urandom(500) for _ in range(3)]
    where = await stored(blobs, messages, "zstd")
    octets = bytearray(blobs.objects[where[0].key])
    octets[where[1].offset : where[1].offset + 4] = b"XXXX"
    blobs.objects[where[0].key] = bytes(octets)
    assert await reader.read(where[0], where) == messages[0]
    assert await reader.read(where[2]) == messages[2]
    with pytest.raises(Unavailable):
        await reader.read(where[1])


async def test_a_frame_that_announces_too_much_is_not_expanded(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    bomb = zstandard.compress(b"\0" * 50_000_000)
    await blobs.put("segments/bomb", [bomb])
    location = BodyLocation(new_id(), "segments/bomb", 0, len(bomb), "zstd", 1000, False)
    with pytest.raises(Unavailable, match="1000"):
        await reader.read(location)


# --- large messages
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["identity", "zstd"])
async def test_a_large_message_streams_and_is_not_cached(
    blobs: MemoryBlobs, reader: SegmentReader, encoding: str
) -> None:
    message = os.urandom(1_500_000)
    _, location = await stored(blobs, [b"before", message], encoding)
    assert not reader.whole(location)
    pieces = [piece async for piece in reader.stream(location)]
    assert b"".join(pieces) == message
    assert len(pieces) > 3
    assert max(map(len, pieces)) < 800_000
    assert reader.cached(location) is None


async def test_others_are_read_between_two_pieces_of_a_large_message(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    large, other, small = os.urandom(1_500_000), os.urandom(1_400_000), b"small " * 100
    one, two, three = await stored(blobs, [large, other, small], "zstd")
    first, second = reader.stream(one), reader.stream(two)
    got = {1: b"", 2: b""}
    for _ in range(3):
        got[1] += await anext(first)
        assert await reader.read(three) == small
        got[2] += await anext(second)
    got[1] += b"".join([piece async for piece in first])
    got[2] += b"".join([piece async for piece in second])
    assert got == {1: large, 2: other}


async def test_a_large_message_that_compresses_well_comes_in_pieces_of_bounded_size(
    blobs: MemoryBlobs, reader: SegmentReader
) -> None:
    message = b"\0" * 60_000_000
    (location,) = await stored(blobs, [message], "zstd")
    total, largest = 0, 0
    async for piece in reader.stream(location):
        total += len(piece)
        largest = max(largest, len(piece))
    assert total == len(message)
    assert largest <= 12 * 1024 * 1024


@pytest.mark.parametrize(
    ("encoding", "wrong"), [("identity", 1), ("identity", -1), ("zstd", 1), ("zstd", -1)]
)
async def test_a_stream_of_the_wrong_length_ends_in_a_fault(
    blobs: MemoryBlobs, reader: SegmentReader, encoding: str, wrong: int
) -> None:
    (location,) = await stored(blobs, [os.urandom(600_000)], encoding)
    received = 0
    with pytest.raises(Unavailable):
        async for piece in reader.stream(replace(location, size=location.size + wrong)):
            received += len(piece)
    assert received <= location.size


async def test_a_stream_can_be_given_up(blobs: MemoryBlobs, reader: SegmentReader) -> None:
    (location,) = await stored(blobs, [os.urandom(2_000_000)])
    pieces = reader.stream(location)
    await anext(pieces)
    await pieces.aclose()
    assert len(blobs.reads) < 3


# --- runs
# ------------------------------------------------------------------------------------------------------------


def at(offset: int, length: int, key: str = "k") -> BodyLocation:
    return BodyLocation(new_id(), key, offset, length, "identity", length, False)


def test_runs_are_split_at_gaps_keys_and_the_limit() -> None:
    first, near, far, other = (
        at(0, 10),
        at(10 + GAP_LIMIT, 10),
        at(30 + 2 * GAP_LIMIT, 10),
        at(0, 10, "other"),
    )
    assert coalesce([far, other, near, first], RANGE_LIMIT) == [[far], [other], [first, near]]
    assert coalesce([at(0, 10), at(10, 10), at(20, 10)], 20)[0][1].offset == 10
    assert [len(run) for run in coalesce([at(0, 10), at(10, 10), at(20, 10)], 20)] == [2, 1]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 5000), st.integers(0, 400)), max_size=30
    )
)
def test_every_wanted_message_is_in_exactly_one_run(wanted: list[tuple[str, int, int]]) -> None:
    where = [at(offset, length, key) for key, offset, length in wanted]
    runs = coalesce([*where, *where], 1000, gap_limit=50)
    assert sorted(location.message for run in runs for location in run) == sorted(
        each.message for each in where
    )
    for run in runs:
        assert len({location.key for location in run}) == 1
        span = max(each.offset + each.length for each in run) - min(each.offset for each in run)
        assert span <= 1000
