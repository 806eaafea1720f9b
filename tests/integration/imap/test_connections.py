"""The connection around a session, on sockets: TLS, flow control, times, limits, drain."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from posthorn.ports.errors import Unavailable
from posthorn_imap import draining
from posthorn_imap.protocol import ImapProtocol
from tests.support.imap import ALICE, PASSWORD, ImapClient, ImapEnv, ImapServer, imap_server
from tests.support.polling import BUSY_SECONDS, until

LOGIN = f'LOGIN {ALICE} "{PASSWORD}"'


def _protocols(server: ImapServer) -> list[ImapProtocol]:
    """The server's sides of its connections."""
    return [each for each in server.limiter._sessions if isinstance(each, ImapProtocol)]


def _protocol(server: ImapServer) -> ImapProtocol:
    """The server's side of the one connection."""
    (protocol,) = _protocols(server)
    return protocol


@asynccontextmanager
async def _accounts_locked(database_url: str) -> AsyncIterator[None]:
    """Let every change of a mailbox wait."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM accounts FOR UPDATE")
            yield
    finally:
        await connection.close()


@pytest.fixture
async def server(imap: ImapEnv, tls_dir: Path) -> AsyncIterator[ImapServer]:
    await imap.account()
    async with imap_server(imap, tls_dir) as made:
        yield made


async def test_login_on_both_ports_and_starttls(
    imap: ImapEnv, tls_dir: Path, trust: ssl.SSLContext
) -> None:
    await imap.account()
    async with imap_server(imap, tls_dir, imap_cleartext="never") as server:
        assert server.tls_port is not None
        plain = await ImapClient.connect(server.port)
        greeting = await plain.line()
        assert b" STARTTLS LOGINDISABLED]" in greeting
        assert b"AUTH=" not in greeting
        assert (await plain.ask(LOGIN))[-1].startswith(b"NO [PRIVACYREQUIRED] ")
        assert (await plain.ask("AUTHENTICATE PLAIN"))[-1].startswith(b"NO [PRIVACYREQUIRED] ")
        assert (await plain.ask("STARTTLS"))[-1].startswith(b"OK ")
        await plain.secure(trust)
        capabilities = (await plain.ask("CAPABILITY"))[0]
        assert b"AUTH=PLAIN AUTH=LOGIN" in capabilities
        assert b"STARTTLS" not in capabilities
        assert (await plain.ask(LOGIN))[-1].startswith(b"OK [CAPABILITY ")
        assert (await plain.ask("STARTTLS"))[-1].startswith(b"BAD ")

        secure = await ImapClient.connect(server.tls_port, ssl=trust, server_hostname="localhost")
        assert b"STARTTLS" not in await secure.line()
        assert (await secure.ask(LOGIN))[-1].startswith(b"OK ")
        *_, bye, ok = await secure.ask("LOGOUT")
        assert (bye[:5], ok[:2]) == (b"* BYE", b"OK")
        assert await secure.rest() == b""


async def test_what_is_sent_before_the_handshake_is_never_a_command(
    imap: ImapEnv, tls_dir: Path, trust: ssl.SSLContext
) -> None:
    """CVE-2021-33515 and its kin: bytes injected behind STARTTLS."""
    await imap.account()
    async with imap_server(imap, tls_dir) as server:
        client = await server.client()
        client.send(f"s1 STARTTLS\r\ns2 {LOGIN}\r\ns3 CAPABILITY\r\n".encode())
        assert (await client.until(b"s1"))[-1].startswith(b"OK ")
        await client.secure(trust)
        replies = await client.ask("SELECT INBOX")
        assert replies == [b"BAD log in first"]


async def test_a_client_that_takes_nothing_is_not_answered_further_and_then_cut(
    imap: ImapEnv,
) -> None:
    """james-project#2149: output is bounded; a stalled client is cut after the write time-out."""
    await imap.account()
    async with imap_server(imap, imap_write_seconds=0.5) as server:
        client = await server.login()
        sock: socket.socket = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        protocol = _protocol(server)
        for _ in range(200):  # some 20 MB of answers
            client.send(b"x CAPABILITY\r\n" * 200)
        await until(lambda: protocol.is_blocked)
        assert protocol.stream.get_write_buffer_size() < 500_000
        assert protocol._machine.buffered < 300_000
        await until(lambda: not len(server.limiter))


