"""The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), and SASLprep (RFC 4013).

Rules:

- The server keeps a verifier, from which neither the password nor what a client sends can be
  computed. Whoever steals it can guess at the password, and can pretend to be the server.
- Channel binding is not offered: ``p=`` is refused, ``n`` and ``y`` are taken (RFC 5802 §6).
- Extensions are ignored; ``m=``, which demands that one is understood, is refused (§5.1).
- Whatever a client sends is bounded, and its base64 strict.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import stringprep
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from unicodedata import ucd_3_2_0

from posthorn.wire.smtp.sasl import LONGEST_NAME, LONGEST_PASSWORD, SaslError, decode_response

SCRAM: Final = "SCRAM-SHA-256"
LONGEST_NONCE = 256
"""Most bytes of a client's nonce."""
LONGEST_MESSAGE = 4096
"""Most bytes of a client's message."""
_PROHIBITED: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


@dataclass(frozen=True, slots=True)
class Verifier:
    """What is kept of a password (RFC 5802 §3)."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The first message of a client."""

    name: str
    acts_as: str
    """The authorization identity; empty for that of the name."""
    header: bytes
    """The GS2 header, which the last message repeats."""
    bare: bytes
    """The rest, as it is signed."""
    nonce: bytes


def prepared(text: str) -> bytes:
    """Return a password in the form that SASLprep gives it (RFC 4013), in UTF-8. Code points that
    are newer than Unicode 3.2 are left as they are. Raises ValueError for what has none."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    found = ucd_3_2_0.normalize("NFKC", mapped)
    if not found or any(test(char) for char in found for test in _PROHIBITED):
        raise ValueError("not a string that SASLprep permits")
    if any(map(stringprep.in_table_d1, found)):  # RFC 3454 §6
        ends = stringprep.in_table_d1(found[0]) and stringprep.in_table_d1(found[-1])
        if not ends or any(map(stringprep.in_table_d2, found)):
            raise ValueError("mixes directions of writing")
    return found.encode()


def make_verifier(password: str, salt: bytes, iterations: int) -> Verifier:
    """Return the verifier of a password. It takes long, and lets other threads run. Raises
    ValueError for a password that SASLprep does not permit."""
    if len(password) > LONGEST_PASSWORD:
        raise ValueError("the password is too long")
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, iterations)
    stored_key = hashlib.sha256(_signed(salted, b"Client Key")).digest()
    return Verifier(iterations, salt, stored_key, _signed(salted, b"Server Key"))


def read_first(response: bytes) -> ClientFirst:
    """Parse the first message of a client. Raises SaslError."""
    if len(response) > LONGEST_MESSAGE:
        raise SaslError("the message is too long")
    flag, *rest = response.split(b",", 2)
    if flag.startswith(b"p="):
        raise SaslError("channel binding is not supported")
    if flag not in (b"n", b"y") or len(rest) != 2:
        raise SaslError(f"not in the form of {SCRAM}")
    identity, bare = rest
    acts_as = _name(_value(b"a=", identity)) if identity else ""
    if bare.startswith(b"m="):
        raise SaslError("mandatory extensions are not supported")
    parts = bare.split(b",")
    if len(parts) < 2:
        raise SaslError(f"not in the form of {SCRAM}")
    nonce = _value(b"r=", parts[1])
    if len(nonce) > LONGEST_NONCE or any(not 0x21 <= octet <= 0x7E for octet in nonce):
        raise SaslError("the nonce is not valid")
    header = flag + b"," + identity + b","
    return ClientFirst(_name(_value(b"n=", parts[0])), acts_as, header, bare, nonce)


class Exchange:
    """One exchange with a client, from its first message on."""

    def __init__(self, first: ClientFirst, nonce: bytes, verifier: Verifier) -> None:
        """``nonce``: the server's, at least 18 random bytes in printable ASCII without commas."""
        self._first = first
        self._nonce = first.nonce + nonce
        self._verifier = verifier
        salt = binascii.b2a_base64(verifier.salt, newline=False)
        self.challenge: Final = b"r=%s,s=%s,i=%d" % (self._nonce, salt, verifier.iterations)
        """The server's first message."""

    def finish(self, response: bytes) -> bytes | None:
        """Return the server's last message if the client's shows that it knows the password; None
        if it does not. Raises SaslError for one that is not valid."""
        if len(response) > LONGEST_MESSAGE:
            raise SaslError("the message is too long")
        unproved, found, proof = response.rpartition(b",p=")
        parts = unproved.split(b",")
        if not found or len(parts) < 2:
            raise SaslError(f"not in the form of {SCRAM}")
        if decode_response(_value(b"c=", parts[0])) != self._first.header:
            raise SaslError("the channel binding is not that of the first message")
        if not hmac.compare_digest(_value(b"r=", parts[1]), self._nonce):
            raise SaslError("the nonce is not that of this exchange")
        shown = decode_response(proof)
        if len(shown) != hashlib.sha256().digest_size:
            raise SaslError("the proof is not valid")
        signed = b",".join((self._first.bare, self.challenge, unproved))
        signature = _signed(self._verifier.stored_key, signed)
        client_key = bytes(one ^ other for one, other in zip(shown, signature, strict=True))
        found_key = hashlib.sha256(client_key).digest()
        if not hmac.compare_digest(found_key, self._verifier.stored_key):
            return None
        answer = _signed(self._verifier.server_key, signed)
        return b"v=" + binascii.b2a_base64(answer, newline=False)


def _signed(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _value(key: bytes, attribute: bytes) -> bytes:
    if not attribute.startswith(key) or len(attribute) == len(key):
        raise SaslError(f"expected {key.decode()}")
    return attribute.removeprefix(key)


def _name(text: bytes) -> str:
    """Decode a name, in which commas and equals signs are written ``=2C`` and ``=3D``."""
    if len(text) > LONGEST_NAME:
        raise SaslError("the name is too long")
    plain = text.replace(b"=2C", b"").replace(b"=3D", b"")
    if b"=" in plain or b"\0" in plain:
        raise SaslError("the name is not valid")
    return text.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8", "surrogateescape")
