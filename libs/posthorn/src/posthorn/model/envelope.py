"""The envelope: what is known of a message besides its octets, and its form on the ingest stream.

An ingest record is one JetStream message: the envelope as one line of JSON, a line feed, then the body, unless the envelope
names a blob that holds it. The record is the write-ahead log of the system: what a record says was promised with a 250.
Fields may be added; a reader ignores those it does not know and gives missing ones their default.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from uuid import UUID

from posthorn.wire.header import Summary


class RecordError(ValueError):
    """The octets are no ingest record. Such a message is poison: no retry will make it readable."""


@dataclass(frozen=True, slots=True)
class Body:
    """Facts of a stored message, counted once at ingest over the octets as stored (trace fields included, CRLF form)."""

    size: int
    """Octets: exactly what POP3 LIST and RETR must say (RFC 1939 §11)."""
    sha256: bytes
    has_dot_lines: bool
    """Whether a line begins with a dot, so that SMTP and POP3 must stuff it."""
    return_path_octets: int = 0
    """Length of the Return-Path line at the start; a relay leaves these octets out (RFC 5321 §4.4)."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One accepted message. Addresses are in canonical form (``wire.address``)."""

    id: UUID
    received_at: float
    """Seconds since the epoch at which the end of data arrived."""
    reverse_path: str
    """Empty for the null reverse-path ``<>``."""
    recipients: tuple[str, ...]
    body: Body
    summary: Summary = field(default_factory=Summary)
    blob: str | None = None
    """Key of the blob that holds the body, when it was too large for the stream."""
    helo: str = ""
    client_address: str = ""
    protocol: str = "ESMTP"
    """The ``with`` clause of Received: SMTP, ESMTP, ESMTPS, UTF8SMTP … (RFC 3848, RFC 6531)."""
    role: str = "mx"
    smtputf8: bool = False

    def to(self, recipients: tuple[str, ...]) -> Envelope:
        """The same message for other recipients."""
        return replace(self, recipients=recipients)


@dataclass(frozen=True, slots=True)
class Record:
    """An envelope with its body as they lie on the ingest stream; ``body`` is None when ``envelope.blob`` holds it."""

    envelope: Envelope
    body: bytes | None


def encode_record(envelope: Envelope, body: bytes | None) -> bytes:
    """Give the ingest record. Exactly one of ``body`` and ``envelope.blob`` must be there."""
    if (body is None) == (envelope.blob is None):
        raise ValueError("a record carries either a body or the key of its blob")
    facts = envelope.body
    document = {
        "v": 1,
        "id": str(envelope.id),
        "at": envelope.received_at,
        "from": envelope.reverse_path,
        "to": envelope.recipients,
        "size": facts.size,
        "sha256": facts.sha256.hex(),
        "dots": facts.has_dot_lines,
        "rp": facts.return_path_octets,
        "subject": envelope.summary.subject,
        "hfrom": envelope.summary.from_,
        "date": envelope.summary.date,
        "mid": envelope.summary.message_id,
        "blob": envelope.blob,
        "helo": envelope.helo,
        "ip": envelope.client_address,
        "with": envelope.protocol,
        "role": envelope.role,
        "utf8": envelope.smtputf8,
    }
    head = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    return head if body is None else head + body


def decode_record(octets: bytes) -> Record:
    """Read an ingest record. Raises RecordError for anything that is not one."""
    line, newline, body = octets.partition(b"\n")
    try:
        if not newline:
            raise RecordError("the envelope line does not end")
        document = json.loads(line)
        if document["v"] != 1:
            raise RecordError(f"the record has version {document['v']!r}; this release reads version 1")
        blob = document["blob"]
        envelope = Envelope(
            id=UUID(document["id"]),
            received_at=float(document["at"]),
            reverse_path=str(document["from"]),
            recipients=tuple(str(recipient) for recipient in document["to"]),
            body=Body(
                size=int(document["size"]),
                sha256=bytes.fromhex(document["sha256"]),
                has_dot_lines=bool(document["dots"]),
                return_path_octets=int(document["rp"]),
            ),
            summary=Summary(document["subject"], document["hfrom"], document["date"], document["mid"]),
            blob=None if blob is None else str(blob),
            helo=document.get("helo", ""),
            client_address=document.get("ip", ""),
            protocol=document.get("with", "ESMTP"),
            role=document.get("role", "mx"),
            smtputf8=document.get("utf8", False),
        )
    except RecordError:
        raise
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"the envelope line does not read: {type(error).__name__}") from error
    if envelope.blob is not None:
        return Record(envelope, None)
    if len(body) != envelope.body.size:
        raise RecordError(f"the body has {len(body)} octets where the envelope says {envelope.body.size}")
    return Record(envelope, body)