async def test_who_is_not_logged_in_takes_little_memory(
    server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2025-61600: memory before login is bounded, also while a login is judged."""
    judged, go = asyncio.Event(), asyncio.Event()

    async def wait(*_: object) -> None:
        judged.set()
        await go.wait()

    monkeypatch.setattr(server.context.logins._mail_login, "_find", wait)
    client = await server.client()
    client.send(LOGIN.join(("a ", "\r\n")).encode() + b"b NOOP\r\n" * 500_000)
    await judged.wait()
    protocol = _protocol(server)
    await until(lambda: not protocol.is_reading)
    assert protocol._machine.buffered <= 2 * 4096
    go.set()
    assert (await client.until(b"a"))[-1].startswith(b"NO ")
    client.abort()
    client = await server.client()
    client.send(b"c LOGIN {100000+}\r\n" + bytes(50_000))
    await client.writer.drain()
    await asyncio.sleep(0.1)
    assert sum(each._machine.buffered for each in _protocols(server)) < 30_000
    client.send(bytes(50_000) + b" x\r\nd NOOP\r\n")
    assert (await client.until(b"c"))[-1].startswith(b"NO [TOOBIG] ")
    assert (await client.until(b"d"))[-1].startswith(b"OK ")


async def test_time_outs_before_login_in_silence_and_the_sign_of_life_in_idle(
    imap: ImapEnv,
) -> None:
    """stalwartlabs/stalwart#3299: ``* OK Still here`` in IDLE."""
    await imap.account()
    async with imap_server(
        imap, imap_login_seconds=4.0, imap_idle_seconds=8.0, imap_keepalive_seconds=0.5
    ) as server:
        silent = await server.client()
        idle = await server.login()
        idle.send(b"i IDLE\r\n")
        assert (await idle.line()).startswith(b"+ ")
        for _ in range(2):
            assert await idle.line() == b"* OK Still here"
        idle.send(b"DONE\r\n")
        assert (await idle.until(b"i"))[-1].startswith(b"OK ")
        assert await silent.rest() == b"* BYE the time to log in is over\r\n"
        assert await idle.rest() == b"* BYE [UNAVAILABLE] idle for too long\r\n"
        await until(lambda: not len(server.limiter))


async def test_commands_in_one_packet_and_byte_by_byte(server: ImapServer) -> None:
    """stalwart#765, mutt: what follows DONE in the same packet is answered too."""
    client = await server.login()
    client.send(b"a SELECT INBOX\r\n\r\nb IDLE\r\nDONE\r\nc STATUS INBOX (MESSAGES)\r\nd NOOP\r\n")
    for tag in (b"a", b"b", b"c", b"d"):
        assert (await client.until(tag))[-1].startswith(b"OK "), tag
    for byte in b'e LIST "" {5}\r\n':
        client.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert await client.line() == b"+ OK"
    client.send(b"INBOX\r\n")
    assert len(await client.until(b"e")) == 2


async def test_a_client_that_goes_in_the_middle_cancels_nothing(
    imap: ImapEnv, server: ImapServer, database_url: str
) -> None:
    account = imap.accounts[ALICE]
    client = await server.login()
    async with _accounts_locked(database_url):
        client.send(b"a CREATE Kept\r\nb CREATE Never\r\n")
        await until(lambda: bool(_protocol(server)._work))
        sock: socket.socket = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.abort()  # a reset, so that the server hears of it
        await until(lambda: _protocol(server).is_lost)
        assert len(server.limiter) == 1, "it leaves when its work is done"
    await until(lambda: not len(server.limiter))
    folders = imap.context.backend.folders
    assert await folders.find(account, "Kept") is not None
    assert await folders.find(account, "Never") is None
    client = await server.login()
    client.send(b"a CREATE {4+}\r\nHalf")  # and half a command is none
    await client.writer.drain()
    client.abort()
    await until(lambda: not len(server.limiter))
    assert await folders.find(account, "Half") is None


async def test_limits_of_an_account_and_of_the_process(imap: ImapEnv) -> None:
    await imap.account()
    async with imap_server(
        imap, imap_connections=4, imap_connections_per_address=4, imap_connections_per_account=2
    ) as server:
        first, second = await server.login(), await server.login()
        third = await server.client()
        assert (await third.ask(LOGIN))[-1].startswith(b"NO [LIMIT] ")
        assert (await third.ask("NOOP"))[-1].startswith(b"OK ")
        await first.close()
        await until(lambda: len(server.limiter) == 2)
        assert (await third.ask(LOGIN))[-1].startswith(b"OK ")
        assert (await second.ask("NOOP"))[-1].startswith(b"OK ")
        waiting = [await server.client(), await server.client()]
        refused = await ImapClient.connect(server.port)
        assert await refused.rest() == b"* BYE [UNAVAILABLE] too many connections\r\n"
        assert len(waiting) == 2


async def test_a_changed_password_and_a_suspended_account_end_connections(
    imap: ImapEnv, server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, busy = await server.login(), await server.login()
    idle.send(b"i IDLE\r\n")
    assert (await idle.line()).startswith(b"+ ")
    await server.context.logins.watch()
    assert (await busy.ask("NOOP"))[-1].startswith(b"OK ")
    with monkeypatch.context() as patch:

        async def broken(_: object) -> None:
            raise Unavailable("postgres")

        patch.setattr(server.context.backend.folders, "ended", broken)
        await server.context.logins.watch()
    assert (await busy.ask("NOOP"))[-1].startswith(b"OK "), "nobody could be asked"
    await imap.seed.rows("UPDATE accounts SET password_hash = password_hash || 'x'")
    await server.context.logins.watch()
    for client in (idle, busy):
        assert (await client.rest()).startswith(b"* BYE the password was changed")
    await imap.seed.rows("UPDATE accounts SET password_hash = rtrim(password_hash, 'x')")
    again = await server.login()
    await imap.seed.rows("UPDATE accounts SET state = 'suspended'")
    await server.context.logins.watch()
    assert (await again.rest()).startswith(b"* BYE this account is suspended")
    client = await server.client()
    assert (await client.ask(LOGIN))[-1].startswith(b"NO [CONTACTADMIN] ")


async def test_rfc4978_compress(server: ImapServer) -> None:
    """mox f6132bd: the inflater gets all that was read; WildDuck c223f429: a bomb is taken in
    pieces, and what is no DEFLATE ends the connection."""
    client = await server.login()
    deflate, inflate = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)

    def packed(octets: bytes) -> bytes:
        return deflate.compress(octets) + deflate.flush(zlib.Z_SYNC_FLUSH)

    async def until_tag(tag: bytes) -> bytes:
        found = b""
        async with asyncio.timeout(BUSY_SECONDS):
            while tag not in found:
                piece = await client.read()
                assert piece, found
                found += inflate.decompress(piece)
        return found

    client.send(b"a COMPRESS DEFLATE\r\n" + packed(b"b SELECT INBOX\r\nc CAPABILITY\r\n"))
    assert await client.line() == b"a OK both directions are compressed from here"
    assert b"* 0 EXISTS" in await until_tag(b"c OK")
    client.send(packed(b"d COMPRESS DEFLATE\r\n"))
    assert b"d NO [COMPRESSIONACTIVE]" in await until_tag(b"d NO")
    # 64 MB in 64 KB: refused and drained, while others are served
    bomb = packed(b"e CREATE {64000000+}\r\n" + bytes(64_000_000) + b"\r\nf NOOP\r\n")
    assert len(bomb) < 100_000
    client.send(bomb)
    assert b"e NO [TOOBIG]" in await until_tag(b"f OK")
    client.send(b"\xff\xff\xff\xff no DEFLATE")
    assert await client.rest() == b""
    await until(lambda: not len(server.limiter))


async def test_who_comes_by_a_balancer_is_known_by_its_own_address_and_never_on_this_host(
    imap: ImapEnv,
) -> None:
    await imap.account()
    await imap.seed.rows("UPDATE accounts SET allowed_networks = '{203.0.113.0/24}'")
    async with imap_server(imap, imap_proxy_port=0, proxy_networks=["127.0.0.1/32"]) as server:
        assert server.proxy_port is not None
        for address in ("127.0.0.1", "203.0.113.9"):
            client = await ImapClient.connect(server.proxy_port)
            client.send(f"PROXY TCP4 {address} 127.0.0.1 4711 143\r\n".encode())
            assert b" LOGINDISABLED]" in await client.line()
            assert (await client.ask(LOGIN))[-1].startswith(b"NO [PRIVACYREQUIRED] ")
            assert _protocol(server).address == address
            await client.close()
            await until(lambda: not len(server.limiter))


async def test_a_drain_ends_connections_one_after_another_and_lets_a_command_end(
    imap: ImapEnv, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await imap.account()
    monkeypatch.setattr(draining, "_PER_SECOND", 5.0)
    ends: list[float] = []

    async def wait(client: ImapClient) -> bytes:
        rest = await client.rest()
        ends.append(time.monotonic())
        return rest

    async with imap_server(imap, grace_seconds=4.0) as server:
        clients = [await server.login() for _ in range(4)]
        clients[0].send(b"i IDLE\r\n")
        assert (await clients[0].line()).startswith(b"+ ")
        unknown = await server.client()
        waiting = [asyncio.create_task(wait(client)) for client in (unknown, *clients)]
        await asyncio.sleep(0)
        async with _accounts_locked(database_url):
            clients[1].send(b"c CREATE Late\r\n")
            await until(lambda: any(each._work for each in _protocols(server)))
            clients[2].send(b"d CREATE {4+}\r\nHa")
            await until(lambda: any(each._machine.is_in_command for each in _protocols(server)))
            leaving = asyncio.create_task(server.limiter.drain(20.0))
            await until(lambda: len(ends) == 3)
            clients[2].send(b"lf\r\n")
        rests = await asyncio.gather(*waiting)
        await leaving
        assert not len(server.limiter)
    assert ends[2] - ends[0] >= 0.5, "not all at once"
    assert all(b"* BYE [UNAVAILABLE] server going down" in rest for rest in rests)
    for rest, tag in ((rests[2], b"c"), (rests[3], b"d")):
        assert rest.startswith(tag + b" OK [MAILBOXID "), "what was under way has ended"
