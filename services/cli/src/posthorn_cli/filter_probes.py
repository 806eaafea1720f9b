"""The test texts of spam filters and virus scanners, sent on their whole way by `posthorn doctor`."""

from __future__ import annotations

import re
import smtplib
import ssl
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any
from uuid import uuid4

from posthorn_cli.client import ApiError, Unreachable
from posthorn_cli.faults import lines_of
from posthorn_cli.places import TIMEOUT, Place
from posthorn_cli.probes import FAIL, OK, UNKNOWN, WARN, Finding
from posthorn_cli.session import Session

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
# in two pieces, so that no scanner takes this file for one
EICAR = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SENDER = "doctor@posthorn.invalid"


def filter_findings(
    session: Session, place: Place, recipient: str, seconds: float, context: ssl.SSLContext
) -> Iterator[Finding]:
    """Yield what became of a message with GTUBE and of one with EICAR, by the reply and the trace."""
    for name, text in (("GTUBE", GTUBE), ("EICAR", EICAR)):
        check = f"a message with {name}"
        try:
            code, reply = _sent(place, recipient, name, text, context)
        except (OSError, smtplib.SMTPException) as error:
            yield Finding(check, UNKNOWN, f"{place} did not take it: {error or type(error)}")
            continue
        found = _ID.search(reply)
        if name == "EICAR" and code >= 500 and "virus" in reply.lower():
            yield Finding(check, OK, f"refused: {code} {reply}")
        elif code >= 400 or found is None:
            yield Finding(check, WARN if code >= 500 else UNKNOWN, f"{code} {reply}")
        else:
            yield _judged(session, check, name, found[0], seconds)


def _sent(
    place: Place, recipient: str, name: str, text: str, context: ssl.SSLContext
) -> tuple[int, str]:
    """Send a message; return the last reply, or that of the command that was refused."""
    message = EmailMessage()
    message["From"], message["To"] = _SENDER, recipient
    message["Subject"] = f"Test of the filter by `posthorn doctor`: {name}"
    message["Message-ID"] = f"<{uuid4().hex}@posthorn.invalid>"
    if name == "EICAR":
        message.set_content("The attachment is the test file of virus scanners. It does nothing.\n")
        message.add_attachment(
            text.encode(), maintype="application", subtype="octet-stream", filename="eicar.com"
        )
    else:
        message.set_content(f"{text}\n")
    if place.scheme == "tls":
        session: smtplib.SMTP = smtplib.SMTP_SSL(
            place.host, place.port, "localhost", timeout=TIMEOUT, context=context
        )
    else:
        session = smtplib.SMTP(place.host, place.port, "localhost", timeout=TIMEOUT)
    with session:
        session.ehlo()
        for code, reply in (session.mail(_SENDER), session.rcpt(recipient)):
            if code >= 400:
                return code, reply.decode(errors="replace")
        code, reply = session.data(message.as_bytes(policy=SMTP))
        return code, reply.decode(errors="replace")


def _judged(session: Session, check: str, name: str, message: str, seconds: float) -> Finding:
    ends = time.monotonic() + seconds
    while True:
        try:
            events = session.api.trace_message(message)["items"]
        except ApiError as error:
            if error.status != 404:
                return Finding(check, UNKNOWN, lines_of(error)[0])
            events = []
        except Unreachable as error:
            return Finding(check, UNKNOWN, lines_of(error)[0])
        details = {event["kind"]: event["detail"] for event in events}
        if "scanned" in details:
            found = _verdict(check, name, details["scanned"])
            if name != "GTUBE" or found.status != OK:
                return found
            if end := _end(details):
                return Finding(check, OK, f"{found.detail}; {end}")
        if time.monotonic() >= ends:
            if "scanned" not in details:
                return Finding(check, FAIL, f"accepted, but not scanned within {seconds:.0f} s")
            why = "see the filter policy" if "delivered" in details else "it is not delivered"
            return Finding(check, WARN, f"{found.detail}, but not filed in {seconds:.0f} s: {why}")
        time.sleep(0.3)


def _end(details: dict[str, Any]) -> str:
    """Return where the recipient's policy put a message, by its events; empty if nowhere yet."""
    if "quarantined" in details:
        return "in quarantine"
    action = details.get("filed", {}).get("action")
    return {"junk": "in Junk", "mark": "in INBOX, marked"}.get(action, "")


def _verdict(check: str, name: str, detail: dict[str, Any]) -> Finding:
    rules = {str(rule[0]) for rule in detail.get("rules", ())}
    engines = {str(engine[0]): str(engine[1]) for engine in detail.get("engines", ())}
    points = f"{detail.get('score', 0)} points"
    if name == "GTUBE":
        if "GTUBE" in rules:
            return Finding(check, OK, f"recognised: {points}")
        return Finding(check, FAIL, f"not recognised: {points}")
    if detail.get("virus"):
        return Finding(check, OK, f"found: {detail['virus']}; a policy accepts it to quarantine")
    if "clamav" not in engines:
        return Finding(check, WARN, "accepted: ClamAV is not in use")
    return Finding(check, FAIL, f"accepted: ClamAV {engines['clamav']}, no virus found")
