"""A bounded stream of mail from clients that try again like any MTA, and the account of what must
have arrived.

A client cannot know the fate of a message when the connection broke, or a 4xx came, after the end
of data (RFC 1047): it sends it again, and the mailbox may hold it once more for each such time.
Everything else must be there exactly once.
"""

from __future__ import annotations

import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.maildrop import Maildrop
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, START_SECONDS
from tests.support.system import System, await_that

_LARGE = b"".join(b"%063d\r\n" % line for line in range(9_600))
"""More than rides in the stream: such a body is a blob of its own before the 250."""


@dataclass(slots=True)
class Outcome:
    """What the clients saw."""

    accepted: Counter[str] = field(default_factory=Counter)
    """Message numbers by how often they got 250."""
    uncertain: Counter[str] = field(default_factory=Counter)
    """Message numbers by how often their fate was not told."""
    deferred: Counter[str] = field(default_factory=Counter)
    """Replies 4xx, and ``connection``, by how often."""
    refused: list[str] = field(default_factory=list)
    """Permanent replies. There must be none (promise 3)."""


class Door(Protocol):
    """Where mail is handed in."""

    def smtp(self, timeout: float = 30.0) -> smtplib.SMTP:
        """A new session."""
        ...


class Load:
    """Clients that send until ``finish`` is called, and at least ``least`` messages."""

    def __init__(
        self,
        system: Door,
        recipients: list[str],
        *,
        least: int = 300,
        clients: int = 4,
        pause: float = 0.01,
        large_every: int = 0,
        patience: float = LONG_SECONDS,
    ) -> None:
        """``patience``: seconds from now after which clients give up."""
        self._system = system
        self._recipients = recipients
        self._least = least
        self._pause = pause
        self._large_every = large_every
        self._lock = threading.Lock()
        self._next = 0
        self._finishing = threading.Event()
        self._given_up_at = time.monotonic() + patience
        self.outcome = Outcome()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def start(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def sent(self) -> int:
        """Messages that got 250 so far."""
        with self._lock:
            return len(self.outcome.accepted)

    def await_more(self, number: int) -> None:
        """Wait until more than so many further messages got 250."""
        before = self.sent()
        await_that("mail flows", lambda: self.sent() > before + number, START_SECONDS)

    def finish(self, timeout: float = 4 * BUSY_SECONDS) -> Outcome:
        """Let the clients come to an end; every message they began has its 250 then."""
        self._finishing.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), (
            f"clients still try: {dict(self.outcome.deferred)}, {self.outcome.refused[:3]}"
        )
        return self.outcome

    def _client(self) -> None:
        session: smtplib.SMTP | None = None
        while (number := self._take()) is not None:
            octets = self._message(number)
            while not self._over():
                session, done = self._attempt(session, number, octets)
                if done:
                    break
                time.sleep(0.1)
            time.sleep(self._pause)
        if session:
            session.close()

    def _over(self) -> bool:
        return time.monotonic() > self._given_up_at or bool(self.outcome.refused)

    def _take(self) -> int | None:
        with self._lock:
            if self._over() or (self._finishing.is_set() and self._next >= self._least):
                return None
            self._next += 1
            return self._next

    def _message(self, number: int) -> bytes:
        large = self._large_every and number % self._large_every == 0
        head = (
            b"From: load@example.org\r\nSubject: number <%d>\r\nMessage-ID: <%d@load.example.org>\r\n\r\n"
            % (
                number,
                number,
            )
        )
        return head + (_LARGE if large else b"text %d\r\n" % number * (1 + number % 50))

    def _attempt(
        self, session: smtplib.SMTP | None, number: int, octets: bytes
    ) -> tuple[smtplib.SMTP | None, bool]:
        name, in_data = str(number), False
        try:
            if session is None:
                session = self._system.smtp(timeout=30)
                self._expect(session.ehlo(), 250)
            self._expect(session.mail("load@example.org"), 250)
            for recipient in self._recipients:
                self._expect(session.rcpt(recipient), 250)
            in_data = True
            self._expect(session.data(octets), 250)
        except _Answer as answer:
            with self._lock:
                if answer.code >= 500:
                    self.outcome.refused.append(str(answer))
                self.outcome.deferred[str(answer.code)] += 1
                self.outcome.uncertain[name] += in_data
            assert session is not None
            session.close()
            return None, False
        except (OSError, smtplib.SMTPException) as error:
            code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
            with self._lock:
                self.outcome.deferred[str(code) if code > 0 else "connection"] += 1
                self.outcome.uncertain[name] += in_data
                if code >= 500:
                    self.outcome.refused.append(str(error))
            if session:
                session.close()
            return None, False
        with self._lock:
            self.outcome.accepted[name] += 1
        return session, True

    @staticmethod
    def _expect(reply: tuple[int, bytes], code: int) -> None:
        if reply[0] != code:
            raise _Answer(*reply)


class _Answer(Exception):
    def __init__(self, code: int, text: bytes) -> None:
        super().__init__(f"{code} {text.decode(errors='replace')}")
        self.code = code


def check_delivered(
    system: System, drop: Maildrop, outcome: Outcome, timeout: float = 4 * BUSY_SECONDS
) -> None:
    """Wait until all of it has arrived; then each is there once, doubled only where its fate was
    uncertain, quota exact."""
    assert not outcome.refused, outcome.refused[:3]
    expected = len(outcome.accepted)
    deadline = time.monotonic() + timeout
    while (found := _present(drop)).keys() != outcome.accepted.keys():
        assert found.keys() <= outcome.accepted.keys(), found.keys() - outcome.accepted.keys()
        assert time.monotonic() < deadline, f"{len(found)} of {expected} after {timeout:.0f} s"
        time.sleep(0.2)
    settle(lambda: sum(_present(drop).values()))
    present = _present(drop)
    doubled = {
        number: count for number, count in present.items() if count > 1 + outcome.uncertain[number]
    }
    assert not doubled, f"delivered too often: {doubled}"
    account = system.account(drop.address)
    sizes = drop.sizes()
    assert account["used_bytes"] == sum(sizes)
    assert account["used_messages"] == len(sizes)


def settle(value: Callable[[], int], still: float = 1.0) -> None:
    """Wait until a value has not changed for a while: what the stream redelivers late would
    show."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < still:
        time.sleep(0.1)
        now = value()
        if now != last:
            last, since = now, time.monotonic()


def _present(drop: Maildrop) -> Counter[str]:
    found: Counter[str] = Counter()
    with drop.session(patience=2 * BUSY_SECONDS) as reader:
        for head in reader.tops(list(reader.sizes())):
            name = re.search(rb"^Message-ID: <(\d+)@load", head, re.MULTILINE)
            assert name, head
            found[name[1].decode()] += 1
    return found
