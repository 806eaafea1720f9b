"""The signatures of a message, as its header has them, and the hashes of its body that they need.

Limits on what a stranger can make cost: header and number of fields, DKIM signatures that are
judged, sets of a chain (RFC 8617 §4.2.1).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from posthorn.wire.auth.canonicalization import (
    BodyHash,
    Field,
    Form,
    canonical_field,
    header_fields,
)
from posthorn.wire.auth.results import Dkim
from posthorn.wire.auth.signature import (
    Signature,
    Unacceptable,
    read_dkim,
    read_message_signature,
    read_seal,
)
from posthorn.wire.message.header import header_end

MOST_SIGNATURES = 8
"""DKIM signatures that are judged, the uppermost first."""
MOST_SETS = 50
LONGEST_HEADER_BYTES = 1024 * 1024
MOST_FIELDS = 10_000

_SEAL = b"arc-seal"
_MESSAGE_SIGNATURE = b"arc-message-signature"
_RESULTS = b"arc-authentication-results"
_TAG_INSTANCE = re.compile(rb"(?:^|;)[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*(\d{1,2})[ \t\r\n]*(?:;|\Z)")
_FIRST_INSTANCE = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*(\d{1,2})[ \t\r\n]*;")


@dataclass(frozen=True, slots=True)
class ArcSet:
    """One set of a chain."""

    results: Field
    """ARC-Authentication-Results."""
    message: Signature
    seal: Signature


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a message, found by name; canonical forms are made once."""

    fields: list[Field]
    by_name: dict[bytes, list[Field]]
    _relaxed: dict[int, bytes] = field(default_factory=dict)

    def canonical(self, found: Field, form: Form) -> bytes:
        """Return the canonical form of one of the fields."""
        if form is Form.SIMPLE:
            return found.raw
        known = self._relaxed.get(id(found))
        if known is None:
            known = self._relaxed[id(found)] = canonical_field(found, form)
        return known

    def digest(self, signature: Signature) -> bytes:
        """Return the SHA-256 of the fields that a signature covers (RFC 6376 §3.7).

        Fields of a name are taken from the last to the first, each once; a name beyond them stands
        for a field that must not be there (§5.4.2). The signature's own field is the last.
        """
        taken: dict[bytes, int] = {}
        form = signature.header_form
        texts: list[bytes] = []
        for name in signature.names:
            found = self.by_name.get(name)
            if found is None:
                continue
            at = len(found) - 1 - taken.get(name, 0)
            if at >= 0 and found[at] is signature.field:
                at -= 1
            if at >= 0:
                taken[name] = len(found) - at
                texts.append(self.canonical(found[at], form))
        texts.append(canonical_field(signature.unsigned, form))
        return hashlib.sha256(b"\r\n".join(texts)).digest()


@dataclass(frozen=True, slots=True)
class HeaderSignatures:
    """What is to be verified of a message."""

    header: Header
    dkim: tuple[Signature | Dkim, ...] = ()
    """At most MOST_SIGNATURES, the uppermost first; those that cannot be verified are results."""
    unjudged: int = 0
    """Number of DKIM signatures beyond them."""
    sets: tuple[ArcSet, ...] = ()
    """The chain, the oldest set first; empty if there is none or it is broken."""
    chain_fault: str = ""
    """Why the chain is broken."""
    is_too_large: bool = False
    """The header is too large: nothing was read."""

    @property
    def has_chain(self) -> bool:
        """Whether there is a chain, whole or broken."""
        return bool(self.sets or self.chain_fault)

    @property
    def forms(self) -> set[Form]:
        """Canonical forms of the body that its hashes are needed of."""
        found = {each.body_form for each in self.dkim if isinstance(each, Signature)}
        found.update(each.message.body_form for each in self.sets)
        return found


