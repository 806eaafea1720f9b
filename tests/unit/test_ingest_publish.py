"""What goes on of a publish that a partition refused, and with which fault it fails in the end."""

from __future__ import annotations

import asyncio

from posthorn.adapters.nats.ingest_publish import Publish, QueuedMessage
from posthorn.ports.errors import Full, Unavailable


def queued(*names: str) -> list[QueuedMessage]:
    loop = asyncio.get_running_loop()
    return [QueuedMessage(name, "ingest.mx", name.encode(), loop.create_future()) for name in names]


async def test_a_message_whose_sender_was_told_of_a_fault_is_not_stored_elsewhere() -> None:
    messages = queued("a", "b", "c")
    frame = Publish.of(messages)
    frame.partition, frame.tried = 2, {2}
    assert frame.sent_to == "partition.2.frames.mx.3"
    assert frame.still_wanted() is frame
    messages[1].kept.cancel()
    rest = frame.still_wanted()
    assert rest is not None
    assert (rest.sent_to, rest.tried) == ("partition.2.frames.mx.2", {2})
    assert [message.id for message in rest.messages] == ["a", "c"]
    assert rest.id != frame.id
    assert messages[0].sent_in is messages[2].sent_in is rest
    messages[2].kept.cancel()
    alone = rest.still_wanted()
    assert alone is not None
    assert (alone.sent_to, alone.data, alone.id) == ("partition.2.ingest.mx", b"a", "a")
    messages[0].kept.cancel()
    assert alone.still_wanted() is None


async def test_want_of_room_is_the_fault_only_when_no_partition_had_another() -> None:
    full, away = Full("nats", "full"), Unavailable("nats", "no stream")
    publish = Publish.of(queued("a"))
    publish.unanswered = 1
    assert publish.refused(full) is full
    assert (publish.unanswered, publish.tried) == (0, {0})
    publish.partition, publish.unanswered = 1, 1
    assert publish.refused(away) is away
    publish.partition, publish.unanswered = 2, 1
    assert publish.refused(full) is away
    assert publish.tried == {0, 1, 2}
