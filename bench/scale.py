"""What a message costs as processes are added, and what one stream and one Postgres can take.

The steps are measured on one machine, which has the same cores for one process and for eight: the
question is not how much faster eight are, but whether a message costs more CPU with them. Once all
that the machine takes is divided among more processes, so that each has less to do; once each
process has the same load, so that there is more of it, as where processes are added because mail
grew.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.ceilings import nats_ceiling, postgres_ceiling
from bench.fleet import LOADED, Fleet, Load, full_load, measured, steady_load, stores
from bench.load import MESSAGE
from bench.outbound import SINK, SUBMITTER, Door, Sink, call, hand_in
from bench.system import System

SMTP_IN = (1, 2, 4, 8)
DELIVERY = (1, 2, 4)
"""Measured with four smtp-in processes."""
GROWING = {
    "smtp_in": [(number, 1, 100) for number in SMTP_IN],
    "delivery": [(number, number, 200) for number in DELIVERY],
}
"""Processes of smtp-in and of delivery, and the messages a second that each of smtp-in has, by the
part that grows with the load."""
OWN_PARTS = {"smtp_in": ("smtp-in",), "delivery": ("delivery", "postgres")}
"""Whose cost must not rise as a part grows; that of all must not either."""
PARTITIONS = (1, 2, 4)
"""Of INGEST, measured with four smtp-in processes and one delivery process."""
LARGE = 65_536
"""Bytes of the messages that show what bytes cost."""
INBOUND = ("smtp-in", "delivery", "nats", "postgres", "api")
"""The parts that a message to a mailbox costs."""
RECIPIENT = "alice@example.test"


def measure_scale(
    results: dict[str, Any], system: System, directory: Path, rounds: int, *, quick: bool
) -> None:
    """Measure steps and ceilings; the results are those that ``bench.capacity`` computes with."""
    messages, seconds = (480, 1.0) if quick else (4000, 5.0)
    full = full_load(messages, RECIPIENT)
    fleet = Fleet(system)
    part: dict[str, Any] = {
        "message_bytes": MESSAGE,
        "large_bytes": LARGE,
        "rounds": rounds,
        "load_average": os.getloadavg()[0],
    }
    try:
        fleet.set_processes("smtp-in", max(SMTP_IN))
        for number in SMTP_IN:  # warm
            measured(fleet, number, full_load(160, RECIPIENT))
        rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for number in SMTP_IN:
                rows.setdefault((number, 1), []).append(measured(fleet, number, full))
            for number in DELIVERY:
                fleet.set_processes("delivery", number)
                rows.setdefault((4, number), []).append(measured(fleet, 4, full))
            fleet.set_processes("delivery", 1)
        part["steps"] = [
            {"smtp_in": smtp_in, "delivery": delivery, **median_of(found)}
            for (smtp_in, delivery), found in sorted(rows.items(), key=lambda item: item[0][::-1])
        ]
        part["growing"] = _growing(fleet, seconds * 2, rounds)
        large = full_load(messages // 4, RECIPIENT, _large_message(directory))
        part["large"] = measured(fleet, 1, large)
        part["out"] = _out(fleet, directory, messages // 2)
        part["partitions"] = _partitions(fleet, full, rounds)
    finally:
        fleet.stop()
    part["nats"] = nats_ceiling(directory / "ceiling-nats", seconds)
    part["postgres"] = postgres_ceiling(system, RECIPIENT, seconds)
    results["scale"] = part


def _growing(fleet: Fleet, seconds: float, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Return what a message costs as the load grows with the processes."""
    rows: dict[tuple[str, int, int, int], list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for part, steps in GROWING.items():
            for smtp_in, delivery, rate in steps:
                fleet.set_processes("delivery", delivery)
                load = steady_load(rate, seconds, RECIPIENT)
                found = rows.setdefault((part, smtp_in, delivery, rate), [])
                found.append(measured(fleet, smtp_in, load))
    fleet.set_processes("delivery", 1)
    grown: dict[str, list[dict[str, Any]]] = {part: [] for part in GROWING}
    for (part, smtp_in, delivery, rate), found in rows.items():
        step = {"smtp_in": smtp_in, "delivery": delivery, "rate_per_process": rate}
        grown[part].append(step | median_of(found))
    return grown


def _partitions(fleet: Fleet, load: Load, rounds: int) -> list[dict[str, Any]]:
    """Return what the number of partitions changes."""
    rows: dict[int, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for number in PARTITIONS:
            fleet.set_partitions(number)
            fleet.set_processes("smtp-in", 4)
            measured(fleet, 4, full_load(160, RECIPIENT))  # warm
            rows.setdefault(number, []).append(measured(fleet, 4, load))
    return [{"partitions": number, **median_of(found)} for number, found in rows.items()]


def median_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the round with the median of all parts' CPU, and that of the others beside it."""
    sums = [sum(one["cpu_ms_per_message"].values()) for one in rounds]
    middle = sums.index(statistics.median_low(sums))
    return {**rounds[middle], "cpu_ms_of_rounds": sums}


def _large_message(directory: Path) -> Path:
    path = directory / "large.eml"
    line = "x" * 76
    head = "Subject: large\n\n"
    # smtp-source makes CRLF of each LF
    path.write_text(head + f"{line}\n" * ((LARGE - len(head)) // (len(line) + 2)))
    return path


def _out(fleet: Fleet, directory: Path, messages: int) -> dict[str, Any]:
    """Submission to a sink by one process of each service."""
    system, sink = fleet.system, Sink(directory)
    sink.start()
    try:
        route = {"domain": SINK, "host": "127.0.0.1", "port": sink.port, "tls": "none"}
        call(system, "POST", "/v1/routes", route)
        door = Door(system.submission, (SUBMITTER, system.accounts[SUBMITTER]))
        for number in (100, messages):
            costs, wrote, taken = fleet.costs(), stores(system), sink.taken()
            own, began = time.process_time(), time.monotonic()
            asyncio.run(hand_in(door, number))
            client = time.process_time() - own
            while sink.taken() < taken + number:
                if time.monotonic() - began > 300:
                    raise RuntimeError("the messages did not come out within 300 s")
                time.sleep(0.05)
            took = time.monotonic() - began
            time.sleep(0.5)  # the last outcomes are recorded
    finally:
        sink.stop()
    after, written = fleet.costs(), stores(system)
    return {
        "messages": messages,
        "relayed_per_s": messages / took,
        "client_share_of_cores": client / took / (os.cpu_count() or 1),
        "cpu_ms_per_message": {
            name: 1000 * (after[name] - costs[name]) / messages for name in LOADED
        },
        "wal_bytes_per_message": (written.wal_bytes - wrote.wal_bytes) / messages,
        "stream_messages_per_message": (written.stream_messages - wrote.stream_messages) / messages,
    }


def spread(steps: list[dict[str, Any]]) -> float:
    """Return by how much the dearest step is above the cheapest, all parts together; 0.1 is a
    tenth."""
    sums = [float(sum(step["cpu_ms_per_message"].values())) for step in steps]
    return max(sums) / min(sums) - 1


def rise(steps: list[dict[str, Any]], part: str) -> float:
    """Return by how much the dearest step is above the first, in what the growing part costs or in
    what all parts cost, whichever rose more; 0 if none is dearer."""

    def most(names: Sequence[str]) -> float:
        sums = [sum(float(step["cpu_ms_per_message"][name]) for name in names) for step in steps]
        return max(sums) / sums[0] - 1

    return max(most(OWN_PARTS[part]), most(INBOUND))


def by_transaction(steps: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Return what delivery and Postgres cost together for a message and for a transaction, in CPU
    ms, as all steps say (least squares), and the largest part by which a step differs from that."""
    sizes = [float(step["transactions_per_message"]) for step in steps]
    found = [
        sum(float(step["cpu_ms_per_message"][part]) for part in ("delivery", "postgres"))
        for step in steps
    ]
    line = statistics.linear_regression(sizes, found)
    off = max(
        abs(cost - line.intercept - line.slope * size) / cost
        for size, cost in zip(sizes, found, strict=True)
    )
    return line.intercept, line.slope, off


def _show_step(step: dict[str, Any], summed: Iterable[str]) -> None:
    """Print a step's line; ``summed``: the parts whose costs are added up."""
    cpu = step["cpu_ms_per_message"]
    print(
        f"  {step['smtp_in']:>7} {step['delivery']:>8} {step['delivered_per_s']:>12.0f}"
        + "".join(f"{cpu[name]:>10.3f}" for name in INBOUND)
        + f"{sum(cpu[name] for name in summed):>8.2f}"
        f" {1 / step['stream_messages_per_message']:>11.1f}"
        f" {1 / step['transactions_per_message']:>12.1f} {step['client_share_of_cores']:>7.0%}"
    )


def show_scale(part: dict[str, Any]) -> None:
    """Print the tables."""
    print(
        f"CPU ms per message of {part['message_bytes']} bytes, median of {part['rounds']} rounds\n"
        f"  {'smtp-in':>7} {'delivery':>8} {'delivered/s':>12}"
        + "".join(f"{name:>10}" for name in INBOUND)
        + f"{'all':>8} {'in a frame':>11} {'transaction':>12} {'client':>7}"
    )
    for step in part["steps"]:
        _show_step(step, step["cpu_ms_per_message"])
    by_smtp_in = [step for step in part["steps"] if step["delivery"] == 1]
    by_delivery = [step for step in part["steps"] if step["smtp_in"] == 4]
    print(
        f"  from 1 to 8 smtp-in {spread(by_smtp_in):.0%}, from 1 to 4 delivery {spread(by_delivery):.0%}"
        " between the cheapest and the dearest (target: 10 %); client: its share of the cores"
    )
    message, transaction, off = by_transaction(part["steps"])
    print(
        f"  delivery and postgres: {message:.2f} ms a message and {transaction:.1f} ms a transaction;"
        f" the steps are within {off:.0%} of that\n"
    )
    print("CPU ms per message where each process has the same load")
    for name, steps in part["growing"].items():
        for step in steps:
            _show_step(step, INBOUND)
        print(f"  the dearest is {rise(steps, name):.0%} above the first (target: 10 %)")
    print("\nINGEST in partitions, 4 smtp-in processes and 1 delivery process")
    for step in part["partitions"]:
        cpu = step["cpu_ms_per_message"]
        print(
            f"  {step['partitions']} partitions: {step['accepted_per_s']:>6.0f} accepted/s,"
            f" {step['delivered_per_s']:>6.0f} delivered/s, CPU ms per message {sum(cpu.values()):.2f}"
            f" (nats {cpu['nats']:.3f}), {1 / step['stream_messages_per_message']:.1f} in a frame"
        )
    print("\nOne NATS server, every write synced, 4 KiB messages, on several streams")
    for row in part["nats"]:
        print(
            f"  {row['streams']} streams, {row['messages_per_stream_message']:>2} in a frame:"
            f" {row['stream_messages_per_s']:>6.0f} publishes/s, {row['messages_per_s']:>7.0f} messages/s,"
            f" {row['bytes_per_s'] / 2**20:>5.0f} MiB/s, server {row['server_cores']:.2f} cores,"
            f" client {row['client_share_of_cores']:.0%}"
        )
    print("\nOne Postgres, deliveries of 4 KiB messages to one mailbox, four transactions at once")
    for row in part["postgres"]:
        print(
            f"  {row['messages_per_transaction']:>2} in a transaction: {row['deliveries_per_s']:>6.0f} deliveries/s,"
            f" {row['commits_per_s']:>5.0f} commits/s, WAL {row['wal_bytes_per_s'] / 2**20:>5.1f} MiB/s"
            f" ({row['wal_bytes_per_message']:.0f} bytes a message), server {row['server_cores']:.2f} cores,"
            f" client {row['client_share_of_cores']:.0%}"
        )
    print()
