"""Privileges of each part in Postgres, from which the roles' grants are made.

Rules:

- The migration's login owns the schema. No part may create, change or drop a table.
- A part reads and writes only the tables named here. A new table is in no list but api's until it
  is added: a test demands that every table is either in a list or in ``FOR_API_ALONE``.
- Only api reads API keys, webhooks, idempotency keys and the audit log. Besides it, only delivery
  reads encrypted DKIM keys, only relay encrypted passwords of routes, and only services that check
  passwords read password hashes and SCRAM verifiers of accounts.
- smtp-in in the role mx has no role: it never connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

READ: Final = ("SELECT",)
KNOW: Final = ("SELECT (id)",)
"""Columns that show whether a new database holds anything, for the comparison of the stores (ADR
18)."""
COUNT: Final = ("SELECT", "UPDATE (used_bytes, used_messages)")
"""Privileges to read accounts and update their usage."""
USE: Final = (
    "SELECT",
    "UPDATE (last_used_at, last_used_address, last_used_protocol)",
)
"""Privileges to check app passwords and record their use."""
WRITE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
CHANGE: Final = ("SELECT", "UPDATE")
LOCK: Final = ("SELECT", "UPDATE (id)")
"""Privileges to read and lock rows, for which Postgres demands an updatable column; foreign keys
keep ids unchanged."""
ROUTING: Final = ("SELECT (domain, host, port, tls, connections, messages_per_minute)",)
"""Columns of routes that a claim needs, without the login."""


@dataclass(frozen=True, slots=True)
class Privileges:
    """Privileges of one part."""

    tables: Mapping[str, tuple[str, ...]]
    hidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that the part may not read, by table."""
    functions: tuple[str, ...] = ()
    """Functions of the schema's owner that the part may call, with the types of their arguments."""
    everything: bool = False
    """Full access to all tables, those of later releases included."""


_PASSWORDS: Final = {"accounts": ("password_hash", "scram", "rehashed")}
_REHASH: Final = ("rehash_password(bigint, bytea, text)",)
"""Replaces password hashes of other programs, and no others."""

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
            "sign_ins": WRITE,
            "maildrop_leases": READ,
            "installation": READ,
            "segments": READ,
            "messages": KNOW,
        },
        functions=_REHASH,
    ),
    "delivery": Privileges(
        {
            "tenants": READ,
            "domains": READ,
            "accounts": COUNT,
            "aliases": ("SELECT", "UPDATE (limited_until)"),
            "alias_targets": READ,
            "mailboxes": CHANGE,
            "mailbox_changes": WRITE,
            "message_headers": WRITE,
            "message_structures": ("SELECT", "DELETE"),
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
            "outbound_claims": ("SELECT", "INSERT"),
            "outbound_destinations": WRITE,
            "outbound_lanes": CHANGE,
            "outbound_slots": ("SELECT", "INSERT"),
            "relays": READ,
            "routes": ROUTING,
            "installation": CHANGE,
            "outbound_expansions": WRITE,
            "outbound_reached": WRITE,
            "long_senders": WRITE,
            "filter_policies": READ,
            "quarantine": WRITE,
            "correspondents": WRITE,
            "bayes_models": WRITE,
            "classifications": WRITE,
            "received_reports": ("SELECT", "INSERT"),
            "dmarc_evaluations": ("SELECT", "INSERT", "UPDATE"),
            "vacations": READ,
            "vacation_replies": WRITE,
            "unique_ids": ("SELECT", "DELETE"),
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
            "outbound_claims": WRITE,
            "outbound_destinations": WRITE,
            "outbound_lanes": WRITE,
            "outbound_slots": WRITE,
            "relays": WRITE,
            "throttles": WRITE,
            "installation": READ,
            "aliases": KNOW,
            "tls_outcomes": ("SELECT", "INSERT", "UPDATE"),
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
            "mailbox_changes": ("SELECT", "INSERT", "UPDATE"),
            "mailbox_entries": WRITE,
            "deleted_entries": WRITE,
            "segments": CHANGE,
            "messages": CHANGE,
            "maildrop_leases": WRITE,
            "directory_outbox": WRITE,
            "throttles": WRITE,
            "familiar_places": WRITE,
            "sign_ins": WRITE,
            "pop3_logins": WRITE,
            "unique_ids": READ,
            "installation": READ,
        },
        functions=_REHASH,
    ),
    "imap": Privileges(
        {
            "tenants": READ,
            "domains": READ,
            "accounts": (
                "SELECT",
                "UPDATE (used_bytes, used_messages, last_mailbox_id, last_uidvalidity, imap_prepared, scram)",
            ),
            "aliases": READ,
            "app_passwords": USE,
            "mailboxes": WRITE,
            "mailbox_changes": WRITE,
            "mailbox_subscriptions": WRITE,
            "mailbox_entries": WRITE,
            "deleted_entries": WRITE,
            "segments": ("SELECT", "INSERT", "UPDATE"),
            "messages": ("SELECT", "INSERT", "UPDATE"),
            "message_headers": ("SELECT", "INSERT"),
            "message_structures": ("SELECT", "INSERT", "UPDATE"),
            "classifications": WRITE,
            "directory_outbox": WRITE,
            "maildrop_leases": READ,
            "throttles": WRITE,
            "familiar_places": WRITE,
            "sign_ins": WRITE,
            "installation": READ,
        },
        functions=_REHASH,
    ),
    "api": Privileges({}, functions=_REHASH, everything=True),
}
"""By part. Every part may also read the schema's revision."""

FUNCTIONS: Final = frozenset().union(*(each.functions for each in PRIVILEGES.values()))
"""Functions that some part may call; nobody else may."""

FOR_API_ALONE: Final = frozenset(
    {
        "managed_objects",
        "api_keys",
        "audit",
        "idempotency_keys",
        "webhooks",
        "webhook_deliveries",
        "statistics",
        "message_index",
        "digests",
        "dmarc_report_sources",
        "tls_report_results",
        "complaints",
        "sent_reports",
        "browser_sessions",
        "login_links",
        "dns_checks",
    }
)
"""Tables that no other part uses."""

SCHEMA_TABLE: Final = "alembic_version"


def role_name(prefix: str, part: str) -> str:
    """Return the name of a part's role, such as ``posthorn_pop3``."""
    return f"{prefix}{part.replace('-', '_')}"
