"""Next hops as the administrator uses them: which one serves a destination, and opening a closed
one.

Next hops are locked before recipients, as ``tables`` says. One that is opened here keeps its count
of failures, and so gets one recipient as an attempt (``claim``): a host that is still down is asked
once and closed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.queue.claim import NEXT_HOP


def next_hop_of(name: str) -> str:
    """Return the SQL expression for the next hop of the destination that the expression ``name``
    gives; ``r`` is taken in it."""
    return f"""coalesce((
        SELECT {NEXT_HOP} FROM routes r
         WHERE r.domain = coalesce((SELECT domain FROM routes WHERE domain = {name}), '*')
    ), {name})"""


_CLOSED = "SELECT key FROM outbound_lanes WHERE closed_until > now() ORDER BY key"
_DESTINATION = "SELECT destination FROM outbound_recipients WHERE id = $2 AND ($1::uuid IS NULL OR tenant_id = $1)"
_NEXT_HOPS = f"SELECT DISTINCT {next_hop_of('d.name')} AS key FROM unnest($1::text[]) AS d (name)"
_CLOSED_OF_RECIPIENTS = f"""
SELECT DISTINCT lane.key
  FROM outbound_destinations d CROSS JOIN LATERAL (SELECT {next_hop_of("d.name")} AS key) AS lane
 WHERE lane.key IN (SELECT key FROM outbound_lanes WHERE closed_until > now())
   AND EXISTS (SELECT FROM outbound_recipients WHERE destination = d.name AND {{where}} LIMIT {{limit}})
"""
_OPEN = """
WITH held AS MATERIALIZED (
    SELECT key FROM outbound_lanes WHERE key = ANY ($1::text[]) AND closed_until > now() ORDER BY key FOR NO KEY UPDATE
)
UPDATE outbound_lanes l SET closed_until = '-infinity' FROM held WHERE l.key = held.key
"""


async def open_for_one_try(connection: Connection, destinations: Sequence[str]) -> None:
    """Open the next hops of destinations for one attempt."""
    rows: list[Any] = await connection.fetch(_NEXT_HOPS, list(destinations))
    await connection.execute(_OPEN, [row["key"] for row in rows])


async def open_of_item(connection: Connection, tenant: object, item: int) -> None:
    """Open the next hop of a recipient of the queue for one attempt."""
    destination = await connection.fetchval(_DESTINATION, tenant, item)
    if destination is not None:
        await open_for_one_try(connection, [destination])


async def open_where(connection: Connection, where: str, values: Sequence[Any]) -> None:
    """Open for one attempt all closed next hops of recipients that meet the condition ``where``."""
    if await connection.fetch(_CLOSED):
        rows: list[Any] = await connection.fetch(
            _CLOSED_OF_RECIPIENTS.format(where=where, limit=1), *values
        )
        await connection.execute(_OPEN, [row["key"] for row in rows])
