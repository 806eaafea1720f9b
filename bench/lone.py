"""A lone message: nothing else is under way, the system has been at rest for a moment."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

from bench.load import readable_after
from bench.outbound import PROBED, SUBMITTER, Door, Watcher, call, hand_over
from bench.peers import Postfix
from bench.system import System

PROBES = 60
PAUSE_SECONDS = 0.5
"""Longer than any worker lingers: each message finds the relay idle."""


async def lone_out(door: Door, watcher: Watcher, probes: int) -> list[float]:
    """Return seconds from the 250 of submission until the next hop has the message, sorted."""
    server = await asyncio.start_server(watcher.serve, "127.0.0.1", watcher.port)
    watcher.arrived.clear()
    reader, writer = await door.open()
    found: list[float] = []
    for number in range(probes):
        await asyncio.sleep(PAUSE_SECONDS)
        found.append(await hand_over(reader, writer, watcher, f"lone{number}"))
    writer.close()
    server.close()
    return sorted(found)


def measure_lone(results: dict[str, Any], system: System, postfix: Postfix, probes: int) -> None:
    """Measure both sides, and after it ours to a reader over POP3."""
    watcher = Watcher()
    call(
        system,
        "POST",
        "/v1/routes",
        {"domain": PROBED, "host": "127.0.0.1", "port": watcher.port, "tls": "none"},
    )
    part: dict[str, Any] = {}
    postfix.relay_to({PROBED: watcher.port})
    doors = {
        "posthorn": Door(system.submission, (SUBMITTER, system.accounts[SUBMITTER])),
        "postfix": Door(postfix.port),
    }
    for name, door in doors.items():
        part[name] = _percentiles(asyncio.run(lone_out(door, watcher, probes)))
    user = "bob@example.test" if "bob@example.test" in system.accounts else SUBMITTER
    password = system.accounts[user]
    part["readable"] = _percentiles(
        sorted(readable_after(system.smtp, system.pop3, user, password, probes, PAUSE_SECONDS))
    )
    results["lone"] = part


def show_lone(part: dict[str, Any]) -> None:
    """Print the table."""
    print("A lone message, ms                          p50     p10     p99")
    labels = {
        "posthorn": "to the next host",
        "postfix": "Postfix",
        "readable": "to readable (POP3)",
    }
    for name, label in labels.items():
        one = part[name]
        print(f"  {label:<36} {one['p50_ms']:>8.1f}{one['p10_ms']:>8.1f}{one['p99_ms']:>8.1f}")
    print()


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    return {
        "p50_ms": 1000 * statistics.median(times),
        "p10_ms": 1000 * times[len(times) // 10],
        "p99_ms": 1000 * times[min(len(times) - 1, int(len(times) * 0.99))],
    }
