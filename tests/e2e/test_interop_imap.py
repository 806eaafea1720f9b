"""IMAP clients that people use: Python's libraries, and programs that synchronise in both
directions between Dovecot and the running system. A second synchronisation changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import imaplib
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aioimaplib
import pytest
from imapclient import IMAPClient

from tests.e2e.command_line import beside
from tests.e2e.test_interop import program, secret
from tests.support.dovecot import dovecot
from tests.support.maildrop import Maildrop
from tests.support.polling import BUSY_SECONDS
from tests.support.system import System

pytestmark = pytest.mark.interop

WHEN = datetime(2019, 2, 3, 4, 5, 6, tzinfo=UTC)
OLD_USER, OLD_PASSWORD = "carol", "old password"
RECENT = b"\\Recent"
LIVE_FAULTS = {
    "test_move",  # its own fault without UIDs; fails with Dovecot too, as the next three do
    "test_fetch",
    "test_small_connection_timeout_fail",
    "test_small_read_timeout_fail",
    "test_status",  # wants RECENT to be 1; no message is ever recent here (RFC 9051 Appendix E)
    "test_subscriptions",  # wants names that do not exist refused; RFC 9051 §6.3.7 lets them be
}
"""Tests of IMAPClient's that do not count."""


@dataclass(frozen=True, slots=True)
class Place:
    """An account on a server, over TLS."""

    port: int
    user: str
    password: str
    certificate: Path

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def client(self) -> IMAPClient:
        client = IMAPClient("localhost", self.port, ssl_context=self.context(), timeout=60)
        client.login(self.user, self.password)
        client.normalise_times = False
        return client

    def fill(self, folder: str, *messages: tuple[bytes, tuple[bytes, ...]]) -> None:
        with self.client() as client:
            if not client.folder_exists(folder):
                client.create_folder(folder)
                client.subscribe_folder(folder)
            for content, flags in messages:
                client.append(folder, content, flags, WHEN)

    def holds(self) -> dict[str, dict[int, tuple[str, frozenset[bytes], float]]]:
        """By folder and UID: the content's digest, flags and date; folders that hold something."""
        found = {}
        with self.client() as client:
            for attributes, _, name in client.list_folders():
                if {b"\\Noselect", b"\\NonExistent"} & set(attributes):
                    continue  # above a mailbox that is there
                client.select_folder(name, readonly=True)
                uids = client.search("ALL")
                rows = client.fetch(uids, ["FLAGS", "INTERNALDATE", "BODY.PEEK[]"])
                if rows:
                    found[name] = {
                        uid: (
                            hashlib.sha256(_without_marks(row[b"BODY[]"])).hexdigest(),
                            frozenset(row[b"FLAGS"]) - {RECENT},
                            row[b"INTERNALDATE"].timestamp(),
                        )
                        for uid, row in rows.items()
                    }
        return found


def _without_marks(content: bytes) -> bytes:
    """Leave out the header fields that synchronisers add."""
    return b"".join(
        line
        for line in content.splitlines(keepends=True)
        if not line.lower().startswith((b"x-tuid:", b"x-offlineimap:"))
    )


def contents(place: Place) -> dict[str, list[tuple[str, frozenset[bytes], float]]]:
    """What a place holds, whatever its UIDs."""
    return {
        folder: sorted(rows.values(), key=lambda row: row[0])
        for folder, rows in place.holds().items()
    }


def message(number: int, body: bytes = b"text") -> bytes:
    return (
        b"From: a@example.org\r\nTo: b@example.org\r\nSubject: message %d\r\n"
        b"Date: Sun, 03 Feb 2019 04:05:06 +0000\r\nMessage-ID: <%d@interop.example.org>\r\n\r\n%b\r\n"
    ) % (number, number, body)


@pytest.fixture
def old() -> Iterator[Place]:
    with dovecot({OLD_USER: OLD_PASSWORD}, prefix="", separator="/") as running:
        yield Place(running.imaps, OLD_USER, OLD_PASSWORD, running.certificate)


@pytest.fixture
def new(system: System, drop: Maildrop) -> Place:
    certificate = system.home / "tls" / "tls.crt"
    return Place(system.ports["IMAPS"], drop.address, drop.password, certificate)


# ---- libraries


def test_imaplib(new: Place) -> None:
    with imaplib.IMAP4_SSL("localhost", new.port, ssl_context=new.context()) as client:
        assert client.login(new.user, new.password)[0] == "OK"
        assert client.create('"Work &APw- more"')[0] == "OK"
        for number in range(3):
            date = imaplib.Time2Internaldate(WHEN)
            assert client.append("INBOX", r"(\Flagged)", date, message(number))[0] == "OK"
        assert client.select("INBOX")[1] == [b"3"]
        assert client.search(None, "FLAGGED", "SUBJECT", '"message 1"') == ("OK", [b"2"])
        data: Any = client.fetch("2", "(RFC822 INTERNALDATE)")[1]
        assert data[0][1] == message(1)
        assert b'"03-Feb-2019 04:05:06 +0000"' in data[0][0] + data[1]
        assert client.store("1,2", "+FLAGS", r"(\Deleted $Label)")[0] == "OK"
        assert client.copy("2", '"Work &APw- more"')[0] == "OK"
        assert client.expunge() in [("OK", [b"2", b"1"]), ("OK", [b"1", b"1"])]
        assert client.status('"Work &APw- more"', "(MESSAGES)")[1][0].endswith(b"(MESSAGES 1)")
        assert client.getquotaroot("INBOX")[0] == "OK"
        assert client.close()[0] == "OK"


