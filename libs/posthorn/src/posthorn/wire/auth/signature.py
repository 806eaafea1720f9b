"""Signature fields as they are read: DKIM-Signature (RFC 6376 §3.5), ARC-Message-Signature and
ARC-Seal (RFC 8617 §4.1).

Outcomes of a field that cannot be verified:

- PERMERROR: it breaks the rules: a tag is missing, occurs twice or has no valid value, From is not
  signed (§6.1.1).
- NEUTRAL: it uses what is not known here, such as a later version or another algorithm, so that
  nothing can be said (RFC 8601 §2.7.1).
- POLICY: it uses what is not accepted any more: rsa-sha1 (RFC 8301 §3.1).

A domain or selector outside of ASCII is converted to A-labels (RFC 8616 §4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from posthorn.wire.address import AddressError
from posthorn.wire.auth.canonicalization import Field, Form
from posthorn.wire.auth.results import Dkim, Outcome
from posthorn.wire.auth.tags import (
    TagError,
    Tags,
    decode_base64,
    parse_tags,
    split_list,
    without_space,
)
from posthorn.wire.foreign_address import foreign_domain

ALGORITHMS = {b"rsa-sha256": "rsa", b"ed25519-sha256": "ed25519"}
"""Key type, by the value of ``a=`` (RFC 8301 §3.1, RFC 8463 §3)."""
MOST_NAMES = 500
"""Names in ``h=`` that are accepted."""
LONGEST_FIELD_BYTES = 32 * 1024
"""Bytes of a signature field that are read."""

_ALGORITHM = re.compile(rb"[A-Za-z0-9-]{1,40}\Z")
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\Z")
_LONGEST_SELECTOR = 200
_LONGEST_DOMAIN_BYTES = 512
_KEPT_NAMES = 4000
_KEPT_LISTS = 1000
_LONGEST_KEPT_BYTES = 1000
_START_CHARACTERS = 8
_START = re.compile(rb"[A-Za-z0-9+/]*")
_FORMS = {form.value.encode(): form for form in Form}
_CHAIN = {b"none": Outcome.NONE, b"pass": Outcome.PASS, b"fail": Outcome.FAIL}


class Unacceptable(Exception):
    """A signature cannot be verified; ``outcome`` is its result."""

    def __init__(self, reason: str, outcome: Outcome = Outcome.PERMERROR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that can be verified."""

    claims: Dkim
    """Its result so far: what the field says of itself."""
    field: Field
    unsigned: Field
    """The field with an empty ``b=``, as it was signed (RFC 6376 §3.7)."""
    key_type: str
    """``rsa`` or ``ed25519``."""
    value: bytes
    """The signature itself."""
    names: tuple[bytes, ...] = ()
    """Names of the signed fields, in lower case."""
    header_form: Form = Form.RELAXED
    body_form: Form = Form.SIMPLE
    body_hash: bytes = b""
    body_bytes: int | None = None
    """``l=``."""
    signed_at: int | None = None
    """Seconds since the epoch."""
    expires_at: int | None = None
    """Seconds since the epoch."""
    identity_domain: str = ""
    """The domain of ``i=``; that of ``d=`` without it."""
    chain: Outcome = Outcome.NONE
    """``cv=`` of a seal."""

    def result(
        self, outcome: Outcome, reason: str = "", *, key_bits: int = 0, is_testing: bool = False
    ) -> Dkim:
        """Return the result of the signature."""
        claims = self.claims
        return Dkim(
            outcome,
            claims.domain,
            claims.selector,
            reason,
            claims.algorithm,
            key_bits,
            claims.signature_start,
            is_testing,
        )


def read_dkim(field: Field) -> Signature | Dkim:
    """Return a DKIM-Signature, or the result of one that cannot be verified."""
    try:
        tags = _tags(field)
    except Unacceptable as fault:
        return Dkim(fault.outcome, "", "", fault.reason)
    claims = _claims(tags)
    try:
        if tags.required(b"v") != b"1":
            raise Unacceptable("unknown version", Outcome.NEUTRAL)
        signature = _with_body(_signature(field, tags, claims), tags)
        if b"from" not in signature.keywords["names"]:
            raise Unacceptable("From is not signed")
        return signature(identity_domain=_identity_domain(tags, claims.domain))
    except Unacceptable as fault:
        return replace(claims, outcome=fault.outcome, reason=fault.reason)
    except TagError as fault:
        return replace(claims, reason=str(fault))


def read_message_signature(field: Field) -> Signature:
    """Return an ARC-Message-Signature (RFC 8617 §4.1.2). Raises Unacceptable."""
    tags = _tags(field)
    try:
        # sealers that leave c= out, and those who test them, mean relaxed form
        default = b"relaxed/relaxed"
        claims = _claims(tags)
        made = _with_body(_signature(field, tags, claims), tags, default=default)
        signature = made(identity_domain=claims.domain)
    except TagError as fault:
        raise Unacceptable(str(fault)) from fault
    if b"arc-seal" in signature.names:
        raise Unacceptable("the message signature covers seals")
    return signature


def read_seal(field: Field) -> Signature:
    """Return an ARC-Seal (RFC 8617 §4.1.3). Raises Unacceptable."""
    tags = _tags(field)
    try:
        claims = _claims(tags)
        signature = _signature(field, tags, claims)
        chain = _CHAIN.get(tags.required(b"cv").lower())
    except TagError as fault:
        raise Unacceptable(str(fault)) from fault
    if chain is None:
        raise Unacceptable("the seal says neither none, pass nor fail")
    if tags.get(b"h") is not None:
        raise Unacceptable("the seal has a list of fields")
    return signature(identity_domain=claims.domain, chain=chain)


