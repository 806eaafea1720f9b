"""The canary against the running system: messages arrive unaltered, those that do not are seen, and
its mailbox stays empty."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from posthorn_local.embedded import die_with_parent, free_port
from tests.support.maildrop import Maildrop
from tests.support.polling import BUSY_SECONDS, START_SECONDS
from tests.support.service_process import environment
from tests.support.system import System, await_that

_RUN = "from posthorn.runtime.canary.main import main; main()"
ADDRESS, PASSWORD = "canary@example.test", "secret of the canary"


class Watched:
    """The canary as a process of its own."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"

    def counted(self, outcome: str) -> dict[str, float]:
        """Messages with an outcome, by path; empty while the canary does not answer."""
        try:
            page = httpx.get(self._url, timeout=BUSY_SECONDS, trust_env=False, verify=False).text
        except httpx.HTTPError:
            return {}
        return {
            sample.labels["path"]: sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == "posthorn_canary_messages_total"
            and sample.labels["outcome"] == outcome
        }


@pytest.fixture(scope="module")
def drop(system: System) -> Maildrop:
    return system.make_account(ADDRESS, PASSWORD)


@pytest.fixture(scope="module")
def canary(
    system: System, drop: Maildrop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    port, ports = free_port(), system.ports
    variables = environment(
        HEALTH_HOST="127.0.0.1",
        HEALTH_PORT=str(port),
        CANARY_ADDRESS=drop.address,
        CANARY_PASSWORD=drop.password,
        CANARY_SMTP=f"127.0.0.1:{ports['SMTP']}",
        CANARY_SUBMISSION=f"127.0.0.1:{ports['SUBMISSIONS']}",
        CANARY_POP3=f"127.0.0.1:{ports['POP3S']}",
        CANARY_IMAP=f"127.0.0.1:{ports['IMAPS']}",
        CANARY_CERTIFICATE=str(system.home / "tls" / "tls.crt"),
        CANARY_INTERVAL_SECONDS="1",
        CANARY_LOST_SECONDS="12",
    )
    log = Path(tmp_path_factory.mktemp("canary")) / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=die_with_parent(),
        )
    yield Watched(port)
    process.terminate()
    assert process.wait(2 * BUSY_SECONDS) == 0, log.read_text()


def test_messages_arrive_by_both_ways_unaltered(canary: Watched, drop: Maildrop) -> None:
    arrived = await_that(
        "two arrived by each way",
        lambda: (
            found
            if len(found := canary.counted("arrived")) == 2 and min(found.values()) >= 2
            else None
        ),
        START_SECONDS,
    )
    assert arrived.keys() == {"mx", "submission"}
    for outcome in ("altered", "repeated"):
        assert canary.counted(outcome) == {"mx": 0, "submission": 0}, outcome


def test_messages_that_are_accepted_and_not_delivered_are_seen_as_lost(
    system: System, canary: Watched, drop: Maildrop
) -> None:
    delivery = system.parts()["delivery"]
    delivery.send_signal(signal.SIGSTOP)
    try:
        await_that("lost by each way", lambda: all(canary.counted("lost").values()), START_SECONDS)
    finally:
        delivery.send_signal(signal.SIGCONT)
    await_that("late by each way", lambda: all(canary.counted("late").values()), START_SECONDS)
    arrived = canary.counted("arrived")
    await_that(
        "they arrive again",
        lambda: all(value > arrived[path] for path, value in canary.counted("arrived").items()),
        START_SECONDS,
    )
    assert set(canary.counted("altered").values()) == {0}
    assert set(canary.counted("repeated").values()) == {0}


def test_the_mailbox_of_the_canary_stays_empty(system: System, canary: Watched) -> None:
    assert sum(canary.counted("arrived").values()) > 4
    found = await_that(
        "an empty mailbox",
        lambda: system.account(ADDRESS) if not system.account(ADDRESS)["used_messages"] else None,
    )
    assert found["used_bytes"] == 0
