"""Authentication-Results fields: those that claim to be ours go, whatever their form, and
nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.auth.authentication_results import without_ours

OURS = "mx.example.test"


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.example.test; spf=pass smtp.mailfrom=bank.test\r\n",
        b"authentication-RESULTS : MX.Example.Test.;none\r\n",
        b"Authentication-Results:\r\n\tmx.example.test;\r\n dkim=pass\r\n",
        b"Authentication-Results: (by (the) way\\)) mx.example.test (1.0) 1; spf=pass\r\n",
        b'Authentication-Results: "mx.example\\.test"; spf=pass\r\n',
        b"Authentication-Results: mx.example.test\r\n",
    ],
)
def test_a_field_that_claims_to_be_ours_goes(field: bytes) -> None:
    before, after = b"Received: from a\r\n\tby b\r\n", b"Subject: x\r\n"
    assert without_ours(before + field + after, OURS) == before + after
    assert without_ours(after + field, OURS) == after
    assert without_ours(field + field + before, OURS) == before


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.example.test.evil.test; spf=pass\r\n",
        b"Authentication-Results: other.test; spf=pass (mx.example.test)\r\n",
        b"X-Authentication-Results: mx.example.test; spf=pass\r\n",
        b"Subject: hello\r\n Authentication-Results: mx.example.test; spf=pass\r\n",
        b"ARC-Authentication-Results: i=1; mx.example.test; spf=pass\r\n",
        b"Authentication-Results:\r\n",
    ],
)
def test_fields_of_others_stay(field: bytes) -> None:
    assert without_ours(field + b"Subject: x\r\n", OURS) == field + b"Subject: x\r\n"


@given(
    st.lists(
        st.sampled_from(
            [b"A: b\r\n", b" c\r\n", b"\tAuthentication-Results: x\r\n", b"\xff:\0\r\n"]
        )
    ).map(b"".join)
)
def test_nothing_else_changes(block: bytes) -> None:
    assert without_ours(block, OURS) == block
