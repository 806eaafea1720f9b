"""New connections to Postgres by asyncpg, for the pool of the services and the engine of migrations.

asyncpg parses the URL itself, so that sslmode, sslrootcert, several hosts and
target_session_attrs mean the same as in libpq.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import asyncpg

from posthorn.adapters.postgres.liveness import Liveness

type Connection = asyncpg.Connection[asyncpg.Record]

CONNECT_SECONDS = 4.0
"""Seconds that a new connection, and waiting for one of the pool's, may take."""

# libpq's own parameters that asyncpg would send to the server, which refuses them
_CLIENT_PARAMETERS = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "fallback_application_name",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "requirepeer",
        "require_auth",
        "sslcompression",
        "sslsni",
    }
)


def connector(
    url: str,
    *,
    seconds: float | None,
    connect_seconds: float = CONNECT_SECONDS,
    prepared: bool = True,
    by_key: bool = False,
    liveness: Liveness | None = None,
) -> Callable[[], Awaitable[Connection]]:
    """Return what opens a connection to a libpq URL.

    ``seconds`` limits each statement (None: no limit); ``prepared`` is False behind PgBouncer;
    ``by_key``: every statement uses keys, whatever its values, so that one generic plan each is
    made and cached. ``liveness`` monitors each new connection.
    """
    dsn, given = split_parameters(url)
    session = {"application_name": "posthorn"}
    if prepared:
        milliseconds = str(round((seconds or 0) * 1000))
        session |= {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "jit": "off",  # compiling a short statement costs more than running it
            # the locks of a vanished host are released within half a minute
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
        }
        if by_key:
            # Planning a statement for each call cost a third of Postgres' work for an outbound
            # message. A cached plan may stem from a time when its tables were empty: so an index is
            # used wherever there is one.
            session |= {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}

    async def open_connection() -> Connection:
        connection = await asyncpg.connect(
            dsn,
            timeout=connect_seconds,
            command_timeout=seconds,
            statement_cache_size=100 if prepared else 0,
            server_settings={name: value for name, value in session.items() if name not in given},
        )
        if liveness is not None:
            liveness.opened(connection)
        return connection

    return open_connection


async def read_json(connection: Connection) -> None:
    """Have values of json and jsonb returned as Python objects; they are passed as text."""
    for name, prefix in (("json", b""), ("jsonb", b"\x01")):  # the version of jsonb's binary form
        await connection.set_type_codec(
            name, schema="pg_catalog", format="binary", **_json_codec(prefix)
        )


def _json_codec(prefix: bytes) -> dict[str, Callable[[Any], Any]]:
    skipped = len(prefix)
    return {
        "encoder": lambda text: prefix + text.encode(),
        "decoder": lambda value: json.loads(value[skipped:].decode()),
    }


def split_parameters(url: str) -> tuple[str, frozenset[str]]:
    """Return the URL without the parameters that only libpq knows, and the names of the
    remaining ones."""
    head, _, query = url.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query) if name not in _CLIENT_PARAMETERS]
    return f"{head}?{urlencode(kept)}" if kept else head, frozenset(name for name, _ in kept)
