"""Password hashes of other programs, which are verified until the first login (ADR 45).

Rules:

- A hash is read completely before it is stored: scheme, parameters and lengths. What a login would
  find too expensive is refused then.
- Nothing is written in these schemes: at the first login with the right password the stored hash is
  replaced by argon2id (``runtime.rehashing``).
- Digests are compared in constant time. A password that a scheme cannot take does not match.
- ``{SCHEME}`` in front is Dovecot's, in any case, with ``.HEX`` or ``.B64`` after the scheme.

The libraries are imported at the first use.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_SHA_CRYPT_ROUNDS: Final = 1_000_000
"""About 0.6 s of a processor; common programs make 5,000, passlib 656,000."""
MAX_BCRYPT_COST: Final = 14
"""About 1 s of a processor; common programs use 10 to 12."""
MAX_PBKDF2_ITERATIONS: Final = 2_000_000
"""About 1 s of a processor; Django 6 makes 1,200,000."""
MAX_HASH_CHARACTERS: Final = 512
_MIN_SALT_BYTES, _MAX_SALT_BYTES = 4, 64
_BCRYPT_BYTES = 72  # further ones count for nothing in bcrypt

type Matches = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class ForeignHash:
    """A hash of another program."""

    scheme: str
    """Its name, such as ``sha512-crypt``: the label of metrics."""
    matches: Matches
    """Return whether a password matches; takes up to a second of a processor."""
    is_weak: bool = False
    """Whether anybody who obtains it finds the password in no time: without a salt, or MD5."""


def read_foreign_hash(text: str) -> ForeignHash:
    """Read a hash. Raises ValueError if it is none of a known scheme, or is too expensive."""
    if len(text) > MAX_HASH_CHARACTERS or not text.isascii() or not text.isprintable():
        raise ValueError("this is no password hash of a known scheme")
    prefix = _PREFIX.fullmatch(text)
    if prefix is None:
        return _by_form(text, "")
    scheme, encoding, body = prefix["scheme"].upper(), prefix["encoding"], prefix["body"]
    if scheme in _DIGESTS:
        return _digest(scheme, (encoding or "").upper(), body)
    if scheme not in _FORMS or encoding:
        raise ValueError(f"hashes of the scheme {{{scheme}}} are not taken")
    return _by_form(body, scheme)


def _by_form(text: str, named: str) -> ForeignHash:
    """Read a hash by how it begins; ``named``: the scheme that was in front of it."""
    for pattern, read, schemes in _READERS:
        found = pattern.fullmatch(text)
        if found is not None and (not named or named in schemes):
            return read(found)
    raise ValueError("this is no password hash of a known scheme")


def _bounded(what: str, number: str, least: int, most: int) -> int:
    value = int(number)
    if not least <= value <= most:
        raise ValueError(f"{what} must be {least} to {most}")
    return value


def _sha_crypt(found: re.Match[str]) -> ForeignHash:
    if found["rounds"] is not None:
        _bounded("rounds of SHA-crypt", found["rounds"], 1000, MAX_SHA_CRYPT_ROUNDS)
    text, is_512 = found[0], found["id"] == "6"

    def matches(password: bytes) -> bool:
        from passlib.hash import sha256_crypt, sha512_crypt

        hasher = sha512_crypt if is_512 else sha256_crypt
        return _verified(hasher, password, text)

    return ForeignHash("sha512-crypt" if is_512 else "sha256-crypt", matches)


def _md5_crypt(found: re.Match[str]) -> ForeignHash:
    text = found[0]

    def matches(password: bytes) -> bool:
        from passlib.hash import md5_crypt

        return _verified(md5_crypt, password, text)

    return ForeignHash("md5-crypt", matches, is_weak=True)


def _verified(hasher: type, password: bytes, text: str) -> bool:
    try:
        return bool(hasher.verify(password, text))  # type: ignore[attr-defined]
    except ValueError:  # a NUL, or longer than any of its programs takes
        return False


def _bcrypt(found: re.Match[str]) -> ForeignHash:
    _bounded("the cost of bcrypt", found["cost"], 4, MAX_BCRYPT_COST)
    expected = found[0].encode()
    return ForeignHash("bcrypt", lambda password: _is_bcrypt(password, expected))


def _bcrypt_sha256(found: re.Match[str]) -> ForeignHash:
    """passlib's: bcrypt of an HMAC or, in its first version, of a digest of the password."""
    if found["version"] is None:
        variant, cost = found["variant1"], found["cost1"]
    else:
        variant, cost = found["variant2"], found["cost2"]
    _bounded("the cost of bcrypt", cost, 4, MAX_BCRYPT_COST)
    salt, is_keyed = found["salt"].encode(), found["version"] is not None
    expected = f"${variant}${int(cost):02}${found['salt']}{found['digest']}".encode()

    def matches(password: bytes) -> bool:
        inner = (
            hmac.digest(salt, password, "sha256") if is_keyed else hashlib.sha256(password).digest()
        )
        return _is_bcrypt(base64.b64encode(inner), expected)

    return ForeignHash("bcrypt-sha256", matches)


