"""PostgreSQL and NATS from wheels, as local mode and the tests use them."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import asyncpg
import nats as nats_client
import psutil
import pytest

from posthorn_local.embedded import EmbeddedError, Nats, Postgres, free_port
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS
from tests.support.ports import PortsInTurn


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Postgres]:
    """A durable cluster of the test's own, under a private directory whose path holds a space."""
    private = tmp_path / "private place"
    private.mkdir(mode=0o700)
    server = Postgres(private / "postgres")
    server.start()
    yield server
    server.stop(kill=True)


async def test_postgres_comes_back_on_its_port_after_a_crash_with_what_was_committed(
    cluster: Postgres,
) -> None:
    connection = await asyncpg.connect(cluster.url)
    await connection.execute("CREATE TABLE kept (word text)")
    await connection.execute("INSERT INTO kept VALUES ('kept')")
    assert cluster.process is not None
    cluster.process.kill()
    cluster.process.wait()
    connection.terminate()
    port = cluster.port
    cluster.start(port)  # while the processes of the former one may still be ending
    assert cluster.port == port
    connection = await asyncpg.connect(cluster.url)
    assert await connection.fetchval("SELECT word FROM kept") == "kept"
    await connection.close()


def test_no_directory_is_opened_to_others_for_postgres(cluster: Postgres) -> None:
    for directory in (cluster.directory.parent, cluster.directory / "data"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((cluster.directory / "password").stat().st_mode) == 0o600


def test_a_postgres_that_cannot_recover_is_told_at_once_with_its_last_words(
    cluster: Postgres,
) -> None:
    cluster.stop(kill=True)
    for path in (cluster.directory / "data" / "pg_wal").glob("0*"):
        path.unlink()
    began = time.monotonic()
    with pytest.raises(EmbeddedError, match=r"did not start(.|\n)*checkpoint"):
        cluster.start(timeout=LONG_SECONDS)
    assert time.monotonic() - began < BUSY_SECONDS
    assert cluster.process is None


def test_a_cluster_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    server = Postgres(tmp_path, durable=False)
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("18")
    server.start()
    server.stop(kill=True)
    assert not (tmp_path / "data.new").exists()


async def test_nats_keeps_what_it_acknowledged_over_a_crash(tmp_path: Path) -> None:
    server = Nats(tmp_path / "a home")
    server.start()
    try:
        client = await nats_client.connect(server.url)
        await client.jetstream().add_stream(name="S", subjects=["s"])
        await client.jetstream().publish("s", b"kept")
        await client.close()
        server.stop(kill=True)
        server.start(server.port)
        client = await nats_client.connect(server.url)
        assert (await client.jetstream().get_last_msg("S", "s")).data == b"kept"
        await client.close()
    finally:
        server.stop(kill=True)


def test_a_server_that_does_not_start_leaves_nothing_running(tmp_path: Path) -> None:
    server = Nats(tmp_path / "nats")
    server.start()
    second = Nats(tmp_path / "second")
    with pytest.raises(EmbeddedError, match=r"did not start(.|\n)*address already in use"):
        second.start(server.port)
    server.stop()
    shutil.rmtree(tmp_path)
    assert not [
        child for child in psutil.Process().children() if str(tmp_path) in " ".join(child.cmdline())
    ]


def test_free_ports_lie_outside_those_that_the_kernel_gives_to_clients() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < free_port() < max(low, 32_000) for _ in range(20))


def test_no_worker_of_these_tests_draws_what_another_or_local_mode_draws() -> None:
    drawn = [set(islice(PortsInTurn(worker, 16), 800)) for worker in range(16)]
    script = "from posthorn_local.embedded import _PORTS; print(*_PORTS)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    drawn.append(set(map(int, said.stdout.split())))
    assert all(len(ports) > 300 for ports in drawn)
    assert sum(map(len, drawn)) == len(set().union(*drawn))


@pytest.mark.skipif(
    os.geteuid() != 0,
    reason="an ordinary user's server keeps the first death signal and needs no second",
)
def test_a_server_whose_parent_is_gone_before_it_has_changed_its_user_does_not_begin(
    tmp_path: Path,
) -> None:
    server = Postgres(tmp_path / "postgres", durable=False)
    command = server._as_user(["true"], signal.SIGQUIT)
    assert subprocess.run(command, check=False).returncode == 0
    # as somebody else's child, which is what an orphan is, it must not
    assert (
        subprocess.run(["sh", "-c", '"$@"; exit $?', "sh", *command], check=False).returncode == 1
    )
