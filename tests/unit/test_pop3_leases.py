"""Listings that are kept between logins, and leases on their way back."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Collection
from typing import cast
from uuid import UUID

import pytest

from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import Listing, Maildrops
from posthorn.runtime.ids import new_id
from posthorn_pop3.known_listings import KnownListings
from posthorn_pop3.lease_returns import LeaseReturns


def listing(messages: int, version: str = "1") -> Listing:
    return Listing(7, range(1, messages + 1), [10] * messages, version=version)


class TestKnownListings:
    def test_the_listing_read_last_is_kept_in_arrays(self) -> None:
        known = KnownListings()
        assert known.get(1) is None
        kept = known.keep(1, listing(3))
        assert (kept.uids, kept.sizes) == (array("Q", [1, 2, 3]), array("Q", [10] * 3))
        assert (kept.octets, kept.version) == (30, "1")
        assert known.get(1) is kept is known.keep(1, kept)
        later = known.keep(1, listing(4, "2"))
        assert known.get(1) is later is not kept
        assert len(known) == 1

    def test_the_listing_that_was_not_used_for_longest_goes_first(self) -> None:
        known = KnownListings(most_bytes=3 * 600)
        first, *_ = [known.keep(account, listing(5)) for account in (1, 2, 3)]
        known.keep(1, first)
        known.keep(4, listing(5))
        assert [account for account in range(1, 5) if known.get(account)] == [1, 3, 4]

    def test_the_bytes_are_bounded_whatever_comes(self) -> None:
        known = KnownListings(most_bytes=10_000)
        for number in range(50):
            known.keep(number % 7, listing(number * 5, str(number)))
            kept = [found for account in range(7) if (found := known.get(account))]
            assert sum(500 + 16 * len(each) for each in kept) <= 10_000
        large = known.keep(8, listing(1000))
        assert len(large) == 1000
        assert known.get(8) is None

    def test_without_a_version_nothing_is_kept(self) -> None:
        known = KnownListings()
        known.keep(1, listing(3))
        known.keep(1, listing(3, ""))
        assert len(known) == 0


class Store:
    """Releases when told to."""

    def __init__(self) -> None:
        self.released: list[list[tuple[int, UUID]]] = []
        self.is_faulty = False
        self.may = asyncio.Event()
        self.may.set()

    async def release(self, holders: Collection[tuple[int, UUID]]) -> None:
        self.released.append(list(holders))
        await self.may.wait()
        if self.is_faulty:
            raise Unavailable("postgres", "made to fail")


class TestLeaseReturns:
    async def test_those_that_meet_share_a_statement(self) -> None:
        store = Store()
        returns = LeaseReturns(cast(Maildrops, store))
        leases = [(number, new_id()) for number in range(4)]
        store.may.clear()
        tasks = [asyncio.create_task(returns.release(*lease)) for lease in leases]
        await asyncio.sleep(0)
        assert store.released == [leases[:1]]
        store.may.set()
        await asyncio.gather(*tasks)
        assert store.released == [leases[:1], leases[1:]]
        await returns.release(*leases[0])
        assert store.released[2:] == [leases[:1]]

    async def test_a_login_waits_for_its_account_alone(self) -> None:
        store = Store()
        returns = LeaseReturns(cast(Maildrops, store))
        store.may.clear()
        leaving = [asyncio.create_task(returns.release(number, new_id())) for number in (1, 2)]
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(returns.freed(number)) for number in (1, 2)]
        await returns.freed(3)
        assert not any(task.done() for task in (*leaving, *waiting))
        waiting[0].cancel()
        store.may.set()
        await asyncio.gather(*leaving, waiting[1])
        await returns.freed(1)

    async def test_what_could_not_be_released_is_tried_again(self) -> None:
        store = Store()
        returns = LeaseReturns(cast(Maildrops, store))
        lost, taken = (1, new_id()), (2, new_id())
        store.is_faulty = True
        await returns.release(*lost)
        returns.later(*taken)
        assert len(returns) == 2
        with pytest.raises(Unavailable):
            await returns.freed(1)
        with pytest.raises(Unavailable):
            await returns.try_again()
        await returns.freed(3)
        assert len(returns) == 2
        store.is_faulty = False
        await returns.freed(1)
        assert store.released[-1] == [lost]
        await returns.try_again()
        assert store.released[-1] == [taken]
        assert len(returns) == 0
        await returns.try_again()
        assert store.released[-1] == [taken]

    async def test_a_fault_of_the_program_leaves_nobody_waiting(self) -> None:
        class Broken(Store):
            async def release(self, holders: Collection[tuple[int, UUID]]) -> None:
                await asyncio.sleep(0)
                raise ZeroDivisionError

        returns = LeaseReturns(cast(Maildrops, Broken()))
        await returns.release(1, new_id())
        await returns.release(1, new_id())
        assert len(returns) == 2, "they are tried again"
