"""A real S3 server for tests: OpenStack Swift with its s3api, four processes on 127.0.0.1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from posthorn_local.embedded import die_with_parent, free_port

_RINGS = ("object", "container", "account")
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
paste.filter_factory = tests.servers.swift_cache:filter_factory
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
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
        self.port = 0
        self._children: list[subprocess.Popen[bytes]] = []

    def url(self, bucket: str) -> str:
        return f"s3://mail%3Amail:{self.secret_key}@127.0.0.1:{self.port}/{bucket}?tls=no&region=us-east-1"

    def start(self) -> None:
        if not self.port:
            self._configure()
        for kind in (*_RINGS, "proxy"):
            self._children.append(self._spawn(kind))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if any(child.poll() is not None for child in self._children):
                break
            time.sleep(0.05)
        logs = "\n".join(f"{log.name}: {log.read_text()[-500:]}" for log in self._root.glob("*.log"))
        self.stop()
        raise RuntimeError(f"the S3 server did not start:\n{logs}")

    def stop(self) -> None:
        for child in reversed(self._children):
            child.send_signal(signal.SIGKILL)
            child.wait()
        self._children.clear()

    def pause(self) -> None:
        """Stop answering, as a hung store does."""
        for child in self._children:
            child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        for child in self._children:
            child.send_signal(signal.SIGCONT)

    def _spawn(self, kind: str) -> subprocess.Popen[bytes]:
        script = Path(sys.executable).parent / f"swift-{kind}-server"
        here = Path(__file__).resolve().parents[2]
        with (self._root / f"{kind}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", str(script), str(self._etc / f"{kind}.conf"), "-v"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(here)},
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def _configure(self) -> None:
        import pwd

        devices = self._root / "devices"
        (devices / "d1").mkdir(parents=True)
        self._etc.mkdir()
        user = pwd.getpwuid(os.getuid()).pw_name
        (self._etc / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n"
            "[storage-policy:0]\nname = default\ndefault = yes\n"
        )
        builder = Path(sys.executable).parent / "swift-ring-builder"
        for kind in _RINGS:
            port = free_port()
            values = {"port": port, "user": user, "etc": self._etc, "devices": devices, "kind": kind}
            (self._etc / f"{kind}.conf").write_text(_BACKEND.format(**values))
            for step in (["create", "2", "1", "0"], ["add", f"r1z1-127.0.0.1:{port}/d1", "1"], ["rebalance"]):
                subprocess.run(
                    [sys.executable, "-W", "ignore", str(builder), str(self._etc / f"{kind}.builder"), *step],
                    check=True,
                    capture_output=True,
                )
        self.port = free_port()
        (self._etc / "proxy.conf").write_text(_PROXY.format(port=self.port, user=user, etc=self._etc))
