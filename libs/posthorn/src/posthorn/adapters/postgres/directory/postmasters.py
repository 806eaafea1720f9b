"""Where mail for the postmasters of domains goes (``posthorn.runtime.postmasters``), as Postgres
knows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from posthorn.adapters.postgres.database import Connection

OLDEST_ACCOUNT = "(SELECT a.address FROM accounts a WHERE a.domain_id = {0}.id ORDER BY a.domain_id, a.id LIMIT 1)"
"""The oldest account of the domain named, by the index of accounts by domain and id."""

_POSTMASTERS = f"""
SELECT d.id, coalesce(
           (SELECT address FROM accounts WHERE address = 'postmaster@' || d.name),
           (SELECT address FROM aliases WHERE address = 'postmaster@' || d.name),
           d.catch_all,
           (SELECT named.address FROM unnest($2::text[]) WITH ORDINALITY AS named (address, place)
             WHERE EXISTS (SELECT FROM accounts WHERE accounts.address = named.address)
                OR EXISTS (SELECT FROM aliases WHERE aliases.address = named.address)
             ORDER BY named.place LIMIT 1),
           {OLDEST_ACCOUNT.format("d")}) AS postmaster
  FROM domains d WHERE d.id = ANY ($1::bigint[])
"""


async def postmasters_of(
    connection: Connection, domains: Collection[int], general: Sequence[str]
) -> dict[int, str | None]:
    """Return for each of the domains the address that takes the mail for its postmaster; None:
    there is none.

    ``general``: addresses that serve all domains without one, first to last.
    """
    rows = await connection.fetch(_POSTMASTERS, list(domains), list(general))
    return {row["id"]: row["postmaster"] for row in rows}


OLDEST_OF = """
WITH named AS (SELECT domain_id, min(id) AS id FROM accounts WHERE address = ANY ($1) GROUP BY domain_id)
SELECT '@' || d.name AS subject FROM named JOIN domains d ON d.id = named.domain_id AND d.catch_all IS NULL
 WHERE (SELECT o.id FROM accounts o WHERE o.domain_id = named.domain_id AND o.id < named.id
         ORDER BY o.domain_id, o.id LIMIT 1) IS NULL
"""
"""Subjects of the domains whose oldest account is one of these addresses. Of each domain only
the oldest one named is compared, so that an import of many costs no more than one look at the
domain."""
