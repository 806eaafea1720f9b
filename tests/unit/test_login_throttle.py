"""The throttle of failed logins where the counters come with the account."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Charge
from posthorn.runtime.login_throttle import LoginThrottle
from posthorn.runtime.settings import LoginLimitSettings

ADA = "ada@example.test"
HERE = "192.0.2.1"


class Counters:
    """Answers with ``wait``, and lists what it was asked."""

    def __init__(self, wait: float = 0.0) -> None:
        self.wait = wait
        self.asked: list[list[tuple[str, int]]] = []

    async def take(self, charges: Sequence[Charge]) -> float:
        self.asked.append([(charge.key, charge.cost) for charge in charges])
        return self.wait


def throttle(counters: Counters) -> LoginThrottle:
    limits = {"login_failures_per_address": 4, "login_failures_per_account": 2}
    return LoginThrottle(counters, LoginLimitSettings.model_validate(limits))


async def refused(
    counters: Counters, familiar: bool, found: Mapping[str, float] | None, client: str = HERE
) -> bool:
    async def look() -> tuple[bool, Mapping[str, float] | None]:
        return familiar, found

    async with throttle(counters).attempt_with(ADA, client, look) as attempt:
        return attempt.refused


def test_the_keys_are_those_that_may_decide() -> None:
    made = throttle(Counters())
    assert made.counters(ADA, HERE) == (
        f"auth-address:{HERE}",
        f"auth-account:{ADA}",
        f"auth-familiar:{ADA} 192.0.2.0/24",
    )
    assert made.counters("", "2001:db8::1") == (
        "auth-address:2001:db8::/64",
        "auth-network:2001:db8::/48",
    )


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        ({}, 0),
        # one of two may still fail: half of the 600 s are used
        ({f"auth-account:{ADA}": 300.0}, 0),
        ({f"auth-account:{ADA}": 300.1}, 1),
        ({f"auth-address:{HERE}": 450.1}, 1),
        ({f"auth-familiar:{ADA} 192.0.2.0/24": 600.0}, 0),
        (None, 1),
    ],
)
async def test_the_counters_are_asked_themselves_only_if_one_is_used_up_or_none_was_read(
    found: Mapping[str, float] | None, asked: int
) -> None:
    counters = Counters(wait=7.0)
    assert await refused(counters, False, found) is bool(asked)
    assert len(counters.asked) == asked


async def test_a_familiar_network_is_judged_by_its_own_counter() -> None:
    counters = Counters(wait=7.0)
    assert not await refused(counters, True, {f"auth-account:{ADA}": 600.0})
    assert counters.asked == []
    assert await refused(counters, True, {f"auth-familiar:{ADA} 192.0.2.0/24": 600.0})


async def test_a_wrong_password_takes_the_same_questions_whether_there_is_an_account() -> None:
    asked = []
    answers: list[Mapping[str, float] | None] = [{}, None]
    for found in answers:
        counters = Counters()

        async def look(found: Mapping[str, float] | None = found) -> tuple[bool, object]:
            return False, found

        async with throttle(counters).attempt_with(ADA, HERE, look) as attempt:  # type: ignore[arg-type]
            await attempt.wrong()
        asked.append(counters.asked)
    assert asked[0] == asked[1]
    assert [[cost for _, cost in each] for each in asked[0]] == [[0, 0], [1], [1]]


async def test_guesses_at_the_same_time_see_each_other_counted() -> None:
    made, failed = throttle(Counters(wait=7.0)), 0

    async def look() -> tuple[bool, Mapping[str, float]]:
        await asyncio.sleep(0)
        return False, {f"auth-account:{ADA}": 300.0 * failed}

    async def tried() -> bool:
        nonlocal failed
        async with made.attempt_with(ADA, HERE, look) as attempt:
            if attempt.refused:
                return False
            await asyncio.sleep(0)
            failed += 1
            return True

    assert sum(await asyncio.gather(*(tried() for _ in range(8)))) == 2


async def test_a_fault_of_the_store_ends_the_turn() -> None:
    made = throttle(Counters())

    async def fail() -> tuple[bool, Mapping[str, float]]:
        raise Unavailable("postgres", "made to fail")

    for _ in range(2):
        with pytest.raises(Unavailable):
            async with made.attempt_with(ADA, HERE, fail):
                pass
    async with made.attempt(ADA, HERE) as attempt:
        assert not attempt.refused
