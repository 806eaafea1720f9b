"""Checks of a mail system from this machine: TLS, blocklists in DNS, and a message from SMTP to
IMAP and POP3.

Nothing here waits without an end, and what cannot be found out is ``unknown``, never right and
never wrong.
"""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from ipaddress import IPv4Address, IPv6Address, ip_address
from uuid import uuid4

from posthorn_cli.places import TIMEOUT, Place
from posthorn_cli.reading import FAULTS, Mark, found_by_imap, found_by_pop3, imap_connection

OK, WARN, FAIL, UNKNOWN = "ok", "warn", "fail", "unknown"

BLOCKLISTS = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com", "dnsbl.dronebl.org")
"""Lists that many mail servers ask."""
EXPIRES_SOON = 14.0
"""Days before the end of a certificate in which it is worth a warning."""
DNS_SECONDS = 5.0

_TEST_ADDRESS = IPv4Address("127.0.0.2")
"""Every list has this one on it (RFC 5782, section 5)."""
type Lookup = Callable[[str], Sequence[str]]
"""Returns the IPv4 addresses of a name, none when it does not exist. Raises OSError when that
cannot be found out."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look came to."""

    check: str
    status: str
    """OK, WARN, FAIL or UNKNOWN."""
    detail: str


# ---- TLS


def certificate(place: Place, context: ssl.SSLContext) -> Finding:
    """See whether TLS verifies at a place, and for how long still."""
    check = f"TLS at {place}"
    try:
        document = _certificate_at(place, context)
    except ssl.SSLCertVerificationError as error:
        return Finding(check, FAIL, f"the certificate does not verify: {error.verify_message}")
    except (smtplib.SMTPException, *FAULTS) as error:
        return Finding(check, FAIL, f"no TLS: {_reason(error)}")
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(document["notAfter"])), UTC)
    days = (end - datetime.now(UTC)).total_seconds() / 86_400
    return Finding(
        check,
        OK if days > EXPIRES_SOON else WARN,
        f"verifies; it ends on {end:%Y-%m-%d}, in {days:.0f} days",
    )


def _certificate_at(place: Place, context: ssl.SSLContext) -> dict[str, object]:
    match place.scheme:
        case "smtp":
            with smtplib.SMTP(
                place.host, place.port, local_hostname="localhost", timeout=TIMEOUT
            ) as session:
                session.starttls(context=context)
                return _of(session.sock)
        case "pop3":
            maildrop = poplib.POP3(place.host, place.port, timeout=TIMEOUT)
            try:
                maildrop.stls(context)
                return _of(maildrop.sock)
            finally:
                maildrop.close()
        case "imap":
            with imap_connection(place, context) as connection:
                return _of(connection.sock)
        case _:
            with (
                socket.create_connection((place.host, place.port), TIMEOUT) as plain,
                context.wrap_socket(plain, server_hostname=place.host) as wrapped,
            ):
                return _of(wrapped)


def _of(wrapped: object) -> dict[str, object]:
    assert isinstance(wrapped, ssl.SSLSocket)
    return dict(wrapped.getpeercert() or {})


# ---- blocklists


def system_lookup(name: str) -> Sequence[str]:
    """Ask the system's resolver, which may take long: in a thread that is left behind when it
    does."""
    future: Future[list[str]] = Future()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
            future.set_result([str(each[4][0]) for each in found])
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
                future.set_result([])
            else:
                future.set_exception(error)
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return future.result(DNS_SECONDS)
    except NotInTime:
        raise OSError(f"no answer in {DNS_SECONDS:.0f} s") from None


def blocklisted(
    address: IPv4Address | IPv6Address, zone: str, lookup: Lookup = system_lookup
) -> Finding:
    """See whether an address is on a list."""
    check = f"{address} on {zone}"
    if not address.is_global:
        return Finding(check, UNKNOWN, "not an address of the internet")
    try:
        if not _listing(_TEST_ADDRESS, zone, lookup):
            return Finding(check, UNKNOWN, "the list does not answer this machine's resolver")
        found = _listing(address, zone, lookup)
    except OSError as error:
        return Finding(check, UNKNOWN, f"no DNS here: {_reason(error)}")
    if found:
        return Finding(
            check,
            FAIL,
            f"listed ({', '.join(found)}): see the list's page for why, and how to be taken off",
        )
    return Finding(check, OK, "not listed")


