"""Enqueueing: adds the outbound part of a batch to the queue, in the transaction that delivers the
batch.

Theory:

- All open rows of a message together hold one of its references. Closing the last of them drops it
  (``queue``).
- A finished row stays open until its DSN is sent.
- Forwards of aliases and DSNs to rewritten reverse-paths are charged here (``charging``): beyond a
  limit they are queued as deferred, with the time at which the limit allows them.
- Senders too long to be rewritten are stored after that (``long_senders``).
- The destinations come last, in the order of their names: their rows are shared by all that send or
  queue mail, so they are locked for the shortest time. Each is locked even if it is due already. A
  claim that found nothing locks the destination before it looks again; so either it sees these
  rows, or its later time is overwritten here.
- A row in the state HELD stands for an alias that is expanded later, in slices: ``expansions``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.adapters.postgres.queue import long_senders
from posthorn.adapters.postgres.queue.charging import OVER_LIMIT_STATUS, Deferral, charge
from posthorn.adapters.postgres.queue.closing import make_due_or_now
from posthorn.adapters.postgres.queue.handing import hand_over
from posthorn.model.envelope import Envelope, encode_record
from posthorn.model.forward_limits import ForwardLimits
from posthorn.model.networks import network_of
from posthorn.model.outbound import Outbound, QueueState
from posthorn.ports.hand_over import HandOver
from posthorn.ports.segments import SegmentMessage
from posthorn.runtime.queue_settings import QueueSettings
from posthorn.wire.foreign_address import canonical
from posthorn.wire.message.dsn import Action

type Due = dict[str, datetime | None]
"""When a destination is due; None: at once."""
NO_LIMITS = ForwardLimits()

# A message row only for a new message: a slice of an expansion adds recipients to an existing one,
# and passes none.
_INSERT = """
WITH messages AS (
    INSERT INTO outbound_messages (message_id, tenant_id, submitter, smtputf8, ret, envid, signature, open,
                                   client_network)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::text[], $8::integer[],
                         $9::text[])
)
INSERT INTO outbound_recipients (message_id, tenant_id, destination, recipient, address, sender, reverse_path, original, orcpt,
                                 notify, state, due_at, overdue_at, expires_at, last_status, last_reply, notice, closed_at,
                                 header, not_before)
