"""A closed DNS world from real servers: unbound as the recursive resolver, rbldnsd for blocklists
(Debian's packages of these names)."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from posthorn_local.embedded import free_port
from tests.support.polling import BUSY_SECONDS

_WAIT_SECONDS = 60.0


@contextmanager
def blocklist_server(directory: Path, zones: Mapping[str, Sequence[str]]) -> Iterator[int]:
    """Run rbldnsd with zones, each with lines of its format ``ip4set`` or, for a name that begins
    with ``dbl``, ``dnset``; return its port."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    served = []
    for name, lines in zones.items():
        path = directory / f"{name}.txt"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o644)
        served.append(f"{name}:{'dnset' if name.startswith('dbl') else 'ip4set'}:{path.name}")
    port = free_port()
    command = ["rbldnsd", "-n", "-b", f"127.0.0.1/{port}", "-r", str(directory), *served]
    if os.getuid() == 0:  # it refuses to run as root
        command[1:1] = ["-u", "nobody"]
        for parent in directory.parents:  # pytest's folders are closed to others
            if parent.owner() == pwd.getpwuid(0).pw_name and parent.is_relative_to("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o055)
    name = next(iter(zones))
    with _running(command, port, f"2.0.0.127.{name}"):
        yield port


@contextmanager
def recursive_resolver(
    directory: Path, records: Sequence[str], *, stubs: Mapping[str, int] | None = None
) -> Iterator[str]:
    """Run unbound with records as in a zone file (``example.net. TXT "v=spf1 -all"``) and zones
    that other ports of the machine serve; nothing else exists. Return its address and port."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    lines = [
        "server:",
        f'  directory: "{directory}"',
        f"  interface: 127.0.0.1@{port}",
        '  username: ""',
        '  chroot: ""',
        '  pidfile: ""',
        "  use-syslog: no",
        "  do-daemonize: no",
        "  do-not-query-localhost: no",
        '  module-config: "iterator"',
        "  num-threads: 1",
        "  so-rcvbuf: 0",
        '  local-zone: "." static',
        *(f"  local-data: '{record}'" for record in records),
        *(f'  local-zone: "{zone}." transparent' for zone in stubs or {}),
        "remote-control:",
        "  control-enable: no",
    ]
    for zone, served in (stubs or {}).items():
        lines += ["stub-zone:", f'  name: "{zone}."', f"  stub-addr: 127.0.0.1@{served}"]
    path = directory / "unbound.conf"
    path.write_text("\n".join(lines) + "\n")
    with _running(["unbound", "-d", "-c", str(path)], port, "probe.test"):
        yield f"127.0.0.1:{port}"


@contextmanager
def _running(command: Sequence[str], port: int, probe: str) -> Iterator[None]:
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None, f"Debian's package of {command[0]} is not installed"
    process = subprocess.Popen(
        [program, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        ends = time.monotonic() + _WAIT_SECONDS
        while not _answers(port, probe):
            if process.poll() is not None or time.monotonic() > ends:
                process.kill()
                output = process.communicate()[0].decode(errors="replace")
                raise AssertionError(f"{command[0]} does not answer: {output[-2000:]}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(BUSY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, name: str) -> bool:
    labels = b"".join(bytes((len(each),)) + each for each in name.encode().split(b"."))
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect(("127.0.0.1", port))
        try:
            client.send(question)
            return bool(client.recv(4096))
        except OSError:
            time.sleep(0.05)
            return False
