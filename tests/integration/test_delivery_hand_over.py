"""What delivery hands over to a relay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from posthorn.ports.hand_over import Handed, LiveRelay
from posthorn.runtime.ids import new_id
from posthorn_delivery.deliverer import Deliverer
from posthorn_delivery.handing import Handing
from posthorn_local.embedded import Nats
from tests.support.delivery_env import DeliveryEnv, delivery_env

BODY = b"Subject: hello\r\n\r\nworld\r\n"
SUBMITTED: dict[str, Any] = {
    "reverse_path": "alice@example.test",
    "role": "submission",
    "submitter": "alice@example.test",
}


@pytest.fixture
async def env(nats: Nats, database_url: str, tmp_path: Path) -> AsyncIterator[DeliveryEnv]:
    async with delivery_env(nats, database_url, tmp_path / "blobs") as opened:
        yield opened


class Relays:
    """The port LiveRelays with one relay."""

    def __init__(self, relay: LiveRelay) -> None:
        self.relay = relay
        self.handed: list[Handed] = []

    def pick(self) -> LiveRelay | None:
        return self.relay

    async def hand(self, handed: Handed) -> None:
        self.handed.append(handed)


async def test_a_lone_message_is_handed_over_and_a_batch_is_not(env: DeliveryEnv) -> None:
    relay = LiveRelay(UUID(int=1), 20)
    await env.seed.domain("example.test")
    await env.seed.rows(
        "INSERT INTO relays (id, alive_until, claims_apart) VALUES ($1, now() + interval '1 minute', true)",
        relay.id,
    )
    for name in ("far.test", "near.test"):
        await env.seed.rows("INSERT INTO outbound_lanes (key) VALUES ($1)", name)
    relays = Relays(relay)
    deliverer = Deliverer(
        env.mailboxes,
        env.blobs,
        env.dead,
        new_id=new_id,
        notifier=env.wake_ups,
        events=env.events,
        handing=Handing(relays),
    )
    sent = await env.send(BODY, "carol@far.test", **SUBMITTED)
    await deliverer.deliver(await env.take(1))
    (handed,) = relays.handed
    assert (handed.relay, handed.destination, handed.message, handed.body) == (
        relay.id,
        "far.test",
        sent.id,
        BODY,
    )
    assert env.wake_ups.count == 0
    assert await env.seed.rows("SELECT id, relay FROM outbound_slots") == [(handed.slot, relay.id)]
    await env.send(BODY, "dave@near.test", **SUBMITTED)
    await env.send(BODY, "erin@near.test", **SUBMITTED)
    await deliverer.deliver(await env.take(2))
    assert len(relays.handed) == env.wake_ups.count == 1
    await env.send(BODY, "frank@nowhere.test", **SUBMITTED)  # no relay has been there yet
    await deliverer.deliver(await env.take(1))
    assert (len(relays.handed), env.wake_ups.count) == (1, 2)
    assert await env.seed.rows(
        "SELECT recipient, state, c.holder FROM outbound_recipients r"
        " LEFT JOIN outbound_claims c ON c.recipient_id = r.id ORDER BY 1"
    ) == [
        ("carol@far.test", "queued", relay.id),
        ("dave@near.test", "queued", None),
        ("erin@near.test", "queued", None),
        ("frank@nowhere.test", "queued", None),
    ]
