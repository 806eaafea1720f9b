"""Statements of the release before schema 0018, literally: they claim in the recipients' rows."""

from __future__ import annotations

ALIVE = """
INSERT INTO relays (id, alive_until) VALUES ($1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until WHERE relays.buried_at IS NULL
RETURNING true
"""
"""Makes a relay, or keeps it alive."""

TAKE_AND_SLOT = """
WITH lane AS MATERIALIZED (
    SELECT coalesce(max(failures), 0) AS failures, coalesce(max(closed_until), '-infinity') > statement_timestamp() AS closed,
           greatest(extract(epoch FROM nullif(max(full_at), '-infinity') - statement_timestamp())::float8, 0) AS ahead,
           60.0::float8 / $7::integer AS unit
      FROM outbound_lanes WHERE key = $4
), room AS MATERIALIZED (
    SELECT NOT lane.closed AND
    EXISTS (SELECT FROM relays WHERE id = $1 AND buried_at IS NULL)
    AND (SELECT count(*) FROM outbound_slots s JOIN relays a ON a.id = s.relay
          WHERE s.lane = $4 AND a.buried_at IS NULL AND a.alive_until > statement_timestamp())
        < CASE WHEN lane.failures > 0 THEN 1 ELSE $6::integer END
 AS ok, CASE WHEN lane.failures > 0 THEN 1 ELSE $3::integer END AS most,
           floor(greatest(10 / lane.unit, 1) - coalesce(lane.ahead, 0) / lane.unit + 0.001) AS spare,
           coalesce(lane.ahead, 0) + lane.unit - greatest(10, lane.unit) AS wait
      FROM lane
), oldest AS MATERIALIZED (
    SELECT id, message_id, tenant_id, reverse_path, header, due_at FROM outbound_recipients
     WHERE destination = $2 AND state IN ('queued', 'deferred') AND due_at <= statement_timestamp()
       AND (SELECT ok AND coalesce(spare, 1) >= 1 FROM room)
     ORDER BY due_at, id LIMIT (SELECT most FROM room) FOR NO KEY UPDATE SKIP LOCKED
), near AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, message_id FROM outbound_recipients
         WHERE destination = $2 AND state IN ('queued', 'deferred') AND due_at <= statement_timestamp()
           AND (SELECT failures FROM lane) = 0
           AND (SELECT count(*) >= (SELECT most FROM room) AND count(*) < $8::integer FROM oldest)
         ORDER BY due_at, id LIMIT (SELECT most FROM room) + $8::integer
    ) AS following
     WHERE message_id = ANY (ARRAY (SELECT message_id FROM oldest)) AND id <> ALL (ARRAY (SELECT id FROM oldest))
), others AS MATERIALIZED (
    SELECT r.id, r.message_id, r.tenant_id, r.reverse_path, r.header, r.due_at FROM outbound_recipients r
     WHERE r.id = ANY (ARRAY (SELECT id FROM near))
       AND CASE r.state WHEN 'queued' THEN true WHEN 'deferred' THEN true ELSE false END
     ORDER BY r.id LIMIT (SELECT greatest($8::integer - count(*), 0) FROM oldest) FOR NO KEY UPDATE OF r SKIP LOCKED
), picked AS MATERIALIZED (
    SELECT * FROM oldest UNION ALL SELECT * FROM others
), judged AS MATERIALIZED (
    SELECT picked.*,
coalesce((SELECT t.id::text FROM tenants t WHERE t.id = picked.tenant_id AND t.state = 'suspended'),
         (SELECT a.address FROM accounts a
           WHERE a.address = (SELECT o.submitter FROM outbound_messages o WHERE o.message_id = picked.message_id)
             AND a.state = 'suspended'))
 IS NOT NULL AS stopped FROM picked
), numbered AS (
    SELECT id, message_id, reverse_path,
           min(place) OVER (PARTITION BY message_id, reverse_path, header) AS first
      FROM (SELECT *, row_number() OVER (ORDER BY due_at, id) AS place FROM judged WHERE NOT stopped) AS p
), chosen AS MATERIALIZED (
    SELECT id, first, rank FROM (SELECT *, dense_rank() OVER (ORDER BY first) AS rank FROM numbered) AS n
     WHERE rank <= (SELECT coalesce(spare, rank) FROM room)
), taken AS (
    UPDATE outbound_recipients r SET state = 'sending', holder = $1 FROM chosen
     WHERE r.id = chosen.id AND r.id = ANY (ARRAY (SELECT id FROM chosen))
    RETURNING r.*, chosen.first
), charged AS (
    UPDATE outbound_lanes l
       SET full_at = greatest(l.full_at, statement_timestamp())
                     + make_interval(secs => (SELECT unit FROM lane) * (SELECT max(rank) FROM chosen))
     WHERE l.key = $4 AND $7::integer IS NOT NULL AND EXISTS (SELECT FROM chosen)
), turned AS (
    UPDATE outbound_destinations SET due_at = statement_timestamp()
     WHERE name = (SELECT name FROM outbound_destinations
                    WHERE name = $2 AND due_at < statement_timestamp() - interval '1 second' FOR NO KEY UPDATE SKIP LOCKED)
)
, slot AS (
    INSERT INTO outbound_slots (id, lane, relay) SELECT $5::uuid, $4, $1::uuid WHERE EXISTS (SELECT FROM chosen)
)

SELECT room.ok, CASE WHEN room.spare < 1 THEN room.wait ELSE 0 END AS wait,
       (SELECT bool_or(stopped) FROM judged) AS stopped, job.*
  FROM room LEFT JOIN (
      SELECT
taken.id, taken.message_id, taken.recipient, taken.reverse_path, taken.sender, taken.original, taken.orcpt,
taken.notify, taken.attempts, taken.created_at, taken.expires_at, taken.tenant_id, taken.header,
o.smtputf8, o.ret, o.envid, o.signature,
m.offset_octets, m.stored_octets, m.encoding, m.size_crlf, m.has_dot_lines, m.return_path_octets,
coalesce((SELECT s.key FROM segments s WHERE s.id = m.segment_id), '') AS key,
(SELECT true FROM suppressions p WHERE p.tenant_id = taken.tenant_id AND p.address = taken.address LIMIT 1) AS suppressed
, taken.first FROM taken
CROSS JOIN LATERAL (SELECT * FROM outbound_messages WHERE message_id = taken.message_id LIMIT 1) AS o
CROSS JOIN LATERAL (SELECT * FROM messages WHERE id = taken.message_id LIMIT 1) AS m

  ) AS job ON true
 ORDER BY job.first, job.id
"""
"""Claims; the parameters as in ``posthorn.adapters.postgres.queue.claim``."""

