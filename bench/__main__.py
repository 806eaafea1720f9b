"""Run the benchmark: `python -m bench [--quick] [--messages N] [--rounds N] [--blobs URL]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.api import measure_api
from bench.connections import measure_connections
from bench.imap import measure_imap
from bench.load import hold_idle, paced_load, pop3_logins, pop3_read, readable_after, smtp_source
from bench.lone import PROBES, measure_lone, show_lone
from bench.outbound import SUBMISSION_ENVIRONMENT, measure_outbound
from bench.peers import ADDRESS, PASSWORD, Dovecot, Postfix
from bench.report import show
from bench.scale import measure_scale, show_scale
from bench.scan import measure_scan
from bench.start import measure_start, show_start
from bench.system import System, cost
from bench.targets import show_targets
from bench.tracing import measure_tracing, show_tracing

RECIPIENT = "alice@example.test"
PROBE = "bob@example.test"
READER = "reader@example.test"


def inbound_posthorn(system: System, messages: int, *, kept: bool) -> dict[str, Any]:
    """One round of messages into Posthorn."""
    before, costs = system.delivered(), system.costs()
    puts = system.counter("delivery", "posthorn_delivery_puts_total")
    transactions = system.counter("delivery", "posthorn_delivery_transactions_total")
    began = time.monotonic()
    accepted = smtp_source(system.smtp, messages, RECIPIENT, kept=kept)
    while system.delivered() < before + messages:
        time.sleep(0.02)
    took = time.monotonic() - began
    after = system.costs()
    return {
        "accepted_per_s": messages / accepted,
        "delivered_per_s": messages / took,
        "puts_per_message": (system.counter("delivery", "posthorn_delivery_puts_total") - puts)
        / messages,
        "transactions_per_message": (
            system.counter("delivery", "posthorn_delivery_transactions_total") - transactions
        )
        / messages,
        "cpu_ms_per_message": {
            name: 1000 * (after[name].cpu - costs[name].cpu) / messages for name in after
        },
    }


def inbound_postfix(postfix: Postfix, messages: int, *, kept: bool) -> dict[str, Any]:
    """The same round into Postfix."""
    postfix.empty()
    cpu = cost(postfix.root_pid).cpu
    began = time.monotonic()
    accepted = smtp_source(postfix.port, messages, ADDRESS, kept=kept)
    while postfix.delivered() < messages:
        time.sleep(0.02)
    took = time.monotonic() - began
    return {
        "accepted_per_s": messages / accepted,
        "delivered_per_s": messages / took,
        "cpu_ms_per_message": {"postfix": 1000 * (cost(postfix.root_pid).cpu - cpu) / messages},
    }


def latency_at_half_load(system: System, rate: float, probes: int) -> dict[str, Any]:
    """Time from 250 to readable over POP3 while messages arrive at ``rate`` a second."""
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()
    sent: list[int] = []
    load = threading.Thread(
        target=lambda: sent.append(
            loop.run_until_complete(paced_load(system.smtp, RECIPIENT, rate, stop))
        )
    )
    began = time.monotonic()
    load.start()
    time.sleep(1)
    times = sorted(readable_after(system.smtp, system.pop3, PROBE, system.accounts[PROBE], probes))
    loop.call_soon_threadsafe(stop.set)
    load.join()
    return {
        "asked_per_s": rate,
        "load_per_s": sent[0] / (time.monotonic() - began),
        "p50_ms": 1000 * statistics.median(times),
        "p99_ms": 1000 * times[min(len(times) - 1, int(len(times) * 0.99))],
        "max_ms": 1000 * times[-1],
        "probes": probes,
    }


def median_round(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The round with the median of delivered messages a second, and the spread beside it."""
    ranked = sorted(rounds, key=lambda one: float(one["delivered_per_s"]))
    return {
        **ranked[len(ranked) // 2],
        "delivered_per_s_all": [round(one["delivered_per_s"]) for one in rounds],
    }


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--quick", action="store_true", help="a short run, to check that it works")
    options.add_argument(
        "--messages", type=int, default=6000, help="messages in a round (default 6000)"
    )
    options.add_argument(
        "--rounds", type=int, default=3, help="rounds of each side, alternating (default 3)"
    )
    options.add_argument("--blobs", help="POSTHORN_BLOBS for the run (default: a local directory)")
    options.add_argument(
        "--idle", type=int, default=1000, help="idle connections held while memory is read"
    )
    options.add_argument(
        "--only",
        choices=(
            "inbound",
            "outbound",
            "connections",
            "lone",
            "pop3",
            "memory",
            "api",
            "scan",
            "imap",
            "scale",
            "start",
            "tracing",
        ),
        help="one part only",
    )
    options.add_argument(
        "--deferred",
        type=int,
        default=0,
        help="measure messages out again with so many rows waiting in the queue",
    )
    options.add_argument(
        "--accounts",
        type=int,
        default=0,
        help="measure the API's lists again with so many accounts",
    )
    asked = options.parse_args()
    messages, rounds = (1000, 1) if asked.quick else (asked.messages, asked.rounds)
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "message_octets": 4096,
        "sessions": 20,
        "messages": messages,
        "blobs": "s3" if asked.blobs else "local directory",
    }
    with tempfile.TemporaryDirectory(prefix="posthorn-bench-") as place:
        directory = Path(place)
        directory.chmod(0o755)
        if asked.only in (None, "start"):
            measure_start(results, directory, rounds)
        if asked.only in (None, "tracing"):
            measure_tracing(results, directory, messages, quick=asked.quick)
        if asked.only in ("start", "tracing"):
            report(results)
            return
        # Postfix, Dovecot and Posthorn without filters; what they cost is measured apart
        extra = (
            SUBMISSION_ENVIRONMENT
            | {"POSTHORN_SMTP_SCAN": "false"}
            # hundreds of idle connections of one account, which no person has
            | {
                "POSTHORN_IMAP_CONNECTIONS_PER_ACCOUNT": "1000",
                "POSTHORN_IMAP_CONNECTIONS_PER_ADDRESS": "1000",
            }
            | ({"POSTHORN_BLOBS": asked.blobs} if asked.blobs else {})
        )
        system, postfix = System(directory / "home", extra), Postfix(directory / "postfix-run")
        (directory / "postfix-run").mkdir(mode=0o755)
        try:
            system.start()
            postfix.start()
            results["ready_after_s"] = system.ready_after
            results["versions"] = {"postfix": postfix.version}
            if asked.only in (None, "inbound"):
                measure_inbound(
                    results, system, postfix, messages, rounds, probes=30 if asked.quick else 200
                )
            if asked.only in (None, "connections"):
                measure_connections(results, system, postfix, quick=asked.quick)
            if asked.only in (None, "outbound"):
                measure_outbound(
                    results, system, postfix, directory, messages, rounds, asked.deferred
                )
            if asked.only in (None, "lone"):
                measure_lone(results, system, postfix, 10 if asked.quick else PROBES)
            if asked.only in (None, "pop3"):
                measure_pop3(results, system, postfix, directory, quick=asked.quick)
            if asked.only in (None, "memory"):
                measure_memory(results, system, asked.idle)
            if asked.only in (None, "api"):
                measure_api(results, system, asked.accounts, quick=asked.quick)
            if asked.only in (None, "scan"):
                measure_scan(results, directory, messages, rounds)
            if asked.only in (None, "imap"):
                measure_imap(results, system, rounds, quick=asked.quick)
            if asked.only in (None, "scale"):
                measure_scale(results, system, directory, rounds, quick=asked.quick)
        finally:
            postfix.stop()
            system.stop()
    report(results)


