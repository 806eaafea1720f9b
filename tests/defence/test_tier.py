"""The scanning tier with all its parts real: unbound, clamd and rspamd, killed and started again
under load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from posthorn.adapters.dns_stub import StubLookup
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.scanner import NatsScanner
from posthorn.model.envelope import Body, decode_record
from posthorn.model.verdict import EngineState
from posthorn.ports.scan import MessageQuestion
from posthorn.runtime.ids import new_id
from posthorn.wire.auth.results import Outcome, Policy
from posthorn_local.embedded import Nats
from posthorn_scan.composition import configured_engines
from tests.support.builders import make_envelope
from tests.support.defence import EICAR, EngineServer, clamd, rspamd
from tests.support.dns_servers import recursive_resolver
from tests.support.polling import until
from tests.support.scan_env import HOSTNAME, scan_settings, scanning

_RECORDS = (
    'example.net. TXT "v=spf1 ip4:192.0.2.1 -all"',
    '_dmarc.example.net. TXT "v=DMARC1; p=reject"',
    "mx.example.net. A 192.0.2.1",
    "1.2.0.192.in-addr.arpa. PTR mx.example.net.",
)
HEADER = (
    b"From: a@example.net\r\nTo: b@example.test\r\nSubject: hello\r\n"
    b"Content-Type: application/octet-stream\r\n"
    b"Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n\r\n"
)


class Engines:
    """The servers."""

    def __init__(self, clam: EngineServer, spam: EngineServer, resolver: str) -> None:
        self.clam, self.spam, self.resolver = clam, spam, resolver


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    directory: Path = tmp_path_factory.mktemp("tier")
    with (
        recursive_resolver(directory / "dns", _RECORDS) as resolver,
        clamd(directory / "clamd") as clam,
        rspamd(directory / "rspamd", resolver) as spam,
    ):
        yield Engines(clam, spam, resolver)


def question(content: bytes) -> MessageQuestion:
    return MessageQuestion(
        message_id=str(new_id()),
        client="192.0.2.1",
        helo="mx.example.net",
        reverse_path="a@example.net",
        recipients=("b@example.test",),
        received_at=time.time(),
        hostname=HOSTNAME,
        content=content,
        size=len(content),
    )


async def test_engines_killed_and_started_again_under_load_lose_and_refuse_nothing(
    nats: Nats, tmp_path: Path, servers: Engines
) -> None:
    changes = {
        "scan_rspamd_url": f"http://{servers.spam.address}",
        "scan_clamav_address": servers.clam.address,
        "scan_rspamd_seconds": 20,
        "scan_clamav_seconds": 2,
    }
    settings = scan_settings(nats, tmp_path / "blobs", **changes)
    async with (
        configured_engines(settings) as engines,
        StubLookup([servers.resolver], deadline_seconds=10) as lookup,
        scanning(nats, tmp_path / "blobs", lookup=lookup, engines=engines) as env,
    ):
        scanner = NatsScanner(env.mx, message_seconds=60)
        honest = await scanner.message(question(HEADER + b"Hello.\r\n"))
        assert honest.authentication.iprev.name == "mx.example.net"
        assert honest.authentication.dmarc.outcome is Outcome.PASS
        assert {each.state for each in honest.engines} == {EngineState.OK}
        assert honest.is_complete
        forged = await scanner.message(
            replace(question(HEADER + b"Hello.\r\n"), client="198.51.100.1", helo="x.test")
        )
        assert forged.authentication.dmarc.applied is Policy.REJECT
        assert (await scanner.message(question(HEADER + EICAR))).virus.startswith("Eicar")

        states: set[tuple[str, EngineState]] = set()
        is_over = asyncio.Event()

        async def load() -> None:
            while not is_over.is_set():
                verdict = await scanner.message(question(HEADER + b"Hello.\r\n"))
                states.update((each.name, each.state) for each in verdict.engines)
                # whatever happens to engines, nothing but authentication could refuse it
                assert verdict.authentication.dmarc.outcome is Outcome.PASS
                assert not verdict.virus

        loads = [asyncio.create_task(load()) for _ in range(3)]
        servers.clam.stop()
        await until(lambda: ("clamav", EngineState.DOWN) in states)
        body = b"Return-Path: <a@example.net>\r\nReceived: from x\r\n\tby y\r\n" + HEADER + EICAR
        envelope = replace(
            make_envelope(body),
            body=Body.from_message(body, 30),
            client_address="192.0.2.1",
            helo="mx.example.net",
            reverse_path="a@example.net",
        )
        await NatsIngest(env.mx).accept(envelope, body, unscanned=True)
        servers.spam.stop()
        await until(lambda: ("rspamd", EngineState.DOWN) in states)
        servers.spam.start()
        servers.clam.start()
        for engine in engines:
            await until(lambda engine=engine: _is_back(engine), 120)  # type: ignore[misc]
        # what was held is judged now, and found out
        async with NatsIngestSource(env.delivery) as source:
            (taken,) = await asyncio.wait_for(source.take(10, 1 << 20), 120)
        moved = decode_record(taken.octets).envelope
        assert moved.verdict is not None
        assert moved.verdict.virus.startswith("Eicar")
        assert not moved.verdict.gave_up
        servers.clam.freeze()
        await until(lambda: ("clamav", EngineState.TIMEOUT) in states, 60)
        servers.clam.thaw()
        is_over.set()
        await asyncio.gather(*loads)


async def _is_back(engine: object) -> bool:
    await engine.look()  # type: ignore[attr-defined]
    return bool(engine.is_up)  # type: ignore[attr-defined]
