"""The port Expansions on Postgres: wide aliases, queued slice by slice.

Theory:

- ``enqueue`` adds a HELD row to the queue for each wide alias of a message, and a row of
  ``outbound_expansions`` with the envelope for that alias only. The HELD row counts as one of the
  message's open rows, so the body stays.
- A slice walks the alias's *present* targets, takes the first addresses after the last one queued
  (in byte order), and queues them; the position moves in the same transaction. A target added
  meanwhile is reached if it comes later in the order; one that was removed, if it came earlier.
- A message may reach a destination several times: explicitly, by two aliases, or under another
  address after a change. ``outbound_reached`` holds each destination of a message with open
  expansions once; known ones are skipped.
- A slice is filed like a batch (``filing``): a copy for quarantine has reached its destination.
- The row of an expansion is locked (SKIP LOCKED) first, so any number of processes can expand
  concurrently. Cancelling the HELD row ends the expansion: a slice that finds it no longer held
  writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.mailboxes.changes import changing
from posthorn.adapters.postgres.mailboxes.delivery import lock_accounts, make_entries
from posthorn.adapters.postgres.mailboxes.filing import QUARANTINE_DAYS, facts, withhold
from posthorn.adapters.postgres.mailboxes.resolve import (
    FORWARDS,
    IS_FORWARDING,
    MOST_ADDRESSES,
    OURS,
    WALK,
)
from posthorn.adapters.postgres.queue import enqueue as outbound
from posthorn.adapters.postgres.queue.closing import make_due_or_now, release_bodies
from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import decode_record
from posthorn.model.filing import shown_author
from posthorn.model.outbound import Notify, Outbound, QueueState, RecipientDsn
from posthorn.ports.errors import Unavailable
from posthorn.ports.expansions import Expanded, OpenExpansions, Route
from posthorn.ports.mailbox_hints import Announce, Changed, announce_nothing
from posthorn.ports.mailboxes import AccountsGone, Forward, Resolution
from posthorn.ports.segments import SegmentMessage
from posthorn.wire.message.dsn import Action

COUNTED = 10_000
AGAIN_SECONDS = 900.0
"""Shortest delay of an expansion that was refused or failed, in seconds."""
_GONE = ("5.1.1", "550 5.1.1 user unknown; the mailbox does not exist any more")
_WIDE = f"it comes to more than {MOST_ADDRESSES} addresses"

_NEXT = """
SELECT recipient_id, message_id, tenant_id, envelope, done, accounts, forwards FROM outbound_expansions
 WHERE tenant_id > $1 AND due_at <= now()
 ORDER BY tenant_id, due_at, recipient_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_HELD = """
SELECT r.expires_at <= now() AS over, r.sender, r.notify, o.tenant_id
  FROM outbound_recipients r JOIN outbound_messages o ON o.message_id = r.message_id
 WHERE r.id = $1 AND r.state = 'held'
"""
# $1 recipient, $2 most addresses, $3 the last one entered, $4 limit
_SLICE = f"""
WITH RECURSIVE {WALK.replace("START", "$1::text")}, led AS MATERIALIZED (
    SELECT address, account, row_number() OVER () AS place FROM (SELECT * FROM walk LIMIT $2) AS first_ones
), found AS (
    SELECT address, account, NULL::text AS alias, NULL::uuid AS tenant, NULL::text AS withheld FROM led WHERE {OURS}
  UNION ALL
    SELECT target, NULL, alias, tenant, withheld FROM ({FORWARDS.format(recipient="", is_forwarding=IS_FORWARDING)}) AS forwards
)
SELECT (SELECT count(*) FROM led) AS led, slice.*
  FROM (VALUES (1)) AS one
  LEFT JOIN (
      SELECT * FROM found WHERE address COLLATE "C" > $3 ORDER BY address COLLATE "C" LIMIT $4
  ) AS slice ON true
"""
_REACH = """
INSERT INTO outbound_reached (message_id, place)
SELECT $1, place FROM unnest($2::text[]) AS place ORDER BY place
ON CONFLICT DO NOTHING
RETURNING place
"""
_SHOW = """
UPDATE outbound_recipients
   SET state = $2, last_status = $3, last_reply = $4, notice = $5,
       closed_at = CASE WHEN $2 <> 'held' AND $5::text IS NULL THEN now() END
 WHERE id = $1 AND state = 'held'
RETURNING closed_at IS NOT NULL
"""
_COUNT_ROWS = "UPDATE outbound_messages SET open = open + $2 WHERE message_id = $1"
_COUNT_ENTRIES = "UPDATE messages SET refs = refs + $2 WHERE id = $1"
_ADVANCE = """
UPDATE outbound_expansions SET done = $2, accounts = accounts + $3, forwards = forwards + $4 WHERE recipient_id = $1
"""
# the delay grows with the time waited, a day at most
_POSTPONE = """
UPDATE outbound_expansions
   SET due_at = now() + least(greatest(make_interval(secs => $2), now() - created_at), interval '1 day')
 WHERE recipient_id = $1
"""
_END = "DELETE FROM outbound_expansions WHERE recipient_id = $1"
_FORGET_PLACES = """
DELETE FROM outbound_reached p
 WHERE p.message_id = $1 AND NOT EXISTS (SELECT FROM outbound_expansions e WHERE e.message_id = $1)
"""
_WAITING = """
SELECT count(*) AS number, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
  FROM (SELECT created_at FROM outbound_expansions ORDER BY recipient_id LIMIT $1) AS first_ones
"""
_FIRST = UUID(int=0)


