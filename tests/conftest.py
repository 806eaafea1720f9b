"""Real servers for every test: PostgreSQL and NATS from wheels, an S3 server, all on 127.0.0.1 and
free ports.

PostgreSQL and S3 run once per test session, and a test gets a database or bucket of its own; NATS
starts in a few milliseconds and is a test's own, so that a test may stop or kill it.
"""

from __future__ import annotations

import gc
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from posthorn_local.embedded import Nats, Postgres, draw_ports_from
from tests.support.databases import ROLE_PASSWORDS, Databases
from tests.support.distribution import LoadFolders, longest_first
from tests.support.password_cost import hash_cheaply
from tests.support.ports import PortsInTurn
from tests.support.s3 import S3Server

_numbers = itertools.count(1)

# how long it takes to make an example, and to run it, is the machine's business
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")


def pytest_configure(config: pytest.Config) -> None:
    """Let each parallel worker (pytest-xdist) draw from ports of its own: what one has chosen is
    not bound for a while."""
    # under nohup it is ignored, and so it would be by all that is started
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    number = int(worker.get("workerid", "gw0").removeprefix("gw"))
    draw_ports_from(PortsInTurn(number, worker.get("workercount", 1)))
    hash_cheaply()
    # httpcore asks for it at each request, and without it all of sys.path is gone through each time
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let no garbage be looked for while eleven thousand tests are made, nor in them later: they
    stay to the end, and each search would go through all of them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    longest_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Let ``--dist loadfile`` give some folders to one worker."""
    return LoadFolders(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server for the whole session. Not durable: no test cuts the power."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a template database with the newest schema."""
    from posthorn.adapters.postgres.migrate import migrate_blocking

    migrate_blocking(postgres.url, role_passwords=ROLE_PASSWORDS)
    return "posthorn"


@pytest.fixture(scope="session")
def databases(postgres: Postgres, migrated: str) -> Databases:
    """Databases with the newest schema."""
    return Databases(postgres, migrated)


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """URL of a database of the test's own, with the newest schema and nothing but what
    migrations put there."""
    async with databases.one() as url:
        yield url


@pytest.fixture
def collected() -> None:
    """The garbage of earlier tests has gone: for tests that look at what theirs leaves."""
    gc.collect()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    """A nats-server of the test's own. Not synced: no test cuts the power."""
    server = Nats(tmp_path / "nats", durable=False)
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server for the whole session."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3_url(s3: S3Server) -> str:
    """URL of a bucket of the test's own; it does not exist yet."""
    return s3.url(f"test-{next(_numbers)}")
