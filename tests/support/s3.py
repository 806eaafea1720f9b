"""A real S3 server for tests: OpenStack Swift with its s3api, in one process on 127.0.0.1."""

from __future__ import annotations

import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from posthorn_local.embedded import die_with_parent, free_port
from tests.support.polling import BUSY_SECONDS

_KINDS = ("object", "container", "account", "proxy")
_BACKEND = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {etc}
devices = {devices}
mount_check = false
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {etc}
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = catch_errors cache s3api tempauth bulk slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
paste.filter_factory = tests.support.swift_cache:filter_factory
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_bucket_listing = 100
[filter:tempauth]
use = egg:swift#tempauth
user_mail_mail = testing .admin .reseller_admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


class S3Server:
    """Starts with ``start``, stops with ``stop``; ``url(bucket)`` is what POSTHORN_BLOBS takes."""

    access_key = "mail:mail"
    secret_key = "testing"

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._etc = directory / "etc"
        self._log = directory / "s3.log"
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._ports.get("proxy", 0)

    def url(self, bucket: str) -> str:
        return f"s3://mail%3Amail:{self.secret_key}@127.0.0.1:{self.port}/{bucket}?tls=no&region=us-east-1"

    def start(self, timeout: float = 60) -> None:
        """Start it, with what an earlier start kept; returns when it answers."""
        if not self._ports:
            self._configure()
        self._process = self._spawn()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._is_ready(deadline - time.monotonic()):
                return
        self.stop()
        raise RuntimeError(f"the S3 server did not start:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop it as by a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def pause(self) -> None:
        """Stop answering, as a hung store does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _is_ready(self, wait: float) -> bool:
        assert self._process and self._process.stdout
        readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, wait))
        if not readable or self._process.stdout.readline() != b"ready\n":
            return False
        for port in self._ports.values():
            with socket.create_connection(("127.0.0.1", port), timeout=BUSY_SECONDS):
                pass
        return True

    def _spawn(self) -> subprocess.Popen[bytes]:
        here = Path(__file__).resolve().parents[2]
        ports = [f"{kind}={port}" for kind, port in self._ports.items()]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "tests.support.swift_process",
                    str(self._etc),
                    *ports,
                ],
                cwd=here,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(here)},
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def _configure(self) -> None:
        devices = self._root / "devices"
        (devices / "d1").mkdir(parents=True)
        self._etc.mkdir()
        user = pwd.getpwuid(os.getuid()).pw_name
        (self._etc / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n"
            "[storage-policy:0]\nname = default\ndefault = yes\n"
        )
        for kind in _KINDS:
            self._ports[kind] = free_port()
            template = _PROXY if kind == "proxy" else _BACKEND
            values = {
                "port": self._ports[kind],
                "user": user,
                "etc": self._etc,
                "devices": devices,
                "kind": kind,
            }
            (self._etc / f"{kind}.conf").write_text(template.format(**values))
