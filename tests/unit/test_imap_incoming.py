"""Messages that APPEND brings, and the sets of messages that commands mean."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.imap.commands import Partial
from posthorn_imap import ranges
from posthorn_imap.incoming import Incoming

PIECES = st.sampled_from([b"\r", b"\n", b"\r\n", b"A: b", b"From x", b".", b"\0", b"text", b" "])


def brought(octets: bytes, size: int) -> bytes:
    """Bring a message in pieces of a size."""
    incoming = Incoming()
    found = [incoming.feed(octets[at : at + size]) for at in range(0, len(octets), size)]
    return b"".join([*found, incoming.end()])


@given(st.lists(PIECES, min_size=1, max_size=12).map(b"".join))
def test_a_stored_message_is_canonical_however_it_came(octets: bytes) -> None:
    whole = brought(octets, len(octets))
    assert brought(octets, 1) == brought(octets, 3) == whole
    assert whole.count(b"\r") == whole.count(b"\n") == whole.count(b"\r\n")
    assert whole.endswith(b"\r\n")
    assert whole.startswith(b"\r\n") or b"\r\n\r\n" in whole
    assert brought(whole, 2) == whole  # what was appended once is appended as it is


def test_too_many_bare_crs_are_refused() -> None:
    incoming = Incoming()
    incoming.feed(b"A: b\r\n\r\n" + b"\r" * 2000)
    assert incoming.broken


@given(st.sets(st.integers(0, 60)), st.integers(1, 9))
def test_pages_hold_every_message_once(wanted: set[int], most: int) -> None:
    places: ranges.Places = []
    for place in sorted(wanted):
        if places and places[-1][1] == place:
            places[-1] = places[-1][0], place + 1
        else:
            places.append((place, place + 1))
    pages = list(ranges.pages(places, most))
    flat = [place for page in pages for first, end in page for place in range(first, end)]
    assert flat == sorted(wanted)
    assert all(ranges.count(page) == most for page in pages[:-1])
    for first, last in ((1, 3), (2, 2), (5, 90), (-1, -4), (-3, -90)):
        found = ranges.part_of(places, Partial(first, last))
        flat = [place for low, end in found for place in range(low, end)]
        everything = sorted(wanted)
        if first > 0:
            assert flat == everything[first - 1 : last]
        else:
            assert flat == everything[max(len(everything) + last, 0) : len(everything) + first + 1]
