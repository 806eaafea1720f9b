"""The scanning tier as a process: it serves without Postgres, S3 and DNS, and drains at SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.scanner import NatsScanner
from posthorn.model.verdict import EngineState
from posthorn.ports.scan import MessageQuestion, ScanUnavailable
from posthorn_local.embedded import Nats, free_port
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, until
from tests.support.service_process import environment, page, program, until_ready

MESSAGE = (
    b"From: a@example.org\r\nSubject: x\r\n"
    b'Content-Type: application/zip; name="a.zip"\r\n\r\nHello.\r\n'
)
ASKED = MessageQuestion("id", "192.0.2.1", "h.test", "", ("b@x.test",), 1.0, "mx", MESSAGE, size=9)


async def test_it_serves_with_nats_alone_and_answers_what_it_began_at_sigterm(
    nats: Nats, tmp_path: Path
) -> None:
    health, dead = free_port(), free_port()
    variables = environment(
        NATS_URL=nats.url_of("scan"),
        BLOBS=(tmp_path / "blobs").as_uri(),
        HEALTH_HOST="127.0.0.1",
        HEALTH_PORT=str(health),
        SCAN_DNS_SERVERS=f'["127.0.0.1:{dead}"]',
        SCAN_DNS_SECONDS="1",
        SCAN_CLAMAV_ADDRESS=f"127.0.0.1:{dead}",
    )
    async with connect(nats_settings(nats), "test") as connection:
        scanner = NatsScanner(connection, message_seconds=30)
        process = subprocess.Popen(program("scan"), env=variables, stdin=subprocess.DEVNULL)
        try:
            await until_ready(health)
            verdict = await scanner.message(ASKED)
            assert verdict.engines[0].state is EngineState.OK
            assert verdict.engines[1].state is EngineState.DOWN
            assert verdict.hold, "the default for ClamAV"

            async def engine_is_seen_away() -> bool:
                metrics = (await page(health, "metrics")).text
                return 'posthorn_scan_engine_up{engine="clamav"} 0.0' in metrics

            for _ in range(3):
                await scanner.message(ASKED)
            await until(engine_is_seen_away)
            readiness = (await page(health, "readyz")).json()
            assert readiness["ready"]
            assert readiness["details"]["clamav"].startswith("away: ")
            asked = [asyncio.create_task(scanner.message(ASKED)) for _ in range(5)]
            await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                assert not isinstance(answer, BaseException) or "nobody" in str(answer)
            assert await asyncio.to_thread(process.wait, 2 * BUSY_SECONDS) == 0
            try:
                await scanner.message(ASKED)
            except ScanUnavailable as fault:
                assert "nobody" in str(fault)
            else:
                raise AssertionError("nobody is there")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(BUSY_SECONDS)
