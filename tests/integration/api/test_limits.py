"""What one client or key may do to the API: rates, connections, unfinished requests, connections
to the database."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import cast

import httpx

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.postgres.database import connect
from posthorn.model.networks import parse_network
from posthorn.ports.api_keys import Role
from posthorn.ports.errors import Unavailable
from posthorn.runtime.fair_slots import SlotsTaken
from posthorn.runtime.holders import work_for
from posthorn.runtime.http import HttpLimits
from posthorn.runtime.settings import PostgresSettings
from posthorn_api.http.rate_limit import RateLimit
from tests.support.api import ADMIN_KEY, Api, problem, running_api
from tests.support.polling import BUSY_SECONDS

GET = f"GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n".encode()


async def opened(api: Api) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = api.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def end_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(BUSY_SECONDS):
        with suppress(ConnectionError):
            return await reader.read()
    return b""


async def test_unfinished_requests_end(database_url: str, tmp_path: Path) -> None:
    """The audit's p7: thousands of unfinished requests stood for ever."""
    limits = HttpLimits(header_seconds=3.0)
    async with running_api(database_url, FileBlobs(tmp_path), http_limits=limits) as api:
        silent, begun, later = [await opened(api) for _ in range(3)]
        begun[1].write(b"GET /v1/status HTTP/1.1\r\nX: ")
        later[1].write(GET)
        assert (await later[0].readuntil(b'"parts":[]}')).startswith(b"HTTP/1.1 200")
        later[1].write(GET[:30])
        left_over = await opened(api)
        left_over[1].write(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert (await left_over[0].readline()).startswith(b"HTTP/1.1 404")

        async def trickle(writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        trickling = [asyncio.create_task(trickle(each[1])) for each in (begun, later, left_over)]
        for reader, writer in (silent, begun, later, left_over):
            await end_of(reader)
            writer.close()
        for task in trickling:
            task.cancel()
        await asyncio.gather(*trickling, return_exceptions=True)
        async with asyncio.timeout(BUSY_SECONDS):
            while limits.open:
                await asyncio.sleep(0.01)
        assert (await api.client.get("/v1/status")).status_code == 200


async def test_connections_of_a_client_are_limited(database_url: str, tmp_path: Path) -> None:
    limits = HttpLimits(connections_each=3)
    async with running_api(database_url, FileBlobs(tmp_path), http_limits=limits) as api:
        held = [await opened(api) for _ in range(3)]
        async with asyncio.timeout(BUSY_SECONDS):
            while limits.open.total() < 3:
                await asyncio.sleep(0.01)
        reader, writer = await opened(api)
        assert (await end_of(reader)).startswith(b"HTTP/1.1 503")
        writer.close()
        held[0][1].close()
        async with asyncio.timeout(BUSY_SECONDS):
            while limits.open.total() > 2:
                await asyncio.sleep(0.01)
        assert (await api.client.get("/v1/status")).status_code == 200
        for _, writer in held[1:]:
            writer.close()


async def test_clients_behind_an_ingress_are_told_apart(database_url: str, tmp_path: Path) -> None:
    limits = HttpLimits(proxies=[parse_network("127.0.0.0/8")])
    near, far = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.1, 198.51.100.1"}
    async with running_api(database_url, FileBlobs(tmp_path), http_limits=limits) as api:
        await api.domain()
        await api.account("alice@example.test")

        async def sign_in(account: str, password: str, headers: dict[str, str]) -> httpx.Response:
            login = {"account": account, "password": password}
            return await api.client.post("/v1/login", json=login, headers=headers)

        for number in range(31):
            guess = await sign_in(f"user{number}@example.test", "a guess", far)
        problem(guess, 429, "too-many-requests")
        problem(await sign_in("alice@example.test", "correct horse", far), 429, "too-many-requests")
        right = await sign_in("alice@example.test", "correct horse", near)
        assert right.status_code == 200, right.text
        await api.sign_ins.write()
        answer = await api.client.get("/v1/accounts/alice@example.test/sign-ins")
        assert {each["address"]: each["result"] for each in answer.json()["items"]} == {
            "192.0.2.1": "accepted",
            "198.51.100.1": "throttled",
        }
        fields = {"name": "n", "role": "read-only", "networks": ["192.0.2.0/24"]}
        key = (await api.client.post("/v1/api-keys", json=fields)).json()["key"]
        shown = {"Authorization": f"Bearer {key}"}
        assert (await api.client.get("/v1/domains", headers=shown | near)).status_code == 200
        problem(await api.client.get("/v1/domains", headers=shown | far), 403, "forbidden")


async def test_a_client_that_takes_nothing_is_cut(database_url: str, tmp_path: Path) -> None:
    limits = HttpLimits(stall_seconds=0.5)
    async with running_api(database_url, FileBlobs(tmp_path), http_limits=limits) as api:
        _reader, writer = await opened(api)
        cast("asyncio.Transport", writer.transport).pause_reading()
        for _ in range(200):
            writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(2 * BUSY_SECONDS):
            while not limits.open:
                await asyncio.sleep(0.01)
            while limits.open:
                await asyncio.sleep(0.05)
        writer.close()


async def test_an_idle_connection_is_closed_later_than_clients_and_proxies_do_it(
    database_url: str, tmp_path: Path
) -> None:
    """httpx keeps one for 5 s, and proxies for 60 s: a request that is sent while the server
    closes the connection fails."""
    assert HttpLimits().idle_seconds > 60
    limits = HttpLimits(idle_seconds=1)
    async with running_api(database_url, FileBlobs(tmp_path), http_limits=limits) as api:
        reader, writer = await opened(api)
        writer.write(GET)
        assert (await reader.readuntil(b'"parts":[]}')).startswith(b"HTTP/1.1 200")
        assert await end_of(reader) == b""
        writer.close()


async def test_a_key_has_a_rate_of_its_own(database_url: str, tmp_path: Path) -> None:
    rates = RateLimit(60, 5, clock=lambda: 1000.0)
    async with running_api(database_url, FileBlobs(tmp_path), rates=rates) as api:
        other = await api.key(Role.READ_ONLY)
        answers = [await api.client.get("/v1/status") for _ in range(7)]
        assert [answer.status_code for answer in answers[:5]] == [200] * 5
        refused = next(answer for answer in answers if answer.status_code != 200)
        said = problem(refused, 429, "too-many-requests")["detail"]
        assert refused.headers["retry-after"] == "1", "a request a second"
        assert said == "too many requests with this key or from this address; try again in 1 s"
        assert (await api.client.get("/v1/status", headers=other)).status_code == 200


async def test_keys_of_a_tenant_share_a_rate(database_url: str, tmp_path: Path) -> None:
    """By reading: a tenant's rate was as many times that of a key as it had made keys."""
    rates = RateLimit(60, 4, clock=lambda: 1000.0, tenant_share=1)
    async with running_api(database_url, FileBlobs(tmp_path), rates=rates) as api:
        acme, other = await api.tenant("acme"), await api.tenant("other")
        keys = [await api.key(Role.READ_ONLY, acme) for _ in range(5)]
        answers = [await api.client.get("/v1/status", headers=each) for each in keys]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429]
        said = problem(answers[-1], 429, "too-many-requests")["detail"]
        assert said.startswith("too many requests with the keys of this tenant; try again in")
        for key in (await api.key(Role.READ_ONLY, other), await api.key(Role.READ_ONLY)):
            assert (await api.client.get("/v1/status", headers=key)).status_code == 200
        await api.domain("acme.test", tenant="acme")
        await api.account("a@acme.test")
        holder = await api.client.get("/v1/me", auth=("a@acme.test", "correct horse"))
        assert holder.status_code == 200, "an account has its own"


async def test_unknown_keys_are_not_looked_up_without_end(
    database_url: str, tmp_path: Path
) -> None:
    async with running_api(
        database_url,
        FileBlobs(tmp_path),
        rates=RateLimit(unknown_per_minute=3, clock=lambda: 1000.0),
    ) as api:
        assert (await api.client.get("/v1/status")).status_code == 200
        codes = []
        for number in range(5):
            shown = {"Authorization": f"Bearer ph_{number:043d}"}
            codes.append((await api.client.get("/v1/status", headers=shown)).status_code)
        assert codes == [401, 401, 401, 429, 429]
        api.guard.callers._remembered.clear()
        assert (await api.client.get("/v1/status")).status_code == 200


async def test_slow_statements_of_one_tenant_leave_a_connection_to_the_others(
    database_url: str,
) -> None:
    settings = PostgresSettings.model_validate({"database_url": database_url, "database_pool": 3})
    async with connect(settings, shared=True) as database:
        assert database._slots is not None
        database._slots.wait_seconds = 0.3
        started = 0

        async def slow() -> None:
            nonlocal started
            work_for("slow")
            async with database.session() as connection:
                started += 1
                await connection.fetchval("SELECT pg_sleep(300)")

        tasks = [asyncio.create_task(slow()) for _ in range(5)]
        try:
            work_for("other")
            async with asyncio.timeout(BUSY_SECONDS):
                while started < 2:
                    await asyncio.sleep(0.01)
                async with database.session() as connection:
                    assert await connection.fetchval("SELECT 1") == 1
            done, _ = await asyncio.wait(
                tasks, timeout=BUSY_SECONDS, return_when=asyncio.FIRST_EXCEPTION
            )
            fault = next(iter(done)).exception()
            assert isinstance(fault, Unavailable), "a fault of ours, never a 429"
            assert not isinstance(fault, SlotsTaken)
            assert started == 2
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_checks_of_domains_are_shared(database_url: str, tmp_path: Path) -> None:
    """By reading: eight checks at silent name servers kept everybody else's waiting."""
    async with running_api(database_url, FileBlobs(tmp_path)) as api:
        await api.domain()
        tenant = await api.tenant("slow")
        slow = await api.key(Role.TENANT_ADMIN, tenant)
        await api.domain("slow.test", tenant="slow")
        api.names.slots.wait_seconds = 0.2
        for _ in range(4):
            await api.names.slots.take(tenant)
        problem(
            await api.client.get("/v1/domains/slow.test/dns/check", headers=slow),
            429,
            "too-many-requests",
        )
        assert (await api.client.get("/v1/domains/example.test/dns/check")).status_code == 200
