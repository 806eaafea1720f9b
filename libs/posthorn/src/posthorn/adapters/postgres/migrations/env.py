"""Alembic's entry. It runs on the connection that posthorn.adapters.postgres.migrate hands over, and on no other.

There is no way down: releases move in expand/contract steps, so that the release before works on the schema of the one after.
A new step is ``versions/<number>_<name>.py``, plain SQL, with tables.py and SCHEMA_VERSION changed beside it.
"""

from __future__ import annotations

from alembic import context

from posthorn.adapters.postgres.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run posthorn-migrate: this environment takes its connection from it")
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
