"""The move of an account from a server that refuses, breaks off and is slow: it is read and nothing
else, and what goes wrong is told of and costs nothing but itself."""

from __future__ import annotations

import base64
import io
import re
import ssl
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from posthorn_cli.client import Client
from posthorn_cli.moving import batch, move, source
from posthorn_cli.moving.accounts import Endpoint, MovingAccount
from posthorn_cli.moving.move import Move, MoveReport, Wishes
from posthorn_cli.moving.pace import Pace
from posthorn_cli.moving.record import Record
from posthorn_cli.moving.source import Security, Way
from tests.support.scripted_imap import Held, ScriptedImap, serving
from tests.support.scripted_pop3 import ScriptedPop3, serving_pop3

READING = {"CAPABILITY", "AUTHENTICATE", "NAMESPACE", "LIST", "STATUS", "EXAMINE", "FETCH", "UID FETCH", "LOGOUT"}  # fmt: skip


EVERYTHING = Wishes()


def message(uid: int, flags: str = "") -> Held:
    return Held(uid, b"Subject: %d\r\n\r\n%d\r\n" % (uid, uid), flags)


@dataclass
class Here:
    """The API's side: takes archives, and says what it has had before."""

    taken: dict[tuple[str, bytes], tarfile.TarInfo] = field(default_factory=dict)
    contents: set[bytes] = field(default_factory=set)
    answers: list[httpx.Response | Exception] = field(default_factory=list)
    """What it answers to the next imports in place of taking them."""
    refused: str = ""
    """Part of a path whose messages are refused."""
    imports: int = 0

    def handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            boxes = [{"name": "INBOX", "role": "inbox"}, {"name": "Junk mail", "role": "junk"}]
            return httpx.Response(200, json={"items": boxes})
        octets = request.read()
        self.imports += 1
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        counts = dict.fromkeys(("messages", "imported", "duplicates", "failed"), 0)
        failures = []
        with tarfile.open(fileobj=io.BytesIO(octets)) as archive:
            for number, member in enumerate(archive, 1):
                file = archive.extractfile(member)
                assert file is not None
                content = file.read()
                if self.refused and self.refused in member.name:
                    counts["failed"] += 1
                    failures.append({"message": number, "name": member.name, "reason": "no room"})
                elif content in self.contents:
                    counts["duplicates"] += 1
                else:
                    counts["imported"] += 1
                    self.contents.add(content)
                    self.taken[request.url.params["mailbox"], content] = member
        return httpx.Response(200, json=counts | {"failures": failures, "imported_bytes": 1})


class Watched:
    total = done = 0

    def planned(self, messages: int) -> None:
        self.total = messages

    def advanced(self, messages: int) -> None:
        self.done += messages


@dataclass
class Stand:
    script: ScriptedImap
    here: Here
    path: Path
    slept: list[float] = field(default_factory=list)
    watch: Watched = field(default_factory=Watched)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(
        self, wishes: Wishes = EVERYTHING, *, oauth: bool = False, pop3: ScriptedPop3 | None = None
    ) -> MoveReport:
        endpoint = Endpoint("127.0.0.1", self.script.port)
        other = None if pop3 is None else Endpoint("127.0.0.1", pop3.port)
        account = MovingAccount("a@old.test", endpoint, "a", "secret", "a@new.test", other)
        way = Way(
            Security.NONE,
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            Pace(None),
            sleep=self.slept.append,
            oauth=oauth,
        )
        self.watch = Watched()
        transport = httpx.MockTransport(self.here.handle)
        with Client("http://localhost", "key", transport=transport, sleep=self.slept.append) as api:
            record = Record(self.path)
            return Move(account, way, api, record, wishes, self.watch, self.stop).run()


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    folders = {
        "INBOX": [message(uid) for uid in (3, 4, 9)] + [message(12, r"\Seen \Deleted $Label1")],
        "Spam": [message(100, r"\Recent \flagged")],
        "Work": [],
    }
    monkeypatch.setattr(batch, "PAUSES", (0.0, 0.0))
    with serving(ScriptedImap(folders)) as script:
        yield Stand(script, Here(), tmp_path / "record.json")


