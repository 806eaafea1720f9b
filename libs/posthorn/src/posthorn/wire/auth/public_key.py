"""Public keys of signatures: the record (RFC 6376 §3.6.1, RFC 8463 §4), its lookup, and the check.

Rules:

- A name may have several records; each that can be read is tried (RFC 6376 §3.6.2.2 leaves it
  open). One that cannot be read does not hinder the others.
- An RSA key has 1,024 to 8,192 bits (RFC 8301 §3.2); another is POLICY.
- An empty ``p=`` is a revoked key.
- Each name is asked once for a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from posthorn.wire.auth.lookup import DnsUnavailable, Lookup
from posthorn.wire.auth.results import Dkim, Outcome
from posthorn.wire.auth.signature import Signature
from posthorn.wire.auth.tags import TagError, decode_base64, parse_tags, split_list
from posthorn.wire.auth.waiting import Gather

FEWEST_RSA_BITS = 1024
MOST_RSA_BITS = 8192
MOST_RECORDS = 4
"""Records of one name that are tried."""
LONGEST_RECORD_BYTES = 8192

_KEPT_RECORDS = 1000


class BadKey(ValueError):
    """The bytes are not a public key of the type, or one that cannot be used."""


class SignatureCheck(Protocol):
    """The mathematics of signatures. Both methods raise BadKey, nothing else."""

    def key_bits(self, key_type: str, key: bytes) -> int:
        """Return the length of a key: the modulus of ``rsa`` (DER, SubjectPublicKeyInfo or
        RSAPublicKey), 256 of ``ed25519`` (the 32 bytes themselves)."""
        ...

    def is_valid(self, key_type: str, key: bytes, digest: bytes, signature: bytes) -> bool:
        """Return whether a signature over a SHA-256 digest is valid: RSA PKCS #1 v1.5 of the
        hashed text, Ed25519 over the 32 bytes of the digest (RFC 8463 §3)."""
        ...


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key record."""

    key_type: str
    key: bytes
    """Empty: revoked."""
    is_testing: bool = False
    is_for_domain_only: bool = False
    """``t=s``: the domain of ``i=`` must be that of ``d=``."""


def parse_key_record(text: bytes) -> KeyRecord:
    """Return a record that mail may be verified with. Raises TagError."""
    if len(text) > LONGEST_RECORD_BYTES:
        raise TagError("the key record is too long")
    tags = parse_tags(text)
    version = tags.get(b"v")
    if version is not None and (version != b"DKIM1" or next(iter(tags.values)) != b"v"):
        raise TagError("the key record has another version")
    hashes = tags.get(b"h")
    if hashes is not None and b"sha256" not in split_list(hashes.lower()):
        raise TagError("the key is for other hash algorithms")
    services = tags.get(b"s")
    if services is not None and not {b"*", b"email"} & set(split_list(services.lower())):
        raise TagError("the key is for other services")
    key = tags.get(b"p")
    if key is None:
        raise TagError("the key record has no key")
    flags = split_list((tags.get(b"t") or b"").lower())
    return KeyRecord(
        (tags.get(b"k") or b"rsa").decode("ascii", "replace").lower(),
        decode_base64("p", key),
        is_testing=b"y" in flags,
        is_for_domain_only=b"s" in flags,
    )


class PublicKeys:
    """Looks up the keys of one message's signatures, and checks signatures with them."""

    def __init__(self, lookup: Lookup, check: SignatureCheck) -> None:
        self._lookup = lookup
        self._check = check
        self._known: dict[str, Sequence[KeyRecord | str] | DnsUnavailable] = {}

    async def fetch(self, signatures: Iterable[Signature], gather: Gather) -> None:
        """Look up the keys of several signatures, so that ``judge`` need not wait for them."""
        first = {_name(each): each for each in signatures}
        await gather(*(self._records(each) for each in first.values()))

    async def judge(self, signature: Signature, digest: bytes, fault: str = "") -> Dkim:
        """Return the result of a signature over a header with this digest.

        ``fault``: why it fails whatever the key is; the record only says whether the key is tested.
        """
        records = await self._records(signature)
        if isinstance(records, DnsUnavailable):
            if fault:
                return signature.result(Outcome.FAIL, fault)
            return signature.result(Outcome.TEMPERROR, "the key lookup failed")
        if not records:
            return signature.result(
                Outcome.FAIL if fault else Outcome.PERMERROR, fault or "there is no key"
            )
        found = [self._with_record(signature, digest, record, fault) for record in records]
        return min(found, key=_rank)

    async def _records(self, signature: Signature) -> Sequence[KeyRecord | str] | DnsUnavailable:
        name = _name(signature)
        if name not in self._known:
            try:
                texts = await self._lookup.texts(name)
            except DnsUnavailable as error:
                self._known[name] = error
            else:
                self._known[name] = [
                    _record(text[: LONGEST_RECORD_BYTES + 1])
                    for text in (texts or ())[:MOST_RECORDS]
                ]
        return self._known[name]

    def _with_record(
        self, signature: Signature, digest: bytes, record: KeyRecord | str, fault: str
    ) -> Dkim:
        if isinstance(record, str):
            return signature.result(Outcome.FAIL if fault else Outcome.PERMERROR, fault or record)
        outcome, reason, bits = (
            (Outcome.FAIL, fault, 0) if fault else self._outcome(signature, digest, record)
        )
        return signature.result(outcome, reason, key_bits=bits, is_testing=record.is_testing)

    def _outcome(
        self, signature: Signature, digest: bytes, record: KeyRecord
    ) -> tuple[Outcome, str, int]:
        if not record.key:
            return Outcome.PERMERROR, "the key is revoked", 0
        if record.key_type != signature.key_type:
            return Outcome.PERMERROR, "the key is of another type", 0
        if record.is_for_domain_only and signature.identity_domain != signature.claims.domain:
            return Outcome.PERMERROR, "the key is not for subdomains", 0
        try:
            bits = self._check.key_bits(record.key_type, record.key)
            if record.key_type == "rsa" and not FEWEST_RSA_BITS <= bits <= MOST_RSA_BITS:
                return Outcome.POLICY, f"the key has {bits} bits", bits
            if self._check.is_valid(record.key_type, record.key, digest, signature.value):
                return Outcome.PASS, "", bits
        except BadKey:
            return Outcome.PERMERROR, "the key cannot be used", 0
        return Outcome.FAIL, "the signature does not match the header", bits


def _name(signature: Signature) -> str:
    return f"{signature.claims.selector}._domainkey.{signature.claims.domain}"


@lru_cache(_KEPT_RECORDS)
def _record(text: bytes) -> KeyRecord | str:
    """Return a record, or why it cannot be used."""
    try:
        return parse_key_record(text)
    except TagError as fault:
        return str(fault)


_RANKS = (Outcome.PASS, Outcome.FAIL, Outcome.POLICY)


def _rank(result: Dkim) -> int:
    """Return how much a result with one of several records says; the least number says most."""
    return _RANKS.index(result.outcome) if result.outcome in _RANKS else len(_RANKS)
