"""Senders on Postgres: an account's credentials at login, its app passwords, and the addresses
that it may send as."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from posthorn.adapters.postgres.access.content_access import (
    FROM_CLIENT,
    NETWORK_AGE,
    WHERE_APP_PASSWORD,
    find_ended,
    plain_client,
    remember_networks,
)
from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.ports.access import Ending, FamiliarNetwork, Proof
from posthorn.ports.accounts import AccountState
from posthorn.ports.sending import USE_NOTED_SECONDS, Credentials, Limits
from posthorn.wire.address import Address

_MOST_STEPS = 10
"""Most aliases followed, as many as delivery follows; the API permits fewer in a chain."""

_CREDENTIALS = f"""
SELECT a.id, a.address, d.name, d.tenant_id, a.password_hash, a.rehashed,
       CASE WHEN t.state = 'suspended' THEN t.state
            WHEN d.verified_at IS NULL AND a.state = 'active' THEN 'receive-only'
            ELSE a.state END AS state,
       coalesce(nullif(a.allowed_networks, '{{}}'), d.allowed_networks, '{{}}')::text[] AS networks,
       a.max_messages_per_hour, a.max_recipients_per_hour,
       d.max_messages_per_hour AS domain_messages, d.max_recipients_per_hour AS domain_recipients,
       t.max_messages_per_hour AS tenant_messages, t.max_recipients_per_hour AS tenant_recipients,
       {NETWORK_AGE} AS network_age
  FROM accounts a JOIN domains d ON d.id = a.domain_id JOIN tenants t ON t.id = d.tenant_id
 WHERE a.address = $1
"""

_KNOWN_KEY = f"""
WITH found AS (
    SELECT id, last_used_at FROM app_passwords p
     WHERE {WHERE_APP_PASSWORD.format(key="$2", account="$1", scope="$3")} AND {FROM_CLIENT.format(client="$4")}
), noted AS (
    UPDATE app_passwords p SET last_used_at = now(), last_used_protocol = $3,
           last_used_address = coalesce($4::text, p.last_used_address)
      FROM found
     WHERE p.id = found.id AND (found.last_used_at IS NULL OR found.last_used_at < now() - interval '{USE_NOTED_SECONDS} seconds')
)
SELECT EXISTS (SELECT FROM found)
"""

# As delivery resolves: the full address comes before the same without its tag. A catch-all does not
# make its target the owner of an address: it receives mail for addresses that do not exist. An
# alias may lead elsewhere, to a domain that another tenant has created since: that does not make
# its accounts owners of this tenant's addresses.
_OWNS = """
WITH RECURSIVE walk (address, steps) AS (
    SELECT CASE
               WHEN EXISTS (SELECT FROM accounts WHERE address = $2) OR EXISTS (SELECT FROM aliases WHERE address = $2) THEN $2
               WHEN EXISTS (SELECT FROM domains WHERE name = $4 AND plus_addressing) THEN $3
           END,
           0
  UNION
    SELECT unnest(aliases.targets), walk.steps + 1
      FROM walk
      JOIN aliases ON aliases.address = walk.address
      JOIN domains via ON via.id = aliases.domain_id
      JOIN domains named ON named.name = $4 AND named.tenant_id = via.tenant_id
     WHERE walk.steps < $5
)
SELECT EXISTS (
    SELECT FROM accounts a
      JOIN domains home ON home.id = a.domain_id
      JOIN domains named ON named.tenant_id = home.tenant_id AND named.name = $4 AND named.verified_at IS NOT NULL
     WHERE a.id = $1 AND a.address IN (SELECT address FROM walk)
)
"""


class PostgresSenders:
    """The port Senders over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def credentials(self, address: str, network: bytes = b"") -> Credentials | None:
        """Return an account's credentials, and whether the network is familiar to it."""
        if clean_text(address) != address:
            return None
        async with self._database.session() as connection:
            row = await connection.fetchrow(_CREDENTIALS, address, network)
        if row is None:
            return None
        return Credentials(
            account=row["id"],
            address=row["address"],
            domain=row["name"],
            tenant=row["tenant_id"],
            password_hash=row["password_hash"],
            rehashed=row["rehashed"],
            state=AccountState(row["state"]),
            networks=tuple(row["networks"]),
            account_limits=Limits(row["max_messages_per_hour"], row["max_recipients_per_hour"]),
            domain_limits=Limits(row["domain_messages"], row["domain_recipients"]),
            tenant_limits=Limits(row["tenant_messages"], row["tenant_recipients"]),
            network_age=row["network_age"],
        )

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        """Record the networks that accounts were logged in to from."""
        await remember_networks(self._database, networks)

    async def ended(self, proofs: Collection[Proof]) -> dict[Proof, Ending]:
        """Return those of the proofs whose sessions must end."""
        asked: list[tuple[Proof, UUID | None]] = [(proof, None) for proof in set(proofs)]
        if not asked:
            return {}
        async with self._database.session() as connection:
            return {
                proof: ending
                for (proof, _), ending in (await find_ended(connection, asked)).items()
            }

    async def app_password(
        self, account: int, key_hash: bytes, scope: str, client: str = ""
    ) -> bool:
        """Return whether the account has this app password; record its use, at most once a
        minute."""
        async with self._database.session() as connection:
            return bool(
                await connection.fetchval(
                    _KNOWN_KEY, account, key_hash, scope, plain_client(client)
                )
            )

    async def owns(self, account: int, address: Address) -> bool:
        """Return whether the account may send as this address."""
        name, base = str(address), None if address.base is None else str(address.base)
        if clean_text(name) != name:
            return False
        async with self._database.session() as connection:
            return bool(
                await connection.fetchval(_OWNS, account, name, base, address.domain, _MOST_STEPS)
            )
