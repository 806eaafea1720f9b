"""The port QueueAdministration on Postgres: the queue as an administrator searches and changes it.

Theory:

- A search is composed of the conditions it has, so that each is answered by its own index, in the
  order of ids.
- Ids grow with time. An age is turned into bounds of ids by halving, a few dozen look-ups by key;
  the exact time is compared besides. So a search for what is old does not walk over all that is
  young.
- What is to be tried now goes to a next hop that may be closed: it is opened first, for one attempt
  (``next_hops``).
- What a relay has claimed is shown as being sent, and changed by nobody (``claimed``).
- The row of an alias that is being expanded is held, and released by nobody: to release it is to
  have the next slice at once.
- Whoever makes recipients due writes their destinations afterwards; see ``claim``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.queue.claimed import SHOWN_STATE
from posthorn.adapters.postgres.queue.closing import make_due, release_bodies
from posthorn.adapters.postgres.queue.conditions import UNCLAIMED, WAITING, conditions_of
from posthorn.adapters.postgres.queue.next_hops import (
    next_hop_of,
    open_for_one_try,
    open_of_item,
    open_where,
)
from posthorn.adapters.postgres.queue.summary import count_permitted, groups, state_list
from posthorn.model.outbound import QueueState
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.queue_administration import (
    ClosedNextHop,
    Permitted,
    QueueFilter,
    QueueGroup,
    QueueItem,
)

_CHANCE_SECONDS = 300
"""Seconds that an item released or retried by hand has for an attempt, even if it has expired."""

_LIST = Listing(
    "outbound_recipients",
    "r",
    """r.id, r.message_id, s.shown AS state, r.sender, r.recipient, r.destination, r.attempts,
       CASE WHEN s.shown IN ('queued', 'deferred', 'sending') THEN r.due_at END AS due_at, r.expires_at, r.created_at,
       r.last_attempt_at, r.last_host, r.last_status, r.last_reply, r.last_tls, r.original,
       coalesce(m.subject, '') AS subject, coalesce(m.size_crlf, 0) AS size,
       l.closed_until, l.last_host AS lane_host, l.last_reply AS lane_reply
    """,
    f"""
 CROSS JOIN LATERAL (SELECT r.destination AS name, {SHOWN_STATE.format("r")} AS shown) AS s
  LEFT JOIN LATERAL (SELECT subject, size_crlf FROM messages WHERE id = r.message_id LIMIT 1) AS m ON true
  LEFT JOIN LATERAL (
      SELECT * FROM outbound_lanes
       WHERE s.shown IN ('queued', 'deferred') AND key = {next_hop_of("s.name")} AND closed_until > now() LIMIT 1
  ) AS l ON true
    """,
    within="outbound_recipients",  # as in conditions_of
    orders={
        "created": Order("id", int),
        "due": Order("due_at", datetime, "id", int, only=f"state IN ({state_list(WAITING)})"),
    },
    searched=("recipient", "sender", "last_reply"),
    newest_first=True,
)
_FIND = "SELECT state FROM outbound_recipients WHERE id = $2 AND ($1::uuid IS NULL OR tenant_id = $1) FOR NO KEY UPDATE"
_IS_CLAIMED = "SELECT true FROM outbound_claims WHERE recipient_id = $1"
_HURRY = """
UPDATE outbound_expansions SET due_at = now() WHERE recipient_id = $2
   AND EXISTS (SELECT FROM outbound_recipients r WHERE r.id = $2 AND r.state = 'held' AND ($1::uuid IS NULL OR r.tenant_id = $1))