def _listing(address: IPv4Address | IPv6Address, zone: str, lookup: Lookup) -> list[str]:
    """Answers within 127.0.0.0/8 mean that it is listed; 127.255.255.0/24, that the list does
    not serve this resolver."""
    name = address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    found = [each for each in lookup(f"{name}.{zone}.") if each.startswith("127.")]
    return [] if any(each.startswith("127.255.255.") for each in found) else found


def address_of_pointer(name: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a PTR record's name stands for."""
    labels = name.lower().rstrip(".").split(".")
    with suppress(ValueError):
        if labels[-2:] == ["in-addr", "arpa"]:
            return ip_address(".".join(reversed(labels[:-2])))
        if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
            digits = "".join(reversed(labels[:-2]))
            return ip_address(":".join(digits[at : at + 4] for at in range(0, 32, 4)))
    return None


# ---- a message


@dataclass(frozen=True, slots=True)
class Trip:
    """A test message: submitted at one place, fetched at one or two others."""

    sender: str
    recipient: str
    password: str
    smtp: Place
    imap: Place | None
    pop3: Place | None
    seconds: float
    """How long it may take to each of the two."""


def round_trip(trip: Trip, context: ssl.SSLContext) -> Finding:
    """Send a message by SMTP, wait for it by IMAP and POP3, and delete it there."""
    check = f"a message to {trip.recipient}"
    mark = Mark(trip.recipient, trip.password, uuid4().hex)
    began = time.monotonic()
    try:
        _send(trip, mark.text, context)
    except ssl.SSLCertVerificationError as error:
        return Finding(
            check, FAIL, f"{trip.smtp}: the certificate does not verify: {error.verify_message}"
        )
    except (OSError, smtplib.SMTPException) as error:
        return Finding(check, FAIL, f"{trip.smtp} did not accept it: {_reason(error)}")
    ways: list[tuple[str, Place, Callable[[Place], bool]]] = []
    if trip.imap is not None:
        # where POP3 reads it too, it is deleted there
        last = trip.pop3 is None
        ways.append(
            ("IMAP", trip.imap, lambda place: found_by_imap(place, mark, context, delete=last))
        )
    if trip.pop3 is not None:
        ways.append(("POP3", trip.pop3, lambda place: found_by_pop3(place, mark, context)))
    for _, place, look in ways:
        wrong = _awaited(place, look, trip.seconds)
        if wrong is not None:
            return Finding(check, FAIL, f"accepted by {trip.smtp}, but {wrong}")
    names = " and ".join(name for name, _, _ in ways)
    return Finding(check, OK, f"in by SMTP and out by {names} in {time.monotonic() - began:.1f} s")


def _awaited(place: Place, look: Callable[[Place], bool], seconds: float) -> str | None:
    """Look until the message is found; return what is wrong otherwise."""
    began = time.monotonic()
    wrong = "it did not arrive"
    while time.monotonic() - began < seconds:
        try:
            if look(place):
                return None
            wrong = "it did not arrive"
        except ssl.SSLCertVerificationError as error:
            return f"at {place} the certificate does not verify: {error.verify_message}"
        except FAULTS as error:
            wrong = _reason(error)
        time.sleep(0.3)
    return f"after {seconds:.0f} s at {place}: {wrong}"


def _send(trip: Trip, mark: str, context: ssl.SSLContext) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        trip.sender,
        trip.recipient,
        f"Test message {mark}",
    )
    message.set_content(
        "This is a test message of `posthorn doctor`. It is deleted once it is found.\n"
    )
    if trip.smtp.scheme == "tls":
        session: smtplib.SMTP = smtplib.SMTP_SSL(
            trip.smtp.host,
            trip.smtp.port,
            local_hostname="localhost",
            timeout=TIMEOUT,
            context=context,
        )
    else:
        session = smtplib.SMTP(
            trip.smtp.host, trip.smtp.port, local_hostname="localhost", timeout=TIMEOUT
        )
    with session:
        session.send_message(message)


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        error = smtplib.SMTPResponseException(*next(iter(error.recipients.values())))
    if isinstance(error, smtplib.SMTPResponseException):
        text = (
            error.smtp_error.decode(errors="replace")
            if isinstance(error.smtp_error, bytes)
            else error.smtp_error
        )
        return f"{error.smtp_code} {text}"
    if isinstance(error, poplib.error_proto | imaplib.IMAP4.error):
        said = error.args[0] if error.args else ""
        return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return (
        (error.strerror if isinstance(error, OSError) else None)
        or str(error)
        or type(error).__name__
    )