def _is_bcrypt(password: bytes, expected: bytes) -> bool:
    import bcrypt

    try:
        made = bcrypt.hashpw(password[:_BCRYPT_BYTES], expected)
    except ValueError:
        return False
    # the programs write $2a$, $2b$ and $2y$ for the same function
    return hmac.compare_digest(made[4:], expected[4:])


def _pbkdf2(scheme: str, digest: str, iterations: str, salt: bytes, expected: bytes) -> ForeignHash:
    number = _bounded("iterations of PBKDF2", iterations, 1000, MAX_PBKDF2_ITERATIONS)
    if not _MIN_SALT_BYTES <= len(salt) <= _MAX_SALT_BYTES:
        raise ValueError(f"the salt must be {_MIN_SALT_BYTES} to {_MAX_SALT_BYTES} bytes long")
    if len(expected) != hashlib.new(digest).digest_size:
        raise ValueError("the hash is not as long as its digest")

    def matches(password: bytes) -> bool:
        made = hashlib.pbkdf2_hmac(digest, password, salt, number)
        # HMAC pads short keys with NULs: without this, one more at the end would match as well
        return hmac.compare_digest(made, expected) and b"\0" not in password

    return ForeignHash(scheme, matches)


def _pbkdf2_django(found: re.Match[str]) -> ForeignHash:
    expected = _decoded(found["hash"])
    return _pbkdf2(
        f"pbkdf2-{found['digest']}",
        found["digest"],
        found["rounds"],
        found["salt"].encode(),
        expected,
    )


def _pbkdf2_passlib(found: re.Match[str]) -> ForeignHash:
    digest = found["digest"] or "sha1"
    salt, expected = (_decoded(found[name].replace(".", "+")) for name in ("salt", "hash"))
    return _pbkdf2(f"pbkdf2-{digest}", digest, found["rounds"], salt, expected)


def _pbkdf2_dovecot(found: re.Match[str]) -> ForeignHash:
    expected = bytes.fromhex(found["hash"])
    return _pbkdf2("pbkdf2-sha1", "sha1", found["rounds"], found["salt"].encode(), expected)


def _digest(scheme: str, encoding: str, body: str) -> ForeignHash:
    """Read a digest over password and salt, or over the password alone."""
    name, is_salted, is_hex = _DIGESTS[scheme]
    content = _from_hex(body) if encoding == "HEX" or (is_hex and not encoding) else _decoded(body)
    size = hashlib.new(name, usedforsecurity=False).digest_size
    expected, salt = content[:size], content[size:]
    if len(expected) < size or bool(salt) != is_salted or len(salt) > _MAX_SALT_BYTES:
        raise ValueError(f"this is no hash of the scheme {{{scheme}}}")
    if is_salted and len(salt) < _MIN_SALT_BYTES:
        raise ValueError(f"the salt must be {_MIN_SALT_BYTES} to {_MAX_SALT_BYTES} bytes long")

    def matches(password: bytes) -> bool:
        made = hashlib.new(name, password + salt, usedforsecurity=False).digest()
        return hmac.compare_digest(made, expected)

    return ForeignHash(scheme.lower(), matches, is_weak=not is_salted or name == "md5")


def _decoded(text: str) -> bytes:
    """Decode base64, with or without padding. Raises ValueError."""
    try:
        return base64.b64decode(
            text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True
        )
    except binascii.Error:
        raise ValueError("the hash is not valid base64") from None


