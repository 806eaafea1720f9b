"""A full disk under NATS: 452 while it is full, and service within half a minute of there being
room. Needs root, to mount."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.storage import storage
from posthorn.ports.errors import Full
from posthorn_local.embedded import Nats
from tests.support.builders import make_envelope
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS
from tests.support.system import System, await_that

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

BODY = b"Message-ID: <1@load.example.org>\r\n\r\n" + b"x" * 76 + b"\r\n"
PROMISED_SECONDS = 30.0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 48 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m,mode=755", "tmpfs", str(place)], check=True
    )
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill what is left of the disk for a while."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        filler.unlink()


async def test_a_stream_that_answers_and_stores_nothing_is_full_until_nats_starts_again(
    small: Path,
) -> None:
    nats = Nats(small / "nats", durable=False)
    nats.start()
    settings = nats_settings(
        nats, ingest_max_bytes=16 * 1024**2, dead_max_bytes=1024**2, events_max_bytes=1024**2
    )
    try:
        async with connect(settings, "test") as connection:
            ingest = NatsIngest(connection, timeout=1.0)
            await ingest.accept(make_envelope(BODY), BODY)
            used, limit = await storage(connection, settings)
            assert 0 < used < limit == 18 * 1024**2 + 1024**3
            large = BODY * 3000
            with full(small):
                with pytest.raises(Full):
                    await ingest.accept(make_envelope(large), large)
                tries = ingest._token
                with pytest.raises(Full):  # the next one is not kept waiting for three tries
                    await ingest.accept(make_envelope(large), large)
                assert ingest._token - tries == 1
                with pytest.raises(Full):
                    await ingest.probe()
                assert not nats.is_wedged()  # as long as there is no room, a start would not help
            assert nats.is_wedged()
            nats.stop()
            restart(nats)
            await ingest.accept(make_envelope(large), large)
            await ingest.probe()
            assert not nats.is_wedged()
    finally:
        nats.stop(kill=True)


def test_local_mode_serves_within_half_a_minute_of_there_being_room(
    small: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "nats").mkdir(parents=True)
    home.chmod(0o700)
    (home / "nats").rmdir()
    (home / "nats").symlink_to(small / "nats")
    (small / "nats").mkdir()
    system = System(home)
    try:
        system.start()
        drop = system.make_account("full@example.test")
        assert _send(system, drop.address) == 250
        with full(small):
            assert _send(system, drop.address) in (451, 452)
            assert _send(system, drop.address) == 452
        await_that(
            "mail is taken again",
            lambda: _send(system, drop.address) == 250,
            timeout=PROMISED_SECONDS + BUSY_SECONDS,
        )
        await_that("it is delivered", lambda: drop.count() >= 2, timeout=40)
        assert "NATS stores nothing since its disk was full" in system.said()
    finally:
        system.close()


def _send(system: System, recipient: str) -> int:
    try:
        with system.smtp(timeout=40) as session:
            session.ehlo()
            session.mail("sender@example.org")
            session.rcpt(recipient)
            return session.data(BODY + b"x\r\n" * 100_000)[0]
    except (OSError, smtplib.SMTPException):
        return 0
