"""Any process of the running system may be killed at any moment: what got 250 is in the mailbox,
once."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from functools import partial

import httpx
import psutil
import pytest

from tests.chaos.system_load import Load, check_delivered
from tests.support.maildrop import Maildrop, RefusedError
from tests.support.polling import BUSY_SECONDS, START_SECONDS
from tests.support.system import BACKENDS, System, await_that

pytestmark = pytest.mark.timeout(600)

_numbers = itertools.count(1)
_UNSEEN = {"delivery", "pop3", "api", "postgres"}
"""What smtp-in does without (promise 2): while one of these dies, every message is accepted at
the first attempt."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("kills") / "home")
    running.start()
    yield running
    running.close()


@pytest.fixture
def drop(system: System) -> Maildrop:
    system.await_whole()
    return system.make_account(f"kills{next(_numbers)}@example.test")


def kill(system: System, name: str) -> psutil.Process:
    """SIGKILL to the part. Return the process that was started in its place, which serves."""
    victim = await_that(f"{name} runs", lambda: system.parts().get(name))
    victim.kill()

    def another() -> psutil.Process | None:
        found = system.parts().get(name)
        return found if found and found.pid != victim.pid else None

    successor = await_that(f"another {name} runs", another, timeout=START_SECONDS)
    service = "delivery" if name in BACKENDS else name
    await_that(f"{service} serves again", lambda: system.serves(service), timeout=START_SECONDS)
    return successor


@pytest.mark.parametrize("victim", ["smtp-in", "delivery", "pop3", "api", "nats", "postgres"])
def test_killing_one_part_again_and_again_loses_and_doubles_nothing(
    system: System, drop: Maildrop, victim: str
) -> None:
    chance = random.Random(f"kill {victim}")
    load = Load(system, [drop.address], least=300, large_every=40).start()
    for _ in range(3):
        load.await_more(5)
        time.sleep(chance.uniform(0, 0.6))
        kill(system, victim)
    outcome = load.finish()
    if victim in _UNSEEN:
        assert not outcome.deferred
    check_delivered(system, drop, outcome)
    system.await_whole()
    assert f"{victim} ended (killed by SIGKILL)" in system.said()


def test_a_session_cut_by_the_death_of_pop3_deletes_nothing_and_the_maildrop_is_free_within_thirty_seconds(
    system: System, drop: Maildrop
) -> None:
    for _ in range(3):
        system.send(b"Subject: to stay\r\n\r\ntext\r\n", drop.address)
    drop.await_mail(3)
    began = 0.0
    with pytest.raises((ConnectionError, RefusedError)), drop.session() as reader:
        reader.line("DELE 1")
        began = time.monotonic()
        kill(system, "pop3")
        reader.line("DELE 2")
    with drop.session(patience=30 + BUSY_SECONDS) as reader:
        assert len(reader.sizes()) == 3
    assert time.monotonic() - began < 30 + BUSY_SECONDS


def test_accounts_made_while_the_api_dies_all_take_mail(system: System, drop: Maildrop) -> None:
    made: list[str] = []
    stop = threading.Event()
    faults: list[str] = []

    def make() -> None:
        while not stop.is_set():
            address = f"made{next(_numbers)}@example.test"
            while not stop.is_set():
                try:
                    answer = system.api.post(
                        "/v1/accounts",
                        json={"address": address, "password": "a password for tests"},
                        headers={"Idempotency-Key": address},
                    )
                except httpx.HTTPError:
                    time.sleep(0.1)
                    continue
                if answer.status_code == 201:
                    made.append(address)
                    break
                if answer.status_code == 409 and "still running" in answer.text:
                    # the attempt that was killed holds its key for a minute: nothing was promised,
                    # take the next one
                    break
                if answer.status_code != 503:
                    faults.append(answer.text)
                    return
                time.sleep(0.1)

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    for _ in range(3):
        more = partial(lambda least: len(made) > least, len(made) + 2)
        await_that("accounts are made", more, START_SECONDS)
        kill(system, "api")
    stop.set()
    maker.join(30)
    assert not faults
    for address in made:
        await_that(f"{address} takes mail", partial(_takes, system, address), timeout=BUSY_SECONDS)


def _takes(system: System, address: str) -> bool:
    with system.smtp() as client:
        client.ehlo()
        client.mail("sender@example.org")
        return client.rcpt(address)[0] == 250
