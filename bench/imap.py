"""IMAP beside Dovecot: the same commands on the same messages, in rounds that alternate, of which
the median of each figure counts.

Dovecot (a Maildir) and Posthorn each get the messages by APPEND, in each round into another mailbox.
The first FETCH of what a server
prepares (ENVELOPE, BODYSTRUCTURE) is the cold one, the second the warm one. Figures are times of the
client, in the unit of their name.
"""

from __future__ import annotations

import random
import ssl
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import batched
from typing import Any

from tests.support.dovecot import dovecot

from bench.imap_client import BenchImap
from bench.peers import PASSWORD
from bench.system import System, cost

_MANY = 1000
"""Messages of one STORE, COPY and MOVE."""
_WORST = ("idle_max_ms", "idle_connection_kib")
"""Figures of which the highest round counts."""
_WORDS = ("mail", "server", "answer", "letterbox", "station", "weather", "garden", "number")

LABELS = (
    ("sessions_per_s", "login, SELECT, LOGOUT, sessions/s", False),
    ("append_ms", "APPEND, ms each", True),
    ("multiappend_us", "APPEND of 100 at once, us each", True),
    ("flags_us", "FETCH FLAGS, us each", True),
    ("envelope_cold_us", "FETCH ENVELOPE cold, us each", True),
    ("envelope_warm_us", "FETCH ENVELOPE warm, us each", True),
    ("structure_cold_us", "FETCH BODYSTRUCTURE cold, us each", True),
    ("structure_warm_us", "FETCH BODYSTRUCTURE warm, us each", True),
    ("body_each_us", "FETCH BODY[], a command each, us each", True),
    ("body_all_us", "FETCH BODY[] in one command, us each", True),
    ("store_one_ms", "STORE of one, ms", True),
    ("store_many_ms", f"STORE of {_MANY}, ms", True),
    ("copy_many_ms", f"COPY of {_MANY}, ms", True),
    ("move_many_ms", f"MOVE of {_MANY}, ms", True),
    ("search_unseen_us", "SEARCH UNSEEN, us each", True),
    ("search_subject_us", "SEARCH SUBJECT, us each", True),
    ("search_body_us", "SEARCH BODY, us each", True),
    ("idle_p50_ms", "new mail seen in IDLE, p50 ms", True),
    ("idle_max_ms", "new mail seen in IDLE, worst ms", True),
    ("idle_connection_kib", "memory of an idle TLS connection, KiB", True),
)
"""Key, label, and whether less is better."""


@dataclass(frozen=True, slots=True)
class Side:
    """A server: where it listens, the processes that serve IMAP, and whose mailbox is used."""

    port: int
    tls_port: int
    context: ssl.SSLContext
    pid: Callable[[], int]
    user: str = ""

    def client(self, *, tls: bool = False) -> BenchImap:
        if tls:
            return BenchImap(self.tls_port, self.user, PASSWORD, self.context)
        return BenchImap(self.port, self.user, PASSWORD)


def measure_imap(results: dict[str, Any], system: System, rounds: int, *, quick: bool) -> None:
    """Measure rounds of both, the first of a round in turn."""
    count, idle = (1000, 50) if quick else (10_000, 500)
    users = [f"imap{number}@example.test" for number in range(rounds)]
    for user in users:
        system.make_account(user, PASSWORD)
    ours = Side(
        system.imap,
        system.imaps,
        ssl.create_default_context(cafile=str(system.home / "tls" / "tls.crt")),
        lambda: system.parts()["imap"],
    )
    found: dict[str, list[dict[str, float]]] = {"posthorn": [], "dovecot": []}
    for number, user in enumerate(users):
        for name in list(found) if number % 2 else reversed(found):
            if name == "posthorn":
                found[name].append(_side(replace(ours, user=user), count, idle))
                continue
            # a new one each time: processes of the last are without inotify, since those of its
            # idle connections held all that a user may have
            with dovecot({user: PASSWORD}, prefix="", separator="/") as running:
                pid = running.pid
                theirs = Side(
                    running.imap, running.imaps, running.trusting(), partial(int, pid), user
                )
                found[name].append(_side(theirs, count, idle))
    results["imap"] = {"messages": count, "idle_connections": idle}
    for name, each in found.items():
        results["imap"][name] = {
            # memory of the second round is in part what the first has given back
            key: (max if key in _WORST else statistics.median)(one[key] for one in each)
            for key in each[0]
        }
        results["imap"][f"{name}_rounds"] = each


def show_imap(part: dict[str, Any]) -> None:
    """Print the table."""
    print(
        f"IMAP, {part['messages']} messages of 5.7 KB{'':<21} Posthorn   Dovecot   ratio   (of rounds)"
    )
    pairs = list(zip(part["posthorn_rounds"], part["dovecot_rounds"], strict=True))
    for key, label, less in LABELS:
        ours, theirs = part["posthorn"][key], part["dovecot"][key]
        ratio = ours / theirs if theirs else float("nan")
        rounds = " ".join(f"{one[key] / other[key]:.2f}" for one, other in pairs if other[key])
        print(
            f"  {label:<44} {ours:>9.2f} {theirs:>9.2f} {ratio:>7.2f}   ({rounds})"
            f"{'' if less else ' (more is better)'}"
        )
    print()


