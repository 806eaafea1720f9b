"""A tenant and strangers that misbehave in every way at once delay nobody else's mail by more than
30 seconds: a ledger of both.

Everything that the attack does is bounded in number, so that the test ends: sizes are scaled to
what a small machine bears, and so are the limits that they run into.
"""

from __future__ import annotations

import itertools
import json
import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest
from argon2 import PasswordHasher

from tests.support.maildrop import RefusedError
from tests.support.polling import BUSY_SECONDS
from tests.support.system import System, await_that

SECONDS = 30
"""For how long honest mail is sent while the attack goes on."""
MOST_SECONDS = 30.0
"""What a message of another tenant may be late (the issue's figure)."""
PLACES = 200
PASSWORD = "correct horse battery staple"
HASH = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("x" * 12)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with small limits."""
    limits = {
        "POSTHORN_SMTP_SESSIONS": str(PLACES),
        "POSTHORN_SMTP_MEMORY_BYTES": str(16 * 1024**2),
        "POSTHORN_SMTP_SPOOL_BYTES": str(64 * 1024**2),
    }
    running = System(tmp_path_factory.mktemp("hostile") / "home", limits)
    running.start()
    yield running
    running.close()


@dataclass
class Ledger:
    """When each honest message was first offered, and when it could be read."""

    offered: dict[str, float] = field(default_factory=dict)
    readable: dict[str, float] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def lateness(self) -> dict[str, float]:
        return {
            name: self.readable[name] - at
            for name, at in self.offered.items()
            if name in self.readable
        }


class Attack:
    """Threads that each misbehave in one way until told to stop."""

    def __init__(self, system: System, key: str) -> None:
        self.system = system
        self.headers = {"Authorization": f"Bearer {key}"}
        self.stopping = threading.Event()
        self.faults: list[BaseException] = []
        self.done: dict[str, int] = {}
        self._sockets: list[socket.socket] = []

    def start(self) -> list[threading.Thread]:
        ways = (
            self.wide_alias,
            self.crowd,
            self.unfinished,
            self.guesses,
            self.imports,
            self.slow_uploads,
            self.sends,
        )
        threads = [threading.Thread(target=self._run, args=(way,), daemon=True) for way in ways]
        for thread in threads:
            thread.start()
        return threads

    def stop(self, threads: list[threading.Thread]) -> None:
        self.stopping.set()
        for thread in threads:
            thread.join(30)
        for connection in self._sockets:
            connection.close()

    def _run(self, way: Callable[[], None]) -> None:
        try:
            way()
        except Exception as error:
            self.faults.append(error)

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def _connection(self, name: str, source: str) -> socket.socket:
        made = socket.create_connection(
            ("127.0.0.1", self.system.ports[name]), 10, source_address=(source, 0)
        )
        self._sockets.append(made)
        return made

    def wide_alias(self) -> None:
        """Small messages to an alias of many addresses elsewhere."""
        while not self.stopping.is_set() and self.done.get("wide messages", 0) < 60:
            with (
                suppress(OSError, smtplib.SMTPException),
                smtplib.SMTP(
                    "127.0.0.1",
                    self.system.ports["SMTP"],
                    timeout=10,
                    source_address=("127.0.9.1", 0),
                ) as session,
            ):
                session.sendmail(
                    "stranger@example.org", ["all@evil.test"], b"Subject: x\r\n\r\nx\r\n"
                )
                self._count("wide messages")
                continue
            # refused: the alias may not be published yet, and there may be no place
            self.stopping.wait(0.2)

    def crowd(self) -> None:
        """More silent connections than there are places, from many addresses."""
        for name, addresses in (("SMTP", 8), ("POP3", 4)):
            for address in range(addresses):
                for _ in range(PLACES // 4):
                    if self.stopping.is_set():
                        return
                    with suppress(OSError):
                        self._connection(name, f"127.0.{10 + address}.1")
                        self._count("silent connections")

    def unfinished(self) -> None:
        """Messages that do not end, as large as the spool."""
        for _ in range(30):
            if self.stopping.is_set():
                return
            with suppress(OSError):
                connection = self._connection("SMTP", "127.0.30.1")
                connection.settimeout(5)
                connection.recv(1000)
                connection.sendall(
                    b"EHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<mallory@evil.test>\r\nDATA\r\n"
                )
                connection.recv(4000)
                connection.sendall(b"Subject: x\r\n\r\n" + b"x" * 70 * 30_000 + b"\r\n")
                self._count("unfinished messages")

    def guesses(self) -> None:
        """Wrong passwords for the honest account."""
        for number in range(60):
            if self.stopping.is_set():
                return
            with suppress(OSError):
                connection = self._connection("POP3", "127.0.40.1")
                connection.settimeout(5)
                connection.recv(1000)
                connection.sendall(b"USER bob@good.test\r\nPASS wrong %d\r\n" % number)
                connection.recv(1000)
                connection.close()
                self._count("guesses")
            time.sleep(0.2)

    def imports(self) -> None:
        """A large bulk import, whose directory entries are published before everybody else's
        unless lanes are kept."""
        lines = (
            json.dumps({"address": f"u{n}@evil.test", "password_hash": HASH}) for n in range(3000)
        )
        body = "\n".join(lines).encode() + b"\n"
        headers = self.headers | {"Content-Type": "application/x-ndjson"}
        answer = httpx.post(
            self._url("/v1/import/accounts"),
            content=body,
            headers=headers,
            timeout=120,
            verify=False,
        )
        assert answer.status_code in (200, 429), answer.text
        self._count("bulk imports")

    def slow_uploads(self) -> None:
        """Imports of mail that hardly move."""

        def pieces() -> Iterator[bytes]:
            yield b"From"
            while not self.stopping.wait(0.5):
                yield b" "

        def one() -> None:
            with suppress(httpx.HTTPError):
                httpx.post(
                    self._url("/v1/accounts/mallory@evil.test/import?format=mbox"),
                    content=pieces(),
                    headers=self.headers,
                    timeout=60,
                    verify=False,
                )

        threads = [threading.Thread(target=one, daemon=True) for _ in range(6)]
        for thread in threads:
            thread.start()
            self._count("slow uploads")
        for thread in threads:
            thread.join(40)

    def sends(self) -> None:
        """Messages over the API as fast as they are taken."""
        message = {
            "from": "mallory@evil.test",
            "to": ["a@nowhere.test"],
            "subject": "x",
            "text": "x",
        }
        with httpx.Client(headers=self.headers, timeout=30, verify=False) as client:
            for _ in range(600):
                if self.stopping.is_set():
                    return
                client.post(self._url("/v1/send"), json=message)
                self._count("sends")

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.system.ports['API']}{path}"


def _made(system: System, path: str, document: dict[str, object]) -> dict[str, str]:
    answer = system.api.post(path, json=document)
    assert answer.status_code == 201, answer.text
    found: dict[str, str] = answer.json()
    return found


@pytest.fixture(scope="module")
def keys(system: System) -> dict[str, str]:
    """Two tenants, each with a domain, an account and a key of its admin."""
    found = {}
    for name, account in (("evil", "mallory"), ("good", "bob")):
        _made(system, "/v1/tenants", {"name": name, "verify_domains": False})
        _made(system, "/v1/domains", {"name": f"{name}.test", "tenant": name})
        _made(system, "/v1/accounts", {"address": f"{account}@{name}.test", "password": PASSWORD})
        found[name] = _made(
            system, "/v1/api-keys", {"name": name, "role": "tenant-admin", "tenant": name}
        )["key"]
    parts = [f"part{n}@evil.test" for n in range(9)]
    for n, part in enumerate(parts):
        _made(
            system,
            "/v1/aliases",
            {"address": part, "targets": [f"x{n}-{m}@nowhere.test" for m in range(90)]},
        )
    _made(system, "/v1/aliases", {"address": "all@evil.test", "targets": parts})
    return found


def _offer(system: System, ledger: Ledger, name: str, to: str, until: float) -> None:
    """Send one message as a mail server does: again after a transient answer or a connection
    that fails."""
    octets = f"Message-ID: <{name}@example.org>\r\nSubject: {name}\r\n\r\nhonest\r\n".encode()
    ledger.offered[name] = time.monotonic()
    while time.monotonic() < until:
        try:
            with smtplib.SMTP(
                "127.0.0.1", system.ports["SMTP"], timeout=15, source_address=("127.0.0.5", 0)
            ) as session:
                session.sendmail("friend@example.org", [to], octets)
                return
        except smtplib.SMTPRecipientsRefused as error:
            ((code, text),) = error.recipients.values()
            if code >= 500:
                ledger.refused.append(f"{name}: {code} {text!r}")
                return
        except smtplib.SMTPResponseException as error:
            if error.smtp_code >= 500:
                ledger.refused.append(f"{name}: {error.smtp_code} {error.smtp_error!r}")
                return
        except (OSError, smtplib.SMTPException):
            pass
        time.sleep(1)


def _read(system: System, ledger: Ledger, account: str) -> None:
    try:
        with system.maildrop(account, PASSWORD).session() as reader:
            for number in reader.listing("LIST"):
                for line in reader.many(f"TOP {number} 0").splitlines():
                    if line.startswith(b"Subject: "):
                        ledger.readable.setdefault(line[9:].decode(), time.monotonic())
    except (OSError, RefusedError):
        return


def test_nobody_else_waits_for_a_hostile_tenant(system: System, keys: dict[str, str]) -> None:
    ledger = Ledger()
    _read(system, ledger, "bob@good.test")  # bob's place is a familiar one from here on
    attack = Attack(system, keys["evil"])
    threads = attack.start()
    began = time.monotonic()
    good = {"Authorization": f"Bearer {keys['good']}"}
    try:
        for number in itertools.count():
            if time.monotonic() - began > SECONDS and number > 10:
                break
            _offer(
                system, ledger, f"m{number}", "bob@good.test", time.monotonic() + 2 * MOST_SECONDS
            )
            # a change of the honest tenant, answered while the import of the other one is published
            if number == 10:
                document = {"address": "carol@good.test", "password": PASSWORD}
                answer = httpx.post(
                    f"http://127.0.0.1:{system.ports['API']}/v1/accounts",
                    json=document,
                    headers=good,
                    timeout=60,
                    verify=False,
                )
                assert answer.status_code == 201, answer.text
                _offer(
                    system,
                    ledger,
                    "welcome",
                    "carol@good.test",
                    time.monotonic() + 2 * MOST_SECONDS,
                )
            _read(system, ledger, "bob@good.test")
            if number >= 10:
                _read(system, ledger, "carol@good.test")
            time.sleep(0.3)

        def all_read() -> bool:
            _read(system, ledger, "bob@good.test")
            _read(system, ledger, "carol@good.test")
            return ledger.readable.keys() >= ledger.offered.keys()

        await_that("every honest message can be read", all_read, 2 * MOST_SECONDS, 0.5)
    finally:
        attack.stop(threads)
    assert not attack.faults, attack.faults
    late = ledger.lateness()
    print(
        f"{len(late)} honest messages, the latest {max(late.values()):.1f} s; attack: {attack.done}"
    )
    assert not ledger.refused
    assert len(late) == len(ledger.offered) > 10
    assert max(late.values()) <= MOST_SECONDS + BUSY_SECONDS, sorted(
        late.items(), key=lambda each: each[1]
    )[-5:]
    for way in (
        "wide messages",
        "silent connections",
        "unfinished messages",
        "guesses",
        "bulk imports",
        "slow uploads",
        "sends",
    ):
        assert attack.done.get(way), f"the attack did nothing by way of {way}: {attack.done}"
