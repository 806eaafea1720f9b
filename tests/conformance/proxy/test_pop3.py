"""POP3 behind balancers: the client that the header names is the client, and no password goes
unencrypted by a balancer."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from posthorn.wire.proxy import SIGNATURE
from tests.conformance.pop3.dialogue import ADDRESS, Client, Server, pop3_server
from tests.conformance.twins import PASSWORD, MemoryMailStore
from tests.support.polling import until

MESSAGE = b"Subject: x\r\n\r\n.dots\r\n" + b"y" * 100_000 + b"\r\n"
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 995\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 8, 198, 51, 100, 1, 18, 103, 3, 227])
LOOPBACK = b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 110\r\n"


@pytest.fixture
async def server(password_hash: str, tls_dir: Path) -> AsyncIterator[Server]:
    house = MemoryMailStore(password_hash)
    await house.deliver(await house.account(ADDRESS), [MESSAGE])
    ports: dict[str, Any] = {
        "pop3_proxy_port": 0,
        "pop3s_proxy_port": 0,
        "proxy_networks": ["127.0.0.0/8"],
    }
    async with pop3_server(house, tls_dir=tls_dir, pop3_sessions_per_address=2, **ports) as made:
        yield made


def ports(server: Server) -> tuple[int, int]:
    """Where balancers connect to: in plain, and with TLS after the header."""
    assert server.proxy_port is not None and server.proxy_tls_port is not None
    return server.proxy_port, server.proxy_tls_port


async def behind(server: Server, octets: bytes) -> Client:
    made = await Client.connect(ports(server)[0])
    made.send(octets)
    return made


async def over_tls(server: Server, octets: bytes, trust: ssl.SSLContext) -> Client:
    made = await Client.connect(ports(server)[1])
    made.send(octets)
    await made.secure(trust)
    assert (await made.line()).startswith(b"+OK ")
    return made


async def log_in(client: Client) -> None:
    assert (await client.ask(b"USER " + ADDRESS.encode())).startswith(b"+OK")
    assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"+OK")


@pytest.mark.parametrize(("octets", "told"), [(HEADER, "192.0.2.7"), (V2, "192.0.2.8")])
async def test_mail_is_read_over_tls_after_the_header_and_the_log_names_the_client(
    server: Server, trust: ssl.SSLContext, octets: bytes, told: str
) -> None:
    with capture_logs() as logs:
        client = await over_tls(server, octets, trust)
        await log_in(client)
        assert await client.fetch(b"RETR 1") == MESSAGE
        assert (await client.ask(b"QUIT")).startswith(b"+OK")
        await until(lambda: not len(server.limiter))
    assert {entry["client"] for entry in logs if "client" in entry} == {told}


async def test_commands_sent_with_the_header_are_obeyed(server: Server) -> None:
    client = await behind(server, HEADER + b"NOOP\r\nQUIT\r\n")
    said = await client.rest()
    assert said.startswith(b"+OK ") and said.count(b"\r\n") == 3


@pytest.mark.parametrize(
    "octets", [HEADER, LOOPBACK, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\x00\x00\x00"]
)
async def test_no_password_without_tls_from_whoever_came_by_a_balancer(
    server: Server, trust: ssl.SSLContext, octets: bytes
) -> None:
    await (await server.login()).close()
    client = await behind(server, octets)
    assert (await client.line()).startswith(b"+OK ")
    assert (await client.ask(b"USER " + ADDRESS.encode())).startswith(b"-ERR")
    assert (await client.ask(b"STLS")).startswith(b"+OK")
    await client.secure(trust)
    await log_in(client)
    await client.close()


async def test_each_client_has_its_own_limit_and_the_balancer_none(server: Server) -> None:
    clients = []
    for octets in (HEADER, HEADER, V2, V2):
        clients.append(await behind(server, octets))
        assert (await clients[-1].line()).startswith(b"+OK ")
    one_more = await behind(server, HEADER)
    assert await one_more.rest() == b"-ERR [SYS/TEMP] too many connections\r\n"
    for client in clients:
        client.abort()


async def test_no_greeting_without_a_header(server: Server) -> None:
    for octets in (b"CAPA\r\n", b"USER alice\r\n", b"PROXY TCP4 192.0.2.7\r\n", b"\x16\x03\x01"):
        assert await (await behind(server, octets)).rest() == b""
    await until(lambda: not len(server.limiter))


async def test_the_plain_port_takes_a_header_for_a_command_nobody_knows(server: Server) -> None:
    client = await server.client()
    assert (await client.ask(HEADER[:-2])).startswith(b"-ERR")
    # still this very host
    assert (await client.ask(b"USER " + ADDRESS.encode())).startswith(b"+OK")
    await client.close()
