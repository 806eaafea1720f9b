"""The breaker that keeps what does not answer from costing everybody its deadline."""

from __future__ import annotations

from posthorn.runtime.circuit_breaker import CircuitBreaker
from tests.support.clock import Clock


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(failures=3, clock=Clock(100.0))
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert breaker.is_open
    assert not breaker.allows()


def test_an_open_one_lets_one_call_through_after_each_rest_which_doubles() -> None:
    clock = Clock(100.0)
    breaker = CircuitBreaker(failures=1, rest_seconds=2, longest_rest_seconds=5, clock=clock)
    breaker.failed()
    for rest in (2, 4, 5, 5):
        clock.now += rest - 0.1
        assert not breaker.allows()
        clock.now += 0.1
        assert breaker.allows()
        assert not breaker.allows(), "one call at a time"
        breaker.failed()
    clock.now += 5
    assert breaker.allows()
    breaker.succeeded()
    assert not breaker.is_open
    breaker.failed()
    clock.now += 2
    assert breaker.allows(), "the rest is the first one again"
