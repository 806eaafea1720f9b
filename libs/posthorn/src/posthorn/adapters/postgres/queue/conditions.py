"""The conditions of a search in the queue. Ages become bounds of ids (``administration``)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.tenant_scope import tenant_named
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.adapters.postgres.queue.claimed import CLAIMED_IDS, unclaimed
from posthorn.adapters.postgres.queue.summary import OPEN
from posthorn.model.outbound import QueueState
from posthorn.ports.queue_administration import QueueFilter
from posthorn.wire.foreign_address import canonical

_SLACK = timedelta(minutes=1)
"""Seconds by which the order of ids and times may differ: an earlier transaction may have
inserted later."""
UNCLAIMED = unclaimed("outbound_recipients")
WAITING = (QueueState.QUEUED, QueueState.DEFERRED)


async def conditions_of(
    connection: Connection, tenant: UUID | None, which: QueueFilter
) -> Conditions:
    """Make the conditions. The transaction plans for the values from then on: destinations
    differ too much for one plan."""
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    search = Conditions()
    if tenant is not None:
        search.add("tenant_id = {}", tenant)
    if which.tenant is not None:
        search.add("tenant_id = {}", await tenant_named(connection, tenant, which.tenant))
    if which.domain is not None:
        search.add("destination = {}", clean_text(which.domain).lower())
    if which.state is QueueState.SENDING:
        search.add(f"id = ANY ({CLAIMED_IDS})")
    elif which.state is not None:
        search.add(f"state = '{which.state.value}'")  # a literal: the plan depends on its frequency
        if which.state in WAITING:
            search.add(UNCLAIMED)
    if which.waits:
        search.add(OPEN)
    if which.sender is not None:
        search.add("lower(sender) = lower({})", clean_text(which.sender))
    if which.recipient is not None:
        search.add("address = {}", clean_text(canonical(which.recipient)))
    if which.message is not None:
        search.add("message_id = {}", which.message)
    if which.ids is not None:
        search.add("id = ANY ({}::bigint[])", list(which.ids))
    if which.older_than is None and which.younger_than is None:
        return search
    now: datetime = await connection.fetchval("SELECT now()")
    if which.older_than is not None:
        moment = _earlier(now, which.older_than)
        search.add("created_at <= {} AND id < {}", moment, await _edge(connection, moment, _SLACK))
    if which.younger_than is not None:
        moment = _earlier(now, which.younger_than)
        search.add(
            "created_at >= {} AND id >= {}", moment, await _edge(connection, moment, -_SLACK)
        )
    return search


def _earlier(now: datetime, seconds: float) -> datetime:
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError:
        return datetime(1, 1, 2, tzinfo=UTC) if seconds > 0 else now


async def _edge(connection: Connection, moment: datetime, slack: timedelta) -> int:
    """Return an id that parts the rows entered before the moment, moved by the slack, from those
    entered after it."""
    if moment.year > 1:
        moment += slack
    bounds: Any = await connection.fetchrow(
        "SELECT coalesce(min(id), 0), coalesce(max(id), 0) + 1 FROM outbound_recipients"
    )
    low, high = bounds
    while low < high:
        middle = (low + high) // 2
        row = await connection.fetchrow(
            "SELECT id, created_at FROM outbound_recipients WHERE id >= $1 ORDER BY id LIMIT 1",
            middle,
        )
        if row is None or row["created_at"] > moment:
            high = middle
        else:
            low = row["id"] + 1
    return int(low)
