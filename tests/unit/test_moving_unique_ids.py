"""Unique ids of the source's POP3 server: which message of the INBOX has which."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator, Mapping, Sequence

import pytest

from posthorn_cli.moving import pop3_source
from posthorn_cli.moving.accounts import Endpoint, MovingAccount
from posthorn_cli.moving.pace import Pace
from posthorn_cli.moving.pop3_source import Listed, pop3_session
from posthorn_cli.moving.source import Security, SourceRefused, Way
from posthorn_cli.moving.unique_ids import fingerprint, match
from tests.support.scripted_pop3 import ScriptedPop3, serving_pop3


class Headers:
    """Headers by number or UID, and which of them were read."""

    def __init__(self, known: Mapping[int, bytes]) -> None:
        self.known = known
        self.read: list[int] = []

    def __call__(self, keys: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        self.read += keys
        return ((key, self.known[key]) for key in keys if key in self.known)


def matched(
    there: Sequence[tuple[int, bytes]],
    held: Mapping[int, tuple[int, bytes]],
    wanted: Sequence[int] | None = None,
) -> tuple[dict[int, str], list[int]]:
    """Sizes and headers of POP3's messages from 1 on, with the unique ids a, b, c and so on; those
    of IMAP by UID. Return the unique ids found, and the numbers of the headers read by TOP."""
    listed = [Listed(n, size, chr(96 + n)) for n, (size, _) in enumerate(there, 1)]
    tops = Headers({n: header for n, (_, header) in enumerate(there, 1)})
    found = match(
        listed,
        {uid: size for uid, (size, _) in held.items()},
        list(held) if wanted is None else wanted,
        pop3_headers=tops,
        imap_headers=Headers({uid: header for uid, (_, header) in held.items()}),
    )
    return found, tops.read


A, B, C = (b"Message-ID: <%d@x>\r\n\r\n" % number for number in range(3))


def test_messages_of_one_size_are_told_apart_by_their_headers() -> None:
    assert matched([(10, A), (10, B), (20, C)], {5: (10, B), 7: (10, A), 9: (20, C)})[0] == {
        5: "b",
        7: "a",
        9: "c",
    }


def test_a_size_alone_proves_nothing() -> None:
    assert matched([(10, A), (20, B)], {5: (10, C), 7: (20, B)})[0] == {7: "b"}


def test_equal_messages_are_matched_in_order_if_there_are_as_many() -> None:
    assert matched([(10, A), (10, A)], {5: (10, A), 7: (10, A)})[0] == {5: "a", 7: "b"}
    assert matched([(10, A), (10, A)], {5: (10, A)})[0] == {}
    assert matched([(10, A)], {5: (10, A), 7: (10, A)})[0] == {}


def test_sizes_that_differ_everywhere_leave_the_headers() -> None:
    assert matched([(9, A), (18, B)], {5: (10, A), 7: (20, B)})[0] == {5: "a", 7: "b"}
    # which of two with one header it is cannot be known
    assert matched([(9, A), (18, A)], {5: (10, A), 7: (20, A)})[0] == {}


def test_a_later_run_reads_no_headers_but_those_of_the_sizes_it_looks_for() -> None:
    there = [(10, A), (20, B), (30, C)]
    held = {5: (10, A), 7: (20, B), 9: (30, C)}
    assert matched(there, held, [9]) == ({9: "c"}, [3])


def test_what_is_not_read_has_no_unique_id() -> None:
    listed = [Listed(1, 10, "a")]
    nothing = Headers({})
    assert match(listed, {5: 10}, [5], pop3_headers=nothing, imap_headers=nothing) == {}
    assert match([], {5: 10}, [5], pop3_headers=nothing, imap_headers=nothing) == {}


@pytest.mark.parametrize(
    ("header", "is_same"),
    [
        (b"Subject: a\r\n b\r\nX: 1\r\n\r\n", True),
        (b"Subject: a\n b\nX: 1\n\nbody", True),
        (b"X-UIDL: abc\r\nSubject: a\r\n b\r\nStatus: RO\r\n more\r\nX: 1\r\n", True),
        (b"Subject: a b\r\nX: 1\r\n\r\n", False),
        (b"Subject: a\r\n b\r\n\r\nX: 1\r\n", False),
    ],
)
def test_what_servers_add_to_a_header_does_not_count(header: bytes, is_same: bool) -> None:
    mark = fingerprint(b"Subject: a\r\n b\r\nX: 1\r\n")
    assert (fingerprint(header) == mark) is is_same


MESSAGES = [
    ("one", b"Subject: 1\r\n.dotted: x\r\n\r\n1"),
    ("0x!~", b"Subject: " + b"long " * 30_000 + b"\r\n\r\n2"),
]


@pytest.fixture
def script() -> Iterator[ScriptedPop3]:
    with serving_pop3(ScriptedPop3(MESSAGES)) as serving:
        yield serving


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pop3_source, "PAUSES", (1.0, 2.0))


def way(slept: list[float] | None = None, *, oauth: bool = False) -> Way:
    pauses: list[float] = [] if slept is None else slept
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return Way(Security.NONE, tls, Pace(None), sleep=pauses.append, oauth=oauth)


def account(script: ScriptedPop3, password: str = "secret") -> MovingAccount:
    here = Endpoint("127.0.0.1", script.port)
    return MovingAccount("a@old.test", here, "a", password, "a@new.test", here)


def read(script: ScriptedPop3, how: Way) -> tuple[list[Listed], dict[int, bytes]]:
    with pop3_session(account(script), how) as session:
        listed = session.listed()
        return listed, dict(session.headers([each.number for each in listed]))


@pytest.mark.parametrize("capabilities", [(), ("TOP", "UIDL", "PIPELINING", "SASL PLAIN")])
def test_a_session_lists_and_reads_headers_and_nothing_else(
    script: ScriptedPop3, capabilities: tuple[str, ...]
) -> None:
    script.capabilities = capabilities
    listed, headers = read(script, way())
    assert [(each.unique_id, each.size) for each in listed] == [
        (unique_id, len(content)) for unique_id, content in MESSAGES
    ]
    assert [fingerprint(headers[number]) for number in (1, 2)] == [
        fingerprint(content) for _, content in MESSAGES
    ]
    verbs = [command.split(" ")[0] for command in script.commands]
    login = (
        ["AUTH", base64.b64encode(b"\0a\0secret").decode()] if capabilities else ["USER", "PASS"]
    )
    assert verbs == ["CAPA", *login, "CAPA", "LIST", "UIDL", "TOP", "TOP", "QUIT"]


def test_a_token_is_sent_as_such(script: ScriptedPop3) -> None:
    token = base64.b64encode(b"user=a\1auth=Bearer secret\1\1").decode()
    read(script, way(oauth=True))
    assert script.commands[1:3] == ["AUTH XOAUTH2", token]
    script.commands.clear()
    answers = {token: "+ eyJzdGF0dXMiOiI0MDEifQ==", "": "-ERR expired"}
    script.fault = lambda command: answers.get(command, "")
    with pytest.raises(SourceRefused, match="expired"):
        read(script, way(oauth=True))


def test_a_maildrop_in_use_and_a_broken_connection_are_tried_again(script: ScriptedPop3) -> None:
    faults = ["-ERR [IN-USE] locked", "drop"]
    script.fault = lambda command: faults.pop(0) if faults and command == "AUTH PLAIN" else ""
    slept: list[float] = []
    assert len(read(script, way(slept))[0]) == 2
    assert slept == [1.0, 2.0]


@pytest.mark.parametrize(
    ("at", "answer", "reason"),
    [
        ("AUTH PLAIN", "-ERR [AUTH] not secret", r"\[AUTH\] not \*\*\*$"),
        ("UIDL", "-ERR", "without a reason"),
        ("LIST", "220 hello", "no POP3"),
        ("TOP 2 0", "drop", "breaks off"),
    ],
)
def test_what_fails_is_told_of_without_the_password(
    script: ScriptedPop3, at: str, answer: str, reason: str
) -> None:
    script.fault = lambda command: answer if command == at else ""
    with pytest.raises(SourceRefused, match=reason):
        read(script, way())


def test_a_message_whose_header_is_refused_is_left_out(script: ScriptedPop3) -> None:
    script.fault = lambda command: "-ERR gone" if command == "TOP 1 0" else ""
    listed, headers = read(script, way())
    assert (len(listed), list(headers)) == (2, [2])


def test_a_name_with_a_line_break_is_no_command(script: ScriptedPop3) -> None:
    script.capabilities = ()
    with (
        pytest.raises(SourceRefused, match="line break"),
        pop3_session(account(script, "x\r\nDELE 1"), way()),
    ):
        pass
    assert script.commands == ["CAPA"]
