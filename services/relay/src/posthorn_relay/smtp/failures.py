"""Refusals of a host and faults of its connection as failures of a transaction (RFC 5321 §4.2)."""

from __future__ import annotations

from posthorn.wire.smtp.client_replies import HostReply
from posthorn_relay.smtp.protocol import Fault
from posthorn_relay.smtp.types import Failed


def refused(stage: str, reply: HostReply, host: str, tls: str) -> Failed:
    """Return a refusal of the host as Failed."""
    return Failed(
        stage,
        reply.code,
        reply.status or f"{reply.code // 100}.0.0",
        reply.line,
        reply.code >= 500,
        host,
        tls,
    )


_AT = {
    "greeting": "the greeting",
    "ehlo": "EHLO",
    "tls": "STARTTLS",
    "auth": "AUTH",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "data": "DATA",
    "end": "the end of the message",
}
"""Stages, as a reply names where the connection broke."""


def broken(stage: str, fault: Fault, host: str, tls: str) -> Failed:
    """Return a fault of the connection as Failed: transient, unless the host refuses in the
    middle of the content."""
    permanent = stage == "data" and fault.code >= 500
    status = fault.status if permanent else f"4{fault.status[1:]}"
    # a text of the host says for itself what it answers
    text = fault.text if fault.code or stage not in _AT else f"at {_AT[stage]}: {fault.text}"
    return Failed(stage, fault.code, status, text, permanent, host, tls)


def refused_recipient(reply: HostReply, accepted: int, host: str, tls: str) -> Failed:
    """Return the refusal of a recipient, after ``accepted`` others of the transaction.

    552 for one more recipient than the host likes at once stands for 452 (RFC 5321 §4.5.3.1.10).
    """
    failed = refused("rcpt", reply, host, tls)
    if accepted and reply.code == 552 and reply.status in ("", "5.5.3"):
        failed.permanent, failed.status = False, "4.5.3"
    return failed
