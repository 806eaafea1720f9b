"""POP3 and TLS: STLS, the port of its own, and where passwords are taken."""

from __future__ import annotations

import asyncio
import poplib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthorn.model.ip_addresses import is_loopback
from tests.conformance.pop3.dialogue import ADDRESS, Client, Server, pop3_server
from tests.conformance.twins import PASSWORD, MemoryMailStore
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

MESSAGE = b"Subject: x\r\n\r\n.dots\r\n" + b"y" * 100_000 + b"\r\n"


@pytest.fixture
async def house(password_hash: str) -> MemoryMailStore:
    made = MemoryMailStore(password_hash)
    await made.deliver(await made.account(ADDRESS), [MESSAGE])
    return made


@pytest.fixture
async def server(house: MemoryMailStore, tls_dir: Path) -> AsyncIterator[Server]:
    async with pop3_server(house, tls_dir=tls_dir) as made:
        yield made


@pytest.fixture
async def outside(house: MemoryMailStore, tls_dir: Path) -> AsyncIterator[Server]:
    """A server that treats this host like any other."""
    async with pop3_server(house, tls_dir=tls_dir, pop3_cleartext="never") as made:
        yield made


async def test_poplib_stls(server: Server, trust: ssl.SSLContext) -> None:
    def session() -> tuple[dict[str, list[str]], dict[str, list[str]], bytes]:
        box = poplib.POP3("localhost", server.port, timeout=BUSY_SECONDS)
        before = box.capa()
        box.stls(trust)
        after = box.capa()
        box.user(ADDRESS)
        box.pass_(PASSWORD)
        top = b"\r\n".join(box.top(1, 1)[1])
        box.quit()
        return before, after, top

    before, after, top = await asyncio.to_thread(session)
    assert "STLS" in before
    assert "STLS" not in after
    assert top == b"Subject: x\r\n\r\n.dots"


async def test_poplib_pop3s(server: Server, trust: ssl.SSLContext) -> None:
    def session() -> int:
        assert server.tls_port is not None
        box = poplib.POP3_SSL("localhost", server.tls_port, timeout=BUSY_SECONDS, context=trust)
        assert "STLS" not in box.capa()
        box.user(ADDRESS)
        box.pass_(PASSWORD)
        count = box.stat()[0]
        box.dele(1)
        box.quit()
        return count

    assert await asyncio.to_thread(session) == 1


async def test_thunderbird_always_starttls_finds_stls_and_no_password_before_it(
    outside: Server, trust: ssl.SSLContext
) -> None:
    client = await outside.client()
    before = await client.lines(b"CAPA")
    assert b"STLS" in before
    assert not [line for line in before if line.startswith((b"USER", b"SASL"))]
    assert await client.lines(b"AUTH") == []
    for command in (
        b"USER " + ADDRESS.encode(),
        b"AUTH PLAIN",
        b"AUTH LOGIN",
        b"AUTH PLAIN AGEAYg==",
    ):
        reply = await client.ask(command)
        assert reply.startswith(b"-ERR [AUTH]")
        assert b"STLS" in reply
    assert (await client.ask(b"STLS")).startswith(b"+OK")
    await client.secure(trust)
    after = await client.lines(b"CAPA")
    assert {b"USER", b"SASL PLAIN LOGIN"} <= set(after)
    assert b"STLS" not in after
    await client.ask(b"USER " + ADDRESS.encode())
    assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"+OK")
    assert b"STLS" not in await client.lines(b"CAPA")
    assert await client.fetch(b"RETR 1") == MESSAGE
    assert (await client.ask(b"QUIT")).startswith(b"+OK")


async def test_without_tls_a_start_where_nobody_can_log_in_is_warned_of(
    house: MemoryMailStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for cleartext, warned in (("never", True), ("loopback", False)):
        async with pop3_server(house, pop3_cleartext=cleartext):
            said = capsys.readouterr().out
        assert ("nobody can log in" in said) is warned
        assert ("POSTHORN_TLS_DIR" in said and "POSTHORN_POP3_CLEARTEXT=never" in said) is warned


async def test_passwords_are_taken_in_the_clear_on_loopback_unless_forbidden(
    house: MemoryMailStore,
) -> None:
    async with pop3_server(house) as server:
        client = await server.client()
        assert {b"USER", b"SASL PLAIN LOGIN"} <= set(await client.lines(b"CAPA"))
        assert b"STLS" not in await client.lines(b"CAPA"), "there is no certificate"
        assert (await client.ask(b"STLS")).startswith(b"-ERR")
    async with pop3_server(house, pop3_cleartext="never") as server:
        client = await server.client()
        assert (await client.ask(b"USER " + ADDRESS.encode())).startswith(b"-ERR [AUTH]")
        assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"-ERR [AUTH]")
        assert b"STLS" not in await client.ask(b"USER x"), "it must not promise what is not there"