class BodyHashes:
    """The hashes of a body that the signatures of its header need, from pieces cut anywhere."""

    def __init__(self, signatures: HeaderSignatures) -> None:
        self.signatures = signatures
        self._hashes = {form: BodyHash(form) for form in signatures.forms}
        self._digests: dict[Form, tuple[bytes, int]] = {}

    @classmethod
    def of(cls, header: bytes) -> BodyHashes:
        """Begin the hashes of a message with this header block."""
        return cls(read_signatures(header))

    @property
    def is_needed(self) -> bool:
        """Whether the body must be read at all."""
        return bool(self._hashes)

    def update(self, piece: bytes) -> None:
        """Add the next bytes of the body, without the blank line that ends the header."""
        for each in self._hashes.values():
            each.update(piece)

    def result(self, form: Form) -> tuple[bytes, int]:
        """Return the hash of the body in a form that is needed, and its bytes in that form.
        Nothing may be added afterwards."""
        found = self._digests.get(form)
        if found is None:
            hashed = self._hashes[form]
            digest = hashed.digest()
            found = self._digests[form] = digest, hashed.length
        return found


def split_message(content: bytes) -> tuple[bytes, bytes]:
    """Return the header block of a message, without the blank line that ends it, and its body."""
    end = header_end(content)
    return (content, b"") if end < 0 else (content[: end - 2], content[end:])


def read_signatures(block: bytes) -> HeaderSignatures:
    """Return the signatures of a header block. Never fails."""
    if len(block) > LONGEST_HEADER_BYTES or block.count(b"\r\n") > MOST_FIELDS * 10:
        return HeaderSignatures(Header([], {}), is_too_large=True)
    fields = header_fields(block)
    if len(fields) > MOST_FIELDS:
        return HeaderSignatures(Header([], {}), is_too_large=True)
    by_name: dict[bytes, list[Field]] = {}
    for each in fields:
        by_name.setdefault(each.name, []).append(each)
    dkim = by_name.get(b"dkim-signature", [])
    sets, fault = _chain(by_name)
    return HeaderSignatures(
        Header(fields, by_name),
        tuple(read_dkim(each) for each in dkim[:MOST_SIGNATURES]),
        max(0, len(dkim) - MOST_SIGNATURES),
        sets,
        fault,
    )


def _chain(by_name: dict[bytes, list[Field]]) -> tuple[tuple[ArcSet, ...], str]:
    """Return the sets of a message, oldest first, and what is wrong with them (RFC 8617 §5.2)."""
    results, messages, seals = (
        by_name.get(name, []) for name in (_RESULTS, _MESSAGE_SIGNATURE, _SEAL)
    )
    most = max(len(results), len(messages), len(seals))
    if most == 0:
        return (), ""
    if most > MOST_SETS:
        return (), f"more than {MOST_SETS} sets"
    try:
        sets = [
            ArcSet(aar, read_message_signature(ams), read_seal(seal))
            for aar, ams, seal in zip(
                _in_order(results, _FIRST_INSTANCE),
                _in_order(messages, _TAG_INSTANCE),
                _in_order(seals, _TAG_INSTANCE),
                strict=True,
            )
        ]
    except Unacceptable as fault:
        return (), fault.reason
    except ValueError:
        return (), "the instances are not continuous"
    return tuple(sets), ""


def _in_order(fields: list[Field], instance: re.Pattern[bytes]) -> list[Field]:
    """Return fields by their instances, which must be 1 to their number, each once. Raises
    ValueError."""
    found: dict[int, Field] = {}
    for each in fields:
        match = (
            instance.match(each.value)
            if instance is _FIRST_INSTANCE
            else (instance.search(each.value))
        )
        if match is None:
            raise ValueError("no instance")
        found[int(match[1])] = each
    return [found[number] for number in _numbers(found, len(fields))]


def _numbers(found: dict[int, Field], count: int) -> range:
    numbers = range(1, count + 1)
    if len(found) != count or any(number not in found for number in numbers):
        raise ValueError("not continuous")
    return numbers
