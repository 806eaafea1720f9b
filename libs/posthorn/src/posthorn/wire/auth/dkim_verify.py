"""Verification of DKIM signatures (RFC 6376 §6, RFC 8301, RFC 8463).

Rules:

- Every signature is judged by itself; that one fails says nothing of the others (§6.1).
- ``l=`` must be the whole body. What follows it would be unsigned, and could replace what a reader
  sees (§8.2).
- An expired signature, and one from the future, is PERMERROR. The clocks of others may differ.
- A failed lookup is TEMPERROR, unless the body already shows that the signature cannot hold.
"""

from __future__ import annotations

from posthorn.wire.auth.header_signatures import (
    MOST_SIGNATURES,
    BodyHashes,
    HeaderSignatures,
)
from posthorn.wire.auth.lookup import Lookup
from posthorn.wire.auth.public_key import PublicKeys, SignatureCheck
from posthorn.wire.auth.results import Dkim, Outcome
from posthorn.wire.auth.signature import Signature, Unacceptable
from posthorn.wire.auth.waiting import Gather, in_turn

EXPIRY_GRACE_SECONDS = 300
"""Seconds for which a signature holds after ``x=``."""
CLOCK_SKEW_SECONDS = 86_400
"""Seconds by which ``t=`` may be in the future: clocks with a wrong time zone are common."""


async def verify(
    lookup: Lookup,
    check: SignatureCheck,
    hashes: BodyHashes,
    *,
    now: float,
    gather: Gather = in_turn,
) -> tuple[Dkim, ...]:
    """Return the result of each DKIM signature, in the order of the header.

    ``hashes`` has taken the whole body; ``now`` is in seconds since the epoch.
    """
    keys = PublicKeys(lookup, check)
    return await verify_with(keys, hashes, now=now, gather=gather)


async def verify_with(
    keys: PublicKeys, hashes: BodyHashes, *, now: float, gather: Gather = in_turn
) -> tuple[Dkim, ...]:
    """Do the same with keys that other checks of the message share."""
    signatures = hashes.signatures
    if signatures.is_too_large:
        return (Dkim(Outcome.POLICY, "", "", "the header is too large"),)
    judged = [each for each in signatures.dkim if isinstance(each, Signature)]
    if len(judged) > 1:  # the key of a single one is looked up where it is judged
        await keys.fetch(judged, gather)
    results = [await verify_one(keys, each, hashes, now=now) for each in signatures.dkim]
    return (*results, *_unjudged(signatures))


async def verify_one(
    keys: PublicKeys, signature: Signature | Dkim, hashes: BodyHashes, *, now: float
) -> Dkim:
    """Return the result of one signature over header and body."""
    if isinstance(signature, Dkim):
        return signature
    try:
        _check_time(signature, now)
        fault = _body_fault(signature, hashes)
    except Unacceptable as error:
        return signature.result(error.outcome, error.reason)
    digest = b"" if fault else hashes.signatures.header.digest(signature)
    return await keys.judge(signature, digest, fault)


def _check_time(signature: Signature, now: float) -> None:
    if signature.expires_at is not None and now > signature.expires_at + EXPIRY_GRACE_SECONDS:
        raise Unacceptable("the signature has expired")
    if signature.signed_at is not None and signature.signed_at > now + CLOCK_SKEW_SECONDS:
        raise Unacceptable("the signature is from the future")


def _body_fault(signature: Signature, hashes: BodyHashes) -> str:
    """Return why the signature does not hold for the body; empty if it does. Raises Unacceptable
    if it covers another length of it."""
    digest, length = hashes.result(signature.body_form)
    if signature.body_bytes is not None and signature.body_bytes != length:
        is_short = signature.body_bytes < length
        raise Unacceptable(
            "it does not cover the whole body" if is_short else "it covers more than the body"
        )
    return "" if signature.body_hash == digest else "the body does not match"


def _unjudged(signatures: HeaderSignatures) -> tuple[Dkim, ...]:
    if not signatures.unjudged:
        return ()
    reason = f"{signatures.unjudged} more than {MOST_SIGNATURES} signatures"
    return (Dkim(Outcome.POLICY, "", "", reason),)
