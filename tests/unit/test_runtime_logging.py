"""Logs are JSON lines, whoever writes them; ids are in order of time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from posthorn.runtime.ids import new_id

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
