"""Resolution of recipients: the accounts and addresses that a local address leads to, resolved in
Postgres.

Theory:

- An alias leads to its targets. An address that is neither account nor alias leads to the address
  without its ``+tag``, if that exists, or else to the domain's catch-all. UNION follows each
  address once, so that loops end and meshes do not explode; the LIMIT ends the walk itself, since a
  recursive query produces no more rows than are read.
- Each recipient is walked separately, for ``WIDE_ADDRESSES`` addresses at most. One with more is
  *wide*: its walk is dropped, and it is expanded later in slices (``expansions``). So the cost of a
  batch is bounded, and no other tenant's alias can raise it.
- ``bare`` and ``base`` follow ``wire.address``: a quoted local part is unquoted, cut at the first
  plus and quoted again if need be.
- An account leads to its mailbox, and by the forward of its holder to addresses elsewhere.
- Accounts, aliases and domains are read by scalar subqueries, which stay index look-ups however
  large the tables are; OFFSET 0 keeps the planner from repeating an expression at each use. Which
  alias leads to an address elsewhere is determined afterwards: carried along, it would multiply the
  steps of a mesh.
- A domain that is not verified is not local: its addresses are elsewhere. Otherwise anyone who
  created another's domain here would get its mail from the other tenants.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.ports.mailboxes import Forward, Resolution

WIDE_ADDRESSES = 100
"""Number of addresses, itself not counted, beyond which a recipient is expanded in slices."""
MOST_ADDRESSES = 2_000
"""Most addresses that one recipient may lead to, aliases included. The API refuses an alias with
half as many (``alias_graph``); one written otherwise, or leading through another tenant's
aliases, is not expanded beyond."""
_MOST_TOGETHER = 10_000
"""Most addresses that the recipients of one statement may lead to; beyond, they are resolved in
slices that cannot exceed it."""
_SLICE = _MOST_TOGETHER // (WIDE_ADDRESSES + 2)

WALK = r"""
    walk (address, account) AS (
        SELECT START, (SELECT id FROM accounts a WHERE a.address = START)
      UNION
        SELECT next.address, (SELECT id FROM accounts a WHERE a.address = next.address)
          FROM walk
          CROSS JOIN LATERAL (
              SELECT targets FROM (VALUES (1)) AS one LEFT JOIN aliases ON aliases.address = walk.address
          ) AS alias
          CROSS JOIN LATERAL (
              SELECT unnest(alias.targets) AS address
            UNION ALL
              SELECT coalesce(plain.address, domains.catch_all)
                FROM domains
                LEFT JOIN LATERAL (
                    SELECT coalesce((SELECT address FROM accounts a WHERE a.address = base.address),
                                    (SELECT address FROM aliases WHERE aliases.address = base.address)) AS address
                      FROM (
                          SELECT CASE WHEN bare.local ~ '^[^ "(),.:;<>@[\]\\]+(\.[^ "(),.:;<>@[\]\\]+)*$' THEN bare.local
                                      ELSE '"' || regexp_replace(bare.local, '(["\\])', '\\\1', 'g') || '"' END
                                 || '@' || domains.name AS address
                            FROM (
                                SELECT split_part(CASE WHEN quoted.local LIKE '"%'
                                                       THEN regexp_replace(left(substr(quoted.local, 2), -1), '\\(.)', '\1', 'g')
                                                       ELSE quoted.local END, '+', 1) AS local
                                  FROM (SELECT left(walk.address, -1 - length(domains.name)) AS local OFFSET 0) AS quoted
                                OFFSET 0
                            ) AS bare
                           WHERE bare.local <> ''
                          OFFSET 0
                      ) AS base
                ) AS plain ON domains.plus_addressing AND strpos(walk.address, '+') > 0
               WHERE alias.targets IS NULL AND domains.name = split_part(walk.address, '@', -1)
          ) AS next
         WHERE walk.account IS NULL AND next.address IS NOT NULL
           AND (SELECT verified_at FROM domains d WHERE d.name = split_part(walk.address, '@', -1)) IS NOT NULL
    )
"""
"""Steps from the address START, for WITH RECURSIVE."""
IS_FORWARDING = """
    (SELECT account_forwards FROM domains d WHERE d.id = domain_id) > 0
    AND (SELECT state FROM accounts a WHERE a.id = led.account) <> 'suspended'
"""
"""Condition for the forward of an account, a row of ``aliases``: it is permitted, and the account takes
mail."""
FORWARDS = """
    SELECT DISTINCT ON ({recipient}via.target)
           {recipient}via.target, via.address AS alias, (SELECT tenant_id FROM domains d WHERE d.id = via.domain_id) AS tenant,
           kept.withheld
      FROM led
      CROSS JOIN LATERAL (
          SELECT aliases.id, aliases.address, domain_id, unnest(targets) AS target
            FROM aliases
           WHERE aliases.address = led.address AND (keeps_copy IS NULL) = (led.account IS NULL)
             AND (keeps_copy IS NULL OR {is_forwarding}) OFFSET 0
      ) AS via
      CROSS JOIN LATERAL (
          SELECT CASE WHEN EXISTS (SELECT FROM alias_targets t
                                    WHERE t.alias_id = via.id AND t.target = via.target AND t.confirmed_at IS NULL)
                      THEN 'unconfirmed'
                      WHEN EXISTS (SELECT FROM suppressions s
                                    WHERE s.tenant_id = (SELECT tenant_id FROM domains d WHERE d.id = via.domain_id)
                                      AND s.address = via.target)
                      THEN 'suppressed' END AS withheld OFFSET 0
      ) AS kept
     WHERE via.target LIKE '_%@_%'
       AND (SELECT verified_at FROM domains d WHERE d.id = via.domain_id) IS NOT NULL
       AND (SELECT verified_at FROM domains d WHERE d.name = split_part(via.target, '@', -1)) IS NULL
     ORDER BY {recipient}via.target, kept.withheld IS NOT NULL, led.place