class _Cancelled(Exception):
    """The row of the alias is no longer held."""


class PostgresExpansions:
    """The port Expansions over Postgres. ``policy`` as in ``PostgresMailboxes``."""

    def __init__(
        self,
        database: Database,
        policy: outbound.QueuePolicy = outbound.DEFAULT_POLICY,
        *,
        quarantine_days: int = QUARANTINE_DAYS,
        announce: Announce = announce_nothing,
    ) -> None:
        self._database = database
        self._announce = announce
        self._policy = policy
        self._quarantine_days = quarantine_days
        self._turn = _FIRST  # the tenant served last

    async def expand(self, limit: int, route: Route) -> Expanded | None:
        chosen: int | None = None
        try:
            async with changing(self._database, self._announce) as (connection, changed):
                row = await self._next(connection)
                if row is None:
                    return None
                chosen = row["recipient_id"]
                return await self._expand(connection, row, limit, route, changed)
        except (_Cancelled, AccountsGone):
            return await self.expand(limit, route)  # sees what has changed meanwhile
        except Unavailable:
            raise
        except Exception:
            if chosen is not None:
                async with self._database.session() as connection:
                    await connection.execute(_POSTPONE, chosen, AGAIN_SECONDS)
            raise

    async def waiting(self) -> OpenExpansions:
        async with self._database.session() as connection:
            row: Any = await connection.fetchrow(_WAITING, COUNTED)
        return OpenExpansions(row["number"], row["oldest"])

    async def _next(self, connection: Connection) -> Any:
        row = await connection.fetchrow(_NEXT, self._turn)
        if row is None and self._turn != _FIRST:
            row = await connection.fetchrow(_NEXT, _FIRST)
        self._turn = _FIRST if row is None else row["tenant_id"]
        return row

    async def _expand(
        self, connection: Connection, row: Any, limit: int, route: Route, changed: list[Changed]
    ) -> Expanded:
        envelope = decode_record(row["envelope"]).envelope
        told = Expanded(envelope, row["tenant_id"], accounts=row["accounts"])
        held = await connection.fetchrow(_HELD, row["recipient_id"])
        if held is None:
            await _end(connection, row)
            return replace(told, done=True)
        (recipient,) = envelope.recipients
        found = await connection.fetch(_SLICE, recipient, MOST_ADDRESSES + 1, row["done"], limit)
        if found[0]["led"] > MOST_ADDRESSES:
            return await _refuse(connection, row, held, told)
        slice_ = [each for each in found if each["address"] is not None]
        if not slice_ and not row["done"]:
            return await _bounce(connection, row, held, told, _GONE)
        resolution = _resolution(recipient, slice_)
        authors = {recipient: frozenset((shown_author(envelope),)) - {""}}
        filing = await facts(connection, resolution, authors)
        places = route(envelope, replace(resolution, filing=filing))
        message = await _fresh(
            connection,
            SegmentMessage(
                envelope,
                BlobRange(0, 0),
                places.accounts,
                places.outbound,
                held["tenant_id"],
                filed=places.filed,
                withheld=places.withheld,
            ),
        )
        done = len(slice_) < limit
        changed += await self._enter(connection, row, message, done=done)
        if not done:
            moved = (slice_[-1]["address"], len(message.accounts), len(message.outbound))
            await connection.execute(_ADVANCE, row["recipient_id"], *moved)
        return replace(
            told,
            entries=len(message.accounts),
            outbound=message.outbound,
            filed={account: places.filed[account] for account in message.filed},
            withheld=message.withheld,
            done=done,
            accounts=row["accounts"] + len(message.accounts),
        )

    async def _enter(
        self, connection: Connection, row: Any, mail: SegmentMessage, *, done: bool
    ) -> list[Changed]:
        changed: list[Changed] = []
        message = row["message_id"]
        withheld_from = [each.account for each in mail.withheld if each.account is not None]
        await lock_accounts(connection, [*mail.accounts, *withheld_from])
        made = await withhold(connection, [mail], self._quarantine_days)
        await make_entries(connection, [mail], changed)
        entered = row["accounts"] + len(mail.accounts), row["forwards"] + len(mail.outbound)
        progress = "{} mailboxes and {} addresses elsewhere".format(*entered)
        if done:
            shown = (QueueState.DELIVERED.value, "2.1.5", f"250 2.1.5 expanded to {progress}", None)
        else:
            shown = (QueueState.HELD.value, "", f"being expanded: {progress} so far", None)
        await _show(connection, row, shown)
        # before messages: see tables
        await connection.execute(_COUNT_ROWS, message, outbound.open_rows(mail))
        if mail.accounts or made:
            await connection.execute(_COUNT_ENTRIES, message, len(mail.accounts) + len(made))
        if done:
            await _end(connection, row)
            await release_bodies(connection, [message])
        await make_due_or_now(connection, await outbound.enter_more(connection, mail, self._policy))
        return changed


