"""Rates of API keys and of clients that show unknown ones."""

from __future__ import annotations

import pytest

from posthorn.runtime.token_buckets import TokenBuckets
from posthorn_api.http.permissions import RULES
from posthorn_api.http.problems import RateLimited
from posthorn_api.http.rate_limit import COSTS, RateLimit
from tests.support.clock import Clock


def test_a_bucket_fills_at_its_rate_up_to_its_burst() -> None:
    clock = Clock()
    buckets = TokenBuckets(60, 3, clock)
    assert [buckets.take("a", 1) for _ in range(4)] == [0, 0, 0, 1]
    assert buckets.take("b", 1) == 0, "each key has its own"
    clock.now += 2
    assert [buckets.take("a", 1) for _ in range(3)] == [0, 0, 1]
    clock.now += 100
    assert [buckets.take("a", 1) for _ in range(4)] == [0, 0, 0, 1]


def test_what_costs_more_than_the_burst_leaves_a_debt() -> None:
    clock = Clock()
    buckets = TokenBuckets(60, 3, clock)
    assert buckets.take("a", 10) == 0
    assert buckets.take("a", 1) == 8
    clock.now += 8
    assert buckets.take("a", 1) == 0


def test_buckets_that_are_full_are_forgotten() -> None:
    clock = Clock()
    buckets = TokenBuckets(60, 3, clock)
    for number in range(100):
        buckets.take(number, 1)
    clock.now += 1
    buckets.take("last", 1)
    assert list(buckets._levels) == ["last"]
    few = TokenBuckets(60, 3, clock, most_keys=5)
    for number in range(100):
        few.take(number, 2)
    assert len(few._levels) == 5


def test_costly_operations_count_for_several() -> None:
    limit = RateLimit(60, 100, clock=Clock())
    limit.charge("key", "putConfig")
    limit.charge("key", "putConfig")
    with pytest.raises(RateLimited) as caught:
        limit.charge("key", "getAccount")
    assert caught.value.seconds == 1
    limit.charge("other", "getAccount")
    assert COSTS.keys() <= RULES.keys()


def test_keys_of_a_tenant_share_a_rate() -> None:
    clock = Clock()
    limit = RateLimit(60, 2, clock=clock, tenant_share=2)
    for key in ("a", "b"):
        limit.charge(key, None, "acme")
        limit.charge(key, None, "acme")
        if key == "a":  # what is refused takes nothing of the tenant's
            with pytest.raises(RateLimited, match="with this key"):
                limit.charge(key, None, "acme")
    with pytest.raises(RateLimited, match="with the keys of this tenant") as caught:
        limit.charge("c", None, "acme")
    assert caught.value.seconds == 0.5
    limit.charge("d", None, "other")
    limit.charge("e", None)
    clock.now += 0.5
    limit.charge("c", None, "acme")
    free = RateLimit(60, 2, clock=clock, tenant_share=0)
    for number in range(50):
        free.charge(number, None, "acme")


def test_unknown_keys_of_a_client_do_not_shut_out_good_ones() -> None:
    clock = Clock()
    limit = RateLimit(unknown_per_minute=2, clock=clock)
    limit.good(b"good")
    for _ in range(2):
        limit.check_unknown("192.0.2.1", b"bad")
        limit.bad("192.0.2.1")
    with pytest.raises(RateLimited):
        limit.check_unknown("192.0.2.1", b"another")
    limit.check_unknown("192.0.2.1", b"good")
    limit.check_unknown("192.0.2.2", b"another")
    clock.now += 3601
    limit.bad("192.0.2.1")
    limit.bad("192.0.2.1")
    with pytest.raises(RateLimited):
        limit.check_unknown("192.0.2.1", b"good")


def test_no_limits() -> None:
    limit = RateLimit(0, 1, 0)
    for _ in range(5):
        limit.charge("key", None)
        limit.check_unknown("192.0.2.1", b"bad")
        limit.bad("192.0.2.1")
