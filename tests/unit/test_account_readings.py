"""What is asked about an account that submits mail, by all of its sessions together."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast
from uuid import UUID

import pytest

from posthorn.ports.accounts import AccountState
from posthorn.ports.errors import Unavailable
from posthorn.ports.sending import Credentials, Limits, Senders
from posthorn_smtp_in.account_readings import REREAD_SECONDS, AccountReadings
from tests.support.clock import Clock


class _Senders:
    """Counts questions; answers after a turn of the loop."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.is_down = False
        self.has_password = True

    async def credentials(self, address: str, _network: bytes = b"") -> Credentials | None:
        await self._note(f"credentials {address}")
        none = Limits()
        return Credentials(
            1, address, "x.test", UUID(int=1), "hash", AccountState.ACTIVE, (), none, none, none
        )

    async def app_password(
        self, account: int, _digest: bytes, scope: str, client: str = ""
    ) -> bool:
        await self._note(f"{scope} password of {account}")
        return self.has_password

    async def _note(self, question: str) -> None:
        self.asked[question] += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise Unavailable("postgres", "down")


def _made() -> tuple[_Senders, Clock, AccountReadings]:
    senders, clock = _Senders(), Clock()
    return senders, clock, AccountReadings(cast(Senders, senders), clock=clock)


async def _session(readings: AccountReadings) -> tuple[Any, bool]:
    reading, credentials = await readings.read("a@x.test")
    assert credentials is not None
    return reading, await readings.has_app_password(reading, 1, b"digest", "smtp", "192.0.2.1")


async def test_sessions_of_an_account_share_each_question_of_a_period() -> None:
    senders, clock, readings = _made()
    at_once = await asyncio.gather(*(_session(readings) for _ in range(20)))
    clock.now += REREAD_SECONDS / 2
    later = await _session(readings)
    assert senders.asked == {"credentials a@x.test": 1, "smtp password of 1": 1}
    assert {id(reading.owned) for reading, _ in at_once} == {id(later[0].owned)}
    # another client is another question: the password may hold for networks
    assert await readings.has_app_password(later[0], 1, b"digest", "smtp", "192.0.2.2")
    assert senders.asked["smtp password of 1"] == 2
    clock.now += 0.001
    reading, _ = await _session(readings)
    assert senders.asked == {"credentials a@x.test": 2, "smtp password of 1": 3}
    assert reading.read_at == clock.now
    assert reading.owned is not later[0].owned


async def test_a_password_that_is_gone_is_noticed_with_the_next_reading() -> None:
    senders, clock, readings = _made()
    assert (await _session(readings))[1]
    senders.has_password = False
    clock.now += REREAD_SECONDS
    assert not (await _session(readings))[1]


async def test_a_fault_is_told_to_all_who_wait_and_not_kept() -> None:
    senders, _, readings = _made()
    senders.is_down = True
    told = await asyncio.gather(*(_session(readings) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in told] == [Unavailable] * 3
    senders.is_down = False
    reading, _ = await readings.read("a@x.test")
    senders.is_down = True
    with pytest.raises(Unavailable):
        await readings.has_app_password(reading, 1, b"digest", "smtp", "192.0.2.1")
    senders.is_down = False
    assert await readings.has_app_password(reading, 1, b"digest", "smtp", "192.0.2.1")
    assert senders.asked == {"credentials a@x.test": 2, "smtp password of 1": 2}
