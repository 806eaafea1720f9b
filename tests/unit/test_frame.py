"""Frames: what is written is read, and what is not a frame is told as such."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.model.envelope import RecordError, decode_record
from posthorn.model.frame import FrameError, decode_frame, encode_frame, frame_id
from posthorn.model.streams import (
    MOST_IN_FRAME,
    frame_subject,
    messages_under,
    role_of_subject,
    subject_in_frame,
)

RECORDS = st.lists(
    st.one_of(st.binary(max_size=50), st.sampled_from([b"", b"\n", b"{}\n"])),
    min_size=1,
    max_size=MOST_IN_FRAME,
)


@given(RECORDS)
def test_a_frame_reads_as_it_was_written(records: list[bytes]) -> None:
    assert decode_frame(encode_frame(records), len(records)) == records


@given(RECORDS, st.data())
def test_a_frame_cut_short_or_longer_does_not_read(
    records: list[bytes], data: st.DataObject
) -> None:
    frame = encode_frame(records)
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    for broken in (cut, frame + b"x"):
        with pytest.raises(FrameError):
            decode_frame(broken, len(records))


@given(st.binary(max_size=80), st.integers(-1, 70))
def test_any_bytes_read_or_are_refused(data: bytes, messages: int) -> None:
    for line in (b"", b'{"v":2,"lengths":', b'{"v":2,"lengths":[3]}\n'):
        with suppress(FrameError):
            assert len(decode_frame(line + data, messages)) == messages


@pytest.mark.parametrize(
    ("line", "messages"),
    [
        ({"v": 3, "lengths": [1]}, 1),
        ({"v": 2, "lengths": [1]}, 2),  # not what its subject announces
        ({"v": 2, "lengths": []}, 0),
        ({"v": 2, "lengths": [2, -1]}, 2),
        ({"v": 2, "lengths": [True]}, 1),
        ({"v": 2, "lengths": 1}, 1),
        ({"v": 2}, 1),
        ([2], 1),
        ({"v": 2, "lengths": [1] + [0] * MOST_IN_FRAME}, MOST_IN_FRAME + 1),  # without bound
    ],
)
def test_what_is_no_frame_is_refused(line: object, messages: int) -> None:
    with pytest.raises(FrameError):
        decode_frame(json.dumps(line).encode() + b"\nx", messages)


def test_a_frame_is_not_taken_for_a_record() -> None:
    with pytest.raises(RecordError, match="version 2"):
        decode_record(encode_frame([b"{}\n"]))


@pytest.mark.parametrize("number", [0, MOST_IN_FRAME + 1])
def test_a_frame_has_at_least_one_message_and_not_too_many(number: int) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        encode_frame([b"x"] * number)


def test_a_frame_is_known_by_its_messages_in_their_order() -> None:
    assert frame_id(["a", "b"]) == frame_id(["a", "b"]) != frame_id(["b", "a"])
    assert frame_id(["a", "b"]) != frame_id(["ab"])


def test_the_subject_of_a_frame_shows_publisher_and_count() -> None:
    subject = frame_subject("ingest.submission", 7)
    assert subject == "frames.submission.7"
    assert role_of_subject(subject_in_frame(subject)) == "submission"
    assert messages_under(subject) == 7


@pytest.mark.parametrize(
    ("subject", "messages"),
    [
        ("ingest.mx", 1),
        ("retry.7", 1),
        ("unscanned.mx", 1),
        ("frames.mx.65", 64),
        ("frames.mx.9999999999", 1),
        ("frames.mx.many", 1),
        ("frames.mx.\u0663", 1),
    ],
)
def test_what_a_subject_announces_is_bounded(subject: str, messages: int) -> None:
    assert messages_under(subject) == messages
