"""Which claims of an envelope are valid, given the subject it was published under.

NATS permits each part to publish under its own subject only (``adapters.nats.permissions``), so the
subject proves the publisher; the envelope does not, since a publisher can write anything in it. An
envelope that claims more than its subject allows is not delivered: delivery parks it on DEAD with
the reason, so that an operator sees the forgery.

Rules, by the role that the subject names:

- ``mx``: the sender is unauthenticated. It names no submitter, no tenant and no signer, so it is
  never signed and is sent to recipients elsewhere only by aliases.
- ``notice``: a delivery status notification of the relay. The null reverse-path (RFC 5321 §4.5.5),
  no submitter, no signer.
- ``submission``, ``send``: an account or an API key. It names its submitter and tenant.
- Every role: a body outside the stream is the one stored for this message, never another blob.

A subject of an older release does not name the role; then the envelope is trusted, except for its
blob.
"""

from __future__ import annotations

from posthorn.model.envelope import BODIES, Envelope, Record, RecordError
from posthorn.model.streams import role_of_subject


class ForgedEnvelopeError(RecordError):
    """The envelope claims what its subject does not allow: permanent."""


def admitted(record: Record, subject: str) -> Record:
    """Return the record when the subject allows what its envelope claims. Raises
    ForgedEnvelopeError."""
    envelope = record.envelope
    try:
        role = role_of_subject(subject)
    except ValueError as error:
        raise ForgedEnvelopeError(str(error)) from error
    claims = _excess(envelope, envelope.role if role is None else role)
    if claims:
        raise ForgedEnvelopeError(
            f"published under {subject}, the envelope claims {', '.join(claims)}"
        )
    return record


def _excess(envelope: Envelope, role: str) -> list[str]:
    """Return what the envelope claims beyond what its role allows."""
    claims: list[str] = []
    if envelope.role != role:
        claims.append(f"the role {envelope.role[:20]}")
    if envelope.blob is not None and envelope.blob.partition(".")[0] != f"{BODIES}{envelope.id}":
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
