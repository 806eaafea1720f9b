"""The schema, as SQLAlchemy tables. Changes are Alembic migrations, in expand/contract steps.

Theory:

- Mailbox tables carry the account id first in every key, so that they can be hash-partitioned by
  account.
- A message is one row however many mailboxes refer to it; ``refs`` counts the entries, and the
  deleted ones that can be restored (``expunge``). The row outlives its last entry, so that a late
  redelivery from the stream finds the id and does nothing; its ``segment_id`` becomes null when the
  body is collected.
- ``segments.live_octets`` counts the bytes of live messages: maintained by the statements that add
  and drop entries, read by the collector.
- Locks are always taken in the order outbound_expansions, outbound_reached (by place), accounts (by
  id), mailboxes, deleted_entries, quarantine, outbound_lanes, outbound_recipients (by id),
  outbound_claims, outbound_messages, messages, segments (each by id), throttles (by key), aliases
  (by id), throttles of long senders (by key), long_senders (by domain and token),
  outbound_destinations (by name), received_reports, dmarc_evaluations (by key), classifications,
  bayes_models (by id).
- ``mailbox_changes`` has rows for every modseq that a mailbox went through: a statement that adds
  to ``mailboxes.modseq`` adds one, adds one to ``counted_modseq``, maintains the counters and writes
  the rows (ADR 33). A modseq without rows means that the history is not known.
- Rows that change with every delivery (accounts, mailboxes, leases) leave room on their page
  (fillfactor), so that an update touches no index.
- Every change of a directory entry writes the address or ``@domain`` to ``directory_outbox`` in the
  same transaction.
"""

from __future__ import annotations

from posthorn.adapters.postgres.tables import (
    access,
    directory,
    events,
    filtering,
    installation,
    mailboxes,
    queue,
    reports,
)
from posthorn.adapters.postgres.tables.columns import metadata

__all__ = [
    "access",
    "directory",
    "events",
    "filtering",
    "installation",
    "mailboxes",
    "metadata",
    "queue",
    "reports",
]
