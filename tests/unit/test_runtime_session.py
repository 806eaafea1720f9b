"""The protocol base: deadlines, flow control, admission and the end, on a loop and a transport
whose time the test makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from posthorn.runtime.connection_limiter import ConnectionLimiter
from posthorn.runtime.session import Deadline, SessionProtocol


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualLoop:
    """A loop's clock and timers; ``pass_to`` lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Timer:
        self.set += 1
        self.timers.append(Timer(at, call))
        return self.timers[-1]

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return self.call_at(self.now + seconds, call)

    def pass_to(self, now: float) -> None:
        while due := [each for each in self.timers if not each.is_cancelled and each.at <= now]:
            timer = min(due, key=lambda each: each.at)
            self.timers.remove(timer)
            self.now = timer.at
            timer.call()
        self.now = now


class Transport:
    """What is written, and how much of it lies untaken."""

    def __init__(self, peer: str = "192.0.2.1") -> None:
        self.peer = peer
        self.written: list[bytes] = []
        self.untaken = 0
        self.reading = True
        self.ended = ""

    def get_extra_info(self, name: str) -> Any:
        return (self.peer, 4711) if name == "peername" else None

    def write(self, octets: bytes) -> None:
        self.written.append(octets)

    def get_write_buffer_size(self) -> int:
        return self.untaken

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


class Spoken(SessionProtocol):
    """Notes what the base tells it."""

    def __init__(self, limiter: ConnectionLimiter, **options: Any) -> None:
        super().__init__(limiter, None, secure=False, **{"client": None} | options)
        self.told: list[str] = []

    def begin(self) -> None:
        self.told.append("begin")

    def refuse(self, limit: str) -> None:
        self.told.append(limit)

    def drain(self) -> None:
        self.told.append("drain")

    def abort(self) -> None:
        self.stream.abort()

    def lost(self, error: Exception | None) -> None:
        self.told.append("lost")


def made(limiter: ConnectionLimiter, transport: Transport | None = None, **options: Any) -> Spoken:
    protocol = Spoken(limiter, **options)
    protocol.loop = cast(asyncio.AbstractEventLoop, ManualLoop())
    protocol.connection_made(cast(asyncio.BaseTransport, transport or Transport()))
    return protocol


def clock_of(protocol: Spoken) -> ManualLoop:
    return cast(ManualLoop, protocol.loop)


def transport_of(protocol: Spoken) -> Transport:
    return cast(Transport, protocol.stream)


# --- deadlines
# -------------------------------------------------------------------------------------------------------


def deadline() -> tuple[Deadline, ManualLoop, list[float]]:
    loop, expired = ManualLoop(), list[float]()
    return (
        Deadline(cast(asyncio.AbstractEventLoop, loop), lambda: expired.append(loop.now)),
        loop,
        expired,
    )


def test_a_deadline_that_is_moved_away_sets_no_timer_and_expires_at_its_last_time() -> None:
    made_deadline, loop, expired = deadline()
    for second in range(10):
        loop.pass_to(second)
        made_deadline.set(second + 10.0)
    assert loop.set == 1
    loop.pass_to(18.9)
    assert expired == []
    loop.pass_to(30)
    assert expired == [19.0]


def test_a_deadline_that_comes_nearer_expires_sooner_and_once() -> None:
    made_deadline, loop, expired = deadline()
    made_deadline.set(100)
    made_deadline.set(5)
    loop.pass_to(200)
    assert expired == [5.0]
    made_deadline.set(210)
    loop.pass_to(300)
    assert expired == [5.0, 210.0]


@pytest.mark.parametrize("end", [Deadline.clear, Deadline.close])
def test_a_deadline_that_is_cleared_does_not_expire(end: Callable[[Deadline], None]) -> None:
    made_deadline, loop, expired = deadline()
    made_deadline.set(5)
    end(made_deadline)
    loop.pass_to(10)
    assert expired == []
    made_deadline.set(15)
    loop.pass_to(20)
    assert expired == [15.0]


# --- admission and the end
# -------------------------------------------------------------------------------------------


async def test_a_connection_is_admitted_under_the_address_of_its_proxy_header() -> None:
    limiter = ConnectionLimiter(10, 1)
    direct, told = made(limiter), made(limiter, client="198.51.100.7")
    assert (direct.address, direct.via_proxy) == ("192.0.2.1", False)
    assert (told.address, told.via_proxy) == ("198.51.100.7", True)
    assert direct.told == told.told == ["begin"]
    assert made(limiter).told == made(limiter, client="198.51.100.7").told == ["address"]
    assert len(limiter) == 2


async def test_it_leaves_the_limiter_when_its_work_has_ended_not_when_the_client_goes() -> None:
    limiter = ConnectionLimiter(10, 10)
    protocol = made(limiter)
    protocol.connection_lost(None)
    protocol.connection_lost(None)  # the transport between the layers of TLS may tell it, too
    assert protocol.told == ["begin", "lost"] and protocol.is_lost
    assert len(limiter) == 1
    assert protocol.leave() and not protocol.leave()
    assert len(limiter) == 0


async def test_a_drain_is_told_once_it_is_known() -> None:
    limiter = ConnectionLimiter(10, 10)
    protocol = made(limiter)
    protocol.begin_drain()
    assert protocol.is_draining and protocol.told == ["begin", "drain"]


# --- flow control
# ----------------------------------------------------------------------------------------------------


async def test_output_is_written_in_one_piece() -> None:
    protocol = made(ConnectionLimiter(10, 10))
    for octets in (b"a", b"b", b"c"):
        protocol.send(octets)
    assert protocol.output_bytes == 3 and transport_of(protocol).written == []
    protocol.flush()
    protocol.flush()
    assert transport_of(protocol).written == [b"abc"] and protocol.output_bytes == 0


async def test_reading_is_paused_and_resumed_once() -> None:
    protocol = made(ConnectionLimiter(10, 10))
    protocol.pause_reading()
    protocol.pause_reading()
    assert (protocol.is_reading, transport_of(protocol).reading) == (False, False)
    protocol.resume_reading()
    assert (protocol.is_reading, transport_of(protocol).reading) == (True, True)


@pytest.mark.parametrize("end", ["resumed", "lost"])
async def test_who_waits_for_a_blocked_client_goes_on_when_it_takes_something_or_is_gone(
    end: str,
) -> None:
    protocol = made(ConnectionLimiter(10, 10))
    protocol.pause_writing()
    protocol.loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(protocol.unblocked())
    await asyncio.sleep(0)
    assert not waiting.done()
    if end == "resumed":
        protocol.resume_writing()
    else:
        protocol.connection_lost(None)
    await waiting


async def test_a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not() -> None:
    slow = made(ConnectionLimiter(10, 10), write_seconds=10)
    transport_of(slow).untaken = 1000
    slow.pause_writing()
    for second in range(5, 100, 5):
        transport_of(slow).untaken -= 1
        clock_of(slow).pass_to(second)
    assert transport_of(slow).ended == ""
    clock_of(slow).pass_to(120)
    assert transport_of(slow).ended == "aborted"


async def test_a_client_that_has_taken_all_is_not_cut() -> None:
    protocol = made(ConnectionLimiter(10, 10), write_seconds=10)
    protocol.pause_writing()
    clock_of(protocol).pass_to(9)
    protocol.resume_writing()
    clock_of(protocol).pass_to(100)
    assert transport_of(protocol).ended == "" and not protocol.is_blocked
