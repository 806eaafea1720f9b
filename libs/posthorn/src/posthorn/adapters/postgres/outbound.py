"""The outbound part of a batch, entered into the queue by the transaction that places the batch.

Theory:

- All open rows of a message together hold one of its references. Who closes the last of them gives it back (``queue``).
- A row that has come to its end stays open as long as its sender is to be told.
- What aliases forward and what comes back to rewritten reverse-paths is charged here (``charging``): beyond a limit it is entered
  as deferred, with the time at which the limit lets it go.
- The destinations come last, in the order of their names: their rows are what all that send or enter mail have in common, so they
  are held shortest. Each is locked even if it is due already. A claim that found nothing locks the destination before it looks
  once more; so either it sees these rows, or its later time is overwritten here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from posthorn.adapters.postgres.charging import OVER_LIMIT_STATUS, ForwardLimits, charge
from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.adapters.postgres.queue_closing import make_due_or_now
from posthorn.model.envelope import Envelope
from posthorn.model.networks import network_of
from posthorn.model.outbound import Notice, Outbound, QueueState
from posthorn.ports.mailboxes import Letter
from posthorn.wire.foreign_address import canonical

NO_LIMITS = ForwardLimits()

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


@dataclass(frozen=True, slots=True)
class Patience:
    """How long recipients are tried, in seconds."""

    give_up: float
    delay_notice: float
    """After how long a sender is told that it is late; 0: never."""

    def overdue(self, sender: str, recipient: Outbound) -> float:
        """Seconds until something must be said or done about a recipient that waits."""
        if self.delay_notice and sender and recipient.dsn.wants(Notice.DELAYED):
            return min(self.delay_notice, self.give_up)
        return self.give_up


def open_rows(letter: Letter) -> int:
    """How many of the letter's outbound rows hold on to its octets."""
    return sum(not _closed(each) for each in letter.outbound)


async def enter(
    connection: Connection, letters: Sequence[Letter], patience: Patience, limits: ForwardLimits = NO_LIMITS
) -> None:
    """Enter the outbound parts of letters that were just made."""
    letters = [letter for letter in letters if letter.outbound]
    if not letters:
        return
    entered = [(letter, each) for letter in letters for each in letter.outbound]
    deferred = await charge(connection, [each for _, each in entered], limits, patience.give_up)
    messages = [
        (
            letter.envelope.id,
            letter.tenant,
            clean_text(letter.envelope.submitter),
            letter.envelope.smtputf8,
            clean_text(_ret(letter.envelope)),
            clean_text(letter.envelope.envid),
            clean_text(letter.signature),
            open_rows(letter),
            (network_of(letter.envelope.client_address) or "unknown") if _is_strangers(letter.envelope) else "",
        )
        for letter in letters
    ]
    recipients = [
        (
            letter.envelope.id,
            each.tenant or letter.tenant,
            clean_text(each.destination),
            clean_text(each.recipient),
            clean_text(canonical(each.recipient)),
            clean_text(letter.envelope.reverse_path),
            clean_text(each.reverse_path),
            clean_text(each.original),
            clean_text(each.dsn.orcpt),
            int(each.dsn.notify),
            QueueState.DEFERRED.value if place in deferred else each.state.value,
            patience.overdue(letter.envelope.reverse_path, each),
            OVER_LIMIT_STATUS if place in deferred else clean_text(each.status),
            deferred[place].reply if place in deferred else clean_text(each.reply),
            None if each.notice is None else each.notice.value,
            _closed(each),
            clean_text(each.header),
            deferred[place].due_at if place in deferred else None,
        )
        for place, (letter, each) in enumerate(entered)
    ]
    columns = (list(column) for rows in (messages, recipients) for column in zip(*rows, strict=True))
    await connection.execute(_INSERT, *columns, patience.give_up)
    due: dict[str, datetime | None] = {}
    for place, (_, each) in enumerate(entered):
        name = clean_text(each.destination)
        if not _waits(each):
            continue
        if place not in deferred:
            due[name] = None
        elif (before := due.get(name, deferred[place].due_at)) is not None:
            due[name] = min(before, deferred[place].due_at)
    await make_due_or_now(connection, due)


def _ret(envelope: Envelope) -> str:
    """What is returned of a message (RFC 3461 §4.3): to whom nobody has asked for a password the header at most, whatever he
    asks for, since nobody knows whether he is who gets it."""
    return "HDRS" if envelope.ret and _is_strangers(envelope) else envelope.ret


def _is_strangers(envelope: Envelope) -> bool:
    """Whether nobody logged in to hand it over."""
    return envelope.role == "mx"


def _waits(outbound: Outbound) -> bool:
    return outbound.state is QueueState.QUEUED


def _closed(outbound: Outbound) -> bool:
    return not _waits(outbound) and outbound.notice is None