RECORD = """
WITH held AS MATERIALIZED (
    SELECT id, message_id, destination, attempts FROM outbound_recipients
     WHERE id = ANY ($2::bigint[]) AND holder = $1 AND state = 'sending' ORDER BY id FOR NO KEY UPDATE
), outcome AS MATERIALIZED (
    SELECT o.*,
           max(o.retry_in) OVER (PARTITION BY held.message_id, held.destination, held.attempts, o.state, o.status, o.reply) AS pause
      FROM unnest($2::bigint[], $3::text[], $4::float8[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
           AS o (id, state, retry_in, host, status, reply, tls, notice) JOIN held ON held.id = o.id
)
UPDATE outbound_recipients r
   SET holder = NULL,
       state = CASE WHEN o.state = 'queued' AND r.attempts > 0 THEN 'deferred' ELSE o.state END,
       due_at = CASE WHEN o.state = 'deferred' OR o.pause > 0 THEN now() + make_interval(secs => o.pause) ELSE r.due_at END,
       attempts = r.attempts + CASE WHEN o.state = 'queued' THEN 0 ELSE 1 END,
       last_attempt_at = CASE WHEN o.state = 'queued' THEN r.last_attempt_at ELSE now() END,
       last_host = CASE WHEN o.state = 'queued' THEN r.last_host ELSE o.host END,
       last_status = CASE WHEN o.state = 'queued' AND o.reply = '' THEN r.last_status ELSE o.status END,
       last_reply = CASE WHEN o.state = 'queued' AND o.reply = '' THEN r.last_reply ELSE o.reply END,
       last_tls = CASE WHEN o.state = 'queued' THEN r.last_tls ELSE o.tls END,
       notice = CASE WHEN o.state IN ('queued', 'deferred') THEN coalesce(o.notice, r.notice) ELSE o.notice END,
       closed_at = CASE WHEN o.state IN ('delivered', 'bounced') AND o.notice IS NULL THEN now() END
  FROM outcome o
 WHERE r.id = o.id AND r.id = ANY ($2::bigint[])
RETURNING r.id, r.message_id, r.destination, r.due_at, r.state, r.tenant_id, r.address, r.closed_at IS NOT NULL AS closed
"""
"""Records outcomes."""

SWEEP = """
WITH late AS MATERIALIZED (
    SELECT id, expires_at <= now() AS over, notice, sender, notify
      FROM outbound_recipients WHERE state IN ('queued', 'deferred') AND overdue_at <= now()
     ORDER BY overdue_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), judged AS MATERIALIZED (
    SELECT id, over AND notice IS NULL AS ended, over AND notice IS NOT NULL AS waits,
           CASE WHEN sender = '' OR notice IS NOT NULL THEN NULL
                WHEN over THEN CASE WHEN notify = 0 OR notify & 4 > 0 THEN 'failed' END
                WHEN $1 AND (notify = 0 OR notify & 8 > 0) THEN 'delayed' END AS notice
      FROM late
)
UPDATE outbound_recipients r
   SET state = CASE WHEN j.ended THEN 'bounced' ELSE r.state END,
       overdue_at = CASE WHEN j.ended THEN r.overdue_at WHEN j.waits THEN now() + interval '1 minute' ELSE r.expires_at END,
       last_status = CASE WHEN j.ended THEN '4.4.7' ELSE r.last_status END,
       last_reply = CASE WHEN j.ended AND r.last_reply = '' THEN 'its time was over before it could be tried' ELSE r.last_reply END,
       notice = coalesce(j.notice, r.notice),
       closed_at = CASE WHEN j.ended AND j.notice IS NULL THEN now() END
  FROM judged j
 WHERE r.id = j.id AND r.id = ANY (ARRAY (SELECT id FROM late))
RETURNING r.message_id, r.closed_at IS NOT NULL AS closed, j.ended, j.ended OR j.notice IS NOT NULL AS counts,
          r.recipient, r.original, r.last_host, r.last_reply
"""
"""Ends what has expired."""

CHANGES = {
    "hold": "UPDATE outbound_recipients SET state = 'held', suspended_for = NULL",
    "cancel": "UPDATE outbound_recipients"
    " SET state = 'cancelled', notice = NULL, closed_at = now(), suspended_for = NULL",
}
"""What an administrator does; the condition is to be added."""
