"""Reading server-sent events in the command line."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from posthorn_cli.client import ApiError, Unreachable
from posthorn_cli.client.server_events import ServerEvent, read_events
from posthorn_cli.commands import events as commands

STREAM = (
    b'retry: 3000\n: hello\n\nid: 1-2-0\ndata: {"a":\ndata: 1}\n\nevent: gap\ndata:{}\n\n'
    b": quiet\nid: 1-3-0\n\ndata: half"
)


def test_messages_are_the_same_however_the_bytes_come() -> None:
    whole = [
        ServerEvent("", "", ""),
        ServerEvent("1-2-0", "", '{"a":\n1}'),
        ServerEvent("1-2-0", "gap", "{}"),
        ServerEvent("1-3-0", "", ""),
    ]
    for size in (1, 2, 7, len(STREAM)):
        pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
        assert list(read_events(pieces)) == whole


def test_a_connection_that_breaks_is_made_again_from_the_last_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str | None] = []
    pauses: list[float] = []
    notes: list[str] = []
    monkeypatch.setattr("posthorn_cli.commands.events.time.sleep", pauses.append)

    def answers(after: str | None) -> Iterator[bytes]:
        asked.append(after)
        match len(asked):
            case 1:
                yield b"retry: 3000\n\nid: 1-1-0\ndata: one\n\nid: 1-2-0\n\n"
                raise Unreachable("cut")
            case 2:
                raise ApiError(503, "unavailable", "unavailable", "")
            case 3:
                yield b"event: gap\ndata: {}\n\nid: 1-3-0\ndata: two\n\n"
            case _:
                yield b'event: end\ndata: {"status": 401, "detail": "expired"}\n\n'

    session = SimpleNamespace(
        api=SimpleNamespace(follow_events=lambda *, type_, message, tenant, after: answers(after)),
        output=SimpleNamespace(note=notes.append),
    )
    told = commands._events(cast("Any", session), ["read"], None, None)
    assert [next(told).data, next(told).data] == ["one", "two"]
    with pytest.raises(ApiError) as ended:
        next(told)
    assert (ended.value.status, str(asked)) == (401, str([None, "1-2-0", "1-2-0", "1-3-0"]))
    assert pauses == [1.0, 2.0, 1.0]
    assert [note for note in notes if "trying" not in note] == [
        "events are missing here: they are not kept any more"
    ]


def test_an_answer_that_is_no_stream_of_events_is_an_error() -> None:
    api = SimpleNamespace(
        url="http://127.0.0.1",
        headers={"Content-Type": "text/html"},
        follow_events=lambda **_: iter([b"<html>"]),
    )
    with pytest.raises(Unreachable, match="is no stream of events: is it a Posthorn API"):
        next(commands._events(cast("Any", SimpleNamespace(api=api)), None, None, None))


def test_a_first_connection_that_fails_is_an_error() -> None:
    def refuse(**_: object) -> Iterator[bytes]:
        raise Unreachable("no route")

    session = SimpleNamespace(api=SimpleNamespace(follow_events=refuse))
    with pytest.raises(Unreachable):
        next(commands._events(cast("Any", session), None, None, None))
