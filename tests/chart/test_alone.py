"""No two servers on one volume: the beginnings of the stores' commands, run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, Object, case, render

STORES = ("postgresql", "nats", "s3")
LOCKED = {"postgresql": "/var/lib/postgresql", "nats": "/data"}


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to end, with all that they started."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def store(name: str) -> Object:
    spec: Object = case("default").by_kind("StatefulSet")[f"posthorn-{name}"]["spec"]
    return spec


def started(command: list[str], processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    processes.append(process)
    return process


def wrapped(name: str, volume: Path, program: str) -> list[str]:
    """The store's command on another volume, with a Python program in the server's place."""
    command = store(name)["template"]["spec"]["containers"][0]["command"]
    assert command[:2] == ["sh", "-c"]
    assert command[3] == "sh"
    return [
        "sh",
        "-c",
        command[2].replace(LOCKED[name], str(volume)),
        "sh",
        sys.executable,
        "-uc",
        program,
    ]


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("name", LOCKED)
def test_a_server_waits_for_the_one_before_and_for_all_of_its_processes(
    name: str, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    # like a postmaster: it dies before its child
    child = (
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'child')!r}).touch(); time.sleep(600)"
    )
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], close_fds=False)"
    first = started(wrapped(name, tmp_path, program), processes)
    until((tmp_path / "child").exists)
    second = started(wrapped(name, tmp_path, "print('runs')"), processes)
    assert second.stdout
    assert second.stdout.readline() == "waiting for the server that still runs on this volume\n"
    first.kill()
    first.wait()
    time.sleep(0.6)  # several looks
    assert second.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    assert second.stdout.read() == "runs\n"
    assert second.wait() == 0


def test_who_waits_can_be_stopped(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    first = started(
        wrapped("postgresql", tmp_path, "print('runs'); import time; time.sleep(600)"), processes
    )
    assert first.stdout
    assert first.stdout.readline() == "runs\n"
    second = started(wrapped("postgresql", tmp_path, "print('runs')"), processes)
    assert second.stdout
    assert second.stdout.readline().startswith("waiting")
    second.terminate()
    assert second.wait(30) == 143


def test_without_locks_it_starts_all_the_same(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "flock").write_text("#!/bin/sh\nexit 71\n")
    (tmp_path / "bin" / "flock").chmod(0o755)
    command = wrapped("nats", tmp_path, "print('runs')")
    process = started(["env", f"PATH={tmp_path}/bin:{os.environ['PATH']}", *command], processes)
    assert process.stdout
    assert process.stdout.read() == "this volume knows no locks\nruns\n"


def test_s3_waits_until_the_database_of_the_one_before_is_closed(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    (waiting,) = store("s3")["template"]["spec"]["initContainers"]
    assert waiting["command"][:2] == ["python", "-Sc"]
    database = tmp_path / "meta" / "db.sqlite"
    program = waiting["command"][2].replace("/var/lib/garage", str(tmp_path))
    assert str(database) in program
    assert (
        subprocess.run([sys.executable, "-Sc", program], timeout=60, check=False).returncode == 0
    )  # nothing there yet
    database.parent.mkdir()
    held = sqlite3.connect(database)
    held.execute("PRAGMA journal_mode = WAL")
    held.execute("CREATE TABLE t (a)")
    held.commit()
    second = started([sys.executable, "-Suc", program], processes)
    assert second.stdout
    assert second.stdout.readline() == "waiting for the server that still runs on this volume\n"
    held.close()
    assert second.wait(60) == 0
    # what Garage is told is what is looked at
    config = case("default").by_kind("ConfigMap")["posthorn-s3"]["data"]["garage.toml"]
    assert 'db_engine = "sqlite"' in config
    assert 'metadata_dir = "/var/lib/garage/meta"' in config


def test_the_locks_are_on_the_volumes_and_the_servers_follow() -> None:
    for name, folder in LOCKED.items():
        container = store(name)["template"]["spec"]["containers"][0]
        assert {"name": "data", "mountPath": folder} in container["volumeMounts"]
        assert f"{folder}/.posthorn.lock" in container["command"][2]
        assert "args" not in container  # nothing comes before the lock
    assert store("postgresql")["template"]["spec"]["containers"][0]["command"][4:6] == [
        "docker-entrypoint.sh",
        "postgres",
    ]
    assert store("nats")["template"]["spec"]["containers"][0]["command"][4] == "nats-server"


def test_postgres_is_stopped_fast_whatever_signal_its_image_has() -> None:
    # SIGINT is the fast shutdown (PostgreSQL, "Shutting Down the Server"); process 1 is the
    # postmaster by two execs
    hook = store("postgresql")["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]
    assert hook == {"exec": {"command": ["sh", "-c", "kill -INT 1"]}}


@pytest.mark.parametrize("name", STORES)
def test_a_volume_may_be_for_one_pod_alone(name: str) -> None:
    (claim,) = store(name)["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    rendered = render({name: {"bundled": {"storage": {"accessModes": ["ReadWriteOncePod"]}}}})
    (claim,) = rendered.by_kind("StatefulSet")[f"posthorn-{name}"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values[name]["bundled"]["storage"]["accessModes"] == ["ReadWriteOnce"]
    assert "ReadWriteOncePod" in (CHART / "README.md").read_text()


def test_people_are_told_never_to_force_a_store() -> None:
    text = (CHART.parents[2] / "docs" / "operations.md").read_text()
    assert re.search(r"[Nn]ever\s+(delete\s+a\s+store's\s+pod\s+with\s+)?`--force`", text)
    assert "ReadWriteOncePod" in text
