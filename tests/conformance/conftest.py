"""Dialogues are held on the loop the services run on; what several of them need is here."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvloop

from posthorn.ports import sending
from posthorn_local.certificate import ensure_certificate
from tests.conformance.submission.env import Certificates
from tests.conformance.twins import hash_of_password


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Make every asynchronous test of this directory run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module", autouse=True)
def failures_are_kept() -> Iterator[None]:
    """No failed login is forgotten while a test goes on, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "FAILURES_SECONDS", 1e6)
        yield


@pytest.fixture(scope="session")
def password_hash() -> str:
    """The stored hash of PASSWORD."""
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, hash_of_password()).result()


@pytest.fixture(scope="session")
def tls_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate and its key, signed by itself."""
    directory = tmp_path_factory.mktemp("tls")
    ensure_certificate(directory)
    return directory


@pytest.fixture(scope="session")
def certificates(tls_dir: Path) -> Certificates:
    """That certificate as a server shows it, and who trusts it."""
    return Certificates(tls_dir)


@pytest.fixture
def server_tls(certificates: Certificates) -> ssl.SSLContext:
    """A server's context with the certificate of ``tls_dir``."""
    return certificates.server


@pytest.fixture
def trust(tls_dir: Path) -> ssl.SSLContext:
    """Trusts the certificate of ``tls_dir``."""
    return ssl.create_default_context(cafile=str(tls_dir / "tls.crt"))
