"""Run by ``helm test``: create an account, send it a message to port 25, read the same bytes by
IMAP and POP3, whichever is there, clean up."""
# ruff: noqa: PTH123, S310, T201, TID251 - a script of its own, configured by its pod's environment

from __future__ import annotations

import imaplib
import json
import os
import poplib
import secrets
import smtplib
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial

API, KEY = os.environ["API_URL"], os.environ["API_KEY"]
SMTP_HOST, SMTP_PORT = os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"])
IMAP_HOST, IMAPS_PORT = os.environ.get("IMAP_HOST", ""), int(os.environ.get("IMAPS_PORT", "993"))
POP3_HOST, POP3S_PORT = os.environ.get("POP3_HOST", ""), int(os.environ.get("POP3S_PORT", "995"))
CERTIFICATE = os.environ["CERTIFICATE"]
DOMAIN = os.environ["TEST_DOMAIN"]
DEADLINE = time.monotonic() + float(os.environ["TEST_SECONDS"])


def call(
    method: str,
    path: str,
    document: dict[str, str | bool] | None = None,
    well: tuple[int, ...] = (),
) -> int:
    """Call the API; end the test when it answers neither 2xx nor one of ``well``."""
    request = urllib.request.Request(
        API + path,
        method=method,
        data=json.dumps(document).encode() if document is not None else None,
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        if refusal.code in well:
            return refusal.code
        sys.exit(
            f"{method} {path} answered {refusal.code}: {refusal.read().decode(errors='replace')}"
        )


def until_done[T](what: Callable[[], T], *faults: type[Exception]) -> T:
    """Repeat a call until it succeeds or the time is up: the first start is slow."""
    while True:
        try:
            return what()
        except faults as fault:
            if time.monotonic() > DEADLINE:
                sys.exit(f"gave up: {type(fault).__name__}: {fault}")
            print(f"not yet: {type(fault).__name__}: {fault}", flush=True)
            time.sleep(2)


def send(address: str, message: bytes) -> None:
    """Send the message as another mail server does."""
    with smtplib.SMTP(
        SMTP_HOST, SMTP_PORT, local_hostname="helm-test.example", timeout=30
    ) as client:
        refused = client.sendmail("sender@helm-test.example", [address], message)
        assert not refused, refused


class NotThereError(Exception):
    """No message has arrived yet."""


def tls() -> ssl.SSLContext:
    """Return a context that takes any certificate; ``check`` compares it with the mounted one."""
    context = ssl.create_default_context()
    context.check_hostname = False  # inside the cluster the server has another name
    context.verify_mode = ssl.CERT_NONE
    return context


def check(connection: object) -> None:
    """Require the mounted certificate."""
    with open(CERTIFICATE) as file:
        leaf = file.read().partition("-----END CERTIFICATE-----")
    assert isinstance(connection, ssl.SSLSocket)
    assert connection.getpeercert(True) == ssl.PEM_cert_to_DER_cert(leaf[0] + leaf[1]), (
        "another certificate"
    )


def read_by_imap(address: str, password: str) -> bytes:
    """Read the message over TLS, and leave it there."""
    client = imaplib.IMAP4_SSL(IMAP_HOST, IMAPS_PORT, ssl_context=tls(), timeout=30)
    try:
        check(client.sock)
        client.login(address, password)
        if client.select("INBOX", readonly=True)[1] == [b"0"]:
            raise NotThereError("INBOX is empty")
        for part in client.fetch("1", "(BODY.PEEK[])")[1]:
            if isinstance(part, tuple):
                return part[1]
        raise NotThereError("FETCH returns nothing")
    finally:
        client.logout()


def read_by_pop3(address: str, password: str) -> bytes:
    """Read and delete the message over TLS."""
    client = poplib.POP3_SSL(POP3_HOST, POP3S_PORT, timeout=30, context=tls())
    try:
        check(client.sock)
        client.user(address)
        client.pass_(password)
        if client.stat()[0] == 0:
            raise NotThereError("the maildrop is empty")
        lines = client.retr(1)[1]
        client.dele(1)
        return b"".join(line + b"\r\n" for line in lines)
    finally:
        client.quit()


def main() -> None:
    """Run the test and delete what it created."""
    address, password = f"test-{secrets.token_hex(6)}@{DOMAIN}", secrets.token_urlsafe(18)
    message = (
        f"From: sender@helm-test.example\r\nTo: {address}\r\nSubject: helm test {secrets.token_hex(4)}\r\n"
        "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\nA message\r\n.\r\n..with dots\r\n\r\nand an end\r\n"
    ).encode()
    made = (
        until_done(
            lambda: call("POST", "/v1/domains", {"name": DOMAIN, "dkim": False}, (409,)), OSError
        )
        == 201
    )
    try:
        call("POST", "/v1/accounts", {"address": address, "password": password})
        until_done(lambda: send(address, message), OSError, smtplib.SMTPException)
        print("the message was accepted", flush=True)
        for name, host, read in (
            ("IMAP", IMAP_HOST, read_by_imap),
            ("POP3", POP3_HOST, read_by_pop3),
        ):
            if not host:
                continue
            stored = until_done(
                partial(read, address, password),
                NotThereError,
                OSError,
                imaplib.IMAP4.error,
                poplib.error_proto,
            )
            if not stored.endswith(message):
                sys.exit(f"{name}: the message was changed:\n{stored.decode(errors='replace')}")
            print(f"the same bytes were read by {name}", flush=True)
    finally:
        call("DELETE", f"/v1/accounts/{address}", well=(404,))
        if made:
            call("DELETE", f"/v1/domains/{DOMAIN}", well=(404, 409))


if __name__ == "__main__":
    main()
