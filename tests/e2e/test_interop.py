"""Mail programs that people use, from Debian's packages, each against the running system. An
absent one fails its tests."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.trace import split_trace
from tests.support.maildrop import Maildrop
from tests.support.sink import Sink
from tests.support.system import System, await_that

pytestmark = pytest.mark.interop

HEAD = b"From: sender@example.org\r\nTo: reader@example.test\r\nSubject: interop\r\nMessage-ID: <1@interop.example.org>\r\n\r\n"
MESSAGES = [
    HEAD + b"plain\r\n",
    HEAD + b".\r\n..\r\n.dots\r\nend.\r\n",
    HEAD + "Grüße\r\n".encode() + b"x" * 990 + b"\r\n\r\n\r\n",
    HEAD + b"".join(b"%06d a line of a longer message\r\n" % n for n in range(20_000)),
]


def program(name: str, *arguments: str, home: Path, stdin: bytes = b"") -> bytes:
    """Run a program with a home of its own. Return its standard output. Fails when it is absent
    or exits with an error."""
    path = shutil.which(name)
    assert path, f"{name} is not installed: it comes with Debian's package {name}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "FETCHMAILHOME": str(home),
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        [path, *arguments],
        input=stdin,
        capture_output=True,
        env=environment,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, (
        arguments,
        done.returncode,
        done.stdout[-1500:],
        done.stderr[-1500:],
    )
    return done.stdout


def fill(system: System, drop: Maildrop) -> list[bytes]:
    """Put every message into the maildrop. Return the messages as stored."""
    for octets in MESSAGES:
        system.send(octets, drop.address)
    return drop.await_mail(len(MESSAGES))


def unix(octets: bytes) -> bytes:
    """As a program writes it to disk."""
    return octets.replace(b"\r\n", b"\n")


def secret(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


# ---- curl


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "STARTTLS"])
def test_curl_sends(system: System, drop: Maildrop, tmp_path: Path, tls: bool) -> None:
    options = ["--ssl-reqd", "--cacert", str(system.home / "tls" / "tls.crt")] if tls else []
    for octets in MESSAGES:
        (tmp_path / "message").write_bytes(octets)
        url = f"smtp://localhost:{system.ports['SMTP']}/client.example.org"
        program("curl", "-sS", *options, url, "--mail-from", "sender@example.org", "--mail-rcpt", drop.address,
                "-T", str(tmp_path / "message"), home=tmp_path)  # fmt: skip
    stored = drop.await_mail(len(MESSAGES))
    assert [split_trace(octets)[2] for octets in stored] == MESSAGES
    assert all((" with ESMTPS" in split_trace(octets)[1]) is tls for octets in stored)


@pytest.mark.parametrize("way", ["plain", "STLS", "TLS"])
def test_curl_reads(system: System, drop: Maildrop, tmp_path: Path, way: str) -> None:
    stored = fill(system, drop)
    base = (
        f"pop3s://localhost:{system.ports['POP3S']}/"
        if way == "TLS"
        else f"pop3://localhost:{system.ports['POP3']}/"
    )
    options = [
        "-sS",
        "-u",
        f"{drop.address}:{drop.password}",
        "--cacert",
        str(system.home / "tls" / "tls.crt"),
    ]
    options += ["--ssl-reqd"] if way == "STLS" else []
    listing = program("curl", *options, base, home=tmp_path).decode()
    assert [int(row.split()[1]) for row in listing.splitlines()] == [
        len(octets) for octets in stored
    ]
    for number, octets in enumerate(stored, 1):
        assert program("curl", *options, f"{base}{number}", home=tmp_path) == octets
    program("curl", *options, "-X", "DELE 1", "-I", base, home=tmp_path)
    assert drop.read() == stored[1:]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl_logs_in_by_sasl(
    system: System, drop: Maildrop, tmp_path: Path, mechanism: str
) -> None:
    (stored, *_) = fill(system, drop)
    url = f"pop3s://localhost:{system.ports['POP3S']}/1"
    options = [
        "-sS",
        "--login-options",
        f"AUTH={mechanism}",
        "--sasl-ir",
        "-u",
        f"{drop.address}:{drop.password}",
    ]
    for more in ([], ["--sasl-ir"]):
        given = program(
            "curl",
            *options,
            *more,
            "--cacert",
            str(system.home / "tls" / "tls.crt"),
            url,
            home=tmp_path,
        )
        assert given == stored


def test_the_commands_that_the_announcement_shows_do_what_it_says(
    system: System, tmp_path: Path
) -> None:
    alice = system.maildrop("alice@example.test")
    alice.empty()
    shown = system.output.read_text().splitlines()
    commands = "\n".join(
        line.removeprefix("  ") if line.startswith("  ") else "#" for line in shown
    )
    send, read, out, account = (
        part.strip()
        for part in re.split(r"^#.*\n(?:#.*\n)*", commands, flags=re.MULTILINE)
        if part.strip("#\n ")
    )
    program("bash", "-c", send, home=tmp_path)
    (stored,) = alice.await_mail(1)
    assert split_trace(stored)[2].endswith(b"Subject: Hello\r\n\r\nA first message.\r\n")
    by_imap, by_pop3 = read.splitlines()
    assert program("bash", "-c", by_imap, home=tmp_path) == stored
    assert program("bash", "-c", by_pop3, home=tmp_path) == stored
    alice.empty()
    sink = Sink()
    sink.start()
    try:
        program("bash", "-c", out.replace('"port": 2526', f'"port": {sink.port}'), home=tmp_path)
        (taken,) = await_that("the message out", lambda: sink.taken_by("someone@sink.test"))
        assert taken.content.endswith(b"\r\n\r\nA first message out.\r\n")
    finally:
        sink.stop()
        system.api.delete("/v1/routes/sink.test")
    assert b'"carol@example.test"' in program("bash", "-c", account, home=tmp_path)
    system.send(MESSAGES[0], "carol@example.test")
    assert system.api.delete("/v1/accounts/carol@example.test").status_code == 204


# ---- swaks


@pytest.mark.parametrize(
    "options",
    [[], ["--tls"], ["--pipeline"], ["--protocol", "SMTP"]],
    ids=["plain", "tls", "pipeline", "helo"],
)
def test_swaks_sends(system: System, drop: Maildrop, tmp_path: Path, options: list[str]) -> None:
    for octets in MESSAGES[:3]:
        (tmp_path / "message").write_bytes(unix(octets))
        said = program("swaks", "--server", "127.0.0.1", "--port", str(system.ports["SMTP"]), "--helo", "client.example.org",
                       "--from", "sender@example.org", "--to", drop.address, "--data", f"@{tmp_path / 'message'}", *options,
                       home=tmp_path)  # fmt: skip
        assert b"\n<" in said
    stored = drop.await_mail(3)
    for given, octets in zip(stored, MESSAGES, strict=False):
        assert split_trace(given)[2].rstrip() == octets.rstrip()
    if options == ["--tls"]:
        assert " with ESMTPS" in split_trace(stored[0])[1]


def test_swaks_is_told_that_a_recipient_is_unknown(system: System, tmp_path: Path) -> None:
    path = shutil.which("swaks")
    assert path, "swaks is not installed"
    done = subprocess.run(
        [path, "--server", "127.0.0.1", "--port", str(system.ports["SMTP"]), "--helo", "client.example.org",
         "--from", "sender@example.org", "--to", "nobody-there@example.test"],
        capture_output=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, timeout=60, check=False,
    )  # fmt: skip
    assert b"550 5.1.1" in done.stdout
    assert done.returncode == 24  # no recipient was accepted


# ---- mpop


@pytest.mark.parametrize("way", ["plain", "STLS", "TLS"])
@pytest.mark.parametrize("pipelining", ["on", "off", "auto"])
def test_mpop_reads_keeps_and_deletes(
    system: System, drop: Maildrop, tmp_path: Path, way: str, pipelining: str
) -> None:
    stored = fill(system, drop)
    maildir = tmp_path / "Maildir"
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    tls = {
        "plain": "tls off",
        "STLS": "tls on\ntls_starttls on",
        "TLS": "tls on\ntls_starttls off",
    }[way]

    def fetch(keep: str) -> list[bytes]:
        before = set((maildir / "new").iterdir())
        config = secret(
            tmp_path / "mpoprc",
            f"account a\nhost localhost\nport {system.ports['POP3S' if way == 'TLS' else 'POP3']}\n{tls}\n"
            f"tls_trust_file {system.home / 'tls' / 'tls.crt'}\n"
            f"user {drop.address}\npassword {drop.password}\nauth user\npipelining {pipelining}\nkeep {keep}\n"
            f"received_header off\nuidls_file {tmp_path / 'uidls'}\ndelivery maildir {maildir}\n",
        )
        program("mpop", "-C", str(config), "a", home=tmp_path)
        return [path.read_bytes() for path in set((maildir / "new").iterdir()) - before]

    assert sorted(fetch("on")) == sorted(map(unix, stored))
    assert fetch("on") == []  # it remembers what it has by UIDL
    system.send(MESSAGES[0], drop.address)
    drop.await_mail(len(MESSAGES) + 1)
    assert len(fetch("off")) == 1
    assert drop.count() == 0


# ---- fetchmail


@pytest.mark.parametrize("way", ["plain", "STLS", "TLS"])
def test_fetchmail_keeps_then_deletes(
    system: System, drop: Maildrop, tmp_path: Path, way: str
) -> None:
    stored = fill(system, drop)
    box = tmp_path / "box"
    box.mkdir()
    keeper = tmp_path / "keeper"
    keeper.write_text(f'#!/bin/sh\nexec cat > "$(mktemp {box}/XXXXXX)"\n')
    keeper.chmod(0o755)
    trust = system.home / "tls" / "tls.crt"
    tls = {"plain": 'sslproto ""', "STLS": "sslproto TLS1.2+", "TLS": "ssl"}[way]

    def fetch(*options: str) -> list[bytes]:
        before = set(box.iterdir())
        config = secret(
            tmp_path / "fetchmailrc",
            f"poll localhost service {system.ports['POP3S' if way == 'TLS' else 'POP3']} protocol pop3 uidl\n"
            f'  user "{drop.address}" password "{drop.password}" {tls} sslcertck sslcertfile "{trust}"\n'
            f"  norewrite {' '.join(options)}\n"
            f'  mda "{keeper}"\n',
        )
        program(
            "fetchmail",
            "-f",
            str(config),
            "--invisible",
            "-i",
            str(tmp_path / "ids"),
            home=tmp_path,
        )
        return [path.read_bytes() for path in set(box.iterdir()) - before]

    assert sorted(fetch("keep")) == sorted(map(unix, stored))
    system.send(MESSAGES[0], drop.address)
    drop.await_mail(len(MESSAGES) + 1)
    assert len(fetch("keep")) == 1  # only what it had not seen, by UIDL
    system.send(MESSAGES[1], drop.address)
    drop.await_mail(len(MESSAGES) + 2)
    fetch("nokeep", "fetchall")
    assert drop.count() == 0


# ---- getmail6


@pytest.mark.parametrize("way", ["plain", "TLS"])
def test_getmail_keeps_then_deletes(
    system: System, drop: Maildrop, tmp_path: Path, way: str
) -> None:
    stored = fill(system, drop)
    box = tmp_path / "box"
    box.mkdir()
    keeper = tmp_path / "keeper"
    keeper.write_text(f'#!/bin/sh\nexec cat > "$(mktemp {box}/XXXXXX)"\n')
    keeper.chmod(0o755)
    kind, port = (
        ("SimplePOP3SSLRetriever", "POP3S") if way == "TLS" else ("SimplePOP3Retriever", "POP3")
    )
    trust = f"ca_certs = {system.home / 'tls' / 'tls.crt'}\n" if way == "TLS" else ""

    def fetch(delete: bool) -> list[bytes]:
        before = set(box.iterdir())
        config = secret(
            tmp_path / "getmailrc",
            f"[retriever]\ntype = {kind}\nserver = localhost\nport = {system.ports[port]}\nusername = {drop.address}\n"
            f"password = {drop.password}\n{trust}[destination]\ntype = MDA_external\npath = {keeper}\nallow_root_commands = true\n"
            f"[options]\nread_all = false\ndelete = {str(delete).lower()}\nreceived = false\ndelivered_to = false\n",
        )
        program(
            "getmail",
            "--getmaildir",
            str(tmp_path),
            "--rcfile",
            str(config),
            "--quiet",
            home=tmp_path,
        )
        return [path.read_bytes() for path in set(box.iterdir()) - before]

    def content(octets: bytes) -> bytes:
        return octets.replace(b"\r\n", b"\n").rstrip()

    taken = fetch(delete=False)
    assert len(taken) == len(stored)
    assert sorted(map(content, (split_trace(octets)[2] for octets in stored))) == sorted(
        content(octets[octets.index(b"From: sender@") :]) for octets in taken
    )
    assert fetch(delete=False) == []  # it remembers what it has by UIDL
    assert drop.count() == len(stored)
    system.send(MESSAGES[0], drop.address)
    drop.await_mail(len(MESSAGES) + 1)
    assert len(fetch(delete=True)) == 1
    assert drop.count() == 0


# ---- programs that send by submission


def submitted(drop: Maildrop) -> bytes:
    """The one message that has arrived, as its author wrote it."""
    (stored,) = drop.await_mail(1)
    assert " with ESMTPSA" in split_trace(stored)[1] or b" with ESMTPSA" in stored
    return stored


@pytest.mark.parametrize("way", ["STARTTLS", "TLS"])
@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_msmtp_sends(
    system: System, drop: Maildrop, tmp_path: Path, way: str, mechanism: str
) -> None:
    port = system.ports["SUBMISSION" if way == "STARTTLS" else "SUBMISSIONS"]
    config = secret(
        tmp_path / "msmtprc",
        f"account a\nhost localhost\nport {port}\ntls on\ntls_starttls {'on' if way == 'STARTTLS' else 'off'}\n"
        f"tls_trust_file {system.home / 'tls' / 'tls.crt'}\nauth {mechanism}\nuser {drop.address}\n"
        f"password {drop.password}\nfrom {drop.address}\n",
    )
    text = f"From: {drop.address}\nTo: {drop.address}\nSubject: by msmtp\n\n.Grüße\n.\n".encode()
    program("msmtp", "-C", str(config), "-a", "a", drop.address, home=tmp_path, stdin=text)
    stored = submitted(drop)
    assert stored.endswith("\r\n\r\n.Grüße\r\n.\r\n".encode())
    assert b"\r\nSubject: by msmtp\r\n" in stored


def test_s_nail_sends_with_an_attachment_and_reads(
    system: System, drop: Maildrop, tmp_path: Path
) -> None:
    # its own path holds a blank
    trust = Path(shutil.copy(system.home / "tls" / "tls.crt", tmp_path))
    login = f"{drop.address.replace('@', '%40')}:{drop.password.replace(' ', '%20')}"
    attached = tmp_path / "plans.bin"
    attached.write_bytes(bytes(range(256)) * 20)
    config = secret(
        tmp_path / "nailrc",
        f"set v15-compat ttycharset=utf-8 tls-verify=strict tls-ca-file={trust} tls-ca-no-defaults\n"
        f"set mta=submissions://{login}@localhost:{system.ports['SUBMISSIONS']} smtp-auth=login from={drop.address}\n",
    )
    program("s-nail", "-:/", "-X", f"source {config}", "-s", "Pläne", "-a", str(attached), drop.address,
            stdin="Grüße\n".encode(), home=tmp_path)  # fmt: skip
    stored = submitted(drop)
    (item,) = system.api.get(f"/v1/accounts/{drop.address}/messages").json()["items"]
    assert item["subject"] == "Pläne"
    path = f"/v1/accounts/{drop.address}/messages/{item['id']}"
    parts = system.api.get(f"{path}/structure").json()["parts"]
    (part,) = (part for part in parts if part["is_attachment"])
    assert part["name"] == "plans.bin"
    assert system.api.get(f"{path}/parts/{part['number']}").content == attached.read_bytes()
    box = f"pop3s://{login}@localhost:{system.ports['POP3S']}"
    shown = program("s-nail", "-:/", "-R", "-X", f"source {config}", "-X", "set pop3-auth=plain", "-X", f"file {box}",
                    "-X", "type 1", "-X", "xit", home=tmp_path)  # fmt: skip
    assert "Grüße" in shown.decode()
    assert stored == drop.read()[0]


def test_neomutt_sends_with_an_attachment(system: System, drop: Maildrop, tmp_path: Path) -> None:
    # its own path holds a blank
    trust = Path(shutil.copy(system.home / "tls" / "tls.crt", tmp_path))
    attached = tmp_path / "plans.bin"
    attached.write_bytes(bytes(range(256)) * 20)
    login = drop.address.replace("@", "%40")
    config = secret(
        tmp_path / "neomuttrc",
        f"set from = {drop.address}\nset realname = 'A Tester'\nset charset = utf-8\nset send_charset = utf-8\n"
        f"set smtp_url = smtps://{login}@localhost:{system.ports['SUBMISSIONS']}/\nset smtp_pass = '{drop.password}'\n"
        f"set ssl_ca_certificates_file = {trust}\nset certificate_file = {trust}\n"
        f"set copy = no\nset record = ''\n",
    )
    program("neomutt", "-n", "-F", str(config), "-s", "Pläne", "-a", str(attached), "--", drop.address,
            home=tmp_path, stdin="Grüße\n".encode())  # fmt: skip
    submitted(drop)
    (item,) = system.api.get(f"/v1/accounts/{drop.address}/messages").json()["items"]
    assert item["subject"] == "Pläne"
    path = f"/v1/accounts/{drop.address}/messages/{item['id']}"
    parts = system.api.get(f"{path}/structure").json()["parts"]
    (part,) = (part for part in parts if part["is_attachment"])
    assert system.api.get(f"{path}/parts/{part['number']}").content == attached.read_bytes()


def on_a_terminal(name: str, *arguments: str, home: Path) -> None:
    """Run a program that needs a terminal, with a home of its own, until it ends by itself."""
    path = shutil.which(name)
    assert path, f"{name} is not installed: it comes with Debian's package {name}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TERM": "vt100",
    }
    ours, its = pty.openpty()
    shown = bytearray()
    with subprocess.Popen(
        [path, *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment,
        start_new_session=True,
    ) as running:
        os.close(its)
        deadline = time.monotonic() + 90
        try:
            while running.poll() is None and time.monotonic() < deadline:
                if select.select([ours], [], [], 0.1)[0]:
                    with suppress(OSError):  # the program's end of the terminal is closed
                        shown += os.read(ours, 65536)
        finally:
            if running.poll() is None:
                running.kill()
            os.close(ours)
    assert running.returncode == 0, (arguments, running.returncode, bytes(shown[-1500:]))


@pytest.mark.parametrize("way", ["STLS", "TLS"])
def test_neomutt_fetches_then_deletes(
    system: System, drop: Maildrop, tmp_path: Path, way: str
) -> None:
    stored = fill(system, drop)
    # its own path holds a blank
    trust = Path(shutil.copy(system.home / "tls" / "tls.crt", tmp_path))
    login = drop.address.replace("@", "%40")
    place = f"pops://{login}@localhost:{system.ports['POP3S']}/"
    if way == "STLS":
        place = f"pop://{login}@localhost:{system.ports['POP3']}/"

    def fetch(delete: str) -> list[bytes]:
        box = tmp_path / f"box-{delete}"
        for part in ("cur", "new", "tmp"):
            (box / part).mkdir(parents=True)
        config = secret(
            tmp_path / "neomuttrc",
            f"set folder = {tmp_path}\nset spool_file = {box}\nset mbox_type = Maildir\n"
            f"set pop_host = {place}\nset pop_pass = '{drop.password}'\n"
            f"set pop_delete = {delete}\nset pop_checkinterval = 1\nset ssl_starttls = yes\nset ssl_force_tls = yes\n"
            f"set ssl_ca_certificates_file = {trust}\nset certificate_file = {trust}\nset mail_check = 1\nset quit = yes\n"
            "set move = no\nset delete = no\nset wait_key = no\nset charset = utf-8\n",
        )
        on_a_terminal(
            "neomutt", "-n", "-F", str(config), "-e", "push <fetch-mail><quit>", home=tmp_path
        )
        return [path.read_bytes() for part in ("cur", "new") for path in (box / part).iterdir()]

    def content(octets: bytes) -> bytes:
        return octets[octets.index(b"From: sender@") :].replace(b"\r\n", b"\n").rstrip()

    assert sorted(map(content, fetch("no"))) == sorted(map(content, stored))
    assert drop.count() == len(stored)
    assert sorted(map(content, fetch("yes"))) == sorted(map(content, stored))
    assert drop.count() == 0