def counts(report: MoveReport) -> tuple[int, int, int, int]:
    names = ("imported", "duplicates", "earlier", "failed")
    one, two, three, four = (report.total(name) for name in names)
    return one, two, three, four


def test_the_source_is_read_and_nothing_else(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "LARGE", 20)  # and so in pieces
    monkeypatch.setattr(source, "PIECE", 7)
    stand.script.folders["INBOX"].append(Held(13, b"Subject: long\r\n\r\n" + b"x" * 32))
    report = stand.run()
    assert (counts(report), report.error, report.is_whole) == ((6, 0, 0, 0), "", True)
    assert stand.script.verbs() == READING
    fetches = [line.upper() for line in stand.script.commands if "FETCH" in line.upper()]
    assert any("<14.7>" in line for line in fetches)
    for line in fetches:
        assert re.search(
            r"\((UID|FLAGS INTERNALDATE RFC822\.SIZE|BODY\.PEEK\[\](<\d+\.7>)?)\)$", line
        )
    assert {
        (mailbox, content.split()[1]): (member.name.rpartition("/")[2], member.pax_headers)
        for (mailbox, content), member in stand.here.taken.items()
    } == {
        ("INBOX", b"3"): ("1549166706.U3.posthorn:2,", {}),
        ("INBOX", b"4"): ("1549166706.U4.posthorn:2,", {}),
        ("INBOX", b"9"): ("1549166706.U9.posthorn:2,", {}),
        ("INBOX", b"12"): ("1549166706.U12.posthorn:2,ST", {"POSTHORN.keywords": "$Label1"}),
        ("INBOX", b"long"): ("1549166706.U13.posthorn:2,", {}),
        ("Junk mail", b"100"): ("1549166706.U100.posthorn:2,F", {}),
    }
    assert (stand.watch.total, stand.watch.done) == (6, 6)


@pytest.mark.parametrize(
    ("oauth", "expected"),
    [(False, b"\0a\0secret"), (True, b"user=a\1auth=Bearer secret\1\1")],
)
def test_a_login_by_password_or_token(stand: Stand, oauth: bool, expected: bytes) -> None:
    assert counts(stand.run(oauth=oauth)) == (5, 0, 0, 0)
    assert [base64.b64decode(each) for each in stand.script.credentials] == [expected]


def test_a_second_run_reads_only_what_is_new(stand: Stand) -> None:
    assert counts(stand.run()) == (5, 0, 0, 0)
    stand.script.folders["INBOX"].append(message(13))
    stand.script.commands.clear()
    assert counts(stand.run()) == (1, 0, 5, 0)
    assert [line for line in stand.script.commands if "BODY" in line] == [
        "UID FETCH 13 (BODY.PEEK[])"
    ]
    assert (stand.watch.total, stand.watch.done) == (6, 6)
    stand.script.validity += 1  # another mailbox: what the UIDs meant is unknown
    assert counts(stand.run()) == (0, 6, 0, 0)


def test_what_the_source_refuses_is_told_and_the_rest_goes_on(stand: Stand) -> None:
    def fault(command: str) -> str:
        if "BODY" in command and re.search(r"\b(4|9)\b", command.split()[2]):
            return "NO [SERVERBUG-ish] the password secret is of no use" if "9" in command else ""
        return "NO [NOPERM] closed" if command.startswith(("EXAMINE Work", 'EXAMINE "Work')) else ""

    stand.script.fault = fault
    report = stand.run()
    assert counts(report) == (4, 0, 0, 1)
    (failure,) = report.failures
    assert (failure.folder, failure.uid) == ("INBOX", 9)
    assert "***" in failure.reason
    assert "secret" not in failure.reason
    assert [each.error for each in report.folders if each.error] == [
        "the source: select failed: [NOPERM] closed"
    ]
    assert not report.is_whole
    stand.script.fault = lambda _: ""
    assert counts(stand.run()) == (1, 0, 4, 0)