RETURNING true
"""
_NOT_EXPANDING = (
    "NOT EXISTS (SELECT FROM outbound_expansions e WHERE e.recipient_id = outbound_recipients.id)"
)
_CHOOSE = "SELECT id FROM outbound_recipients WHERE {where} ORDER BY id DESC LIMIT {limit} FOR NO KEY UPDATE SKIP LOCKED"

# only a platform key ($2) sends earlier what a sending limit has deferred
_DUE_NOW = f"""
due_at = CASE WHEN $2 THEN now() ELSE greatest(now(), not_before) END,
not_before = CASE WHEN $2 THEN NULL ELSE not_before END,
overdue_at = greatest(overdue_at, now() + interval '{_CHANCE_SECONDS} seconds')
"""
_CHANGES = {
    "retry": _DUE_NOW,
    "hold": "state = 'held', suspended_for = NULL",
    "release": f"state = CASE WHEN attempts = 0 THEN 'queued' ELSE 'deferred' END, suspended_for = NULL, {_DUE_NOW}",
    "cancel": "state = 'cancelled', notice = NULL, closed_at = now(), suspended_for = NULL",
}
_AT_ONCE = frozenset({"retry", "release"})
_ALLOWED = {
    "retry": WAITING,
    "hold": WAITING,
    "release": (QueueState.HELD,),
    "cancel": (*WAITING, QueueState.HELD),
}
_REFUSALS = {
    QueueState.QUEUED: "it waits to be sent and is not held",
    QueueState.DEFERRED: "it waits to be sent again and is not held",
    QueueState.SENDING: "it is being sent at this moment",
    QueueState.HELD: "it is held; release it first",
    QueueState.DELIVERED: "it has been delivered",
    QueueState.BOUNCED: "it has bounced",
    QueueState.CANCELLED: "it has been cancelled",
}


class PostgresQueueAdministration:
    """The port QueueAdministration over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def items(
        self, tenant: UUID | None, which: QueueFilter, before: int | None, limit: int
    ) -> Sequence[QueueItem]:
        after = None if before is None else (before,)
        return (await self.listed(tenant, which, ListQuery(limit, after))).items

    async def listed(
        self, tenant: UUID | None, which: QueueFilter, asked: ListQuery
    ) -> Listed[QueueItem]:
        async with self._database.transaction() as connection:
            search = await conditions_of(connection, tenant, which)
            return await _LIST.page(connection, None, asked, _as_item, scope=search)

    async def item(self, tenant: UUID | None, item: int) -> QueueItem:
        async with self._database.transaction() as connection:
            return await _item(connection, tenant, item)

    async def own_domains(
        self, tenant: UUID, names: Collection[str], since: float
    ) -> frozenset[str]:
        query = (
            "SELECT name FROM domains WHERE tenant_id = $1 AND name = ANY ($2::text[])"
            " AND extract(epoch FROM verified_at) <= $3"
        )
        asked = [clean_text(name) for name in names]
        async with self._database.session() as connection:
            rows = await connection.fetch(query, tenant, asked, since)
        return frozenset(row["name"] for row in rows)

    async def act(self, tenant: UUID | None, action: str, item: int) -> QueueItem:
        """Apply the action to one item. Raises NotFound, Conflict, and KeyError for an unknown
        action."""
        allowed = _ALLOWED[action]
        async with self._database.transaction() as connection:
            if action == "release" and await connection.fetchval(_HURRY, tenant, item):
                return await _item(connection, tenant, item)
            if action in _AT_ONCE:
                await open_of_item(connection, tenant, item)
            found = await connection.fetchval(_FIND, tenant, item)
            if found is None:
                raise NotFound(f"the queue has no recipient {item}")
            # asked under the lock, by a statement of its own (``claimed``)
            if await connection.fetchval(_IS_CLAIMED, item):
                found = QueueState.SENDING.value
            if (state := QueueState(found)) not in allowed:
                raise Conflict(f"the recipient {item} does not permit this: {_REFUSALS[state]}")
            await _change(
                connection, action, [item], f"queue/{item}", {}, by_platform=tenant is None
            )
            return await _item(connection, tenant, item)

    async def act_on_all(
        self, tenant: UUID | None, action: str, which: QueueFilter, limit: int
    ) -> Sequence[tuple[int, UUID, str, str]]:
        """Change all that match and whose state allows it, the newest first.

        Left out is what others are changing at this moment and, of what is to be tried again, what
        is due already.
        """
        states = _ALLOWED[action]
        async with self._database.transaction() as connection:
            search = await conditions_of(connection, tenant, which)
            search.add(f"state IN ({state_list(states)}) AND {UNCLAIMED}")
            if action == "release":
                search.add(_NOT_EXPANDING)
            if action in _AT_ONCE:
                await open_where(connection, " AND ".join(search.conditions), search.values)
            if action == "retry":
                # otherwise items due already would be found again on every page
                search.add("due_at > now()")
            ids = [
                row["id"]
                for row in await connection.fetch(search.into(_CHOOSE, limit), *search.values)
            ]
            searched = {
                name: value for name, value in asdict(which).items() if value not in (None, False)
            }
            if which.ids is not None:
                searched["ids"] = len(which.ids)  # some may be another tenant's
            by_platform = tenant is None
            rows = (
                await _change(connection, action, ids, "queue", searched, by_platform=by_platform)
                if ids
                else []
            )
        named = ((row["id"], row["message_id"], row["recipient"], row["original"]) for row in rows)
        return sorted(named, reverse=True)

    async def permitted(
        self, tenant: UUID | None, action: str, which: QueueFilter, most: int
    ) -> Permitted:
        async with self._database.transaction() as connection:
            search = await conditions_of(connection, tenant, which)
            return await count_permitted(
                connection, search, _ALLOWED[action], most, is_chosen=which.ids is not None
            )

    async def summary(
        self,
        tenant: UUID | None,
        which: QueueFilter,
        offset: int,
        limit: int,
        part: str | None = None,
    ) -> Sequence[QueueGroup]:
        async with self._database.transaction() as connection:
            search = await conditions_of(connection, tenant, which)
            if part is not None:
                search.add(*_LIST.containing(part))
            return await groups(connection, search, offset, limit)

    async def route_changed(self, domain: str, limit: int) -> None:
        """Open the next hop of a route for one attempt, and make what is deferred there due."""
        async with self._database.transaction() as connection:
            await open_for_one_try(connection, [domain])
            search = await conditions_of(connection, None, QueueFilter(state=QueueState.DEFERRED))
            if domain == "*":
                search.add("destination NOT IN (SELECT domain FROM routes)")
            else:
                search.add("destination = {}", domain)
            search.add("due_at > now()")
            ids = [
                row["id"]
                for row in await connection.fetch(search.into(_CHOOSE, limit), *search.values)
            ]
            if ids:
                details = {"domain": domain, "state": QueueState.DEFERRED.value}
                await _change(connection, "retry", ids, "queue", details, by_platform=True)


