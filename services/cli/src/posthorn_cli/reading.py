"""Finding a test message in an account's INBOX, by POP3 or IMAP, for `posthorn doctor`."""

from __future__ import annotations

import imaplib
import poplib
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeIs

from posthorn_cli.places import TIMEOUT, Place

FAULTS = (OSError, poplib.error_proto, imaplib.IMAP4.error)
"""What reading raises; the mailbox may also be in use (POP3)."""
_LARGEST_LOOK = 20
"""Newest messages that are searched for the test message."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A test message: whose it is, and the text in its Subject that it is known by."""

    address: str
    password: str
    text: str


def found_by_pop3(place: Place, mark: Mark, context: ssl.SSLContext) -> bool:
    """Look for the message; delete it where it is found. Raises FAULTS."""
    maildrop: poplib.POP3
    if place.scheme == "tls":
        maildrop = poplib.POP3_SSL(place.host, place.port, timeout=TIMEOUT, context=context)
    else:
        maildrop = poplib.POP3(place.host, place.port, timeout=TIMEOUT)
    try:
        if place.scheme != "tls":
            maildrop.stls(context)  # the password goes no other way
        maildrop.user(mark.address)
        maildrop.pass_(mark.password)
        newest = maildrop.stat()[0]
        for number in range(newest, max(0, newest - _LARGEST_LOOK), -1):
            if any(mark.text.encode() in line for line in maildrop.top(number, 0)[1]):
                maildrop.dele(number)
                maildrop.quit()
                return True
        maildrop.quit()
        return False
    finally:
        with suppress(OSError):  # a failed handshake has closed it; its reason counts
            maildrop.close()


def found_by_imap(place: Place, mark: Mark, context: ssl.SSLContext, *, delete: bool) -> bool:
    """Look for the message. Raises FAULTS."""
    with imap_connection(place, context) as connection:
        connection.authenticate("PLAIN", lambda _: f"\0{mark.address}\0{mark.password}".encode())
        count = int(_ok(connection.select("INBOX", readonly=not delete))[0] or b"0")
        if not count:
            return False
        newest = f"{max(1, count - _LARGEST_LOOK + 1)}:*"
        fetched = _ok(connection.fetch(newest, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
        number = next(
            (each[0].split()[0].decode() for each in fetched if _has(each, mark.text)), None
        )
        if number is None:
            return False
        if delete:
            _ok(connection.store(number, "+FLAGS.SILENT", r"(\Deleted)"))
            known = re.search(rb"UID (\d+)", b"".join(_ok(connection.fetch(number, "(UID)"))))
            assert known is not None, "a server tells the UID that it was asked for"
            _ok(connection.uid("EXPUNGE", known[1].decode()))
        connection.logout()
        return True


@contextmanager
def imap_connection(place: Place, context: ssl.SSLContext) -> Iterator[imaplib.IMAP4]:
    """Connect, under TLS from the first byte or by STARTTLS. Raises FAULTS."""
    connection: imaplib.IMAP4
    if place.scheme == "tls":
        connection = imaplib.IMAP4_SSL(place.host, place.port, ssl_context=context, timeout=TIMEOUT)
    else:
        connection = imaplib.IMAP4(place.host, place.port, timeout=TIMEOUT)
    try:
        if place.scheme != "tls":
            connection.starttls(context)  # the password goes no other way
        yield connection
    finally:
        with suppress(OSError):
            connection.shutdown()


def _has(part: object, text: str) -> TypeIs[tuple[bytes, bytes]]:
    """Return whether a part of a FETCH is a literal with this text."""
    return isinstance(part, tuple) and text.encode() in part[1]


def _ok(answer: tuple[str, list[Any]]) -> list[Any]:
    status, lines = answer
    if status != "OK":
        raise imaplib.IMAP4.error(lines[0] if lines else status)
    return lines
