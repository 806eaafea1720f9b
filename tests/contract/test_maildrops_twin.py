"""The port Maildrops on PostgreSQL and on its twin in memory, which the POP3 transcripts run on:
both keep the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthorn.ports.access import Ending, FamiliarNetwork, Proof, digest_of
from posthorn.ports.maildrops import LeaseLost, MaildropBusy, Revoked
from posthorn.runtime.ids import new_id
from tests.conformance.mail_stores import postgres_mail_store
from tests.conformance.twins import MailStore, MemoryMailStore

ADA = "ada@example.test"
HASH = "the stored hash"
BODIES = [b"Subject: %d\r\n\r\n" % number + b"x" * number for number in range(3)]


@pytest.fixture(params=["memory", "postgres"])
async def store(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> AsyncIterator[MailStore]:
    if request.param == "memory":
        yield MemoryMailStore(HASH)
    else:
        async with postgres_mail_store(database_url, tmp_path / "blobs", HASH) as made:
            yield made


async def filled(store: MailStore) -> int:
    """Make the account with the messages. Return its number."""
    ada = await store.account(ADA)
    await store.deliver(ada, BODIES)
    return ada


async def test_a_login_finds_the_account_its_hash_and_whether_it_is_suspended(
    store: MailStore,
) -> None:
    ada, bob = await store.account(ADA), await store.account("bob@example.test", active=False)
    assert ada != bob
    for address, number, active in ((ADA, ada, True), ("bob@example.test", bob, False)):
        found = await store.maildrops.login(address)
        assert found is not None
        assert (found.account, found.address, found.password_hash, found.active) == (
            number,
            address,
            HASH,
            active,
        )
        assert found.network_age is None
    assert await store.maildrops.login("eve@example.test") is None


async def test_a_place_is_familiar_to_its_account_once_it_is_remembered(store: MailStore) -> None:
    ada, _ = await store.account(ADA), await store.account("bob@example.test")
    await store.maildrops.remember([FamiliarNetwork(ada, b"home")])
    ages = {}
    for address, place in ((ADA, b"home"), (ADA, b"cafe"), ("bob@example.test", b"home")):
        found = await store.maildrops.login(address, place)
        assert found is not None
        ages[address, place] = found.network_age is not None
    assert ages == {
        (ADA, b"home"): True,
        (ADA, b"cafe"): False,
        ("bob@example.test", b"home"): False,
    }


async def test_one_session_at_a_time_has_the_listing(store: MailStore) -> None:
    ada, first, second = await filled(store), new_id(), new_id()
    listing = await store.maildrops.open(ada, first)
    assert list(listing.sizes) == [len(body) for body in BODIES]
    assert list(listing.uids) == sorted(set(listing.uids))
    with pytest.raises(MaildropBusy):
        await store.maildrops.open(ada, second)
    await store.maildrops.release([(ada, second)])  # nobody's lease
    with pytest.raises(MaildropBusy):
        await store.maildrops.open(ada, second)
    await store.maildrops.release([(ada, first)])
    assert await store.maildrops.open(ada, second) == listing


async def test_a_known_listing_is_given_back_while_nothing_changes(store: MailStore) -> None:
    ada, holder = await filled(store), new_id()
    known = await store.maildrops.open(ada, holder)
    assert known.octets == sum(map(len, BODIES))
    assert await store.maildrops.open(ada, holder, known=known) is known
    await store.deliver(ada, [b"Subject: later\r\n\r\n"])
    after = await store.maildrops.open(ada, holder, known=known)
    assert len(after) == len(known) + 1
    await store.remove(ada, known.uids[0])
    assert len(await store.maildrops.open(ada, holder, known=after)) == len(known)


async def test_leases_are_released_together(store: MailStore) -> None:
    ada, bob = await store.account(ADA), await store.account("bob@example.test")
    held = [(ada, new_id()), (bob, new_id())]
    for account, holder in held:
        await store.maildrops.open(account, holder)
    await store.maildrops.release([*held, (ada, new_id())])
    assert await store.maildrops.renew(held) == set()
    for account, _ in held:
        await store.maildrops.open(account, new_id())


async def test_only_one_of_many_at_once_opens(store: MailStore) -> None:
    ada = await filled(store)
    tried = await asyncio.gather(
        *(store.maildrops.open(ada, new_id()) for _ in range(5)), return_exceptions=True
    )
    assert sorted(isinstance(each, MaildropBusy) for each in tried) == [
        False,
        True,
        True,
        True,
        True,
    ]


async def test_a_password_takes_the_lease_of_an_app_password_and_not_the_other_way(
    store: MailStore,
) -> None:
    ada, phone, desk = await filled(store), new_id(), new_id()
    listing = await store.maildrops.open(ada, phone, by_app_password=True)
    with pytest.raises(MaildropBusy):
        await store.maildrops.open(ada, new_id(), by_app_password=True)
    assert await store.maildrops.open(ada, desk) == listing
    with pytest.raises(MaildropBusy):
        await store.maildrops.open(ada, phone, by_app_password=True)
    own = Proof(ada, password=digest_of(HASH))
    assert await store.maildrops.ended({phone: own, desk: own}) == {phone: Ending.TAKEN}
    with pytest.raises(LeaseLost):
        await store.maildrops.commit(ada, phone, listing.uids)
    await store.maildrops.release([(ada, desk)])
    assert await store.maildrops.open(ada, phone) == listing, "nothing was deleted"


async def test_a_renewal_is_of_those_who_hold_a_lease(store: MailStore) -> None:
    ada, holder = await filled(store), new_id()
    await store.maildrops.open(ada, holder)
    assert await store.maildrops.renew([(ada, holder), (ada, new_id())]) == {holder}
    await store.maildrops.release([(ada, holder)])
    assert await store.maildrops.renew([(ada, holder)]) == set()


async def test_bodies_are_where_they_are_located(store: MailStore) -> None:
    ada = await filled(store)
    listing = await store.maildrops.open(ada, new_id())
    await store.remove(ada, listing.uids[1])
    await store.deliver(ada, [b"Subject: later\r\n\r\n"])
    places = await store.maildrops.locate(ada, [*listing.uids, listing.uids[-1] + 1000])
    assert sorted(places) == [listing.uids[0], listing.uids[2]], (
        "one has gone, and one has never been"
    )
    for uid, body in ((listing.uids[0], BODIES[0]), (listing.uids[2], BODIES[2])):
        assert (
            await store.blobs.read(places[uid].key, places[uid].offset, places[uid].length) == body
        )
        assert (places[uid].size, places[uid].has_dot_lines) == (len(body), False)


async def test_a_commit_deletes_what_was_there_and_frees_the_lease(store: MailStore) -> None:
    ada, holder = await filled(store), new_id()
    listing = await store.maildrops.open(ada, holder)
    await store.remove(ada, listing.uids[0])
    await store.deliver(ada, [b"Subject: later\r\n\r\n"])
    assert (
        await store.maildrops.commit(
            ada, holder, listing.uids[:2], Proof(ada, password=digest_of(HASH))
        )
        == 2
    )
    after = await store.maildrops.open(ada, new_id())
    assert after.uidvalidity == listing.uidvalidity
    assert after.uids[0] == listing.uids[2]
    assert len(after) == 2
    assert after.uids[1] > listing.uids[2], "what came meanwhile has a number of its own"
    with pytest.raises(LeaseLost):
        await store.maildrops.commit(ada, holder, [after.uids[0]])


async def test_what_a_session_logged_in_with_may_cease_to_hold(store: MailStore) -> None:
    ada, holder = await filled(store), new_id()
    listing = await store.maildrops.open(ada, holder)
    changed, nobody = (
        Proof(ada, password=digest_of("another hash")),
        Proof(ada + 1000, password=digest_of(HASH)),
    )
    assert await store.maildrops.ended({holder: changed}) == {holder: Ending.CHANGED}
    assert await store.maildrops.ended({holder: nobody}) == {holder: Ending.CLOSED}
    with pytest.raises(Revoked) as raised:
        await store.maildrops.commit(ada, holder, listing.uids, changed)
    assert raised.value.ending == Ending.CHANGED
    assert sorted(await store.maildrops.locate(ada, listing.uids)) == list(listing.uids), (
        "nothing was deleted"
    )
