"""What tracing costs: the same messages into systems that trace none, one in a hundred, and each.

Theory:

- The systems run side by side and take rounds in turn; a receiver of OTLP runs as a process of its
  own. Of each round the CPU of smtp-in and delivery counts, over that of the system without tracing
  in the same turn; the median of the turns is the figure, and at least a hundredth of what tracing
  each message costs: one in a hundred costs less than turns differ. A round ends when its spans
  are exported: each holds an export, which takes its time whatever it holds.
- Without an endpoint there is nothing to switch off and to compare with. What is left are the
  comparisons at call sites: all that are in the sources, as if each message met every one of them,
  at the time of the dearest form. That is more than a message meets.
"""

from __future__ import annotations

import multiprocessing
import re
import statistics
import time
import timeit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.support.trace_receiver import receiving

from bench.load import smtp_source
from bench.system import System
from posthorn.runtime import traces
from posthorn.runtime.ids import new_id

RECIPIENT = "alice@example.test"
TURNS = 9
"""Rounds of each system: one varies by more than tracing costs."""
MESSAGES = 4000
"""Most messages of a round."""
_RATIOS = {"off": None, "1 in 100": "0.01", "each": "1"}
_PARTS = ("smtp-in", "delivery")
_CHECK = re.compile(r"traces\.(?:tracer is|if_sampled\(|timed\()")
_ROOT = Path(__file__).parent.parent


def measure_tracing(
    results: dict[str, Any], directory: Path, messages: int, *, quick: bool
) -> None:
    """Measure turns of all systems, and what a comparison costs."""
    messages = min(messages, MESSAGES)
    with ExitStack() as stack:
        endpoint = stack.enter_context(_receiver())
        systems: dict[str, System] = {}
        for name, ratio in _RATIOS.items():
            traced = {"POSTHORN_OTLP_ENDPOINT": endpoint, "POSTHORN_TRACE_RATIO": ratio or ""}
            environment = {"POSTHORN_SMTP_SCAN": "false"} | (traced if ratio else {})
            systems[name] = System(directory / f"tracing-{name.replace(' ', '-')}", environment)
            stack.callback(systems[name].stop)
            systems[name].start()
            _cpu_ms(systems[name], messages)  # it warms
        results["ready_after_s"] = systems["off"].ready_after
        turns: dict[str, list[float]] = {name: [] for name in systems}
        for number in range(2 if quick else TURNS):
            order = list(systems.items())
            for name, system in order if number % 2 else reversed(order):
                turns[name].append(_cpu_ms(system, messages))
    off = statistics.median(turns["off"])
    check_us = check_seconds() * 1e6
    dearer = {name: 100 * more(each, turns["off"]) for name, each in turns.items() if name != "off"}
    results["tracing"] = {
        "cpu_ms_per_message": {name: statistics.median(each) for name, each in turns.items()},
        "cpu_ms_per_message_all": turns,
        "more_percent": dearer,
        "one_in_100_percent": max(dearer["1 in 100"], dearer["each"] / 100),
        "checks": checks(),
        "check_us": check_us,
        "off_percent": 100 * checks() * check_us / 1000 / off,
    }


def more(ours: list[float], off: list[float]) -> float:
    """Return how much more one system costs than the other, by the median of turns."""
    return statistics.median(one / other for one, other in zip(ours, off, strict=True)) - 1


def _cpu_ms(system: System, messages: int) -> float:
    """Send a round; return milliseconds of CPU per message of the parts that trace."""
    before, delivered = system.costs(), system.delivered()
    smtp_source(system.smtp, messages, RECIPIENT, kept=True)
    while system.delivered() < delivered + messages:
        time.sleep(0.05)
    time.sleep(5.5)  # spans are exported every five seconds
    after = system.costs()
    return sum(1000 * (after[part].cpu - before[part].cpu) for part in _PARTS) / messages


def checks() -> int:
    """Return the number of places in the services and the library that ask whether to trace."""
    sources = [*(_ROOT / "libs").rglob("*.py"), *(_ROOT / "services").rglob("src/**/*.py")]
    return sum(len(_CHECK.findall(source.read_text())) for source in sources)


def check_seconds(number: int = 200_000) -> float:
    """Return the time of the dearest of these questions, where there is no endpoint."""
    message, asked = new_id(), traces.if_sampled
    assert asked(message) is None
    return min(timeit.repeat(lambda: asked(message), number=number, repeat=5)) / number


def _receive(ready: Connection) -> None:
    with receiving() as receiver:
        ready.send(receiver.endpoint)
        while not ready.poll(1):
            receiver.spans.clear()
            receiver.raw.clear()


@contextmanager
def _receiver() -> Iterator[str]:
    """Run a receiver in a process; return its endpoint."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_receive, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def show_tracing(part: dict[str, Any]) -> None:
    """Print the table."""
    print("Tracing                         CPU ms per message, smtp-in and delivery")
    for name, cpu in part["cpu_ms_per_message"].items():
        turns = ", ".join(f"{each:.3f}" for each in part["cpu_ms_per_message_all"][name])
        more = part["more_percent"].get(name)
        said = "" if more is None else f"{more:+.1f} %"
        print(f"  {name:<26} {cpu:>8.3f} {said:>9}   ({turns})")
    print(
        f"  off: {part['checks']} questions in the sources, {1000 * part['check_us']:.0f} ns each:"
        f" {part['off_percent']:.2f} %\n"
    )
