"""The places of a process: shares of clients, networks, accounts and tenants, and who gives way
when places run short."""

from __future__ import annotations

import asyncio

import pytest

from posthorn.runtime.client_networks import client_networks, is_own_side
from posthorn.runtime.connection_limiter import ConnectionLimiter
from tests.support.polling import until


class Guest:
    """A session that gives way while it is idle."""

    def __init__(self, *, busy: bool = False) -> None:
        self.busy = busy
        self.gone = False
        self.silent_seconds = 0.0

    def begin_drain(self) -> None:
        """Nothing to finish."""

    def abort(self) -> None:
        self.gone = True

    def give_way(self) -> bool:
        self.gone = not self.busy
        return self.gone


def filled(limiter: ConnectionLimiter, *addresses: str) -> list[Guest]:
    guests = [Guest() for _ in addresses]
    for guest, address in zip(guests, addresses, strict=True):
        assert limiter.admit(guest, address) is None
    return guests


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("8.8.4.4", ("8.8.4.4", "8.8.4.0/24")),
        ("::ffff:8.8.4.4", ("8.8.4.4", "8.8.4.0/24")),
        ("2a00:1:2:3ff::1", ("2a00:1:2:3ff::/64", "2a00:1:2:300::/56", "2a00:1:2::/48")),
        ("10.1.2.3", ("10.1.2.3",)),
        ("100.64.0.1", ("100.64.0.1",)),
        ("127.0.0.1", ("127.0.0.1",)),
        ("fd00::7", ("fd00::/64",)),
        ("fe80::7%eth0", ("fe80::/64",)),
        ("nobody", ("nobody",)),
    ],
)
def test_what_a_client_is_counted_as(address: str, counted: tuple[str, ...]) -> None:
    assert client_networks(address) == counted
    assert is_own_side(address) == (len(counted) == 1)


def test_networks_hold_a_share_and_those_of_our_own_side_are_not_counted() -> None:
    limiter = ConnectionLimiter(100, 2, per_network=4)
    filled(limiter, "8.8.4.1", "8.8.4.1", "8.8.4.2", "8.8.4.3")
    assert limiter.admit(Guest(), "8.8.4.1") == "address"
    assert limiter.admit(Guest(), "8.8.4.9") == "network"
    filled(limiter, "2a00::1", "2a00:0:0:1::1")
    assert limiter.admit(Guest(), "2a00:0:0:2::1") == "network", (
        "a /56 holds half of what a /48 may"
    )
    filled(limiter, "2a00:0:0:100::1", "2a00:0:0:200::1")
    assert limiter.admit(Guest(), "2a00:0:0:300::1") == "network"
    filled(limiter, *(f"10.0.0.{number}" for number in range(20)))
    generous = ConnectionLimiter(100, 50, per_network=4)
    filled(generous, *["8.8.4.1"] * 50)


def test_the_oldest_waiting_one_of_who_holds_more_gives_way() -> None:
    limiter = ConnectionLimiter(6, 6)
    guests = filled(limiter, "8.8.1.1", "8.8.2.1", "8.8.2.2", "8.8.3.1", "8.8.3.1", "8.8.3.1")
    limiter.began(guests[1])
    newcomer = Guest()
    assert limiter.admit(newcomer, "8.8.4.1") is None
    assert [guest.gone for guest in guests] == [True, False, False, False, False, False]
    assert len(limiter) == 6
    assert limiter.admit(Guest(), "8.8.4.1") is None, "it holds one, others hold more"
    assert [guest.gone for guest in guests] == [True, False, True, False, False, False]
    assert limiter.admit(Guest(), "8.8.3.9") == "total", "nobody holds more than this network"
    assert limiter.admit(Guest(), "8.8.4.2") is None
    assert limiter.admit(Guest(), "8.8.4.3") == "total"
    for guest in guests:
        limiter.leave(guest)
    assert len(limiter) == 3


def test_who_is_busy_or_in_a_transaction_stays() -> None:
    limiter = ConnectionLimiter(3, 3)
    busy, begun, claimed = filled(limiter, *["8.8.1.1"] * 3)
    busy.busy = True
    limiter.began(begun)
    assert limiter.claim(claimed, "a@example.test", "tenant")
    assert limiter.admit(Guest(), "8.8.4.1") == "total"
    limiter.waits(begun)
    limiter.waits(claimed)
    assert limiter.admit(Guest(), "8.8.4.1") is None
    assert (busy.gone, begun.gone, claimed.gone) == (False, True, False)


def test_a_connection_that_is_not_known_yet_is_let_in_where_somebody_can_give_way_to_it() -> None:
    limiter = ConnectionLimiter(4, 4)
    guests = filled(limiter, *["8.8.1.1"] * 4)
    introduction = Guest()
    assert limiter.admit(introduction, None) is None
    limiter.leave(introduction)
    assert limiter.admit(Guest(), "8.8.4.1") is None
    assert guests[0].gone


def test_a_tenant_and_an_account_have_shares_after_login() -> None:
    limiter = ConnectionLimiter(10, 10, per_account=3)
    guests = filled(limiter, *["8.8.1.1"] * 10)
    assert [limiter.claim(guest, "a@a.test", "a") for guest in guests[:4]] == [
        True,
        True,
        True,
        False,
    ]
    names = [f"{number}@a.test" for number in range(6)]
    assert [
        limiter.claim(guest, name, "a") for guest, name in zip(guests[3:9], names, strict=True)
    ] == [True] * 5 + [False]
    assert limiter.claim(guests[9], "b@b.test", "b"), "another tenant has room"
    limiter.leave(guests[0])
    assert limiter.claim(guests[8], "x@a.test", "a")
    limiter.unclaim(guests[8])
    assert limiter.claim(guests[8], "y@a.test", "a")


async def test_under_stress_who_waits_or_is_silent_for_too_long_ends() -> None:
    limiter = ConnectionLimiter(10, 10, stress_seconds=0.1)
    guests = filled(limiter, *["8.8.1.1"] * 7)
    await asyncio.sleep(0.3)
    assert not any(guest.gone for guest in guests), "there is no stress"
    limiter.began(guests[1])
    limiter.began(guests[2])
    guests[2].silent_seconds = 60.0
    assert limiter.claim(guests[3], "a", "a")
    guests[3].silent_seconds = 60.0
    filled(limiter, "8.8.2.1")
    await until(lambda: guests[0].gone)
    assert [guest.gone for guest in guests] == [True, False, True, False, True, True, True]
    assert not limiter.stressed
