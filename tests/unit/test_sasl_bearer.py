"""Responses of OAUTHBEARER and XOAUTH2."""

from __future__ import annotations

import json

import pytest

from posthorn.wire.sasl_bearer import Bearer, failure, read_bearer
from posthorn.wire.smtp.sasl import SaslError


def test_the_examples_of_the_specifications() -> None:
    """RFC 7628 §4.1, and the form that Google and Microsoft publish."""
    response = (
        b"n,a=user@example.com,\1host=server.example.com\1port=143\1"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"
    )
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    read = read_bearer("OAUTHBEARER", response)
    assert read == Bearer("OAUTHBEARER", token, "user@example.com")
    assert token not in repr(read)
    read = read_bearer("XOAUTH2", b"user=someuser@example.com\1auth=Bearer ya29.x\1\1")
    assert read == Bearer("XOAUTH2", "ya29.x", "someuser@example.com")
    assert read_bearer("OAUTHBEARER", b"n,,\1auth=bearer x\1\1").name == ""
    assert read_bearer("OAUTHBEARER", b"y,a=a=2Cb=3Dc,\1auth=Bearer x\1\1").name == "a,b=c"


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("OAUTHBEARER", b""),
        ("OAUTHBEARER", b"\1"),
        ("OAUTHBEARER", b"n,,\1auth=Bearer x\1"),
        ("OAUTHBEARER", b"n,,\1auth=Bearer \1\1"),
        ("OAUTHBEARER", b"n,,\1auth=Basic x\1\1"),
        ("OAUTHBEARER", b"n,,\1auth=Bearer x\1auth=Bearer y\1\1"),
        ("OAUTHBEARER", b"n,,\1auth=Bearer \xff\1\1"),
        ("OAUTHBEARER", b"p=tls-exporter,,\1auth=Bearer x\1\1"),
        ("OAUTHBEARER", b"n,b=x,\1auth=Bearer x\1\1"),
        ("OAUTHBEARER", b"n,\1auth=Bearer x\1\1"),
        ("OAUTHBEARER", b"n,a=%b,\1auth=Bearer x\1\1" % (b"x" * 513)),
        ("XOAUTH2", b"n,,\1auth=Bearer x\1\1"),
        ("XOAUTH2", b"user=\1auth=Bearer x\1\1"),
        ("XOAUTH2", b"user=a\1\1"),
    ],
)
def test_what_is_not_of_the_form_is_refused(mechanism: str, response: bytes) -> None:
    with pytest.raises(SaslError):
        read_bearer(mechanism, response)


def test_a_refusal_tells_where_tokens_come_from() -> None:
    assert json.loads(failure("OAUTHBEARER", "https://id.example/", "mail")) == {
        "status": "invalid_token",
        "scope": "mail",
        "openid-configuration": "https://id.example/.well-known/openid-configuration",
    }
    assert json.loads(failure("XOAUTH2", "https://id.example/", "")) == {
        "status": "401",
        "schemes": "bearer",
    }
