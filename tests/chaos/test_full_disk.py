"""A full disk under a store: mail is accepted or deferred, none is lost, and there is service soon
after there is room. Needs root, to mount."""

from __future__ import annotations

import smtplib
import subprocess
import time
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
from tests.support.system import SERVICES, System, await_that, running

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

BODY = b"Message-ID: <1@load.example.org>\r\n\r\n" + b"x" * 76 + b"\r\n"
PROMISED_SECONDS = 30.0


@contextmanager
def disk(place: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small disk at this place."""
    place.mkdir(parents=True)
    options = f"size={megabytes}m,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 48 MiB."""
    with disk(tmp_path / "small", 48) as place:
        yield place


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir(mode=0o700)
    return place


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
    small: Path, home: Path
) -> None:
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


def test_mail_waits_together_while_postgres_has_no_room(home: Path) -> None:
    with disk(home / "postgres", 200) as small, running(System(home)) as system:
        drop = system.make_account("full@example.test")
        with full(small):
            deadline, sent = time.monotonic() + BUSY_SECONDS, 0
            while "not delivered yet" not in system.log("delivery"):
                assert time.monotonic() < deadline
                assert _send(system, drop.address) == 250
                sent += 1
            for _ in range(20):
                assert _send(system, drop.address) == 250
                sent += 1
        await_that("all is delivered", lambda: drop.count() == sent, timeout=PROMISED_SECONDS)
        await_that("it says so", lambda: '"delivery goes on"' in system.log("delivery"))
        said = system.log("delivery")
        assert "DiskFullError" in said
        assert "moved to the retry lane" not in said
        assert said.count('"not delivered yet"') == said.count('"delivery goes on"') == 1


def test_mail_is_read_and_small_mail_taken_while_there_is_no_room_for_bodies(home: Path) -> None:
    with disk(home / "blobs", 48) as small, running(System(home)) as system:
        drop = system.make_account("full@example.test")
        large = BODY + b"x\r\n" * 300_000
        assert _send(system, drop.address, large) == 250
        await_that("it is delivered", lambda: drop.count() == 1)
        with full(small):
            assert _send(system, drop.address, large) == 452
            assert _send(system, drop.address, BODY) == 250
            await_that("it is noticed", lambda: not system.serves("delivery"))
            assert [name for name in SERVICES if not system.serves(name)] == ["delivery"]
            assert len(drop.read()) == 1
        await_that("the small one is delivered", lambda: drop.count() == 2)
        assert _send(system, drop.address, large) == 250
        system.await_whole()
        await_that("it says so", lambda: '"a part serves again"' in system.log("delivery"))
        said = system.log("delivery")
        assert said.count('"a part does not serve"') == said.count('"a part serves again"') == 1


def test_a_nats_that_is_killed_on_a_full_disk_serves_once_there_is_room(home: Path) -> None:
    with disk(home / "nats", 48) as small, running(System(home)) as system:
        drop = system.make_account("full@example.test")
        assert _send(system, drop.address, BODY) == 250
        with full(small):
            system.parts()["nats"].kill()
            await_that("its end is noticed", lambda: "nats ended" in system.said())
            assert _send(system, drop.address) in (0, 421, 451, 452)
        await_that(
            "mail is taken again",
            lambda: _send(system, drop.address) == 250,
            timeout=PROMISED_SECONDS + BUSY_SECONDS,
        )
        await_that("it is delivered", lambda: drop.count() >= 2, timeout=40)


def _send(system: System, recipient: str, octets: bytes = BODY + b"x\r\n" * 100_000) -> int:
    try:
        with system.smtp(timeout=40) as session:
            session.ehlo()
            session.mail("sender@example.org")
            session.rcpt(recipient)
            return session.data(octets)[0]
    except (OSError, smtplib.SMTPException):
        return 0
