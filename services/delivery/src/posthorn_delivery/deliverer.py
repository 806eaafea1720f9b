"""Delivery of a batch of messages.

Rules:

- Each message of a batch ends in one of four ways: delivered to its mailboxes and the outbound
  queue; moved to the stream's retry lane; parked on DEAD (all three are acknowledged); or returned
  to the stream. None is acknowledged before it is stored elsewhere, except a message without
  recipients for which no DSN is due.
- Transactions are bounded by the rows of their recipients, which are known once these are resolved:
  each writes about ``grouping.MOST_ROWS``. Work on rows yields to other tasks in between. An alias
  with many targets is one row here, and expanded in ``expander``.
- ``isolate`` handles what cannot be delivered now, or at all: it waits out outages and finds bad
  messages by halving.
- ``routing`` decides the destinations of each recipient, and ``filing`` which copies go to Junk or
  quarantine. A recipient that was deleted since RCPT holds up no other: it is bounced.
- A message sent in the name of a local domain is signed (DKIM) once, before it is queued. When the
  keys of its domain cannot be decrypted, it alone waits, in the retry lane.
- What an account submits is copied into its Sent, if it wants that, in the same transaction.
- Relays are notified and events recorded after the commit: neither can undo or delay it.
- Everything may happen twice, since an acknowledgement may be lost at any point: blob keys and
  delivery ids are stable, and Postgres is asked which ids are delivered already before anything is
  placed. Bodies of a few messages are stored meanwhile.
- A lone message is handed over to a relay (``handing``).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.authority import admitted
from posthorn.model.envelope import Envelope, RecordError, decode_record
from posthorn.ports.blobs import Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events, NoEvents
from posthorn.ports.ingest import DeadLetters, Delivery
from posthorn.ports.mailboxes import Mailboxes, Resolution
from posthorn.ports.notifications import Notifier
from posthorn.ports.signing import Signer
from posthorn.runtime import traces
from posthorn.runtime.json_bytes import loads
from posthorn_delivery.filing import Filing, Points, authors_of, count, file_copies
from posthorn_delivery.grouping import by_recipients, by_rows
from posthorn_delivery.handing import Handing
from posthorn_delivery.in_flight import Group, InFlight, Item
from posthorn_delivery.isolate import NAK_SECONDS, Isolator, Stopping
from posthorn_delivery.outcome_events import record, record_filing
from posthorn_delivery.packer import Packer, segments
from posthorn_delivery.routing import route
from posthorn_delivery.srs_originals import find_srs_originals
from posthorn_delivery.tracing import trace_placed

log = structlog.get_logger()

_entries = Counter("posthorn_delivery_entries_total", "Mailbox entries made")
_batches = Counter("posthorn_delivery_batches_total", "Batches taken")
_batch_size = Histogram(
    "posthorn_delivery_batch_messages",
    "Messages in a batch",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
_transactions = Counter(
    "posthorn_delivery_transactions_total", "Transactions that delivered messages"
)
_rows = Histogram(
    "posthorn_delivery_transaction_rows",
    "Rows of recipients in a transaction",
    buckets=(1, 5, 20, 100, 500, 1000, 2000, 5000),
)
_latency = Histogram(
    "posthorn_delivery_latency_seconds",
    "From the end of data to the committed mailbox entry",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)

FEW_MESSAGES = 8
"""Messages up to which bodies are written while recipients are resolved: under load, time matters
less than a body written in vain."""
_PLACED = 1000
"""Messages placed last: one of them that comes again is not stored before Postgres was asked."""
_YIELD_ROWS = 200
_YIELD_MESSAGES = 100
"""Rows routed, and messages decoded or recorded, before yielding to other tasks."""


class Deliverer:
    """Delivers batches.

    ``compress`` makes a zstd frame of a body, ``frame`` of a header, or is None; ``new_id`` makes
    UUIDv7s. ``rewriting``: SRS keys,
    the current one first; without them forwarded messages get the null reverse-path; without a
    signer nothing is signed. ``on_expansion`` is called when an alias was queued for expansion,
    ``on_delivered`` after each commit; ``points`` returns what accounts' training adds to scores.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        blobs: Blobs,
        dead: DeadLetters,
        *,
        new_id: Callable[[], UUID],
        compress: Callable[[bytes], bytes] | None = None,
        frame: Callable[[bytes], bytes] | None = None,
        signer: Signer | None = None,
        rewriting: Sequence[bytes] = (),
        notifier: Notifier | None = None,
        events: Events | None = None,
        handing: Handing | None = None,
        on_expansion: Callable[[], None] = lambda: None,
        points: Points | None = None,
        on_delivered: Callable[[Envelope, bytes | None, Filing], None] = lambda *_: None,
        clock: Clock = time.time,
    ) -> None:
        self._mailboxes = mailboxes
        self._blobs = blobs
        self._isolator = Isolator(dead, {"postgres": mailboxes.probe, "blobs": blobs.probe})
        self._packer = Packer(blobs, new_id=new_id, compress=compress, frame=frame)
        self._signer = signer
        self._rewriting = rewriting
        self._notifier = notifier
        self._events = events or NoEvents()
        self._handing = handing
        self._on_expansion = on_expansion
        self._placed: OrderedDict[UUID, None] = OrderedDict()
        self._points = points
        self._on_delivered = on_delivered
        self._new_id = new_id
        self._clock = clock
        self._batches: set[InFlight] = set()

    def stop(self) -> None:
        """Stop waiting out faults: return to the stream what cannot be delivered now."""
        self._isolator.stop()

    async def give_back(self) -> None:
        """Return unfinished messages to the stream at once, though their delivery may still go
        on."""
        for in_flight in list(self._batches):
            await in_flight.give_back()

    async def deliver(self, batch: Sequence[Delivery]) -> None:
        """Finish every message of the batch. When cancelled, return the unfinished ones to the
        stream."""
        _batches.inc()
        _batch_size.observe(len(batch))
        in_flight = InFlight(batch)
        self._batches.add(in_flight)
        try:
            async with in_flight.reported():
                await self._bring_to_an_end(batch, in_flight)
        except Stopping:
            log.info(
                "returning to the stream what cannot be delivered now", messages=len(in_flight.open)
            )
        finally:
            self._batches.discard(in_flight)
            await in_flight.give_back()

    async def _bring_to_an_end(self, batch: Sequence[Delivery], in_flight: InFlight) -> None:
        items: dict[UUID, Item] = {}
        repeats: list[Item] = []
        for number, delivery in enumerate(batch, 1):
            if number % _YIELD_MESSAGES == 0:
                await asyncio.sleep(0)
            try:
                item = Item(
                    delivery,
                    admitted(decode_record(delivery.octets, loads=loads), delivery.subject),
                )
            except RecordError as error:
                await self._isolator.park(
                    delivery,
                    in_flight,
                    _name_of(delivery.octets),
                    f"{type(error).__name__}: {error}",
                )
                continue
            if items.setdefault(item.envelope.id, item) is not item:
                repeats.append(item)
        await self._isolator.run(by_recipients(items.values()), in_flight, self._attempt)
        for item in repeats:
            # The same message was on the stream twice; if its duplicate is unfinished, so is this
            # one.
            if items[item.envelope.id].delivery in in_flight.kept:
                await in_flight.ack(item.delivery, "repeated")
            else:
                await in_flight.nak(item.delivery, NAK_SECONDS[0])

    async def _attempt(self, group: Group, in_flight: InFlight) -> list[Group]:
        """Resolve the group, or deliver it once it is resolved; return what is to be tried next."""
        # a group before it may have waited out a fault for any time
        if not group.resolved or not self._packer.holds(group.items):
            return await self._resolved(group, in_flight)
        await self._place(group.items, in_flight)
        return []

    async def _resolved(self, group: Group, in_flight: InFlight) -> list[Group]:
        """Resolve, route, sign and store a group; return what is to be delivered, by
        transaction, the first one last."""
        recipients = {recipient for item in group.items for recipient in item.envelope.recipients}
        authors: dict[str, frozenset[str]] = {}
        unknown = [item.envelope for item in group.items if item.originals is None]
        originals = await find_srs_originals(unknown, self._rewriting, self._mailboxes)
        for item in group.items:
            item.originals = (
                originals[item.envelope.id] if item.originals is None else item.originals
            )
            recipients.update(address for chain in item.originals.values() for address in chain)
            for recipient, asked in authors_of(item.envelope, item.originals).items():
                authors[recipient] = authors.get(recipient, asked) | asked
        async with self._storing(group.items):
            resolution = await self._mailboxes.resolve(
                recipients, [item.envelope.id for item in group.items], authors
            )
            savers = await self._savers(group.items)
        to_place, unseen = [], 0
        for item in group.items:
            saves = item.envelope.role == "submission"
            item.sent = savers.get(item.envelope.submitter) if saves else None
            if await self._may_be_placed(item, resolution, in_flight):
                to_place.append(item)
            unseen += item.weight
            if unseen > _YIELD_ROWS:
                unseen = 0
                await asyncio.sleep(0)
        await self._file(to_place, resolution)
        to_place = await self._signed(to_place, in_flight)
        if not to_place:
            return []
        await self._packer.store(to_place)
        return [Group(items, group.tries, resolved=True) for items in reversed(by_rows(to_place))]

    @asynccontextmanager
    async def _storing(self, items: list[Item]) -> AsyncIterator[None]:
        """Write the bodies of a few new messages meanwhile: neither step needs the other. A body
        that is not placed after all is removed by the collector."""
        if len(items) > FEW_MESSAGES or any(
            item.delivery.attempt > 1 or item.envelope.id in self._placed for item in items
        ):
            yield
            return
        storing = asyncio.create_task(self._packer.store_bodies(items), name="storing")
        try:
            yield
            await storing
        finally:
            storing.cancel()
            await asyncio.gather(storing, return_exceptions=True)  # told above, if it matters

    async def _savers(self, items: list[Item]) -> Mapping[str, int]:
        """Return the submitting accounts that keep a copy in Sent."""
        envelopes = [item.envelope for item in items]
        submitters = {each.submitter for each in envelopes if each.role == "submission"}
        return await self._mailboxes.savers(submitters) if submitters else {}

    async def _file(self, items: list[Item], resolution: Resolution) -> None:
        """Decide where the copies of routed messages go."""
        asked = [
            (item.envelope, item.record.body, item.routes.accounts)
            for item in items
            if item.routes.accounts
            and item.envelope.role == "mx"
            and item.envelope.verdict is not None
        ]
        points = await self._points(asked) if self._points is not None and asked else {}
        for number, item in enumerate(items, 1):
            if number % _YIELD_MESSAGES == 0:
                await asyncio.sleep(0)
            item.filing = file_copies(
                item.envelope, item.routes, resolution.filing, self._new_id, points
            )
            item.routes = item.filing.routes

    async def _place(self, items: list[Item], in_flight: InFlight) -> None:
        """Deliver routed and stored items in one transaction."""
        is_lone = self._handing is not None and len(items) == len(in_flight.batch) == 1
        over = self._handing.over(items[0]) if self._handing is not None and is_lone else None
        tracer = traces.tracer
        began = 0 if tracer is None else time.time_ns()
        entries = await (
            self._mailboxes.deliver(segments(items))
            if over is None
            else self._mailboxes.deliver(segments(items), over)
        )
        if tracer is not None:
            trace_placed(tracer, items, began)
        _transactions.inc()
        _rows.observe(sum(item.weight for item in items))
        _entries.inc(entries)
        due = dict.fromkeys(name for item in items for name in item.routes.destinations)
        if self._handing is not None and over is not None:
            due = {} if await self._handing.tell(over, items[0]) else due
        if self._notifier is not None and due:
            self._notifier.notify(due)
        if any(item.routes.wide for item in items):
            self._on_expansion()
        now = self._clock()
        for number, item in enumerate(items, 1):
            if number % _YIELD_MESSAGES == 0:
                await asyncio.sleep(0)
            filing = item.filing
            count(len(item.routes.accounts), filing.filed, filing.withheld)
            record(self._events, item.envelope, item.routes, now)
            record_filing(
                self._events, item.envelope, item.routes.reached, filing.filed, filing.withheld, now
            )
            self._on_delivered(item.envelope, item.record.body, filing)
            await in_flight.ack(item.delivery, "delivered")
            self._placed[item.envelope.id] = None
            _latency.observe(max(0.0, now - item.envelope.received_at))
        while len(self._placed) > _PLACED:
            self._placed.popitem(last=False)
        log.debug("batch placed", messages=len(items), entries=entries)

    async def _may_be_placed(self, item: Item, resolution: Resolution, in_flight: InFlight) -> bool:
        """Route the recipients. False when the message is finished without being delivered now."""
        envelope = item.envelope
        if envelope.id in resolution.delivered:
            log.info("delivered before", message=item.name, attempt=item.delivery.attempt)
            await in_flight.ack(item.delivery, "repeated")
            return False
        item.routes = route(envelope, resolution, item.originals or {}, self._rewriting)
        if item.routes.accounts or item.routes.outbound or item.sent is not None:
            return True
        record(self._events, envelope, item.routes, self._clock())
        await in_flight.ack(item.delivery, "dropped")
        return False

    async def _signed(self, items: list[Item], in_flight: InFlight) -> list[Item]:
        """Sign messages sent in the name of a local domain; return the items that may proceed
        now."""
        unsigned = [
            item
            for item in items
            if item.signature is None and item.envelope.signer and item.routes.queued
        ]
        if self._signer is None or not unsigned:
            return items
        made = await asyncio.gather(
            *(self._sign(self._signer, item) for item in unsigned), return_exceptions=True
        )
        waiting = []
        for item, signature in zip(unsigned, made, strict=True):
            if isinstance(signature, str):
                item.signature = signature
            elif isinstance(signature, Unavailable) and signature.part == "keys":
                await self._isolator.put_off(item.delivery, in_flight, item.name, signature)
                waiting.append(item)
        for signature in made:
            if isinstance(signature, BaseException) and not (
                isinstance(signature, Unavailable) and signature.part == "keys"
            ):
                raise signature
        return [item for item in items if item not in waiting]

    async def _sign(self, signer: Signer, item: Item) -> str:
        """Sign the message as the relay sends it: without the Return-Path line."""
        envelope, skipped = item.envelope, item.envelope.body.return_path_octets
        if envelope.blob is None:
            return await signer.sign(envelope.signer, (item.record.body or b"")[skipped:])
        key, size = envelope.blob, envelope.body.size
        return await signer.sign(
            envelope.signer, lambda: self._blobs.stream(key, skipped, size - skipped)
        )


def _name_of(octets: bytes) -> str:
    return f"unreadable-{hashlib.sha256(octets).hexdigest()[:16]}"
