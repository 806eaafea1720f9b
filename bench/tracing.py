"""What tracing costs: the same messages into systems that trace none, one in a hundred, and each.

Theory:

- The systems run side by side and take rounds in turn; a receiver of OTLP runs as a process of its
  own. Of each round the CPU of smtp-in and delivery counts, over that of the system without tracing
  in the same turn, and the median of the turns. A round ends when its spans are exported: each
  holds an export, which takes its time whatever it holds.
- Two systems that trace alike differ by up to 4 % as long as they run, and one in a hundred costs
  less. Its figure is put together: the CPU of all threads but the main ones, of which one exports,
  above that of the system without tracing, and a hundredth of what tracing each message costs the
  main threads.
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
from dataclasses import dataclass
from multiprocessing.connection import Connection
from operator import truediv
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


@dataclass(frozen=True, slots=True)
class Cpu:
    """Milliseconds of CPU per message."""

    main: float
    """Of the main threads."""
    others: float


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
        turns: dict[str, list[Cpu]] = {name: [] for name in systems}
        for number in range(2 if quick else TURNS):
            order = list(systems.items())
            for name, system in order if number % 2 else reversed(order):
                turns[name].append(_cpu_ms(system, messages))
    off = turns["off"]
    check_us = check_seconds() * 1e6
    all_of = {name: [each.main + each.others for each in of] for name, of in turns.items()}
    results["tracing"] = {
        "cpu_ms_per_message": {name: statistics.median(of) for name, of in all_of.items()},
        "cpu_ms_per_message_all": all_of,
        "more_percent": {
            name: 100 * (statistics.median(map(truediv, of, all_of["off"])) - 1)
            for name, of in all_of.items()
            if name != "off"
        },
        "one_in_100_percent": 100 * one_in_100(off, turns["1 in 100"], turns["each"]),
        "checks": checks(),
        "check_us": check_us,
        "off_percent": 100 * checks() * check_us / 1000 / statistics.median(all_of["off"]),
    }


def one_in_100(off: list[Cpu], one: list[Cpu], each: list[Cpu]) -> float:
    """Return what tracing one message in a hundred costs, as a part of what a message costs
    without, by the medians of turns."""
    exports = statistics.median(
        (ours.others - without.others) / (without.main + without.others)
        for ours, without in zip(one, off, strict=True)
    )
    spans = statistics.median(
        (ours.main - without.main) / (without.main + without.others)
        for ours, without in zip(each, off, strict=True)
    )
    return exports + spans / 100


def _cpu_ms(system: System, messages: int) -> Cpu:
    """Send a round; return the CPU per message of the parts that trace."""
    pids, delivered = [system.parts()[part] for part in _PARTS], system.delivered()
    before = [_threads(pid) for pid in pids]
    smtp_source(system.smtp, messages, RECIPIENT, kept=True)
    while system.delivered() < delivered + messages:
        time.sleep(0.05)
    time.sleep(5.5)  # spans are exported every five seconds
    main = others = 0
    for pid, was in zip(pids, before, strict=True):
        for thread, nanoseconds in _threads(pid).items():
            spent = nanoseconds - was.get(thread, 0)
            main, others = (main + spent, others) if thread == pid else (main, others + spent)
    return Cpu(main / messages / 1e6, others / messages / 1e6)


def _threads(pid: int) -> dict[int, int]:
    """Return the CPU of each thread of a process in nanoseconds."""
    return {
        int(thread.name): int((thread / "schedstat").read_text().split()[0])
        for thread in Path(f"/proc/{pid}/task").iterdir()
    }


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
        f"  1 in 100, by its threads and a hundredth of each: {part['one_in_100_percent']:.2f} %\n"
        f"  off: {part['checks']} questions in the sources, {1000 * part['check_us']:.0f} ns each:"
        f" {part['off_percent']:.2f} %\n"
    )
