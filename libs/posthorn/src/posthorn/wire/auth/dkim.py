"""Making DKIM signatures (RFC 6376): hash input and field, in relaxed form of header and body.

Rules:

- ``b=`` is last and empty while the field itself is hashed (§3.7), so that a value folded in any
  way can follow it.
- Fields are signed from the last to the first of a name (§5.4.2). Fields shown to readers, and
  those that define how the body is decoded, are named once more than they occur: adding another
  breaks the signature (§8.15).
- A message that not every host accepts as it is has two sets of fields: over the message as it is,
  and over its form by ``seven_bit``. The latter are marked by a private tag (``form=7bit``), which
  verifiers ignore (§3.2); only one set is sent (ADR 26).
- The signature itself is made elsewhere, over the SHA-256 of ``header_hash_input``: RSA PKCS #1
  v1.5 (§3.3.1) or Ed25519 over the 32 bytes of the hash (RFC 8463 §3).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from posthorn.wire.auth.canonicalization import header_fields, relaxed

ALGORITHMS = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}
"""Value of ``a=``, by key type."""

SEALED = (
    "From",
    "Reply-To",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
"""Signed whether present or not, so that none can be added later."""
SIGNED = (
    "Sender",
    "Content-ID",
    "Content-Description",
    "Content-Disposition",
    "Content-Language",
    "Auto-Submitted",
    "Feedback-ID",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
)
"""Signed where present: a mailing list may add its own (RFC 6376 §5.4.1, RFC 8058 §4)."""

_WIDTH = 76
_SEVEN_BIT = "form=7bit"
_FIELD_START = re.compile(r"(?<=\r\n)(?![ \t])")


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """The fields of one message that are signed; the same for every key."""

    names: tuple[str, ...]
    """For ``h=``."""
    canonical: bytes
    """Their relaxed form, each with its CRLF, in the order of ``names``."""


def sign_header(block: bytes) -> SignedHeader | None:
    """Select the signed fields of a header block, and return their relaxed form (RFC 6376 §3.4.2).

    None without a From field, which must be signed (§5.4).
    """
    fields: dict[bytes, list[bytes]] = {}
    for field in header_fields(block):
        fields.setdefault(field.name, []).append(field.value)
    if b"from" not in fields:
        return None
    names: list[str] = []
    lines: list[bytes] = []
    for name in SEALED + SIGNED:
        key = name.lower().encode()
        found = fields.get(key, [])
        names += [name] * (len(found) + (name in SEALED))
        lines += [key + b":" + relaxed(value) + b"\r\n" for value in reversed(found)]
    return SignedHeader(tuple(names), b"".join(lines))


def unsigned_field(
    domain: str,
    selector: str,
    algorithm: str,
    signed: SignedHeader,
    body_hash: bytes,
    signed_at: int,
    *,
    seven_bit: bool = False,
) -> str:
    """Return a DKIM-Signature field that ends in ``b=``, folded, without its CRLF.

    ``algorithm`` is a key of ALGORITHMS; ``signed_at`` is in seconds since 1970; ``seven_bit``: it
    is over the 7-bit form.
    """
    tags = [
        "v=1",
        f"a={ALGORITHMS[algorithm]}",
        "c=relaxed/relaxed",
        f"d={domain}",
        f"s={selector}",
        f"t={signed_at}",
        *([_SEVEN_BIT] if seven_bit else []),
        "h=" + ":".join(signed.names),
        f"bh={base64.b64encode(body_hash).decode()}",
        "b=",
    ]
    lines = ["DKIM-Signature:"]
    for tag in tags:
        for word in _words(tag if tag == "b=" else tag + ";"):
            glue = "" if word.startswith(":") else " "
            if len(lines[-1]) + len(glue) + len(word) > _WIDTH or tag == "b=":
                lines.append(f"\t{word}")
            else:
                lines[-1] += glue + word
    return "\r\n".join(lines)


def header_hash_input(signed: SignedHeader, unsigned: str) -> bytes:
    """Return the hash input (RFC 6376 §3.7)."""
    return signed.canonical + b"dkim-signature:" + relaxed(unsigned.encode().partition(b":")[2])


def finished_field(unsigned: str, signature: bytes) -> str:
    """Return the field with its signature and its CRLF."""
    text = base64.b64encode(signature).decode()
    first = _WIDTH - len("\tb=")
    rest = range(first, len(text), _WIDTH - 1)
    return (
        unsigned
        + "\r\n\t".join([text[:first], *(text[start : start + _WIDTH - 1] for start in rest)])
        + "\r\n"
    )


def by_form(fields: str) -> tuple[str, str]:
    """Split a message's own signatures into those over the message as it is and those over its
    7-bit form."""
    as_it_is, seven_bit = "", ""
    for field in _FIELD_START.split(fields):
        if f" {_SEVEN_BIT};" in field.replace("\r\n\t", " "):
            seven_bit += field
        else:
            as_it_is += field
    return as_it_is, seven_bit


def record_value(algorithm: str, public_key: bytes) -> str:
    """Return the text of the TXT record that publishes a key (RFC 6376 §3.6.1, RFC 8463 §4)."""
    return f"v=DKIM1; k={algorithm}; p={base64.b64encode(public_key).decode()}"


def record_strings(value: str) -> Sequence[str]:
    """Return the text split into strings of at most 255 bytes, as in a TXT record (RFC 6376
    §3.6.2.2)."""
    return [value[start : start + 255] for start in range(0, len(value), 255)]


def record_name(domain: str, selector: str) -> str:
    """Return the name of that record (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def _words(tag: str) -> list[str]:
    """Split ``h=`` before its colons, where it may be folded; other tags are one word."""
    first, *rest = tag.split(":")
    return [first, *(f":{name}" for name in rest)]
