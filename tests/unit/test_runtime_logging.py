"""Logs are JSON lines, whoever writes them; ids are in order of time."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import pytest

from posthorn.runtime.ids import new_id
from posthorn.runtime.log_stream import MOST_CHARACTERS, LogStream
from posthorn.runtime.logging import STRANGERS_A_MINUTE

_SPEAK = """
import logging, structlog
from posthorn.runtime.logging import configure_logging
configure_logging("pop3", "{level}")
log = structlog.get_logger()
log.debug("quiet")
log.bind(message="0190").info("stored", octets=5, text="line\\nfeed \\udc80 ä", odd=object)
try:
    raise ValueError("broken")
except ValueError:
    log.exception("failed")
logging.getLogger("urllib3").info("chatter")
logging.getLogger("asyncio").error("a library %s", "speaks")
"""


def _lines(level: str) -> list[dict[str, Any]]:
    spoken = subprocess.run(
        [sys.executable, "-c", _SPEAK.format(level=level)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert spoken.stderr == ""
    return [json.loads(line) for line in spoken.stdout.splitlines()]


def test_every_line_is_an_object_with_time_level_and_service() -> None:
    lines = _lines("info")
    assert [line["event"] for line in lines] == ["stored", "failed", "a library speaks"]
    assert [line["level"] for line in lines] == ["info", "error", "error"]
    for line in lines:
        assert line["service"] == "pop3"
        assert line["time"].endswith("Z")
    assert (lines[0]["message"], lines[0]["octets"], lines[0]["text"]) == (
        "0190",
        5,
        "line\nfeed \udc80 ä",
    )
    assert "ValueError: broken" in lines[1]["exception"]


@pytest.mark.parametrize(("level", "events"), [("debug", 4), ("warning", 2), ("error", 2)])
def test_the_level_is_obeyed(level: str, events: int) -> None:
    assert len(_lines(level)) == events


def test_ids_are_version_7_and_in_order_of_time() -> None:
    first = new_id()
    before = time.time_ns() // 1_000_000
    many = [new_id() for _ in range(2000)]
    after = time.time_ns() // 1_000_000
    assert len(set(many)) == 2000
    for number in many:
        assert (number.version, number.variant) == (7, "specified in RFC 4122")
        assert before <= number.int >> 80 <= after
    time.sleep(0.002)
    assert first < new_id()


_SPEAK_IN_A_LOOP = """
import asyncio, os, structlog
from posthorn.runtime.log_stream import DELAY_SECONDS, MOST_CHARACTERS
from posthorn.runtime.logging import configure_logging
configure_logging("pop3", "info")
log = structlog.get_logger()
async def main():
    {body}
asyncio.run(main())
{after}
"""


def _written(body: str, after: str = "os._exit(0)") -> list[str]:
    """Return the events that were written by the time of ``os._exit``, which writes nothing more."""
    spoken = subprocess.run(
        [
            sys.executable,
            "-c",
            _SPEAK_IN_A_LOOP.format(body="\n    ".join(body.splitlines()), after=after),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line)["event"] for line in spoken.stdout.splitlines()]


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ("log.info('a'); os._exit(0)", []),
        ("log.info('a'); log.info('b'); await asyncio.sleep(2 * DELAY_SECONDS)", ["a", "b"]),
        ("log.info('a'); log.warning('b'); log.info('c'); os._exit(0)", ["a", "b"]),
        ("log.info('a'); log.info('x' * MOST_CHARACTERS); os._exit(0)", ["a", "x" * 64 * 1024]),
        ("log.info('a'); await asyncio.to_thread(log.info, 'b'); os._exit(0)", ["a", "b"]),
    ],
)
def test_lines_of_a_loop_are_written_together_and_trouble_at_once(
    body: str, written: list[str]
) -> None:
    assert _written(body) == written


@pytest.mark.parametrize("after", ["", "raise SystemExit(0)", "log.info('b')\nos._exit(0)"])
def test_no_line_is_left_when_the_loop_or_the_process_ends(after: str) -> None:
    assert _written("log.info('a')", after) == ["a", "b"][: 2 if "b" in after else 1]


def test_a_loop_that_ends_does_not_keep_the_lines_of_the_next() -> None:
    after = "async def next():\n    log.info('b'); await asyncio.sleep(2 * DELAY_SECONDS); os._exit(0)\nasyncio.run(next())"
    assert _written("log.info('a')", after) == ["a", "b"]


def test_random_bits_differ_in_a_forked_child() -> None:
    made = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os\nfrom posthorn.runtime.ids import new_id\nnew_id()\nif os.fork():\n    os.wait()\n"
            "print(new_id().int & (1 << 62) - 1, flush=True)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(set(made.stdout.split())) == 2


async def test_nothing_is_collected_for_a_stream_that_is_closed() -> None:
    under = io.StringIO()
    stream = LogStream(under)
    under.close()
    for _ in range(1000):
        stream.write("x" * 1000)
    assert sum(map(len, stream._lines)) <= MOST_CHARACTERS


_SPEAK_OF_FAULTS = """
import structlog
from posthorn.ports.errors import Unavailable
from posthorn.runtime import logging
from posthorn.runtime.logging import configure_logging
configure_logging("pop3", "info")
log = structlog.get_logger()
away = Unavailable("postgres", "no answer in time")
for number in range(5):
    log.warning("login not possible", message=number, fault=away)
