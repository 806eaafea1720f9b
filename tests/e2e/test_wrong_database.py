"""An empty or wrong Postgres in place of the real one: nothing is deleted, nobody bounces, and the
real one put back reads all.

The whole system, as an operator would meet it: audit finding 1.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.installation import DirectoryMark
from posthorn.adapters.nats.layout import BUCKET_PREFIX, BUCKET_STREAM
from posthorn.model.directory_entry import HALTED_KEY, INSTALLATION_KEY
from posthorn_local.embedded import Nats, Postgres
from tests.e2e.command_line import beside
from tests.support.databases import execute
from tests.support.jetstream import nats_settings
from tests.support.maildrop import Maildrop, RefusedError
from tests.support.polling import BUSY_SECONDS
from tests.support.system import System, await_that

pytestmark = pytest.mark.timeout(300)

SMALL, LARGE = (
    b"Subject: small\r\n\r\ntext\r\n",
    b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 40_000,
)
TWO_HOURS = 7200

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that each test leaves with the database it found."""
    # one beat is half a second, so that others' marks are stale after one and a half
    settings = {"POSTHORN_INSTALLATION_BEAT_SECONDS": "0.5"}
    running = System(tmp_path_factory.mktemp("wrong-database") / "home", settings)
    running.start()
    yield running
    running.close()


def _bodies(system: System) -> dict[str, int]:
    """The blobs of segments, bodies and trash, with their sizes."""
    root = system.home / "blobs"
    return {
        str(path.relative_to(root)): path.stat().st_size
        for name in ("segments", "bodies", "trash")
        for path in (root / name).rglob("*")
        if path.is_file()
    }


def _filled(system: System) -> Maildrop:
    system.await_whole()
    drop = system.make_account(f"carol{next(_numbers)}@example.test")
    for _ in range(6):
        system.send(SMALL, drop.address)
    system.send(LARGE, drop.address)
    drop.await_mail(7)
    return drop


def _age_blobs(system: System) -> None:
    then = time.time() - TWO_HOURS
    for path in (system.home / "blobs").rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def _rcpt(system: System, address: str) -> tuple[int, bytes]:
    with system.smtp() as session:
        session.ehlo()
        session.mail("sender@example.org")
        return session.rcpt(address)


def _answers(system: System) -> bool:
    try:
        system.page("smtp-in", "/healthz")
        with system.smtp(timeout=5):
            return True
    except (OSError, smtplib.SMTPException, httpx.HTTPError):
        return False


def _state(system: System, service: str) -> str:
    try:
        answer = system.page(service, "/readyz")
    except httpx.HTTPError:
        return ""
    return "" if answer.status_code == 200 else str(answer.json()["parts"])


def _is_told(system: System, service: str) -> bool:
    return "adopt" in _state(system, service)


def _environment(system: System) -> dict[str, str]:
    environment: dict[str, str] = system.parts()["api"].environ()
    return environment


def _command(system: System, *words: str) -> tuple[int, str]:
    """Run a command of posthorn-api as in the API's container."""
    environment = _environment(system) | {"POSTHORN_LOG_LEVEL": "error"}
    script = "from posthorn_api.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _examined(system: System, home: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run `posthorn doctor`. Return its exit status, and status and detail by check."""
    ran = beside(system, home).attempt("doctor --no-dns --json")
    return ran.status, {each["check"]: (each["status"], each["detail"]) for each in ran.document}


