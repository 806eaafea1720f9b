"""Containers die and stores hang while mail comes in: nothing that got 250 is lost or doubled."""

from __future__ import annotations

import pytest

from tests.chaos.system_load import Load, check_delivered
from tests.containers.composed import ComposedSystem
from tests.support.maildrop import Maildrop
from tests.support.system import await_that

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

_UNSEEN = {"submission", "delivery", "relay", "pop3", "imap", "api", "postgres", "s3"}
"""What smtp-in does without: while one of these dies, every message is accepted at the first
attempt (promise 2)."""


_VICTIMS = (
    ("smtp-in",),
    ("submission", "relay", "pop3", "imap", "api"),
    ("delivery",),
    ("postgres",),
    ("nats",),
    ("s3",),
    ("balancer",),
)


@pytest.mark.parametrize("victims", _VICTIMS, ids="-".join)
def test_a_container_killed_under_load_is_started_again_and_nothing_is_lost(
    system: ComposedSystem, drop: Maildrop, victims: tuple[str, ...]
) -> None:
    system.await_whole()
    load = Load(system, [drop.address], least=150, clients=3).start()
    for victim in victims:
        before = load.sent()
        await_that("mail flows", lambda before=before: load.sent() > before + 10, timeout=40)  # type: ignore[misc]
        system.crash(victim)
    before = load.sent()
    await_that("mail flows again", lambda: load.sent() > before + 10, timeout=40)
    outcome = load.finish()
    if _UNSEEN.issuperset(victims):
        assert not outcome.deferred
    system.await_whole()  # a store that still starts is told to readers as [SYS/TEMP]
    check_delivered(system, drop, outcome)


def test_mail_is_accepted_while_postgres_and_s3_hang_and_appears_when_they_go_on(
    system: ComposedSystem, drop: Maildrop
) -> None:
    system.await_whole()
    system.send(
        b"Subject: before\r\nMessage-ID: <0@load.example.org>\r\n\r\ntext\r\n", drop.address
    )
    drop.await_mail(1)
    drop.empty()
    system.pause("postgres", "s3")
    try:
        load = Load(system, [drop.address], least=100, clients=3).start()
        outcome = load.finish()
        assert len(outcome.accepted) >= 100
        assert not outcome.deferred
    finally:
        system.resume("postgres", "s3")
    system.await_whole()
    check_delivered(system, drop, outcome)
