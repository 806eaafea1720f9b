"""Everything at once, and stores that do not answer: mail is accepted or deferred, never
refused, never lost."""

from __future__ import annotations

import signal
import smtplib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.chaos.system_load import Load, check_delivered
from tests.support.s3 import S3Server
from tests.support.system import System, await_that, running

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@contextmanager
def frozen(system: System, name: str) -> Iterator[None]:
    """SIGSTOP to a part with all its processes, as a machine that hangs."""
    part = system.parts()[name]
    family = [part, *part.children(recursive=True)]
    _signal(family, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(family, signal.SIGCONT)


def _signal(family: list[psutil.Process], number: int) -> None:
    for process in family:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def test_everything_killed_at_once_loses_and_doubles_nothing(home: Path) -> None:
    with running(System(home)) as system:
        drop = system.make_account("killed@example.test")
        load = Load(system, [drop.address], least=300, large_every=40).start()
        for pause in (0.3, 0.9):
            load.await_more(20)
            time.sleep(pause)
            system.kill()
            system.start()
        outcome = load.finish()
        check_delivered(system, drop, outcome)


def test_five_hundred_messages_arrive_while_postgres_hangs_and_are_delivered_when_it_returns(
    home: Path,
) -> None:
    with running(System(home)) as system:
        drop = system.make_account("patient@example.test")
        with frozen(system, "postgres"):
            load = Load(system, [drop.address], least=500, pause=0).start()
            outcome = load.finish()
            assert not outcome.deferred
            assert len(outcome.accepted) == 500
        check_delivered(system, drop, outcome)


def test_mail_is_accepted_while_postgres_and_s3_both_hang(home: Path, tmp_path: Path) -> None:
    store = S3Server(tmp_path / "s3")
    (tmp_path / "s3").mkdir()
    store.start()
    try:
        with running(System(home, {"POSTHORN_BLOBS": store.url("outage")})) as system:
            drop = system.make_account("patient@example.test")
            system.send(
                b"Subject: before\r\nMessage-ID: <0@load.example.org>\r\n\r\n.\r\n", drop.address
            )
            drop.await_mail(1)
            store.pause()
            with frozen(system, "postgres"):
                load = Load(system, [drop.address], least=200, pause=0).start()
                outcome = load.finish()
                assert not outcome.deferred
                assert _send_large(system, drop.address) == 451
            store.resume()
            outcome.accepted["0"] += 1
            check_delivered(system, drop, outcome)
            system.await_whole()
            assert _send_large(system, drop.address) == 250
            await_that("the large one is there", lambda: drop.count() == len(outcome.accepted) + 1)
    finally:
        store.resume()
        store.stop()


def _send_large(system: System, recipient: str) -> int:
    with smtplib.SMTP("127.0.0.1", system.ports["SMTP"], timeout=90) as client:
        client.ehlo()
        client.mail("sender@example.org")
        client.rcpt(recipient)
        code, _ = client.data(
            b"Message-ID: <1000000@load.example.org>\r\n\r\n" + b"x\r\n" * 300_000
        )
        return code