def test_an_empty_database_deletes_and_bounces_nothing_and_the_old_one_put_back_reads_all(
    system: System,
) -> None:
    drop = _filled(system)
    system.stop()
    _age_blobs(system)
    before = _bodies(system)
    assert len(before) >= 2
    (system.home / "postgres").rename(system.home / "postgres.away")

    system.spawn()
    await_that("smtp-in answers", lambda: _answers(system), 2 * BUSY_SECONDS)
    await_that("smtp-in is told", lambda: "adopt" in _state(system, "smtp-in"), 2 * BUSY_SECONDS)
    for service in ("delivery", "api", "relay", "pop3", "submission"):
        await_that(
            f"{service} says what to do", partial(_is_told, system, service), 2 * BUSY_SECONDS
        )
    seen = {
        _rcpt(system, address)[0]
        for address in (drop.address, "nobody@example.test", "alice@elsewhere.test")
    }
    assert seen == {451}
    with pytest.raises(RefusedError, match="SYS/TEMP"), drop.session(patience=0):
        pass
    answer = httpx.get(
        f"http://127.0.0.1:{system.ports['API']}/v1/domains",
        headers={"Authorization": f"Bearer {system.key}"},
        timeout=BUSY_SECONDS,
        verify=False,
    )
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "posthorn-api installation" in answer.json()["detail"]
    time.sleep(5)
    assert _bodies(system) == before
    metrics = system.page("delivery", "/metrics").text
    assert re.search(r"^posthorn_installation_halted 1\.0$", metrics, re.MULTILINE)
    system.close()

    (system.home / "postgres").rename(system.home / "postgres.empty")
    (system.home / "postgres.away").rename(system.home / "postgres")
    system.start()
    assert _bodies(system) == before
    drop = system.maildrop(drop.address, drop.password)
    assert sorted(octets.count(b"0123456789abcdef") for octets in drop.read()) == [0] * 6 + [40_000]
    await_that(
        "mail is accepted again", lambda: _rcpt(system, drop.address)[0] == 250, 2 * BUSY_SECONDS
    )
    system.send(SMALL, drop.address)
    drop.await_mail(8)


def test_an_operator_adopts_a_database_of_another_installation(
    system: System, tmp_path: Path
) -> None:
    drop = _filled(system)
    before = _bodies(system)
    asyncio.run(
        execute(
            _environment(system)["POSTHORN_DATABASE_URL"],
            "UPDATE installation SET id = gen_random_uuid()",
        )
    )
    for service in ("api", "smtp-in"):
        await_that(
            f"{service} says what to do", partial(_is_told, system, service), 2 * BUSY_SECONDS
        )
    assert _rcpt(system, drop.address)[0] == 451
    status, findings = _examined(system, tmp_path)
    assert status == 1
    assert findings["installation"][0] == "fail"
    assert "posthorn-api installation" in findings["installation"][1]
    assert findings.keys().isdisjoint({"API key", "domains"})  # a halted API answers nothing
    status, out = _command(system, "installation")
    assert status == 1, out
    found = re.search(r"^database +(\S+)", out, re.MULTILINE)
    assert found, out
    status, out = _command(system, "adopt", "--installation", found[1])
    assert status == 0, out
    system.await_whole(60)
    assert drop.count() == 7
    await_that(
        "mail is accepted again", lambda: _rcpt(system, drop.address)[0] == 250, 2 * BUSY_SECONDS
    )
    await_that(
        "the doctor finds it sound",
        lambda: _examined(system, tmp_path)[1]["installation"][0] == "ok",
        20,
    )
    system.send(SMALL, drop.address)
    drop.await_mail(8)
    assert before.items() <= _bodies(system).items()


def test_a_home_of_the_release_without_marks_takes_itself_up(system: System) -> None:
    drop = _filled(system)
    system.stop()
    (mark,) = (system.home / "blobs").rglob("posthorn.id")
    mark.unlink()
    asyncio.run(_without_marks(system.home))
    system.start()
    assert mark.exists()
    drop = system.maildrop(drop.address, drop.password)
    assert len(list(drop.read())) == 7
    system.send(SMALL, drop.address)
    drop.await_mail(8)


async def _without_marks(home: Path) -> None:
    """Leave Postgres as a migration of an older schema does, and the directory bucket as a
    release without marks."""
    postgres, nats = Postgres(home / "postgres"), Nats(home / "nats")
    postgres.start()
    nats.start()
    try:
        await execute(postgres.url, "UPDATE installation SET id = gen_random_uuid(), stage = 'new'")
        async with connect(nats_settings(nats), "test") as jetstream:
            for key in (INSTALLATION_KEY, HALTED_KEY):
                wish = {"filter": f"{BUCKET_PREFIX}{key}"}
                await jetstream.api(f"STREAM.PURGE.{BUCKET_STREAM}", wish)
            assert (await DirectoryMark(jetstream).read()).mark is None
            assert (await DirectoryMark(jetstream).read()).holds_data
    finally:
        nats.stop()
        postgres.stop()
