"""The load of a chaos run: which answers a client takes for a pause, and which it reports."""

from __future__ import annotations

import threading
import time
from typing import cast

import httpx
import pytest
from chaos.clients import Program, World
from chaos.ledger import Ledger
from chaos.stand import Stand
from fastapi import Response

from posthorn.ports.idempotency import IdempotencyClash
from posthorn_api.http.problems import Problem, problem_of


def program(ledger: Ledger, *answers: Response) -> Program:
    """Return a client whose API gives these answers."""
    remaining = list(answers)

    def answer(_request: httpx.Request) -> httpx.Response:
        given = remaining.pop(0)
        return httpx.Response(given.status_code, content=bytes(given.body))

    class Answering(World):
        def api(self) -> httpx.Client:
            return httpx.Client(base_url="http://api.test", transport=httpx.MockTransport(answer))

    return Program(Answering(cast(Stand, None), ledger, threading.Event()), "one", 0)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


def test_a_key_that_is_in_use_is_tried_again_and_no_fault() -> None:
    ledger = Ledger()
    held = problem_of(IdempotencyClash(running=True)).response()
    program(ledger, held, held, Response(status_code=202)).once()
    (entry,) = ledger.entries.values()
    assert entry.acknowledged_at is not None
    assert ledger.judge((), lambda _: False).other == []


def test_another_refusal_is_a_fault() -> None:
    ledger = Ledger()
    refusal = Problem(409, "conflict", "no").response()
    program(ledger, refusal, Response(status_code=202)).once()
    assert any("api refused 1: 409" in each for each in ledger.judge((), lambda _: False).other)
