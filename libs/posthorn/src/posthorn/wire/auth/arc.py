"""Validation of the Authenticated Received Chain (RFC 8617 §5.2).

A chain is valid if its sets are numbered without a gap, every seal says what its place demands
(``cv=none`` the first, ``cv=pass`` the others), the newest message signature holds, and every seal
holds. Older message signatures are checked only to say how far back the message is unchanged.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from posthorn.wire.auth.canonicalization import Form, canonical_field
from posthorn.wire.auth.dkim_verify import verify_one
from posthorn.wire.auth.header_signatures import ArcSet, BodyHashes, Header
from posthorn.wire.auth.public_key import PublicKeys
from posthorn.wire.auth.results import Arc, Dkim, Outcome
from posthorn.wire.auth.waiting import Gather, in_turn

RESULTS_LIMIT = 2000
"""Characters kept of the oldest ARC-Authentication-Results."""
MOST_MESSAGE_SIGNATURES = 8
"""Message signatures that are checked, the newest first."""

_INSTANCE = re.compile(r"\s*i\s*=\s*\d+\s*;\s*")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


async def validate(
    keys: PublicKeys, hashes: BodyHashes, *, now: float, gather: Gather = in_turn
) -> Arc:
    """Return the state of a message's chain. ``now`` is in seconds since the epoch."""
    signatures = hashes.signatures
    sets, header = signatures.sets, signatures.header
    if signatures.chain_fault:
        return Arc(Outcome.FAIL, reason=signatures.chain_fault)
    if not sets:
        return Arc()
    if fault := _chain_fault(sets):
        return Arc(Outcome.FAIL, reason=fault)
    newest = await verify_one(keys, sets[-1].message, hashes, now=now)
    if newest.outcome is not Outcome.PASS:
        return _failed(f"message signature {len(sets)}", newest, sets)
    await keys.fetch((each.seal for each in sets), gather)
    for number, digest in enumerate(_seal_digests(header, sets), 1):
        seal = await keys.judge(sets[number - 1].seal, digest)
        if seal.outcome is not Outcome.PASS:
            return _failed(f"seal {number}", seal, sets)
    return Arc(
        Outcome.PASS,
        _sealers(sets),
        _results(sets[0]),
        oldest_pass=await _oldest_pass(keys, sets, hashes, now=now),
    )


def _chain_fault(sets: Sequence[ArcSet]) -> str:
    if sets[-1].seal.chain is Outcome.FAIL:
        return "the last sealer found the chain broken"
    for number, each in enumerate(sets, 1):
        if each.seal.chain is not (Outcome.NONE if number == 1 else Outcome.PASS):
            return f"seal {number} does not say what its place demands"
    return ""


def _failed(what: str, result: Dkim, sets: Sequence[ArcSet]) -> Arc:
    reason = f"{what}: {result.reason}"
    if result.outcome is Outcome.TEMPERROR:
        return Arc(
            Outcome.TEMPERROR, (sets[-1].message.claims.domain, *_sealers(sets)), reason=reason
        )
    return Arc(Outcome.FAIL, reason=reason)


def _sealers(sets: Sequence[ArcSet]) -> tuple[str, ...]:
    return tuple(each.seal.claims.domain for each in reversed(sets))


def _seal_digests(header: Header, sets: Sequence[ArcSet]) -> list[bytes]:
    """Return what each seal is over: all sets up to its own, itself with an empty ``b=`` and
    without a CRLF at the end (RFC 8617 §5.1.1)."""
    hashed = hashlib.sha256()
    digests = []
    for each in sets:
        hashed.update(header.canonical(each.results, Form.RELAXED) + b"\r\n")
        hashed.update(header.canonical(each.message.field, Form.RELAXED) + b"\r\n")
        own = hashed.copy()
        own.update(canonical_field(each.seal.unsigned, Form.RELAXED))
        digests.append(own.digest())
        hashed.update(header.canonical(each.seal.field, Form.RELAXED) + b"\r\n")
    return digests


async def _oldest_pass(
    keys: PublicKeys, sets: Sequence[ArcSet], hashes: BodyHashes, *, now: float
) -> int:
    """Return the instance of the oldest set since which the message is unchanged; 0: since the
    first (RFC 8617 §5.2). The newest is known to hold."""
    for number in range(len(sets) - 1, 0, -1):
        if len(sets) - number >= MOST_MESSAGE_SIGNATURES:
            return number + 1
        result = await verify_one(keys, sets[number - 1].message, hashes, now=now)
        if result.outcome is not Outcome.PASS:
            return number + 1
    return 0


def _results(oldest: ArcSet) -> str:
    text = _UNPRINTABLE.sub(" ", oldest.results.value.decode("latin-1"))
    return _INSTANCE.sub("", text, count=1).strip()[:RESULTS_LIMIT]
