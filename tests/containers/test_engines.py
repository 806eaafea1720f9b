"""The engines of docker-compose.yml's profiles start as they are configured, become healthy, and
answer scan."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.containers.docker import ROOT, Docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

HERE = Path(__file__).with_name("engines")
PROJECT = "posthorn-engines-test"
ENGINES = ("rspamd", "clamav", "freshclam", "resolver")


def test_the_engines_of_the_profiles_start_and_judge(docker: Docker, tmp_path: Path) -> None:
    docker.said("build", "-q", "-t", "posthorn-engines", str(HERE))
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    private = shutil.ignore_patterns("private")
    shutil.copytree(ROOT / "deploy/compose", tmp_path / "deploy/compose", ignore=private)
    init = tmp_path / "deploy/compose/init.sh"
    subprocess.run([init, "mail.example.test"], check=True, capture_output=True)

    def compose(*arguments: str) -> str:
        over = str(HERE / "compose.yml")
        command = ["compose", "-p", PROJECT, "-f", "docker-compose.yml", "-f", over]
        command += [f"--profile={name}" for name in ("rspamd", "clamav", "resolver")]
        return docker.said(*command, *arguments, folder=tmp_path)

    up = ("up", "--detach", "--wait", "--no-build", "--no-deps")
    compose("down", "--volumes")  # what a run that was cut short has left
    try:
        compose(*up, "--wait-timeout", "240", "scan", "rspamd", "clamav")
        # beside others, in their networks
        compose(*up, "--wait-timeout", "60", "freshclam", "resolver")
        asked = compose("exec", "-T", "scan", "python3", "-c", (HERE / "ask.py").read_text())
        assert json.loads(asked) == {
            "clamav": "stream: Eicar-Test-Signature.UNOFFICIAL FOUND\0",
            "rspamd": "reject",
            "resolver": "1234",
        }
        for engine in ENGINES:
            seen = docker.seen(compose("ps", "--quiet", engine))
            assert seen["State"]["Running"] and not seen["RestartCount"], engine
            assert seen["HostConfig"]["ReadonlyRootfs"], engine
            assert seen["HostConfig"]["CapDrop"] == ["ALL"], engine
    except AssertionError:
        print(compose("logs", "--no-color", "--tail", "40"))
        raise
    finally:
        compose("down", "--volumes", "--timeout", "2")
