"""More processes of a service beside those of local mode, on ports of their own, and what a load
through all of them costs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from bench.load import paced_load, smtp_source
from bench.system import System
from posthorn.model.streams import partition_of_stream
from posthorn_local.embedded import free_port

LOADED = ("smtp-in", "delivery", "submission", "relay", "api", "nats", "postgres")
"""Parts whose costs are shown apart; the others are idle."""
_PER_MESSAGE = {
    "puts_per_message": "posthorn_delivery_puts_total",
    "transactions_per_message": "posthorn_delivery_transactions_total",
}
"""Counters of delivery."""
_LISTENS = re.compile(r"POSTHORN_(?:SUBMISSIONS?|IMAPS?|POP3S?|API)_PORT")
_PARTITION = "posthorn_delivery_partition_backlog_messages"


@dataclass(slots=True)
class Copy:
    """A process that does the same as local mode's own process of a service."""

    process: subprocess.Popen[bytes]
    port: int
    health: int


class Fleet:
    """Local mode and further processes of its services; leave it by ``stop``."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.copies: dict[str, list[Copy]] = {}
        self._parts = system.parts()
        self._partitions: int | None = None

    def set_partitions(self, number: int) -> None:
        """Divide INGEST among so many streams. From then on smtp-in's processes are copies alone,
        since that of local mode publishes to the first stream only."""
        self.stop()
        self._partitions = number
        # delivery creates streams at its start; that of local mode reads what it finds
        self.set_processes("delivery", 2)
        self.set_processes("delivery", 1)
        for _ in range(100):
            if self.system.series("delivery", _PARTITION) >= number:
                return
            time.sleep(0.1)
        raise RuntimeError("delivery does not read the partitions within 10 s")

    def _own(self, service: str) -> int:
        """Return how many processes of local mode take part."""
        return 0 if service == "smtp-in" and self._partitions else 1

    def set_processes(self, service: str, number: int) -> None:
        """Have so many processes of a service in all: start or stop copies, wait until they are
        ready."""
        copies, needed = self.copies.setdefault(service, []), number - self._own(service)
        while len(copies) > needed:
            end(copies.pop())
        new = [self._start(service) for _ in range(needed - len(copies))]
        copies += new
        for copy in new:
            await_ready(copy)

    def ports(self, number: int) -> list[int]:
        """Return the SMTP ports of so many smtp-in processes."""
        own = [self.system.smtp][: self._own("smtp-in")]
        return [*own, *(copy.port for copy in self.copies.get("smtp-in", []))][:number]

    def count(self, service: str, name: str) -> float:
        """Return a counter's sum over all processes of a service."""
        own = self.system.counter(service, name)
        return own + sum(_counter(copy.health, name) for copy in self.copies.get(service, []))

    def costs(self, smtp_in: int = 1) -> dict[str, float]:
        """Return the CPU seconds of each part: of its processes together, but for smtp-in only of
        so many."""
        copies = self.copies.get("smtp-in", [])[: smtp_in - self._own("smtp-in")]
        used = {**self.copies, "smtp-in": copies}
        return {
            name: cpu_seconds(pid)
            + sum(cpu_seconds(copy.process.pid) for copy in used.get(name, []))
            for name, pid in self._parts.items()
        }

    def stop(self) -> None:
        """End the copies."""
        for copies in self.copies.values():
            while copies:
                end(copies.pop())

    def _start(self, service: str) -> Copy:
        more = {"POSTHORN_INGEST_PARTITIONS": str(self._partitions)} if self._partitions else {}
        return start_beside(self.system, service, **more)


