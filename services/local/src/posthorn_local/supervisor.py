"""The supervisor: starts everything in order, keeps it running, stops it in order.

Rules:

- Everything is a child of the main thread and dies with it; the supervisor holds no state that a
  ``kill -9`` could harm.
- SIGTERM, SIGINT and SIGHUP raise StopRequested in the main thread, once; further ones are ignored,
  because stopping has its own time limit.
- A child that ends by itself is started again: after a tenth of a second, then twice that, up to
  five seconds.
- The shutdown follows the path of a message: smtp-in, imap, pop3 and api drain first, then delivery, then
  NATS and PostgreSQL; ten seconds for all of it.
- Nothing printed before the announcement contains the word that scripts wait for.
"""

from __future__ import annotations

import base64
import json
import secrets
import signal
import ssl
import sys
import time
from contextlib import suppress
from tempfile import TemporaryFile
from types import FrameType

import httpx

from posthorn.adapters.postgres.privileges import PRIVILEGES
from posthorn.runtime.derived_keys import SRS, derive
from posthorn.runtime.env_settings import environment
from posthorn_local.addresses import HOST, Ports
from posthorn_local.announcement import announcement
from posthorn_local.certificate import ensure_certificate
from posthorn_local.children import Backend, Service, Template
from posthorn_local.embedded import ROLE_PREFIX, EmbeddedError, Nats, Postgres
from posthorn_local.home import Home, write_secret
from posthorn_local.logs import Log
from posthorn_local.seed import ADDRESSES, SeedError, seed, sign_in_link
from posthorn_local.settings import (
    GRACE_SECONDS,
    HEALTH_SERVICES,
    LocalSettings,
    child_environment,
    variable,
)

