"""Posthorn in local mode as a child process, and what its processes cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from posthorn_local.embedded import free_port

HEALTH = {
    "smtp-in": 0,
    "delivery": 1,
    "pop3": 2,
    "api": 3,
    "submission": 4,
    "relay": 5,
    "scan": 6,
    "imap": 7,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds and resident bytes of one part."""

    cpu: float
    resident: int


def cost(pid: int) -> Cost:
    """Return CPU and memory of a process and its descendants. Shared memory is split among its
    sharers (PSS)."""
    cpu, resident = 0.0, 0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return Cost(0.0, 0)
    for process in family:
        try:
            times = process.cpu_times()
            cpu += (
                times.user + times.system + times.children_user + times.children_system
            )  # also of those that have ended
            resident += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return Cost(cpu, resident)


class System:
    """Local mode on free ports with a home of its own."""

    def __init__(self, home: Path, extra: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.smtp = free_port()
        self.pop3 = free_port()
        self.imap = free_port()
        self.imaps = free_port()
        self.api = free_port()
        self.submission = free_port()
        self._health = free_port()
        self._extra = dict(extra or {})
        self._process: subprocess.Popen[str] | None = None
        self.accounts: dict[str, str] = {}

    def start(self) -> None:
        environment = {
            **os.environ,
            "POSTHORN_HOME": str(self.home),
            "POSTHORN_SMTP_PORT": str(self.smtp),
            "POSTHORN_POP3_PORT": str(self.pop3),
            "POSTHORN_POP3S_PORT": "0",
            "POSTHORN_IMAP_PORT": str(self.imap),
            "POSTHORN_IMAPS_PORT": str(self.imaps),
            "POSTHORN_SUBMISSION_PORT": str(self.submission),
            "POSTHORN_SUBMISSIONS_PORT": "0",
            "POSTHORN_API_PORT": str(self.api),
            "POSTHORN_API_REQUESTS_PER_MINUTE": "0",  # one key asks for everything here
            "POSTHORN_HEALTH_PORT": str(self._health),
            **self._extra,
        }
        began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "posthorn_local.main"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        for line in self._process.stdout:
            if "ready" in line:
                break
        else:
            raise RuntimeError("local mode did not become ready")
        self.ready_after = time.monotonic() - began
        for line in (self.home / "accounts.txt").read_text().splitlines():
            address, _, password = line.partition(" ")
            self.accounts[address] = password.strip()

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    def counter(self, service: str, name: str) -> float:
        """Sum of a counter's samples on a service's metrics page."""
        return sum(self._samples(service, name))

    def series(self, service: str, name: str) -> int:
        """Number of a metric's samples on a service's metrics page."""
        return len(self._samples(service, name))

    def _samples(self, service: str, name: str) -> list[float]:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._health + HEALTH[service]}/metrics", timeout=10
        ) as page:
            text = page.read().decode()
        return [
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith((f"{name} ", f"{name}{{"))
        ]

    def delivered(self) -> int:
        return int(self.counter("delivery", "posthorn_delivery_messages_total"))

    def parts(self) -> dict[str, int]:
        """Process id of each part, by name."""
        assert self._process
        found = {}
        for child in psutil.Process(self._process.pid).children():
            line = " ".join(child.cmdline())
            for name in HEALTH:
                if line.endswith(f"# {name}"):
                    found[name] = child.pid
            if "nats-server" in line:
                found["nats"] = child.pid
            elif "postgres" in line and "posthorn_" not in line:
                found["postgres"] = child.pid
        return found

    def costs(self) -> dict[str, Cost]:
        return {name: cost(pid) for name, pid in self.parts().items()}

    def make_account(self, address: str, password: str) -> None:
        """Make an account without a quota."""
        key = (self.home / "admin.key").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api}/v1/accounts",
            data=json.dumps({"address": address, "password": password}).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).read()
