"""The PROXY header: who is at the other end, read from octets in any pieces; and whatever is
none, refused."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.proxy import (
    LONGEST_V1,
    LONGEST_V2,
    REASONS,
    SIGNATURE,
    ProxyError,
    ProxyHeader,
    ProxyParser,
)

V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 25)


def v2(command: int, family: int, addresses: bytes, *, length: int | None = None) -> bytes:
    size = len(addresses) if length is None else length
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", size) + addresses


def v6(source: str) -> bytes:
    both = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(
        socket.AF_INET6, "2001:db8::1"
    )
    return v2(1, 0x21, both + struct.pack("!HH", 4711, 25))


GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n": (1, "192.0.2.7", 4711),
    b"PROXY TCP4 0.0.0.1 0.0.0.0 0 0\r\n": (1, "0.0.0.1", 0),
    b"PROXY TCP4 255.255.255.254 255.255.255.255 65535 65535\r\n": (1, "255.255.255.254", 65535),
    b"PROXY TCP6 2001:DB8::7 2001:db8::1 4711 25\r\n": (1, "2001:db8::7", 4711),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 4711 25\r\n": (1, "192.0.2.7", 4711),
    b"PROXY TCP6 ::1 ::1 1 2\r\n": (1, "::1", 1),
    b"PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0007 2001:0db8:0000:0000:0000:0000:0000:0001 65535 65535\r\n": (
        1,
        "2001:db8::7",
        65535,
    ),
    b"PROXY UNKNOWN\r\n": (1, None, 0),
    b"PROXY UNKNOWN 2001:db8::7 \x00whatever 1\r\n": (1, None, 0),
    b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n": (1, None, 0),
    v2(1, 0x11, V4): (2, "192.0.2.7", 4711),
    v2(1, 0x11, V4 + b"\x04\x00\x03abc\xee"): (2, "192.0.2.7", 4711),
    v2(1, 0x11, V4 + b"\x00" * (LONGEST_V2 - 16 - len(V4))): (2, "192.0.2.7", 4711),
    v6("2001:db8::7"): (2, "2001:db8::7", 4711),
    v6("::ffff:192.0.2.7"): (2, "192.0.2.7", 4711),
    v2(0, 0x00, b""): (2, None, 0),
    v2(0, 0x11, V4): (2, None, 0),
    v2(0, 0x31, b"\xff" * 216): (2, None, 0),
    v2(0, 0xFF, b"tlv"): (2, None, 0),
    v2(1, 0x00, b""): (2, None, 0),
    v2(1, 0x00, b"\x04\x00\x00"): (2, None, 0),
}
BAD = {
    b"EHLO client.example.org\r\n": "missing",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": "missing",
    b"\r\nPROXY UNKNOWN\r\n": "missing",
    b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n": "missing",
    b"PROXY\tUNKNOWN\r\n": "missing",
    b"PROXY UNKNOWN\n": "malformed",
    b"PROXY UNKNOWN\r \r\n": "malformed",
    b"PROXY TCP4\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7\r\n": "malformed",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n": "malformed",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 -2\r\n": "malformed",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n": "malformed",
    b"PROXY TCP4 mx.example.org 198.51.100.1 1 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n": "address",
    b"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n": "address",
    b"PROXY TCP4 256.0.0.1 198.51.100.1 1 2\r\n": "address",
    b"PROXY TCP4 192.0.2.7 ::1 1 2\r\n": "address",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n": "address",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n": "address",
    b"PROXY TCP4 0.0.0.0 198.51.100.1 1 2\r\n": "address",
    b"PROXY TCP4 224.0.0.1 198.51.100.1 1 2\r\n": "address",
    b"PROXY TCP4 255.255.255.255 198.51.100.1 1 2\r\n": "address",
    b"PROXY TCP6 ::ffff:0.0.0.0 ::1 1 2\r\n": "address",
    b"PROXY UNIX /run/sock /run/sock 1 2\r\n": "family",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n": "family",
    b"PROXY UNKNOWNS\r\n": "family",
    b"PROXY TCP4 " + b"1" * 97: "oversize",
    b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n": "oversize",
    SIGNATURE + b"\x11\x11\x00\x0c" + V4: "version",
    SIGNATURE + b"\x22\x11\x00\x0c" + V4: "version",
    SIGNATURE + b"\x31\x11\x00\x0c" + V4: "version",
    SIGNATURE[:-1] + b"\r\x21\x11\x00\x0c" + V4: "missing",
    v2(1, 0x31, b"/run/sock".ljust(108, b"\x00") * 2): "family",
    v2(1, 0x12, V4): "family",
    v2(1, 0x01, V4): "family",
    v2(1, 0x10, V4): "family",
    v2(1, 0x41, V4): "family",
    v2(1, 0x11, V4[:-1]): "malformed",
    v2(1, 0x21, V4): "malformed",
    v2(1, 0x11, socket.inet_aton("0.0.0.0") + V4[4:]): "address",
    v6("::"): "address",
    v6("ff02::1"): "address",
    v2(0, 0x00, b"", length=LONGEST_V2 - 15): "oversize",
    v2(1, 0x11, V4, length=65535): "oversize",
}


def expected(of: tuple[int, str | None, int]) -> ProxyHeader:
    version, source, port = of
    return ProxyHeader(version, ipaddress.ip_address(source) if source else None, port)


def whole(octets: bytes) -> ProxyParser:
    parser = ProxyParser()
    parser.feed(octets)
    return parser


@pytest.mark.parametrize(("octets", "says"), GOOD.items())
def test_a_header_is_read_whole_byte_by_byte_and_with_what_follows(
    octets: bytes, says: tuple[int, str | None, int]
) -> None:
    assert ProxyParser().feed(octets) == expected(says)
    parser = ProxyParser()
    for at in range(len(octets) - 1):
        assert parser.feed(octets[at : at + 1]) is None
        assert parser.wanted > 0
    assert parser.feed(octets[-1:]) == expected(says)
    assert (parser.wanted, parser.rest) == (0, b"")
    for trailing in (b"\x16\x03\x01", b"\r\n", octets):
        parser = ProxyParser()
        assert parser.feed(octets + trailing) == expected(says)
        assert parser.rest == trailing
        assert parser.feed(b"more") == expected(says)
        assert parser.rest == trailing + b"more"


@pytest.mark.parametrize(("octets", "says"), GOOD.items())
def test_a_reader_that_takes_what_is_wanted_takes_nothing_of_what_follows(
    octets: bytes, says: tuple[int, str | None, int]
) -> None:
    parser, stream, header, reads = ProxyParser(), octets + b"EHLO x\r\n", None, 0
    while header is None:
        taken, stream = stream[: parser.wanted], stream[parser.wanted :]
        header = parser.feed(taken)
        reads += 1
    assert header == expected(says)
    assert (stream, parser.rest) == (b"EHLO x\r\n", b"")
    assert reads <= 1 + LONGEST_V1 // 2


@pytest.mark.parametrize(("octets", "reason"), BAD.items())
def test_what_is_no_header_is_refused_however_it_comes(octets: bytes, reason: str) -> None:
    with pytest.raises(ProxyError) as refused:
        ProxyParser().feed(octets)
    assert refused.value.reason == reason
    parser, found = ProxyParser(), ""
    try:
        for at in range(len(octets)):
            assert parser.feed(octets[at : at + 1]) is None
    except ProxyError as error:
        found = error.reason
    assert found == reason


@pytest.mark.parametrize(
    "octets", [b"E", b"PROXX", b"\r\n\r\n\x00\r\nQUIX", SIGNATURE + b"\x12", b"\x16", b"QUIT\r\n"]
)
def test_a_client_without_a_header_is_known_by_its_first_octets(octets: bytes) -> None:
    with pytest.raises(ProxyError):
        whole(octets)


def test_a_length_beyond_the_limit_is_refused_before_the_rest_comes() -> None:
    with pytest.raises(ProxyError, match="oversize"):
        whole(v2(1, 0x11, b"", length=LONGEST_V2))


def test_whether_anything_has_come() -> None:
    parser = ProxyParser()
    assert not parser.began
    assert parser.feed(b"") is None
    assert not parser.began
    parser.feed(b"P")
    assert parser.began


_starts = st.sampled_from(
    [
        b"",
        b"PROXY ",
        b"PROXY TCP4 ",
        b"PROXY TCP6 ",
        b"PROXY UNKNOWN",
        SIGNATURE,
        SIGNATURE + b"\x21\x11",
    ]
)
_spelt = st.text("PROXYTCPUNKWN46 0123456789abcdef:.%\r\n", max_size=120).map(str.encode)


@given(_starts, st.binary(max_size=300) | _spelt, st.lists(st.integers(1, 40), max_size=8))
def test_nothing_makes_it_raise_but_its_own_refusal_and_pieces_make_no_difference(
    start: bytes, octets: bytes, cuts: list[int]
) -> None:
    stream = start + octets
    results: list[tuple[object, bytes]] = []
    for sizes in ([len(stream) or 1], cuts, [1] * len(stream)):
        parser, at, said = ProxyParser(), 0, None
        try:
            for size in [*sizes, len(stream)]:
                said = parser.feed(stream[at : at + size])
                at += size
            results.append((said, parser.rest))
        except ProxyError as error:
            assert error.reason in REASONS
            results.append((error.reason, b""))
    # Pieces may tell sooner that a thing is wrong, never that it is right.
    accepted = [isinstance(said, ProxyHeader) for said, _ in results]
    assert all(accepted) or not any(accepted)
    if all(accepted):
        assert results[0] == results[1] == results[2]


@given(st.ip_addresses(), st.integers(0, 65535), st.binary(max_size=100), st.binary(max_size=50))
def test_every_client_that_can_be_is_read_back_in_both_versions(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, tlvs: bytes, rest: bytes
) -> None:
    plain = (
        (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
    )
    line = f"PROXY TCP{address.version} {address} {address} {port} 25\r\n".encode()
    binary = v2(
        1,
        0x11 if address.version == 4 else 0x21,
        address.packed * 2 + struct.pack("!HH", port, 25) + tlvs,
    )
    for version, octets in ((1, line), (2, binary)):
        parser = ProxyParser()
        try:
            header = parser.feed(octets + rest)
        except ProxyError as error:
            assert error.reason == "address"
            assert plain.is_multicast or plain.is_unspecified or str(plain) == "255.255.255.255"
        else:
            assert header == ProxyHeader(version, plain, port)
            assert parser.rest == rest
