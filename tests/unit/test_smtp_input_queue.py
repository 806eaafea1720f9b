"""Input that was read and not taken yet: taken whole, and ended."""

from __future__ import annotations

import pytest

from posthorn_smtp_in.input_queue import Ended, InputQueue


def queue() -> InputQueue:
    return InputQueue()


def test_all_that_is_there_is_taken_at_once_and_one_piece_is_not_copied() -> None:
    made, piece = queue(), b"x" * 1000
    made.put(piece)
    assert made.unread == 1000 and made.take() is piece
    made.put(b"a")
    made.put(b"b")
    assert made.take() == b"ab" and made.unread == 0 and made.must_wait


def test_what_came_before_an_orderly_end_is_taken_and_what_came_before_a_break_is_not() -> None:
    ended, broken = queue(), queue()
    for made in (ended, broken):
        made.put(b"QUIT\r\n")
    ended.end()
    broken.end(broken=True)
    assert ended.take() == b"QUIT\r\n" and not ended.must_wait
    for made in (ended, broken):
        with pytest.raises(Ended):
            made.take()
