"""What an envelope may claim, given the subject it was published under.

NATS lets each part publish under its own subject alone (``adapters.nats.permissions``), so the subject is proof of the
publisher, and the envelope, which any publisher could write as it likes, is not. An envelope that claims more than its subject
allows is not delivered: delivery parks it on DEAD with the reason, so that an operator sees the forgery.

Rules, by the role that the subject names:

- ``mx``: anybody may have sent it. It names no submitter, no tenant and no signer, so it is never signed and never goes to
  recipients elsewhere by itself.
- ``notice``: a delivery status notification of the relay. The null reverse-path (RFC 5321 §4.5.5), no submitter, no signer.
- ``submission``, ``send``: an account or an API key. It names its submitter and tenant.
- Every role: a body outside of the stream is the one that was stored for this very message, never another blob.

A subject of an older release says nothing of the role; there the envelope is believed, but for its blob.
"""

from __future__ import annotations

from posthorn.model.envelope import BODIES, Envelope, Record, RecordError
from posthorn.model.streams import role_of_subject


class ForgedEnvelopeError(RecordError):
    """The envelope claims what its subject does not allow. No retry will change that."""


def admitted(record: Record, subject: str) -> Record:
    """Return the record when the subject allows what its envelope claims. Raises ForgedEnvelopeError."""
    envelope = record.envelope
    try:
        role = role_of_subject(subject)
    except ValueError as error:
        raise ForgedEnvelopeError(str(error)) from error
    claims = _excess(envelope, envelope.role if role is None else role)
    if claims:
        raise ForgedEnvelopeError(f"published under {subject}, the envelope claims {', '.join(claims)}")
    return record


def _excess(envelope: Envelope, role: str) -> list[str]:
    """Return what the envelope claims beyond what messages of the role may."""
    claims: list[str] = []
    if envelope.role != role:
        claims.append(f"the role {envelope.role[:20]}")
    if envelope.blob is not None and envelope.blob != f"{BODIES}{envelope.id}":
        claims.append("the body of another message")
    if role in ("mx", "notice"):
        if envelope.submitter:
            claims.append("a submitter")
        if envelope.signer:
            claims.append("a signer")
    if role == "mx" and envelope.tenant is not None:
        claims.append("a tenant")
    if role == "notice" and envelope.reverse_path:
        claims.append("a reverse-path")
    return claims
