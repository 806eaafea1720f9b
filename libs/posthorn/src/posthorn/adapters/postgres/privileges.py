"""What each part may do in Postgres: the one table that the roles' grants are made from.

Rules:

- The migration's login owns the schema. No part may create, change or drop a table.
- A part reads and writes the tables named here and no others. A table that is new must be put into every list or left out of it on
  purpose: a test compares them with ``tables``.
- Nobody but api reads API keys, webhooks, idempotency keys and the audit. Sealed DKIM keys are read by delivery alone, sealed passwords
  of routes by relay, password hashes of accounts by those that log people in.
- smtp-in in the role mx has no role: it never connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

READ: Final = ("SELECT",)
WRITE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
ADD: Final = ("SELECT", "INSERT")
CHANGE: Final = ("SELECT", "UPDATE")


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
            "app_passwords": CHANGE,
            "throttles": WRITE,
        }
    ),
    "delivery": Privileges(
        {
            "tenants": READ,
            "domains": READ,
            "accounts": CHANGE,
            "aliases": READ,
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
        },
        hidden=_PASSWORDS,
    ),
    "relay": Privileges(
        {
            "tenants": READ,
            "domains": READ,
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
        }
    ),
    "pop3": Privileges(
        {
            "tenants": READ,
            "domains": READ,
            "accounts": CHANGE,
            "aliases": READ,
            "app_passwords": CHANGE,
            "mailboxes": CHANGE,
            "mailbox_entries": WRITE,
            "deleted_entries": WRITE,
            "segments": CHANGE,
            "messages": CHANGE,
            "maildrop_leases": WRITE,
            "directory_outbox": WRITE,
            "throttles": WRITE,
        }
    ),
    "api": Privileges({}, everything=True),
}
"""By part. Every one may also read the schema's number."""

SCHEMA_TABLE: Final = "alembic_version"


def role_name(prefix: str, part: str) -> str:
    """Return the name of a part's role, such as ``posthorn_pop3``."""
    return f"{prefix}{part.replace('-', '_')}"
