"""Alembic's entry point. It runs only on the connection that posthorn.adapters.postgres.migrate
passes in.

There are no downgrades: releases move in expand/contract steps, so that the previous release works
on the schema of the next. A new step is ``versions/<number>_<name>.py``, plain SQL, with ``tables``
and SCHEMA_VERSION changed beside it.
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
