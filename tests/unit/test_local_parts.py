"""The parts of local mode that need no running system."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from posthorn.runtime.env_settings import SettingsError
from posthorn_local import children, logs
from posthorn_local.addresses import Ports, PortTaken, choose_ports
from posthorn_local.announcement import announcement
from posthorn_local.certificate import ensure_certificate
from posthorn_local.children import Backoff
from posthorn_local.embedded import EmbeddedError, end_by, free_port
from posthorn_local.home import Home, HomeTaken, write_secret
from posthorn_local.logs import Log
from posthorn_local.settings import LocalSettings
from posthorn_local.supervisor import Supervisor

NOW = datetime.now(UTC)


# ---- settings and ports


def test_a_bad_value_is_refused_with_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POSTHORN_POP3S_PORT", "ninety")
    monkeypatch.setenv("POSTHORN_BLOBS", "gopher://key:hidden@host/bucket")
    monkeypatch.setenv("POSTHORN_HOME", "")
    with pytest.raises(SettingsError) as refusal:
        LocalSettings.load()
    for name in ("POSTHORN_POP3S_PORT", "POSTHORN_BLOBS", "POSTHORN_HOME"):
        assert name in str(refusal.value)
    assert "hidden" not in str(refusal.value)


def test_a_relative_home_is_taken_from_where_one_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTHORN_HOME", "some where")
    assert LocalSettings.load().home == tmp_path / "some where"


def _settings(**ports: int) -> LocalSettings:
    names = ("smtp", "imap", "imaps", "pop3", "pop3s", "api", "health")
    none = {f"{name}_port": 0 for name in names}
    return LocalSettings.model_validate(none | ports)


def test_zero_takes_free_ports_and_no_port_twice() -> None:
    ports = choose_ports(_settings())
    served = [ports.smtp, ports.imap, ports.imaps, ports.pop3, ports.pop3s, ports.api]
    served += [ports.submission, ports.submissions]
    every = [*served, *ports.health.values()]
    assert len(set(every)) == 16
    assert all(every)
    assert ports.taken == set(every)


def test_a_free_port_is_none_that_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthorn_local.embedded._PORTS", range(first := free_port(), first + 2))
    assert {free_port({first}) for _ in range(20)} == {first + 1}
    with pytest.raises(EmbeddedError, match="no TCP port is free"):
        free_port({first, first + 1})


def test_a_port_in_use_is_refused_with_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("posthorn_local.addresses._PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(PortTaken, match=r"POSTHORN_API_PORT: port \d+ .* in use"):
            choose_ports(_settings(api_port=other.getsockname()[1]))
        with pytest.raises(PortTaken, match=r"POSTHORN_HEALTH_PORT \(for smtp-in\)"):
            choose_ports(_settings(health_port=other.getsockname()[1]))


def test_one_port_for_two_things_is_refused() -> None:
    port = free_port()
    with pytest.raises(
        PortTaken, match=rf"POSTHORN_POP3_PORT: port {port} is POSTHORN_SMTP_PORT's too"
    ):
        choose_ports(_settings(smtp_port=port, pop3_port=port))


# ---- the home


def test_a_home_has_one_supervisor(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    with pytest.raises(HomeTaken, match=f"process {os.getpid()} is running"):
        Home(tmp_path / "home")
    home.close()


def test_a_home_is_not_taken_while_a_child_of_the_former_supervisor_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorn_local.home._REMAINS_TIMEOUT", 0.2)
    script = (
        "import subprocess, sys; from pathlib import Path; from posthorn_local.home import Home\n"
        "home = Home(Path(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '60'], pass_fds=(home.children_lock,), stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True
    )
    child = int(done.stdout)
    try:
        with pytest.raises(HomeTaken, match="processes of an earlier start"):
            Home(tmp_path)
    finally:
        os.kill(child, 9)
    monkeypatch.setattr("posthorn_local.home._REMAINS_TIMEOUT", 10)
    Home(tmp_path).close()


def test_a_home_that_cannot_be_made_is_refused_with_the_name_of_its_variable(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeTaken, match=r"POSTHORN_HOME: cannot use .*Not a directory"):
        Home(tmp_path / "file" / "home")


def test_a_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old, and open to all")
    path.chmod(0o644)
    write_secret(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "new"


# ---- the certificate


def test_the_certificate_serves_this_machine_and_nobody_reads_its_key(tmp_path: Path) -> None:
    directory = tmp_path / "tls"
    assert ensure_certificate(directory)
    assert stat.S_IMODE((directory / "tls.key").stat().st_mode) == 0o600
    strict = ssl.create_default_context(cafile=str(directory / "tls.crt"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    for host in ("localhost", "127.0.0.1"):
        _handshake(strict, server, host)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(strict, server, "mail.example.org")


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [ours, theirs]
    for _ in range(8):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting


@pytest.mark.parametrize(("days", "renewed"), [(1, False), (334, False), (336, True), (400, True)])
def test_the_certificate_is_renewed_when_its_end_is_near(
    tmp_path: Path, days: int, renewed: bool
) -> None:
    ensure_certificate(tmp_path, NOW)
    before = (tmp_path / "tls.crt").read_bytes()
    assert ensure_certificate(tmp_path, NOW + timedelta(days=days)) is renewed
    assert ((tmp_path / "tls.crt").read_bytes() != before) is renewed


def test_a_certificate_without_its_own_key_is_replaced(tmp_path: Path) -> None:
    ensure_certificate(tmp_path / "one")
    ensure_certificate(tmp_path / "two")
    (tmp_path / "one" / "tls.key").write_bytes((tmp_path / "two" / "tls.key").read_bytes())
    assert ensure_certificate(tmp_path / "one")
    (tmp_path / "two" / "tls.crt").write_text("not a certificate")
    assert ensure_certificate(tmp_path / "two")


# ---- logs


def test_errors_of_a_service_are_shown_in_plain_words_and_nothing_else(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log")
    with log.writer() as out:
        out.write(b'{"event": "serving", "level": "info"}\n')
        out.write(b'{"event": "cannot reach", "level": "error", "error": "nats: closed"}\n')
        out.write(
            json.dumps(
                {"event": "failed", "level": "error", "exception": "Traceback\n  x\nOSError: no"}
            ).encode()
        )
        out.write(b"\nrefusing to start: POSTHORN_X: bad\nhalf a li")
        out.flush()
        assert log.complaints() == [
            "cannot reach: nats: closed",
            "failed: OSError: no",
            "refusing to start: POSTHORN_X: bad",
        ]
        out.write(b"ne\n")
        out.write(b'{"event": "an error in a text", "level": "info"}\n')
    assert log.complaints() == ["half a line"]


def test_of_a_service_that_ends_without_a_complaint_the_last_lines_are_shown(
    tmp_path: Path,
) -> None:
    log = Log(tmp_path / "x.log")
    assert log.tail() == [f"(no output; see {log.path})"]
    with log.writer() as out:
        out.write(b"Traceback\n" + b'{"event": "serving", "level": "info"}\n' * 20)
    assert log.complaints() == ["Traceback"]
    assert log.tail(2) == ['{"event": "serving", "level": "info"}'] * 2


def test_the_same_error_again_and_again_is_shown_once(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log")
    for _ in range(3):
        with log.writer() as out:
            out.write(b'{"event": "down", "level": "error"}\n' * 100)
        shown = log.complaints()
        assert shown == ["down"] or (shown == [] and _ > 0)


def test_a_log_that_has_grown_is_put_aside_under_the_child_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LIMIT", 1000)
    log = Log(tmp_path / "x.log")
    with log.writer() as out:
        for number in range(200):
            out.write(b'{"event": "line %d", "level": "info"}\n' % number)
            out.flush()
            log.complaints()
        out.write(b"after\n")
    assert log.complaints() == ["after"]
    assert log.path.stat().st_size < 2000
    assert (tmp_path / "x.log.1").stat().st_size < 2000


# ---- the rest


def test_a_log_without_room_for_a_copy_is_made_short_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(logs, "LIMIT", 30)
    (tmp_path / "x.log.1").mkdir()  # where the copy cannot be written
    log = Log(tmp_path / "x.log")
    with log.writer() as out:
        out.write(b"more than ten bytes\n" * 2)
    assert len(log.complaints() + log.complaints()) == 1
    assert log.path.stat().st_size == 0


class _Child:
    """A child that cannot be started at first."""

    name, lived = "nats", 100.0

    def __init__(self) -> None:
        self.backoff = Backoff()
        self.has_room = False
        self.runs = False

    def ended(self) -> str | None:
        return None if self.runs else "exit status 1"

    def start(self) -> None:
        if not self.has_room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.runs = True


def test_a_child_that_cannot_be_started_is_tried_again_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_FIRST_DELAY", 0.0)
    monkeypatch.setattr(children, "_LONGEST_DELAY", 0.0)
    home = Home(tmp_path / "home")
    supervisor, child = Supervisor(_settings(), home, choose_ports(_settings())), _Child()
    for _ in range(3):
        supervisor._revive(child)  # type: ignore[arg-type]
    child.has_room = True
    for _ in range(2):
        supervisor._revive(child)  # type: ignore[arg-type]
    home.close()
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ", 1)[1] for line in said] == [
        "nats ended (exit status 1); it is started again in 0.0 s",
        "nats cannot be started, which is tried again: [Errno 28] No space left on device",
        "nats runs again",
    ]


def test_a_child_that_dies_at_once_is_given_more_and_more_time() -> None:
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.after(60) == 0.1


def test_exactly_one_line_of_the_announcement_says_ready() -> None:
    ports = Ports(2525, 2143, 2993, 2110, 2995, 8080, 2587, 2465, {}, frozenset())
    lines = [
        line
        for line in announcement(ports, Path("/srv/it is"), "/console/#link=x").splitlines()
        if "ready" in line.lower()
    ]
    assert len(lines) == 1
    for port in ("2525", "2143", "2993", "2110", "2995", "8080", "2587", "2465"):
        assert port in lines[0]


# ---- ends


class _Unkillable(subprocess.Popen[bytes]):
    """A process that waits for its disk, as the kernel has it: a signal does nothing for now."""

    def send_signal(self, sig: int) -> None:
        pass


def test_a_process_that_no_signal_ends_is_not_waited_for() -> None:
    with subprocess.Popen(["sleep", "600"]) as honest:
        assert not end_by(honest, time.monotonic())
        assert honest.returncode == -signal.SIGKILL
    stuck = _Unkillable(["sleep", "600"])
    try:
        began = time.monotonic()
        assert not end_by(stuck, began + 0.1)
        assert 0.1 < time.monotonic() - began < 60
        assert stuck.poll() is None
    finally:
        os.kill(stuck.pid, signal.SIGKILL)
        assert stuck.wait(30) == -signal.SIGKILL