def test_a_connection_that_breaks_off_is_made_again_and_goes_on(stand: Stand) -> None:
    left = [2]

    def fault(command: str) -> str:
        if "BODY" not in command or left[0] == 0:
            return ""
        left[0] -= 1
        return "drop"

    stand.script.fault = fault
    assert counts(stand.run()) == (5, 0, 0, 0)
    assert stand.slept == [1.0, 2.0]
    assert sum(line.startswith("AUTHENTICATE") for line in stand.script.commands) == 3


def test_a_message_at_which_the_source_breaks_off_is_left_out(stand: Stand) -> None:
    def fault(command: str) -> str:
        poison = "BODY" in command and re.search(r"\b9\b", command.split()[2])
        return "drop" if poison else ""

    stand.script.fault = fault
    report = stand.run()
    assert (counts(report), report.error) == ((4, 0, 0, 1), "")
    assert report.failures[0].uid == 9
    assert "breaks off" in report.failures[0].reason


def test_messages_that_are_numbered_anew_meanwhile_are_not_mistaken(stand: Stand) -> None:
    def fault(command: str) -> str:
        if "BODY" in command and stand.script.validity == 7:
            stand.script.validity = 8
            return "drop"
        return ""

    stand.script.fault = fault
    report = stand.run()
    assert counts(report) == (1, 0, 0, 0)
    assert "numbered its messages anew" in report.folders[0].error


def test_patience_with_a_source_that_asks_for_it(stand: Stand) -> None:
    asked = ["NO [UNAVAILABLE] later", "NO [LIMIT] slower"]
    stand.script.fault = lambda line: asked.pop(0) if asked and "FLAGS" in line else ""
    assert counts(stand.run()) == (5, 0, 0, 0)
    assert stand.slept == [1.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "said", "tries"),
    [
        ("NO [AUTHENTICATIONFAILED] secret is wrong", "[AUTHENTICATIONFAILED] *** is wrong", 1),
        ("drop", "EOF", source.FIRST_PAUSES + 1),
    ],
)
def test_a_login_that_fails(stand: Stand, answer: str, said: str, tries: int) -> None:
    stand.script.fault = lambda line: answer if line.startswith("AUTHENTICATE") else ""
    report = stand.run()
    assert said in report.error
    assert "secret" not in report.error
    logins = [line for line in stand.script.commands if line.startswith("AUTHENTICATE")]
    assert len(logins) == tries


def test_a_login_that_is_refused_later_ends_the_move(stand: Stand) -> None:
    broken: list[str] = []

    def fault(command: str) -> str:
        if "BODY" in command:
            broken.append(command)
            return "drop"
        return "NO token expired" if broken and command.startswith("AUTHENTICATE") else ""

    stand.script.fault = fault
    report = stand.run()
    assert "token expired" in report.error
    assert (counts(report), len(report.failures)) == ((0, 0, 0, 0), 0)
    logins = [line for line in stand.script.commands if line.startswith("AUTHENTICATE")]
    assert len(logins) == 2, "nobody is locked out for trying again and again"


def test_the_api_is_asked_again_and_its_refusals_are_told(stand: Stand) -> None:
    problem = {"title": "Unavailable", "status": 503}
    stand.here.answers = [httpx.Response(503, json=problem), httpx.ReadError("broken")]
    stand.here.refused = "U9."
    report = stand.run()
    assert counts(report) == (4, 0, 0, 1)
    assert [(each.uid, each.reason) for each in report.failures] == [(9, "no room")]
    stand.here.refused = ""
    assert counts(stand.run()) == (1, 0, 4, 0)


def test_a_mailbox_that_cannot_be_costs_its_folder_and_an_end_of_the_api_the_account(
    stand: Stand,
) -> None:
    fault = {"title": "Invalid", "errors": [{"field": "mailbox", "message": "it is too long"}]}
    stand.here.answers = [httpx.Response(422, json=fault)]
    report = stand.run()
    assert counts(report) == (1, 0, 0, 0)
    assert report.folders[0].error == "it is too long"
    stand.here.answers = [httpx.Response(403, json={"title": "Forbidden"})]
    report = stand.run()
    assert (counts(report)[0], report.error) == (0, "the API: Forbidden")


