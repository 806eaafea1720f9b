"""NATS that is silent without closing anything: noticed within seconds, and everything goes on
when it can be reached."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.directory import NatsDirectory
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.layout import ACK_WAIT
from posthorn.model.envelope import decode_record
from posthorn.ports.errors import Unavailable
from posthorn.runtime.settings import NatsSettings
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, until
from tests.support.tcp_proxy import TcpProxy

BODY = b"Subject: hello\r\n\r\nworld\r\n"
PROMISED_SECONDS = 10.0
"""After which mail is accepted and pulled again, counted from the moment at which NATS can be
reached."""
LATEST_SECONDS = PROMISED_SECONDS + ACK_WAIT
"""After which a message comes that the server had sent to the lost connection: what was held back
on it (the message, an open pull request) can reach the server before the new connection does."""


@pytest.fixture
def proxy(nats: Nats) -> Iterator[TcpProxy]:
    with TcpProxy(nats.port) as running:
        yield running


def through(nats: Nats, proxy: TcpProxy) -> NatsSettings:
    return nats_settings(nats, nats_url=nats.url.replace(f":{nats.port}", f":{proxy.port}"))


async def test_half_open_connections_are_replaced_within_seconds(
    nats: Nats, proxy: TcpProxy
) -> None:
    async with (
        connect(through(nats, proxy), "test") as connection,
        NatsIngestSource(connection) as found,
        NatsDirectory(connection) as directory,
    ):
        ingest = NatsIngest(connection)
        await ingest.accept(make_envelope(BODY), BODY)
        (delivery,) = await found.take(1, 1)
        await delivery.ack()
        await until(lambda: _is(directory.is_live), what="the watch")
        proxy.swallow()
        proxy.heal()  # only what was open is lost
        sent = make_envelope(BODY)
        began = time.monotonic()
        await asyncio.wait_for(ingest.accept(sent, BODY), PROMISED_SECONDS + BUSY_SECONDS)
        (delivery,) = await asyncio.wait_for(found.take(1, 1), PROMISED_SECONDS + BUSY_SECONDS)
        assert decode_record(delivery.octets).envelope == sent
        await until(lambda: _is(directory.is_live), what="the watch")
        assert time.monotonic() - began < PROMISED_SECONDS + BUSY_SECONDS


@pytest.mark.parametrize("fault", [TcpProxy.swallow, TcpProxy.stall, TcpProxy.cut])
async def test_after_a_long_silence_everything_goes_on_within_seconds(
    nats: Nats, proxy: TcpProxy, fault: Callable[[TcpProxy], None]
) -> None:
    async with (
        connect(through(nats, proxy), "test") as connection,
        NatsIngestSource(connection) as found,
    ):
        ingest = NatsIngest(connection)
        await ingest.accept(make_envelope(BODY), BODY)
        (delivery,) = await found.take(1, 1)
        await delivery.ack()
        fault(proxy)
        trying = asyncio.create_task(_accept_for_ever(ingest))
        await until(lambda: _is(not connection.is_up), what="noticing")
        await asyncio.sleep(5)
        proxy.heal()
        await asyncio.wait_for(trying, PROMISED_SECONDS + BUSY_SECONDS)
        await asyncio.wait_for(found.take(1, 1), LATEST_SECONDS + BUSY_SECONDS)


async def test_a_stopped_process_costs_no_more_than_its_stop(nats: Nats) -> None:
    async with (
        connect(nats_settings(nats), "test") as connection,
        NatsIngestSource(connection) as found,
    ):
        ingest = NatsIngest(connection)
        await ingest.accept(make_envelope(BODY), BODY)
        assert nats.process
        nats.process.send_signal(signal.SIGSTOP)
        trying = asyncio.create_task(_accept_for_ever(ingest))
        await asyncio.sleep(9)
        await until(lambda: not connection.is_up, what="noticing")
        nats.process.send_signal(signal.SIGCONT)
        await asyncio.wait_for(trying, PROMISED_SECONDS + BUSY_SECONDS)
        assert (
            len(await asyncio.wait_for(found.take(512, 1 << 20), LATEST_SECONDS + BUSY_SECONDS))
            >= 1
        )


async def test_restarts_in_a_row_do_not_add_up(nats: Nats) -> None:
    async with (
        connect(nats_settings(nats), "test") as connection,
        NatsIngestSource(connection) as found,
    ):
        ingest = NatsIngest(connection)
        for number in range(5):
            nats.stop(kill=bool(number % 2))
            await asyncio.sleep(0.3 * number)
            restart(nats)
            await asyncio.sleep(0.2 * (number % 3))
        began = time.monotonic()
        sent = make_envelope(BODY)
        await asyncio.wait_for(ingest.accept(sent, BODY), PROMISED_SECONDS + BUSY_SECONDS)
        (delivery,) = await asyncio.wait_for(found.take(1, 1), PROMISED_SECONDS + BUSY_SECONDS)
        assert decode_record(delivery.octets).envelope == sent
        assert time.monotonic() - began < PROMISED_SECONDS + BUSY_SECONDS


async def _accept_for_ever(ingest: NatsIngest) -> None:
    """As smtp-in does while its client waits."""
    sent = make_envelope(BODY)
    while True:
        with suppress(Unavailable):
            return await ingest.accept(sent, BODY)
        await asyncio.sleep(0.1)


async def _is(value: bool) -> bool:
    return value
