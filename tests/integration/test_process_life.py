"""The life of a service process, in a real one: how it starts, what signals do, and with which
status it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from posthorn_local.embedded import die_with_parent, free_port
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS
from tests.support.service_process import environment


class Life:
    """A process under test and the log it writes."""

    def __init__(self, scene: str, **settings: str) -> None:
        self.health_port = free_port()
        self.lines: list[dict[str, Any]] = []
        ours = {
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": str(self.health_port),
            "GRACE_SECONDS": "5",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.life", scene],
            cwd=Path(__file__).parents[2],
            env=environment(ours, **settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent(),
        )
        assert self.process.stdout
        self._out = self.process.stdout.fileno()
        self._unread = b""

    def await_line(self, event: str, timeout: float = 2 * BUSY_SECONDS) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            while b"\n" in self._unread:
                text, _, self._unread = self._unread.partition(b"\n")
                self.lines.append(json.loads(text))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
            if select.select([self._out], [], [], 0.1)[0]:
                octets = os.read(self._out, 65_536)
                if not octets:
                    break
                self._unread += octets
        raise AssertionError(f"{event!r} was not logged: {self.lines}")

    def connect(self) -> socket.socket:
        port = next(line["port"] for line in self.lines if line["event"] == "listening")
        client = socket.create_connection(("127.0.0.1", port), timeout=BUSY_SECONDS)
        assert client.recv(100) == b"hello\n"
        return client

    def ready(self) -> httpx.Response:
        return httpx.get(
            f"http://127.0.0.1:{self.health_port}/readyz",
            trust_env=False,
            timeout=BUSY_SECONDS,
            verify=False,
        )

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self, timeout: float = 2 * BUSY_SECONDS) -> tuple[int, list[str], str]:
        """Wait for the end. Return status, events logged and standard error."""
        out, err = self.process.communicate(timeout=timeout)
        self.lines += [json.loads(line) for line in (self._unread + out).splitlines()]
        return self.process.returncode, [line["event"] for line in self.lines], err.decode()


@pytest.fixture
def live(request: pytest.FixtureRequest) -> Iterator[Any]:
    lives: list[Life] = []

    def begin(scene: str, **settings: str) -> Life:
        lives.append(Life(scene, **settings))
        return lives[-1]

    yield begin
    for life in lives:
        life.process.kill()
        life.process.wait()
        for stream in (life.process.stdout, life.process.stderr):
            if stream:
                stream.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_status_0(live: Any, number: int) -> None:
    life = live("plain")
    life.await_line("serving")
    client = life.connect()
    life.signal(number)
    status, events, err = life.end()
    assert (status, err) == (0, "")
    assert events == ["opened", "listening", "serving", "draining", "closed", "stopped"]
    assert client.recv(100) == b"goodbye\n"
    assert client.recv(100) == b""
    client.close()


def test_ready_while_serving_and_not_while_draining(live: Any) -> None:
    life = live("plain", DRAIN_DELAY_SECONDS="3")
    life.await_line("serving")
    assert life.ready().status_code == 200
    life.signal()
    life.await_line("draining")
    answer = life.ready()
    assert (answer.status_code, answer.json()["draining"]) == (503, True)
    life.connect().close()  # balancers that have not noticed yet still reach it
    assert life.end()[0] == 0


def test_not_ready_before_it_has_started(live: Any) -> None:
    life = live("slow start")
    life.await_line("waiting")
    answer = life.ready()
    assert (answer.status_code, answer.json()["started"]) == (503, False)


def test_a_client_that_stays_is_cut_after_the_grace_period(live: Any) -> None:
    life = live("plain", GRACE_SECONDS="0.3")
    life.await_line("serving")
    client = life.connect()
    client.sendall(b"stay\n")
    assert client.recv(100) == b"you said stay\n"
    began = time.monotonic()
    life.signal()
    status, events, _ = life.end()
    assert status == 0
    assert time.monotonic() - began > 0.3
    assert "sessions cut at the end of the grace period" in events
    client.close()


def test_a_second_signal_ends_it_at_once(live: Any) -> None:
    life = live("plain", GRACE_SECONDS=str(LONG_SECONDS))
    life.await_line("serving")
    client = life.connect()
    client.sendall(b"stay\n")
    client.recv(100)
    life.signal()
    life.await_line("draining")
    assert life.process.poll() is None
    life.signal()
    assert life.end()[0] == 128 + signal.SIGTERM
    client.close()


def test_a_thread_that_hangs_does_not_hold_up_the_end(live: Any) -> None:
    life = live("hung thread")
    life.await_line("serving")
    life.signal()
    status, events, err = life.end()
    assert (status, events[-1], err) == (0, "stopped", "")


def test_a_signal_gives_up_a_start_that_takes_long(live: Any) -> None:
    life = live("slow start")
    life.await_line("waiting")
    life.signal()
    status, events, err = life.end()
    assert (status, err) == (0, "")
    assert events == ["opened", "waiting", "stopped before it served", "closed", "stopped"]


@pytest.mark.parametrize("scene", ["fail", "fail while starting"])
def test_a_task_that_fails_ends_the_process_with_status_1(live: Any, scene: str) -> None:
    life = live(scene)
    status, events, err = life.end()
    assert (status, err) == (1, "")
    failed = life.lines[events.index("task failed, stopping")]
    assert failed["task"] == "work"
    assert "the task has a bug" in failed["exception"]
    assert events[-2:] == ["closed", "stopped"]


def test_a_task_that_ends_by_itself_ends_the_process(live: Any) -> None:
    status, events, _ = live("finish").end()
    assert (status, events[-1]) == (0, "stopped")


def test_a_task_that_fails_on_the_way_out_hinders_nothing(live: Any) -> None:
    life = live("bad end")
    life.await_line("serving")
    life.signal()
    status, events, err = life.end()
    assert (status, err) == (0, "")
    assert "task failed while it was stopped" in events
    assert events[-2:] == ["closed", "stopped"]


def test_a_start_that_fails_ends_with_status_1_and_closes_what_was_open(live: Any) -> None:
    life = live("no start")
    status, events, err = life.end()
    assert (status, err) == (1, "")
    assert events == ["opened", "could not start", "closed"]


def test_bad_settings_end_it_with_a_message_and_no_traceback(live: Any) -> None:
    status, _, err = live("plain", HEALTH_PORT="hidden").end()
    assert status == 1
    assert "POSTHORN_HEALTH_PORT" in err
    assert "Traceback" not in err
    assert "hidden" not in err


def test_settings_found_bad_during_the_start_end_it_the_same_way(live: Any) -> None:
    status, events, err = live("bad settings").end()
    assert status == 1
    assert err.startswith("refusing to start:\n  POSTHORN_BLOBS: ")
    assert "Traceback" not in err
    assert "hidden" not in err
    assert events[-1] == "closed"


def test_a_health_port_that_is_taken_is_named(live: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, err = live("plain", HEALTH_PORT=str(taken.getsockname()[1])).end()
    assert status == 1
    assert err.startswith("refusing to start: POSTHORN_HEALTH_PORT")
    assert "Traceback" not in err
