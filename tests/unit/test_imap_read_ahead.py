"""What is located ahead for a client that fetches one message after the other."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.mailbox_view import Content
from posthorn_imap.read_ahead import MOST, ReadAhead

CONTENT = Content(BodyLocation(UUID(int=1), "key", 0, 1, "identity", 1, False), None, None, None)


def test_as_many_are_located_as_came_in_a_row_either_way() -> None:
    ahead = ReadAhead()
    found = []
    for place in range(4, 9):
        ahead.note(place)
        found.append(list(ahead.following(100)))
    assert found == [[], [], [7], [8, 9], [9, 10, 11]]
    assert list(ahead.following(10)) == [9]  # there are no more
    for place in range(9, 100):
        ahead.note(place)
    assert len(ahead.following(1000)) == MOST - 1
    for place in (98, 97, 96, 3, 2, 1):  # back, then elsewhere
        ahead.note(place)
    assert list(ahead.following(100)) == [0]
    ahead.note(1)  # the same again
    assert not ahead.following(100)


async def test_it_is_used_once_and_only_while_nothing_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 10.0
    monkeypatch.setattr("posthorn_imap.read_ahead.time.monotonic", lambda: now)
    ahead = ReadAhead()
    ahead.keep({1: CONTENT, 2: CONTENT, 3: CONTENT}, 7)
    assert await ahead.take(1, 7) is CONTENT
    assert await ahead.take(1, 7) is None
    assert await ahead.take(2, 8) is None
    assert await ahead.take(3, 7) is None  # all is forgotten
    ahead.keep({1: CONTENT, 2: CONTENT}, 7)
    ahead.go_on(5, 6)  # of a state that it does not know
    ahead.go_on(7, 8)  # the connection's own change of flags
    now = 11.0
    assert await ahead.take(1, 8) is CONTENT
    now = 11.1
    assert await ahead.take(2, 8) is None
    ahead.keep({1: CONTENT}, 7)
    ahead.note(5)
    ahead.note(9)
    assert await ahead.take(1, 7) is None


def test_more_are_due_before_those_that_are_known_come_to_their_end() -> None:
    ahead = ReadAhead()
    found = []
    for place in range(10):
        ahead.note(place)
        if place == 2:
            assert list(ahead.following(100)) == [3]
        found.append(list(ahead.due(100)))
    assert [each for each in enumerate(found) if each[1]] == [
        (3, [4, 5]),
        (4, [6, 7, 8]),
        (6, [9, 10, 11, 12, 13]),
    ]
    for place in range(10, 98):
        ahead.note(place)
        assert len(ahead.due(100)) < MOST
    assert not ahead.due(100)  # there are no more
    ahead.note(96)  # the other way
    ahead.note(95)
    assert list(ahead.following(100)) == [94]
    ahead.note(94)
    assert list(ahead.due(100)) == [93, 92]


async def test_what_is_being_located_is_waited_for_and_used_while_it_holds() -> None:
    ahead = ReadAhead()
    ahead.keep({}, 7)
    held: asyncio.Future[dict[int, Content]] = asyncio.get_running_loop().create_future()

    async def locating() -> dict[int, Content]:
        return await held

    ahead.begin([4, 5], 7, locating())
    ahead.go_on(7, 8)
    assert await ahead.take(3, 8) is None  # not among them: not waited for
    waiting = asyncio.create_task(ahead.take(4, 8))
    await asyncio.sleep(0)
    assert not waiting.done()
    held.set_result({4: CONTENT, 5: CONTENT})
    assert await waiting is CONTENT
    assert await ahead.take(5, 9) is None  # the mailbox has changed

    held = asyncio.get_running_loop().create_future()
    ahead.begin([6], 9, locating())
    ahead.clear()  # the client does something else meanwhile
    held.set_result({6: CONTENT})
    await asyncio.sleep(0.01)
    assert await ahead.take(6, 9) is None
