"""Automatic replies of accounts to messages that were delivered to their INBOX (RFC 3834, ADR 42).

Theory of operation:

- Which accounts reply is read every few seconds, all of them at once: a delivery asks the database
  nothing for it. What was delivered to one of them waits in a bounded queue for a task.
- The task decides by envelope and header, claims the reply (each sender gets one in seven days),
  and puts it on INGEST like any message, with the null reverse-path, signed for its domain. Where
  INGEST is full or away, the claim is given back and the message is tried again.
- Replies are limited by account and by the sender's domain: reverse-paths can be forged, and the
  reply would go to somebody else. One tenant cannot use up what all may send to a domain.
- Limits on what an account, its domain and its tenant may send hold for replies too, counted apart:
  else who writes to an account could keep it from sending.
- A reply that a process has claimed and not sent when it is killed is not sent. No message is lost
  by it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.envelope import Envelope
from posthorn.model.own_message import own_message
from posthorn.ports.blobs import BlobMissing, Blobs
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Ingest
from posthorn.ports.sending import SENDING_SECONDS, Charge, Throttle
from posthorn.ports.vacations import DueReply, VacationReplies
from posthorn.wire.message.auto_reply import (
    SCANNED_BYTES,
    AutoReply,
    answers_to,
    compose,
    may_reply,
    message_id_in,
)
from posthorn_delivery.filing import Filing

log = structlog.get_logger()

LOOK_SECONDS = 10.0
"""How often it is read which accounts reply."""
KEPT = 2_000
"""Messages that wait for a reply at most; beyond, the oldest get none."""
PER_ACCOUNT_PER_HOUR = 200
"""Replies of an account."""
PER_DOMAIN_PER_HOUR = 200
"""Replies of a tenant's accounts to addresses of a domain."""
PER_DOMAIN_OF_ALL_PER_HOUR = 2_000
"""Replies of all accounts to addresses of a domain."""
_FORGET_SECONDS = 3600.0
_RETRY_SECONDS = 5.0

_replies = Counter("posthorn_delivery_auto_replies_total", "Automatic replies", ["outcome"])


@dataclass(frozen=True, slots=True)
class _Waiting:
    envelope: Envelope
    body: bytes | None
    accounts: Mapping[int, tuple[str, ...]]
    """Accounts that reply, each with the recipients that name it alone."""


class VacationReplier:
    """Replies for accounts."""

    def __init__(
        self,
        replies: VacationReplies,
        ingest: Ingest,
        blobs: Blobs,
        throttle: Throttle,
        *,
        new_id: Callable[[], UUID],
    ) -> None:
        self._replies = replies
        self._ingest = ingest
        self._blobs = blobs
        self._throttle = throttle
        self._new_id = new_id
        self._replying: frozenset[int] = frozenset()
        self._waiting: deque[_Waiting] = deque(maxlen=KEPT)
        self._some = asyncio.Event()

    def note(self, envelope: Envelope, body: bytes | None, filing: Filing) -> None:
        """Note that a message was delivered. ``body``: None where a blob holds it. Never waits,
        never raises."""
        if not self._replying or self._replying.isdisjoint(accounts := filing.wanted):
            return
        if envelope.role == "notice" or not answers_to(envelope.reverse_path):
            return
        reached = filing.routes.reached.items()
        own = {
            account: tuple(recipient for recipient, found in reached if found == (account,))
            for account in accounts
            if account in self._replying
        }
        head = None if body is None else body[:SCANNED_BYTES]
        self._waiting.append(_Waiting(envelope, head, own))
        self._some.set()

    async def run(self) -> None:
        """Read which accounts reply, and reply, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(), name="replying accounts")
            group.create_task(self._send(), name="automatic replies")

    async def look(self) -> None:
        """Read which accounts reply. Raises Unavailable."""
        self._replying = await self._replies.replying()

    async def reply(self) -> None:
        """Reply to what waits. Raises Unavailable, and then keeps what is left."""
        while self._waiting:
            waiting = self._waiting[0]
            await self._reply_to(waiting)
            if self._waiting and self._waiting[0] is waiting:
                self._waiting.popleft()

    async def _look(self) -> None:
        forget_at = 0.0
        while True:
            try:
                await self.look()
                if time.monotonic() >= forget_at:
                    await self._replies.forget()
                    forget_at = time.monotonic() + _FORGET_SECONDS
            except Unavailable as fault:
                log.warning("accounts that reply cannot be read", fault=fault)
            await asyncio.sleep(LOOK_SECONDS)

    async def _send(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            try:
                await self.reply()
            except Unavailable as fault:
                log.warning("automatic replies wait", fault=fault)
                await asyncio.sleep(_RETRY_SECONDS)
                self._some.set()
            except Exception:
                log.exception("an automatic reply cannot be made")
                if self._waiting:
                    self._waiting.popleft()
                    self._some.set()

    async def _reply_to(self, waiting: _Waiting) -> None:
        head = await self._head(waiting)
        for account, recipients in waiting.accounts.items():
            sender = waiting.envelope.reverse_path
            due = None
            if head is not None and may_reply(head, frozenset(map(str.lower, recipients))):
                due = await self._replies.claim(account, sender)
            if due is None or due.address == sender.lower():
                continue
            try:
                if await self._throttle.take(_charges(due, sender)):
                    _replies.labels("limited").inc()
                    continue  # the claim stays: this sender gets no reply for now
                await self._ingest.accept(*self._message(due, sender, head or b""))
            except Unavailable:
                await self._replies.give_back(account, sender)
                raise
            _replies.labels("sent").inc()
            log.info("automatic reply", message=str(waiting.envelope.id), account=due.address)

    async def _head(self, waiting: _Waiting) -> bytes | None:
        """Return the start of the message; None when it is gone."""
        if waiting.envelope.blob is None:
            return waiting.body
        length = min(SCANNED_BYTES, waiting.envelope.body.size)
        head = bytearray()
        try:
            async with aclosing(self._blobs.stream(waiting.envelope.blob, 0, length)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    head += piece
        except BlobMissing:
            return None
        return bytes(head)

    def _message(self, due: DueReply, sender: str, head: bytes) -> tuple[Envelope, bytes]:
        number, now = self._new_id(), time.time()
        reply = AutoReply(
            *(str(number), now, due.address, sender, due.subject, due.text, message_id_in(head))
        )
        return own_message(
            number,
            now,
            sender,
            compose(reply),
            signer=due.address.rpartition("@")[2],
            tenant=due.tenant,
            smtputf8=not (sender + due.address).isascii(),
            submitter=due.address,
        )


def _charges(due: DueReply, sender: str) -> list[Charge]:
    to, own = sender.rpartition("@")[2].lower(), due.address.rpartition("@")[2]
    most = PER_ACCOUNT_PER_HOUR if due.account_limit is None else due.account_limit
    limits = {
        f"account:{due.account}": min(PER_ACCOUNT_PER_HOUR, most),
        f"domain:{to}": PER_DOMAIN_OF_ALL_PER_HOUR,
        f"domain:{due.tenant} {to}": PER_DOMAIN_PER_HOUR,
        f"of-domain:{own}": due.domain_limit,
        f"tenant:{due.tenant}": due.tenant_limit,
    }
    return [
        Charge(f"auto-replies-{who}", limit, SENDING_SECONDS)
        for who, limit in limits.items()
        if limit is not None
    ]
