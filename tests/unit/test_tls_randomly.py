"""TLS of the server under random splits, pauses and ends, and against random bytes."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.polling import until
from tests.support.tls_records import (
    ALERT,
    CLOSE_NOTIFY,
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

CONNECTIONS = 12
"""At a time, in one scene."""
GARBAGE = 2000
"""Connections that send something else than a handshake."""


@pytest.fixture
def peers(tmp_path: Path) -> Peers:
    return Peers(tmp_path)


class Fickle(Session):
    """Pauses, takes little, writes much, as chance will have it, and says nothing of its own
    before the client has spoken."""

    def __init__(self, peers: Peers) -> None:
        super().__init__(peers)
        self.dice = random.Random(0)
        self.wrote = bytearray()
        self.is_blocked = False
        self.to_write = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.turn()

    def turn(self) -> None:
        dice, stream = self.dice, self.stream
        match dice.randrange(8):
            case 0:
                stream.pause_reading()
                asyncio.get_running_loop().call_later(dice.random() / 100, stream.resume_reading)
            case 1:
                stream.pause_reading()
                stream.resume_reading()
            case 2:
                stream.set_protocol(Sipping(self, dice.choice((1, 7, 1000))))
            case 3:
                stream.set_write_buffer_limits(dice.choice((0, 1, 30000)))
            case _:
                self.write_some()

    def write_some(self) -> None:
        size = min(self.to_write, self.dice.choice((1, 100, 16384, 16385, 150_000)))
        if size and not self.is_blocked and not self.stream.is_closing():
            self.to_write -= size
            data = self.dice.randbytes(size)
            self.wrote += data
            self.stream.write(data)

    def pause_writing(self) -> None:
        assert not self.is_blocked
        self.is_blocked = True

    def resume_writing(self) -> None:
        assert self.is_blocked
        self.is_blocked = False
        asyncio.get_running_loop().call_soon(self.write_some)


class Sipping(asyncio.BufferedProtocol):
    """Takes the input of a session so many bytes at a time, for a while."""

    def __init__(self, session: Fickle, size: int) -> None:
        self._session = session
        self._space = bytearray(size)
        self._left = 200

    def pause_writing(self) -> None:
        self._session.pause_writing()

    def resume_writing(self) -> None:
        self._session.resume_writing()

    def eof_received(self) -> bool:
        return self._session.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        self._session.got += self._space[:nbytes]
        self._left -= 1
        if not self._left:
            self._session.stream.set_protocol(self._session)
        elif self._session.dice.random() < 0.05:
            self._session.turn()


class Talker:
    """A client that sends in random records and pieces, and reads at a random pace."""

    def __init__(self, client: RecordClient, seed: int) -> None:
        self.client = client
        self.dice = random.Random(seed)
        self.said = b""
        self.got = b""

    def talk(self) -> None:
        """Send something."""
        dice, client = self.dice, self.client
        records, said = [], []
        for _ in range(dice.randrange(1, 60)):
            match dice.randrange(10):
                case 0:
                    records.append(client.key_update(dice.choice((KEY_UPDATE, KEY_UPDATE_REQUEST))))
                case 1:
                    records.append(client.record(b"", padding=dice.randrange(100)))
                case _:
                    size = dice.choice((1, 2, 30, 1000, 5000, 16384))
                    said.append(dice.randbytes(size))
                    records.append(client.record(said[-1]))
        self.said = b"".join(said)
        stream = b"".join(records)
        while stream:
            size = dice.choice((1, 5, 6, 100, 1460, 20_000, 100_000))
            client.socket.sendall(stream[:size])
            stream = stream[size:]
            if dice.random() < 0.1:
                time.sleep(dice.random() / 200)

    def listen(self, count: int) -> None:
        """Read so much."""
        got = bytearray()
        while len(got) < count:
            piece = self.client.read(min(count - len(got), self.dice.choice((1, 10_000, 1 << 20))))
            if not piece:
                break
            got += piece
            if self.dice.random() < 0.1:
                time.sleep(self.dice.random() / 200)
        self.got = bytes(got)


@both
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("seed", range(4))
def test_every_byte_arrives_once_and_in_order(run: Run, peers: Peers, seed: int) -> None:
    peers.make = Fickle

    async def scene(peers: Peers) -> None:
        first, session = await peers.secured()  # what the process opens once is open then
        first.close()
        await lost(session)
        del session
        open_before = open_descriptors()
        dice = random.Random(seed)
        await asyncio.gather(*(one(peers, dice.randrange(1 << 30)) for _ in range(CONNECTIONS)))
        peers.last = None
        await until(lambda: not peers.sessions)
        await until(lambda: open_descriptors() == open_before)
        assert not peers.faults
        assert len(asyncio.all_tasks()) == 1

    async def one(peers: Peers, seed: int) -> None:
        dice = random.Random(seed)
        client, session = await recorded(peers)
        session.dice = random.Random(seed + 1)
        session.to_write = total = dice.choice((0, 1, 50_000, 1_000_000))
        talker, listener = Talker(client, seed), Talker(client, seed + 2)
        listening = asyncio.create_task(asyncio.to_thread(listener.listen, total))
        end = dice.choice(("close", "end", "eof", "reset", "abort"))
        is_early = dice.random() < 0.3
        talking = asyncio.create_task(asyncio.to_thread(talker.talk))
        if is_early and end in ("close", "abort"):
            await asyncio.sleep(dice.random() / 50)
        else:
            is_early = False
            await talking
            await until(lambda: len(session.got) == len(talker.said), every=0.005)
            assert session.got == talker.said
            while session.to_write:
                session.write_some()
                await asyncio.sleep(0.001)
            await listening
            assert listener.got == session.wrote
        match end:
            case "close":
                session.stream.close()
            case "abort":
                session.stream.abort()
            case "end":
                client.send(CLOSE_NOTIFY, ALERT)
            case "eof":
                client.socket.shutdown(socket.SHUT_WR)
            case "reset":
                linger = struct.pack("ii", 1, 0)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.socket.close()
        await until(lambda: bool(session.errors), every=0.005)
        await asyncio.gather(talking, listening, return_exceptions=True)
        client.socket.close()
        await asyncio.sleep(0.02)  # timers of the session
        assert len(session.errors) == 1
        if end != "reset" and not is_early:
            assert session.errors == [None]
        assert talker.said.startswith(session.got) or not talker.said
        if end != "abort":
            assert session.wrote.startswith(listener.got)

    peers.play(run, scene)


async def recorded(peers: Peers) -> tuple[RecordClient, Fickle]:
    """As ``Peers.recorded``, of several at a time."""
    plain, session = await peers.connected()
    assert isinstance(session, Fickle)
    client = await asyncio.to_thread(RecordClient, plain, peers.trusting())
    await session.shaking
    return client, session


@both
@pytest.mark.usefixtures("collected")
def test_random_bytes_in_place_of_a_handshake_leave_nothing(
    run: Run, peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage, and what a client would say with some of its bytes changed, left out or doubled."""
    dice = random.Random(5)
    hello = client_hello()

    def changed() -> bytes:
        said = bytearray(hello)
        for _ in range(dice.randrange(1, 8)):
            at = dice.randrange(len(said))
            match dice.randrange(5):
                case 0:
                    said[at] = dice.randrange(256)
                case 1:
                    del said[at : at + dice.randrange(1, 20)]
                case 2:
                    said[at:at] = said[at : at + dice.randrange(1, 200)]
                case 3:
                    said[at] ^= 1 << dice.randrange(8)
                case 4:
                    said[3:5] = dice.randbytes(2)
        return bytes(said)

    async def scene(peers: Peers) -> None:
        peers.handshake_seconds = 0.5
        address = ("127.0.0.1", peers.port)
        open_before = open_descriptors()

        def send(said: bytes, is_reset: bool) -> None:
            with suppress(OSError), socket.create_connection(address, 5) as client:
                client.sendall(said)
                if is_reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass

        for _ in range(GARBAGE // 20):
            said = [
                dice.randbytes(dice.randrange(400)) if dice.random() < 0.3 else changed()
                for _ in range(20)
            ]
            await asyncio.gather(
                *(asyncio.to_thread(send, each, dice.random() < 0.3) for each in said)
            )
        peers.last = None
        # what a session notes of a failed handshake knows the session
        await until(lambda: gc.collect() >= 0 and not peers.sessions)
        await until(lambda: open_descriptors() == open_before)
        assert not peers.faults
        client, session = await peers.secured()
        client.sendall(b"hello")
        await until(lambda: session.got == b"hello")

    peers.play(run, scene)
    assert not caplog.records