log.warning("login not possible", fault=Unavailable("postgres", "refused"))
log.warning("lease not renewed", fault=away)
log.warning("login not possible", fault=Unavailable("nats"))
log.warning("a lookup failed", fault=TimeoutError())
log.warning("a name", fault="ValueError")
log.warning("a name", fault="ValueError")
logging._SAME_AGAIN_SECONDS = 0
log.warning("login not possible", message=6, fault=away)
log.warning("login not possible", message=7, fault=away)
"""


def test_of_the_lines_about_one_fault_one_a_minute_is_written_with_how_many_were_left_out() -> None:
    spoken = subprocess.run(
        [sys.executable, "-c", _SPEAK_OF_FAULTS], capture_output=True, text=True, check=True
    )
    keys = ("event", "part", "detail", "message", "repeated", "fault")
    lines = [
        {key: line[key] for key in keys if key in line}
        for line in map(json.loads, spoken.stdout.splitlines())
    ]
    away = {"part": "postgres", "detail": "no answer in time"}
    login = {"event": "login not possible"}
    assert lines == [
        {**login, **away, "message": 0},
        {**login, "part": "postgres", "detail": "refused"},
        {"event": "lease not renewed", **away},
        {**login, "part": "nats", "detail": "does not answer"},
        {"event": "a lookup failed", "detail": "no answer in time"},
        {"event": "a name", "fault": "ValueError"},
        {"event": "a name", "fault": "ValueError"},
        {**login, **away, "message": 6, "repeated": 4},
        {**login, **away, "message": 7},
    ]


_SPEAK_OF_STRANGERS = """
import itertools, logging as standard, structlog
from posthorn.runtime import logging
from posthorn.runtime.logging import STRANGERS_A_MINUTE, configure_logging
configure_logging("smtp-in", "info")
log = structlog.get_logger()
library = standard.getLogger("library")
tasks = itertools.count()
def speak():
    for client in ("192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2"):
        log.info("refused", reason="bad-line", stranger=client)
    log.info("refused", reason="sequence", stranger="192.0.2.1")
    log.info("login", outcome="wrong", client="192.0.2.1")
    library.warning("careful, %s", "you")
    try:
        {}["a key"]
    except KeyError:
        library.exception("it failed\\nTask-%d", next(tasks))
speak()
speak()
for number in range(3 * STRANGERS_A_MINUTE):
    log.info("no TLS", stranger=f"198.51.{number >> 8}.{number & 255}")
logging._SAME_AGAIN_SECONDS = 0
speak()
log.info("no TLS", stranger="203.0.113.1")
"""


def test_what_strangers_do_and_libraries_say_is_logged_a_few_times_a_minute() -> None:
    spoken = subprocess.run(
        [sys.executable, "-c", _SPEAK_OF_STRANGERS], capture_output=True, text=True, check=True
    )
    written = [json.loads(line) for line in spoken.stdout.splitlines()]
    keys = ("event", "reason", "client", "repeated", "left_out")
    lines = [{key: line[key] for key in keys if key in line} for line in written]
    no_tls = [line for line in lines if line["event"] == "no TLS"]
    assert len(no_tls) == STRANGERS_A_MINUTE + 1
    assert no_tls[-1] == {
        "event": "no TLS",
        "client": "203.0.113.1",
        "left_out": 2 * STRANGERS_A_MINUTE,
    }
    bad = {"event": "refused", "reason": "bad-line"}
    first, second = {**bad, "client": "192.0.2.1"}, {**bad, "client": "2001:db8::1"}
    third = {"event": "refused", "reason": "sequence", "client": "192.0.2.1"}
    login = {"event": "login", "client": "192.0.2.1"}
    said, failed = {"event": "careful, you"}, {"event": "it failed"}
    for line in lines:
        line["event"] = line["event"].partition("\n")[0]
    assert [line for line in lines if line not in no_tls] == [
        *(first, second, third, login, said, failed, login),
        {**first, "repeated": 3},
        first,
        {**second, "repeated": 3},
        {**bad, "client": "2001:db8::2"},
        {**third, "repeated": 1},
        login,
        {**said, "repeated": 1},
        {**failed, "repeated": 1},
    ]


class _Disk(io.StringIO):
    """A file on a disk that may be full."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_full_disk_fails_nobody_who_logs_and_what_is_missing_is_said_once() -> None:
    missing: list[int] = []
    under = _Disk()
    stream = LogStream(under, on_lost=missing.append)
    stream.write("first\n")
    under.is_full = True
    stream.write("second\n")
    stream.write("third\n")
    stream.flush()
    assert missing == []
    under.is_full = False
    stream.write("fourth\n")
    stream.write("fifth\n")
    assert (missing, under.getvalue()) == ([2], "first\n\nfourth\nfifth\n")


def test_the_line_that_says_how_many_are_missing_is_an_object_like_the_others() -> None:
    script = """
import resource, signal, sys, structlog
from posthorn.runtime.logging import configure_logging
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
configure_logging("pop3", "info")
log = structlog.get_logger()
log.info("before")
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50, most))
for _ in range(3):
    log.error("no room")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
log.info("after")
"""
    with tempfile.TemporaryFile() as file:
        subprocess.run([sys.executable, "-c", script], stdout=file, check=True)
        file.seek(0)
        lines = file.read().decode().splitlines()
    after = [json.loads(line) for line in lines if line.endswith("}")]
    assert [line["event"] for line in after][-2:] == ["after", "log lines could not be written"]
    assert after[-1]["lines"] == 3