def start_beside(system: System, service: str, **more: str) -> Copy:
    """Start a process that does the same as local mode's own of a service, on free ports; ``more``
    is put over its environment."""
    original = psutil.Process(system.parts()[service])
    port, health = free_port(), free_port()
    variables = original.environ()
    anywhere = {name: "0" for name in variables if _LISTENS.fullmatch(name)}
    process = subprocess.Popen(
        original.cmdline(),
        env=variables
        | anywhere
        | {"POSTHORN_SMTP_PORT": str(port), "POSTHORN_HEALTH_PORT": str(health)}
        | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return Copy(process, port, health)


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, of those that have ended as well."""
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def end(copy: Copy) -> None:
    """End a copy."""
    copy.process.send_signal(signal.SIGTERM)
    try:
        copy.process.wait(30)
    except subprocess.TimeoutExpired:
        copy.process.kill()
        copy.process.wait()


def _page(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as page:
        return str(page.read().decode())


def await_ready(copy: Copy) -> None:
    """Wait until a copy serves. Raises RuntimeError."""
    for _ in range(600):
        if copy.process.poll() is not None:
            raise RuntimeError("a process ended at its start")
        try:
            _page(copy.health, "/readyz")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("a process did not become ready within 60 s")


def _counter(port: int, name: str) -> float:
    found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", _page(port, "/metrics"), re.MULTILINE)
    return sum(map(float, found))


@dataclass(frozen=True, slots=True)
class Stores:
    """Counters of the stores: the difference of two is what a load wrote."""

    wal_bytes: int
    stream_messages: int
    """On all partitions of INGEST."""
    stream_bytes: int
    """Of all bytes that NATS has received."""


async def _wal(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        query = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


def stores(system: System) -> Stores:
    """Read the counters."""
    environment = psutil.Process(system.parts()["delivery"]).environ()
    wal = asyncio.run(_wal(environment["POSTHORN_DATABASE_URL"]))
    monitoring = nats_monitoring(system.home / "nats", system.parts()["nats"])
    streams = json.loads(_fetch(f"{monitoring}/jsz?streams=true"))
    stored = sum(
        stream["state"]["last_seq"]
        for account in streams["account_details"]
        for stream in account["stream_detail"]
        if partition_of_stream(stream["name"]) is not None
    )
    received = json.loads(_fetch(f"{monitoring}/varz"))["in_bytes"]
    return Stores(wal, stored, received)


def nats_monitoring(directory: Path, pid: int) -> str:
    """Return the address of a server's monitoring pages."""
    (ports,) = directory.glob(f"*_{pid}.ports")
    (address,) = json.loads(ports.read_text())["monitoring"]
    return str(address)


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as page:
        return str(page.read().decode())


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client sent, and what that took of the machine."""

    messages: int
    client_cpu_seconds: float


type Load = Callable[[Sequence[int]], Sent]
"""Sends messages through smtp-in processes on these ports, and returns once all have their 250."""


def full_load(messages: int, recipient: str, file: Path | None = None) -> Load:
    """Return a load of as many messages as the system takes, in equal parts through all ports at
    the same time, 20 kept connections each."""

    def send(ports: Sequence[int]) -> Sent:
        share = -(-messages // len(ports))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with ThreadPoolExecutor(len(ports)) as pool:
            list(
                pool.map(
                    lambda port: smtp_source(port, share, recipient, kept=True, file=file), ports
                )
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        client = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Sent(share * len(ports), client)

    return send


def steady_load(rate: float, seconds: float, recipient: str) -> Load:
    """Return a load of ``rate`` messages a second for each port, 20 kept connections each: one
    that grows with the number of processes."""

    async def drive(ports: Sequence[int]) -> int:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        return sum(await asyncio.gather(*(paced_load(p, recipient, rate, stop) for p in ports)))

    def send(ports: Sequence[int]) -> Sent:
        before = time.process_time()
        sent = asyncio.run(drive(ports))
        return Sent(sent, time.process_time() - before)

    return send


def measured(fleet: Fleet, number: int, load: Load) -> dict[str, Any]:
    """Send messages in through ``number`` smtp-in processes, and return what each costs once all
    are delivered."""
    system, ports = fleet.system, fleet.ports(number)

    def delivered() -> float:
        return fleet.count("delivery", "posthorn_delivery_messages_total")

    done, costs, wrote = delivered(), fleet.costs(number), stores(system)
    counters = {name: fleet.count("delivery", name) for name in _PER_MESSAGE.values()}
    began = time.monotonic()
    sent = load(ports)
    messages = sent.messages
    accepting = time.monotonic() - began
    while delivered() < done + messages:
        if time.monotonic() - began > 300:
            raise RuntimeError("the messages were not delivered within 300 s")
        time.sleep(0.1)
    took = time.monotonic() - began
    after, written = fleet.costs(number), stores(system)
    cpu = {name: 1000 * (after[name] - costs[name]) / messages for name in after}
    return {
        "messages": messages,
        "accepted_per_s": messages / accepting,
        "delivered_per_s": messages / took,
        "client_share_of_cores": sent.client_cpu_seconds / took / (os.cpu_count() or 1),
        "cpu_ms_per_message": {name: cpu[name] for name in LOADED},
        **{
            key: (fleet.count("delivery", name) - counters[name]) / messages
            for key, name in _PER_MESSAGE.items()
        },
        "wal_bytes_per_message": (written.wal_bytes - wrote.wal_bytes) / messages,
        "stream_messages_per_message": (written.stream_messages - wrote.stream_messages) / messages,
        "nats_bytes_per_message": (written.stream_bytes - wrote.stream_bytes) / messages,
    }
