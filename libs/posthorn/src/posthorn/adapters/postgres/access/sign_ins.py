"""The port SignIns on Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.tenant_scope import Scoped, one
from posthorn.adapters.postgres.database import Database
from posthorn.ports.sign_ins import (
    ACCEPTED,
    DAYS,
    MAX_ACCEPTED,
    MAX_REFUSED,
    Attempts,
    SignIn,
    SignInDay,
)

_TRIES = 3
# in the order of the key, so that writers of the same rows do not lock each other out
_RECORD = """
INSERT INTO sign_ins AS s
       (account_id, day, protocol, address, app_password, result, app_password_name, attempts, first_at, last_at)
SELECT seen.account, (to_timestamp(seen.first) AT TIME ZONE 'UTC')::date, seen.protocol, seen.address,
       coalesce(p.id::text, ''), seen.result, max(p.name), sum(seen.attempts),
       to_timestamp(min(seen.first)), to_timestamp(max(seen.last))
  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::float8[], $8::float8[])
           AS seen (account, protocol, address, app_password, result, attempts, first, last)
  JOIN accounts a ON a.id = seen.account
  LEFT JOIN app_passwords p ON p.key_hash = seen.app_password AND p.account_id = seen.account
 GROUP BY 1, 2, 3, 4, 5, 6
 ORDER BY 1, 2, 3, 4, 5, 6
ON CONFLICT (account_id, day, protocol, address, app_password, result) DO UPDATE
   SET attempts = s.attempts + excluded.attempts, first_at = least(s.first_at, excluded.first_at),
       last_at = greatest(s.last_at, excluded.last_at)
"""
_FORGET = f"""
DELETE FROM sign_ins s USING (
    SELECT account_id, day, protocol, address, app_password, result,
           row_number() OVER (PARTITION BY account_id, result = '{ACCEPTED}' ORDER BY last_at DESC) AS number
      FROM sign_ins WHERE account_id = ANY ($1::bigint[])
) AS ranked
 WHERE (s.account_id, s.day, s.protocol, s.address, s.app_password, s.result)
     = (ranked.account_id, ranked.day, ranked.protocol, ranked.address, ranked.app_password, ranked.result)
   AND (s.last_at < now() - interval '{DAYS} days'
        OR ranked.number > CASE WHEN s.result = '{ACCEPTED}' THEN {MAX_ACCEPTED} ELSE {MAX_REFUSED} END)
"""
_ACCOUNT = Scoped(
    "SELECT a.id FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE {visible} AND a.address = $2"
)
_ITEMS = f"""
SELECT protocol, address, nullif(app_password, '')::uuid AS app_password, app_password_name, result, attempts,
       first_at, last_at
  FROM sign_ins WHERE account_id = $1 AND last_at > now() - interval '{DAYS} days'
 ORDER BY last_at DESC, protocol, address, app_password, result
"""


class PostgresSignIns:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, seen: Sequence[tuple[SignIn, Attempts]]) -> None:
        """Add sign-ins up."""
        accounts = [each.account for each, _ in seen]
        values = (
            accounts,
            [each.protocol for each, _ in seen],
            [each.address for each, _ in seen],
            [each.app_password for each, _ in seen],
            [each.result for each, _ in seen],
            [attempts.count for _, attempts in seen],
            [attempts.first for _, attempts in seen],
            [attempts.last for _, attempts in seen],
        )
        for _ in range(_TRIES):
            try:
                # whole or not at all, since what is not recorded comes again
                async with self._database.transaction() as connection:
                    await connection.execute(_RECORD, *values)
                    await connection.execute(_FORGET, sorted(set(accounts)))
                return
            except asyncpg.ForeignKeyViolationError:
                continue  # an account was deleted between the look-up and the insertion

    async def items(self, tenant: UUID | None, address: str) -> Sequence[SignInDay]:
        """List those of an account."""
        async with self._database.session() as connection:
            account = await one(connection, tenant, _ACCOUNT, address)
            rows = await connection.fetch(_ITEMS, account["id"])
        return [SignInDay(*row) for row in rows]
