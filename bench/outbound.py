"""Messages out: submission to a sink, beside Postfix relaying to the same sink in the same run."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from bench.load import MESSAGE, SESSIONS
from bench.peers import await_port, need
from bench.system import System, cost
from posthorn_local.embedded import free_port

SINK = "sink.test"
PROBED = "probe.test"
SUBMITTER = "alice@example.test"


class Sink:
    """Postfix's smtp-sink: it accepts everything and counts."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._counters = directory / "sink.counters"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            need("smtp-sink", "postfix"),
            "-u",
            "postfix",
            "-c",
            f"127.0.0.1:{self.port}",
            "1000",
        ]
        with self._counters.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stdin=subprocess.DEVNULL)
        await_port(self.port, "smtp-sink")

    def taken(self) -> int:
        """Messages so far."""
        with self._counters.open("rb") as file:
            file.seek(max(0, self._counters.stat().st_size - 200))
            found = re.findall(rb"mesg=(\d+)\r", file.read())
        return int(found[-1]) if found else 0

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)


@dataclass(slots=True)
class Door:
    """Where messages are handed in, and how."""

    port: int
    login: tuple[str, str] | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A session up to the first MAIL."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await _reply(reader, 220)
        writer.write(b"EHLO bench.example.net\r\n")
        await _reply(reader, 250)
        if self.login:
            writer.write(
                b"AUTH PLAIN " + base64.b64encode("\0{}\0{}".format(*self.login).encode()) + b"\r\n"
            )
            await _reply(reader, 235)
        return reader, writer


async def _reply(reader: asyncio.StreamReader, code: int) -> None:
    while True:
        line = await reader.readline()
        if not line.startswith(b"%d" % code):
            raise RuntimeError(f"SMTP said {line!r} where {code} was due")
        if line[3:4] == b" ":
            return


