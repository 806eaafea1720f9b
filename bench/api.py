"""The REST API: accounts read and created over 32 connections, and pages of a list as it grows
to a million accounts."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import psutil

from bench.system import System

CONNECTIONS = 32
PAGE = 100


class Client:
    """One kept connection; as little of HTTP as the API needs, so that the client takes few of
    the cores."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(
        self, method: str, path: str, document: dict[str, Any] | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        body = b"" if document is None else json.dumps(document).encode()
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), await self._reader.readexactly(length)


async def _drive(
    system: System, requests: list[tuple[str, str, dict[str, Any] | None]], status: int
) -> dict[str, Any]:
    """Send all requests over all connections."""
    left: Iterator[tuple[str, str, dict[str, Any] | None]] = iter(requests)
    key, times = (system.home / "admin.key").read_text().strip(), []

    async def session() -> None:
        async with Client(system.api, key) as client:
            for request in left:
                began = time.monotonic()
                found, body = await client.ask(*request)
                times.append(time.monotonic() - began)
                if found != status:
                    raise RuntimeError(f"{request[:2]} was answered {found}: {body[:200]!r}")

    began, cpu = time.monotonic(), system.costs()["api"].cpu
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(session())
    took = time.monotonic() - began
    times.sort()
    return {
        "per_s": len(requests) / took,
        "p50_ms": 1000 * statistics.median(times),
        "p99_ms": 1000 * times[int(len(times) * 0.99)],
        "api_cpu_ms": 1000 * (system.costs()["api"].cpu - cpu) / len(requests),
    }


async def _fill(system: System, accounts: int) -> None:
    """Insert accounts into Postgres: half of them in one domain, half in a thousand others."""
    api = psutil.Process(system.parts()["api"])
    connection = await asyncpg.connect(api.environ()["POSTHORN_DATABASE_URL"])
    try:
        await connection.execute(
            "INSERT INTO domains (tenant_id, name)"
            " SELECT t.id, 'd' || lpad(n::text, 4, '0') || '.bench.test' FROM generate_series(0, 999) AS n, tenants t"
            " WHERE t.name = 'default' ON CONFLICT DO NOTHING"
        )
        await connection.execute(
            "INSERT INTO accounts (domain_id, address, password_hash)"
            " SELECT d.id, 'u' || lpad(n::text, 8, '0') || '@' || d.name, 'none'"
            "   FROM generate_series(1, $1::int) AS n"
            "   JOIN domains d"
            "     ON d.name = 'd' || lpad((CASE WHEN n % 2 = 0 THEN 0 ELSE n / 2 % 1000 END)::text, 4, '0') || '.bench.test'",
            accounts,
            timeout=600,
        )
        await connection.execute("VACUUM (ANALYZE) accounts", timeout=600)
    finally:
        await connection.close()


async def _pages(system: System) -> dict[str, Any]:
    """Return milliseconds per page: the first, further ones, and those of a small domain and of
    a large one."""
    found: dict[str, Any] = {}
    async with Client(system.api, (system.home / "admin.key").read_text().strip()) as client:
        for name, query in (
            ("all", ""),
            ("small_domain", "&domain=d0777.bench.test"),
            ("large_domain", "&domain=d0000.bench.test"),
        ):
            times, cursor = [], ""
            for _ in range(40):
                began = time.monotonic()
                status, body = await client.ask("GET", f"/v1/accounts?limit={PAGE}{query}{cursor}")
                times.append(1000 * (time.monotonic() - began))
                if status != 200:
                    raise RuntimeError(f"a page was answered {status}: {body[:200]!r}")
                following = json.loads(body)["next_cursor"]
                cursor = f"&cursor={following}" if following else ""
            found[name] = {"p50_ms": statistics.median(times), "max_ms": max(times)}
    return found


def measure_api(results: dict[str, Any], system: System, accounts: int, *, quick: bool) -> None:
    """Measure reads, creations, and pages before and after the store holds ``accounts``
    accounts."""
    reads, creations = (500, 50) if quick else (6000, 600)
    one = ("GET", "/v1/accounts/alice@example.test", None)
    made: list[tuple[str, str, dict[str, Any] | None]] = [
        (
            "POST",
            "/v1/accounts",
            {"address": f"bench{n}@example.test", "password": f"bench password {n}"},
        )
        for n in range(creations)
    ]
    asyncio.run(_drive(system, [one] * 200, 200))  # warm
    part: dict[str, Any] = {
        "reads": asyncio.run(_drive(system, [one] * reads, 200)),
        "creations": asyncio.run(_drive(system, made, 201)),
    }
    asyncio.run(_fill(system, 2000))
    part["pages"] = {"2000": asyncio.run(_pages(system))}
    if accounts:
        asyncio.run(_fill_more(system, accounts))
        part["pages"][str(accounts)] = asyncio.run(_pages(system))
        part["reads_then"] = asyncio.run(_drive(system, [one] * reads, 200))
    results["api"] = part


async def _fill_more(system: System, accounts: int) -> None:
    api = psutil.Process(system.parts()["api"])
    connection = await asyncpg.connect(api.environ()["POSTHORN_DATABASE_URL"])
    try:
        await connection.execute("DELETE FROM accounts WHERE address LIKE 'u%.bench.test'")
    finally:
        await connection.close()
    await _fill(system, accounts)


def show_api(part: dict[str, Any]) -> None:
    """Print the table."""
    print(f"REST API, {CONNECTIONS} connections, one process      per s   p50 ms   p99 ms   CPU ms")
    rows = (
        ("reads", "an account read"),
        ("creations", "an account created (argon2id)"),
        ("reads_then", "read, among a million"),
    )
    for name, label in rows:
        if found := part.get(name):
            print(
                f"  {label:<36} {found['per_s']:>11.0f} {found['p50_ms']:>8.1f} {found['p99_ms']:>8.1f} {found['api_cpu_ms']:>8.2f}"
            )
    for size, pages in part["pages"].items():
        shown = ", ".join(
            f"{name.replace('_', ' ')} {times['p50_ms']:.1f} (worst {times['max_ms']:.1f})"
            for name, times in pages.items()
        )
        print(f"  pages of {PAGE} among {int(size):,} accounts, ms: {shown}")
    print()
