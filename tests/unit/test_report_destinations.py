"""Where a domain wants its TLS reports (RFC 8460 §3): what strangers write there is checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.reports.destinations import (
    MOST_ADDRESSES,
    TlsDestinations,
    tls_destinations,
)

NONE = TlsDestinations()


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ("v=TLSRPTv1; rua=mailto:a@b.test", TlsDestinations(("a@b.test",))),
        ("v=TLSRPTv1;rua=https://b.test/x?y=%2C", TlsDestinations((), ("https://b.test/x?y=%2C",))),
        (
            "v=TLSRPTv1; rua = HTTPS://b.test:8443 , mailto:a@b.test,mailto:a@b.test;",
            TlsDestinations(("a@b.test",), ("HTTPS://b.test:8443",)),
        ),
        ("v=TLSRPTv1; rua=http://b.test/", NONE),
        ("v=TLSRPTv1; rua=https://user:secret@b.test/", NONE),
        ("v=TLSRPTv1; rua=https://b.test /", NONE),
        ("v=TLSRPTv1; rua=https:///x,https://b.test:x/,file:///etc/passwd", NONE),
        ("v=TLSRPTv1; rua=https://b.test/\r\nX: y", NONE),
        ("v=TLSRPTv2; rua=mailto:a@b.test", NONE),
        ("v=TLSRPTv1", NONE),
    ],
)
def test_records_of_domains_that_want_tls_reports(record: str, found: TlsDestinations) -> None:
    assert tls_destinations(["something else", record]) == found
    assert tls_destinations([record, record]) == NONE


@given(st.lists(st.text(max_size=40), max_size=12))
def test_what_is_read_is_clean_and_bounded(uris: list[str]) -> None:
    many = [f"https://{number}.test/{text}" for number, text in enumerate(uris)]
    found = tls_destinations([f"v=TLSRPTv1; rua={','.join(many)}"])
    assert len(found.urls) <= MOST_ADDRESSES
    assert all(url.isascii() and url.isprintable() and " " not in url for url in found.urls)