def make_message(octets: int, subject: str) -> bytes:
    """Return a message of about ``octets`` bytes with the header fields that a mail client
    writes."""
    head = (
        f"From: {SUBMITTER}\r\nTo: someone@{SINK}\r\nSubject: {subject}\r\n"
        f"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{subject}@bench.example.net>\r\n\r\n"
    ).encode()
    return head + (b"x" * 78 + b"\r\n") * ((octets - len(head)) // 80) + b".\r\n"


async def hand_in(door: Door, messages: int, *, rate: float | None = None) -> None:
    """Submit messages over 20 kept sessions, as fast as they are accepted or at ``rate`` a
    second."""
    left = iter(range(messages))
    content = make_message(MESSAGE, "load")
    head = f"MAIL FROM:<{SUBMITTER}>\r\nRCPT TO:<someone@{SINK}>\r\nDATA\r\n".encode()
    began = time.monotonic()

    async def session() -> None:
        reader, writer = await door.open()
        for number in left:
            if rate is not None:
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            writer.write(head)
            for code in (250, 250, 354):
                await _reply(reader, code)
            writer.write(content)
            await _reply(reader, 250)
        writer.write(b"QUIT\r\n")
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(SESSIONS):
            group.create_task(session())


@dataclass(slots=True)
class Watcher:
    """A minimal server for the probes: records when each has arrived completely."""

    arrived: dict[str, float] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 watcher ESMTP\r\n")
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    for subject in re.findall(rb"^Subject: (\S+)\r$", content, re.MULTILINE):
                        self.arrived[subject.decode()] = time.monotonic()
                elif verb == b"EHLO":
                    writer.write(b"250-watcher\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                    continue
                writer.write(
                    b"221 bye\r\n"
                    if verb == b"QUIT"
                    else b"250 ok\r\n"
                    if verb != b"DATA"
                    else b"250 kept\r\n"
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def hand_over(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watcher: Watcher, name: str
) -> float:
    """Submit one message; return seconds from its 250 until the next hop has it."""
    writer.write(f"MAIL FROM:<{SUBMITTER}>\r\nRCPT TO:<p@{PROBED}>\r\nDATA\r\n".encode())
    for code in (250, 250, 354):
        await _reply(reader, code)
    writer.write(make_message(1000, name))
    await _reply(reader, 250)
    accepted = time.monotonic()
    while name not in watcher.arrived:
        if time.monotonic() - accepted > 30:
            raise RuntimeError("a probe did not arrive within 30 s")
        await asyncio.sleep(0.001)
    return max(0.0, watcher.arrived[name] - accepted)


async def latency(door: Door, watcher: Watcher, rate: float, probes: int) -> list[float]:
    """Return seconds from the 250 of submission until the next hop has the message, while others
    are submitted at ``rate`` a second."""
    server = await asyncio.start_server(watcher.serve, "127.0.0.1", watcher.port)
    watcher.arrived.clear()
    load = asyncio.create_task(hand_in(door, int(rate * (probes * 0.05 + 6)), rate=rate))
    await asyncio.sleep(2)
    reader, writer = await door.open()
    found: list[float] = []
    for number in range(probes):
        found.append(await hand_over(reader, writer, watcher, f"probe{number}"))
        await asyncio.sleep(0.02)
    writer.close()
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    server.close()
    return sorted(found)


def round_out(
    door: Door, sink: Sink, messages: int, costs: Callable[[], dict[str, float]]
) -> dict[str, Any]:
    """Run one round: from the first message submitted until the sink has the last."""
    before, cpu = sink.taken(), costs()
    began = time.monotonic()
    asyncio.run(hand_in(door, messages))
    accepted = time.monotonic() - began
    while sink.taken() < before + messages:
        if time.monotonic() - began > 600:
            raise RuntimeError(
                f"{sink.taken() - before} of {messages} messages came out within 600 s"
            )
        time.sleep(0.02)
    took = time.monotonic() - began
    after = costs()
    return {
        "accepted_per_s": messages / accepted,
        "relayed_per_s": messages / took,
        "cpu_ms_per_message": {name: 1000 * (after[name] - cpu[name]) / messages for name in after},
    }


def call(system: System, method: str, path: str, document: dict[str, Any]) -> None:
    """Send one request to the REST API."""
    key = (system.home / "admin.key").read_text().strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{system.api}{path}",
        data=json.dumps(document).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        method=method,
    )
    urllib.request.urlopen(request, timeout=30).read()


def measure_outbound(
    results: dict[str, Any],
    system: System,
    postfix: Any,
    directory: Path,
    messages: int,
    rounds: int,
    deferred: int,
) -> None:
    """Measure both sides alternately; then ours again with ``deferred`` waiting rows, if any."""
    sink, watcher = Sink(directory), Watcher()
    sink.start()
    try:
        for domain, port in ((SINK, sink.port), (PROBED, watcher.port)):
            call(
                system,
                "POST",
                "/v1/routes",
                {"domain": domain, "host": "127.0.0.1", "port": port, "tls": "none"},
            )
        postfix.relay_to({SINK: sink.port, PROBED: watcher.port})
        ours_door = Door(system.submission, (SUBMITTER, system.accounts[SUBMITTER]))
        theirs_door = Door(postfix.port)
        sides: dict[str, tuple[Door, Callable[[], dict[str, float]]]] = {
            "posthorn": (
                ours_door,
                lambda: {name: one.cpu for name, one in system.costs().items()},
            ),
            "postfix": (theirs_door, lambda: {"postfix": cost(postfix.root_pid).cpu}),
        }
        found: dict[str, list[dict[str, Any]]] = {"posthorn": [], "postfix": []}
        for door, costs in sides.values():
            round_out(door, sink, 300, costs)  # warm
        for _ in range(rounds):
            for name, (door, costs) in sides.items():
                found[name].append(round_out(door, sink, messages, costs))
        part: dict[str, Any] = {}
        for name, several in found.items():
            ranked = sorted(several, key=lambda one: float(one["relayed_per_s"]))
            part[name] = {
                **ranked[len(ranked) // 2],
                "relayed_per_s_all": [round(one["relayed_per_s"]) for one in several],
            }
        rate = min(one["relayed_per_s"] for one in part.values()) / 2
        for name, (door, _) in sides.items():
            times = asyncio.run(latency(door, watcher, rate, 100))
            part[name]["p50_ms"] = 1000 * statistics.median(times)
            part[name]["p99_ms"] = 1000 * times[min(len(times) - 1, int(len(times) * 0.99))]
        part["latency_at_per_s"] = rate
        if deferred:
            asyncio.run(fill_queue(system, deferred))
            with_rows = [
                round_out(ours_door, sink, messages, sides["posthorn"][1]) for _ in range(rounds)
            ]
            ranked = sorted(with_rows, key=lambda one: float(one["relayed_per_s"]))
            part["with_deferred"] = {"rows": deferred, **ranked[len(ranked) // 2]}
        results["outbound"] = part
    finally:
        sink.stop()


async def fill_queue(system: System, rows: int) -> None:
    """Insert waiting rows: half of them for one destination, half spread over 10,000."""
    relay = psutil.Process(system.parts()["relay"])
    connection = await asyncpg.connect(relay.environ()["POSTHORN_DATABASE_URL"])
    try:
        message = await connection.fetchval("SELECT message_id FROM outbound_messages LIMIT 1")
        await connection.execute(
            """
            INSERT INTO outbound_recipients (message_id, tenant_id, destination, recipient, address, sender, reverse_path,
                original, orcpt, notify, state, due_at, attempts, overdue_at, expires_at, last_host, last_status, last_reply)
            SELECT $1, NULL, d, 'r' || n || '@' || d, 'r' || n || '@' || d, $3, $3, '', '', 0, 'deferred',
                   now() + interval '1 hour' + n * interval '1 millisecond', 3,
                   now() + interval '4 days', now() + interval '5 days',
                   'mx (192.0.2.1)', '4.4.1', 'connection refused'
              FROM (SELECT n, CASE WHEN n % 2 = 0 THEN 'big.test' ELSE 'd' || n % 20000 || '.test' END AS d
                      FROM generate_series(1, $2::int) AS n) AS rows
            """,
            message,
            rows,
            SUBMITTER,
            timeout=600,
        )
        await connection.execute(
            "INSERT INTO outbound_destinations (name, due_at) SELECT destination, min(due_at) FROM outbound_recipients"
            " WHERE state = 'deferred' GROUP BY destination ON CONFLICT (name) DO NOTHING",
            timeout=600,
        )
        # as autovacuum will have done
        await connection.execute("VACUUM (ANALYZE) outbound_recipients", timeout=600)
        await connection.execute("CHECKPOINT", timeout=600)
    finally:
        await connection.close()


def show_outbound(part: dict[str, Any], peer: str) -> None:
    """Print the table."""
    ours, theirs = part["posthorn"], part["postfix"]
    print(f"Messages out, submission to a sink      {'Posthorn':>10} {peer:>15} {'ratio':>7}")
    for key, label in (("accepted_per_s", "accepted/s"), ("relayed_per_s", "at the sink/s")):
        print(
            f"  {label:<34} {ours[key]:>10.0f} {theirs[key]:>15.0f} {ours[key] / theirs[key]:>7.2f}"
        )
    total, peer_total = (
        sum(ours["cpu_ms_per_message"].values()),
        sum(theirs["cpu_ms_per_message"].values()),
    )
    print(
        f"  {'CPU ms per message':<34} {total:>10.2f} {peer_total:>15.2f} {total / peer_total:>7.2f}"
    )
    print(
        "    of which "
        + ", ".join(
            f"{name} {value:.2f}" for name, value in sorted(ours["cpu_ms_per_message"].items())
        )
    )
    print(f"  rounds: {ours['relayed_per_s_all']} beside {theirs['relayed_per_s_all']}")
    for key, label in (("p50_ms", "p50"), ("p99_ms", "p99")):
        print(
            f"  {f'250 to sink at {part["latency_at_per_s"]:.0f}/s, {label}, ms':<34} {ours[key]:>10.0f} {theirs[key]:>15.0f}"
        )
    if more := part.get("with_deferred"):
        print(
            f"  with {more['rows']:,} deferred rows            {more['relayed_per_s']:>10.0f} at the sink/s,"
            f" {more['relayed_per_s'] / ours['relayed_per_s']:.2f} of without"
        )
    print()


SUBMISSION_ENVIRONMENT = {
    "POSTHORN_SMTP_CLEARTEXT_AUTH": "loopback",
    "POSTHORN_SUBMISSION_MESSAGES_PER_HOUR": "10000000",
    "POSTHORN_SUBMISSION_RECIPIENTS_PER_HOUR": "10000000",
}
"""No TLS for submission, as on the other side, and no effective sending limits."""