"""
"""Addresses elsewhere that the aliases in ``led`` lead to, each with the first alias that may
forward to it. An account leads elsewhere by the forward that its holder has set."""
OURS = f"""
    account IS NOT NULL AND (SELECT verified_at FROM domains d WHERE d.name = split_part(led.address, '@', -1)) IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM aliases
          CROSS JOIN LATERAL (SELECT tenant_id FROM domains d WHERE d.id = domain_id) AS owner
          CROSS JOIN LATERAL unnest(targets) AS way (target)
         WHERE aliases.address = led.address AND NOT keeps_copy AND {IS_FORWARDING}
           AND (SELECT verified_at FROM domains d WHERE d.name = split_part(way.target, '@', -1)) IS NULL
           AND NOT EXISTS (SELECT FROM alias_targets t
                            WHERE t.alias_id = aliases.id AND t.target = way.target AND t.confirmed_at IS NULL)
           AND NOT EXISTS (SELECT FROM suppressions s WHERE s.tenant_id = owner.tenant_id AND s.address = way.target)
    )
"""
"""Condition for those of ``led`` that are accounts accepting mail: not one that is forwarded without a
copy, as long as somebody gets it."""

# $1 recipients, $2 message ids, $3 addresses of one recipient, $4 addresses together
_RESOLVE = f"""
WITH walked AS MATERIALIZED (
    SELECT asked.address AS recipient, way.address, way.account, way.place
      FROM unnest($1::text[]) AS asked (address)
      CROSS JOIN LATERAL (
          WITH RECURSIVE {WALK.replace("START", "asked.address")}
          SELECT address, account, row_number() OVER () AS place FROM (SELECT * FROM walk LIMIT $3) AS first_ones
      ) AS way
     LIMIT $4
), wide AS MATERIALIZED (
    SELECT recipient FROM walked GROUP BY recipient HAVING count(*) >= $3
), led AS MATERIALIZED (
    SELECT * FROM walked WHERE recipient NOT IN (SELECT recipient FROM wide) AND (SELECT count(*) FROM walked) < $4
)
SELECT DISTINCT 'account' AS kind, recipient, account, NULL::uuid AS id, NULL::text AS forward, NULL::text AS alias,
       NULL::text AS withheld
  FROM led WHERE {OURS}
UNION ALL
SELECT 'wide', recipient, NULL, NULL, NULL, NULL, NULL FROM wide
UNION ALL
SELECT 'more', NULL, NULL, NULL, NULL, NULL, NULL WHERE (SELECT count(*) FROM walked) >= $4
UNION ALL
SELECT 'placed', NULL, NULL, id, NULL, NULL, NULL FROM messages WHERE id = ANY ($2::uuid[])
UNION ALL
SELECT 'elsewhere', address, NULL, NULL, NULL, NULL, NULL
  FROM unnest($1::text[]) AS asked (address)
 WHERE address LIKE '_%@_%'
   AND (SELECT verified_at FROM domains d WHERE d.name = split_part(asked.address, '@', -1)) IS NULL
UNION ALL
SELECT 'forward', recipient, NULL, tenant, target, alias, withheld
  FROM ({FORWARDS.format(recipient="led.recipient, ", is_forwarding=IS_FORWARDING)}) AS forwards
"""


async def resolve(
    connection: Connection, recipients: Collection[str], messages: Collection[UUID]
) -> Resolution:
    """Resolve recipients, and return which messages are delivered already: see
    ``ports.mailboxes``."""
    asked = [
        recipient for recipient in dict.fromkeys(recipients) if clean_text(recipient) == recipient
    ]
    accounts: defaultdict[str, list[int]] = defaultdict(list)
    forwards: defaultdict[str, list[Forward]] = defaultdict(list)
    placed, elsewhere, wide = [], [], []
    for kind, recipient, account, number, forward, alias, withheld in await _rows(
        connection, asked, list(messages)
    ):
        match kind:
            case "account":
                accounts[recipient].append(account)
            case "forward":
                forwards[recipient].append(Forward(forward, alias, number, withheld or ""))
            case "elsewhere":
                elsewhere.append(recipient)
            case "wide":
                wide.append(recipient)
            case _:
                placed.append(number)
    return Resolution(
        {recipient: tuple(sorted(ids)) for recipient, ids in accounts.items()},
        frozenset(placed),
        {
            recipient: tuple(sorted(found, key=lambda each: each.address))
            for recipient, found in forwards.items()
        },
        frozenset(elsewhere),
        frozenset(wide),
    )


async def _rows(
    connection: Connection, asked: Sequence[str], messages: Sequence[UUID]
) -> list[Any]:
    most = WIDE_ADDRESSES + 2
    together = _MOST_TOGETHER + 4 * len(asked) if len(asked) > _SLICE else most * _SLICE + 1
    rows: list[Any] = await connection.fetch(_RESOLVE, list(asked), list(messages), most, together)
    if all(row["kind"] != "more" for row in rows):
        return rows
    rows = [row for row in rows if row["kind"] == "placed"]
    for start in range(0, len(asked), _SLICE):
        rows += await connection.fetch(
            _RESOLVE, list(asked[start : start + _SLICE]), [], most, most * _SLICE + 1
        )
    return rows
