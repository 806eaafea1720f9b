"""Trace fields (RFC 5321 §4.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.message.header import scan_header
from posthorn.wire.message.trace import (
    Hop,
    address_literal,
    clean_name,
    mail_date,
    received,
    return_path,
)

HOP = Hop("client.example.org", "192.0.2.7", "mx.example.test", "ESMTP")
AT = 1_700_000_000.25


def test_a_received_field() -> None:
    assert received(HOP, "0190-id", "alice@example.test", AT) == (
        b"Received: from client.example.org ([192.0.2.7])\r\n"
        b"\tby mx.example.test with ESMTP\r\n"
        b"\tid 0190-id\r\n"
        b"\tfor <alice@example.test>;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_tls_is_a_comment_and_several_recipients_are_not_named() -> None:
    hop = Hop("c", "2001:db8::1", "mx.example.test", "ESMTPS", "TLSv1.3 TLS_AES_256_GCM_SHA384")
    assert received(hop, "id", None, AT) == (
        b"Received: from c ([IPv6:2001:db8::1])\r\n"
        b"\tby mx.example.test with ESMTPS\r\n"
        b"\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        b"\tid id;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_a_client_that_is_nobodys_business() -> None:
    hop = Hop("laptop.home.example", "192.0.2.7", "out.example.test", "ESMTPSA", withheld=True)
    assert received(hop, "id", None, AT).startswith(
        b"Received: from localhost (client address withheld)\r\n\tby out.example.test with ESMTPSA\r\n"
    )
    assert b"laptop" not in received(hop, "id", None, AT)


@given(st.text(max_size=400))
def test_no_name_breaks_out_of_the_field(name: str) -> None:
    field = received(Hop(name, "192.0.2.7", "mx", "SMTP"), "id", None, AT)
    assert field.count(b"\r\n") == 4
    assert field.count(b"(") == field.count(b")") == 1
    assert all(line.startswith(b"\t") for line in field.split(b"\r\n")[1:-1])
    assert scan_header(field + b"\r\n").received == 1
    assert clean_name(clean_name(name)) == clean_name(name)


@pytest.mark.parametrize(
    ("address", "literal"),
    [
        ("192.0.2.1", "[192.0.2.1]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
        ("::ffff:192.0.2.1", "[192.0.2.1]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("", "unknown"),
    ],
)
def test_address_literals(address: str, literal: str) -> None:
    assert address_literal(address) == literal


def test_dates_and_return_paths() -> None:
    assert mail_date(0) == "Thu, 01 Jan 1970 00:00:00 +0000"
    assert return_path("") == b"Return-Path: <>\r\n"
    assert return_path("jiří@example.org") == "Return-Path: <jiří@example.org>\r\n".encode()
