"""Handing a lone message over to a live relay, claimed in the transaction that queues it
(``ports.hand_over``).

Rules:

- Only a message that is alone in its batch is handed over: under load a relay that claims many at
  once costs less.
- A relay's worker stays for a moment after its last message, and claims what is queued then: the
  next message to the same destination is left to it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from posthorn.model.outbound import QueueState
from posthorn.ports.hand_over import MOST_BODY_BYTES, Handed, HandOver, LiveRelays
from posthorn_delivery.in_flight import Item

LINGER_SECONDS = 0.2
"""How long a relay's worker waits for more."""
MOST_RECIPIENTS = 5
_REMEMBERED = 1000


class Handing:
    """Decides what is handed over, and tells the relay."""

    def __init__(self, relays: LiveRelays, clock: Callable[[], float] = time.monotonic) -> None:
        self._relays = relays
        self._clock = clock
        self._last: OrderedDict[str, float] = OrderedDict()

    def over(self, item: Item) -> HandOver | None:
        """Return what to claim with a message that is alone; None: nothing."""
        outbound = item.routes.outbound
        destinations = {each.destination for each in outbound}
        if (
            len(destinations) != 1
            or len(outbound) > MOST_RECIPIENTS
            or any(each.state is not QueueState.QUEUED for each in outbound)
        ):
            return None
        (destination,) = destinations
        now, before = self._clock(), self._last.pop(destination, -LINGER_SECONDS)
        self._last[destination] = now
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        if now - before < LINGER_SECONDS or (relay := self._relays.pick()) is None:
            return None
        return HandOver(relay, destination)

    async def tell(self, over: HandOver, item: Item) -> bool:
        """Tell the relay of what was committed; return whether it was the whole message and
        nothing else."""
        if over.slot is None:
            return False
        message, body = item.envelope.id, item.record.body or b""
        await self._relays.hand(
            Handed(
                over.relay.id,
                over.destination,
                over.slot,
                over.jobs,
                message,
                body if len(body) <= MOST_BODY_BYTES else b"",
            )
        )
        return over.messages == {message} and len(over.jobs) == len(item.routes.outbound)
