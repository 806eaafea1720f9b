"""Several processes of each service over one set of stores, behind a balancer that does what a
Kubernetes Service does.

- Each instance has ports of its own, as a pod has an address of its own. A replacement is another
  instance.
- The balancer asks each instance's /readyz and sends new connections, in turn, to those that are
  ready. It learns of a change as late as its next look. What is connected stays connected, ready or
  not.
- An instance that cannot be connected to is a refused connection for the client, as a Service does
  not try another one.
"""

from __future__ import annotations

import asyncio
import base64
import signal
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from posthorn_local.children import Copy, Template
from posthorn_local.embedded import free_port
from tests.support.maildrop import Maildrop
from tests.support.polling import BUSY_SECONDS
from tests.support.service_process import environment
from tests.support.system import await_that

LOOK_SECONDS = 0.1
"""How often the balancer asks who is ready."""
DRAIN_DELAY_SECONDS = 1.5
"""How long an instance goes on accepting after SIGTERM: longer than the balancer takes to
notice."""
ADMIN_KEY = "ph_" + "f" * 43
FIRST = ("smtp-in", "delivery", "relay", "pop3")


@dataclass(eq=False)
class Instance:
    """One process of a service."""

    service: str
    number: int
    port: int
    health: int
    log: Path
    process: Copy

    def is_ready(self) -> bool:
        """Return whether /readyz answers 200."""
        assert self.process.poll() is None, (
            f"{self.service} ended with {self.process.poll()}; see {self.log}"
        )
        with suppress(httpx.HTTPError):
            return (
                httpx.get(
                    f"http://127.0.0.1:{self.health}/readyz",
                    timeout=5,
                    trust_env=False,
                    verify=False,
                ).status_code
                == 200
            )
        return False

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


