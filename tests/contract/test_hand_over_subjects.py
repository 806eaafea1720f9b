"""Hand-overs on NATS, between delivery and relay as the users that they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from posthorn.adapters.nats import hand_over
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.hand_over import NatsLiveRelays, NatsOffers
from posthorn.model.streams import RELAY_HANDED, RELAY_OFFERS
from posthorn.ports.hand_over import Handed, LiveRelay
from posthorn_local.embedded import Nats
from tests.support.jetstream import nats_settings
from tests.support.polling import until

RELAY = LiveRelay(UUID(int=1), 20, None)
OTHER = LiveRelay(UUID(int=2), 5, 60)


@pytest.fixture
async def delivery(nats: Nats) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "delivery", "delivery") as made:
        yield made


@pytest.fixture
async def relay(nats: Nats, delivery: Connection) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "relay", "relay") as made:
        yield made


async def test_a_relay_is_picked_while_its_offer_is_fresh(
    delivery: Connection, relay: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NatsLiveRelays(delivery) as relays, NatsOffers(relay) as offers:
        assert relays.pick() is None

        async def picked(wanted: set[LiveRelay]) -> bool:
            return {relays.pick() for _ in range(50)} == wanted

        await relay.publish(RELAY_OFFERS, b"no offer")
        await relay.publish(RELAY_OFFERS, b'{"relay": "x"}')

        async def offered(first: LiveRelay, picks: set[LiveRelay]) -> bool:
            # again each time: an offer ages while this machine is busy
            await offers.offer(first)
            await offers.offer(OTHER)
            return await picked(picks)

        await until(lambda: offered(RELAY, {RELAY, OTHER}))
        await until(lambda: offered(LiveRelay(RELAY.id, 0), {OTHER}))
        monkeypatch.setattr(hand_over, "FRESH_SECONDS", 0.0)
        assert relays.pick() is None


async def test_every_relay_hears_of_a_hand_over_with_its_body(
    delivery: Connection, relay: Connection
) -> None:
    handed = Handed(RELAY.id, "far.test", UUID(int=3), [7, 8], UUID(int=4), b"a\nb\r\n\x00\xff")
    async with NatsLiveRelays(delivery) as relays, NatsOffers(relay) as offers:
        heard: list[Handed] = []
        offers.listen(heard.append)
        await delivery.publish(RELAY_HANDED, b"{}\n")
        await relays.hand(handed)

        async def came() -> bool:
            return bool(heard)

        await until(came)
        assert heard == [handed]
