"""Suspended recipients: held while their tenant or account is suspended, and resumed afterwards.

Rules:

- Nothing of a suspended tenant, and nothing that a suspended account submitted, is sent. It is held
  until the end of the suspension, however long that is, and does not expire meanwhile; then it has
  as much time left as it had when it was held, and expires with a DSN as usual (ADR 20). An
  administrator may cancel it.

Theory:

- A claim skips such recipients, and holds those that are due at its destination: HELD, with the
  tenant's id or the account's address in ``suspended_for``. So each is examined by one claim once,
  and none delays another tenant's mail.
- ``resume`` steps from one suspended owner to the next by an index, and checks whether each is
  active: its cost follows the number of suspended owners. A deleted owner suspends nothing.
- Items held by an administrator have no ``suspended_for`` and are not resumed.
"""

from __future__ import annotations

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.claimed import unclaimed
from posthorn.adapters.postgres.queue.closing import make_due
from posthorn.ports.queue import SUSPENDED_REPLY

_AT_ONCE = 1000
_STATUS = "4.7.1"

SUSPENDED_FOR = """
coalesce((SELECT t.id::text FROM tenants t WHERE t.id = {0}.tenant_id AND t.state = 'suspended'),
         (SELECT a.address FROM accounts a
           WHERE a.address = (SELECT o.submitter FROM outbound_messages o WHERE o.message_id = {0}.message_id)
             AND a.state = 'suspended'))
"""
"""The owner whose suspension holds a row of outbound_recipients; null: none."""

_FIND_DUE = f"""
WITH due AS MATERIALIZED (
    SELECT r.id, r.message_id, r.tenant_id FROM outbound_recipients r
     WHERE r.destination = $1 AND r.state IN ('queued', 'deferred') AND r.due_at <= statement_timestamp()
       AND {unclaimed("r")}
     ORDER BY r.due_at, r.id LIMIT $2 FOR NO KEY UPDATE OF r SKIP LOCKED
)
SELECT * FROM (SELECT id, {SUSPENDED_FOR.format("due")} AS owner FROM due) AS d WHERE owner IS NOT NULL
"""
_PUT_ASIDE = f"""
UPDATE outbound_recipients r
   SET state = 'held', suspended_for = stopped.owner, suspended_at = now(),
       last_status = '{_STATUS}', last_reply = $3
  FROM unnest($1::bigint[], $2::text[]) AS stopped (id, owner)
 WHERE r.id = stopped.id AND r.id = ANY ($1::bigint[]) AND {unclaimed("r")}
"""

# from one owner to the next by the index, not over all that is held for them
_RESUMED = """
WITH RECURSIVE owners AS (
    (SELECT suspended_for AS owner FROM outbound_recipients
      WHERE suspended_for IS NOT NULL ORDER BY suspended_for, id LIMIT 1)
  UNION ALL
    SELECT (SELECT r.suspended_for FROM outbound_recipients r
             WHERE r.suspended_for > o.owner ORDER BY r.suspended_for, r.id LIMIT 1)
      FROM owners o WHERE o.owner IS NOT NULL
)
SELECT owner FROM owners o
 WHERE owner IS NOT NULL
   AND NOT EXISTS (SELECT FROM accounts a WHERE a.address = o.owner AND a.state = 'suspended')
   AND NOT EXISTS (SELECT FROM tenants t
                    WHERE t.id = CASE WHEN o.owner NOT LIKE '%@%' THEN o.owner::uuid END AND t.state = 'suspended')
"""
# a row that the previous release has released or cancelled keeps its state and only loses the mark
_RESUME = """
WITH marked AS MATERIALIZED (
    SELECT id FROM outbound_recipients WHERE suspended_for = $1
     ORDER BY suspended_for, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), held AS MATERIALIZED (
    SELECT r.id, now() - r.suspended_at AS paused FROM outbound_recipients r
     WHERE r.id = ANY (ARRAY (SELECT id FROM marked)) AND r.state = 'held'
), unmarked AS (
    UPDATE outbound_recipients r SET suspended_for = NULL
     WHERE r.id = ANY (ARRAY (SELECT id FROM marked)) AND r.state <> 'held'
)
UPDATE outbound_recipients r
   SET state = CASE WHEN r.attempts = 0 THEN 'queued' ELSE 'deferred' END, suspended_for = NULL,
       due_at = greatest(now(), r.not_before + held.paused), not_before = r.not_before + held.paused,
       overdue_at = r.overdue_at + held.paused, expires_at = r.expires_at + held.paused
  FROM held WHERE r.id = held.id AND r.id = ANY (ARRAY (SELECT id FROM held))
RETURNING r.destination, r.due_at
"""


async def put_aside(database: Database, destination: str) -> None:
    """Hold recipients of suspended owners that are due at the destination, as many as one
    statement should change."""
    async with database.transaction() as connection:
        stopped = await connection.fetch(_FIND_DUE, destination, _AT_ONCE)
        if stopped:
            ids, owners = ([row[name] for row in stopped] for name in ("id", "owner"))
            await connection.execute(_PUT_ASIDE, ids, owners, SUSPENDED_REPLY)


async def resume(database: Database, limit: int) -> int:
    """Resume at most so many recipients whose owners are active again; return how many."""
    async with database.session() as connection:
        owners = [row["owner"] for row in await connection.fetch(_RESUMED)]
    resumed = 0
    for owner in owners:
        if resumed >= limit:
            break
        async with database.transaction() as connection:
            rows = await connection.fetch(_RESUME, owner, limit - resumed)
            await make_due(connection, ((row["destination"], row["due_at"]) for row in rows))
        resumed += len(rows)
    return resumed
