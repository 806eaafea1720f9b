"""What each service costs before its first message: CPU until it is ready, memory at rest.

Local mode copies its services from a template. Measured here are processes beside them that are
started as in the images, by themselves.
"""

from __future__ import annotations

import compileall
import time
from pathlib import Path
from typing import Any

import psutil

from bench.fleet import await_ready, end, start_beside
from bench.system import HEALTH, System

TARGET_CPU_SECONDS = 1.0
TARGET_RESIDENT_MIB = 100
REST_SECONDS = 10.0
_SOURCES = (Path(__file__).parents[1] / "libs", Path(__file__).parents[1] / "services")


def measure_start(results: dict[str, Any], directory: Path, rounds: int) -> None:
    """Start local mode, ``rounds`` times after one that makes state and accounts; take each
    service's CPU when all are ready, and its resident memory after a rest. The least of the rounds
    counts: other work on the machine only adds."""
    for source in _SOURCES:
        compileall.compile_dir(source, quiet=2)  # as in the images
    part: dict[str, dict[str, Any]] = {name: {"cpu": [], "resident": []} for name in HEALTH}
    for number in range(rounds + 1):
        system = System(directory / "start")
        try:
            system.start()
            if number == 0:
                continue
            copies = {name: start_beside(system, name) for name in HEALTH}
            for name, copy in copies.items():
                await_ready(copy)
                times = psutil.Process(copy.process.pid).cpu_times()
                part[name]["cpu"].append(times.user + times.system)
            results["ready_after_s"] = system.ready_after
            time.sleep(REST_SECONDS)
            for name, copy in copies.items():
                memory = psutil.Process(copy.process.pid).memory_info()
                part[name]["resident"].append(memory.rss / 2**20)
                end(copy)
        finally:
            system.stop()
    results["start"] = {
        name: {
            "cpu_s": min(one["cpu"]),
            "cpu_s_all": one["cpu"],
            "resident_mib": min(one["resident"]),
            "resident_mib_all": one["resident"],
        }
        for name, one in part.items()
    }


def show_start(part: dict[str, Any]) -> None:
    """Print the table."""
    print(
        f"Start of a service                 CPU s to ready (target {TARGET_CPU_SECONDS:.0f})"
        f"    MiB at rest (target {TARGET_RESIDENT_MIB})"
    )
    for name, one in part.items():
        rounds = ", ".join(f"{seconds:.2f}" for seconds in one["cpu_s_all"])
        print(f"  {name:<32} {one['cpu_s']:>6.2f} ({rounds}) {one['resident_mib']:>20.0f}")
    print()