async def _item(connection: Connection, tenant: UUID | None, item: int) -> QueueItem:
    search = Conditions()
    search.add("id = {}", item)
    if tenant is not None:
        search.add("tenant_id = {}", tenant)
    found = await _LIST.page(connection, None, ListQuery(1), _as_item, scope=search)
    if not found.items:
        raise NotFound(f"the queue has no recipient {item}")
    return found.items[0]


async def _change(
    connection: Connection,
    action: str,
    items: Sequence[int],
    subject: str,
    details: Mapping[str, object],
    *,
    by_platform: bool,
) -> Sequence[Any]:
    """Change rows that are locked and whose state allows it, with all that follows; each tenant
    reads in the audit log how many of its own were meant."""
    rows: list[Any] = await connection.fetch(
        f"UPDATE outbound_recipients SET {_CHANGES[action]} WHERE id = ANY ($1::bigint[]) AND $2::boolean IS NOT NULL"
        f" AND {UNCLAIMED}"
        " RETURNING id, tenant_id, message_id, recipient, original, destination, due_at",
        list(items),
        by_platform,
    )
    for owner, number in sorted(Counter(row["tenant_id"] for row in rows).items()):
        await write_audit(connection, owner, subject, {**details, "recipients": number})
    if action == "cancel":
        await release_bodies(connection, (row["message_id"] for row in rows))
    elif action != "hold":
        await make_due(connection, ((row["destination"], row["due_at"]) for row in rows))
    return rows


def _as_item(row: Any) -> QueueItem:
    return QueueItem(
        id=row["id"],
        message=row["message_id"],
        state=QueueState(row["state"]),
        sender=row["sender"],
        recipient=row["recipient"],
        destination=row["destination"],
        attempts=row["attempts"],
        due_at=row["due_at"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        last_attempt_at=row["last_attempt_at"],
        last_host=row["last_host"],
        last_status=row["last_status"],
        last_reply=row["last_reply"],
        last_tls=row["last_tls"],
        original=row["original"],
        subject=row["subject"],
        size=row["size"],
        next_hop=ClosedNextHop(row["closed_until"], row["lane_host"], row["lane_reply"])
        if row["closed_until"]
        else None,
    )
