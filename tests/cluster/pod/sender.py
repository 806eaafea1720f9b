"""Runs in a pod beside the release: sends messages at a steady rate, each with an id of its own,
and writes down every answer.

A script of its own, with the standard library alone. It is told what goes on by the file
``/tmp/phase``, and to end by ``/tmp/stop``. The ledger is ``/tmp/ledger.jsonl``, one JSON object a
line:

- ``{"phase", "at"}``: a phase began, in seconds of this process' clock;
- ``{"id", "at", "took", "answer"}``: an attempt, when it ended, and the code of its last reply, or
  ``refused`` when the connection could not be made or broke before the end of the data (the message
  is the sender's still), or ``unknown`` when it broke after it (RFC 1047);
- ``{"client", "at", "took", "well", "said"}``: what a mail client or a program met meanwhile.

An attempt is never repeated: another message takes its turn.
"""

from __future__ import annotations

import imaplib
import json
import os
import poplib
import queue
import smtplib
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOSTS = {name: os.environ[f"{name}_HOST"] for name in ("SMTP", "SUBMISSION", "IMAP", "POP3", "API")}
RATE = float(os.environ["RATE"])
ADDRESSES = os.environ["ADDRESSES"].split(",")
PROBE, PASSWORD, KEY = os.environ["PROBE"], os.environ["PASSWORD"], os.environ["API_KEY"]
LEDGER, PHASE, STOP = Path("/tmp/ledger.jsonl"), Path("/tmp/phase"), Path("/tmp/stop")
WORKERS, KEPT = 32, 4
_TIMEOUT = 20.0

_lock = threading.Lock()
_numbers = iter(range(1, 10**9))


def note(**entry: Any) -> None:
    """Write a line of the ledger."""
    line = json.dumps({"at": round(time.monotonic(), 3), **entry})
    with _lock, LEDGER.open("a") as file:
        file.write(line + "\n")


def content(number: int) -> bytes:
    """The message of a number: about 1.5 kB, with lines that begin with dots."""
    head = f"From: load@load.example\r\nTo: {address(number)}\r\nSubject: ledger {number}\r\n"
    head += f"Message-ID: <{number}@load.example>\r\n\r\n"
    body = "".join(
        f"{'.' * (line % 3)}line {line} of {number} {'x' * 40}\r\n" for line in range(24)
    )
    return (head + body + f"end of {number}\r\n").encode()


def address(number: int) -> str:
    """Whose the message of a number is."""
    return ADDRESSES[number % len(ADDRESSES)]


class Sender:
    """One client. A kept one goes on with its session until that ends."""

    def __init__(self, kept: bool) -> None:
        self._kept = kept
        self._session: smtplib.SMTP | None = None

    def send(self, number: int) -> None:
        """Make one attempt and note its end."""
        began, in_data = time.monotonic(), False
        try:
            if self._session is None:
                self._session = smtplib.SMTP(
                    HOSTS["SMTP"], 25, local_hostname="load.example", timeout=_TIMEOUT
                )
            session = self._session
            for code, _ in (
                session.ehlo(),
                session.mail("sender@load.example"),
                session.rcpt(address(number)),
            ):
                if code != 250:
                    self._end(number, began, str(code))
                    return
            if (code := session.docmd("DATA")[0]) != 354:
                self._end(number, began, str(code))
                return
            in_data = True
            session.send(_stuffed(content(number)))
            code, _ = session.getreply()
            self._end(number, began, str(code), keep=self._kept and code == 250)
        except smtplib.SMTPResponseException as error:
            self._end(number, began, str(error.smtp_code) if error.smtp_code > 0 else "refused")
        except (OSError, smtplib.SMTPException):
            self._end(number, began, "unknown" if in_data else "refused")

    def _end(self, number: int, began: float, answer: str, keep: bool = False) -> None:
        note(id=number, took=round(time.monotonic() - began, 3), answer=answer)
        if self._session is not None and not keep:
            self._session.close()
            self._session = None


def _stuffed(octets: bytes) -> bytes:
    return octets.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def read_mail() -> None:
    """Log in by POP3 over TLS, as a mail client does."""
    client = poplib.POP3_SSL(HOSTS["POP3"], 995, timeout=_TIMEOUT, context=_unchecked())
    try:
        client.user(PROBE)
        client.pass_(PASSWORD)
        client.stat()
        client.quit()
    finally:
        client.close()


def look_at_inbox() -> None:
    """Log in by IMAP over TLS, as a mail client does."""
    with imaplib.IMAP4_SSL(
        HOSTS["IMAP"], 993, ssl_context=_unchecked(), timeout=_TIMEOUT
    ) as client:
        client.login(PROBE, PASSWORD)
        client.select("INBOX", readonly=True)


def log_in() -> None:
    """Log in for submission."""
    with smtplib.SMTP_SSL(
        HOSTS["SUBMISSION"], 465, timeout=_TIMEOUT, context=_unchecked()
    ) as client:
        client.login(PROBE, PASSWORD)


def ask_api() -> None:
    """Ask for an account."""
    request = urllib.request.Request(
        f"http://{HOSTS['API']}:8080/v1/accounts/{PROBE}",
        headers={"Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        answer.read()


def probe(name: str, what: Callable[[], None]) -> None:
    """Do something once a second, and note how it went."""
    while not STOP.exists():
        began, well, said = time.monotonic(), True, ""
        try:
            what()
        except Exception as error:  # whatever it is, it is what a client met
            well, said = False, f"{type(error).__name__}: {error}"[:200]
        note(client=name, took=round(time.monotonic() - began, 3), well=well, said=said)
        time.sleep(1)


def follow_phases() -> None:
    """Note each phase when it begins."""
    current = ""
    while not STOP.exists():
        name = PHASE.read_text().strip() if PHASE.exists() else ""
        if name and name != current:
            current = name
            note(phase=name)
        time.sleep(0.05)


def work(kept: bool, turns: queue.Queue[int]) -> None:
    """Take turns until the end."""
    client = Sender(kept)
    while (number := turns.get()) > 0:
        client.send(number)


def main() -> None:
    """Send until told to stop. A turn that finds every worker busy is left out, so that an
    outage piles nothing up."""
    turns: queue.Queue[int] = queue.Queue()
    workers = [threading.Thread(target=work, args=(each < KEPT, turns)) for each in range(WORKERS)]
    clients = {
        "submission": log_in,
        "IMAP": look_at_inbox,
        "POP3": read_mail,
        "API": ask_api,
    }
    others = [threading.Thread(target=probe, args=client) for client in clients.items()]
    others.append(threading.Thread(target=follow_phases))
    for thread in (*workers, *others):
        thread.start()
    due = time.monotonic()
    while not STOP.exists():
        due = max(due + 1 / RATE, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))
        if turns.qsize() < WORKERS and PHASE.exists():
            turns.put(next(_numbers))
    for _ in workers:
        turns.put(0)
    for thread in (*workers, *others):
        thread.join()
    note(phase="end")
    while True:  # the ledger is read from this pod
        time.sleep(3600)


if __name__ == "__main__":
    main()
