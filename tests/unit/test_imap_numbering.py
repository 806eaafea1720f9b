"""The numbering of a connection, compared with a client that only believes what it was told."""

from __future__ import annotations

import re
from array import array

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from posthorn.wire.imap.numbering import Numbering, Told
from tests.support.cpu_cost import cost


def numbering(*uids: int, uidnext: int = 1) -> Numbering:
    return Numbering(array("I", uids), uidnext=uidnext)


def test_numbers_and_uids() -> None:
    made = numbering(3, 5, 9)
    assert (len(made), made.last_uid, made.uid(1), made.uid(3)) == (3, 9, 3, 9)
    assert [made.number(uid) for uid in (1, 3, 5, 9, 10)] == [0, 1, 2, 3, 0]
    for number in (0, -1, 4):
        with pytest.raises(IndexError):
            made.uid(number)
    assert list(made.uids_of([(2, 2**32 - 1)])) == [5, 9]
    assert list(made.uids_of([(7, 9)])) == []
    assert list(made.known([(1, 4), (9, 100)])) == [3, 9]
    assert numbering().last_uid == 0


def test_expunges_come_highest_first_before_one_exists() -> None:
    made = numbering(1, 2, 3, 4)
    made.learn([5, 6], [1, 3])
    assert made.tell(expunges=True) == Told((3, 1), (1, 3), 4)
    made.learn([7], [2])
    told = made.tell(expunges=True)
    assert told.format() == b"* 1 EXPUNGE\r\n* 4 EXISTS\r\n"
    assert told.format(qresync=True) == b"* VANISHED 2\r\n* 4 EXISTS\r\n"


def test_no_expunge_where_none_is_permitted() -> None:  # hmailserver/hmailserver#458
    made = numbering(1, 2, 3)
    made.learn([4], [1])
    assert made.tell(expunges=False) == Told(count=4)
    assert (made.uid(1), made.number(4), list(made.gone)) == (1, 4, [1])
    assert made.has_news
    assert made.tell(expunges=True) == Told((1,), (1,))
    assert not made.has_news


def test_nothing_is_said_of_what_came_and_went() -> None:  # sora, poll_phantom_expunge_test
    made = numbering(1)
    made.learn([2, 3])
    made.learn([], [2, 3])
    assert made.tell(expunges=True) == Told()
    made.learn([2, 3, 4], [])
    assert made.tell(expunges=True) == Told(count=2)


def test_exists_only_when_it_grew() -> None:  # nodemailer/wildduck#850
    made = numbering(1)
    made.learn([], [1])
    assert made.tell(expunges=True).format() == b"* 1 EXPUNGE\r\n"
    assert made.tell(expunges=True).format() == b""


def test_what_is_learned_twice_or_late_changes_nothing() -> None:
    made = numbering(5, uidnext=10)
    made.learn([5, 7, 9], [3])
    assert not made.has_news
    made.learn([10])
    made.learn([10], [5])
    made.learn([10], [5])
    assert made.tell(expunges=True) == Told((1,), (5,), 1)
    made.learn([10], [5])
    assert made.tell(expunges=True) == Told()


def test_a_shared_array_is_never_changed() -> None:
    shared = array("I", [1, 2, 3])
    first, second = Numbering(shared), Numbering(shared)
    assert first.uids is shared
    first.learn([4])
    first.tell(expunges=True)
    second.learn([], [1])
    second.tell(expunges=True)
    first.learn([5], [2])
    first.tell(expunges=True)
    assert list(shared) == [1, 2, 3]
    assert (list(first.uids), list(second.uids)) == ([1, 3, 4, 5], [2, 3])


class Mailbox(RuleBasedStateMachine):
    """A mailbox, connections with and without QRESYNC, and what their clients believe."""

    @initialize(uids=st.sets(st.integers(1, 20)))
    def select(self, uids: set[int]) -> None:
        self.there = sorted(uids)
        self.uidnext = 21
        shared = array("I", self.there)
        self.connections = [Numbering(shared, uidnext=self.uidnext) for _ in range(2)]
        self.believed = [list(self.there), list(self.there)]
        self.unheard: list[list[tuple[list[int], list[int]]]] = [[], []]

    @rule(count=st.integers(1, 3))
    def deliver(self, count: int) -> None:
        new = list(range(self.uidnext, self.uidnext + count))
        self.uidnext += count
        self.there += new
        self._announce(new, [])

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.there:
            gone = data.draw(st.lists(st.sampled_from(self.there), unique=True, max_size=3))
            self.there = [uid for uid in self.there if uid not in gone]
            self._announce([], gone)

    def _announce(self, new: list[int], gone: list[int]) -> None:
        for waiting in self.unheard:
            waiting.append((new, gone))

    @rule(index=st.integers(0, 1), twice=st.booleans())
    def hear(self, index: int, twice: bool) -> None:
        for new, gone in self.unheard[index] * (1 + twice):
            self.connections[index].learn(new, gone)
        self.unheard[index].clear()

    @rule(index=st.integers(0, 1), expunges=st.booleans())
    def tell(self, index: int, expunges: bool) -> None:
        told = self.connections[index].tell(expunges=expunges)
        reply = told.format(qresync=index == 1).decode()
        believed = self.believed[index]
        uids = list(self.connections[index].uids)
        has_exists = False
        for line in reply.splitlines():
            assert not has_exists, "EXISTS comes last"
            if found := re.fullmatch(r"\* ([0-9]+) EXPUNGE", line):
                assert expunges
                assert 1 <= int(found[1]) <= len(believed)
                del believed[int(found[1]) - 1]
            elif found := re.fullmatch(r"\* VANISHED ([0-9:,]+)", line):
                assert expunges
                for part in found[1].split(","):
                    low, _, high = part.partition(":")
                    for uid in range(int(low), int(high or low) + 1):
                        believed.remove(uid)
            else:
                found = re.fullmatch(r"\* ([0-9]+) EXISTS", line)
                assert found is not None
                has_exists = True
                assert int(found[1]) > len(believed)
                believed += uids[len(believed) : int(found[1])]
        if not self.unheard[index] and expunges:
            assert believed == self.there

    @invariant()
    def numbers_are_what_the_client_believes(self) -> None:
        for connection, believed in zip(
            getattr(self, "connections", ()), getattr(self, "believed", ()), strict=True
        ):
            assert list(connection.uids) == believed
            assert [connection.number(uid) for uid in believed] == list(range(1, len(believed) + 1))
            assert connection.gone <= set(believed)


TestMailbox = Mailbox.TestCase
TestMailbox.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("removed", [range(1, 100_001), range(1, 100_001, 2)])
def test_the_removal_of_many_messages_costs_little_time(removed: range) -> None:
    """Nothing else of the process runs meanwhile."""

    def remove() -> None:
        numbering = Numbering(array("I", range(1, 100_001)), uidnext=100_001)
        numbering.learn((), removed)
        told = numbering.tell(expunges=True).format()
        assert told.count(b" EXPUNGE\r\n") == len(removed)
        assert len(numbering) == 100_000 - len(removed)

    assert cost(remove, 0.1) < 0.1
