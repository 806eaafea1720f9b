"""A long queue, made fast."""

from __future__ import annotations

from typing import Any

_FILL = (
    "SET session_replication_role = replica",
    "INSERT INTO segments (id, key, octets, live_octets) VALUES ('{uuid}', 'segments/long', 1000000000, 0)",
    """
    INSERT INTO messages (id, segment_id, offset_octets, stored_octets, encoding, size_crlf, has_dot_lines, sha256,
                          return_path_octets, refs, received_at, reverse_path, subject, from_, date, message_id)
    SELECT md5(n::text)::uuid, '{uuid}', n * 1000, 1000, 'identity', 1000, false, '', 0, 1, now(), '', 'Hello', '', '', ''
      FROM generate_series(1, {rows}) AS n
    """,
    """
    INSERT INTO outbound_messages (message_id, tenant_id, submitter, smtputf8, ret, envid, signature, open)
    SELECT md5(n::text)::uuid, '00000000-0000-7000-8000-000000000001', '', false, '', '', '', 1
      FROM generate_series(1, {rows}) AS n
    """,
    # every second at the one big destination, every hundredth of all due, the others not for hours;
    # one a second entered
    """
    INSERT INTO outbound_recipients (message_id, tenant_id, destination, recipient, address, sender, reverse_path, original, orcpt,
                                     notify, state, attempts, due_at, overdue_at, expires_at, created_at)
    SELECT md5(n::text)::uuid, '00000000-0000-7000-8000-000000000001', at.name, 'r' || n || '@' || at.name,
           'r' || n || '@' || at.name, 's' || n % 5000 || '@example.test', 's@example.test', '', '', 0, 'deferred', 1,
           now() + CASE WHEN n % 100 < 2 THEN interval '-1 minute' ELSE interval '5 hours' END,
           now() + interval '1 day', now() + interval '5 days', now() - make_interval(secs => {rows} - n)
      FROM generate_series(1, {rows}) AS n
      CROSS JOIN LATERAL (SELECT CASE WHEN n % 2 = 0 THEN 'big.test' ELSE 'd' || n % {destinations} || '.test' END AS name) AS at
    """,
    "INSERT INTO outbound_destinations SELECT destination, min(due_at) FROM outbound_recipients GROUP BY destination",
    "INSERT INTO outbound_destinations VALUES ('later.test', now() - interval '1 minute')",
    """
    UPDATE outbound_recipients SET due_at = now() - interval '1 minute' WHERE destination IN ('d7.test', 'd1.test')
    """,
    "UPDATE outbound_destinations SET due_at = now() - interval '2 minutes'",
    "SET session_replication_role = origin",
    "VACUUM ANALYZE",
)


async def fill(connection: Any, rows: int, destinations: int) -> None:
    """Enter so many recipients, one a message."""
    names = {
        "uuid": "00000000-0000-7000-8000-0000000000ff",
        "rows": rows,
        "destinations": destinations,
    }
    for statement in _FILL:
        await connection.execute(statement.format(**names))