def _tags(field: Field) -> Tags:
    if len(field.raw) > LONGEST_FIELD_BYTES:
        raise Unacceptable("the field is too long")
    try:
        return parse_tags(field.value)
    except TagError as fault:
        raise Unacceptable(str(fault)) from fault


def _claims(tags: Tags) -> Dkim:
    """Return what can be read of a signature, whatever else is wrong with it."""
    algorithm = tags.get(b"a") or b""
    start = _START.match(without_space(tags.get(b"b") or b""))
    assert start is not None  # it matches nothing, too
    return Dkim(
        Outcome.PERMERROR,
        _domain(tags.get(b"d") or b""),
        _selector(tags.get(b"s") or b""),
        algorithm=algorithm.decode().lower() if _ALGORITHM.match(algorithm) else "",
        signature_start=start[0][:_START_CHARACTERS].decode(),
    )


def _signature(field: Field, tags: Tags, claims: Dkim) -> partial[Signature]:
    """Return what every kind of signature has, but for the domain of ``i=``. Raises Unacceptable and TagError."""
    algorithm = tags.required(b"a")
    key_type = ALGORITHMS.get(algorithm)
    if key_type is None:
        if algorithm == b"rsa-sha1":
            raise Unacceptable("rsa-sha1 is not accepted", Outcome.POLICY)
        raise Unacceptable("unknown algorithm", Outcome.NEUTRAL)
    tags.required(b"d")
    if not claims.domain:
        raise Unacceptable("the tag d is not a domain")
    tags.required(b"s")
    if not claims.selector:
        raise Unacceptable("the tag s is not a selector")
    start, end = tags.signature
    name_end = len(field.raw) - len(field.value)
    value = field.value[:start] + field.value[end:]
    return partial(
        Signature,
        claims,
        field,
        unsigned=Field(field.name, field.raw[:name_end] + value, value),
        key_type=key_type,
        value=decode_base64("b", tags.required(b"b")),
        signed_at=tags.number(b"t", 12),
    )


def _with_body(
    signature: partial[Signature], tags: Tags, *, default: bytes = b"simple/simple"
) -> partial[Signature]:
    header_form, body_form = _forms(tags.get(b"c"), default)
    names = tags.get(b"h")
    if names is None:
        raise TagError("the tag h is missing")
    signed = _signed_names(names)
    if len(signed) > MOST_NAMES:
        raise Unacceptable("too many fields are signed")
    methods = tags.get(b"q")
    if methods is not None and b"dns/txt" not in split_list(methods):
        raise Unacceptable("unknown query method", Outcome.NEUTRAL)
    signed_at, expires_at = signature.keywords["signed_at"], tags.number(b"x", 12)
    if expires_at is not None and signed_at is not None and expires_at <= signed_at:
        raise Unacceptable("it expires before it is made")
    return partial(
        signature,
        names=signed,
        header_form=header_form,
        body_form=body_form,
        body_hash=decode_base64("bh", tags.required(b"bh")),
        body_bytes=tags.number(b"l", 76),
        expires_at=expires_at,
    )


def _signed_names(value: bytes) -> tuple[bytes, ...]:
    return (_kept_names if len(value) <= _LONGEST_KEPT_BYTES else _split_names)(value)


def _split_names(value: bytes) -> tuple[bytes, ...]:
    return tuple(split_list(value.lower()))


_kept_names = lru_cache(_KEPT_LISTS)(_split_names)  # a sender signs the same fields every time


def _identity_domain(tags: Tags, own: str) -> str:
    """Return the domain of ``i=``, which must be within that of ``d=`` (RFC 6376 §6.1.1)."""
    identity = tags.get(b"i")
    if identity is None:
        return own
    domain = _domain(without_space(identity).rpartition(b"@")[2])
    if domain != own and not domain.endswith("." + own):
        raise Unacceptable("the identity is not within the domain")
    return domain


def _forms(value: bytes | None, default: bytes) -> tuple[Form, Form]:
    """Return the canonical forms of header and body (RFC 6376 §3.5)."""
    header, _, body = (default if value is None else value).partition(b"/")
    header_form, body_form = _FORMS.get(header), _FORMS.get(body or b"simple")
    if header_form is None or body_form is None:
        raise Unacceptable("unknown canonicalization", Outcome.NEUTRAL)
    return header_form, body_form


@lru_cache(_KEPT_NAMES)
def _canonical(value: bytes) -> str:
    try:
        domain = foreign_domain(value.decode())
    except (AddressError, UnicodeDecodeError):
        return ""
    return domain if "." in domain and not domain.startswith("[") else ""


def _domain(value: bytes) -> str:
    """Return a domain of at least two labels in canonical form; empty if it is none."""
    return _canonical(value) if len(value) <= _LONGEST_DOMAIN_BYTES else ""


def _selector(value: bytes) -> str:
    """Return a selector in ASCII, in lower case; empty if it is none. Underscores are in use."""
    return _checked_selector(value) if len(value) <= _LONGEST_DOMAIN_BYTES else ""


@lru_cache(_KEPT_NAMES)
def _checked_selector(value: bytes) -> str:
    try:
        text = value.decode()
        if not text.isascii():
            text = foreign_domain(text)
    except (AddressError, UnicodeDecodeError):
        return ""
    if len(text) > _LONGEST_SELECTOR:
        return ""
    labels = text.lower().split(".")
    return text.lower() if all(_SELECTOR.match(label) for label in labels) else ""