def test_imapclient(new: Place) -> None:
    with new.client() as client:
        assert client.find_special_folder(b"\\Sent") == "Sent"
        client.create_folder("Pläne/2019")
        assert client.append("Pläne/2019", message(1), [b"\\Seen", b"$Red"], WHEN)
        client.select_folder("Pläne/2019")
        assert client.search(["KEYWORD", "$Red"]) == [1]
        row = client.fetch([1], ["ENVELOPE", "BODYSTRUCTURE", "INTERNALDATE", "FLAGS"])[1]
        assert (row[b"ENVELOPE"].subject, row[b"INTERNALDATE"]) == (b"message 1", WHEN)
        client.move([1], "INBOX")
        assert client.search() == []
        client.select_folder("INBOX")
        assert set(client.get_flags([1])[1]) == {b"\\Seen", b"$Red"}
        client.idle()
        with new.client() as other:
            other.append("INBOX", message(2))
        assert (2, b"EXISTS") in client.idle_check(timeout=BUSY_SECONDS)
        client.idle_done()
        client.delete_messages([1, 2])
        client.expunge()
        client.delete_folder("Pläne/2019")


async def test_aioimaplib(new: Place) -> None:
    client = aioimaplib.IMAP4_SSL("localhost", new.port, ssl_context=new.context())
    await client.wait_hello_from_server()
    assert (await client.login(new.user, new.password)).result == "OK"
    assert (await client.append(message(1), mailbox="INBOX", flags="\\Seen")).result == "OK"
    assert (await client.select("INBOX")).result == "OK"
    found = await client.uid_search("ALL")
    assert found.lines[0] == b"1"
    body = await client.uid("fetch", "1", "(FLAGS BODY.PEEK[])")
    assert bytes(body.lines[1]) == message(1)
    idle = await client.idle_start(timeout=60)
    await asyncio.to_thread(new.fill, "INBOX", (message(2), ()))
    assert b"2 EXISTS" in await client.wait_server_push(20)
    client.idle_done()
    await asyncio.wait_for(idle, BUSY_SECONDS)
    assert (await client.move("1:2", "Archive")).result == "OK"
    assert (await client.logout()).result == "OK"


# ---- programs that synchronise


def mbsync_config(old: Place, new: Place, home: Path) -> Path:
    stores = "".join(
        f"""
IMAPAccount {name}
Host localhost
Port {place.port}
User {place.user}
Pass "{place.password}"
SSLType IMAPS
CertificateFile "{place.certificate}"

IMAPStore {name}
Account {name}
"""
        for name, place in (("old", old), ("new", new))
    )
    (home / "state").mkdir(exist_ok=True)
    channel = f"""
Channel both
Far :old:
Near :new:
Patterns *
Create Both
Expunge Both
CopyArrivalDate yes
SyncState "{home}/state/"
"""
    return secret(home / "mbsyncrc", stores + channel)


def mbsync(old: Place, new: Place, home: Path) -> None:
    config = mbsync_config(old, new, home)
    program("mbsync", "-V", "-c", str(config), "both", home=home)


def offlineimap(old: Place, new: Place, home: Path) -> None:
    repositories = "".join(
        f"""
[Repository {name}]
type = IMAP
remotehost = localhost
remoteport = {place.port}
remoteuser = {place.user}
remotepass = {place.password}
ssl = yes
sslcacertfile = {place.certificate}
auth_mechanisms = PLAIN
"""
        for name, place in (("old", old), ("new", new))
    )
    config = f"""
[general]
accounts = both
metadata = {home}/offlineimap
[Account both]
localrepository = new
remoterepository = old
{repositories}"""
    path = secret(home / "offlineimaprc", config)
    program("offlineimap", "-o", "-u", "basic", "-c", str(path), home=home)


