"""What is located ahead for a client that fetches one message after the other."""

from __future__ import annotations

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


def test_it_is_used_once_and_only_while_nothing_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 10.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    ahead = ReadAhead()
    ahead.keep({1: CONTENT, 2: CONTENT, 3: CONTENT}, 7)
    assert ahead.take(1, 7) is CONTENT
    assert ahead.take(1, 7) is None
    assert ahead.take(2, 8) is None
    assert ahead.take(3, 7) is None  # all is forgotten
    ahead.keep({1: CONTENT, 2: CONTENT}, 7)
    ahead.go_on(5, 6)  # of a state that it does not know
    ahead.go_on(7, 8)  # the connection's own change of flags
    now = 11.0
    assert ahead.take(1, 8) is CONTENT
    now = 11.1
    assert ahead.take(2, 8) is None
    ahead.keep({1: CONTENT}, 7)
    ahead.note(5)
    ahead.note(9)
    assert ahead.take(1, 7) is None
