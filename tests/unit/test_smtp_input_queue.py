"""Input on its way to the task that waits for it: taken whole, ended, interrupted."""

from __future__ import annotations

import asyncio

import pytest

from posthorn_smtp_in.input_queue import Ended, InputQueue


def queue() -> InputQueue:
    return InputQueue(asyncio.get_running_loop())


async def test_all_that_is_there_is_taken_at_once_and_one_piece_is_not_copied() -> None:
    made, piece = queue(), b"x" * 1000
    made.put(piece)
    assert made.unread == 1000 and made.take() is piece
    made.put(b"a")
    made.put(b"b")
    assert made.take() == b"ab" and made.unread == 0 and made.must_wait


async def test_what_came_before_an_orderly_end_is_taken_and_what_came_before_a_break_is_not() -> (
    None
):
    ended, broken = queue(), queue()
    for made in (ended, broken):
        made.put(b"QUIT\r\n")
    ended.end()
    broken.end(broken=True)
    assert ended.take() == b"QUIT\r\n" and not ended.must_wait
    for made in (ended, broken):
        with pytest.raises(Ended):
            made.take()


@pytest.mark.parametrize("cause", ["piece", "end"])
async def test_a_waiting_task_goes_on(cause: str) -> None:
    made = queue()
    waiting = asyncio.create_task(made.wait())
    await asyncio.sleep(0)
    if cause == "piece":
        made.put(b"x")
        made.put(b"y")
    else:
        made.end()
    await waiting


async def test_an_interruption_is_raised_where_input_is_waited_for_and_the_first_one_counts() -> (
    None
):
    made = queue()
    waiting = asyncio.create_task(made.wait())
    await asyncio.sleep(0)
    made.interrupt(KeyError("first"))
    made.interrupt(KeyError("second"))
    with pytest.raises(KeyError, match="first"):
        await waiting
    with pytest.raises(KeyError, match="first"):
        made.check()


async def test_an_interruption_while_nobody_waits_is_raised_the_next_time() -> None:
    made = queue()
    made.put(b"x")
    made.check()
    made.interrupt(KeyError())
    with pytest.raises(KeyError):
        made.check()
