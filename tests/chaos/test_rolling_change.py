"""A rolling change under load: every process is replaced, one after the other, and nobody loses
anything by it.

What a sender may see is what it tries again after: 421 at the end of a session, or a connection
that ends where none of its messages can be in doubt. What nobody may see: a permanent reply, a
message that is missing or there twice, an empty maildrop.
"""

from __future__ import annotations

import re
import smtplib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthorn_local.embedded import Nats
from tests.chaos.fleet import FIRST, Fleet, Repeated, fleet
from tests.chaos.system_load import Load, settle
from tests.support.maildrop import Maildrop, RefusedError
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, START_SECONDS
from tests.support.sink import Sink
from tests.support.system import await_that

pytestmark = pytest.mark.timeout(900)

_RECIPIENT = "everywhere@example.test"
"""An alias of two accounts here and an address elsewhere."""


@pytest.fixture
def stores(nats: Nats, database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "POSTHORN_NATS_URL": nats.url,
        "POSTHORN_DATABASE_URL": database_url,
        "POSTHORN_BLOBS": f"file://{tmp_path / 'blobs'}",
    }


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    server.start()
    yield server
    server.stop()


def number_of(head: bytes) -> str:
    found = re.search(rb"^Message-ID: <(\d+)@load", head, re.MULTILINE)
    assert found, head
    return found[1].decode()


def take_all(drop: Maildrop) -> Counter[str]:
    """Read what is there and delete it, as a mail client does."""
    taken: list[str] = []
    with drop.session(patience=2 * BUSY_SECONDS) as reader:
        for number in reader.sizes():
            taken.append(number_of(reader.message(number)))
            reader.line(f"DELE {number}")
    return Counter(taken)  # QUIT was answered: they are gone


class Taker:
    """A mail client that empties a maildrop again and again. A session that ends before QUIT was
    sent has deleted nothing."""

    def __init__(self, drop: Maildrop) -> None:
        self.taken: Counter[str] = Counter()
        self._drop = drop
        self._lock = threading.Lock()

    def visit(self) -> None:
        try:
            found = take_all(self._drop)
        except (RefusedError, ConnectionError) as error:
            # told, or cut: only what follows tells whether it was deleted, and nothing is unless
            # QUIT was said
            assert isinstance(error, ConnectionError) or "[SYS/TEMP]" in str(error), str(error)
            return
        with self._lock:
            self.taken += found


@pytest.fixture
def running(stores: dict[str, str], sink: Sink, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path, stores) as made:
        made.make("/v1/domains", name="example.test")
        made.make("/v1/routes", domain="sink.test", host="127.0.0.1", port=sink.port, tls="none")
        yield made


def test_every_process_is_replaced_under_load_and_each_message_is_everywhere_once(
    running: Fleet, sink: Sink
) -> None:
    kept, emptied = (
        running.make_account("kept@example.test"),
        running.make_account("emptied@example.test"),
    )
    targets = [kept.address, emptied.address, "someone@sink.test"]
    running.make("/v1/aliases", address=_RECIPIENT, targets=targets)
    await_that("the alias takes mail", lambda: _takes(running, _RECIPIENT))
    taker = Taker(emptied)
    load = Load(
        running,
        [_RECIPIENT],
        least=200,
        clients=3,
        pause=0.03,
        large_every=60,
        patience=2 * LONG_SECONDS,
    ).start()
    callers = Repeated(lambda: _takes(running, _RECIPIENT))
    reading = Repeated(taker.visit, pause=0.2)
    for service in FIRST:
        for instance in [one for one in running.instances if one.service == service]:
            load.await_more(5)
            running.replace(instance)
    outcome = load.finish()
    callers.finish()

    assert not outcome.refused
    assert set(outcome.deferred) <= {"421"}, outcome.deferred
    assert not callers.faults  # somebody who connects at any moment is served
    assert callers.done > 50
    assert not running.balancer.refused

    expected = Counter(list(outcome.accepted))
    await_that(
        "all messages went out", lambda: len(_at(sink)) >= len(expected), timeout=START_SECONDS
    )
    await_that("all messages arrived", lambda: kept.count() >= len(expected), timeout=START_SECONDS)
    await_that(
        "all messages were taken", lambda: len(taker.taken) >= len(expected), timeout=START_SECONDS
    )
    reading.finish()
    settle(lambda: len(sink.taken) + kept.count())
    assert not reading.faults
    assert _at(sink) == expected
    assert _in(kept) == expected
    assert taker.taken + _in(emptied) == expected
    assert running.account(kept.address)["used_messages"] == len(expected)


def test_a_session_past_the_grace_period_is_told_421_and_one_that_ends_its_message_in_time_is_kept(
    stores: dict[str, str], tmp_path: Path
) -> None:
    with fleet(
        tmp_path,
        stores,
        ("smtp-in", "delivery", "pop3"),
        grace_seconds="10",
        drain_delay_seconds="0",
    ) as running:
        running.make("/v1/domains", name="example.test")
        drop = running.make_account("slow@example.test")
        await_that("the account takes mail", lambda: _takes(running, drop.address))
        edge = next(one for one in running.instances if one.service == "smtp-in")
        slow, quick, idle = (_session(edge.port) for _ in range(3))
        for client in (slow, quick):
            client.mail("load@example.org")
            client.rcpt(drop.address)
            assert client.docmd("DATA")[0] == 354
            client.send(b"Message-ID: <1@load.example.org>\r\n\r\nbegun\r\n")
        began = time.monotonic()
        edge.terminate()
        assert idle.getreply()[0] == 421
        quick.send(b"ended\r\n.\r\n")
        assert quick.getreply()[0] == 250
        assert quick.getreply()[0] == 421
        assert slow.getreply()[0] == 421
        assert time.monotonic() - began >= 10
        assert edge.process.wait(BUSY_SECONDS) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", edge.port), timeout=5)
        drop.await_mail(1)
        settle(drop.count)
        assert drop.count() == 1


def _session(port: int) -> smtplib.SMTP:
    client = smtplib.SMTP(
        "127.0.0.1", port, local_hostname="client.example.org", timeout=BUSY_SECONDS
    )
    client.ehlo()
    return client


def _takes(running: Fleet, address: str) -> bool:
    """Connect, name a recipient, leave. Raises what the server said instead of 250."""
    with running.smtp() as client:
        client.ehlo()
        client.mail("sender@example.org")
        code, text = client.rcpt(address)
        if code == 550:
            return False
        assert code == 250, (code, text)
        return True


def _at(sink: Sink) -> Counter[str]:
    return Counter(number_of(one.content) for one in sink.taken_by("someone@sink.test"))


def _in(drop: Maildrop) -> Counter[str]:
    with drop.session(patience=2 * BUSY_SECONDS) as reader:
        return Counter(number_of(head) for head in reader.tops(list(reader.sizes())))
