"""What each part may do in Postgres: the one table that the roles' grants are made from.

Rules:

- The migration's login owns the schema. No part may create, change or drop a table.
- A part reads and writes the tables named here and no others. A table that is new is in nobody's list but api's until it is put
  there: a test demands that every table is either in a list or in ``FOR_API_ALONE``.
- Nobody but api reads API keys, webhooks, idempotency keys and the audit. Besides, encrypted DKIM keys are read by delivery alone,
  encrypted passwords of routes by relay, password hashes of accounts by those that log people in.
- smtp-in in the role mx has no role: it never connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

READ: Final = ("SELECT",)
KNOW: Final = ("SELECT (id)",)
"""Telling whether there is anything, which the comparison of the stores asks of a new database (ADR 18)."""
COUNT: Final = ("SELECT", "UPDATE (used_bytes, used_messages)")
"""Reading accounts, and counting what they hold."""
USE: Final = ("SELECT", "UPDATE (last_used_at)")
"""Comparing app passwords, and noting that one was used."""
WRITE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
CHANGE: Final = ("SELECT", "UPDATE")
LOCK: Final = ("SELECT", "UPDATE (id)")
"""Reading and locking rows, for which Postgres wants a column that may be changed; foreign keys keep ids as they are."""


@dataclass(frozen=True, slots=True)
class Privileges:
    """What one part may do."""

    tables: Mapping[str, tuple[str, ...]]
    hidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that the part may not read, by table."""
    everything: bool = False
    """All rows of all tables, those of later releases included."""


_PASSWORDS: Final = {"accounts": ("password_hash",)}

PRIVILEGES: Final[Mapping[str, Privileges]] = {
    "submission": Privileges(
        {
            "tenants": READ,
            "domains": READ,
            "accounts": READ,
            "aliases": READ,
            "app_passwords": USE,
            "throttles": WRITE,
            "familiar_places": WRITE,
            "maildrop_leases": READ,
            "installation": READ,
            "segments": READ,
            "messages": KNOW,
        }
    ),
    "delivery": Privileges(
        {
            "tenants": READ,
            "domains": READ,
            "accounts": COUNT,
            "aliases": ("SELECT", "UPDATE (limited_until)"),
            "alias_targets": READ,
            "mailboxes": CHANGE,
            "segments": WRITE,
            "messages": WRITE,
            "mailbox_entries": WRITE,
            "deleted_entries": WRITE,
            "directory_outbox": WRITE,
            "leaderships": WRITE,
            "dkim_keys": READ,
            "throttles": WRITE,
            "suppressions": READ,
            "outbound_messages": WRITE,
            "outbound_recipients": WRITE,
            "outbound_destinations": WRITE,
            "installation": CHANGE,
            "outbound_expansions": WRITE,
            "outbound_reached": WRITE,
            "long_senders": WRITE,
        },
        hidden=_PASSWORDS,
    ),
    "relay": Privileges(
        {
            "tenants": LOCK,
            "domains": READ,
            "accounts": ("SELECT (id, address, state)",),
            "routes": READ,
            "suppressions": WRITE,
            "mta_sts_policies": WRITE,
            "segments": CHANGE,
            "messages": CHANGE,
            "outbound_messages": WRITE,
            "outbound_recipients": WRITE,
            "outbound_destinations": WRITE,
            "outbound_lanes": WRITE,
            "outbound_slots": WRITE,
            "relays": WRITE,
            "throttles": WRITE,
            "installation": READ,
            "aliases": KNOW,
        }
    ),
    "pop3": Privileges(
        {
            "tenants": READ,
            "domains": READ,
            "accounts": COUNT,
            "aliases": READ,
            "app_passwords": USE,
            "mailboxes": CHANGE,
            "mailbox_entries": WRITE,
            "deleted_entries": WRITE,
            "segments": CHANGE,
            "messages": CHANGE,
            "maildrop_leases": WRITE,
            "directory_outbox": WRITE,
            "throttles": WRITE,
            "familiar_places": WRITE,
            "installation": READ,
        }
    ),
    "api": Privileges({}, everything=True),
}
"""By part. Every one may also read the schema's number."""

FOR_API_ALONE: Final = frozenset(
    {"api_keys", "audit", "idempotency_keys", "webhooks", "webhook_deliveries", "statistics"}
)
"""Tables that no other part has any business with."""

SCHEMA_TABLE: Final = "alembic_version"


def role_name(prefix: str, part: str) -> str:
    """Return the name of a part's role, such as ``posthorn_pop3``."""
    return f"{prefix}{part.replace('-', '_')}"
