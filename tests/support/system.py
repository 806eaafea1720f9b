"""The whole system as a person starts it: local mode as a child process on free ports, with a home
of its own.

Ports stay the same from one start to the next, so that clients find a system again that was stopped
or killed.
"""

from __future__ import annotations

import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from posthorn_local.embedded import die_with_parent, free_port
from tests.support.maildrop import Maildrop
from tests.support.polling import BUSY_SECONDS, START_SECONDS
from tests.support.service_process import environment

SERVICES = ("smtp-in", "delivery", "pop3", "api", "submission", "relay", "scan", "imap")
BACKENDS = ("nats", "postgres")
_IN_USE = re.compile("ddress already in use|is in use by another program")
PORTS = ("SMTP", "SUBMISSION", "SUBMISSIONS", "IMAP", "IMAPS", "POP3", "POP3S", "API")


def await_that[T](
    what: str, found: Callable[[], T | None], timeout: float = BUSY_SECONDS, pause: float = 0.05
) -> T:
    """Call ``found`` until it gives something true; fails with ``what`` after ``timeout``
    seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:.0f} s, last seen {value!r}")
        time.sleep(pause)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stop went."""

    seconds: float
    status: int


class System:
    """Local mode with ``home`` as POSTHORN_HOME; ``extra`` is put over the environment."""

    def __init__(
        self, home: Path, extra: Mapping[str, str] | None = None, command: Sequence[str] = ()
    ) -> None:
        self.home = home
        self.command = list(command) or [sys.executable, "-m", "posthorn_local.main"]
        self.ports: dict[str, int] = {}
        self.health_port = 0
        self._choose_ports()
        self.extra = dict(extra or {})
        self.output = home.parent / f"{home.name}.out"
        self.errors = home.parent / f"{home.name}.err"
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_after = 0.0
        self._api: httpx.Client | None = None

    # ---- life

    def _choose_ports(self) -> None:
        self.ports = {name: free_port() for name in PORTS}
        self.health_port = _health_ports({*self.ports.values()})

    def spawn(self) -> None:
        """Start it without waiting."""
        variables = environment(
            {f"{name}_PORT": str(port) for name, port in self.ports.items()},
            HOME=str(self.home),
            HEALTH_PORT=str(self.health_port),
        )
        with self.output.open("wb") as out, self.errors.open("wb") as err:
            self.process = subprocess.Popen(
                self.command,
                env=variables | self.extra,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start it and wait for the line that says so."""
        is_first = not self.home.exists()
        for tries_left in (2, 1, 0):
            began = time.monotonic()
            self.spawn()
            try:
                self.await_ready(timeout)
                break
            except AssertionError:
                # somebody else on this machine took a port that was free when it was chosen
                said = self.said() + self.logged()
                if not (is_first and tries_left and _IN_USE.search(said)):
                    raise
                self.close()
                shutil.rmtree(self.home)  # what it logged is of no first start
                self._choose_ports()
        self.ready_after = time.monotonic() - began

    def await_ready(self, timeout: float = START_SECONDS) -> None:
        """Wait for the announcement, and learn the ports from it."""

        def announced() -> list[str]:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(
                    f"local mode ended with {self.process.returncode}:\n{self.said()}\n{self.logged()}"
                )
            return re.findall(r"^.*\bready\b.*\n", self.output.read_text(), re.MULTILINE)

        line = await_that(f"ready; see {self.errors}", announced, timeout)[0]
        for name in PORTS:
            found = re.search(rf"\b{name} (?:http://)?127\.0\.0\.1:(\d+)", line)
            assert found, (name, line)
            self.ports[name] = int(found[1])

    def said(self) -> str:
        """All that it printed so far."""
        return self.output.read_text() + self.errors.read_text()

    def logged(self, lines: int = 15) -> str:
        """The last lines of each service's log: the directory goes with the test."""
        found = []
        for path in sorted((self.home / "logs").glob("*.log")):
            said = path.read_text(errors="replace").splitlines()[-lines:]
            found.append("\n".join([f"--- {path.name}", *said]))
        return "\n".join(found)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 2 * BUSY_SECONDS) -> Ended:
        """Send it a signal and wait for its end."""
        assert self.process is not None
        self._forget_client()
        began = time.monotonic()
        self.process.send_signal(number)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"local mode did not end within {timeout:.0f} s of signal {number}:\n"
                f"{self._processes()}\n{self.said()}\n{self.logged()}"
            ) from None
        self.process = None
        return Ended(time.monotonic() - began, status)

    def _processes(self) -> str:
        # what the supervisor and its children wait for, for a failure that cannot be repeated
        assert self.process is not None
        top = psutil.Process(self.process.pid)
        found = []
        for each in (top, *top.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, OSError):
                waits_in = Path(f"/proc/{each.pid}/wchan").read_text()
                found.append(
                    f"{each.pid} {each.status()} in {waits_in}: {' '.join(each.cmdline())[-100:]}"
                )
        return "\n".join(found)

    def kill(self) -> None:
        """SIGKILL to the supervisor, which takes everything with it."""
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing running, whatever state it is in."""
        self._forget_client()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def parts(self) -> dict[str, psutil.Process]:
        """The processes that run now, by name."""
        assert self.process is not None
        found = {}
        for child in psutil.Process(self.process.pid).children():
            try:
                line = " ".join(child.cmdline())
            except psutil.NoSuchProcess:
                continue
            for name in SERVICES:
                if line.endswith(f")  # {name}"):
                    found[name] = child
            if "nats-server" in line:
                found["nats"] = child
            elif "/bin/postgres -D" in line:
                found["postgres"] = child
        return found

    def await_whole(self, timeout: float = 2 * BUSY_SECONDS) -> None:
        """Wait until every service says that it can serve."""
        await_that(
            "every service serves", lambda: all(self.serves(name) for name in SERVICES), timeout
        )

    def serves(self, service: str) -> bool:
        """Return whether /readyz of the service answers 200."""
        try:
            return self.page(service, "/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def page(self, service: str, path: str) -> httpx.Response:
        """A page of the service's health port."""
        url = f"http://127.0.0.1:{self.health_port + SERVICES.index(service)}{path}"
        return httpx.get(url, timeout=BUSY_SECONDS, trust_env=False, verify=False)

    def log(self, service: str) -> str:
        """The log of a service."""
        return (self.home / "logs" / f"{service}.log").read_text(errors="replace")

    # ---- what a person uses

    @property
    def passwords(self) -> dict[str, str]:
        """The seeded accounts, from accounts.txt."""
        lines = (self.home / "accounts.txt").read_text().splitlines()
        return {
            address: password for address, _, password in (line.partition(" ") for line in lines)
        }

    @property
    def key(self) -> str:
        """The admin key."""
        return (self.home / "admin.key").read_text().strip()

    @property
    def api(self) -> httpx.Client:
        """A client of the REST API with the admin key."""
        if self._api is None:
            self._api = httpx.Client(
                base_url=f"http://127.0.0.1:{self.ports['API']}",
                headers={"Authorization": f"Bearer {self.key}"},
                timeout=30,
                trust_env=False,
                verify=False,
            )
        return self._api

    def _forget_client(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None

    def make_account(self, address: str, password: str = "a password for tests") -> Maildrop:
        """Create an account over REST. Return its maildrop."""
        answer = self.api.post("/v1/accounts", json={"address": address, "password": password})
        assert answer.status_code == 201, answer.text
        return self.maildrop(address, password)

    def maildrop(self, address: str, password: str | None = None) -> Maildrop:
        """The maildrop of an account, over POP3."""
        return Maildrop(self.ports["POP3"], address, password or self.passwords[address])

    def smtp(self, timeout: float = 30.0) -> smtplib.SMTP:
        """A session with smtp-in."""
        return smtplib.SMTP(
            "127.0.0.1", self.ports["SMTP"], local_hostname="client.example.org", timeout=timeout
        )

    def send(self, octets: bytes, *recipients: str, sender: str = "sender@example.org") -> None:
        """Send one message by smtplib; raises its exceptions."""
        with self.smtp() as session:
            refused = session.sendmail(sender, recipients, octets)
        assert not refused, refused

    def account(self, address: str) -> dict[str, object]:
        """What the API says of an account."""
        answer = self.api.get(f"/v1/accounts/{address}")
        assert answer.status_code == 200, answer.text
        document: dict[str, object] = answer.json()
        return document

    def nats_url(self) -> str:
        """The URL of NATS for its administrator."""
        conf = (self.home / "nats" / "nats.conf").read_text()
        listen = re.search(r'listen: "([^"]+)"', conf)
        assert listen
        secret = (self.home / "nats" / "password").read_text().strip()
        return f"nats://posthorn:{secret}@{listen[1]}"

    def trusting(self) -> ssl.SSLContext:
        """A client context that trusts nothing but the home's certificate."""
        return ssl.create_default_context(cafile=str(self.home / "tls" / "tls.crt"))


@contextmanager
def running(system: System) -> Iterator[System]:
    """Start a system; leave nothing of it running."""
    try:
        system.start()
        yield system
    finally:
        system.close()


def _health_ports(taken: set[int]) -> int:
    while True:
        base = free_port()
        ports = range(base, base + len(SERVICES))
        if not taken.isdisjoint(ports):
            continue
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