def report(results: dict[str, Any]) -> None:
    """Print the tables, write the JSON."""
    show(results)
    if "start" in results:
        show_start(results["start"])
    if "tracing" in results:
        show_tracing(results["tracing"])
    if "lone" in results:
        show_lone(results["lone"])
    if "scale" in results:
        show_scale(results["scale"])
    show_targets(results)
    out = Path(__file__).parent / "results"
    out.mkdir(exist_ok=True)
    path = out / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nJSON: {path}")


def measure_inbound(
    results: dict[str, Any],
    system: System,
    postfix: Postfix,
    messages: int,
    rounds: int,
    probes: int,
) -> None:
    inbound_posthorn(system, 300, kept=True)  # warm both
    inbound_postfix(postfix, 300, kept=True)
    for name, kept in (("connection_per_message", False), ("connections_kept", True)):
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(inbound_posthorn(system, messages, kept=kept))
            theirs.append(inbound_postfix(postfix, messages, kept=kept))
        posthorn, peer = median_round(ours), median_round(theirs)
        results[name] = {
            "posthorn": posthorn,
            "postfix": peer,
            "ratio_delivered": posthorn["delivered_per_s"] / peer["delivered_per_s"],
        }
    rate = results["connection_per_message"]["posthorn"]["delivered_per_s"] / 2
    results["readable_at_half_load"] = latency_at_half_load(system, rate, probes)


def measure_pop3(
    results: dict[str, Any], system: System, postfix: Postfix, directory: Path, *, quick: bool
) -> None:
    per_session, rounds, logins = (200, 1, 50) if quick else (2000, 5, 200)
    # the same number of messages in a mailbox of its own on either side
    system.make_account(READER, PASSWORD)
    before = system.delivered()
    smtp_source(system.smtp, per_session, READER, kept=True)
    while system.delivered() < before + per_session:
        time.sleep(0.02)
    inbound_postfix(postfix, per_session, kept=True)
    dovecot = Dovecot(directory, postfix.maildir)
    dovecot.start()
    try:
        results["versions"]["dovecot"] = dovecot.version
        ours = (system.pop3, READER, PASSWORD)
        theirs = (dovecot.port, ADDRESS, PASSWORD)
        found: dict[str, dict[str, list[float]]] = {"posthorn": {}, "dovecot": {}}
        for number in range(-1, rounds):  # the first one warms
            for name, target in (("posthorn", ours), ("dovecot", theirs)):
                figures = {
                    f"{mode}_messages_per_s": pop3_read(
                        [target], pipelined=pipelined, rounds=1, per_session=per_session
                    ).messages_per_s
                    for mode, pipelined in (("one_by_one", False), ("pipelined", True))
                } | {"sessions_per_s": pop3_logins(*target, logins)}
                for key, figure in figures.items():
                    if number >= 0:
                        found[name].setdefault(key, []).append(figure)
        results["pop3"] = {
            "messages_per_session": per_session,
            **{
                name: {key: statistics.median(figures) for key, figures in one.items()}
                | {f"{key}_all": figures for key, figures in one.items()}
                for name, one in found.items()
            },
        }
    finally:
        dovecot.stop()


def measure_memory(results: dict[str, Any], system: System, idle: int) -> None:
    results["resident_mib"] = {name: one.resident / 2**20 for name, one in system.costs().items()}
    held = hold_idle(system.smtp, idle) + hold_idle(system.pop3, idle)
    results["resident_mib_with_idle"] = {
        "idle_connections": idle,
        **{name: one.resident / 2**20 for name, one in system.costs().items()},
    }
    for connection in held:
        connection.close()


if __name__ == "__main__":
    main()
