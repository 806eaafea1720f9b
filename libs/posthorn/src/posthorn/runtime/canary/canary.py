"""Messages of the canary: what was sent, what was read of it, and what was not.

Rules:

- A message counts once it was accepted. It arrives when POP3 returns it, and its bytes, below the
  fields that servers put before them, are those that were sent.
- What is read is deleted at once, so that the mailbox stays empty.
- What was accepted and not read in time is lost; read after all it is late.
- A message whose sending failed may have been accepted all the same: it counts for nothing.
- Where the end of a POP3 session failed, its messages may be read again: that is no repetition.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

import structlog
from prometheus_client import Counter, Gauge, Histogram

from posthorn.runtime.canary.mail import FAULTS, MailClients
from posthorn.runtime.canary.settings import CanarySettings

log = structlog.get_logger()

MX: Final = "mx"
SUBMISSION: Final = "submission"
OUTCOMES: Final = ("sent", "arrived", "altered", "lost", "late", "repeated")

_messages = Counter(
    "posthorn_canary_messages_total",
    "Messages of the canary by the way they took: sent (accepted), arrived, altered, lost, late after"
    " they counted as lost, repeated",
    ["path", "outcome"],
)
_seconds = Histogram(
    "posthorn_canary_seconds",
    "From the final 250 until the canary has read the message",
    ["path"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
_faults = Counter(
    "posthorn_canary_faults_total", "Sessions of the canary that failed", ["protocol"]
)
_arrived_at = Gauge(
    "posthorn_canary_arrived_at_seconds",
    "When the last message arrived, in seconds since the epoch; at first the canary's start",
    ["path"],
)

_PAUSES = (0.25, 0.5, 1.0, 2.0, 5.0)
_REMEMBERED = 1000
_FIELD = re.compile(rb"^X-Posthorn-Canary: ([0-9a-f]{32})\r$", re.MULTILINE)
_HEADER_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class _Sent:
    path: str
    content: bytes
    accepted_at: float
    """Monotonic seconds."""


class Canary:
    """Sends, reads and counts; ``run`` is a supervised task."""

    def __init__(self, settings: CanarySettings) -> None:
        self._settings = settings
        self._clients = MailClients(settings)
        self._paths: dict[str, Callable[[bytes], None]] = {}
        if settings.canary_smtp is not None:
            self._paths[MX] = self._clients.send
        if settings.canary_submission is not None:
            self._paths[SUBMISSION] = self._clients.submit
        self._waiting: dict[str, _Sent] = {}
        self._lost: dict[str, str] = {}
        self._read: deque[str] = deque(maxlen=_REMEMBERED)
        self._unsure: deque[str] = deque(maxlen=_REMEMBERED)
        for path in self._paths:
            _arrived_at.labels(path).set_to_current_time()
            for outcome in OUTCOMES:
                _messages.labels(path, outcome)

    async def run(self) -> None:
        """Send and read for ever."""
        while True:
            ends_at = time.monotonic() + self._settings.canary_interval_seconds
            await asyncio.gather(*map(self.send, self._paths))
            tries = 0
            while True:
                await self.read()
                left = ends_at - time.monotonic()
                if left <= 0:
                    break
                pause = _PAUSES[min(tries, len(_PAUSES) - 1)] if self._waiting else left
                await asyncio.sleep(min(pause, left))
                if not self._waiting:
                    break
                tries += 1

    async def send(self, path: str) -> None:
        """Send one message."""
        name, content = self._message(path)
        try:
            await asyncio.to_thread(self._paths[path], content)
        except FAULTS as fault:
            self._failed("smtp" if path == MX else SUBMISSION, fault)
            self._unsure.append(name)
            return
        _messages.labels(path, "sent").inc()
        self._waiting[name] = _Sent(path, content, time.monotonic())

    async def read(self) -> None:
        """Read and delete what has come, and count what has not come in time."""
        by_imap = await self._peek() if self._settings.canary_imap is not None else {}
        found: list[bytes] = []
        try:
            await asyncio.to_thread(self._clients.take, found.append)
        except FAULTS as fault:
            self._failed("pop3", fault)
            self._unsure.extend(name for name in map(_name_of, found) if name)
        for content in found:
            self._take(content, by_imap)
        limit = time.monotonic() - self._settings.canary_lost_seconds
        for name, sent in list(self._waiting.items()):
            if sent.accepted_at < limit:
                del self._waiting[name]
                self._lost[name] = sent.path
                _messages.labels(sent.path, "lost").inc()
                log.error("a message is lost", path=sent.path, canary=name)
        while len(self._lost) > _REMEMBERED:
            del self._lost[next(iter(self._lost))]

    def _take(self, content: bytes, by_imap: dict[str, bytes]) -> None:
        name = _name_of(content)
        if name is None:
            return
        sent = self._waiting.pop(name, None)
        if sent is None:
            if name in self._lost:
                _messages.labels(self._lost.pop(name), "late").inc()
            elif name in self._read and name not in self._unsure:
                path = SUBMISSION if SUBMISSION.encode() in _subject_of(content) else MX
                _messages.labels(path, "repeated").inc()
                log.error("a message was there twice", path=path, canary=name)
            self._read.append(name)
            return
        self._read.append(name)
        is_same = content.endswith(sent.content) and by_imap.get(name, content) == content
        _messages.labels(sent.path, "arrived" if is_same else "altered").inc()
        if not is_same:
            log.error("a message was altered", path=sent.path, canary=name)
        _seconds.labels(sent.path).observe(time.monotonic() - sent.accepted_at)
        _arrived_at.labels(sent.path).set_to_current_time()

    async def _peek(self) -> dict[str, bytes]:
        try:
            found = await asyncio.to_thread(self._clients.peek)
        except FAULTS as fault:
            self._failed("imap", fault)
            return {}
        return {name: content for content in found if (name := _name_of(content))}

    def _message(self, path: str) -> tuple[str, bytes]:
        name = secrets.token_hex(16)
        settings = self._settings
        sender = settings.canary_sender if path == MX else settings.canary_address
        lines = [
            f"From: {sender}",
            f"To: {settings.canary_address}",
            f"Subject: canary by {path}",
            f"Date: {formatdate()}",
            f"Message-ID: <{name}@{sender.partition('@')[2]}>",
            f"X-Posthorn-Canary: {name}",
            "",
            "A message that checks the way of messages. It is read and deleted.",
            ".",
            "..with dots",
            *(secrets.token_hex(32) for _ in range(8)),
            "",
        ]
        return name, "\r\n".join(lines).encode()

    @staticmethod
    def _failed(protocol: str, fault: Exception) -> None:
        _faults.labels(protocol).inc()
        log.warning("a session failed", protocol=protocol, fault=type(fault).__name__)


def _name_of(content: bytes) -> str | None:
    found = _FIELD.search(content, 0, _HEADER_BYTES)
    return found[1].decode() if found else None


def _subject_of(content: bytes) -> bytes:
    found = re.search(rb"^Subject: ([^\r\n]*)", content[:_HEADER_BYTES], re.MULTILINE)
    return found[1] if found else b""
