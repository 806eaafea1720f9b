"""Delivery's decisions: what becomes of the messages of a batch.

Rules:

- Each message of a batch comes to one of four ends: it lies in its mailboxes and the outbound queue and is done; it is set aside
  in the stream's retry lane, or parked on DEAD, and is done; or it is given back to the stream. None is done before it is kept
  somewhere else, save what has no recipient left and nobody to be told of it.
- A batch is weighed by the rows of its recipients, which are known once they are resolved: one transaction writes about
  ``MOST_ROWS``. What is made of rows is made in slices, with others running in between. An alias that comes to many addresses is
  one row here, and expanded elsewhere (``expanding``).
- A fault of a part (``Unavailable``) is waited out: the messages are held and reported as worked on, the part is probed, and no
  blob is written again that was written before. Nothing is parked for an outage.
- A fault that stays while the part answers its probe comes from what is asked of it (a body that is missing, a transaction that
  takes too long): after some tries the group is halved, and a message alone is set aside.
- Any other fault means that a message of the group cannot be placed. The transaction is halved, without resolving anew, until the
  one is found, and that is set aside. When ``MOST_FAILURES`` transactions of a batch have failed, what is left of the groups that
  fail is set aside unsearched: the search must not hold up the stream.
- What was set aside is tried alone. If it fails again it is parked; while DEAD takes nothing, or for a fault, it stays in the
  retry lane and comes again ever more rarely. First deliveries do not wait for any of it.
- What becomes of each recipient is told in ``sorting``. One that has gone since RCPT holds up no other: its sender gets a notice.
- A message that leaves in the name of a domain of ours is signed before it is entered, once. When the keys of its domain cannot be
  opened, it alone waits, in the retry lane.
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
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import batched
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.authority import admitted
from posthorn.model.envelope import RecordError, decode_record
from posthorn.model.streams import is_retry
from posthorn.ports.blobs import Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events, NoEvents
from posthorn.ports.ingest import DeadLetters, Delivery
from posthorn.ports.mailboxes import AccountsGone, Mailboxes, Resolution
from posthorn.ports.notifications import Notifier
from posthorn.ports.signing import Signer
from posthorn.wire.message.seven_bit import is_fit
from posthorn_delivery.at_hand import Group, InFlight, Item
from posthorn_delivery.packing import Packer, segments
from posthorn_delivery.sorting import sort, ways_back
from posthorn_delivery.telling import tell

log = structlog.get_logger()

_entries = Counter("posthorn_delivery_entries_total", "Mailbox entries made")
_batches = Counter("posthorn_delivery_batches_total", "Batches taken")
_batch_size = Histogram(
    "posthorn_delivery_batch_messages", "Messages in a batch", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
_transactions = Counter("posthorn_delivery_transactions_total", "Transactions that placed letters")
_rows = Histogram(
    "posthorn_delivery_transaction_rows",
    "Rows of recipients in a transaction",
    buckets=(1, 5, 20, 100, 500, 1000, 2000, 5000),
)
_poison = Counter("posthorn_delivery_poison_total", "Messages that could not be read or placed")
_set_aside = Counter("posthorn_delivery_set_aside_total", "Messages moved to the retry lane")
_retries = Counter("posthorn_delivery_retries_total", "Attempts that a part's fault cut short, by part", ["part"])
_latency = Histogram(
    "posthorn_delivery_latency_seconds",
    "From the end of data to the committed mailbox entry",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)

MOST_ROWS = 2_000
"""About as many rows of recipients are written by one transaction."""
MOST_RECIPIENTS = 1_000
"""About as many recipients are resolved at a time."""
MOST_FAILURES = 32
"""Transactions of one batch that may fail in the search for what cannot be placed."""
_YIELD_ROWS = 200
_YIELD_MESSAGES = 100
"""Rows sorted, and messages read or told of, without letting others run."""
_TRIES = 3
"""Attempts at a group while a part answers its probe and fails all the same."""
_FIRST_PAUSE = 0.1
_PROBE_PAUSE = 1.0
_LAST_PAUSE = 5.0
_LATER = (5.0, 300.0)
_AT_ONCE = 64
"""Messages that are set aside without waiting for one another."""


class _Stopping(Exception):  # noqa: N818 - it names what happens
    """The process drains while a part is down: everything at hand goes back."""


class Deliverer:
    """Takes batches to where they belong.

    ``compress`` makes a zstd frame, or is None; ``new_id`` gives UUIDv7s. ``rewriting`` are the keys of rewritten reverse-paths,
    the current one first. Without them what is forwarded leaves under the null reverse-path; without a signer nothing is signed.
    ``on_expansion`` is called when something was entered that is to be expanded.
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
        notifier: Notifier | None = None,
        events: Events | None = None,
        on_expansion: Callable[[], None] = lambda: None,
        clock: Clock = time.time,
    ) -> None:
        self._mailboxes = mailboxes
        self._blobs = blobs
        self._dead = dead
        self._packer = Packer(blobs, new_id=new_id, compress=compress)
        self._signer = signer
        self._rewriting = rewriting
        self._notifier = notifier
        self._events = events or NoEvents()
        self._on_expansion = on_expansion
        self._clock = clock
        self._stopping = asyncio.Event()
        self._batches: set[InFlight] = set()

    def stop(self) -> None:
        """Wait out no fault any longer: give back what cannot be placed now."""
        self._stopping.set()

    async def give_back(self) -> None:
        """Give back, at once, what has come to no end yet, while its delivery may still go on."""
        for at_hand in list(self._batches):
            await at_hand.give_back()

    async def deliver(self, batch: Sequence[Delivery]) -> None:
        """Bring every message of the batch to its end. Cancelled, it gives back those that have come to none."""
        _batches.inc()
        _batch_size.observe(len(batch))
        at_hand = InFlight(batch)
        self._batches.add(at_hand)
        try:
            async with at_hand.reported():
                await self._bring_to_an_end(batch, at_hand)
        except _Stopping:
            log.info("giving back what cannot be placed now", messages=len(at_hand.open))
        finally:
            self._batches.discard(at_hand)
            await at_hand.give_back()

    async def _bring_to_an_end(self, batch: Sequence[Delivery], at_hand: InFlight) -> None:
        items: dict[UUID, Item] = {}
        repeats: list[Item] = []
        for number, delivery in enumerate(batch, 1):
            if number % _YIELD_MESSAGES == 0:
                await asyncio.sleep(0)
            try:
                item = Item(delivery, admitted(decode_record(delivery.octets), delivery.subject))
            except RecordError as error:
                await self._park(delivery, at_hand, _name_of(delivery.octets), f"{type(error).__name__}: {error}")
                continue
            if items.setdefault(item.envelope.id, item) is not item:
                repeats.append(item)
        await self._bring_groups(_by_recipients(items.values()), at_hand)
        for item in repeats:
            # The same message lay on the stream twice. If its twin has come to no end, neither has this one.
            if items[item.envelope.id].delivery in at_hand.kept:
                await at_hand.done(item.delivery, "repeated")
            else:
                await at_hand.again(item.delivery, _LATER[0])

    async def _bring_groups(self, groups: list[Group], at_hand: InFlight) -> None:
        groups.reverse()
        pause, failures = _FIRST_PAUSE, 0
        while groups:
            group = groups.pop()
            group.items = [item for item in group.items if item.delivery in at_hand.open]
            if not group.items:
                continue
            try:
                if group.resolved:
                    await self._place(group.items, at_hand)
                else:
                    groups += await self._resolved(group, at_hand)
                pause = _FIRST_PAUSE
            except Unavailable as fault:
                _retries.labels(fault.part).inc()
                log.warning("not delivered yet", part=fault.part, detail=str(fault), messages=len(group.items))
                pause = await self._wait_out(fault, pause)
                group.resolved = False  # some of it may have been placed
                if group.tries + 1 < _TRIES or fault.part == "nats":
                    group.tries += 1
                    groups.append(group)
                elif len(group.items) > 1:
                    group.tries = _TRIES - 1
                    groups += group.halves()
                    pause = _FIRST_PAUSE
                else:
                    await self._put_off(group.items[0].delivery, at_hand, group.items[0].name, fault)
            except AccountsGone:
                group.resolved = False
                groups.append(group)
            except Exception as error:
                failures += 1
                if len(group.items) == 1:
                    await self._cannot_be_placed(group.items[0], at_hand, error)
                elif failures < MOST_FAILURES:
                    groups += group.halves()
                    log.warning(
                        "a transaction is halved to find what cannot be placed",
                        messages=len(group.items),
                        fault=type(error).__name__,
                    )
                else:
                    log.error("a group is set aside unsearched", messages=len(group.items), fault=type(error).__name__)
                    for some in batched(group.items, _AT_ONCE, strict=False):
                        await asyncio.gather(
                            *(self._put_off(item.delivery, at_hand, item.name, error) for item in some)
                        )

    async def _resolved(self, group: Group, at_hand: InFlight) -> list[Group]:
        """Resolve, sort, sign and store a group; gives what is to be placed, by transactions, the first one last."""
        recipients = {recipient for item in group.items for recipient in item.envelope.recipients}
        for item in group.items:
            if item.back is None:
                item.back = ways_back(item.envelope, self._rewriting)
            recipients.update(address for chain in item.back.values() for address in chain)
        resolution = await self._mailboxes.resolve(recipients, [item.envelope.id for item in group.items])
        to_place, unseen = [], 0
        for item in group.items:
            if await self._may_be_placed(item, resolution, at_hand):
                to_place.append(item)
            unseen += item.weight
            if unseen > _YIELD_ROWS:
                unseen = 0
                await asyncio.sleep(0)
        to_place = await self._signed(to_place, at_hand)
        if not to_place:
            return []
        await self._packer.store(to_place)
        return [Group(items, group.tries, resolved=True) for items in reversed(_weighed(to_place))]

    async def _place(self, items: list[Item], at_hand: InFlight) -> None:
        """Place sorted and stored items in one transaction."""
        entries = await self._mailboxes.place(segments(items))
        _transactions.inc()
        _rows.observe(sum(item.weight for item in items))
        _entries.inc(entries)
        due = {name for item in items for name in item.sorted.destinations}
        if self._notifier is not None and due:
            self._notifier.notify(due)
        if any(item.sorted.wide for item in items):
            self._on_expansion()
        now = self._clock()
        for number, item in enumerate(items, 1):
            if number % _YIELD_MESSAGES == 0:
                await asyncio.sleep(0)
            tell(self._events, item.envelope, item.sorted, now)
            await at_hand.done(item.delivery, "delivered")
            _latency.observe(max(0.0, now - item.envelope.received_at))
        log.debug("batch placed", messages=len(items), entries=entries)

    async def _may_be_placed(self, item: Item, resolution: Resolution, at_hand: InFlight) -> bool:
        """Sort the recipients. False when the message has come to its end without being placed now."""
        envelope = item.envelope
        if envelope.id in resolution.placed:
            log.info("delivered before", message=item.name, attempt=item.delivery.attempt)
            await at_hand.done(item.delivery, "repeated")
            return False
        item.sorted = sort(envelope, resolution, item.back or {}, self._rewriting)
        if item.sorted.accounts or item.sorted.outbound:
            return True
        tell(self._events, envelope, item.sorted, self._clock())
        await at_hand.done(item.delivery, "dropped")
        return False

    async def _signed(self, items: list[Item], at_hand: InFlight) -> list[Item]:
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
                await self._put_off(item.delivery, at_hand, item.name, signature)
                waiting.append(item)
        for signature in made:
            if isinstance(signature, BaseException) and not (
                isinstance(signature, Unavailable) and signature.part == "keys"
            ):
                raise signature
        return [item for item in items if item not in waiting]

    async def _sign(self, signer: Signer, item: Item) -> str:
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

    async def _cannot_be_placed(self, item: Item, at_hand: InFlight, error: Exception) -> None:
        last = traceback.extract_tb(error.__traceback__)[-1]  # the fault's own text may quote the message
        where = f"{last.name} in {last.filename.rpartition('/')[2]}:{last.lineno}"
        log.error("a message cannot be placed", message=item.name, fault=type(error).__name__, where=where)
        if is_retry(item.delivery.subject):
            await self._park(item.delivery, at_hand, item.name, type(error).__name__)
        else:
            await self._put_off(item.delivery, at_hand, item.name, error)

    async def _park(self, delivery: Delivery, at_hand: InFlight, name: str, reason: str) -> None:
        _poison.inc()
        try:
            await self._dead.park(delivery.octets, name, reason, delivery.subject)
        except Unavailable as fault:
            await self._put_off(delivery, at_hand, name, fault)
        else:
            log.error("parked", message=name, reason=reason)
            await at_hand.done(delivery, "parked")

    async def _put_off(self, delivery: Delivery, at_hand: InFlight, name: str, fault: Exception) -> None:
        """Set it aside in the retry lane. One that is there, or cannot get there, comes again, ever more rarely."""
        detail = str(fault) if isinstance(fault, Unavailable) else type(fault).__name__
        if not is_retry(delivery.subject):
            try:
                await delivery.set_aside()
            except Unavailable as refusal:
                detail = str(refusal)
            else:
                _set_aside.inc()
                log.warning("set aside, to be tried again", message=name, detail=detail)
                await at_hand.done(delivery, "set aside")
                return
        first, last = _LATER
        delay = min(last, first * 2 ** min(delivery.attempt - 1, 10))
        log.error("neither placed nor parked now", message=name, detail=detail, again_in_seconds=delay)
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


def _by_recipients(items: Iterable[Item]) -> list[Group]:
    """Part messages so that each group names about ``MOST_RECIPIENTS``."""
    groups: list[Group] = []
    named = 0
    for item in items:
        named += len(item.envelope.recipients)
        if not groups or named > MOST_RECIPIENTS:
            groups.append(Group([]))
            named = len(item.envelope.recipients)
        groups[-1].items.append(item)
    return groups


def _weighed(items: Sequence[Item]) -> list[list[Item]]:
    """Part messages so that each transaction writes about ``MOST_ROWS`` rows."""
    parts: list[list[Item]] = []
    rows = 0
    for item in items:
        rows += item.weight
        if not parts or rows > MOST_ROWS:
            parts.append([])
            rows = item.weight
        parts[-1].append(item)
    return parts


def _name_of(octets: bytes) -> str:
    return f"unreadable-{hashlib.sha256(octets).hexdigest()[:16]}"
