"""The system under test: real stores, a proxy before each, and every part as a process that is
restarted when it ends.

Processes are started from the main thread only: they die with the thread that started them.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
from tests.support.s3 import S3Server
from tests.support.tcp_proxy import TcpProxy

from posthorn.runtime.derived_keys import SRS, derive
from posthorn_local.certificate import ensure_certificate
from posthorn_local.embedded import EmbeddedError, Nats, Postgres, die_with_parent, free_port

PARTS = ("api", "smtp-in", "submission", "delivery", "relay", "pop3", "imap")
ADMIN_KEY = "ph_" + "c" * 43
_MODULES = {"submission": "smtp_in", "smtp-in": "smtp_in"}
_SECRET_KEY = base64.b64encode(bytes(32)).decode()
_SRS_KEY = base64.b64encode(derive(bytes(32), SRS)).decode()
_AGAIN_SECONDS = 0.3
"""From the end of a process to its next start."""
_READY_SECONDS = 90.0


class Stand:
    """All servers on 127.0.0.1, with their state under ``directory``. ``s3``: bodies in a real
    S3 server instead of a directory."""

    def __init__(
        self, directory: Path, *, s3: bool, environment: Mapping[str, str], partitions: int = 1
    ) -> None:
        self.directory = directory
        self.partitions = partitions
        """Streams among which INGEST is divided."""
        self.ports = {
            name: free_port()
            for name in ("smtp", "submission", "submissions", "pop3", "imap", "api")
        }
        self.health = {part: free_port() for part in PARTS}
        self._environment = {**environment, "POSTHORN_INGEST_PARTITIONS": str(partitions)}
        self._postgres = Postgres(directory / "postgres")
        self._nats = Nats(directory / "nats")
        self._s3 = S3Server(directory / "s3") if s3 else None
        self.links: dict[str, TcpProxy] = {}
        """By store, the proxy through which the parts reach it."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended_at: dict[str, float] = {}
        self._paused: set[str] = set()
        self._down: set[str] = set()

    @property
    def has_s3(self) -> bool:
        """Whether there is an S3 server to inject faults into."""
        return self._s3 is not None

    @property
    def is_down(self) -> bool:
        """Whether a store is down, or a process waits for its next start."""
        return bool(
            self._down
            or self._paused
            or any(each.poll() is not None for each in self._processes.values())
        )

    @property
    def database_url(self) -> str:
        """URL of Postgres itself, not through the proxy."""
        return self._postgres.url

    @property
    def nats_url(self) -> str:
        """URL of NATS itself, not through the proxy."""
        return self._nats.url

    # ---- life

    def start(self) -> None:
        """Start everything; return when every part is ready."""
        self._postgres.start()
        self._nats.start()
        stores = {"postgres": self._postgres.port, "nats": self._nats.port}
        if self._s3 is not None:
            (self.directory / "s3").mkdir()
            self._s3.start()
            stores["s3"] = self._s3.port
        for name, port in stores.items():
            self.links[name] = TcpProxy(port)
            self.links[name].start()
        ensure_certificate(self.directory / "tls")
        migrated = subprocess.run(
            [
                sys.executable,
                "-P",
                "-c",
                "from posthorn.adapters.postgres.migrate import main; main()",
            ],
            env=os.environ | {"POSTHORN_DATABASE_URL": self._postgres.url},
            check=False,
            capture_output=True,
            text=True,
        )
        if migrated.returncode:
            raise RuntimeError(migrated.stderr[-2000:])
        for part in PARTS:
            self._spawn(part)
        self.await_ready()

    def close(self) -> None:
        """Stop everything."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        for link in self.links.values():
            link.stop()
        if self._s3 is not None:
            self._s3.resume()
            self._s3.stop()
        for name in ("nats", "postgres"):
            self.signal(name, signal.SIGCONT)
        self._nats.stop(kill=True)
        self._postgres.stop(kill=True)

    def revive(self) -> None:
        """Restart whatever has ended. To be called often, from the main thread."""
        now = time.monotonic()
        for part, process in self._processes.items():
            if (
                process.poll() is not None
                and now - self._ended_at.setdefault(part, now) >= _AGAIN_SECONDS
            ):
                del self._ended_at[part]
                self._spawn(part)
        for store in self._down.copy():
            with suppress(EmbeddedError, RuntimeError):
                self._restart(store)
                self._down.discard(store)

    def is_ready(self, part: str) -> bool:
        """Return whether /readyz of the part answers 200."""
        with suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{self.health[part]}/readyz"
            return httpx.get(url, timeout=5, trust_env=False, verify=False).status_code == 200
        return False

    def await_ready(self) -> None:
        """Wait until every part is ready. Raises RuntimeError."""
        deadline = time.monotonic() + _READY_SECONDS
        while missing := [part for part in PARTS if not self.is_ready(part)]:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"not ready within {_READY_SECONDS:.0f} s: {', '.join(missing)}; see {self.directory}"
                )
            self.revive()
            time.sleep(0.1)

    # ---- faults

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a part, or to a store with all its processes."""
        if name == "s3":
            if self._s3 is not None:
                (self._s3.pause if number == signal.SIGSTOP else self._s3.resume)()
            return
        process = (
            self._processes.get(name) or (self._nats if name == "nats" else self._postgres).process
        )
        if process is None or process.poll() is not None:
            return
        family = [psutil.Process(process.pid)]
        if name == "postgres" and number in (signal.SIGSTOP, signal.SIGCONT):
            family += family[0].children(recursive=True)
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    def stop_store(self, name: str, *, kill: bool) -> None:
        """Stop a store; ``revive`` starts it again."""
        self.signal(name, signal.SIGCONT)
        if name == "s3":
            assert self._s3 is not None
            self._s3.stop()
        else:
            (self._nats if name == "nats" else self._postgres).stop(kill=kill)
        self._down.add(name)

    def hold_down(self, name: str, *, kill: bool) -> None:
        """Stop a store until ``release``."""
        self.stop_store(name, kill=kill)
        self._down.discard(name)
        self._paused.add(name)

    def release(self, name: str) -> None:
        """Let a store that is held down be restarted."""
        if name in self._paused:
            self._paused.discard(name)
            self._down.add(name)

    def _restart(self, store: str) -> None:
        if store == "s3":
            assert self._s3 is not None
            self._s3.start()
        else:
            server = self._nats if store == "nats" else self._postgres
            server.start(port=server.port)

    def _spawn(self, part: str) -> None:
        name = _MODULES.get(part, part)
        with (self.directory / f"{part}.log").open("ab") as out:
            self._processes[part] = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    f"from posthorn_{name}.main import main; main()  # {part}",
                ],
                env=self._variables(part),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def _variables(self, part: str) -> dict[str, str]:
        own = {
            name: value for name, value in os.environ.items() if not name.startswith("POSTHORN_")
        }
        blobs = (self.directory / "blobs").as_uri()
        if self._s3 is not None:
            blobs = self._s3.url("chaos").replace(
                f":{self._s3.port}/", f":{self.links['s3'].port}/"
            )
        settings = {
            "SECRET_KEY": _SECRET_KEY,
            "SRS_KEY": _SRS_KEY if part in ("smtp-in", "submission") else "",
            "DATABASE_URL": self._postgres.url.replace(
                f":{self._postgres.port}/", f":{self.links['postgres'].port}/"
            ),
            "NATS_URL": self._nats.url_of(part).replace(
                f":{self._nats.port}", f":{self.links['nats'].port}"
            ),
            "BLOBS": blobs,
            "TLS_DIR": str(self.directory / "tls"),
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": str(self.health[part]),
            "GRACE_SECONDS": "5",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self.ports["smtp"]),
            "SMTP_ROLE": "submission" if part == "submission" else "mx",
            "SUBMISSION_PORT": str(self.ports["submission"]),
            "SUBMISSIONS_PORT": str(self.ports["submissions"]),
            "SUBMISSION_MESSAGES_PER_HOUR": "0",
            "SUBMISSION_RECIPIENTS_PER_HOUR": "0",
            "POP3_HOST": "127.0.0.1",
            "POP3_PORT": str(self.ports["pop3"]),
            "POP3_CLEARTEXT": "loopback",
            "IMAP_HOST": "127.0.0.1",
            "IMAP_PORT": str(self.ports["imap"]),
            "IMAP_CLEARTEXT": "loopback",
            "API_HOST": "127.0.0.1",
            "API_PORT": str(self.ports["api"]),
            "API_ADMIN_KEY": ADMIN_KEY,
            "RELAY_DIRECT": "false",
            "RELAY_POLL_SECONDS": "1",
            "RELAY_RETRY_FIRST_SECONDS": "2",
            "RELAY_RETRY_LAST_SECONDS": "5",
            "RELAY_DELAY_NOTICE_SECONDS": "0",
        }
        return (
            own
            | {f"POSTHORN_{name}": value for name, value in settings.items()}
            | self._environment
        )