SELECT message_id, tenant_id, destination, recipient, address, sender, reverse_path, original, orcpt, notify, state,
       coalesce(later, now()), now() + make_interval(secs => overdue), now() + make_interval(secs => $28), status, reply, notice,
       CASE WHEN closed THEN now() END, header, later
  FROM unnest($10::uuid[], $11::uuid[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
              $19::smallint[], $20::text[], $21::float8[], $22::text[], $23::text[], $24::text[], $25::boolean[], $26::text[],
              $27::timestamptz[])
       WITH ORDINALITY
       AS entry (message_id, tenant_id, destination, recipient, address, sender, reverse_path, original, orcpt, notify, state,
                 overdue, status, reply, notice, closed, header, later, place)
 ORDER BY place
"""
_EXPAND = """
INSERT INTO outbound_expansions (recipient_id, message_id, tenant_id, envelope)
SELECT r.id, r.message_id, coalesce(r.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), wide.envelope
  FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS wide (message_id, recipient, envelope)
  CROSS JOIN LATERAL (
      SELECT id, message_id, tenant_id FROM outbound_recipients o
       WHERE o.message_id = wide.message_id AND o.recipient = wide.recipient AND o.state = 'held' ORDER BY id LIMIT 1
  ) AS r
"""
_REACHED = """
INSERT INTO outbound_reached (message_id, place) SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING
"""
_ROWS_AT_ONCE = 250
"""Rows built before yielding to other tasks."""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How long recipients are tried, in seconds, and the limits of forwards."""

    give_up: float = 432_000.0
    delay_notice: float = 14_400.0
    """Time in the queue after which the sender gets a delay DSN; 0: never."""
    limits: ForwardLimits = NO_LIMITS
    """Limits of forwards, besides those of domains and tenants."""

    @classmethod
    def from_settings(cls, settings: QueueSettings) -> Self:
        """Take it from the settings of a process."""
        return cls(
            settings.relay_give_up_seconds,
            settings.relay_delay_notice_seconds,
            settings.forward_limits,
        )

    def overdue(self, sender: str, recipient: Outbound) -> float:
        """Return the seconds until a waiting recipient needs a delay DSN or expires."""
        if self.delay_notice and sender and recipient.dsn.wants(Action.DELAYED):
            return min(self.delay_notice, self.give_up)
        return self.give_up


DEFAULT_POLICY = QueuePolicy()


def open_rows(message: SegmentMessage) -> int:
    """Return how many of the message's outbound rows reference its body."""
    return sum(not _closed(each) for each in message.outbound)


async def enter(
    connection: Connection,
    outgoing: Sequence[SegmentMessage],
    policy: QueuePolicy,
    over: HandOver | None = None,
) -> None:
    """Queue the outbound parts of new messages, and the expansions left to ``expansions``; claim
    ``over`` for its relay."""
    outgoing = [message for message in outgoing if message.outbound]
    if not outgoing:
        return
    owners = await _owners(connection, outgoing)
    messages = [
        (
            message.envelope.id,
            message.tenant
            or next((owner for each in message.outbound if (owner := _owner(each, owners))), None),
            clean_text(message.envelope.submitter),
            message.envelope.smtputf8,
            clean_text(_ret(message.envelope)),
            clean_text(message.envelope.envid),
            clean_text(message.signature),
            open_rows(message),
            (network_of(message.envelope.client_address) or "unknown")
            if _is_strangers(message.envelope)
            else "",
        )
        for message in outgoing
    ]
    due = await _insert(connection, messages, outgoing, policy, owners)
    await _open_expansions(connection, outgoing)
    if over is not None:
        await hand_over(connection, over)
    await make_due_or_now(connection, due)


async def enter_more(connection: Connection, message: SegmentMessage, policy: QueuePolicy) -> Due:
    """Queue more recipients of a message whose outbound part exists; return the destinations that
    are due.

    The caller counts the rows, and makes the destinations due at the end of its transaction.
    """
    return await _insert(connection, [], [message], policy, {}) if message.outbound else {}


def places(message: SegmentMessage) -> list[str]:
    """Return the destinations of a message for ``outbound_reached``: accounts, and addresses
    elsewhere by tenant."""
    accounts = {*message.accounts, *(each.account for each in message.withheld)} - {None}
    copies = [*message.outbound, *(copy for each in message.withheld for copy in each.outbound)]
    return sorted(
        {f"account {account}" for account in accounts}
        | {place_of(each, message.tenant) for each in copies if not _expands(each)}
    )


def place_of(outbound: Outbound, tenant: UUID | None) -> str:
    """Return the key of an address elsewhere: forwards of two tenants there are two copies, so that
    each can hold or cancel its own.

    A refused forward has a key of its own: it is reported once, however many slices find it.
    """
    kind = "queued" if _waits(outbound) else "ended"
    return clean_text(f"{kind} {outbound.tenant or tenant} {outbound.recipient.lower()}")


async def _insert(
    connection: Connection,
    messages: Sequence[tuple[Any, ...]],
    outgoing: Sequence[SegmentMessage],
    policy: QueuePolicy,
    owners: Mapping[str, UUID],
) -> Due:
    """Charge and enter messages and their recipients; return the destinations, and when
    something can go."""
    entered = [(message, each) for message in outgoing for each in message.outbound]
    deferred = await charge(
        connection, [each for _, each in entered], policy.limits, policy.give_up
    )
    nameless = await long_senders.store(
        connection,
        [(message.envelope, each) for message, each in entered],
        policy.limits.long_senders,
    )
    recipients: list[tuple[Any, ...]] = []
    due: Due = {}
    for place, (message, each) in enumerate(entered):
        deferral = deferred.get(place)
        if place in nameless:
            each = replace(each, reverse_path="")
        recipients.append(_row(message, each, policy, _owner(each, owners), deferral))
        if _waits(each):
            _note_due(due, clean_text(each.destination), deferral)
        if len(recipients) % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
    columns = [
        list(column)
        for rows, width in ((messages, 9), (recipients, 18))
        for column in (zip(*rows, strict=True) if rows else ((),) * width)
    ]
    await connection.execute(_INSERT, *columns, policy.give_up)
    return due


def _note_due(due: Due, destination: str, deferral: Deferral | None) -> None:
    if deferral is None:
        due[destination] = None
    elif (before := due.get(destination, deferral.due_at)) is not None:
        due[destination] = min(before, deferral.due_at)


def _row(
    message: SegmentMessage,
    each: Outbound,
    policy: QueuePolicy,
    owner: UUID | None,
    deferral: Deferral | None,
) -> tuple[Any, ...]:
    return (
        message.envelope.id,
        owner or message.tenant,
        clean_text(each.destination),
        clean_text(each.recipient),
        clean_text(canonical(each.recipient)),
        clean_text(message.envelope.reverse_path),
        clean_text(each.reverse_path),
        clean_text(each.original),
        clean_text(each.dsn.orcpt),
        int(each.dsn.notify),
        each.state.value if deferral is None else QueueState.DEFERRED.value,
        policy.overdue(message.envelope.reverse_path, each),
        clean_text(each.status) if deferral is None else OVER_LIMIT_STATUS,
        clean_text(each.reply) if deferral is None else deferral.reply,
        None if each.notice is None else each.notice.value,
        _closed(each),
        clean_text(each.header),
        None if deferral is None else deferral.due_at,
    )


def _ret(envelope: Envelope) -> str:
    """Return RET of a message (RFC 3461 §4.3): to an unauthenticated sender the header at most,
    whatever it requests, since its address may be forged."""
    return "HDRS" if envelope.ret and _is_strangers(envelope) else envelope.ret


def _is_strangers(envelope: Envelope) -> bool:
    """Return whether the sender is unauthenticated."""
    return envelope.role == "mx"


async def _open_expansions(connection: Connection, messages: Sequence[SegmentMessage]) -> None:
    wide = [(message, each) for message in messages for each in message.outbound if _expands(each)]
    if not wide:
        return
    await connection.execute(
        _EXPAND,
        [message.envelope.id for message, _ in wide],
        [clean_text(each.recipient) for _, each in wide],
        [_record(message, each) for message, each in wide],
    )
    reached = {message.envelope.id: places(message) for message, _ in wide}
    rows = [(message, place) for message, found in reached.items() for place in found]
    await connection.execute(
        _REACHED, [message for message, _ in rows], [place for _, place in rows]
    )


def _record(message: SegmentMessage, each: Outbound) -> bytes:
    """Return the envelope for this recipient only. It always names a blob, since it is stored
    without its body."""
    envelope = message.envelope.to((each.recipient,))
    return encode_record(
        replace(envelope, dsn={each.recipient: each.dsn}, blob=envelope.blob or "segment"), None
    )


async def _owners(connection: Connection, messages: Sequence[SegmentMessage]) -> Mapping[str, UUID]:
    """Return the tenants of the domains with wide aliases; usually there are none, and nothing
    is queried."""
    names = {
        each.destination for message in messages for each in message.outbound if _expands(each)
    }
    if not names:
        return {}
    rows = await connection.fetch(
        "SELECT name, tenant_id FROM domains WHERE name = ANY ($1::text[])", sorted(names)
    )
    return {row["name"]: row["tenant_id"] for row in rows}


def _owner(each: Outbound, owners: Mapping[str, UUID]) -> UUID | None:
    return each.tenant or (owners.get(each.destination) if _expands(each) else None)


def _expands(outbound: Outbound) -> bool:
    return outbound.state is QueueState.HELD


def _waits(outbound: Outbound) -> bool:
    return outbound.state is QueueState.QUEUED


def _closed(outbound: Outbound) -> bool:
    return not _waits(outbound) and not _expands(outbound) and outbound.notice is None
