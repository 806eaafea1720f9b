"""Charges paid in advance: few questions to the shared counters, and no limit passed or missed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Charge
from posthorn.runtime.prepaid_throttle import KEPT_SECONDS, MOST, PrepaidThrottle
from tests.support.clock import Clock


class Counters:
    """Shared counters that never refill."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self.questions = 0
        self.down = False

    async def take(self, charges: Sequence[Charge]) -> float:
        self.questions += 1
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("postgres", "down")
        if any(self.taken.get(charge.key, 0) + charge.cost > charge.limit for charge in charges):
            return 7.0
        for charge in charges:
            self.taken[charge.key] = self.taken.get(charge.key, 0) + charge.cost
        return 0.0


def sent(limit: int = 100_000, cost: int = 1, key: str = "a") -> list[Charge]:
    return [Charge(f"messages:{key}", limit, 3600), Charge(f"recipients:{key}", limit, 3600, cost)]


@pytest.fixture
def counters() -> Counters:
    return Counters()


async def test_many_messages_cost_few_questions(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    for _ in range(1000):
        assert await credit.take(sent()) == 0
    assert counters.questions < 60
    assert 1000 <= counters.taken["messages:a"] <= 1000 * 9 / 8


@pytest.mark.parametrize("burst", [10, 30, 90, 330])
async def test_bursts_are_charged_little_more_than_they_are(counters: Counters, burst: int) -> None:
    clock = Clock()
    credit = PrepaidThrottle(counters, clock=clock)
    for _ in range(5):
        clock.now += KEPT_SECONDS + 1
        for _ in range(burst):
            assert await credit.take(sent()) == 0
    assert 5 * burst <= counters.taken["messages:a"] <= 5 * burst * 9 / 8


async def test_a_steady_stream_loses_nothing(counters: Counters) -> None:
    clock = Clock()
    credit = PrepaidThrottle(counters, clock=clock)
    for _ in range(2000):
        clock.now += 0.1
        assert await credit.take(sent()) == 0
    assert counters.taken["messages:a"] <= 2000 + 2 * KEPT_SECONDS / 0.1
    assert counters.questions < 200


async def test_what_meets_is_paid_together(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    assert set(await asyncio.gather(*(credit.take(sent()) for _ in range(40)))) == {0.0}
    assert counters.questions < 25
    assert 40 <= counters.taken["messages:a"] <= 45


async def test_a_limit_is_reached_exactly(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    answers = [await credit.take(sent(limit=1000)) for _ in range(1200)]
    assert answers.count(0.0) == 1000
    assert set(answers[1000:]) == {7.0}


async def test_a_small_limit_is_asked_each_time(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    for _ in range(20):
        await credit.take(sent(limit=150))
    assert counters.questions == 20
    assert counters.taken["messages:a"] == 20


async def test_what_was_paid_is_for_the_same_counters_alone(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    for _ in range(100):
        await credit.take(sent())
    before = dict(counters.taken)
    assert before["messages:a"] > 100
    await credit.take(sent(key="b"))
    assert counters.taken == {**before, "messages:b": 1, "recipients:b": 1}


async def test_messages_that_cost_different_amounts_are_paid_from_one_advance(
    counters: Counters,
) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    recipients = 0
    for number in range(1000):
        recipients += 1 + number % 3
        assert await credit.take(sent(cost=1 + number % 3)) == 0
    assert counters.questions < 80
    assert 1000 <= counters.taken["messages:a"] <= 1000 * 9 / 8
    assert recipients <= counters.taken["recipients:a"] <= recipients * 9 / 8


async def test_a_limit_is_reached_exactly_by_messages_of_any_cost(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    taken = 0
    for number in range(1200):
        cost = 1 + number % 5
        if await credit.take(sent(limit=1000, cost=cost)) == 0:
            taken += cost
    assert taken == counters.taken["recipients:a"] == 1000


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.1])
async def test_a_sender_of_any_rate_asks_about_once_in_a_period(
    counters: Counters, seconds: float
) -> None:
    clock = Clock()
    credit = PrepaidThrottle(counters, clock=clock)
    for _ in range(8 * MOST):
        await credit.take(sent(limit=10_000_000))
        clock.now += seconds
    counters.questions, before = 0, clock.now
    for _ in range(3 * MOST):
        await credit.take(sent(limit=10_000_000))
        clock.now += seconds
    assert counters.questions <= 1 + 1.1 * (clock.now - before) / KEPT_SECONDS


async def test_what_was_paid_is_kept_when_a_message_does_not_fit(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    while not counters.taken or counters.taken["messages:a"] < 900:
        await credit.take(sent(limit=1000))
    before = dict(counters.taken)
    assert await credit.take(sent(limit=1000, cost=500)) == 7.0
    assert counters.taken == before
    sent_more = 0
    while await credit.take(sent(limit=1000)) == 0:
        sent_more += 1
    assert sent_more >= 1000 - before["messages:a"]
    assert counters.taken["messages:a"] == 1000


async def test_an_advance_is_lost_after_a_moment(counters: Counters) -> None:
    clock = Clock()
    credit = PrepaidThrottle(counters, clock=clock)
    for _ in range(16):
        await credit.take(sent())
    paid = counters.taken["messages:a"]
    assert paid > 16
    clock.now += KEPT_SECONDS + 1
    await credit.take(sent())
    assert counters.taken["messages:a"] == paid + 1


async def test_a_question_takes_nothing_from_an_advance(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    only_asked = [Charge("messages:a", 100_000, 3600, 0)]
    for _ in range(5):
        await credit.take(only_asked)
    assert counters.questions == 5


async def test_a_fault_of_the_counters_is_told_and_pays_nothing(counters: Counters) -> None:
    credit = PrepaidThrottle(counters, clock=Clock())
    await credit.take(sent())
    counters.down = True
    with pytest.raises(Unavailable):
        await credit.take(sent())
    counters.down = False
    assert await credit.take(sent()) == 0
    assert counters.taken["messages:a"] >= 2