def message(number: int) -> bytes:
    """Return a message of about 5.7 KB, each one different."""
    chosen = random.Random(number)
    trace = b"".join(
        b"Received: from relay%d.example.net (relay%d.example.net [192.0.2.%d])\r\n\tby mx.example.test with ESMTPS\r\n"
        b"\tid %032x; Sun, 29 Nov 2026 10:00:00 +0000\r\n"
        % (hop, hop, hop, chosen.getrandbits(128))
        for hop in range(1, 4)
    )
    words = " ".join(chosen.choices(_WORDS, k=6))
    head = (
        f"From: Sender {number} <sender{number}@example.net>\r\nTo: Reader <imap@example.test>\r\n"
        f"Subject: {words} {number}\r\nDate: Sun, 29 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{number}.{chosen.getrandbits(64):x}@example.net>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
    ).encode()
    line = " ".join(chosen.choices(_WORDS, k=10)).encode() + b"\r\n"
    plain = b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + line * 20
    html = (
        b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>"
        + line * 40
        + b"</p>\r\n--b--\r\n"
    )
    return trace + head + plain + html


def _side(side: Side, count: int, idle: int) -> dict[str, float]:
    found: dict[str, float] = {}
    client = side.client()
    alone = min(count // 10, 300)
    began = time.monotonic()
    for number in range(alone):
        client.append("INBOX", message(number))
    found["append_ms"] = 1e3 * (time.monotonic() - began) / alone
    began = time.monotonic()
    for numbers in batched(range(alone, count), 100, strict=False):
        client.append("INBOX", *map(message, numbers))
    found["multiappend_us"] = 1e6 * (time.monotonic() - began) / (count - alone)

    client.ask("SELECT INBOX")

    def each(command: str, messages: int = count) -> float:
        return 1e6 * _seconds(client, command) / messages

    for name, item in (("envelope", "ENVELOPE RFC822.SIZE INTERNALDATE"), ("structure", "BODYSTRUCTURE")):  # fmt: skip
        for state in ("cold", "warm"):
            found[f"{name}_{state}_us"] = each(f"FETCH 1:* ({item})")
    found["flags_us"] = each("UID FETCH 1:* (FLAGS)")
    found["body_all_us"] = each("FETCH 1:* (BODY.PEEK[])")
    began = time.monotonic()
    for number in range(1, alone + 1):
        client.ask(f"UID FETCH {number} (BODY.PEEK[])")
    found["body_each_us"] = 1e6 * (time.monotonic() - began) / alone
    found["search_unseen_us"] = each("UID SEARCH UNSEEN")
    found["search_subject_us"] = each('UID SEARCH SUBJECT "garden garden"')
    found["search_body_us"] = each('UID SEARCH BODY "no such words"')
    ones = [1e3 * _seconds(client, rf"UID STORE {number} +FLAGS (\Flagged)") for number in range(1, 51)]  # fmt: skip
    found["store_one_ms"] = statistics.median(ones)
    many = f"1:{min(_MANY, count // 2)}"
    found["store_many_ms"] = 1e3 * _seconds(client, rf"UID STORE {many} +FLAGS.SILENT (\Seen)")
    client.ask("CREATE Copies")
    found["copy_many_ms"] = 1e3 * _seconds(client, f"UID COPY {many} Copies")
    found["move_many_ms"] = 1e3 * _seconds(client, f"UID MOVE {many} Copies")
    client.close()

    sessions = min(count // 10, 200)
    began = time.monotonic()
    for _ in range(sessions):
        client = side.client()
        client.ask("SELECT INBOX")
        client.close()
    found["sessions_per_s"] = sessions / (time.monotonic() - began)
    return found | _idle_latency(side, min(count // 50, 50)) | _idle_memory(side, idle)


def _seconds(client: BenchImap, command: str) -> float:
    began = time.monotonic()
    client.ask(command)
    return time.monotonic() - began


def _idle_latency(side: Side, times: int) -> dict[str, float]:
    waiting, sending = side.client(), side.client()
    waiting.ask("SELECT INBOX")
    waiting.idle()
    found = []
    for number in range(times):
        sending.append("INBOX", message(1_000_000 + number))
        told = time.monotonic()
        found.append(max(waiting.await_exists() - told, 0.0))
    waiting.done()
    for client in (waiting, sending):
        client.close()
    return {"idle_p50_ms": 1e3 * statistics.median(found), "idle_max_ms": 1e3 * max(found)}


def _idle_memory(side: Side, count: int) -> dict[str, float]:
    warm = side.client(tls=True)
    before = cost(side.pid()).resident
    held = []
    for _ in range(count):
        client = side.client(tls=True)
        client.ask("SELECT INBOX")
        client.idle()
        held.append(client)
    time.sleep(1)
    after = cost(side.pid()).resident
    for client in held:
        client.abandon()
    warm.close()
    return {"idle_connection_kib": (after - before) / count / 1024}