def _resolution(recipient: str, found: list[Any]) -> Resolution:
    ours = tuple(each["account"] for each in found if each["account"] is not None)
    out = tuple(
        Forward(each["address"], each["alias"], each["tenant"], each["withheld"] or "")
        for each in found
        if each["account"] is None
    )
    return Resolution(
        {recipient: ours} if ours else {}, frozenset(), {recipient: out} if out else {}
    )


async def _fresh(connection: Connection, message: SegmentMessage) -> SegmentMessage:
    """Leave out destinations that the message has reached already, and record the rest as
    reached."""
    reached = await connection.fetch(_REACH, message.envelope.id, outbound.places(message))
    new = {row["place"] for row in reached}
    accounts = tuple(
        account for account in dict.fromkeys(message.accounts) if f"account {account}" in new
    )

    def among(copies: Iterable[Outbound]) -> tuple[Outbound, ...]:
        return tuple(each for each in copies if outbound.place_of(each, message.tenant) in new)

    withheld = [
        replace(each, outbound=among(each.outbound))
        for each in message.withheld
        if each.account is None or f"account {each.account}" in new
    ]
    return replace(
        message,
        accounts=accounts,
        outbound=among(message.outbound),
        filed={account: message.filed[account] for account in accounts if account in message.filed},
        withheld=tuple(each for each in withheld if each.account is not None or each.outbound),
    )


async def _refuse(connection: Connection, row: Any, held: Any, told: Expanded) -> Expanded:
    """Defer an alias with too many targets until its owner reduces them or it expires."""
    if held["over"]:
        return await _bounce(
            connection, row, held, replace(told, refused=_WIDE), ("5.2.4", f"554 5.2.4 {_WIDE}")
        )
    await _show(connection, row, (QueueState.HELD.value, "4.2.4", f"450 4.2.4 {_WIDE}", None))
    await connection.execute(_POSTPONE, row["recipient_id"], AGAIN_SECONDS)
    return replace(told, refused=_WIDE)


async def _bounce(
    connection: Connection, row: Any, held: Any, told: Expanded, why: tuple[str, str]
) -> Expanded:
    """Bounce an alias without targets, unless the reverse-path is null or no DSN was wanted."""
    wants = held["sender"] and RecipientDsn(Notify(held["notify"])).wants(Action.FAILED)
    notice = Action.FAILED.value if wants else None
    await _show(connection, row, (QueueState.BOUNCED.value, *why, notice))
    await _end(connection, row)
    if notice is None:
        await release_bodies(connection, [row["message_id"]])
    return replace(told, done=True, gone=True)


async def _show(connection: Connection, row: Any, shown: tuple[str, str, str, str | None]) -> None:
    state, status, reply, notice = shown
    found = await connection.fetchval(
        _SHOW, row["recipient_id"], state, status, clean_text(reply), notice
    )
    if found is None:
        raise _Cancelled


async def _end(connection: Connection, row: Any) -> None:
    await connection.execute(_END, row["recipient_id"])
    await connection.execute(_FORGET_PLACES, row["message_id"])
