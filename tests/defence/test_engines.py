"""ClamAV and rspamd, real ones, as the scanning tier asks them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthorn.model.verdict import EngineState
from posthorn.ports.scan import MessageQuestion
from posthorn_scan.engines.clamav import ClamAv
from posthorn_scan.engines.engine import ConfiguredEngine, EngineClient, EngineDown
from posthorn_scan.engines.rspamd import Rspamd
from tests.support.defence import EICAR, EngineServer, clamd, rspamd
from tests.support.dns_servers import recursive_resolver
from tests.support.polling import until

_STREAM_MAX = 2 * 1024**2
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
PLAIN = (
    b"From: a@example.net\r\nTo: b@example.test\r\nSubject: hello\r\n"
    b"Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n\r\nHello.\r\n"
)
QUESTION = MessageQuestion(
    "0190-id", "192.0.2.1", "mx.example.net", "a@example.net", ("b@example.test",), 0.0, "mx"
)


@pytest.fixture(scope="module")
def clam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with clamd(tmp_path_factory.mktemp("clamd"), stream_max_bytes=_STREAM_MAX) as server:
        yield server


@pytest.fixture(scope="module")
def spamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    directory: Path = tmp_path_factory.mktemp("rspamd")
    with (
        recursive_resolver(directory / "dns", ['example.net. TXT "v=spf1 -all"']) as resolver,
        rspamd(directory / "rspamd", resolver) as server,
    ):
        yield server


def configured(client: EngineClient, seconds: float = 30.0) -> ConfiguredEngine:
    return ConfiguredEngine(client, seconds=seconds, max_bytes=50 * 1024**2, away="hold")


async def test_eicar_is_found_plain_and_in_base64(clam: EngineServer) -> None:
    engine = configured(ClamAv(clam.address))
    encoded = base64.encodebytes(EICAR).replace(b"\n", b"\r\n")
    part = (
        b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded
    )
    for content in (PLAIN.removesuffix(b"Hello.\r\n") + EICAR, part):
        found = await engine.scan(content, QUESTION, client_name="")
        assert found.engine.state is EngineState.OK
        assert found.findings.virus.startswith("Eicar-Test-Signature")
    clean = await engine.scan(PLAIN, QUESTION, client_name="")
    assert (clean.engine.state, clean.findings.virus) == (EngineState.OK, "")
    await engine.look()
    assert engine.detail.startswith("ClamAV ")


@pytest.mark.parametrize("size", [_STREAM_MAX + 1, 3 * _STREAM_MAX, 30 * 1024**2])
async def test_trap_21_beyond_its_stream_limit_it_is_too_large_and_not_down(
    clam: EngineServer, size: int
) -> None:
    engine = configured(ClamAv(clam.address))
    for _ in range(3):
        found = await engine.scan(b"x" * size, QUESTION, client_name="")
        assert found.engine.state is EngineState.TOO_LARGE
        assert found.away is None
    assert engine.is_up


async def test_a_frozen_and_a_killed_clamd_are_away_and_come_back(clam: EngineServer) -> None:
    engine = configured(ClamAv(clam.address), seconds=1.0)
    clam.freeze()
    try:
        found = await engine.scan(PLAIN, QUESTION, client_name="")
        assert (found.engine.state, found.away) == (EngineState.TIMEOUT, "hold")
    finally:
        clam.thaw()
    clam.stop()
    for _ in range(3):
        found = await engine.scan(PLAIN, QUESTION, client_name="")
        assert (found.engine.state, found.away) == (EngineState.DOWN, "hold")
    assert not engine.is_up
    clam.start()

    async def is_back() -> bool:
        await engine.look()
        return engine.is_up

    await until(is_back)
    found = await engine.scan(PLAIN, QUESTION, client_name="")
    assert found.engine.state is EngineState.OK


async def test_trap_20_rspamd_judges_without_greylisting_and_its_authentication_counts_nothing(
    spamd: EngineServer,
) -> None:
    """Trap 20: it would answer ``soft reject`` without having scanned anything."""
    client = Rspamd(f"http://{spamd.address}")
    engine = configured(client, seconds=60.0)
    try:
        await engine.look()
        assert engine.is_up
        for _ in range(2):
            found = await engine.scan(PLAIN, QUESTION, client_name="")
            assert found.engine.state is EngineState.OK, found.engine.detail
            assert "soft reject" not in found.engine.detail
            points = {rule.name: rule.points for rule in found.findings.rules}
            assert points["RSPAMD_R_SPF_FAIL"] == 0
            assert not any("GREYLIST" in name for name in points)
        spam = await engine.scan(PLAIN + GTUBE + b"\r\n", QUESTION, client_name="")
        assert spam.engine.state is EngineState.OK, spam.engine.detail
        assert "reject" in spam.engine.detail
        assert [rule.name for rule in spam.findings.rules] == ["RSPAMD_GTUBE"]
        with pytest.raises(EngineDown):
            await Rspamd(f"http://{spamd.address}/nothing").probe()
    finally:
        await client.close()


async def test_a_frozen_rspamd_is_away(
    spamd: EngineServer,
) -> None:
    client = Rspamd(f"http://{spamd.address}")
    engine = configured(client, seconds=1.0)
    spamd.freeze()
    try:
        found = await engine.scan(PLAIN, QUESTION, client_name="")
        assert (found.engine.state, found.away) == (EngineState.TIMEOUT, "hold")
    finally:
        spamd.thaw()
        await client.close()


async def test_a_killed_rspamd_is_away_and_comes_back(spamd: EngineServer) -> None:
    client = Rspamd(f"http://{spamd.address}")
    engine = configured(client, seconds=10.0)
    try:
        spamd.stop()
        for _ in range(3):
            found = await engine.scan(PLAIN, QUESTION, client_name="")
            assert found.engine.state is EngineState.DOWN
        assert not engine.is_up
        spamd.start()

        async def is_back() -> bool:
            await engine.look()
            return engine.is_up

        await until(is_back)
        found = await engine.scan(PLAIN, QUESTION, client_name="")
        assert found.engine.state is EngineState.OK
    finally:
        await client.close()