@pytest.mark.parametrize(
    "injected", [b"USER mallory@example.test\r\n", b"CAPA\r\nLIST", b"x" * 5000]
)
async def test_what_is_sent_before_the_handshake_is_thrown_away(
    outside: Server, trust: ssl.SSLContext, injected: bytes
) -> None:
    client = await outside.client()
    client.send(b"STLS\r\n" + injected)
    assert (await client.line()).startswith(b"+OK")
    try:
        await client.secure(trust)
    except (ssl.SSLError, OSError):
        return  # what came after the first read went into the handshake and broke it
    reply = await client.ask(b"PASS x")
    assert reply.startswith(b"-ERR USER comes first"), "an injected command was answered"


async def test_a_client_that_talks_at_once_after_the_handshake_loses_nothing(
    server: Server, trust: ssl.SSLContext
) -> None:
    for _ in range(20):
        client = await server.client()
        assert (await client.ask(b"STLS")).startswith(b"+OK")
        await client.secure(trust)
        client.send(b"CAPA\r\nNOOP\r\nQUIT\r\n")
        answer = await client.rest()
        assert answer.startswith(b"+OK capabilities")
        assert answer.count(b"\r\n-ERR log in first\r\n+OK bye\r\n") == 1


async def test_a_handshake_that_fails_ends_the_connection_and_is_forgotten(server: Server) -> None:
    client = await server.client()
    assert (await client.ask(b"STLS")).startswith(b"+OK")
    client.send(b"CAPA\r\nUSER x\r\nthis is no client hello" * 10)
    assert b"+OK" not in await client.rest()
    await until(lambda: len(server.limiter) == 0)


async def test_a_connection_dropped_in_the_handshake_is_forgotten(server: Server) -> None:
    client = await server.client()
    assert (await client.ask(b"STLS")).startswith(b"+OK")
    client.abort()
    await until(lambda: len(server.limiter) == 0)


async def test_a_handshake_that_never_comes_times_out_with_the_login(
    house: MemoryMailStore, tls_dir: Path
) -> None:
    async with pop3_server(house, tls_dir=tls_dir, pop3_login_seconds=0.2) as server:
        client = await server.client()
        assert (await client.ask(b"STLS")).startswith(b"+OK")
        assert await client.rest() == b""
        await until(lambda: len(server.limiter) == 0)


async def test_a_large_message_over_tls_with_a_slow_reader(
    house: MemoryMailStore, server: Server, trust: ssl.SSLContext
) -> None:
    large = b"Subject: x\r\n\r\n" + b"".join(b".%070d\r\n" % n for n in range(60_000))
    await house.deliver(1, [large])
    assert server.tls_port is not None
    client = await Client.connect(server.tls_port, ssl=trust, server_hostname="localhost")
    await client.line()
    client.send(f"USER {ADDRESS}\r\nPASS {PASSWORD}\r\n".encode())
    await client.line()
    await client.line()
    client.send(b"RETR 2\r\n")
    await asyncio.sleep(0.1)
    assert await client.line() == b"+OK %d octets" % len(large)
    octets = (b"\r\n" + await client.body())[:-3].replace(b"\r\n..", b"\r\n.")[2:]
    assert octets == large


async def test_drain_does_not_wait_for_clients_that_leave_the_end_of_tls_unanswered(
    house: MemoryMailStore, tls_dir: Path, trust: ssl.SSLContext
) -> None:
    async with pop3_server(house, tls_dir=tls_dir, grace_seconds=LONG_SECONDS) as server:
        assert server.tls_port is not None
        client = await Client.connect(server.tls_port, ssl=trust, server_hostname="localhost")
        await client.line()
        client.stop_reading()
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < BUSY_SECONDS


def test_only_real_loopback_addresses_count_as_this_host() -> None:
    for address in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(address), address
    for address in (
        "",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "192.0.2.1",
        "localhost",
        "/tmp/socket",
    ):
        assert not is_loopback(address), address
