"""The engines take the configurations that the chart and compose give them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from posthorn_local.embedded import free_port
from tests.chart.rendering import at, merged, render
from tests.support.defence import EICAR, EngineServer

ROOT = Path(__file__).parents[2]


def config(name: str, file: str) -> str:
    """A file of a ConfigMap of the chart."""
    values = merged(*(at(f"{each}.enabled", True) for each in ("rspamd", "clamav", "resolver")))
    text: str = render(values).by_kind("ConfigMap")[f"posthorn-{name}"]["data"][file]
    return text


def run(*command: str | Path) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    program = shutil.which(str(command[0]), path=path)
    assert program, f"{command[0]} is not installed (make defence)"
    done = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source", ["chart", "compose"])
def test_unbound_takes_its_configuration(source: str, tmp_path: Path) -> None:
    composed = (ROOT / "deploy/compose/unbound.conf").read_text()
    text = config("resolver", "unbound.conf") if source == "chart" else composed
    text = re.sub(r'directory: ".*"', f'directory: "{tmp_path}"', text)
    (tmp_path / "unbound.conf").write_text(text)
    run("unbound-checkconf", tmp_path / "unbound.conf")


@pytest.mark.parametrize("source", ["chart", "compose"])
def test_clamd_and_freshclam_take_theirs(source: str, tmp_path: Path) -> None:
    (tmp_path / "test.ndb").write_text(f"Eicar-Test-Signature:0:0:{EICAR.hex()}\n")
    port = free_port()
    for name in ("clamd.conf", "freshclam.conf"):
        composed = (ROOT / "deploy/compose/clamav" / name).read_text()
        text = config("clamav", name) if source == "chart" else composed
        text = text.replace("/var/lib/clamav", str(tmp_path)).replace("3310", str(port))
        text = text.replace("/etc/posthorn", str(tmp_path)).replace("/tmp\n", f"{tmp_path}\n")
        (tmp_path / name).write_text(text)
    # it reads its configuration before it says its version
    run("freshclam", "--config-file", tmp_path / "freshclam.conf", "--version")
    clamd = EngineServer(
        ["clamd", "--config-file", str(tmp_path / "clamd.conf")], port, tmp_path / "log"
    )
    clamd.start()
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"zPING\0")
            assert connection.recv(100) == b"PONG\0"
    finally:
        clamd.stop()


@pytest.mark.parametrize("source", ["chart", "compose"])
def test_rspamd_takes_its_files(source: str, tmp_path: Path) -> None:
    local = tmp_path / "local"
    shutil.copytree("/etc/rspamd", local)
    override = local / "override.d"
    override.mkdir(exist_ok=True)
    if source == "chart":
        values = merged(at("rspamd.enabled", True), at("resolver.enabled", True))
        files = render(values).by_kind("ConfigMap")["posthorn-rspamd"]["data"]
        for name, text in files.items():
            (override / name).write_text(text)
    else:
        for path in (ROOT / "deploy/compose/rspamd").iterdir():
            shutil.copy(path, override)
    for name in ("db", "run", "log"):
        (tmp_path / name).mkdir()
    folders = {
        "CONFDIR": local,
        "LOCAL_CONFDIR": local,
        "DBDIR": tmp_path / "db",
        "RUNDIR": tmp_path / "run",
        "LOGDIR": tmp_path / "log",
    }
    variables = [f"--var={name}={path}" for name, path in folders.items()]
    run("rspamadm", *variables, "configtest", "-s", "-c", local / "rspamd.conf")
