"""SCRAM-SHA-256 (RFC 5802, RFC 7677): its examples, and what is refused."""

from __future__ import annotations

from base64 import b64decode

import pytest

from posthorn.wire.sasl_scram import Exchange, make_verifier, prepared, read_first
from posthorn.wire.smtp.sasl import SaslError

FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO" + NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
UNPROVED = b"c=biws,r=rOprNGfwEbeRWgbNEkqO" + NONCE
PROOF = b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
VERIFIER = make_verifier("pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)


def exchange(first: bytes = FIRST) -> Exchange:
    return Exchange(read_first(first), NONCE, VERIFIER)


def test_the_example_of_rfc_7677() -> None:
    assert exchange().challenge == CHALLENGE
    final = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert exchange().finish(UNPROVED + PROOF) == final


def test_a_proof_that_is_wrong() -> None:
    wrong = PROOF.replace(b"dHzb", b"dHzc")
    assert exchange().finish(UNPROVED + wrong) is None
    # what was signed counts: the same proof for another first message
    assert exchange(FIRST.replace(b"user", b"resu")).finish(UNPROVED + PROOF) is None
    assert exchange(FIRST + b",x=1").finish(UNPROVED + PROOF) is None
    assert exchange().finish(UNPROVED + b",x=1" + PROOF) is None


@pytest.mark.parametrize(
    "response",
    [
        b"",
        UNPROVED,
        PROOF,
        UNPROVED + b",p=",
        UNPROVED + b",p=AAAA",
        UNPROVED + PROOF + b"=",
        UNPROVED + PROOF.rstrip(b"="),
        (UNPROVED + PROOF).replace(b"biws", b"eSws"),  # "y,,"
        (UNPROVED + PROOF).replace(NONCE, b""),
        (UNPROVED + PROOF).replace(NONCE, NONCE + b"x"),
        b"r=1," + UNPROVED + PROOF,
        UNPROVED + b"," + b"x" * 4096 + PROOF,
    ],
)
def test_last_messages_that_are_not_valid(response: bytes) -> None:
    with pytest.raises(SaslError):
        exchange().finish(response)


def test_first_messages_that_are_read() -> None:
    found = read_first(b"y,a=c=2Cd,n=a=3Db@example.test,r=x,e=1")
    assert (found.name, found.acts_as, found.nonce) == ("a=b@example.test", "c,d", b"x")
    assert (found.header, found.bare) == (b"y,a=c=2Cd,", b"n=a=3Db@example.test,r=x,e=1")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,n=user",
        b"x,,n=user,r=x",
        b"p=tls-exporter,,n=user,r=x",
        b"n,b=c,n=user,r=x",
        b"n,,m=1,n=user,r=x",
        b"n,,n=,r=x",
        b"n,,n=us=er,r=x",
        b"n,,n=us\0er,r=x",
        b"n,,r=x,n=user",
        b"n,,n=user,r=",
        b"n,,n=user,r=x y",
        b"n,,n=user,r=" + b"x" * 257,
        b"n,,n=" + b"x" * 513 + b",r=x",
        b"n,,n=user,r=x," + b"x" * 4096,
    ],
)
def test_first_messages_that_are_not_valid(response: bytes) -> None:
    with pytest.raises(SaslError):
        read_first(response)


def test_the_examples_of_rfc_4013() -> None:
    assert prepared("I\u00adX") == b"IX"
    assert prepared("user") == b"user"
    assert prepared("\u00aa") == b"a"
    assert prepared("\u2168") == b"IX"
    assert prepared("a\u00a0b") == b"a b"
    assert prepared("\U0001f511") == "\U0001f511".encode()
    for refused in ("\u0007", "\u0627\u0031", "", "\u00ad", "\ud800", "a\u0627"):
        with pytest.raises(ValueError, match=r"SASLprep|directions"):
            prepared(refused)
    with pytest.raises(ValueError, match="too long"):
        make_verifier("x" * 1025, b"salt", 1)


def test_no_secret_is_shown() -> None:
    assert "stored_key" not in repr(VERIFIER)
