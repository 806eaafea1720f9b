"""How much a mailbox may still take: told in steps, never too little."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from posthorn.model.directory_entry import AddressEntry, RecipientStatus, decode_entry, encode_entry
from posthorn.model.room import room_of

LIMIT = 2**28 / 0.7


@given(st.integers(-(2**40), 2**40))
def test_what_fits_is_never_said_not_to_fit(left: int) -> None:
    room = room_of(left)
    if room is None:
        assert left >= LIMIT * 0.98
    else:
        assert max(left, 4096) <= room <= max(left, 4096) * 2.05 + 3


def test_a_mailbox_tells_of_few_steps_and_of_none_while_it_is_large() -> None:
    assert len({room_of(left) for left in range(0, 10_000_000, 997)}) < 16
    assert room_of(10 * 2**30) is None


def test_emptying_a_mailbox_with_a_round_quota_crosses_no_step() -> None:
    for quota in (2**20, 2**24, 2**27, 10**6, 10**8):
        assert room_of(quota) == room_of(quota - quota // 50)


@given(st.none() | st.integers(0, 2**40))
def test_the_directory_carries_it(room: int | None) -> None:
    entry = AddressEntry(RecipientStatus.DELIVERABLE, room_bytes=room)
    assert decode_entry(encode_entry(entry)) == entry
