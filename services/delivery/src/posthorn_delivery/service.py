"""Delivery's decisions: what becomes of the messages of a batch.

Rules:

- Each message of a batch comes to one of three ends: it lies in its mailboxes and the outbound queue and is done; it is parked
  on DEAD and is done; or it is given back to the stream. None is done before it is kept somewhere else, save what has no
  recipient left and nobody to be told of it.
- A fault of a part (``Unavailable``) is waited out: the messages are held and reported as worked on, the part is probed, and no
  blob is written again that was written before. Nothing is parked for an outage.
- A fault that stays while the part answers its probe comes from what is asked of it (a body that is missing, a transaction that
  takes too long): after some tries the group is halved, and a message alone goes back to the stream for a while.
- Any other fault means that a message of the group cannot be placed. The group is halved until the one is found and parked.
- What becomes of each recipient is told in ``sorting``. One that has gone since RCPT holds up no other: its sender gets a notice.
- A message that leaves in the name of a domain of ours is signed before it is entered, once. When the keys of its domain cannot be
  opened, it alone waits.
- Relays are woken and the trace is written after the commit: neither can undo it or hold it up.
- Everything may happen twice, since an acknowledgement may be lost at any point: blobs keep their keys, places their ids, and the
  directory of mailboxes is asked first which ids it has.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.authority import admitted
from posthorn.model.envelope import Envelope, Record, RecordError, decode_record
from posthorn.model.segment import pack
from posthorn.ports.blobs import SEGMENTS, Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.events import Events, NoEvents
from posthorn.ports.faults import Unavailable
from posthorn.ports.ingest import DeadLetters, Delivery
from posthorn.ports.mailboxes import AccountsGone, Letter, Mailboxes, Placement, Resolution, Segment
from posthorn.ports.signing import Signer
from posthorn.ports.wakes import Waker
from posthorn.wire.seven_bit import is_fit
from posthorn_delivery.sorting import Sorted, sort, ways_back
from posthorn_delivery.telling import tell

log = structlog.get_logger()

_messages = Counter(
    "posthorn_delivery_messages_total", "Messages that left the stream, by what became of them", ["result"]
)
_entries = Counter("posthorn_delivery_entries_total", "Mailbox entries made")
_batches = Counter("posthorn_delivery_batches_total", "Batches taken")
_batch_size = Histogram(
    "posthorn_delivery_batch_messages", "Messages in a batch", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
_puts = Counter("posthorn_delivery_puts_total", "Segments written")
_put_octets = Counter("posthorn_delivery_put_octets_total", "Octets written in segments")
_transactions = Counter("posthorn_delivery_transactions_total", "Transactions that placed letters")
_poison = Counter("posthorn_delivery_poison_total", "Messages that could not be read or placed")
_retries = Counter("posthorn_delivery_retries_total", "Attempts that a part's fault cut short, by part", ["part"])
_latency = Histogram(
    "posthorn_delivery_latency_seconds",
    "From the end of data to the committed mailbox entry",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)

HEARTBEAT_SECONDS = 2.5
"""How often messages at hand are reported as worked on; the stream waits four times as long."""
SEGMENT_HOLDS_SECONDS = 900.0
"""How long a segment that was written may wait for its rows. The collector takes blobs without rows after an hour."""
_TRIES = 3
"""Attempts at a group while a part answers its probe and fails all the same."""
_FIRST_PAUSE = 0.1
_PROBE_PAUSE = 1.0
_LAST_PAUSE = 5.0
_LATER = (5.0, 300.0)
_OFF_LOOP = 1024**2


_NOTHING = Sorted((), (), (), None, ())


class _Stopping(Exception):  # noqa: N818 - it names what happens
    """The process drains while a part is down: everything at hand goes back."""


@dataclass(eq=False, slots=True)
class _Packing:
    """A segment in the making, or written already."""

    id: UUID
    key: str
    octets: int
    parts: list[bytes]
    written_at: float | None = None


@dataclass(eq=False, slots=True)
class _Item:
    """A message at hand."""

    delivery: Delivery
    record: Record
    packing: _Packing | None = None
    placement: Placement | None = None
    sorted: Sorted = _NOTHING
    back: Mapping[str, tuple[str, ...]] | None = None
    signature: str | None = None

    @property
    def envelope(self) -> Envelope:
        return self.record.envelope


class _AtHand:
    """The messages of a batch that have come to no end yet, and those that are kept for good."""

    def __init__(self, batch: Sequence[Delivery]) -> None:
        self.open = dict.fromkeys(batch)  # an ordered set
        self.kept: set[Delivery] = set()

    async def done(self, delivery: Delivery, result: str) -> None:
        del self.open[delivery]
        self.kept.add(delivery)
        await delivery.done()
        _messages.labels(result).inc()

    async def again(self, delivery: Delivery, delay: float) -> None:
        del self.open[delivery]
        await delivery.again(delay)
        _messages.labels("given back").inc()


class Deliverer:
    """Takes batches to where they belong.

    ``compress`` makes a zstd frame, or is None; ``new_id`` gives UUIDv7s. ``rewriting`` are the keys of rewritten reverse-paths,
    the current one first. Without them what is forwarded leaves under the null reverse-path; without a signer nothing is signed.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        blobs: Blobs,
        dead: DeadLetters,
        *,
        new_id: Callable[[], UUID],
        compress: Callable[[bytes], bytes] | None = None,
        signer: Signer | None = None,
        rewriting: Sequence[bytes] = (),
        waker: Waker | None = None,
        events: Events | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._mailboxes = mailboxes
        self._blobs = blobs
        self._dead = dead
        self._new_id = new_id
        self._compress = compress
        self._signer = signer
        self._rewriting = rewriting
        self._waker = waker
        self._events = events or NoEvents()
        self._clock = clock
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Wait out no fault any longer: give back what cannot be placed now."""
        self._stopping.set()

    async def deliver(self, batch: Sequence[Delivery]) -> None:
        """Bring every message of the batch to its end. Cancelled, it gives back those that have come to none."""
        _batches.inc()
        _batch_size.observe(len(batch))
        at_hand = _AtHand(batch)
        try:
            async with self._reported(at_hand):
                await self._bring_to_an_end(batch, at_hand)
        except _Stopping:
            log.info("giving back what cannot be placed now", messages=len(at_hand.open))
        finally:
            for delivery in list(at_hand.open):
                await delivery.again(0)

    async def _bring_to_an_end(self, batch: Sequence[Delivery], at_hand: _AtHand) -> None:
        items: dict[UUID, _Item] = {}
        repeats: list[_Item] = []
        for delivery in batch:
            try:
                item = _Item(delivery, admitted(decode_record(delivery.octets), delivery.subject))
            except RecordError as error:
                await self._park(delivery, at_hand, _name_of(delivery.octets), f"{type(error).__name__}: {error}")
                continue
            if items.setdefault(item.envelope.id, item) is not item:
                repeats.append(item)
        groups = [(list(items.values()), 0)] if items else []
        pause = _FIRST_PAUSE
        while groups:
            group, tries = groups.pop()
            try:
                await self._place(group, at_hand)
                pause = _FIRST_PAUSE
            except Unavailable as fault:
                _retries.labels(fault.part).inc()
                log.warning("not delivered yet", part=fault.part, detail=str(fault), messages=len(group))
                pause = await self._wait_out(fault, pause)
                group = [item for item in group if item.delivery in at_hand.open]
                if tries + 1 < _TRIES or fault.part == "nats":
                    groups.append((group, tries + 1))
                elif len(group) > 1:
                    groups += [(half, _TRIES - 1) for half in _halves(group)]
                    pause = _FIRST_PAUSE
                elif group:
                    await self._try_later(group[0].delivery, at_hand, str(group[0].envelope.id), fault)
            except AccountsGone:
                groups.append((group, tries))
            except Exception as error:
                if len(group) > 1:
                    groups += [(half, tries) for half in _halves(group)]
                    log.warning(
                        "a batch is halved to find what cannot be placed",
                        messages=len(group),
                        fault=type(error).__name__,
                    )
                else:
                    item = group[0]
                    last = traceback.extract_tb(error.__traceback__)[-1]  # the fault's own text may quote the message
                    where = f"{last.name} in {last.filename.rpartition('/')[2]}:{last.lineno}"
                    log.error(
                        "a message cannot be placed",
                        message=str(item.envelope.id),
                        fault=type(error).__name__,
                        where=where,
                    )
                    await self._park(item.delivery, at_hand, str(item.envelope.id), type(error).__name__)
        for item in repeats:
            # The same message lay on the stream twice. If its twin has come to no end, neither has this one.
            if items[item.envelope.id].delivery in at_hand.kept:
                await at_hand.done(item.delivery, "repeated")
            else:
                await at_hand.again(item.delivery, _LATER[0])

    async def _place(self, group: list[_Item], at_hand: _AtHand) -> None:
        """Place what is still at hand of the group, in one segment and one transaction."""
        group = [item for item in group if item.delivery in at_hand.open]
        recipients = {recipient for item in group for recipient in item.envelope.recipients}
        for item in group:
            if item.back is None:
                item.back = ways_back(item.envelope, self._rewriting)
            recipients.update(address for chain in item.back.values() for address in chain)
        resolution = await self._mailboxes.resolve(recipients, [item.envelope.id for item in group])
        to_place = [item for item in group if await self._may_be_placed(item, resolution, at_hand)]
        to_place = await self._signed(to_place, at_hand)
        if not to_place:
            return
        await self._store(to_place)
        entries = await self._mailboxes.place(_segments(to_place))
        _transactions.inc()
        _entries.inc(entries)
        due = {name for item in to_place for name in item.sorted.destinations}
        if self._waker is not None and due:
            self._waker.wake(due)
        now = self._clock()
        for item in to_place:
            tell(self._events, item.envelope, item.sorted, now)
            await at_hand.done(item.delivery, "delivered")
            _latency.observe(max(0.0, now - item.envelope.received_at))
        log.debug("batch placed", messages=len(to_place), entries=entries)

    async def _may_be_placed(self, item: _Item, resolution: Resolution, at_hand: _AtHand) -> bool:
        """Sort the recipients. False when the message has come to its end without being placed now."""
        envelope = item.envelope
        if envelope.id in resolution.placed:
            log.info("delivered before", message=str(envelope.id), attempt=item.delivery.attempt)
            await at_hand.done(item.delivery, "repeated")
            return False
        item.sorted = sort(envelope, resolution, item.back or {}, self._rewriting)
        if item.sorted.accounts or item.sorted.outbound:
            return True
        tell(self._events, envelope, item.sorted, self._clock())
        await at_hand.done(item.delivery, "dropped")
        return False

    async def _signed(self, items: list[_Item], at_hand: _AtHand) -> list[_Item]:
        """Sign what leaves in the name of a domain of ours; gives the items that may go on now."""
        unsigned = [item for item in items if item.signature is None and item.envelope.signer and item.sorted.queued]
        if self._signer is None or not unsigned:
            return items
        made = await asyncio.gather(*(self._sign(self._signer, item) for item in unsigned), return_exceptions=True)
        waiting = []
        for item, signature in zip(unsigned, made, strict=True):
            if isinstance(signature, str):
                item.signature = signature
            elif isinstance(signature, Unavailable) and signature.part == "keys":
                await self._try_later(item.delivery, at_hand, str(item.envelope.id), signature)
                waiting.append(item)
        for signature in made:
            if isinstance(signature, BaseException) and not (
                isinstance(signature, Unavailable) and signature.part == "keys"
            ):
                raise signature
        return [item for item in items if item not in waiting]

    async def _sign(self, signer: Signer, item: _Item) -> str:
        """Sign the message as a relay sends it: without the Return-Path line."""
        envelope, skipped = item.envelope, item.envelope.body.return_path_octets
        if envelope.blob is None:
            content = (item.record.body or b"")[skipped:]
            fields = await signer.sign(envelope.signer, content)
            if fields and not is_fit(content, eight_bit=False):
                fields += await signer.sign_seven_bit(envelope.signer, content)
            return fields
        key, size = envelope.blob, envelope.body.size
        return await signer.sign(envelope.signer, lambda: self._blobs.stream(key, skipped, size - skipped))

    async def _store(self, items: list[_Item]) -> None:
        """See to it that each body lies in a blob. Those that were written before stay where they are."""
        now = time.monotonic()
        fresh: list[_Item] = []
        for item in items:
            written = item.packing.written_at if item.packing else None
            if item.envelope.blob is not None:
                item.placement = Placement(0, item.envelope.body.size)
            elif item.packing is None or (written is not None and now - written > SEGMENT_HOLDS_SECONDS):
                fresh.append(item)
        if fresh:
            await self._pack(fresh)
        for packing in {item.packing: None for item in items if item.packing is not None}:
            if packing.written_at is None:
                await self._blobs.put(packing.key, packing.parts)
                packing.written_at = time.monotonic()
                packing.parts = []
                _puts.inc()
                _put_octets.inc(packing.octets)

    async def _pack(self, items: list[_Item]) -> None:
        bodies = [item.record.body or b"" for item in items]
        if self._compress is not None and sum(map(len, bodies)) > _OFF_LOOP:
            packed = await asyncio.to_thread(pack, bodies, self._compress)
        else:
            packed = pack(bodies, self._compress)
        identity = self._new_id()
        packing = _Packing(identity, f"{SEGMENTS}{identity}", packed.octets, packed.parts)
        for item, place in zip(items, packed.ranges, strict=True):
            item.packing, item.placement = packing, Placement(*place)

    async def _park(self, delivery: Delivery, at_hand: _AtHand, name: str, reason: str) -> None:
        _poison.inc()
        try:
            await self._dead.park(delivery.octets, name, reason, delivery.subject)
        except Unavailable as fault:
            await self._try_later(delivery, at_hand, name, fault)
        else:
            log.error("parked", message=name, reason=reason)
            await at_hand.done(delivery, "parked")

    async def _try_later(self, delivery: Delivery, at_hand: _AtHand, name: str, fault: Unavailable) -> None:
        """It stays on the stream and comes again, ever more rarely."""
        first, last = _LATER
        delay = min(last, first * 2 ** min(delivery.attempt - 1, 10))
        log.error("neither placed nor parked now", message=name, detail=str(fault), again_in_seconds=delay)
        await at_hand.again(delivery, delay)

    async def _wait_out(self, fault: Unavailable, pause: float) -> float:
        """Wait until the part answers again; gives the next pause, should it fail all the same."""
        probe = {"postgres": self._mailboxes.probe, "blobs": self._blobs.probe}.get(fault.part)
        wait = pause
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.5, 1)):  # noqa: S311 - spreads load, keeps no secret
                    await self._stopping.wait()
            if self._stopping.is_set():
                raise _Stopping
            try:
                if probe is not None:
                    await probe()
                return min(_LAST_PAUSE, pause * 2)
            except Unavailable:
                wait = min(_PROBE_PAUSE, wait * 2)

    @asynccontextmanager
    async def _reported(self, at_hand: _AtHand) -> AsyncIterator[None]:
        """Tell the stream, while this lasts, that the messages at hand are worked on."""

        async def report() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT_SECONDS)
                for delivery in list(at_hand.open):
                    await delivery.working()

        task = asyncio.create_task(report(), name="heartbeat")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _halves(group: list[_Item]) -> list[list[_Item]]:
    """The second half first: groups are taken from the end."""
    middle = len(group) // 2
    return [group[middle:], group[:middle]]


def _segments(items: Iterable[_Item]) -> list[Segment]:
    letters: dict[_Packing, list[Letter]] = {}
    segments: list[Segment] = []
    for item in items:
        assert item.placement is not None
        found = item.sorted
        letter = Letter(
            item.envelope, item.placement, found.accounts, found.outbound, found.tenant, item.signature or ""
        )
        if item.packing is not None:
            letters.setdefault(item.packing, []).append(letter)
        else:
            assert item.envelope.blob is not None
            segments.append(Segment(item.envelope.id, item.envelope.blob, item.envelope.body.size, (letter,)))
    return segments + [Segment(p.id, p.key, p.octets, tuple(inside)) for p, inside in letters.items()]


def _name_of(octets: bytes) -> str:
    return f"unreadable-{hashlib.sha256(octets).hexdigest()[:16]}"
