"""Sessions that must end, and familiar networks, on Postgres: shared by all services that check
passwords.

One statement covers all sessions of a process; it returns nothing for those that may continue.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.password_rehashes import UNCHANGED
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.ports.access import (
    MAX_NETWORKS,
    NETWORK_DAYS,
    Ending,
    FamiliarNetwork,
    LoginCheck,
    LoginFindings,
    Proof,
)
from posthorn.wire.proxy import plain_address

WHERE_APP_PASSWORD = "p.key_hash = {key} AND p.account_id = {account} AND {scope} = ANY (p.scopes) AND (p.expires_at IS NULL OR p.expires_at > now())"  # noqa: S105, E501 - no password
"""For every statement that asks whether a row ``p`` of app passwords lets somebody in."""
FROM_CLIENT = (
    "(p.networks IS NULL OR p.networks = '{{}}' OR {client}::text::inet <<= ANY (p.networks))"
)
"""For those that ask at a login: whether it may be used from the client, as ``plain_client`` gives
it; a session stays where it is."""

# a null holder needs no lease
_ENDED = f"""
SELECT asked.number,
       CASE WHEN a.id IS NULL OR a.state = 'suspended' OR t.state = 'suspended' THEN 'closed'
            WHEN asked.password <> '' AND NOT {UNCHANGED.format(account="a", proof="asked.password")} THEN 'changed'
            WHEN asked.key <> '' AND NOT EXISTS (
                SELECT FROM app_passwords p
                 WHERE {WHERE_APP_PASSWORD.format(key="asked.key", account="asked.account", scope="asked.scope")}
            ) THEN 'changed'
            WHEN asked.holder IS NOT NULL AND l.holder IS NULL THEN 'taken'
       END AS ending
  FROM unnest($1::integer[], $2::bigint[], $3::bytea[], $4::bytea[], $5::text[], $6::uuid[])
           AS asked (number, account, password, key, scope, holder)
  LEFT JOIN accounts a ON a.id = asked.account
  LEFT JOIN domains d ON d.id = a.domain_id
  LEFT JOIN tenants t ON t.id = d.tenant_id
  LEFT JOIN maildrop_leases l ON l.account_id = asked.account AND l.holder = asked.holder
"""
_FIND_ENDED = f"SELECT number, ending FROM ({_ENDED}) AS judged WHERE ending IS NOT NULL"

NETWORK_AGE = f"""(
    SELECT extract(epoch FROM now() - f.seen_at)::float8 FROM familiar_places f
     WHERE f.account_id = a.id AND f.place = $2 AND f.seen_at > now() - interval '{NETWORK_DAYS} days'
)"""
"""For a statement on accounts ``a``: the seconds since the account last logged in from the network
$2; null: not familiar."""

_USED_AGE = "coalesce(extract(epoch FROM now() - p.last_used_at)::float8, 'infinity')"
_FROM_HERE = FROM_CLIENT.format(client="$6")
_SHOWN = WHERE_APP_PASSWORD.format(key="$4", account="a.id", scope="$5")
FINDINGS = f"""
    (SELECT {_USED_AGE} FROM app_passwords p WHERE {_SHOWN} AND {_FROM_HERE}) AS app_password_age,
    (SELECT jsonb_object_agg(t.key, extract(epoch FROM t.full_at - clock_timestamp())::float8)
       FROM throttles t WHERE t.key = ANY ($3::text[])) AS counters
"""
"""For the same statement: the answers to ``check_parameters``, which ``findings_of`` reads."""

_REMEMBER = """
INSERT INTO familiar_places AS f (account_id, place, seen_at)
SELECT a.id, asked.network, now()
  FROM unnest($1::bigint[], $2::bytea[]) AS asked (account, network) JOIN accounts a ON a.id = asked.account
 ORDER BY a.id, asked.network
ON CONFLICT (account_id, place) DO UPDATE SET seen_at = now()
"""
_FORGET = f"""
DELETE FROM familiar_places f
 USING (
     SELECT account_id, place, seen_at, row_number() OVER (PARTITION BY account_id ORDER BY seen_at DESC, place) AS number
       FROM familiar_places WHERE account_id = ANY ($1::bigint[])
 ) AS ranked
 WHERE f.account_id = ranked.account_id AND f.place = ranked.place
   AND (ranked.number > $2 OR ranked.seen_at < now() - interval '{NETWORK_DAYS} days')
"""


def plain_client(client: str) -> str | None:
    """Return an IP address in canonical form; None for anything else."""
    try:
        return str(plain_address(ipaddress.ip_address(client.partition("%")[0])))
    except ValueError:
        return None


def check_parameters(check: LoginCheck | None) -> tuple[list[str], bytes, str, str | None]:
    """Return the parameters $3 to $6 of ``FINDINGS``."""
    if check is None:
        return [], b"", "", None
    counters = [clean_text(key) for key in check.counters]
    return counters, check.app_password, check.scope, plain_client(check.client)


def findings_of(row: asyncpg.Record, check: LoginCheck | None) -> LoginFindings | None:
    """Return the answers to a check."""
    if check is None:
        return None
    found = row["counters"]
    counters = {key: found.get(clean_text(key), 0.0) for key in check.counters} if found else {}
    return LoginFindings(counters, row["app_password_age"])


async def find_ended(
    connection: Connection, asked: Sequence[tuple[Proof, UUID | None]]
) -> dict[tuple[Proof, UUID | None], Ending]:
    """Return those of the proofs, each with the lease that its session holds, whose sessions
    must end, and why."""
    proofs = [proof for proof, _ in asked]
    rows = await connection.fetch(
        _FIND_ENDED,
        list(range(len(asked))),
        [proof.account for proof in proofs],
        [proof.password for proof in proofs],
        [proof.app_password for proof in proofs],
        [proof.scope for proof in proofs],
        [holder for _, holder in asked],
    )
    return {asked[row["number"]]: Ending(row["ending"]) for row in rows}


async def remember_networks(database: Database, networks: Collection[FamiliarNetwork]) -> None:
    """Record networks, and delete those beyond the number kept per account. Raises Unavailable."""
    unique = sorted(set(networks), key=lambda each: (each.account, each.network))
    accounts = [each.account for each in unique]
    async with database.session() as connection:
        try:
            await connection.execute(_REMEMBER, accounts, [each.network for each in unique])
        except asyncpg.ForeignKeyViolationError:
            return  # an account was deleted meanwhile; the others are recorded at their next login
        await connection.execute(_FORGET, sorted(set(accounts)), MAX_NETWORKS)
