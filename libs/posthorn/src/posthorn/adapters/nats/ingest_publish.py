"""What is published to INGEST: a message by itself, or a frame of several."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from posthorn.model.frame import encode_frame, frame_id
from posthorn.model.streams import frame_subject, in_partition
from posthorn.ports.errors import Full, Unavailable


@dataclass(eq=False, slots=True)
class QueuedMessage:
    """A message that its caller waits to see stored; ``kept`` is done when it is."""

    id: str
    subject: str
    record: bytes
    kept: asyncio.Future[None]
    pin: int | None = None
    """The partition that may have stored it."""
    is_queued: bool = False
    sent_in: Publish | None = None
    """The last publish that carried it, unless that was refused."""


@dataclass(eq=False, slots=True)
class Publish:
    """A stream message: a record, or a frame of several."""

    messages: list[QueuedMessage]
    id: str
    subject: str
    data: bytes
    partition: int = 0
    tried: set[int] = field(default_factory=set)
    """Partitions that have refused it."""
    fault: Unavailable | None = None
    """Why: a fault other than for want of room, if there was any."""
    unanswered: int = 0
    """How often it was sent without an answer: if ever, its partition may have stored it."""
    token: str = ""
    late_token: str = ""
    """The token under which it was taken for unanswered last."""
    sent_at: float = 0.0
    is_stored: bool = False

    @classmethod
    def of(cls, messages: list[QueuedMessage]) -> Publish:
        first = messages[0]
        if len(messages) == 1:
            return cls(messages, first.id, first.subject, first.record)
        return cls(
            messages,
            frame_id(message.id for message in messages),
            frame_subject(first.subject, len(messages)),
            encode_frame([message.record for message in messages]),
        )

    def refused(self, error: Unavailable) -> Unavailable:
        """Note that its partition did not store it this time; return the fault of all so far."""
        self.unanswered -= 1
        self.tried.add(self.partition)
        if self.fault is None or isinstance(self.fault, Full):
            self.fault = error
        return self.fault

    def still_wanted(self) -> Publish | None:
        """Return this publish without the messages whose callers have stopped waiting, as it was
        not stored: they have been told so. None when there are no others."""
        waiting = [message for message in self.messages if not message.kept.done()]
        if not waiting or len(waiting) == len(self.messages):
            return self if waiting else None
        rest = Publish.of(waiting)
        rest.partition, rest.tried, rest.fault = self.partition, self.tried, self.fault
        for message in waiting:
            message.sent_in = rest
        return rest

    @property
    def sent_to(self) -> str:
        """The subject in its partition."""
        return in_partition(self.subject, self.partition)
