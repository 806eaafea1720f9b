"""The maildrop as one session sees it."""

from __future__ import annotations

import tracemalloc
from array import array

from hypothesis import given
from hypothesis import strategies as st

from posthorn.ports.maildrops import Listing
from posthorn_pop3.snapshot import Snapshot


def snapshot(*sizes: int) -> Snapshot:
    return Snapshot(Listing(7, [100 + 2 * n for n in range(len(sizes))], sizes))


def listing(made: Snapshot) -> list[bytes]:
    return b"".join(made.sizes()).split(b"\r\n")[:-1]


def test_numbers_sizes_and_ids() -> None:
    made = snapshot(10, 20, 30)
    assert (len(made), made.count, made.octets) == (3, 3, 60)
    assert [made.uid(n) for n in (1, 2, 3)] == [100, 102, 104]
    assert [made.uidl(n) for n in (1, 2, 3)] == [b"7.100", b"7.102", b"7.104"]
    assert [made.has(n) for n in (-1, 0, 1, 3, 4, 10**30)] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_a_message_that_moved_in_has_the_unique_id_of_its_server() -> None:
    made = Snapshot(Listing(7, [100, 102], [1, 2], unique_ids={102: b"old", 999: b"gone"}))
    assert b"".join(made.uidls()) == b"1 7.100\r\n2 old\r\n"


def test_wilduck_deleting_renumbers_nothing() -> None:
    made = snapshot(10, 20, 30)
    made.delete(2)
    assert listing(made) == [b"1 10", b"3 30"]
    assert b"".join(made.uidls()) == b"1 7.100\r\n3 7.104\r\n"
    assert made.has(3)
    assert made.size(3) == 30
    assert made.marked(2)
    assert not made.has(2)
    assert (made.count, made.octets, made.deleted()) == (2, 40, [102])
    made.reset()
    assert (made.count, made.octets, made.deleted()) == (3, 60, [])


def test_an_empty_maildrop() -> None:
    made = snapshot()
    assert (len(made), made.count, made.octets, list(made.sizes()), list(made.uidls())) == (
        0,
        0,
        0,
        [],
        [],
    )


@given(st.lists(st.integers(0, 2**40), max_size=1200), st.data())
def test_list_stat_and_uidl_always_agree(sizes: list[int], data: st.DataObject) -> None:
    made = snapshot(*sizes)
    gone = data.draw(st.sets(st.integers(1, len(sizes)))) if sizes else set()
    for number in gone:
        made.delete(number)
    rows = [row.split() for row in listing(made)]
    assert [int(number) for number, _ in rows] == [
        n for n in range(1, len(sizes) + 1) if n not in gone
    ]
    assert made.count == len(rows)
    assert made.octets == sum(int(size) for _, size in rows)
    assert [row.split()[0] for row in b"".join(made.uidls()).split(b"\r\n")[:-1]] == [
        number for number, _ in rows
    ]


def test_a_maildrop_of_100000_messages_takes_few_octets_and_lists_in_chunks() -> None:
    many = Listing(1_700_000_000, range(1, 100_001), array("Q", [4096]) * 100_000)
    tracemalloc.start()
    made = Snapshot(many)
    kept, _ = tracemalloc.get_traced_memory()
    chunks = [len(chunk) for chunk in made.sizes()] + [len(chunk) for chunk in made.uidls()]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 8 * 1024 * 1024
    assert after - kept < 1024 * 1024
    assert max(chunks) < 32 * 1024
    assert made.count == 100_000
