"""Which partition takes the next publish, and how partitions are named."""

from __future__ import annotations

import pytest

from posthorn.adapters.nats.partition_choice import (
    FIRST_SECONDS,
    LAST_SECONDS,
    PartitionChoice,
    Pins,
)
from posthorn.model import streams
from tests.support.clock import Clock


def test_publishes_go_round_from_any_start() -> None:
    choice = PartitionChoice(3, start=2)
    assert [choice.pick() for _ in range(6)] == [2, 0, 1, 2, 0, 1]
    assert len({PartitionChoice(64).pick() for _ in range(200)}) > 1
    assert PartitionChoice(1).pick() == 0


def test_none_is_tried_twice_by_one_publish() -> None:
    choice = PartitionChoice(3, start=0)
    tried: set[int] = set()
    while (partition := choice.pick((), tried)) is not None:
        tried.add(partition)
    assert tried == {0, 1, 2}


def test_one_that_fails_is_passed_over_for_longer_each_time_and_then_on_trial() -> None:
    clock = Clock()
    choice = PartitionChoice(2, start=0, clock=clock)
    for seconds in (FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS):
        for _ in range(64):  # all that was in flight to it
            choice.failed(1)
        clock.now += seconds - 0.1
        assert {choice.pick() for _ in range(4)} == {0}
        clock.now += 0.2
        assert {choice.pick() for _ in range(4)} == {0, 1}
        assert (choice.is_on_trial(0), choice.is_on_trial(1)) == (False, True)
    for _ in range(20):
        choice.failed(1)
        clock.now += LAST_SECONDS
    assert {choice.pick() for _ in range(4)} == {0, 1}
    choice.stored(1)
    assert not choice.is_on_trial(1)
    choice.failed(1)
    clock.now += FIRST_SECONDS
    assert {choice.pick() for _ in range(4)} == {0, 1}


def test_where_all_fail_none_is_passed_over_and_what_is_stuck_comes_last() -> None:
    choice = PartitionChoice(3, start=0, clock=Clock())
    for partition in range(3):
        choice.failed(partition)
    assert {choice.pick() for _ in range(3)} == {0, 1, 2}
    assert not any(choice.is_on_trial(partition) for partition in range(3))
    assert {choice.pick({0, 2}) for _ in range(3)} == {1}
    assert choice.pick({0, 1, 2}, {0, 1}) == 2
    choice.forget()
    assert list(choice.in_order({1}))[-1] == 1


def test_a_message_in_doubt_is_pinned_for_a_while_and_their_number_is_bounded() -> None:
    clock = Clock()
    pins = Pins(clock)
    pins.pin("a", 3)
    pins.pin("b", 0)
    assert (pins.of("a"), pins.of("b"), pins.of("c")) == (3, 0, None)
    pins.unpin("b")
    assert pins.of("b") is None
    clock.now += 121
    assert pins.of("a") is None
    for number in range(5000):
        pins.pin(str(number), 1)
    assert pins.of("0") is None
    assert pins.of("4999") == 1
    assert len(pins._pins) == 4096


def test_the_first_partition_has_the_names_that_ingest_always_had() -> None:
    assert (streams.ingest_stream(0), streams.ingest_stream(7)) == ("INGEST", "INGEST_7")
    assert streams.in_partition("ingest.mx", 0) == "ingest.mx"
    for partition in (0, 1, 63):
        subject = streams.in_partition("ingest.mx", partition)
        stream = streams.ingest_stream(partition)
        assert streams.partition_of_stream(stream) == partition == streams.partition_of(subject)
        assert streams.stream_of(subject) == stream
        frame = streams.frame_subject(subject, 7)
        assert frame == streams.in_partition("frames.mx.7", partition)
        assert streams.is_frame(frame)
        assert not streams.is_frame(subject)
        assert streams.messages_under(frame) == 7
        assert streams.subject_in_frame(frame) == subject
        retry = streams.retry_subject(subject)
        assert retry == streams.in_partition("retry.mx", partition)
        assert streams.is_retry(retry)
        waiting = streams.in_partition(streams.unscanned_subject("mx"), partition)
        assert streams.first_lane(waiting) == subject
        assert streams.role_of_subject(retry) == "mx"


@pytest.mark.parametrize(
    "name", ["INGEST_64", "INGEST_0", "INGEST_01", "INGEST_x", "INGEST_", "INGEST_²", "DEAD", "X_1"]
)
def test_other_streams_are_no_partitions(name: str) -> None:
    assert streams.partition_of_stream(name) is None


@pytest.mark.parametrize("subject", ["partition.64.ingest.mx", "partition.x", "partition."])
def test_a_subject_of_no_partition_is_told(subject: str) -> None:
    with pytest.raises(ValueError, match="no partition"):
        streams.partition_of(subject)
