"""Facts of the schema that statements need: its version, and ids that are the same everywhere.

They stand apart from ``tables`` so that a service does not load SQLAlchemy for them (ADR 47).
"""

from __future__ import annotations

from uuid import UUID

SCHEMA_VERSION = "0026"
"""The Alembic revision this code needs. Services are not ready on an earlier one; a later one is
served (ADR 17)."""

DEFAULT_TENANT = UUID("00000000-0000-7000-8000-000000000001")
"""The tenant ``default``, created by the first migration: objects that a platform admin creates
without a tenant belong to it."""

INBOX = 1
"""``mailbox_id`` of the INBOX in every account; Sent is 3, Trash 4. Drafts and Archive have 5 and 6
in accounts made since schema 0016: look them up by role."""
JUNK = 2
SENT = 3
