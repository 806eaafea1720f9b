"""Sending webhooks: takes what is due, signs it, posts it, and decides when to try again.

Rules:

- Every API process sends. What is due is claimed; a process that dies leaves its claims to the
  others within ``CLAIM_SECONDS``.
- At least once: a receiver may get a delivery again, under the same ``webhook-id``.
- Any 2xx is success; all else, redirects too, is not. 410 says that nothing more is wanted, and
  pauses the webhook.
- Eleven attempts over a day, each pause with jitter; a longer Retry-After is respected.
- Few at a time for one receiver, so that a slow one holds up itself alone, and no more than its
  share for one tenant (``runtime.fair_slots``): each gets its turn, however much waits for another.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter as Tally
from contextlib import suppress
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.ports.clock import Clock
from posthorn.ports.errors import Unavailable
from posthorn.ports.secrets import Decrypter
from posthorn.ports.webhooks import Attempt, Dispatch, OutgoingDelivery, Shares, WebhookState
from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.secret_box import DecryptionFailed
from posthorn_api.webhooks.post import Poster, Reply, Unreachable
from posthorn_api.webhooks.signing import read_secrets, signed_headers

log = structlog.get_logger()

PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 28_800.0)
"""Seconds after each attempt that failed; with these over, the delivery has failed."""
CLAIM_SECONDS = 60.0
_LONGEST_WISH = 86_400.0
_JITTER = 0.2
_AT_ONCE = 64
_FOR_TENANT = 16
_SPARE = 16
_FOR_EACH = 8
_POLL_SECONDS = 1.0
_FAULT_SECONDS = 2.0
_GONE = 410

_attempts = Counter(
    "posthorn_api_webhook_attempts_total", "Attempts to tell webhooks of events", ["outcome"]
)
_seconds = Histogram(
    "posthorn_api_webhook_seconds",
    "Time of an attempt",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
_first = Histogram(
    "posthorn_api_webhook_first_attempt_seconds",
    "From an event, or from a replay, to the first attempt to tell a webhook of it",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)


class Sender:
    """Sends what is due; ``run`` is a supervised task."""

    def __init__(
        self,
        dispatch: Dispatch,
        poster: Poster,
        secret_box: Decrypter,
        *,
        clock: Clock = time.time,
        for_each: int = _FOR_EACH,
    ) -> None:
        self._dispatch = dispatch
        self._poster = poster
        self._secret_box = secret_box
        self._clock = clock
        self._for_each = for_each
        self._at_work: Tally[UUID] = Tally()
        self.slots = FairSlots("webhooks", _AT_ONCE, most_each=_FOR_TENANT, spare=_SPARE)
        self._tenants: set[UUID | None] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something is due now."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        try:
            while True:
                self._wake.clear()
                try:
                    pause = 0.0 if await self._take() else _POLL_SECONDS
                except Unavailable as fault:
                    log.warning("webhooks wait", fault=fault)
                    pause = _FAULT_SECONDS
                if pause:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _take(self) -> bool:
        """Take and begin what there is room for; returns whether there may be more at once."""
        if not (room := self.slots.free):
            return False
        part = max(self._for_each // 2, 1)
        busy = [
            webhook for webhook, number in self._at_work.items() if number + part > self._for_each
        ]
        at_work = {tenant: self.slots.held_by(tenant) for tenant in self._tenants}
        shares = Shares(room, part, _FOR_TENANT, _SPARE, busy, at_work)
        parcels = await self._dispatch.claim(shares, CLAIM_SECONDS)
        for parcel in parcels:
            self._at_work[parcel.webhook] += 1
            self.slots.charge(parcel.tenant)
            self._tenants.add(parcel.tenant)
            task = asyncio.create_task(self._send(parcel), name="webhook")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bool(parcels)

    async def _send(self, parcel: OutgoingDelivery) -> None:
        try:
            try:
                attempt = await self._attempt(parcel)
            except Exception:
                log.exception(
                    "a webhook cannot be sent", delivery=str(parcel.id), webhook=str(parcel.webhook)
                )
                attempt = self._failed(parcel, None, "it could not be sent")
            _attempts.labels("delivered" if attempt.is_delivered else "failed").inc()
            await self._note(parcel, attempt)
        except Unavailable as fault:  # it comes again when the claim is over
            log.warning(
                "the attempt of a webhook delivery was not recorded",
                delivery=str(parcel.id),
                fault=fault,
            )
        finally:
            self._at_work[parcel.webhook] -= 1
            if not self._at_work[parcel.webhook]:
                del self._at_work[parcel.webhook]
            self.slots.give(parcel.tenant)
            if not self.slots.held_by(parcel.tenant):
                self._tenants.discard(parcel.tenant)
            self._wake.set()

    async def _attempt(self, parcel: OutgoingDelivery) -> Attempt:
        now = self._clock()
        if parcel.attempt == 1:
            _first.observe(max(0.0, now - parcel.wanted_at))
        body = json.dumps(parcel.event, separators=(",", ":"), ensure_ascii=False).encode()
        try:
            present = read_secrets(
                self._secret_box.decrypt(parcel.secret, f"webhook:{parcel.webhook}"), now
            )
        except DecryptionFailed:
            log.error("a webhook's secret cannot be opened", webhook=str(parcel.webhook))
            return self._failed(parcel, None, "the secret cannot be opened; rotate it")
        began = time.monotonic()
        try:
            reply = await self._poster.post(
                parcel.url, signed_headers(str(parcel.id), now, body, *present), body
            )
        except Unreachable as fault:
            return self._failed(parcel, None, str(fault))
        finally:
            _seconds.observe(time.monotonic() - began)
        if 200 <= reply.status < 300:
            return Attempt(reply.status, reply.text, is_delivered=True)
        if reply.status == _GONE:
            return Attempt(reply.status, reply.text, stop=True)
        return self._failed(parcel, reply, reply.text)

    def _failed(self, parcel: OutgoingDelivery, reply: Reply | None, text: str) -> Attempt:
        status = None if reply is None else reply.status
        if parcel.attempt > len(PAUSES):
            return Attempt(status, text)
        pause = PAUSES[parcel.attempt - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - it spreads load
        wish = 0.0 if reply is None else min(reply.retry_after or 0.0, _LONGEST_WISH)
        return Attempt(status, text, retry_in=max(pause, wish))

    async def _note(self, parcel: OutgoingDelivery, attempt: Attempt) -> None:
        changed = await self._dispatch.close(parcel, attempt)
        about = {
            "webhook": str(parcel.webhook),
            "delivery": str(parcel.id),
            "status": attempt.status,
        }
        if not attempt.is_delivered:
            final = attempt.retry_in is None
            log.info(
                "a webhook was not told",
                attempt=parcel.attempt,
                final=final,
                detail=attempt.reply[:200],
                **about,
            )
        match changed:
            case WebhookState.FAILING:
                log.warning("a webhook is failing", **about)
            case WebhookState.PAUSED:
                log.warning("a webhook is paused: its receiver has gone", **about)
            case WebhookState.ACTIVE:
                log.info("a webhook works again", **about)