def test_batches_are_sent_when_full_and_a_dry_run_sends_none(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry = stand.run(Wishes(dry_run=True))
    assert [(each.mailbox, each.messages) for each in dry.folders] == [
        ("INBOX", 4),
        ("Junk mail", 1),
        ("Work", 0),
    ]
    assert stand.here.imports == 0
    assert "EXAMINE" not in stand.script.verbs()
    monkeypatch.setattr(batch, "MOST_MESSAGES", 2)
    report = stand.run(Wishes(without=["Spam"], with_deleted=False))
    assert (counts(report), stand.here.imports) == ((3, 0, 0, 0), 2)
    assert (stand.watch.total, stand.watch.done) == (4, 4)


def test_long_folders_are_listed_and_read_in_pages(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LISTED", 4)
    monkeypatch.setattr(move, "_PAGE", 3)
    monkeypatch.setattr(move, "_TOGETHER", 2)
    stand.script.folders["Work"] = [message(uid * 1000) for uid in range(1, 11)]
    assert counts(stand.run(Wishes(only=["Work"]))) == (10, 0, 0, 0)
    numbers = [line for line in stand.script.commands if line.startswith("FETCH")]
    assert numbers == ["FETCH 1,2,3,4 (UID)", "FETCH 5,6,7,8 (UID)", "FETCH 9,10 (UID)"]
    bodies = [line.split()[2] for line in stand.script.commands if "BODY" in line]
    assert bodies[:3] == ["1000,2000", "3000", "4000,5000"]


def test_a_move_that_is_stopped_ends_with_its_batch_and_goes_on_later(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_MESSAGES", 2)

    def fault(command: str) -> str:
        if "BODY" in command:
            stand.stop.set()
        return ""

    stand.script.fault = fault
    report = stand.run()
    assert (counts(report)[0], report.error) == (2, "stopped")
    stand.stop.clear()
    stand.script.fault = lambda _: ""
    assert counts(stand.run()) == (3, 0, 2, 0)


def test_messages_of_the_inbox_keep_their_unique_ids_of_pop3(stand: Stand) -> None:
    inbox = stand.script.folders["INBOX"]
    messages = [(f"id-{each.uid}", each.content) for each in reversed(inbox)]
    with serving_pop3(ScriptedPop3(messages)) as pop3:
        report = stand.run(pop3=pop3)
        assert (counts(report), report.total("unique_ids")) == ((5, 0, 0, 0), 4)
        assert {
            content: member.pax_headers.get("POSTHORN.uidl")
            for (_, content), member in stand.here.taken.items()
        } == {each.content: f"id-{each.uid}" for each in inbox} | {message(100).content: None}
        assert stand.script.verbs() == READING
        sessions = pop3.commands.count("QUIT")
        inbox.append(message(13))
        pop3.messages.append(("id-13", message(13).content))
        assert (counts(stand.run(pop3=pop3)), pop3.commands.count("QUIT")) == (
            (1, 0, 5, 0),
            sessions + 1,
        )
        assert stand.here.taken["INBOX", message(13).content].pax_headers == {
            "POSTHORN.uidl": "id-13"
        }
        stand.run(pop3=pop3)
        assert pop3.commands.count("QUIT") == sessions + 1, "nothing is new, so it is not asked"


def test_an_inbox_whose_unique_ids_cannot_be_had_waits_and_the_rest_goes_on(stand: Stand) -> None:
    refusing = ScriptedPop3([], fault=lambda command: "-ERR [AUTH] no" * (command == "AUTH PLAIN"))
    with serving_pop3(refusing):
        report = stand.run(pop3=refusing)
    assert not report.is_whole
    assert [(each.folder, each.imported, each.error) for each in report.folders] == [
        ("INBOX", 0, "the source: POP3: [AUTH] no"),
        ("Spam", 1, ""),
        ("Work", 0, ""),
    ]
    assert counts(stand.run()) == (4, 0, 1, 0)
