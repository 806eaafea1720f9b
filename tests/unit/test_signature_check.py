"""The mathematics of signatures on the library cryptography: right ones pass, wrong ones do not, and
whatever is said to be a key, nothing but BadKey is raised."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.adapters import signature_check
from posthorn.adapters.signature_check import CryptographySignatureCheck
from posthorn.wire.auth.public_key import BadKey
from tests.support.signing import ed25519_key, rsa_key

TEXT = b"what is signed"
DIGEST = hashlib.sha256(TEXT).digest()
CHECK = CryptographySignatureCheck()


def der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("bits", [1024, 2048])
def test_rsa_over_the_text(bits: int) -> None:
    key = der(rsa_key(bits).public_key())
    signature = rsa_key(bits).sign(TEXT, PKCS1v15(), SHA256())
    assert CHECK.key_bits("rsa", key) == bits
    assert CHECK.is_valid("rsa", key, DIGEST, signature)
    assert not CHECK.is_valid("rsa", key, hashlib.sha256(b"other").digest(), signature)
    for wrong in (b"", b"\0", signature[:-1], signature + b"\0", signature[::-1]):
        assert not CHECK.is_valid("rsa", key, DIGEST, wrong)


def test_ed25519_over_the_digest() -> None:
    key = ed25519_key().public_key().public_bytes_raw()
    assert CHECK.key_bits("ed25519", key) == 256
    assert CHECK.is_valid("ed25519", key, DIGEST, ed25519_key().sign(DIGEST))
    assert not CHECK.is_valid("ed25519", key, DIGEST, ed25519_key().sign(TEXT))
    assert not CHECK.is_valid("ed25519", key, DIGEST, b"")


def test_what_is_no_key_of_the_type_is_a_bad_key() -> None:
    curve = der(ec.generate_private_key(ec.SECP256R1()).public_key())
    own = der(rsa_key().public_key())
    for kind, key in [("rsa", b""), ("rsa", curve), ("ed25519", own), ("ed25519", b"x" * 31),
                      ("mldsa", own), ("", b""), ("rsa", own[:-1])]:  # fmt: skip
        with pytest.raises(BadKey):
            CHECK.key_bits(kind, key)
        with pytest.raises(BadKey):
            CHECK.is_valid(kind, key, DIGEST, b"x" * 128)


def test_a_key_made_to_cost_much_is_a_bad_key() -> None:
    modulus = rsa_key(2048).public_key().public_numbers().n
    dear = der(rsa.RSAPublicNumbers(modulus - 2, modulus).public_key())
    with pytest.raises(BadKey, match="exponent"):
        CHECK.is_valid("rsa", dear, DIGEST, b"x" * 256)
    long = der(rsa.RSAPublicNumbers(65537, (1 << 16383) + 12345).public_key())
    assert CHECK.key_bits("rsa", long) == 16384
    with pytest.raises(BadKey, match="long"):
        CHECK.is_valid("rsa", long, DIGEST, b"x" * 2048)
    longest = der(rsa.RSAPublicNumbers(65537, (1 << 8191) + 12345).public_key())
    assert not CHECK.is_valid("rsa", longest, DIGEST, b"x" * 1024)


def test_keys_are_kept_but_not_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature_check, "KEPT_KEYS", 2)
    read: list[bytes] = []
    load = signature_check.load_public_key

    def counted(key_type: str, key: bytes) -> signature_check.PublicKey:
        read.append(key)
        return load(key_type, key)

    monkeypatch.setattr(signature_check, "load_public_key", counted)
    check = CryptographySignatureCheck()
    keys = [bytes([number]) * 32 for number in range(1, 4)]
    for key in (keys[0], keys[0], keys[1], keys[2], keys[2], keys[0]):
        check.key_bits("ed25519", key)
    assert read == [keys[0], keys[1], keys[2], keys[0]]


@given(st.sampled_from(["rsa", "ed25519", "x"]), st.binary(max_size=200), st.binary(max_size=300))
@settings(max_examples=100)
def test_no_key_raises_anything_else(kind: str, key: bytes, signature: bytes) -> None:
    try:
        assert not CHECK.is_valid(kind, key, DIGEST, signature)
    except BadKey:
        return
    assert kind == "ed25519"
