"""Real engines from Debian's packages, each on a free port of 127.0.0.1: clamd with the EICAR test
file as its only signature, rspamd without the network."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posthorn_local.embedded import free_port

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The test file of virus scanners."""
_WAIT_SECONDS = 240.0
"""rspamd's first start compiles its patterns: 20 s of CPU."""


class EngineServer:
    """A server process that tests stop, freeze, kill and start again on its port."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self.command, self.port, self.log = command, port, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; return when it accepts connections."""
        program = shutil.which(self.command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, f"Debian's package of {self.command[0]} is not installed (make defence)"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, *self.command[1:]], stdout=log, stderr=log, start_new_session=True
            )
        ends = time.monotonic() + _WAIT_SECONDS
        while not self._accepts():
            output = self.log.read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"{program} ended: {output}"
            assert time.monotonic() < ends, f"{program} does not serve: {output}"
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it and its children."""
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGCONT)
        os.killpg(self._process.pid, number)
        self._process.wait(30)
        self._process = None

    def freeze(self) -> None:
        """Let it go on no more, without closing anything."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def _accepts(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False


@contextmanager
def clamd(directory: Path, *, stream_max_bytes: int = 4 * 1024**2) -> Iterator[EngineServer]:
    """Run clamd; it closes streams beyond ``stream_max_bytes``."""
    database = directory / "database"
    database.mkdir(parents=True)
    (database / "test.ndb").write_text(f"Eicar-Test-Signature:0:0:{EICAR.hex()}\n")
    port, config = free_port(), directory / "clamd.conf"
    config.write_text(
        f"TCPSocket {port}\nTCPAddr 127.0.0.1\nDatabaseDirectory {database}\nForeground yes\n"
        f"StreamMaxLength {stream_max_bytes}\nTemporaryDirectory {directory}\nMaxThreads 4\n"
    )
    server = EngineServer(["clamd", "--config-file", str(config)], port, directory / "clamd.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def rspamd(directory: Path, resolver: str) -> Iterator[EngineServer]:
    """Run rspamd, which asks DNS at ``resolver`` (address:port) alone."""
    host, _, dns_port = resolver.rpartition(":")
    port, local = free_port(), directory / "local"
    shutil.copytree("/etc/rspamd", local)
    for name in ("local.d", "override.d"):
        (local / name).mkdir(exist_ok=True)
    override = local / "override.d"
    (override / "options.inc").write_text(
        f'local_addrs = [];\ndns {{ nameserver = ["{host}:{dns_port}:1"]; timeout = 1s; }}\n'
    )
    (override / "worker-normal.inc").write_text(f'bind_socket = "127.0.0.1:{port}";\ncount = 1;\n')
    for worker in ("proxy", "fuzzy", "controller"):
        (override / f"worker-{worker}.inc").write_text("enabled = false;\n")
    # greylist and ratelimit stay as they are: Posthorn has to switch them off
    for module in (
        "fuzzy_check",
        "rspamd_update",
        "phishing",
        "neural",
        "rbl",
        "surbl",
        "mx_check",
    ):
        (override / f"{module}.conf").write_text("enabled = false;\n")
    for name in ("db", "run", "log"):
        (directory / name).mkdir()
    user = "_rspamd" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, user, user)
        for parent in directory.parents:  # pytest's folders are closed to others
            if parent.is_relative_to("/tmp/") and parent.owner() == "root":
                parent.chmod(parent.stat().st_mode | 0o055)
    folders = {
        "CONFDIR": local,
        "LOCAL_CONFDIR": local,
        "DBDIR": directory / "db",
        "RUNDIR": directory / "run",
        "LOGDIR": directory / "log",
    }
    command = ["rspamd", "-f", "-u", user, "-g", user, "-c", str(local / "rspamd.conf")]
    command += [f"--var={name}={path}" for name, path in folders.items()]
    server = EngineServer(command, port, directory / "rspamd.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()
