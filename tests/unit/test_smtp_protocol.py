"""What smtp-in takes from aiosmtpd, and what it does not (ADR 28, ADR 37); and what a session costs
the loop."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, cast

from posthorn_smtp_in.composition import Backends, build_mx
from posthorn_smtp_in.context import ServerContext
from posthorn_smtp_in.protocol import SmtpProtocol
from tests.conformance.smtp.env import (
    MESSAGE,
    TO_ALICE,
    ScriptedBlobs,
    ScriptedDirectory,
    ScriptedIngest,
    settings_of,
)


def context(ingest: ScriptedIngest | None = None) -> ServerContext:
    backends = Backends(ScriptedDirectory(), ingest or ScriptedIngest(), ScriptedBlobs())
    return build_mx(settings_of(smtp_message_max_bytes=4711), backends, None)


class Transport:
    """Takes everything; ``written`` has a piece for each write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 4711) if name == "peername" else None

    def write(self, octets: bytes) -> None:
        self.written.append(octets)

    def pause_reading(self) -> None:
        """Nothing is read anyway."""

    def resume_reading(self) -> None:
        """The test feeds what it likes."""

    def close(self) -> None:
        self.is_closed = True


async def test_the_constructor_of_aiosmtpd_is_given_the_configuration() -> None:
    made = context().configuration
    assert (made.hostname, made.data_size_limit, made.enable_SMTPUTF8) == (
        "mx.example.test",
        4711,
        True,
    )


async def test_no_command_mechanism_or_hook_of_aiosmtpd_can_be_reached() -> None:
    made: Any = context().configuration
    assert made._smtp_methods == made._auth_methods == made._handle_hooks == {}


async def test_a_session_that_need_not_wait_leaves_no_task_and_no_timer_of_the_loop() -> None:
    made, transport = context(), Transport()
    protocol = SmtpProtocol(made)
    tasks = asyncio.all_tasks()
    protocol.connection_made(cast(asyncio.Transport, transport))
    for line in (b"EHLO c.example.org\r\n", *TO_ALICE.splitlines(keepends=True), b"DATA\r\n"):
        protocol.data_received(line)
        assert asyncio.all_tasks() == tasks
        assert len(made.wheel) == 1  # its deadline, and nothing else
    protocol.data_received(MESSAGE + b".\r\nQUIT\r\n")
    codes = [piece[:3] for piece in transport.written]
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250"]
    assert b"\r\n221 " in transport.written[-1]  # both replies in one write
    assert transport.is_closed and asyncio.all_tasks() == tasks
    protocol.connection_lost(None)
    assert len(made.limiter) == len(made.wheel) == 0


async def test_input_that_comes_while_the_stream_is_awaited_is_answered_after_it() -> None:
    ingest = ScriptedIngest()
    ingest.open.clear()
    made, transport = context(ingest), Transport()
    protocol = SmtpProtocol(made)
    protocol.connection_made(cast(asyncio.Transport, transport))
    protocol.data_received(b"EHLO c.example.org\r\n" + TO_ALICE + b"DATA\r\n" + MESSAGE + b".\r\n")
    assert len(transport.written) == 1  # the greeting; all other replies wait for the last one
    protocol.data_received(b"NOOP\r\n")
    protocol.data_received(b"QUIT\r\n")
    assert len(transport.written) == 1
    ingest.open.set()
    while not transport.is_closed:
        await asyncio.sleep(0)
    said = b"".join(transport.written[1:])
    assert said.index(b" accepted\r\n") < said.index(b"250 2.0.0 OK\r\n") < said.index(b"221 ")
    protocol.connection_lost(None)
    assert len(made.limiter) == len(made.wheel) == 0


async def test_a_connection_that_has_ended_leaves_nothing_to_the_garbage_collector() -> None:
    made, transport = context(), Transport()
    protocol = SmtpProtocol(made)
    protocol.connection_made(cast(asyncio.Transport, transport))
    protocol.data_received(b"EHLO c.example.org\r\n" + TO_ALICE + b"DATA\r\n" + MESSAGE + b".\r\n")
    protocol.data_received(b"QUIT\r\n")
    held = weakref.ref(transport)
    gc.collect()
    gc.disable()
    try:
        protocol.connection_lost(None)
        del protocol, transport
        assert held() is None
    finally:
        gc.enable()
