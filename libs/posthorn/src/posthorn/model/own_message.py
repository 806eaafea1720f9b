"""Messages that the system writes by itself: digests, reports, replies and questions."""

from __future__ import annotations

from uuid import UUID

from posthorn.model.envelope import Body, Envelope
from posthorn.wire.message.header import scan_header
from posthorn.wire.message.trace import return_path


def own_message(
    number: UUID,
    at: float,
    recipient: str,
    content: bytes,
    *,
    signer: str,
    tenant: UUID | None,
    smtputf8: bool = False,
    submitter: str = "",
) -> tuple[Envelope, bytes]:
    """Return the envelope and the body of a message to one recipient: its reverse-path is null, so
    that it is never answered by a bounce (RFC 5321 §4.5.5). ``at``: seconds since the epoch; the
    rest as in ``Envelope``."""
    path = return_path("")
    body = path + content
    envelope = Envelope(
        id=number,
        received_at=at,
        reverse_path="",
        recipients=(recipient,),
        body=Body.from_message(body, len(path)),
        summary=scan_header(body).summary,
        protocol="HTTP",
        role="send",
        smtputf8=smtputf8,
        submitter=submitter,
        tenant=tenant,
        signer=signer,
    )
    return envelope, body