def _from_hex(text: str) -> bytes:
    try:
        return binascii.unhexlify(text)
    except binascii.Error:
        raise ValueError("the hash is not valid hexadecimal") from None


_PREFIX = re.compile(
    r"\{(?P<scheme>[A-Za-z0-9-]{1,32})(?:\.(?P<encoding>[Hh][Ee][Xx]|[Bb]64|[Bb][Aa][Ss][Ee]64))?\}(?P<body>.*)"
)
_SALT = "[./A-Za-z0-9]"
_BCRYPT_SALT = r"[./A-Za-z0-9]{21}[.Oeu]"  # of the last character only two bits count
_READERS: Final[
    tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], ForeignHash], frozenset[str]], ...]
] = (
    (
        re.compile(
            rf"\$(?P<id>6)\$(?:rounds=(?P<rounds>[1-9]\d{{0,9}})\$)?{_SALT}{{1,16}}\${_SALT}{{86}}"
        ),
        _sha_crypt,
        frozenset({"SHA512-CRYPT", "CRYPT"}),
    ),
    (
        re.compile(
            rf"\$(?P<id>5)\$(?:rounds=(?P<rounds>[1-9]\d{{0,9}})\$)?{_SALT}{{1,16}}\${_SALT}{{43}}"
        ),
        _sha_crypt,
        frozenset({"SHA256-CRYPT", "CRYPT"}),
    ),
    (
        re.compile(rf"\$2[aby]\$(?P<cost>\d\d)\${_BCRYPT_SALT}[./A-Za-z0-9]{{31}}"),
        _bcrypt,
        frozenset({"BLF-CRYPT", "CRYPT"}),
    ),
    (
        re.compile(
            r"\$bcrypt-sha256\$"
            r"(?:(?P<version>v=2),t=(?P<variant2>2[ab]),r=(?P<cost2>\d{1,2})|(?P<variant1>2[ab]),(?P<cost1>\d{1,2}))"
            rf"\$(?P<salt>{_BCRYPT_SALT})\$(?P<digest>[./A-Za-z0-9]{{31}})"
        ),
        _bcrypt_sha256,
        frozenset({"CRYPT"}),
    ),
    (
        re.compile(
            r"pbkdf2_(?P<digest>sha1|sha256)\$(?P<rounds>[1-9]\d{0,9})\$(?P<salt>[!-#%-~]{1,128})\$(?P<hash>[A-Za-z0-9+/=]+)"
        ),
        _pbkdf2_django,
        frozenset({"PBKDF2"}),
    ),
    (
        re.compile(
            r"\$pbkdf2(?:-(?P<digest>sha256|sha512))?\$(?P<rounds>[1-9]\d{0,9})\$(?P<salt>[./A-Za-z0-9]+)\$(?P<hash>[./A-Za-z0-9]+)"
        ),
        _pbkdf2_passlib,
        frozenset({"PBKDF2", "CRYPT"}),
    ),
    (
        re.compile(
            r"\$1\$(?P<salt>[!-#%-~]{1,128})\$(?P<rounds>[1-9]\d{0,9})\$(?P<hash>[0-9a-fA-F]{40})"
        ),
        _pbkdf2_dovecot,
        frozenset({"PBKDF2"}),
    ),
    (
        re.compile(rf"\$1\${_SALT}{{1,8}}\${_SALT}{{22}}"),
        _md5_crypt,
        frozenset({"MD5-CRYPT", "CRYPT"}),
    ),
)
_FORMS: Final = frozenset().union(*(schemes for _, _, schemes in _READERS))
_DIGESTS: Final = {
    "SSHA": ("sha1", True, False),
    "SSHA256": ("sha256", True, False),
    "SSHA512": ("sha512", True, False),
    "SMD5": ("md5", True, False),
    "SHA": ("sha1", False, False),
    "SHA1": ("sha1", False, False),
    "SHA256": ("sha256", False, False),
    "SHA512": ("sha512", False, False),
    "PLAIN-MD5": ("md5", False, True),
    "LDAP-MD5": ("md5", False, False),
}
"""By scheme: the digest, whether there is a salt, whether it is hexadecimal without an encoding."""
