"""Which messages delivery hands over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from posthorn.model.envelope import Record
from posthorn.model.outbound import Outbound, QueueState
from posthorn.ports.hand_over import MOST_BODY_BYTES, Handed, LiveRelay
from posthorn_delivery.handing import LINGER_SECONDS, MOST_RECIPIENTS, Handing
from posthorn_delivery.in_flight import Item
from posthorn_delivery.routing import Routes
from tests.support.builders import make_envelope, make_outbound

RELAY = LiveRelay(UUID(int=1), 20)


class Relays:
    """The port LiveRelays."""

    def __init__(self) -> None:
        self.live: LiveRelay | None = RELAY
        self.handed: list[Handed] = []

    def pick(self) -> LiveRelay | None:
        return self.live

    async def hand(self, handed: Handed) -> None:
        self.handed.append(handed)


def item(*outbound: Outbound, body: bytes = b"a\r\n") -> Item:
    made = Item(cast(Any, None), Record(make_envelope(body, to=("a@far.test",)), body))
    made.routes = Routes((), (), outbound, None, ())
    return made


FAR = make_outbound("a@far.test", "s@example.test")


def test_one_destination_and_few_recipients_are_handed_over() -> None:
    handing, now = Handing(relays := Relays(), lambda: now[0]), [0.0]
    near = make_outbound("a@near.test", "s@example.test")
    assert handing.over(item()) is None
    assert handing.over(item(FAR, near)) is None
    assert handing.over(item(*[FAR] * (MOST_RECIPIENTS + 1))) is None
    assert handing.over(item(replace(FAR, state=QueueState.HELD))) is None
    over = handing.over(item(FAR))
    assert over is not None
    assert (over.relay, over.destination) == (RELAY, "far.test")
    now[0] = LINGER_SECONDS / 2
    assert handing.over(item(FAR)) is None, "a worker is there"
    assert handing.over(item(near)) is not None
    now[0] = 2 * LINGER_SECONDS
    relays.live = None
    assert handing.over(item(FAR)) is None


async def test_the_relay_gets_the_body_unless_it_is_large() -> None:
    handing = Handing(relays := Relays())
    small, large = item(FAR), item(FAR, body=b"x" * (MOST_BODY_BYTES + 1))
    over = handing.over(small)
    assert over is not None
    assert not await handing.tell(over, small), "nothing was claimed"
    assert relays.handed == []
    over.slot, over.jobs, over.messages = UUID(int=2), [7], {small.envelope.id}
    assert await handing.tell(over, small)
    over.messages = {small.envelope.id, UUID(int=9)}
    assert not await handing.tell(over, large), "something older went first"
    assert [each.body for each in relays.handed] == [b"a\r\n", b""]
    assert relays.handed[0] == Handed(
        RELAY.id, "far.test", UUID(int=2), [7], small.envelope.id, b"a\r\n"
    )
