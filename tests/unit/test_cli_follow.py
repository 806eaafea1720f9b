"""Following a message's trace, whose events several processes record."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from posthorn_cli.commands import sending
from posthorn_cli.faults import FAILED, CommandError


def event(at: int, kind: str, **detail: Any) -> dict[str, Any]:
    return {"at": f"2026-11-30T12:00:0{at}Z", "kind": kind, "detail": detail}


ACCEPTED = event(1, "accepted", recipients=2)
FIRST = event(2, "delivered", recipient="a@example.test")
SECOND = event(3, "delivered", recipient="b@example.test")
LOST = event(3, "bounced", recipient="b@example.test")


def follow(looks: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """Follow a trace that looks so, and goes on as in the last look; return the kinds shown."""
    shown: list[str] = []
    left = [list(look) for look in looks]
    session = SimpleNamespace(
        api=SimpleNamespace(
            trace_message=lambda _: {"items": left.pop(0) if len(left) > 1 else left[0]}
        ),
        output=SimpleNamespace(
            as_json=False, for_people=False, line=lambda line: shown.append(line.split("\t")[1])
        ),
    )
    try:
        sending._follow(cast("Any", session), "id", 60)
    finally:
        assert len(left) == 1, "it ended before the last look"
    return shown


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_PAUSE", 0.0)


def test_an_event_that_comes_late_is_shown_and_no_other_twice() -> None:
    looks = [[FIRST], [ACCEPTED, FIRST], [ACCEPTED, FIRST], [ACCEPTED, FIRST, SECOND]]
    assert follow(looks) == ["delivered", "accepted", "delivered"]


def test_the_end_of_one_recipient_is_not_that_of_the_message() -> None:
    with pytest.raises(CommandError, match=r"^b@example\.test will not get it$") as fault:
        follow([[], [FIRST], [ACCEPTED, FIRST], [ACCEPTED, FIRST, LOST]])
    assert fault.value.code == FAILED


def test_a_trace_whose_beginning_is_not_kept_any_more_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "_LATE_SECONDS", 0.01)
    assert follow([[FIRST]]) == ["delivered"]
