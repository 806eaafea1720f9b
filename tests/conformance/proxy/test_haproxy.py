"""Ports for balancers behind HAProxy, from Debian's package: both versions, TLS passed through,
health checks, TLVs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.peers import need
from structlog.testing import capture_logs

from posthorn_local.embedded import free_port
from tests.conformance.pop3.dialogue import ADDRESS, Client, Server, pop3_server
from tests.conformance.proxy.test_proxy_header import counted
from tests.conformance.smtp.env import EHLO, MESSAGE, SmtpDialogue, SmtpEnv, smtp_env
from tests.conformance.twins import PASSWORD, MemoryMailStore
from tests.support.polling import BUSY_SECONDS, until

pytestmark = pytest.mark.interop

NETWORKS: dict[str, Any] = {"proxy_networks": "127.0.0.0/8"}
CLIENT = "127.0.0.9"
VERSIONS = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2",
    "v2-tlvs": "send-proxy-v2 proxy-v2-options unique-id,crc32c,authority",
}

with_versions = pytest.mark.parametrize("options", VERSIONS.values(), ids=VERSIONS.keys())


@asynccontextmanager
async def haproxy(
    directory: Path, to: int, options: str, extra: Sequence[str] = ()
) -> AsyncIterator[int]:
    """HAProxy before a port of ours; gives its own on 127.0.0.1. A Unix socket ``door`` in the
    directory leads there too."""
    port = free_port()
    lines = [
        "global",
        "  maxconn 100",
        "defaults",
        "  mode tcp",
        "  timeout connect 5s",
        "  timeout client 20s",
        "  timeout server 20s",
        "  unique-id-format %[uuid()]",
        "listen mail",
        f"  bind 127.0.0.1:{port}",
        f"  bind unix@{directory}/door",
        *(f"  {line}" for line in extra),
        f"  server posthorn 127.0.0.1:{to} {options}",
    ]
    config = directory / "haproxy.cfg"
    config.write_text("\n".join(lines) + "\n")
    process = await asyncio.create_subprocess_exec(
        need("haproxy", "haproxy"), "-db", "-q", "-f", str(config)
    )
    try:
        await _listening(port, directory / "door", process)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), BUSY_SECONDS)


async def _listening(port: int, door: Path, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(BUSY_SECONDS):
        while process.returncode is None:
            if not door.is_socket():  # its name comes last, after the port has been bound
                await asyncio.sleep(0.02)
                continue
            try:
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=("127.0.0.2", 0)
                )
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.transport.abort()
            return
    raise AssertionError("haproxy did not start")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
async def env(tls_dir: Path) -> AsyncIterator[SmtpEnv]:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tls_dir / "tls.crt", tls_dir / "tls.key")
    async with smtp_env(server, smtp_proxy_port=0, smtp_sessions_per_address=1, **NETWORKS) as made:
        yield made


def port_of(env: SmtpEnv) -> int:
    assert env.listening is not None and env.listening.proxy_port is not None
    return env.listening.proxy_port


async def visit(port: int, source: str) -> SmtpDialogue:
    return SmtpDialogue(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))


@with_versions
async def test_smtp_knows_the_client_and_counts_each_for_itself(
    env: SmtpEnv, directory: Path, trust: ssl.SSLContext, options: str
) -> None:
    async with haproxy(directory, port_of(env), options) as port:
        talk = await (await visit(port, CLIENT)).hello()
        assert await talk.say(b"STARTTLS\r\n") == "220 2.0.0"
        await talk.start_tls(trust)
        assert await talk.say(EHLO) == "250"
        await talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
        assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
        assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
        same, other = await visit(port, CLIENT), await visit(port, "127.0.0.10")
        assert await same.code() == "421 4.7.0"
        await other.hello()
        for each in (talk, same, other):
            await each.close()
    envelope, octets = env.only()
    assert envelope.client_address == CLIENT
    assert b"[127.0.0.9]" in octets.partition(b"\r\n\r\n")[0]


@with_versions
async def test_a_client_without_an_address_is_the_balancer(
    env: SmtpEnv, directory: Path, options: str
) -> None:
    async with haproxy(directory, port_of(env), options):
        talk = await SmtpDialogue(*await asyncio.open_unix_connection(directory / "door")).begin()
        assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
        await talk.close()
    assert env.only()[0].client_address == "127.0.0.1"


@with_versions
async def test_health_checks_are_answered(env: SmtpEnv, directory: Path, options: str) -> None:
    check = f"{options} check check-send-proxy inter 100ms"
    # LOCAL in version 2; in version 1 HAProxy names itself
    outcome = "client" if options == "send-proxy" else "balancer"
    before = counted(outcome)
    async with haproxy(
        directory, port_of(env), check, ["option smtpchk EHLO checker.example.org"]
    ) as port:
        await until(lambda: counted(outcome) >= before + 3, BUSY_SECONDS)
        talk = await (await visit(port, CLIENT)).hello()  # it is up
        await talk.close()


async def test_a_balancer_that_sends_no_header_gets_no_session(
    env: SmtpEnv, directory: Path
) -> None:
    async with haproxy(directory, port_of(env), "") as port:
        talk = await visit(port, CLIENT)
        await talk.send(EHLO)
        assert await talk.ended()


@pytest.fixture
async def server(password_hash: str, tls_dir: Path) -> AsyncIterator[Server]:
    house = MemoryMailStore(password_hash)
    await house.deliver(await house.account(ADDRESS), [MESSAGE])
    async with pop3_server(house, tls_dir=tls_dir, pop3s_proxy_port=0, **NETWORKS) as made:
        yield made


@with_versions
async def test_pop3_over_tls_passed_through(
    server: Server, directory: Path, trust: ssl.SSLContext, options: str
) -> None:
    assert server.proxy_tls_port is not None
    async with haproxy(directory, server.proxy_tls_port, options) as port:
        with capture_logs() as logs:
            client = await Client.connect(
                port, ssl=trust, server_hostname="localhost", local_addr=(CLIENT, 0)
            )
            assert (await client.line()).startswith(b"+OK ")
            assert (await client.ask(b"USER " + ADDRESS.encode())).startswith(b"+OK")
            assert (await client.ask(b"PASS " + PASSWORD.encode())).startswith(b"+OK")
            assert await client.fetch(b"RETR 1") == MESSAGE
            assert (await client.ask(b"QUIT")).startswith(b"+OK")
            await until(lambda: not len(server.limiter))
    assert [entry["client"] for entry in logs if entry["event"] == "session ended"] == [CLIENT]
