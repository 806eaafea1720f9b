"""Makes DKIM signatures and ARC sets of any kind, right or wrong, for the tests of verification.

The canonical forms are dkimpy's, so that an error of ours is not made twice.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dkim.canonicalization import CanonicalizationPolicy

from posthorn.wire.auth.lookup import DnsUnavailable

DOMAIN = "example.org"
NOW = 1_800_000_000
HEADER = (
    b"MIME-Version: 1.0\r\n"
    b"Received: from a.example.net\r\n\tby mx.example.org; Mon, 4 Jan 2027 10:00:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"Date: Mon, 4 Jan 2027 10:00:00 +0000\r\n"
    b"From: Alice  Example <alice@example.org>\r\n"
    b"To: bob@example.net\r\n"
    b"Subject: A  folded\r\n\t subject\r\n"
)
BODY = b"Hello  Bob,\r\n\r\nhow  are you? \r\n-- \r\nAlice\r\n\r\n"

type Tags = Mapping[str, str | None]
"""Tags that replace or add to the usual ones; None leaves one out."""


@cache
def rsa_key(bits: int = 1024) -> RSAPrivateKey:
    return generate_private_key(65537, bits)


@cache
def ed25519_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def record(key: RSAPrivateKey | Ed25519PrivateKey, extra: str = "") -> bytes:
    """Return the key record of a private key."""
    if isinstance(key, RSAPrivateKey):
        kind = "rsa"
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, public = "ed25519", key.public_key().public_bytes_raw()
    return f"v=DKIM1; k={kind}; {extra}p={base64.b64encode(public).decode()}".encode()


class KeyZone:
    """The port Lookup on a table of TXT records. None in it: no answer."""

    def __init__(self, texts: Mapping[str, Sequence[bytes] | None] | None = None) -> None:
        self.texts_of: dict[str, Sequence[bytes] | None] = {
            f"rsa._domainkey.{DOMAIN}": [record(rsa_key())],
            f"ed._domainkey.{DOMAIN}": [record(ed25519_key())],
            **(texts or {}),
        }
        self.asked: list[str] = []

    async def texts(self, name: str) -> Sequence[bytes] | None:
        self.asked.append(name)
        if name not in self.texts_of:
            return None
        found = self.texts_of[name]
        if found is None:
            raise DnsUnavailable
        return found

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str] | None:
        return None

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]] | None:
        return None

    async def names(self, address: str) -> Sequence[str] | None:
        return None


def signature_field(
    name: str,
    header: bytes,
    body: bytes = BODY,
    tags: Tags | None = None,
    *,
    key: RSAPrivateKey | Ed25519PrivateKey | None = None,
    template: str = "{tags}",
    whole: Sequence[tuple[bytes, bytes]] | None = None,
) -> bytes:
    """Return a signature field with its CRLF, over these fields and this body.

    ``template`` is the field's value with ``{tags}`` or single tags in braces; ``whole`` are the
    fields to be signed in their order, in place of those that ``h=`` names.
    """
    key = key or rsa_key()
    kind = "rsa" if isinstance(key, RSAPrivateKey) else "ed"
    values: dict[str, str | None] = {
        "v": "1",
        "a": "rsa-sha256" if kind == "rsa" else "ed25519-sha256",
        "c": "relaxed/relaxed",
        "d": DOMAIN,
        "s": kind,
        "h": "from:to:subject:date:message-id:mime-version",
        **(tags or {}),
    }
    forms = values.get("c") or "relaxed/relaxed"
    try:
        policy = CanonicalizationPolicy.from_c_value(forms.encode())
    except Exception:
        policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    if "bh" not in values:
        digest = hashlib.sha256(policy.canonicalize_body(body)).digest()
        values["bh"] = base64.b64encode(digest).decode()
    wanted = values.pop("b", "{b}")
    values["b"] = wanted
    present = {tag: f"{tag}={value}" for tag, value in values.items() if value is not None}
    text = template.replace("{tags}", "; ".join(f"{{{tag}}}" for tag in present))
    for tag, spec in present.items():
        if tag != "b":
            text = text.replace(f"{{{tag}}}", spec)
    text = text.replace("{b}", present.get("b", ""), 1)
    field = f"{name}: {text}"
    blank = (name.encode(), (" " + text.replace("{b}", "")).encode() + b"\r\n")
    fields = list(whole) if whole is not None else _selected(header, values.get("h") or "")
    canonical = policy.canonicalize_headers([*fields, blank])
    signed = b"".join(b":".join(pair) for pair in canonical)
    hashed = hashlib.sha256(signed.removesuffix(b"\r\n")).digest()
    return field.replace("{b}", base64.b64encode(_sign(key, hashed)).decode()).encode() + b"\r\n"


def _sign(key: RSAPrivateKey | Ed25519PrivateKey, digest: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.sign(digest, PKCS1v15(), Prehashed(SHA256()))
    return key.sign(digest)


def parsed(header: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and values of a header, each value with its CRLF."""
    lines = re.split(rb"(?<=\r\n)(?![ \t])", header)
    return [(line.partition(b":")[0], line.partition(b":")[2]) for line in lines if b":" in line]


def _selected(header: bytes, names: str) -> list[tuple[bytes, bytes]]:
    left = parsed(header)
    chosen = []
    for name in names.split(":"):
        for at in range(len(left) - 1, -1, -1):
            if left[at][0].strip().lower() == name.strip().lower().encode():
                chosen.append(left.pop(at))
                break
    return chosen


def arc_set(
    number: int,
    header: bytes = HEADER,
    body: bytes = BODY,
    *,
    results: str | None = None,
    ams: Tags | None = None,
    seal: Tags | None = None,
    ams_template: str = "{tags}",
    ams_change: Callable[[bytes], bytes] = bytes,
    seal_template: str = "{tags}",
    without: str = "",
    ams_key: RSAPrivateKey | None = None,
    seal_key: RSAPrivateKey | None = None,
) -> bytes:
    """Return the next set of a chain with the message's header after it.

    ``without`` names a field of the set that is left out (``aar``, ``ams``, ``seal``), after
    everything was signed; ``ams_change`` alters the message signature before it is sealed.
    """
    if results is None:
        results = f"i={number}; lists.example.org; spf=pass smtp.mailfrom=alice@example.org"
    aar = f"ARC-Authentication-Results: {results}\r\n".encode()
    message = signature_field(
        "ARC-Message-Signature",
        aar + header,
        body,
        {
            "v": None,
            "i": str(number),
            "h": "from:to:date:subject:mime-version:arc-authentication-results",
            "t": "12345",
            **(ams or {}),
        },
        key=ams_key,
        template=ams_template,
    )
    message = ams_change(message)
    earlier: dict[tuple[int, int], tuple[bytes, bytes]] = {}
    order = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
    for name, value in parsed(header):
        if name.strip().lower() in order:
            instance = re.search(rb"\bi\s*=\s*(\d+)", value)
            earlier[int(instance[1]) if instance else 0, order.index(name.strip().lower())] = (
                name,
                value,
            )
    chain = [earlier[place] for place in sorted(earlier)]
    sealed = signature_field(
        "ARC-Seal",
        b"",
        b"",
        {
            "v": None,
            "c": None,
            "h": None,
            "bh": None,
            "i": str(number),
            "t": "12345",
            "cv": "none" if number == 1 else "pass",
            **(seal or {}),
        },
        key=seal_key,
        template=seal_template,
        whole=[*chain, *parsed(aar), *parsed(message)],
    )
    fields = {"seal": sealed, "ams": message, "aar": aar}
    return b"".join(value for name, value in fields.items() if name != without) + header
