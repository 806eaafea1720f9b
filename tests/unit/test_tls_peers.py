"""TLS of the server against clients that err, stall, break off or attack."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
import ssl
import struct
import subprocess
import weakref
from functools import partial
from pathlib import Path

import pytest

from posthorn.runtime import tls_transport, tls_watch
from tests.support.polling import BUSY_SECONDS, until
from tests.support.tls_records import (
    ALERT,
    CLOSE_NOTIFY,
    HANDSHAKE,
    KEY_UPDATE,
    KEY_UPDATE_REQUEST,
    RecordClient,
)
from tests.support.tls_sessions import (
    Peers,
    Run,
    Session,
    both,
    client_hello,
    lost,
    open_descriptors,
)

RECORD = 16 * 1024
"""Bytes that a record holds at most."""
MUCH = bytes(range(256)) * 4096 * 8
"""More than sockets take while nobody reads."""


@pytest.fixture
def peers(tmp_path: Path) -> Peers:
    return Peers(tmp_path)


def arrived(session: Session, count: int) -> bool:
    return len(session.got) == count


def reset(client: socket.socket) -> None:
    """Close without the end of TCP: what the server has to send is refused."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# records


@both
def test_records_of_any_size_arrive_in_order(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        said = os.urandom(40 * RECORD)
        records, at = [], 0
        for size in (1, 1, 1, RECORD, 2, RECORD - 1, 5, 0, 0, 1, RECORD) * 3:
            padding = 0 if size == RECORD else 7
            records.append(client.record(said[at : at + size], padding=padding))
            at += size
        await asyncio.to_thread(client.socket.sendall, b"".join(records))
        await until(lambda: len(session.got) == at)
        assert session.got == said[:at]

    peers.play(run, scene)


@both
def test_a_record_that_comes_byte_by_byte_is_awaited(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in client.record(b"hello") + client.key_update() + client.record(b" again"):
            client.socket.sendall(bytes([octet]))
            await asyncio.sleep(0)
        await until(lambda: session.got == b"hello again")

    peers.play(run, scene)


@both
def test_a_key_that_is_changed_in_the_midst_of_data_changes_nothing(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        for turn in range(20):
            update = client.key_update(KEY_UPDATE_REQUEST if turn % 2 else KEY_UPDATE)
            client.socket.sendall(update + client.record(b"ping"))
            await until(partial(arrived, session, 4 * (turn + 1)))
            session.stream.write(b"pong")  # under a new key, where that was requested
            assert await asyncio.to_thread(client.read, 4) == b"pong"

    peers.play(run, scene)


@both
def test_a_key_is_changed_while_much_is_unsent(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        session.stream.write(MUCH)
        assert session.stream.get_write_buffer_size()
        client.socket.sendall(client.key_update(KEY_UPDATE_REQUEST) + client.record(b"more"))
        await until(lambda: session.got == b"more")
        session.stream.write(b"and more")
        assert await asyncio.to_thread(client.read, len(MUCH) + 8) == MUCH + b"and more"

    peers.play(run, scene)


@both
def test_half_an_announcement_of_a_key_before_a_write_does_no_harm_to_others(
    run: Run, peers: Peers
) -> None:
    """OpenSSL can write nothing then. No client does that; the connection ends."""

    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        client.send(KEY_UPDATE[:4], HANDSHAKE)
        await asyncio.sleep(0.05)
        session.stream.write(b"told")
        assert isinstance(await lost(session), ssl.SSLWantReadError)

    peers.play(run, scene)


@both
def test_a_flood_of_keys_ends_the_connection_and_no_other(
    run: Run, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL takes them all within one read, for as long as more of them come."""
    monkeypatch.setattr(tls_watch, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(tls_watch, "MOST_SECONDS", 0.02)

    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        other, its_session = await peers.secured()
        flood = await asyncio.to_thread(lambda: b"".join(client.key_update() for _ in range(20000)))
        flood += client.record(b"after it")
        sending = asyncio.create_task(asyncio.to_thread(client.socket.sendall, flood))
        assert isinstance(await lost(session), ConnectionAbortedError)
        await asyncio.gather(sending, return_exceptions=True)
        assert session.got == b""
        other.sendall(b"still here")
        await until(lambda: its_session.got == b"still here")

    peers.play(run, scene)


@both
@pytest.mark.parametrize("count", [30, 40])
def test_empty_records_are_borne_up_to_a_number(run: Run, peers: Peers, count: int) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        records = [client.record(b"") for _ in range(count)] + [client.record(b"hello")]
        client.socket.sendall(b"".join(records))
        if count < 33:
            await until(lambda: session.got == b"hello")
        else:
            assert isinstance(await lost(session), ssl.SSLError)

    peers.play(run, scene)


@both
@pytest.mark.parametrize(
    "record",
    [
        b"\x17\x03\x03\x00\x20" + bytes(32),
        b"\x17\x03\x03\xff\xff" + bytes(65535),
        b"\x16\x03\x03\x00\x04\x01\x00\x00\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"QUIT\r\n",
    ],
    ids=["forged", "oversized", "plain ClientHello", "plain alert", "text"],
)
def test_what_is_no_record_of_this_connection_ends_it(
    run: Run, peers: Peers, record: bytes
) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        client.send(b"hello")
        client.socket.sendall(record)
        assert isinstance(await lost(session), ssl.SSLError)
        assert session.got == b"hello"

    peers.play(run, scene)


# the end


@both
@pytest.mark.parametrize("ends", [1, 2])
def test_the_end_is_taken_once_and_nothing_after_it(run: Run, peers: Peers, ends: int) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        said = [client.record(b"hello"), *(client.record(CLOSE_NOTIFY, ALERT) for _ in range(ends))]
        client.socket.sendall(b"".join(said) + client.record(b"and after it"))
        assert await lost(session) is None
        assert session.has_eof and session.got == b"hello"
        assert client.read(1) == b""

    peers.play(run, scene)


@both
@pytest.mark.parametrize("at_once", [2000, 64 * 1024])
def test_what_was_sent_before_a_reset_is_taken_and_the_reset_is_noticed(
    run: Run, peers: Peers, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """libuv reports it once, whether everything was read or not."""
    monkeypatch.setattr(tls_transport, "_READ_BYTES", at_once)

    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        said = [client.record(bytes(1000)) for _ in range(12)]
        session.stream.pause_reading()
        client.socket.sendall(b"".join(said))
        reset(client.socket)
        session.stream.resume_reading()
        await lost(session)
        assert len(session.got) == 12 * 1000

    peers.play(run, scene)


@both
def test_a_reset_is_noticed_by_one_that_writes_and_does_not_read(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.recorded()
        session.stream.pause_reading()
        session.stream.write(MUCH)
        reset(client.socket)
        assert isinstance(await lost(session), OSError)

    peers.play(run, scene)


@both
def test_a_client_that_reads_nothing_is_ended_by_abort(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        _client, session = await peers.secured()
        session.stream.write(MUCH)
        session.stream.close()
        await asyncio.sleep(0.02)
        assert not session.errors, "the session says how long it has"
        session.stream.abort()
        assert await lost(session) is None

    peers.play(run, scene)


@both
def test_one_that_goes_on_sending_after_the_end_is_left(
    run: Run, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.secured()

        def talk() -> None:
            try:
                while True:
                    client.sendall(bytes(RECORD))
            except OSError:
                pass

        talking = asyncio.create_task(asyncio.to_thread(talk))
        await until(lambda: bool(session.got))
        session.stream.close()
        assert await lost(session) is None
        await talking

    peers.play(run, scene)


@both
@pytest.mark.usefixtures("collected")
def test_nothing_is_left_of_a_connection(run: Run, peers: Peers) -> None:
    """No descriptor, and no object, even if the garbage collector does not look."""

    async def scene(peers: Peers) -> None:
        client, session = await peers.secured()
        client.close()
        await lost(session)
        del session
        peers.last = None
        await until(lambda: not peers.sessions)
        open_before = open_descriptors()
        for end in ("client", "close", "abort", "reset"):
            client, session = await peers.secured()
            stream = weakref.ref(session.stream.get_extra_info("ssl_object"))
            session.stream.write(MUCH[: 1024 * 1024])
            match end:
                case "client":
                    assert len(await asyncio.to_thread(client.recv, 1)) == 1
                    client.close()
                case "close":
                    session.stream.close()
                    while await asyncio.to_thread(client.recv, 65536):
                        pass
                    client.close()
                case "abort":
                    session.stream.abort()
                    client.close()
                case _:
                    reset(client)
            await lost(session)
            del session, client
            peers.last = None
            await until(lambda: not peers.sessions)
            assert stream() is None
        await until(lambda: open_descriptors() == open_before)

    gc.disable()
    try:
        peers.play(run, scene)
    finally:
        gc.enable()


# the handshake


@both
def test_a_client_that_stalls_in_the_handshake_is_left_wherever_it_stalls(
    run: Run, peers: Peers
) -> None:
    hello = client_hello()

    async def scene(peers: Peers) -> None:
        peers.handshake_seconds = 0.3
        stalled = []
        for count in range(0, len(hello), 23):
            client, session = await peers.connected()
            client.sendall(hello[:count])
            stalled.append((client, session))
        for client, session in stalled:
            assert isinstance(await lost(session), TimeoutError)
            client.close()

    peers.play(run, scene)


@both
def test_a_client_that_sends_a_byte_at_a_time_has_no_more_time_than_others(
    run: Run, peers: Peers
) -> None:
    async def scene(peers: Peers) -> None:
        peers.handshake_seconds = 0.3
        client, session = await peers.connected()
        for octet in client_hello()[:-1]:
            if session.errors:
                break
            client.sendall(bytes([octet]))
            await asyncio.sleep(0.005)
        assert isinstance(await lost(session), TimeoutError)

    peers.play(run, scene)


@both
def test_a_handshake_byte_by_byte_succeeds(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        plain, session = await peers.connected()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        class Slow:
            def __getattr__(self, name: str) -> object:
                return getattr(plain, name)

            def sendall(self, data: bytes) -> None:
                for octet in data:
                    plain.sendall(bytes([octet]))

        client = await asyncio.to_thread(RecordClient, Slow(), peers.trusting())  # type: ignore[arg-type]
        await session.shaking
        client.send(b"hello")
        await until(lambda: session.got == b"hello")

    peers.play(run, scene)


@both
@pytest.mark.parametrize(
    "said",
    [
        b"EHLO example.com\r\n",
        b"\x00" * 400,
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"\x16\x03\x01\x00\x00" * 60,
        b"\x80\x2e\x01\x03\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["SMTP", "zeros", "alert", "empty hello", "empty records", "SSL 2", "HTTP"],
)
def test_what_is_no_handshake_is_refused(run: Run, peers: Peers, said: bytes) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.connected()
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        assert isinstance(await lost(session), OSError)
        with pytest.raises(OSError):
            await session.shaking

    peers.play(run, scene)


@both
def test_an_alert_in_the_midst_of_the_handshake_ends_it(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.connected()
        client.sendall(client_hello())
        assert await asyncio.to_thread(client.recv, 5)
        client.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
        assert isinstance(await lost(session), ssl.SSLError)

    peers.play(run, scene)


@both
def test_a_client_that_trusts_nobody_leaves_nothing(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        plain, session = await peers.connected()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(
                ssl.create_default_context().wrap_socket, plain, server_hostname="localhost"
            )
        plain.close()
        await lost(session)

    peers.play(run, scene)


@both
def test_abort_in_the_turn_in_which_the_handshake_goes_on_ends_it(run: Run, peers: Peers) -> None:
    """Its waiter was woken already."""

    async def scene(peers: Peers) -> None:
        client, session = await peers.connected()
        waiter = session.stream._waiter
        assert waiter is not None
        waiter.add_done_callback(lambda _: session.stream.abort())
        waiter.set_result(None)
        session.stream.abort()
        with pytest.raises(OSError):
            await session.shaking
        await lost(session)
        client.close()

    peers.play(run, scene)


@both
@pytest.mark.parametrize("turns", range(6))
def test_a_handshake_that_is_cancelled_leaves_nothing(run: Run, peers: Peers, turns: int) -> None:
    async def scene(peers: Peers) -> None:
        client, session = await peers.connected()
        client.sendall(client_hello())
        for _ in range(turns):
            await asyncio.sleep(0)
        session.shaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await session.shaking
        assert await lost(session) is None
        client.close()

    peers.play(run, scene)


@both
def test_without_a_free_descriptor_the_connection_is_closed(run: Run, peers: Peers) -> None:
    class Short(Session):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                super().connection_made(transport)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    async def scene(peers: Peers) -> None:
        peers.make = Short
        client, session = await peers.connected()
        error = await lost(session)
        assert isinstance(error, OSError) and error.errno == errno.EMFILE
        assert await asyncio.to_thread(client.recv, 1) == b"", "it is open still"

    peers.play(run, scene)


# the session's own faults


@both
@pytest.mark.parametrize("error", [ValueError(), OSError(), ssl.SSLWantReadError()], ids=repr)
@pytest.mark.parametrize("where", ["data_received", "eof_received"])
def test_a_fault_of_the_session_is_reported_and_ends_the_connection(
    run: Run, peers: Peers, where: str, error: Exception
) -> None:
    """Whatever its type: it is not one of the connection."""

    def fail(*_: object) -> None:
        raise error

    async def scene(peers: Peers) -> None:
        client, session = await peers.secured()
        setattr(session, where, fail)
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert await lost(session) is error
        assert [fault["exception"] for fault in peers.faults] == [error]

    peers.play(run, scene)


# real clients


@both
@pytest.mark.parametrize(
    "options",
    [
        ["-tls1_2"],
        ["-tls1_2", "-no_ticket"],
        ["-tls1_3"],
        ["-no_ticket"],
        ["-maxfraglen", "512"],
        ["-tls1_2", "-maxfraglen", "512"],
        ["-servername", "mail.example.com"],
    ],
    ids=" ".join,
)
def test_openssl_is_understood(run: Run, peers: Peers, options: list[str]) -> None:
    async def scene(peers: Peers) -> None:
        await s_client(peers, options, b"hello\n")
        session = peers.last
        assert session is not None
        await until(lambda: session.got == b"hello\n")

    peers.play(run, scene)


@both
def test_keys_that_openssl_changes_are_followed(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        await s_client(peers, ["-tls1_3"], b"K\n", b"one\n", b"k\n", b"two\n")
        session = peers.last
        assert session is not None
        await until(lambda: session.got == b"one\ntwo\n")

    peers.play(run, scene)


@both
def test_tls_1_2_is_not_negotiated_again(run: Run, peers: Peers) -> None:
    async def scene(peers: Peers) -> None:
        said = await s_client(peers, ["-tls1_2"], b"R\n")
        assert b"no renegotiation" in said
        session = peers.last
        assert session is not None
        assert session.got == b""
        await lost(session)

    peers.play(run, scene)


@both
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(run: Run, peers: Peers, version: ssl.TLSVersion) -> None:
    async def scene(peers: Peers) -> None:
        context = peers.trusting()
        context.maximum_version = version
        first, session = await peers.secured(context)
        session.stream.write(b"hello")
        assert await asyncio.to_thread(first.recv, 5) == b"hello"
        second, session = await peers.secured(context, session=first.session)
        assert second.session_reused
        second.sendall(b"hello")
        await until(lambda: session.got == b"hello")

    peers.play(run, scene)


async def s_client(peers: Peers, options: list[str], *said: bytes) -> bytes:
    """Run openssl's client; let it say something, a piece at a time, and leave. Return what it
    told."""
    process = await asyncio.create_subprocess_exec(
        "openssl",
        "s_client",
        *("-connect", f"127.0.0.1:{peers.port}", "-CAfile", str(peers.certificate)),
        *options,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None and process.stdout is not None
    told = b""
    async with asyncio.timeout(BUSY_SECONDS):
        while b"\n---\n" not in told[-200:] or b"Verify return code" not in told:
            told += await process.stdout.read(1) or pytest.fail(told.decode())
        for piece in said:
            process.stdin.write(piece)
            await process.stdin.drain()
            await asyncio.sleep(0.2)  # it tells of nothing that it does
        process.stdin.close()
        told += await process.stdout.read()
        await process.wait()
    return told