@pytest.mark.parametrize("synchronise", [mbsync, offlineimap])
def test_two_ways_and_then_nothing(
    old: Place, new: Place, tmp_path: Path, synchronise: Callable[[Place, Place, Path], None]
) -> None:
    large = message(9, b"x" * 70 + b"\r\n" + b"0123456789" * 7 + b"\r\n" * 3 + b"y" * 300_000)
    old.fill("INBOX", (message(1), (b"\\Seen",)), (message(2), ()), (large, (b"\\Flagged",)))
    old.fill("Work", (message(3), (b"\\Answered",)))
    old.fill("Work/2019", (message(4), ()))
    new.fill("INBOX", (message(5), (b"\\Seen",)), (message(6), ()))
    new.fill("Mine", (message(7), (b"\\Draft",)))
    synchronise(old, new, tmp_path)
    there = contents(old)
    assert {folder: len(rows) for folder, rows in there.items()} == {
        "INBOX": 5,
        "Work": 1,
        "Work/2019": 1,
        "Mine": 1,
    }
    assert contents(new) == there

    with old.client() as client:
        client.select_folder("INBOX")
        client.add_flags(client.search(["SUBJECT", "message 2"]), [b"\\Seen"])
        client.delete_messages(client.search(["SUBJECT", "message 5"]))
        client.expunge()
    with new.client() as client:
        client.select_folder("INBOX")
        client.add_flags(client.search(["SUBJECT", "message 6"]), [b"\\Flagged"])
        client.remove_flags(client.search(["SUBJECT", "message 9"]), [b"\\Flagged"])
        client.delete_messages(client.search(["SUBJECT", "message 1"]))
        client.expunge()
    new.fill("Mine", (message(8), (b"\\Seen",)))
    synchronise(old, new, tmp_path)
    there = contents(old)
    assert {folder: len(rows) for folder, rows in there.items()} == {
        "INBOX": 3,
        "Work": 1,
        "Work/2019": 1,
        "Mine": 2,
    }
    assert sum(b"\\Flagged" in flags for _, flags, _ in there["INBOX"]) == 1
    assert sum(b"\\Seen" in flags for _, flags, _ in there["INBOX"]) == 1
    assert contents(new) == there

    before = old.holds(), new.holds()
    synchronise(old, new, tmp_path)
    assert (old.holds(), new.holds()) == before


# ---- programs that read


def test_our_own_move_reads_from_it(
    new: Place, system: System, new_account: Callable[[], Maildrop], tmp_path: Path
) -> None:
    new.fill("INBOX", (message(1), (b"\\Seen", b"$Red")), (message(2), ()))
    new.fill("Sent", (message(3), (b"\\Answered",)))
    new.fill("Pläne/2019", (message(4), (b"\\Draft",)))
    there = new_account()
    shell = beside(system, tmp_path)
    ran = shell.run(
        f"import-from imap {there.address} --host localhost:{new.port} --source-ca '{new.certificate}'"
        f" --user {new.user} --password-file - --json",
        new.password,
    )
    assert (ran.document[0]["imported"], ran.document[0]["status"]) == (4, "ok")
    copied = Place(new.port, there.address, there.password, new.certificate)
    assert contents(copied) == contents(new)


def test_curl_reads_and_appends(new: Place, tmp_path: Path) -> None:
    base = f"imaps://localhost:{new.port}"
    options = ["-sS", "-u", f"{new.user}:{new.password}", "--cacert", str(new.certificate)]
    (tmp_path / "message").write_bytes(message(1))
    program("curl", *options, f"{base}/INBOX", "-T", str(tmp_path / "message"), home=tmp_path)
    got = program("curl", *options, f"{base}/INBOX;UID=1", home=tmp_path)
    assert got == message(1)
    found = program("curl", *options, f"{base}/INBOX?SUBJECT%20message", home=tmp_path)
    assert found.strip() == b"* SEARCH 1"
    assert b"\\Sent" in program("curl", *options, f"{base}/", home=tmp_path)


def test_neomutt_moves_a_message(new: Place, tmp_path: Path) -> None:
    new.fill("INBOX", (message(1), ()), (message(2), ()))
    config = secret(
        tmp_path / "muttrc",
        f"""
set imap_user="{new.user}"
set imap_pass="{new.password}"
set folder="imaps://localhost:{new.port}/"
set spoolfile="imaps://localhost:{new.port}/INBOX"
set certificate_file="{new.certificate}"
set ssl_usesystemcerts=no
set ssl_verify_host=no
set confirmappend=no
set delete=yes
set move=no
set imap_qresync=yes
set quit=yes
push "<first-entry><save-message>=Archive<enter><sync-mailbox><quit>"
""",
    )
    done = subprocess.run(
        ["script", "-qec", f"neomutt -n -F {config}", "/dev/null"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "xterm", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    there = contents(new)
    assert {folder: len(rows) for folder, rows in there.items()} == {"INBOX": 1, "Archive": 1}


def test_the_live_tests_of_imapclient(new: Place, tmp_path: Path) -> None:
    config = secret(
        tmp_path / "live.ini",
        f"[DEFAULT]\nhost = localhost\nport = {new.port}\nusername = {new.user}\npassword = {new.password}\n"
        f"ssl = true\nssl_ca_file = {new.certificate}\n",
    )
    done = subprocess.run(
        [sys.executable, "-m", "imapclient.livetest", str(config)],
        capture_output=True,
        timeout=110,
        check=False,
        cwd=tmp_path,
    )
    said = done.stderr.decode()
    assert int(re.findall(r"^Ran (\d+) tests", said, re.MULTILINE)[0]) > 50, said[-2000:]
    faults = set(re.findall(r"^(?:FAIL|ERROR): (\w+)", said, re.MULTILINE))
    assert faults <= LIVE_FAULTS, said[-8000:]
