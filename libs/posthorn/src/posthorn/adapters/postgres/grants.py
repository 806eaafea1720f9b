"""Roles of the parts: created where passwords are given for them, and granted their ``privileges``
after every migration.

Theory of operation:

- Roles belong to the whole cluster and need CREATEROLE; grants belong to the database and need its
  owner. So a role is created only when its password is given, and existing roles are granted their
  tables. Where there are none, nothing happens, and all parts use one login.
- Grants are revoked and granted again each time, in one transaction: what a release no longer needs
  is revoked.
- Passwords reach the server as SCRAM verifiers (RFC 5803), so that no log of statements holds them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping

import structlog

from posthorn.adapters.postgres.connecting import Connection
from posthorn.adapters.postgres.privileges import (
    FUNCTIONS,
    PRIVILEGES,
    SCHEMA_TABLE,
    Privileges,
    role_name,
)

log = structlog.get_logger()

_ITERATIONS = 4096
_EXISTING = "SELECT rolname FROM pg_roles WHERE rolname = ANY($1)"
_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
 WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position
"""
# a later release may have dropped one
_FUNCTIONS = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regprocedure(name) IS NOT NULL"
_HERE = "SELECT current_schema(), current_database()"
_HELD = """
SELECT has_database_privilege($1, current_database(), 'CONNECT'),
       has_schema_privilege($1, current_schema(), 'USAGE'),
       has_schema_privilege($1, current_schema(), 'CREATE')
"""


async def grant(connection: Connection, prefix: str, passwords: Mapping[str, str]) -> None:
    """Create the roles that ``passwords`` names, by part, and grant every existing part's role its
    privileges. Belongs in a transaction.

    Needs CREATEROLE for the first and the schema's owner for the second. Raises asyncpg's errors.
    """
    roles = {role_name(prefix, part): part for part in PRIVILEGES}
    existing = {name for (name,) in await connection.fetch(_EXISTING, list(roles))}
    for role, part in roles.items():
        if part in passwords:
            verb = "ALTER" if role in existing else "CREATE"
            options = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT"
            await connection.execute(
                f"{verb} ROLE {_quoted(role)} {options} PASSWORD '{scram_verifier(passwords[part])}'"
            )
            existing.add(role)
    ((schema, database),) = await connection.fetch(_HERE)
    columns: dict[str, list[str]] = {}
    for table, column in await connection.fetch(_COLUMNS):
        columns.setdefault(table, []).append(column)
    functions = [name for (name,) in await connection.fetch(_FUNCTIONS, sorted(FUNCTIONS))]
    for role, part in roles.items():
        if role in existing:
            ((connects, uses, creates),) = await connection.fetch(_HELD, role)
            # needs the database's owner; everyone may connect unless that was revoked
            if not connects:
                await connection.execute(
                    f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {_quoted(role)}"
                )
            if creates:
                await connection.execute(
                    f"REVOKE ALL ON SCHEMA {_quoted(schema)} FROM {_quoted(role)}"
                )
            if creates or not uses:
                await connection.execute(
                    f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO {_quoted(role)}"
                )
            await connection.execute(
                "; ".join(statements(role, PRIVILEGES[part], columns, functions, schema))
            )
    log.info("roles have their grants", roles=sorted(existing))


def statements(
    role: str,
    privileges: Privileges,
    columns: Mapping[str, list[str]],
    functions: Iterable[str],
    schema: str,
) -> Iterator[str]:
    """Yield the statements for a role's tables and functions, given the columns of all existing
    tables, and the existing ones of ``privileges.FUNCTIONS``."""
    name, where = _quoted(role), _quoted(schema)
    # from scratch: revoking a table's grants revokes those of its columns
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {where} FROM {name}"
    yield f"GRANT SELECT ON {where}.{_quoted(SCHEMA_TABLE)} TO {name}"
    for function in functions:
        verb, to = ("GRANT", "TO") if function in privileges.functions else ("REVOKE", "FROM")
        yield f"{verb} EXECUTE ON FUNCTION {where}.{function} {to} {name}"
    if privileges.everything:
        for table in columns:
            if table != SCHEMA_TABLE:
                yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {where}.{_quoted(table)} TO {name}"
        return
    for table, allowed in privileges.tables.items():
        if table not in columns:
            continue  # a later release has dropped it
        there = f"{where}.{_quoted(table)}"
        hidden = privileges.hidden.get(table, ())
        shown = ", ".join(_quoted(column) for column in columns[table] if column not in hidden)
        for privilege in allowed:
            which = f"SELECT ({shown})" if hidden and privilege == "SELECT" else privilege
            yield f"GRANT {which} ON {there} TO {name}"


def scram_verifier(password: str) -> str:
    """Return a password's verifier as Postgres stores it: SCRAM-SHA-256 (RFC 5803)."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(each).decode() for each in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
