"""Fixtures of the IMAP service's tests, which run on the loop that the service runs on."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from posthorn.adapters.postgres.database import Database
from posthorn_local.certificate import ensure_certificate
from tests.support.imap import ImapEnv, imap_env
from tests.support.imap_store import ImapStore


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Make every asynchronous test of this directory run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def imap(database: Database, tmp_path: Path) -> AsyncIterator[ImapEnv]:
    """The IMAP service's context, with no account yet."""
    async with imap_env(database, tmp_path / "bodies") as opened:
        yield opened


@pytest.fixture
async def mail(imap: ImapEnv, database: Database) -> AsyncIterator[ImapEnv]:
    """The same with the account ALICE; its counters and change log must hold at the end."""
    await imap.account()
    await imap.seed.rows("UPDATE mailboxes SET counted_modseq = modseq")
    yield imap
    await ImapStore(database, imap.blobs, imap.seed).is_sound()


@pytest.fixture(scope="session")
def tls_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate and its key, signed by itself."""
    directory = tmp_path_factory.mktemp("tls")
    ensure_certificate(directory)
    return directory


@pytest.fixture
def trust(tls_dir: Path) -> ssl.SSLContext:
    """Trusts the certificate of ``tls_dir``."""
    return ssl.create_default_context(cafile=str(tls_dir / "tls.crt"))
