"""Refusals in a transaction are events with all that was known, as many as the budget has."""

from __future__ import annotations

from typing import Any

from prometheus_client import REGISTRY

from posthorn.model.events import ACCEPTED, REFUSED
from posthorn.ports.errors import Full
from posthorn_smtp_in.refusal_events import RefusalBudget
from tests.conformance.smtp.env import MESSAGE, SmtpEnv, smtp_env

LEFT_OUT = "posthorn_smtp_in_refusal_events_left_out_total"


def left_out() -> float:
    return REGISTRY.get_sample_value(LEFT_OUT) or 0.0


def told(env: SmtpEnv) -> list[tuple[str, dict[str, Any]]]:
    return [(event.kind, dict(event.detail)) for event in env.events.events]


async def test_refusals_before_and_after_the_data_are_events() -> None:
    async with smtp_env(smtp_message_max_bytes=2000) as env:
        talk = await (await env.talk()).hello()
        await talk.say(b"MAIL FROM:<a@example.org> SIZE=3000\r\n")
        await talk.say(b"MAIL FROM:<A@example.org>\r\n")
        assert await talk.say(b"RCPT TO:<Nobody@example.test>\r\n") == "550 5.1.1"
        assert await talk.say(b"RCPT TO:<x@elsewhere.example>\r\n") == "550 5.7.1"
        assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
        env.ingest.faults.append(Full("stream", "full"))
        assert (await talk.data(MESSAGE + b".\r\n")).startswith("452")
        (too_big, unknown, foreign, full) = env.events.events
        assert {event.kind for event in env.events.events} == {REFUSED}
        assert len({unknown.message, foreign.message, full.message}) == 1
        assert too_big.message != unknown.message
        common = {"service": "mx", "client": "127.0.0.1", "helo": "client.example.org"}
        assert dict(too_big.detail) == {
            **common,
            "stage": "mail",
            "recipients": [],
            "reason": "too-big",
            "reply": too_big.detail["reply"],
            "reverse_path": "a@example.org",
        }
        assert dict(unknown.detail) == {
            **common,
            "stage": "rcpt",
            "recipients": ["nobody@example.test"],
            "reason": "unknown-recipient",
            "reply": unknown.detail["reply"],
            "reverse_path": "A@example.org",
        }
        assert unknown.detail["reply"].startswith("550 5.1.1 ")
        assert foreign.detail["recipients"] == ["x@elsewhere.example"]
        assert (full.detail["stage"], full.detail["recipients"]) == (
            "data",
            ["alice@example.test"],
        )
        assert full.detail["size"] > 0 and full.detail["subject"]


async def test_more_refusals_than_the_budget_has_are_counted() -> None:
    before = left_out()
    async with smtp_env(smtp_refused_events_per_client=2, smtp_max_unknown=100) as env:
        talk = await (await env.talk()).hello()
        await talk.say(b"MAIL FROM:<a@example.org>\r\n")
        for number in range(5):
            reply = await talk.say(b"RCPT TO:<nobody%d@example.test>\r\n" % number)
            assert reply == "550 5.1.1"
        await talk.say(b"RCPT TO:<alice@example.test>\r\n")
        await talk.data(MESSAGE + b".\r\n")
        assert [kind for kind, _ in told(env)] == [REFUSED, REFUSED, ACCEPTED]
        about = told(env)[-1][1]
        assert about["to"] == ["alice@example.test"]
        assert (about["reverse_path"], about["recipients"]) == ("a@example.org", 1)
    assert left_out() == before + 3


def test_a_budget_returns_with_time_and_is_shared_fairly() -> None:
    now = 0.0
    budget = RefusalBudget(4, 3, lambda: now)
    assert [budget.take("192.0.2.1") for _ in range(4)] == [True, True, True, False]
    assert [budget.take("192.0.2.2") for _ in range(2)] == [True, False]
    now = 30.0
    assert [budget.take("192.0.2.3") for _ in range(3)] == [True, True, False]
    now = 3600.0
    assert [budget.take("192.0.2.1") for _ in range(4)] == [True, True, True, False]
