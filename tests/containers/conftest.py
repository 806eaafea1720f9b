"""The images, built once, and one running system for the tests that leave it whole."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deploy.release import version

from tests.containers.composed import ComposedSystem
from tests.containers.docker import ROOT, Docker
from tests.support.maildrop import Maildrop

_numbers = itertools.count(1)
_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A Docker daemon."""
    running = Docker()
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def images(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The images of docker-compose.yml, built from this checkout: names by service. Beside them
    ``posthorn-standins`` is built."""
    with ThreadPoolExecutor() as builders:
        standins = builders.submit(_build_standins, docker, tmp_path_factory.mktemp("standins"))
        unset = dict.fromkeys(
            re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()), "unset"
        )
        docker.said(
            "compose",
            "-f",
            "docker-compose.yml",
            "build",
            "--quiet",
            folder=ROOT,
            environment=unset,
        )
        standins.result()
    services = ("smtp-in", "delivery", "scan", "relay", "pop3", "imap", "api")
    return {service: f"ghcr.io/posthorn/posthorn-{service}:{version()}" for service in services}


@pytest.fixture(scope="session")
def cli_image(docker: Docker, images: dict[str, str]) -> str:
    """The image of the command line, which shares its first stages with the others."""
    name = f"ghcr.io/posthorn/posthorn-cli:{version()}"
    docker.said("build", "--quiet", "--build-arg=SERVICE=cli", f"--tag={name}", ".", folder=ROOT)
    return name


def _build_standins(docker: Docker, context: Path) -> None:
    """Build the image that stands in for those of Postgres, NATS, Garage and HAProxy; most of
    its time it waits for downloads."""
    for name in ("swift_process.py", "swift_cache.py"):
        shutil.copy(ROOT / "tests" / "support" / name, context)
    for path in (_HERE / "standins").iterdir():
        if path.is_file():
            shutil.copy(path, context)
    locked = re.findall(
        r"^[a-z0-9-]+==[^ ;]+", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE
    )
    (context / "constraints.txt").write_text("\n".join([*locked, ""]))
    docker.said("build", "-q", "-t", "posthorn-standins", str(context))


@pytest.fixture(scope="session")
def system(
    docker: Docker, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposedSystem]:
    """The whole system with three smtp-in behind a balancer, and the domain example.test."""
    running = ComposedSystem(docker, tmp_path_factory.mktemp("clone") / "posthorn")
    running.clone()
    running.down()  # what a run that was cut short has left
    try:
        running.up()
        answer = running.api.post("/v1/domains", json={"name": "example.test"})
        assert answer.status_code == 201, answer.text
        yield running
    finally:
        running.down()


@pytest.fixture
def drop(system: ComposedSystem) -> Maildrop:
    """A fresh account."""
    return system.make_account(f"user{next(_numbers)}@example.test")
