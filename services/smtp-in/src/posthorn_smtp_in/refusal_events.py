"""Events of refusals in a transaction: whoever was refused can be found, with the reply (promise 8).

Rules:

- Strangers cause as many refusals as they like. ``RefusalBudget`` bounds the events, of a client and
  in all; what is left out is counted, and every refusal is in the log and in the metrics.
- An event is recorded after the decision, and never delays a reply: without NATS it is dropped.
- ``PolicyWithEvents`` sees every decision of a policy. Refusals that the policy has recorded by
  itself, with more details, are not recorded again (``Transaction.is_told``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from prometheus_client import Counter

from posthorn.model.events import REFUSED, Event, head_fields
from posthorn.ports.events import Events
from posthorn.runtime.ids import new_id
from posthorn.runtime.token_buckets import TokenBuckets
from posthorn.wire.message.header import Summary
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import Mail, Rcpt
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.defence import ConnectionDefence
from posthorn_smtp_in.message_buffer import MessageBuffer
from posthorn_smtp_in.policy import Auth, Policy
from posthorn_smtp_in.settings import SmtpSettings
from posthorn_smtp_in.transaction import Client, Transaction

_left_out = Counter(
    "posthorn_smtp_in_refusal_events_left_out_total",
    "Refusals without an event, because too many came",
)
_CLIENTS = 10_000
"""Clients whose refusals are counted apart."""


class RefusalBudget:
    """How many events of refusals may be recorded."""

    def __init__(
        self,
        per_minute: int,
        per_client: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``per_minute``: in all."""
        self._all = TokenBuckets(per_minute, per_minute, monotonic)
        self._clients = TokenBuckets(per_client, per_client, monotonic, most_keys=_CLIENTS)

    def take(self, client: str) -> bool:
        """Return whether one of a client's may be recorded, and count it."""
        if self._clients.wait(client, 1) or self._all.take(None, 1):
            _left_out.inc()
            return False
        self._clients.take(client, 1)
        return True


class PolicyWithEvents:
    """A policy whose refusals are recorded as events."""

    def __init__(
        self,
        policy: Policy,
        settings: SmtpSettings,
        events: Events,
        budget: RefusalBudget,
    ) -> None:
        self._policy = policy
        self._settings = settings
        self._events = events
        self._budget = budget

    @property
    def auth(self) -> Auth | None:
        """Logins of the policy."""
        return self._policy.auth

    @property
    def offers_dsn(self) -> bool:
        """Whether the policy offers DSN."""
        return self._policy.offers_dsn

    @property
    def defence(self) -> ConnectionDefence | None:
        """What the policy knows of clients before their mail."""
        return self._policy.defence

    async def sender(self, mail: Mail, client: Client) -> Reply:
        """Judge MAIL."""
        reply = await self._policy.sender(mail, client)
        if reply is not smtp.SENDER_OK:
            self._record("mail", reply, client, new_id(), mail)
        return reply

    def began(self, transaction: Transaction, client: Client) -> None:
        """Begin what can be done meanwhile."""
        self._policy.began(transaction, client)

    async def recipient(self, transaction: Transaction, rcpt: Rcpt, client: Client) -> Reply:
        """Judge RCPT."""
        transaction.is_told = False
        reply = await self._policy.recipient(transaction, rcpt, client)
        if reply is not smtp.RECIPIENT_OK and not transaction.is_told:
            named = [str(rcpt.forward_path or "postmaster")]
            self._record("rcpt", reply, client, transaction.id, transaction.mail, named)
        return reply

    def message(self, transaction: Transaction, client: Client) -> MessageBuffer:
        """Begin a message."""
        return self._policy.message(transaction, client)

    async def accept(
        self, transaction: Transaction, message: MessageBuffer, client: Client
    ) -> Reply:
        """Accept a message whose end has come, or say why not."""
        transaction.is_told = False
        reply = await self._policy.accept(transaction, message, client)
        if reply.code != 250 and not transaction.is_told:
            self._record(
                "data",
                reply,
                client,
                transaction.id,
                transaction.mail,
                list(transaction.recipients),
                transaction.summary,
                size=message.content_octets,
            )
        return reply

    def _record(
        self,
        stage: str,
        reply: Reply,
        client: Client,
        message: UUID,
        mail: Mail,
        recipients: Sequence[str] = (),
        summary: Summary | None = None,
        **about: object,
    ) -> None:
        if not self._budget.take(client.address):
            return
        detail: dict[str, object] = {
            "service": self._settings.smtp_role,
            "stage": stage,
            "client": client.address,
            "helo": client.helo,
            "recipients": list(recipients),
            "reason": reply.kind,
            "reply": f"{reply.code} {reply.status} {reply.text}",
            **(head_fields(mail.written, summary) if summary else {"reverse_path": mail.written}),
            **about,
        }
        if client.login is not None:
            detail["account"] = client.account
            detail["tenant"] = str(client.login.credentials.tenant)
        self._events.record(Event(message, time.time(), REFUSED, detail))
