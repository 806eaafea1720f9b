"""Lanes as the administrator meets them: which one a destination goes by, and opening one that is closed.

Lanes are locked before recipients, as ``tables`` says. A lane that is opened here keeps its count of failures, and so gets one
recipient as a try (``queue_claim``): a host that is still down is asked once, and left alone again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.queue.claim import LANE


def lane_of(name: str) -> str:
    """Return the SQL expression for the lane of the destination that the expression ``name`` gives; ``r`` is taken in it."""
    return f"""coalesce((
        SELECT {LANE} FROM routes r
         WHERE r.domain = coalesce((SELECT domain FROM routes WHERE domain = {name}), '*')
    ), {name})"""


_CLOSED = "SELECT key FROM outbound_lanes WHERE closed_until > now() ORDER BY key"
_DESTINATION = "SELECT destination FROM outbound_recipients WHERE id = $2 AND ($1::uuid IS NULL OR tenant_id = $1)"
_LANES = f"SELECT DISTINCT {lane_of('d.name')} AS key FROM unnest($1::text[]) AS d (name)"
_MEANT = f"""
SELECT DISTINCT lane.key
  FROM outbound_destinations d CROSS JOIN LATERAL (SELECT {lane_of("d.name")} AS key) AS lane
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
    """Open the lanes of destinations for one try."""
    rows: list[Any] = await connection.fetch(_LANES, list(destinations))
    await connection.execute(_OPEN, [row["key"] for row in rows])


async def open_of_item(connection: Connection, tenant: object, item: int) -> None:
    """Open the lane that a recipient of the queue goes by for one try."""
    destination = await connection.fetchval(_DESTINATION, tenant, item)
    if destination is not None:
        await open_for_one_try(connection, [destination])


async def open_where(connection: Connection, where: str, values: Sequence[Any]) -> None:
    """Open for one try all closed lanes that recipients wait for which meet the condition ``where``."""
    if await connection.fetch(_CLOSED):
        rows: list[Any] = await connection.fetch(_MEANT.format(where=where, limit=1), *values)
        await connection.execute(_OPEN, [row["key"] for row in rows])