@dataclass
class Balancer:
    """Takes connections on a port per service and hands them to ready instances."""

    services: tuple[str, ...]
    ports: dict[str, int] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    """Connections by service that no instance took."""
    _instances: dict[str, list[Instance]] = field(default_factory=dict)
    _ready: dict[int, bool] = field(default_factory=dict)
    """By health port, as it last answered."""
    _turn: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _servers: list[asyncio.Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self.ports = {service: free_port() for service in self.services}
        self._thread.start()
        self._call(self._open())

    def stop(self) -> None:
        """End, with everything connected."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BUSY_SECONDS)
        self._loop.close()

    def set_instances(self, instances: list[Instance]) -> None:
        """Return which instances there are, as the endpoints of a Service."""
        self._instances = {
            service: [one for one in instances if one.service == service]
            for service in self.services
        }

    def ready(self, service: str) -> list[Instance]:
        """Return the instances that said so when they were asked last."""
        return [one for one in self._instances.get(service, []) if self._ready.get(one.health)]

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(BUSY_SECONDS)

    async def _open(self) -> None:
        for service in self.services:
            server = await asyncio.start_server(
                lambda reader, writer, service=service: self._carry(service, reader, writer),  # type: ignore[misc]
                "127.0.0.1",
                self.ports[service],
            )
            self._servers.append(server)
        self._begin(self._watch())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        # each ends in its own loop, not when it is collected
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=BUSY_SECONDS, verify=False) as client:
            asked: set[int] = set()

            async def ask(health: int) -> None:
                try:
                    answer = await client.get(f"http://127.0.0.1:{health}/readyz")
                    self._ready[health] = answer.status_code == 200
                except httpx.HTTPError:
                    self._ready[health] = False
                finally:
                    asked.discard(health)

            while True:  # one that is slow to answer keeps none of the others from being asked
                for instance in [one for some in self._instances.values() for one in some]:
                    if instance.health not in asked:
                        asked.add(instance.health)
                        self._begin(ask(instance.health))
                await asyncio.sleep(LOOK_SECONDS)

    async def _carry(
        self, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        ready = self.ready(service)
        self._turn += 1
        try:
            if not ready:
                raise ConnectionRefusedError
            instance = ready[self._turn % len(ready)]
            there, back = await asyncio.open_connection("127.0.0.1", instance.port)
        except OSError:
            self.refused[service] += 1
            writer.transport.abort()
            return
        with suppress(OSError):
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        for end in (writer, back):
            end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while octets := await reader.read(65536):
            writer.write(octets)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


class Fleet:
    """Instances of services, an API, the balancer, and what a client does with them."""

    def __init__(
        self,
        directory: Path,
        stores: Mapping[str, str],
        services: Sequence[str] = (*FIRST, *FIRST),
        **settings: str,
    ) -> None:
        """``stores``: the variables that lead to the stores; ``settings``: others, by name in
        small letters."""
        self._first = services
        self.directory = directory
        self.instances: list[Instance] = []
        self.balancer = Balancer(("smtp-in", "pop3", "api"))
        self._settings = {
            f"POSTHORN_{name.upper()}": value for name, value in settings.items()
        } | dict(stores)
        self._template = Template()
        self._started: list[Instance] = []
        self._api: httpx.Client | None = None

    def start(self) -> None:
        """Start everything. Return when all of it is ready."""
        self.balancer.start()
        for service in ("api", *self._first):  # the API first: smtp-in waits for the directory
            self.add(service)
        for instance in self.instances:
            self.await_ready(instance)
        self._api = httpx.Client(
            base_url=f"http://127.0.0.1:{self.balancer.ports['api']}",
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            timeout=30,
            trust_env=False,
            verify=False,
        )
        await_that("the balancer knows of the API", lambda: self.balancer.ready("api"))

    def close(self) -> None:
        """Leave nothing running."""
        if self._api is not None:
            self._api.close()
        for instance in self._started:
            instance.process.kill()
            instance.process.wait()
        self._template.stop()
        self.balancer.stop()

    def add(self, service: str) -> Instance:
        """Start another instance; does not wait for it."""
        number, port, health = len(self._started) + 1, free_port(), free_port()
        name = service.replace("-", "_")
        variables = environment(
            SECRET_KEY=base64.b64encode(bytes(32)).decode(),
            SRS_KEY=base64.b64encode(bytes(32)).decode(),
            POP3_CLEARTEXT="loopback",
            HEALTH_HOST="127.0.0.1",
            HEALTH_PORT=str(health),
            SMTP_HOST="127.0.0.1",
            SMTP_PORT=str(port),
            POP3_HOST="127.0.0.1",
            POP3_PORT=str(port),
            IMAP_HOST="127.0.0.1",
            IMAP_PORT=str(port),
            IMAP_CLEARTEXT="loopback",
            IMAP_POLL_SECONDS="3600",
            API_HOST="127.0.0.1",
            API_PORT=str(port),
            API_ADMIN_KEY=ADMIN_KEY,
            RELAY_DIRECT="false",
            RELAY_POLL_SECONDS="0.5",
            DRAIN_DELAY_SECONDS=str(DRAIN_DELAY_SECONDS),
            GRACE_SECONDS="10",
        )
        log = self.directory / f"{service}-{number}.log"
        with log.open("wb") as out:
            process = self._template.copy(
                service, f"posthorn_{name}.main", variables | self._settings, out
            )
        instance = Instance(service, number, port, health, log, process)
        self._started.append(instance)
        self.instances.append(instance)
        self.balancer.set_instances(self.instances)
        return instance

    def await_ready(self, instance: Instance) -> None:
        """Wait until it says that it can serve."""
        await_that(f"{instance.service} {instance.number} serves", instance.is_ready, timeout=120)

    def replace(self, instance: Instance) -> Instance:
        """Replace an instance as a rolling update without a surge does. Return the new one when
        it serves and the old one ended."""
        instance.terminate()
        successor = self.add(instance.service)
        assert instance.process.wait(60) == 0, f"see {instance.log}"
        self.instances.remove(instance)
        self.balancer.set_instances(self.instances)
        self.await_ready(successor)
        return successor

    # ---- what a person uses

    @property
    def api(self) -> httpx.Client:
        """A client of the REST API with the admin key."""
        assert self._api is not None
        return self._api

    def make(self, path: str, **document: object) -> None:
        """Make an object over REST."""
        answer = self.api.post(path, json=document)
        assert answer.status_code == 201, answer.text

    def make_account(self, address: str, password: str = "a password for tests") -> Maildrop:
        """Make an account. Return its maildrop."""
        self.make("/v1/accounts", address=address, password=password)
        return Maildrop(self.balancer.ports["pop3"], address, password)

    def account(self, address: str) -> dict[str, object]:
        """What the API says of an account."""
        answer = self.api.get(f"/v1/accounts/{address}")
        assert answer.status_code == 200, answer.text
        document: dict[str, object] = answer.json()
        return document

    def smtp(self, timeout: float = 30.0) -> smtplib.SMTP:
        """A session with some smtp-in."""
        port = self.balancer.ports["smtp-in"]
        return smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.org", timeout=timeout)


@contextmanager
def fleet(
    directory: Path,
    stores: Mapping[str, str],
    services: Sequence[str] = (*FIRST, *FIRST),
    **settings: str,
) -> Iterator[Fleet]:
    """Start one, and end it."""
    made = Fleet(directory, stores, services, **settings)
    try:
        made.start()
        yield made
    finally:
        made.close()


class Repeated:
    """Does something again and again in a thread, and keeps what went wrong."""

    def __init__(self, work: Callable[[], object], pause: float = 0.02) -> None:
        self.faults: list[str] = []
        self.done = 0
        self._work = work
        self._pause = pause
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Come to an end after what is under way."""
        self._ending.set()
        self._thread.join(40)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._work()
            except Exception as error:
                self.faults.append(f"{time.monotonic():.1f} {type(error).__name__} {error}")
            else:
                self.done += 1
            time.sleep(self._pause)
