"""The envelope: the facts of a message besides its content, and its encoding on the ingest stream.

An ingest record is one JetStream message: the envelope as one line of JSON, a line feed, then the
body, unless the envelope names a blob that holds it. The records are the write-ahead log of the
system: each was acknowledged with a 250. Fields may be added; a reader ignores unknown ones and
uses defaults for missing ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from posthorn.model.outbound import Notify, RecipientDsn
from posthorn.model.verdict import Verdict, decode_verdict, encode_verdict
from posthorn.wire.message.header import Summary

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def _dumps(document: Any) -> bytes:
    return _ENCODER.encode(document).encode()


BODIES = "bodies/"
"""Prefix of the keys of bodies that were too large for the stream; the message's id follows."""


class RecordError(ValueError):
    """The bytes are not an ingest record: permanent."""


@dataclass(frozen=True, slots=True)
class Body:
    """Facts of a stored message, counted once at ingest over the bytes as stored (trace fields
    included, CRLF form)."""

    size: int
    """Bytes, exactly as POP3 LIST and RETR report them (RFC 1939 §11)."""
    sha256: bytes
    has_dot_lines: bool
    """Whether a line begins with a dot, so that SMTP and POP3 must stuff it."""
    return_path_octets: int = 0
    """Bytes of the Return-Path line at the start; a relay omits them (RFC 5321 §4.4)."""

    @classmethod
    def from_message(cls, message: bytes, return_path_octets: int = 0) -> Body:
        """Return the facts of a whole message, whose first ``return_path_octets`` bytes are its
        Return-Path line."""
        has_dot_lines = message.startswith(b".") or b"\r\n." in message
        return cls(
            len(message), hashlib.sha256(message).digest(), has_dot_lines, return_path_octets
        )


@dataclass(frozen=True, slots=True)
class Envelope:
    """One accepted message. Domains are in canonical form (``wire.address``), and so are
    recipients here; the local part of the reverse-path and of recipients elsewhere stays as it
    was written, since its case may matter to its host (RFC 5321 §2.4)."""

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
    """How it was accepted: ``mx``, ``submission``, ``send`` (the API) or ``notice`` (our own
    DSNs). Messages of ``mx`` go to recipients elsewhere only by aliases. Delivery trusts it as
    far as the subject on INGEST allows (``model.authority``)."""
    smtputf8: bool = False
    submitter: str = ""
    """Who submitted it: the address of the authenticated account, or ``key:<name>``."""
    tenant: UUID | None = None
    """The submitter's tenant."""
    signer: str = ""
    """Local domain in whose name it may be signed (RFC 6376 ``d=``): smtp-in or the API has
    checked that the From field belongs to the submitter."""
    ret: str = ""
    """RFC 3461 §4.3: ``FULL``, ``HDRS`` or empty."""
    envid: str = ""
    """RFC 3461 §4.4, xtext decoded."""
    dsn: Mapping[str, RecipientDsn] = field(default_factory=dict)
    """By recipient, for those with DSN parameters."""
    passed: tuple[str, ...] = ()
    """Marks in its header of aliases that may have forwarded it before (``wire.passed``)."""
    verdict: Verdict | None = None
    """What the scanning tier found; None if it was not scanned."""

    def to(self, recipients: tuple[str, ...]) -> Envelope:
        """Return the same message for other recipients."""
        return replace(self, recipients=recipients)


@dataclass(frozen=True, slots=True)
class Record:
    """An envelope with its body as stored on the ingest stream; ``body`` is None when
    ``envelope.blob`` holds it."""

    envelope: Envelope
    body: bytes | None


def encode_record(
    envelope: Envelope, body: bytes | None, *, dumps: Callable[[Any], bytes] = _dumps
) -> bytes:
    """Return the ingest record. Exactly one of ``body`` and ``envelope.blob`` must be given.
    ``dumps`` encodes JSON without white space."""
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
    if envelope.role != "mx" or envelope.dsn or envelope.ret or envelope.envid:
        document |= {
            "sub": envelope.submitter,
            "tenant": None if envelope.tenant is None else str(envelope.tenant),
            "sign": envelope.signer,
            "ret": envelope.ret,
            "envid": envelope.envid,
            "dsn": {
                recipient: [int(dsn.notify), dsn.orcpt] for recipient, dsn in envelope.dsn.items()
            },
        }
    if envelope.passed:
        document["passed"] = envelope.passed
    if envelope.verdict is not None:
        document["verdict"] = encode_verdict(envelope.verdict)
    head = dumps(document) + b"\n"
    return head if body is None else head + body


def decode_record(data: bytes, *, loads: Callable[[bytes], Any] = json.loads) -> Record:
    """Decode an ingest record. Raises RecordError. ``loads`` decodes JSON."""
    line, newline, body = data.partition(b"\n")
    try:
        if not newline:
            raise RecordError("the envelope line does not end")
        document = loads(line)
        if document["v"] != 1:
            raise RecordError(
                f"the record has version {document['v']!r}; this release reads version 1"
            )
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
            summary=Summary(
                document["subject"], document["hfrom"], document["date"], document["mid"]
            ),
            blob=None if blob is None else str(blob),
            helo=document.get("helo", ""),
            client_address=document.get("ip", ""),
            protocol=document.get("with", "ESMTP"),
            role=document.get("role", "mx"),
            smtputf8=document.get("utf8", False),
            submitter=document.get("sub", ""),
            tenant=UUID(document["tenant"]) if document.get("tenant") else None,
            signer=document.get("sign", ""),
            ret=document.get("ret", ""),
            envid=document.get("envid", ""),
            dsn={
                str(recipient): RecipientDsn(Notify(int(notify)), str(orcpt))
                for recipient, (notify, orcpt) in document.get("dsn", {}).items()
            },
            passed=tuple(str(mark) for mark in document.get("passed", ())),
            verdict=decode_verdict(document["verdict"]) if document.get("verdict") else None,
        )
    except RecordError:
        raise
    except (
        ValueError,
        ArithmeticError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise RecordError(f"the envelope line does not read: {type(error).__name__}") from error
    if envelope.blob is not None:
        return Record(envelope, None)
    if len(body) != envelope.body.size:
        raise RecordError(
            f"the body has {len(body)} octets where the envelope says {envelope.body.size}"
        )
    return Record(envelope, body)
