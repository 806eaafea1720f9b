"""Parts of a move from another server: the file of accounts, names of folders, UIDs, records."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_cli.faults import CommandError
from posthorn_cli.moving.accounts import Defaults, Endpoint, endpoint_of, read_accounts, single
from posthorn_cli.moving.folders import SourceFolder, mailbox_of, placements
from posthorn_cli.moving.pace import Pace
from posthorn_cli.moving.record import Record, record_path
from posthorn_cli.moving.uid_set import UidSet

HOST = Endpoint("imap.old.test", 993)
DEFAULTS = Defaults(HOST, 993)


def folder(name: str, *attributes: str, delimiter: str = "/") -> SourceFolder:
    return SourceFolder(name, delimiter, frozenset(attributes))


def test_a_file_without_a_heading_has_the_columns_in_order() -> None:
    content = '\ufeff# moved in May\n\na@old.test,,,"p,a""ss",\nb@old.test,[::1]:1143, bee ,pass,b@new.test\n'
    first, second = read_accounts(content.encode(), DEFAULTS)
    assert (first.endpoint, first.user, first.password, first.target) == (
        HOST,
        "a@old.test",
        'p,a"ss',
        "a@old.test",
    )
    assert (second.endpoint, second.user, second.target) == (
        Endpoint("::1", 1143),
        "bee",
        "b@new.test",
    )
    assert str(second.endpoint) == "[::1]:1143"
    assert "pass" not in repr(second)


def test_a_heading_names_the_columns() -> None:
    content = b"Address,Target,Password,pop3_host\na@old.test,a@new.test,pw,\nb@old.test,,pw,pop.old.test\n"
    found, other = read_accounts(content, DEFAULTS)
    assert (found.address, found.target, found.password) == ("a@old.test", "a@new.test", "pw")
    assert (found.pop3, other.pop3) == (None, Endpoint("pop.old.test", 995))
    for each in read_accounts(content, replace(DEFAULTS, pop3=HOST))[:1]:
        assert each.pop3 == HOST


def test_a_master_user_needs_no_passwords() -> None:
    master = Defaults(HOST, 993, "root", "*", "its password")
    (found,) = read_accounts(b"a@old.test\n", master)
    assert (found.user, found.password) == ("a@old.test*root", "its password")
    assert single("c@new.test", "c@old.test", master).user == "c@old.test*root"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names none"),
        (b"\xff", "UTF-8"),
        (b"address,password\na@old.test,secretword\nb@old.test\n", "line 3: no password"),
        (b",,,secretword\n", "line 1: no address"),
        (b"address,colour\n", "unknown columns colour"),
        (b"a@old.test,,,secret,word,a@new.test\n", "line 1: 6 columns"),
        (b"a@old.test,imap:x,,secretword\n", "line 1: 'imap:x' is no host"),
        (b"a@old.test,,,secretword\nb@old.test,,,secretword,A@old.test\n", "lines 1 and 2"),
        (b'a@old.test,,,"secretword\n', "line 1: this is no CSV"),
    ],
)
def test_a_fault_of_the_file_names_its_line_and_no_password(content: bytes, said: str) -> None:
    with pytest.raises(CommandError) as found:
        read_accounts(content, DEFAULTS)
    assert said in str(found.value)
    assert "secret" not in str(found.value)


def test_hosts() -> None:
    assert endpoint_of("imap.old.test:1", 993) == Endpoint("imap.old.test", 1)
    assert endpoint_of("::1", 143) == Endpoint("::1", 143)
    for wrong in ("", ":993", "host:", "host:0", "host:70000"):
        with pytest.raises(CommandError):
            endpoint_of(wrong, 993)


def test_special_folders_become_those_of_the_account() -> None:
    found = placements(
        [
            folder("[Gmail]", "\\noselect"),
            folder("[Gmail]/All Mail", "\\all"),
            folder("[Gmail]/Starred", "\\flagged"),
            folder("[Gmail]/Important", "\\important"),
            folder("[Gmail]/Sent Mail", "\\sent"),
            folder("Sent Items"),
            folder("Entwürfe"),
            folder("Work/Drafts"),
            folder("Spam"),
            folder("inbox"),
        ],
        standard={"junk": "Bulk", "sent": "Sent"},
    )
    assert [(each.folder.name, each.mailbox) for each in found] == [
        ("inbox", "INBOX"),
        ("Entwürfe", "Drafts"),
        ("Sent Items", "Sent Items"),
        ("Spam", "Bulk"),
        ("Work/Drafts", "Work/Drafts"),
        ("[Gmail]/Sent Mail", "Sent"),
        ("[Gmail]/All Mail", "Archive"),
    ]


def test_the_prefix_of_the_personal_namespace_is_left_out_and_others_are_left_alone() -> None:
    names = ["INBOX", "INBOX.Sent", "INBOX.A.B/C", "Shared.x", "user.bob"]
    found = placements(
        [folder(name, delimiter=".") for name in names],
        prefix="INBOX.",
        foreign=["", "Shared.", "user."],
    )
    assert [each.mailbox for each in found] == ["INBOX", "A/B-C", "Sent"]


def test_only_some_folders() -> None:
    every = [folder(name) for name in ("INBOX", "Work", "Work/2019", "Workshop")]
    found = placements(every, only=["Work"], without=["Work/2019"])
    assert [each.folder.name for each in found] == ["Work"]


@pytest.mark.parametrize(
    ("name", "mailbox"),
    [
        (".hidden", "_.hidden"),
        ("a/ b /cur", "a/b/_cur"),
        ("a//b", "a/_/b"),
        ('50% "off"\\*', "50_ _off___"),
        ("Inbox", "INBOX"),
        ("Inbox/x", "Inbox/x"),
        ("u\u0308", "ü"),
        ("ä" * 200, "ä" * 127),
    ],
)
def test_names_that_cannot_be_had_here_are_replaced(name: str, mailbox: str) -> None:
    assert mailbox_of(folder(name)) == mailbox


@given(st.lists(st.integers(1, 60)))
def test_a_set_of_uids_is_a_set(uids: list[int]) -> None:
    found = UidSet(uids)
    assert len(found) == len(set(uids))
    assert [uid for uid in range(62) if uid in found] == sorted(set(uids))
    again = UidSet.parse(str(found))
    assert str(again) == str(found)
    assert str(found).count(",") < max(len(set(uids)), 1)


@pytest.mark.parametrize("text", ["5:1", "3,2", "1:4,4", "x", "1:2:3"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"order|invalid"):
        UidSet.parse(text)


def test_a_record_is_kept_for_its_owner_and_by_uidvalidity(tmp_path: Path) -> None:
    path = record_path(tmp_path / "moves", "there", "here")
    assert path != record_path(tmp_path / "moves", "therehere")
    record = Record(path)
    record.taken("INBOX", 7).update([1, 2, 5])
    record.save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(Record(path).taken("INBOX", 7)) == "1:2,5"
    assert len(Record(path).taken("INBOX", 8)) == 0
    assert len(Record(path, fresh=True).taken("INBOX", 7)) == 0
    path.write_text('{"INBOX": {"uidvalidity": 7, "uids": "5:1"}}')
    assert len(Record(path).taken("INBOX", 7)) == 0


def test_the_pace_is_that_of_all_connections() -> None:
    slept: list[float] = []
    pace = Pace(1000.0, clock=lambda: 5.0, sleep=slept.append)
    for size in (500, 1000, 0):
        pace.spend(size)
    assert slept == [0.5, 1.5, 1.5]
    Pace(None, sleep=slept.append).spend(10**9)
    assert len(slept) == 3
