"""Moving in from Dovecot: what is there arrives whole, once, and nothing there changes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient

from tests.e2e.command_line import CommandLine, beside
from tests.support.dovecot import MASTER, MASTER_PASSWORD, Dovecot, dovecot
from tests.support.maildrop import Maildrop
from tests.support.system import System

pytestmark = pytest.mark.interop

PASSWORDS = {"carol@old.test": 'secret, "one"', "dave@old.test": "geheim ä"}
ERIN, ERINS_PASSWORD = "erin@old.test", "simple"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789 0123456789 0123456789\r\n" * 160_000
WHEN = datetime(2019, 2, 3, 4, 5, 6, tzinfo=UTC)
FOLDERS: dict[str, tuple[str, list[tuple[bytes, tuple[bytes, ...]]]]] = {
    "INBOX": (
        "INBOX",
        [
            (b"Subject: 1\r\n\r\n1\r\n", (b"\\Seen", b"$Forwarded", b"Red")),
            (b"Subject: 2\r\n\r\n2\r\n", (b"\\Flagged", b"\\Answered")),
            (LARGE, ()),
        ],
    ),
    "INBOX.Sent Items": ("Sent", [(b"Subject: 3\r\n\r\n3\r\n", (b"\\Seen",))]),
    "INBOX.Drafts": ("Drafts", [(b"Subject: 4\r\n\r\n4\r\n", (b"\\Draft", b"\\Deleted"))]),
    "INBOX.Spam": ("Junk", [(b"Subject: 5\r\n\r\n5\r\n", (b"$Junk",))]),
    "INBOX.Pläne & mehr.2019": ("Pläne & mehr/2019", [(b"Subject: 6\r\n\r\n6\r\n", ())]),
}


@pytest.fixture(scope="module")
def old() -> Iterator[Dovecot]:
    with dovecot(PASSWORDS | {ERIN: ERINS_PASSWORD}) as running:
        for user, password in PASSWORDS.items():
            with IMAPClient("localhost", running.imaps, ssl_context=running.trusting()) as client:
                client.plain_login(user, password)
                for folder, (_, messages) in FOLDERS.items():
                    if not client.folder_exists(folder):
                        client.create_folder(folder)
                    for content, flags in messages:
                        client.append(folder, content, flags, WHEN)
        yield running


@pytest.fixture
def shell(system: System, tmp_path: Path) -> CommandLine:
    return beside(system, tmp_path)


def source(old: Dovecot) -> str:
    return f"--host localhost:{old.imaps} --source-ca {old.certificate}"


def files(old: Dovecot, user: str) -> list[str]:
    """The messages of a user with their flags, as they lie on the disk."""
    place = old.maildir(user)
    return sorted(
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.is_file() and path.parent.name in ("cur", "new")
    )


def held(shell: CommandLine, address: str, tmp_path: Path) -> dict[tuple[str, bytes], Any]:
    """Mailbox and content of each message: its flags, keywords and date."""
    shell.run(f"export mail {address} --format maildir -o {tmp_path}/mail.tar")
    found = {}
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "mail.tar").read_bytes())) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                mailbox = member.name.partition("/cur/")[0]
                keywords = set(member.pax_headers.get("POSTHORN.keywords", "").split())
                flags = set(member.name.rpartition(":2,")[2])
                found[mailbox, file.read()] = flags, keywords, member.mtime
    return found


def test_accounts_of_a_file_move_whole_and_once(
    shell: CommandLine,
    old: Dovecot,
    new_account: Callable[[], Maildrop],
    tmp_path: Path,
) -> None:
    targets = [new_account().address for _ in PASSWORDS]
    table = tmp_path / "move.csv"
    rows = [
        f'{user},,,"{password.replace('"', '""')}",{target}\n'
        for (user, password), target in zip(PASSWORDS.items(), targets, strict=True)
    ]
    table.write_text("address,host,user,password,target\n" + "".join(rows))
    line = f"import-from imap --accounts {table} {source(old)} --json"
    before = [files(old, user) for user in PASSWORDS]

    planned = shell.run(f"{line} --dry-run").document
    assert {
        each["folder"]: (each["mailbox"], each["messages"]) for each in planned[0]["folders"]
    } == {folder: (mailbox, len(messages)) for folder, (mailbox, messages) in FOLDERS.items()}
    count = sum(len(messages) for _, messages in FOLDERS.values())
    first = shell.run(line).document
    assert [(each["imported"], each["failed"], each["status"]) for each in first] == [
        (count, 0, "ok")
    ] * 2
    letters = {b"\\Seen": "S", b"\\Flagged": "F", b"\\Answered": "R", b"\\Draft": "D"}
    letters[b"\\Deleted"] = "T"
    for target in targets:
        assert held(shell, target, tmp_path) == {
            (mailbox, content): (
                {letters[flag] for flag in flags if flag in letters},
                {flag.decode() for flag in flags if flag not in letters},
                WHEN.timestamp(),
            )
            for mailbox, messages in FOLDERS.values()
            for content, flags in messages
        }

    second = shell.run(line).document
    assert [(each["imported"], each["duplicates"], each["earlier"]) for each in second] == [
        (0, 0, count)
    ] * 2
    again = shell.run(f"{line} --again").document
    assert [(each["imported"], each["duplicates"], each["earlier"]) for each in again] == [
        (0, count, 0)
    ] * 2
    assert [files(old, user) for user in PASSWORDS] == before  # \Seen and \Recent as they were


def unique_ids(port: int, user: str, password: str) -> dict[bytes, str]:
    """Unique ids by content, as a POP3 client sees them."""
    with Maildrop(port, user, password).session() as reader:
        return {
            reader.message(number): unique_id
            for number, unique_id in reader.listing("UIDL").items()
        }


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_pop3_client_sees_the_same_unique_ids_afterwards(
    shell: CommandLine, old: Dovecot, drop: Maildrop, tmp_path: Path, security: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(ERINS_PASSWORD)
    with IMAPClient("localhost", old.imaps, ssl_context=old.trusting()) as client:
        client.plain_login(ERIN, ERINS_PASSWORD)
        if security == "tls":
            for number in range(12):  # of one size, some of them with the same header
                header = b"Subject: %x\r\nX: %s\r\n .\r\n\r\n" % (number % 5, b"y" * 3000)
                client.append("INBOX", header + b"%x\r\n" % number, (), WHEN)
            client.select_folder("INBOX")
            client.delete_messages([1, 7])
            client.expunge()
            client.append("INBOX", LARGE, (b"\\Seen",), WHEN)
    before = unique_ids(old.pop3, ERIN, ERINS_PASSWORD)
    assert len(before) == 11
    flags = files(old, ERIN)
    ports = (old.imaps, old.pop3s) if security == "tls" else (old.imap, old.pop3)
    ran = shell.run(
        f"import-from imap {drop.address} --user {ERIN} --password-file {secret}"
        f" --host localhost:{ports[0]} --pop3-host localhost:{ports[1]} --security {security}"
        f" --source-ca {old.certificate} --folder INBOX --json"
    )
    assert [(each["imported"], each["unique_ids"]) for each in ran.document] == [(11, 11)]
    assert unique_ids(drop.port, drop.address, drop.password) == before
    assert files(old, ERIN) == flags


def test_a_master_user_moves_one_account(
    shell: CommandLine, old: Dovecot, drop: Maildrop, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(MASTER_PASSWORD)
    line = f"import-from imap {drop.address} --user carol@old.test --master-user {MASTER} --password-file {secret}"
    untrusted = shell.attempt(f"{line} --host localhost:{old.imaps} --json")
    assert untrusted.status == 1
    assert "certificate" in untrusted.document[0]["error"]
    ran = shell.run(
        f"{line} --host localhost:{old.imap} --security starttls --source-ca {old.certificate}"
        " --folder INBOX.Spam --json"
    )
    assert [(each["imported"], len(each["folders"])) for each in ran.document] == [(1, 1)]
    assert MASTER_PASSWORD not in ran.out + ran.err
    for options in (
        f"--host localhost:{old.imap} --security none",
        f"--host localhost:{old.imaps} --insecure",
    ):
        insecure = shell.run(f"{line} {options} --exclude INBOX --json")
        assert "warning: others on the way" in insecure.err
        assert insecure.document[0]["folders"] == []
    secret.write_text("wrong")
    refused = shell.attempt(f"{line} {source(old)} --json")
    assert "AUTHENTICATIONFAILED" in refused.document[0]["error"]