_DOORS = frozenset({"smtp-in", "submission"})
"""Services that verify rewritten reverse-paths."""
_SEALING = frozenset({"delivery", "relay", "api"})
"""Services that decrypt secrets in Postgres. The others do not get the master key."""
_TICK = 0.1
_START_TIMEOUT = 60.0
_CERTIFICATE_CHECK = 3600.0
_WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of http URLs on this machine: it trusts nobody, since to load the authorities takes
40 ms."""
_WEDGED_CHECK = 5.0
_STOP_EDGES, _STOP_DELIVERY, _STOP_NATS, _STOP_POSTGRES = 6.0, 7.0, 7.7, 9.2
"""Seconds after the signal until each child has ended or is killed."""


class StopRequested(BaseException):
    """A signal requested the shutdown."""


class StartError(RuntimeError):
    """Something did not start; the message is for the person at the terminal."""


class Supervisor:
    """The whole system as child processes of this one."""

    def __init__(self, settings: LocalSettings, home: Home, ports: Ports) -> None:
        self._settings = settings
        self._home = home
        self._ports = ports
        held = (home.children_lock,)
        self._postgres = Postgres(home / "postgres", held=held)
        self._nats = Nats(home / "nats", held=held)
        self._backends = [Backend(server, ports.taken) for server in (self._postgres, self._nats)]
        self._template = Template(held)
        self._services: dict[str, Service] = {}
        self._down: set[str] = set()
        self._failing: set[str] = set()
        """Children whose last start failed."""
        self._asked = False
        self._announced = False
        self._sign_in = ""
        self._http = httpx.Client(trust_env=False, timeout=30, verify=_WITHOUT_TLS)

    def run(self) -> int:
        """Serve until a signal; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # nohup is honoured
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._signalled)
        status = 0
        try:
            self._start()
            self._announce()
            self._watch()
        except StopRequested:
            self._say("stopping")
        except (EmbeddedError, SeedError, StartError, OSError) as error:
            self._say(f"refusing to start: {error}")
            status = 1
        finally:
            self._asked = True
            self._stop()
        return status

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            raise StopRequested

    def _say(self, text: str) -> None:
        with suppress(OSError):  # a closed terminal must not interrupt the shutdown
            for line in text.splitlines():
                hushed = not self._announced and "ready" in line.lower()
                print(  # noqa: T201 - this is a command's output
                    f"posthorn-local: {'a message is in the logs' if hushed else line}",
                    file=sys.stderr,
                    flush=True,
                )

    def _announce(self) -> None:
        with suppress(OSError):
            print(announcement(self._ports, self._home.path, self._sign_in), flush=True)  # noqa: T201
        self._announced = True

    def _start(self) -> None:
        new = not (self._home / "accounts.txt").exists()
        self._say("starting for the first time, a few seconds" if new else "starting")
        logs = self._home / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        self._template.start()
        ensure_certificate(self._home / "tls")
        key = self._admin_key()
        for backend in self._backends:
            backend.start()
        self._migrate()
        for name in HEALTH_SERVICES:
            self._services[name] = Service(
                name,
                self._environment(name),
                self._ports.health[name],
                Log(logs / f"{name}.log"),
                self._template,
            )
            self._services[name].start()
        self._await(list(self._services.values()))
        with httpx.Client(
            base_url=f"http://{HOST}:{self._ports.api}",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=30,
            verify=_WITHOUT_TLS,
        ) as api:
            seed(api, self._home / "accounts.txt")
            self._sign_in = sign_in_link(api)

    def _admin_key(self) -> str:
        return self._kept("admin.key", f"ph_{secrets.token_urlsafe(32)}")

    def _secret_key(self) -> str:
        return self._kept("secret.key", base64.b64encode(secrets.token_bytes(32)).decode())

    def _srs_key(self) -> str:
        return base64.b64encode(derive(base64.b64decode(self._secret_key()), SRS)).decode()

    def _kept(self, name: str, new: str) -> str:
        """Return the secret in this file of the home; make it when there is none."""
        path = self._home / name
        if not path.exists():
            write_secret(path, f"{new}\n")
        return path.read_text().strip()

    def _environment(self, service: str) -> dict[str, str]:
        blobs = self._settings.blobs
        return child_environment(
            database_url=self._postgres.url_as(service) if service in PRIVILEGES else "",
            nats_url=self._nats.url_of(service),
            blobs=blobs.get_secret_value() if blobs else (self._home / "blobs").as_uri(),
            tls_dir=str(self._home / "tls"),
            grace_seconds=str(GRACE_SECONDS),
            health_host=HOST,
            health_port=str(self._ports.health[service]),
            smtp_host=HOST,
            smtp_port=str(self._ports.smtp),
            smtp_postmaster=environment().get(variable("smtp_postmaster")) or ADDRESSES[0],
            smtp_role="submission" if service == "submission" else "mx",
            smtp_scan=environment().get(variable("smtp_scan")) or "true"
            if service == "smtp-in"
            else "false",
            submission_port=str(self._ports.submission),
            submissions_port=str(self._ports.submissions),
            relay_direct="true" if self._settings.relay_direct else "false",
            public_submission_port=str(self._ports.submission),
            public_submissions_port=str(self._ports.submissions),
            public_imap_port=str(self._ports.imap),
            public_imaps_port=str(self._ports.imaps),
            public_pop3_port=str(self._ports.pop3),
            public_pop3s_port=str(self._ports.pop3s),
            imap_host=HOST,
            imap_cleartext="loopback",
            imap_port=str(self._ports.imap),
            imaps_port=str(self._ports.imaps),
            pop3_host=HOST,
            pop3_cleartext="loopback",
            pop3_port=str(self._ports.pop3),
            pop3s_port=str(self._ports.pop3s),
            api_host=HOST,
            api_port=str(self._ports.api),
            api_public_url=environment().get(variable("api_public_url"))
            or f"http://{HOST}:{self._ports.api}",
            api_admin_key="",
            api_admin_key_file=str(self._home / "admin.key") if service == "api" else "",
            secret_key=self._secret_key() if service in _SEALING else "",
            srs_key=self._srs_key() if service in _DOORS else "",
        )

    def _migrate(self) -> None:
        variables = child_environment(
            database_url=self._postgres.url,
            database_role_prefix=ROLE_PREFIX,
            database_role_passwords=json.dumps(
                {part: self._postgres.role_password(part) for part in PRIVILEGES}
            ),
        )
        with TemporaryFile() as output:
            migrating = self._template.copy(
                "migrate", "posthorn.adapters.postgres.migrate", variables, output
            )
            if migrating.wait():
                output.seek(0)
                said = "\n".join(output.read().decode(errors="replace").splitlines()[-8:])
                raise StartError(f"the database schema could not be brought up to date:\n{said}")

    def _await(self, services: list[Service]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        waiting = list(services)
        while True:
            for service in services:
                if end := service.ended():
                    raise StartError(
                        f"{service.name} ended ({end}):\n" + "\n".join(service.log.tail())
                    )
            # all must serve, so there is no need to ask the others before the first one does
            while waiting and waiting[0].state(self._http) is None:
                del waiting[0]
            if not waiting:
                return
            if time.monotonic() > deadline:
                states = {service.name: service.state(self._http) for service in waiting}
                if missing := "; ".join(
                    f"{name} ({state})" for name, state in states.items() if state
                ):
                    raise StartError(
                        f"after {_START_TIMEOUT:.0f} s these do not serve: {missing}; see {self._home / 'logs'}"
                    )
            time.sleep(_TICK / 2)

    def _watch(self) -> None:
        certificate_due, wedged_due = time.monotonic() + _CERTIFICATE_CHECK, 0.0
        while not self._asked:
            for backend in self._backends:
                self._revive(backend)
            for service in self._services.values():
                for line in service.log.complaints():
                    self._say(f"{service.name}: {line}")
                self._revive(service)
            if time.monotonic() > wedged_due:
                wedged_due = time.monotonic() + _WEDGED_CHECK
                if self._nats.is_wedged():
                    self._say("NATS stores nothing since its disk was full; it is started again")
                    self._nats.stop()
            if time.monotonic() > certificate_due:
                certificate_due += _CERTIFICATE_CHECK
                try:
                    is_new = ensure_certificate(self._home / "tls")
                except OSError as error:
                    self._say(f"the certificate that is about to expire stays: {error}")
                else:
                    if is_new:
                        self._say(
                            "a new certificate was made since the former one was about to expire"
                        )
            time.sleep(_TICK)

    def _revive(self, child: Service | Backend) -> None:
        end = child.ended()
        if end is None:
            return
        is_failing = child.name in self._failing  # which is said already
        if child.name not in self._down:
            self._down.add(child.name)
            delay = child.backoff.after(child.lived)
            if not is_failing:
                self._say(f"{child.name} ended ({end}); it is started again in {delay:.1f} s")
        if time.monotonic() < child.backoff.due:
            return
        self._down.discard(child.name)
        try:
            child.start()
        except (EmbeddedError, OSError) as error:
            if not is_failing:
                self._say(f"{child.name} cannot be started, which is tried again: {error}")
            self._failing.add(child.name)
        else:
            if is_failing:
                self._say(f"{child.name} runs again")
            self._failing.discard(child.name)

    def _stop(self) -> None:
        began = time.monotonic()
        delivery = self._services.get("delivery")
        edges = [service for service in self._services.values() if service is not delivery]
        for edge in edges:
            edge.terminate()
        self._finish(edges, began + _STOP_EDGES)
        if delivery:
            delivery.terminate()
            self._finish([delivery], began + _STOP_DELIVERY)
        self._template.stop()
        self._nats.stop(timeout=max(0.2, began + _STOP_NATS - time.monotonic()))
        self._postgres.stop(timeout=max(0.2, began + _STOP_POSTGRES - time.monotonic()))
        self._http.close()
        self._say("stopped")

    def _finish(self, services: list[Service], deadline: float) -> None:
        for service in services:
            if not service.wait(deadline):
                self._say(f"{service.name} did not end in time and was killed")
