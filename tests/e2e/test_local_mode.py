"""Local mode as a person and as a script meet it: start, ports, files, restart, kill, and what
it says when it cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import smtplib
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.e2e.trace import split_trace
from tests.support.polling import BUSY_SECONDS
from tests.support.s3 import S3Server
from tests.support.system import BACKENDS, PORTS, SERVICES, System, await_that

MESSAGE = b"From: sender@example.org\r\nSubject: stays\r\n\r\nstays\r\n"
STARTS_WITHIN = 30.0
STOPS_WITHIN = 10.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that the tests of this module stop, kill and start."""
    directory = tmp_path_factory.mktemp("local")
    directory.chmod(0o700)
    running = System(directory / "home")
    running.start()
    yield running
    running.close()


@pytest.fixture
def up(own: System) -> System:
    """The same, running."""
    if own.process is None:
        own.start()
    return own


def family(system: System) -> list[psutil.Process]:
    """The supervisor and everything below it."""
    assert system.process is not None
    supervisor = psutil.Process(system.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def attempt(system: System) -> tuple[int, str]:
    """Start a system that cannot start. Return exit status and what it said."""
    system.spawn()
    assert system.process is not None
    try:
        return system.process.wait(2 * BUSY_SECONDS), system.said()
    finally:
        system.close()


def test_a_first_start_logs_nothing_that_is_wrong(own: System) -> None:
    entries = [json.loads(line) for part in SERVICES for line in own.log(part).splitlines()]
    assert {entry["level"] for entry in entries} <= {"debug", "info"}, [
        entry for entry in entries if entry["level"] not in ("debug", "info")
    ]
    for log in ("postgres/postgres.log", "nats/nats.log"):
        said = (own.home / log).read_text()
        assert not re.search(r"\b(?:WARNING|ERROR|FATAL|PANIC):|\[(?:ERR|FTL)]", said), said


def test_it_starts_in_time_and_says_so_in_one_line(up: System) -> None:
    assert up.ready_after < STARTS_WITHIN + BUSY_SECONDS
    said = up.said()
    assert len(re.findall("ready", said, re.IGNORECASE)) == 1, said
    assert set(up.parts()) == {*SERVICES, *BACKENDS}


def test_it_listens_on_this_machine_only(up: System) -> None:
    listening = set()
    for process in family(up):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                listening.add((connection.laddr.ip, connection.laddr.port))
    assert {host for host, _ in listening} == {"127.0.0.1"}
    ports = {port for _, port in listening}
    assert ports >= {*up.ports.values(), *range(up.health_port, up.health_port + 4)}


def test_keys_and_passwords_are_for_their_owner_alone(up: System) -> None:
    for name in ("admin.key", "accounts.txt", "tls/tls.key", "nats/password", "postgres/password"):
        assert stat.S_IMODE((up.home / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(up.home.stat().st_mode) == 0o700


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_tells_of_its_health_and_its_numbers(up: System, service: str) -> None:
    assert up.page(service, "/healthz").status_code == 200
    await_that(f"{service} serves", lambda: up.serves(service))
    program = "smtp_in" if service == "submission" else service.replace("-", "_")
    assert f"posthorn_{program}_" in up.page(service, "/metrics").text


def test_a_second_start_in_the_same_home_is_told_who_runs(up: System) -> None:
    assert up.process is not None
    second = System(up.home)
    second.output, second.errors = up.home.parent / "second.out", up.home.parent / "second.err"
    status, said = attempt(second)
    assert status != 0
    assert f"process {up.process.pid} is running" in said
    assert "ready" not in said.lower()


@pytest.mark.parametrize("name", PORTS)
def test_a_port_in_use_is_named_and_nothing_is_left_running(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        system = System(tmp_path / "home")
        system.ports[name] = other.getsockname()[1]
        status, said = attempt(system)
    assert status == 1
    assert f"POSTHORN_{name}_PORT: port {system.ports[name]} " in said
    assert "ready" not in said.lower()
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in str(process.info["cmdline"])
    ]


def test_a_bad_setting_of_a_service_is_named(tmp_path: Path) -> None:
    status, said = attempt(System(tmp_path / "home", {"POSTHORN_LOG_LEVEL": "loud"}))
    assert status == 1
    assert "POSTHORN_LOG_LEVEL" in said
    assert "Traceback" not in said
    assert "ready" not in said.lower()


@pytest.mark.parametrize("part", [*SERVICES, *BACKENDS])
def test_a_part_that_dies_is_started_again_and_said_so(up: System, part: str) -> None:
    victim = up.parts()[part]
    victim.kill()
    await_that(
        f"another {part}",
        lambda: (now := up.parts().get(part)) and now.pid != victim.pid,
        timeout=2 * BUSY_SECONDS,
    )
    up.await_whole()
    assert (
        len(
            re.findall(
                rf"^posthorn-local: {part} ended \(killed by SIGKILL\).*$", up.said(), re.MULTILINE
            )
        )
        == 1
    )
    await_that("the message is taken", lambda: _sent_as_by_a_server(up), pause=0.5)
    up.maildrop("bob@example.test").await_mail(1)
    up.maildrop("bob@example.test").empty()


def _sent_as_by_a_server(up: System) -> bool:
    """Send to bob; what is put off with a 4xx comes again, for a service may notice only now
    that its part was away."""
    try:
        up.send(MESSAGE, "bob@example.test")
    except smtplib.SMTPRecipientsRefused as refused:
        assert [code // 100 for code, _ in refused.recipients.values()] == [4]
        return False
    except smtplib.SMTPResponseException as refused:
        assert refused.smtp_code // 100 == 4
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_in_time_and_a_restart_keeps_everything(
    up: System, number: int
) -> None:
    drop = up.make_account(f"restart{int(number)}@example.test")
    up.send(MESSAGE, drop.address)
    (stored,) = drop.await_mail(1)
    with drop.session() as reader:
        uidl = reader.listing("UIDL")
    remembered = (up.key, up.passwords)
    everything = family(up)
    idle = [
        socket.create_connection(("127.0.0.1", up.ports[name]))
        for name in ("SMTP", "IMAP", "IMAPS", "POP3", "POP3S", "API")
    ]
    ended = up.stop(number)
    for connection in idle:
        connection.close()
    assert ended.status == 0
    assert ended.seconds < STOPS_WITHIN + BUSY_SECONDS
    assert not [process for process in everything if process.is_running()]

    up.start()
    assert up.ready_after < STARTS_WITHIN + BUSY_SECONDS
    assert (up.key, up.passwords) == remembered
    with drop.session() as reader:
        assert reader.listing("UIDL") == uidl
        assert reader.message(1) == stored


def test_a_transaction_under_way_is_finished_before_the_end(up: System) -> None:
    client = up.smtp()
    client.ehlo()
    client.mail("sender@example.org")
    client.rcpt("alice@example.test")
    client.docmd("DATA")
    assert up.process is not None
    drains = up.log("smtp-in").count("draining")
    up.process.terminate()
    await_that("smtp-in drains", lambda: up.log("smtp-in").count("draining") > drains)
    client.send(MESSAGE + b".\r\n")
    assert client.getreply()[0] == 250
    client.close()
    assert up.stop().status == 0
    up.start()
    drop = up.maildrop("alice@example.test")
    drop.await_mail(1)
    drop.empty()


def test_a_killed_supervisor_leaves_nothing_running_and_a_second_start_has_everything(
    up: System,
) -> None:
    drop = up.make_account("killed@example.test")
    up.send(MESSAGE, drop.address)
    (stored,) = drop.await_mail(1)
    everything = family(up)
    up.kill()
    up.start()  # at once, on the same ports
    assert up.ready_after < STARTS_WITHIN + BUSY_SECONDS
    assert not [process for process in everything if process.is_running()]
    assert drop.read() == [stored]


def test_a_supervisor_killed_in_its_first_start_leaves_a_home_that_starts(tmp_path: Path) -> None:
    system = System(tmp_path / "home")

    def first_of(*names: str) -> str | None:
        return next((name for name in names if (system.home / name).exists()), None)

    for what, follows in (
        ("postgres/data.new/PG_VERSION", "postgres/data"),
        ("postgres/data/PG_VERSION", "accounts.txt"),
        ("accounts.txt.unfinished", "accounts.txt"),
    ):
        while True:
            system.spawn()
            seen = await_that(
                what, partial(first_of, what, follows), timeout=3 * BUSY_SECONDS, pause=0.002
            )
            system.kill()
            if seen == what:
                break
            shutil.rmtree(system.home)  # it was there for too short a time to be seen
    system.start()
    assert len(system.passwords) == 2
    for address in system.passwords:
        assert system.maildrop(address).count() == 0
    assert system.stop().status == 0


def test_make_run_ends_with_the_make_that_was_killed(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    system = System(
        tmp_path / "home", command=["make", "--no-print-directory", "-C", str(root), "run"]
    )
    system.start()
    assert system.process is not None
    everything = psutil.Process(system.process.pid).children(recursive=True)
    assert everything
    system.kill()
    await_that(
        "nothing runs",
        lambda: not [p for p in everything if p.is_running()],
        timeout=STOPS_WITHIN + BUSY_SECONDS,
    )


def test_any_free_ports_a_relative_home_and_bodies_in_s3_when_settings_say_so(
    tmp_path: Path, s3: S3Server
) -> None:
    there = ["env", "-C", str(tmp_path), sys.executable, "-m", "posthorn_local.main"]
    settings = {f"POSTHORN_{name}_PORT": "0" for name in (*PORTS, "HEALTH")}
    settings |= {"POSTHORN_HOME": "a home", "POSTHORN_BLOBS": s3.url("local-mode")}
    system = System(tmp_path / "a home", settings, there)
    system.start()
    try:
        assert len(set(system.ports.values())) == len(PORTS)
        system.send(MESSAGE, "alice@example.test")
        system.maildrop("alice@example.test").await_mail(1)
        drop = system.make_account("s3@example.test")
        large = MESSAGE + b"0123456789abcdef" * 64 * 1024 + b"\r\n"
        for octets in (MESSAGE, large):
            system.send(octets, drop.address)
        assert sorted(split_trace(stored)[2] for stored in drop.await_mail(2)) == sorted(
            [MESSAGE, large]
        )
        assert s3.secret_key not in system.said()
        assert not (system.home / "blobs").exists()
    finally:
        assert system.stop().status == 0
    assert (tmp_path / "a home" / "accounts.txt").exists()


def test_help_names_every_setting() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "posthorn_local.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in (
        "HOME",
        "SMTP_PORT",
        "IMAP_PORT",
        "IMAPS_PORT",
        "POP3_PORT",
        "POP3S_PORT",
        "API_PORT",
        "HEALTH_PORT",
        "BLOBS",
    ):
        assert f"POSTHORN_{name}" in shown.stdout


@pytest.mark.root
def test_an_ordinary_user_can_run_it(tmp_path: Path) -> None:
    assert os.geteuid() == 0
    directory = tmp_path / "user"
    directory.mkdir(mode=0o700)
    os.chown(directory, 65534, 65534)
    # the interpreter and this checkout may lie under a private directory: the user may pass
    # through, not write
    become = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all,+dac_read_search",
    ]
    become += ["--ambient-caps=-all,+dac_read_search", sys.executable, "-m", "posthorn_local.main"]
    system = System(directory / "home", command=become)
    system.output, system.errors = tmp_path / "out", tmp_path / "err"
    system.start()
    try:
        assert {process.uids().effective for process in family(system)} == {65534}
        system.send(MESSAGE, "alice@example.test")
        system.maildrop("alice@example.test").await_mail(1)
    finally:
        assert system.stop().status == 0
