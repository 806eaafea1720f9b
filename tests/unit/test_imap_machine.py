"""The IMAP machine: framing, states, continuations; the same events however the bytes are cut."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.wire.imap.append import MessageOptions, Target
from posthorn.wire.imap.capabilities import CAPABILITIES
from posthorn.wire.imap.commands import (
    Authenticate,
    Compress,
    Done,
    Idle,
    Login,
    Logout,
    Noop,
    Select,
    StartTls,
)
from posthorn.wire.imap.events import (
    AppendEnd,
    AppendMessage,
    Content,
    Continue,
    Event,
    Fatal,
    Refused,
    Request,
    SaslResponse,
)
from posthorn.wire.imap.framing import BEFORE_LOGIN_BYTES, COMMAND_BYTES, READ_AHEAD_BYTES
from posthorn.wire.imap.machine import Machine
from posthorn.wire.imap.states import COMMANDS, VERBS, Channel, State, capabilities
from posthorn.wire.signals import NEED_DATA, PAUSED, Misuse, Signal

OPEN = Channel(passwords=True, starttls=False)
BARE = Channel(passwords=False, starttls=True)
LIMIT = 1_000_000


def machine(state: State = State.AUTHENTICATED, channel: Channel = OPEN) -> Machine:
    made = Machine(channel, append_limit=LIMIT)
    made.state = state
    return made


def step(made: Machine) -> Event | Signal:
    """Take the next event; answer what pauses the machine, as a session would."""
    event = made.next_event()
    match event:
        case Request(_, Login() | Authenticate()) | SaslResponse():
            made.rejected()
        case Request(_, StartTls()):
            made.secured(OPEN)
        case Request(_, Idle()):
            pass
        case Request(_, Select()):
            made.ready(State.SELECTED)
        case Request() | AppendEnd():
            made.ready()
        case AppendMessage(size_bytes=size):
            if size > 900_000:
                made.refuse(b"NO [OVERQUOTA] the account is full")
            else:
                made.accept()
        case _:
            pass
    return event


def run(made: Machine, *pieces: bytes) -> list[Event]:
    found: list[Event] = []
    for piece in pieces:
        made.receive(piece)
        while not isinstance(event := step(made), Signal):
            if isinstance(event, Content) and found and isinstance(last := found[-1], Content):
                found[-1] = Content(last.octets + event.octets)
            else:
                found.append(event)
    return found


def refusals(found: list[Event]) -> list[bytes]:
    return [event.reply for event in found if isinstance(event, Refused)]


SESSION = (
    b"a1 CAPABILITY\r\n\r\n"
    b"a2 LOGIN {3}\r\nx {6+}\r\nse\r\net\r\n"
    b"a3 SELECT {5+}\r\ninbox (CONDSTORE)\r\n"
    b"a4 idle\r\nDONE\r\na5 UID FETCH 1:* (FLAGS) (CHANGEDSINCE 5)\r\n"
    b'a6 append Sent (\\seen) " 1-Feb-2020 10:00:00 +0100" {12}\r\nSubject: a\r\n {2+}\r\n\r\n\r\n'
    b'a7 SEARCH OR FROM {1+}\r\nx NOT BODY "y\\""\r\n'
    b"a8 NONSENSE {9+}\r\na9 LOGOUT\r\n"
    b"b1 LOGOUT\r\nb2 LOGOUT\r\n"
)


def session_events(*pieces: bytes) -> list[Event]:
    return run(machine(), *pieces)


def test_one_command_after_another_until_logout() -> None:
    found = session_events(SESSION)
    assert [(type(event).__name__, getattr(event, "tag", b"")) for event in found] == [
        ("Request", b"a1"),
        ("Refused", b""),  # a2: not after login
        ("Refused", b""),  # what the client should have kept back
        ("Request", b"a3"),
        ("Request", b"a4"),
        ("Request", b"a4"),
        ("Request", b"a5"),
        ("AppendMessage", b"a6"),
        ("Content", b""),
        ("AppendMessage", b"a6"),
        ("Content", b""),
        ("AppendEnd", b"a6"),
        ("Request", b"a7"),
        ("Refused", b""),
        ("Request", b"b1"),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_the_division_into_pieces_makes_no_difference(size: int) -> None:
    pieces = [SESSION[at : at + size] for at in range(0, len(SESSION), size)]
    assert session_events(*pieces) == session_events(SESSION)


def test_nothing_after_logout_is_read() -> None:
    made = machine()
    assert run(made, b"a LOGOUT\r\nb NOOP\r\n") == [Request(b"a", Logout())]
    assert made.next_event() is PAUSED


@pytest.mark.parametrize("state", State)
def test_each_state_permits_its_commands_alone(state: State) -> None:
    if state is State.LOGOUT:
        assert not COMMANDS[state]
        return
    for verb in sorted(VERBS):
        made = machine(state)
        made.receive(b"t " + verb.encode() + b" !\r\n")
        event = made.next_event()
        is_refused_by_state = isinstance(event, Refused) and (
            b"log in first" in event.reply
            or b"select a mailbox first" in event.reply
            or b"not after login" in event.reply
        )
        assert is_refused_by_state == (verb not in COMMANDS[state]), verb


def test_one_command_at_a_time() -> None:
    made = machine()
    made.receive(b"a NOOP\r\nb NOOP\r\n")
    assert made.next_event() == Request(b"a", Noop())
    assert made.next_event() is PAUSED
    made.ready()
    assert made.next_event() == Request(b"b", Noop())
    made.ready()
    assert made.next_event() is NEED_DATA


def test_the_caller_is_told_to_stop_reading() -> None:
    made = machine()
    made.receive(b"a NOOP\r\n")
    made.next_event()
    assert not made.is_full
    made.receive(b"b NOOP\r\n" * (READ_AHEAD_BYTES // 8))
    assert made.is_full


def test_a_machine_that_needs_bytes_is_never_full() -> None:
    made = machine(State.SELECTED)
    command = b"a UID FETCH " + b",".join([b"7"] * 32_000)[: COMMAND_BYTES - 30] + b" FLAGS\r\n"
    for at in range(0, len(command) - 1, 1000):
        made.receive(command[at : min(at + 1000, len(command) - 1)])
        assert made.next_event() is NEED_DATA
        assert not made.is_full
    made.receive(b"\n")
    assert isinstance(made.next_event(), Request)


def test_an_outcome_that_is_not_awaited_is_misuse() -> None:
    made = machine()
    for call in (made.ready, made.accepted, made.rejected, made.accept, made.compressed):
        with pytest.raises(Misuse):
            call()
    with pytest.raises(Misuse):
        made.challenge(b"")
    with pytest.raises(Misuse):
        made.refuse(b"NO")
    with pytest.raises(Misuse):
        made.secured(OPEN)


# literals


def test_literals_in_login() -> None:  # jstedfast/MailKit#1130
    made = machine(State.NOT_AUTHENTICATED)
    found = run(made, b"a LOGIN {3}\r\n", b"bob {4}\r\n", b"pass\r\n")
    assert found == [
        Continue(b"+ OK\r\n"),
        Continue(b"+ OK\r\n"),
        Request(b"a", Login("bob", "pass")),
    ]


def test_an_empty_literal() -> None:  # zone-eu/wildduck 54f42f33
    made = machine(State.NOT_AUTHENTICATED)
    found = run(made, b"a LOGIN {0}\r\n {0+}\r\n\r\n")
    assert found == [Continue(b"+ OK\r\n"), Request(b"a", Login("", ""))]


@pytest.mark.parametrize("announced", [b"{-1}", b"{-1+}", b"{}", b"{+}", b"{1x}", b"{1", b"{0x1}"])
def test_a_literal_of_invalid_length_is_bad(announced: bytes) -> None:
    found = run(machine(), b"a SELECT " + announced + b"\r\nb NOOP\r\n")
    assert found == [Refused(b"a BAD expected a string\r\n"), Request(b"b", Noop())]


def test_a_literal_too_large_is_drained_and_answered_tagged() -> None:
    # stalwartlabs/stalwart#2768, thunderbird/thunderbird-android#5558
    made = machine()
    octets = b"x NOOP\r\n" * 20_000
    found = run(made, b"a SELECT {%d+}\r\n" % len(octets), octets, b"\r\nb NOOP\r\n")
    assert found == [
        Refused(b"a NO [TOOBIG] the literal is too large\r\n"),
        Request(b"b", Noop()),
    ]


def test_a_synchronising_literal_too_large_is_refused_before_it_is_sent() -> None:
    found = run(machine(), b"a SELECT {100000}\r\n", b"b NOOP\r\n")
    assert found == [
        Refused(b"a NO [TOOBIG] the literal is too large\r\n"),
        Request(b"b", Noop()),
    ]


def test_a_message_of_hundreds_of_megabytes_is_drained_in_bounded_memory() -> None:
    made = machine()
    made.receive(b"a APPEND Sent {300000000+}\r\n")
    piece = b"b NOOP\r\n" * 12_500
    for _ in range(3000):
        assert made.next_event() is NEED_DATA
        assert made.buffered == 0
        made.receive(piece)
    made.receive(b"\r\nc NOOP\r\n")
    assert made.next_event() == Refused(b"a NO [TOOBIG] the message is too large\r\n")
    assert made.next_event() == Request(b"c", Noop())


def test_a_literal_without_a_reachable_end_closes() -> None:
    made = machine()
    assert isinstance(run(made, b"a SELECT {99999999999999999+}\r\nb NOOP\r\n")[0], Fatal)
    assert made.next_event() is PAUSED


@pytest.mark.parametrize(
    "command",
    [
        b"a NOSUCH {8+}\r\nx NOOP\r\n {8+}\r\ny NOOP\r\n tail\r\n",
        b"a FETCH {8+}\r\nx NOOP\r\n\r\n",
        b"a SEARCH BOGUS {8+}\r\nx NOOP\r\n\r\n",
        b"a SELECT a b {8+}\r\nx NOOP\r\n\r\n",
        b"+ NOOP {8+}\r\nx NOOP\r\n\r\n",
        b"a LOGIN {8+}\r\nx NOOP\r\n {8+}\r\nx NOOP\r\n\r\n",
        b"a APPEND Sent bogus {8+}\r\nx NOOP\r\n\r\n",
        b"a APPEND Sent {8+}\r\nx NOOP\r\n bogus {8+}\r\nx NOOP\r\n\r\n",
        b"a APPEND Sent (\\Bogus) {8+}\r\nx NOOP\r\n (\\Seen) {8+}\r\nx NOOP\r\n\r\n",
    ],
)
def test_after_bad_the_rest_is_never_read_as_commands(command: bytes) -> None:
    found = run(machine(), command, b"z NOOP\r\n")
    assert [event for event in found if isinstance(event, Request)] == [Request(b"z", Noop())]
    assert len(refusals(found)) == 1


@given(st.binary(max_size=60).filter(lambda octets: b"\n" not in octets and octets[-1:] != b"}"))
def test_whatever_a_literal_holds_no_command_is_made_of_it(octets: bytes) -> None:
    hidden = octets + b"\r\nx NOOP\r\n"
    found = run(machine(), b"a %s {%d+}\r\n%s\r\nz NOOP\r\n" % (octets, len(hidden), hidden))
    requests = [event for event in found if isinstance(event, Request)]
    assert requests[-1:] == [Request(b"z", Noop())]
    assert Request(b"x", Noop()) not in requests


# lines


def test_empty_lines_between_commands() -> None:  # emailjs/emailjs-imap-client#78
    assert run(machine(), b"\r\n\r\na NOOP\r\n\n\r\nb NOOP\n") == [
        Request(b"a", Noop()),
        Request(b"b", Noop()),
    ]


def test_a_line_too_long_is_refused_once_and_skipped() -> None:
    made = machine()
    found = run(made, *[b"a SELECT " + b"x" * 5_000] * 100, b"\r\nb NOOP\r\n")
    assert found == [
        Refused(b"a BAD [TOOBIG] the command is too long\r\n"),
        Request(b"b", Noop()),
    ]


def test_the_literal_after_a_line_too_long_is_drained() -> None:
    line = b"a SELECT " + b"x" * COMMAND_BYTES * 2 + b" {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n"
    pieces = [line[at : at + 1000] for at in range(0, len(line), 1000)]
    expected = [Refused(b"a BAD [TOOBIG] the command is too long\r\n"), Request(b"b", Noop())]
    assert run(machine(), *pieces) == expected == run(machine(), line)


def test_a_command_of_64_kib_is_taken() -> None:
    numbers = b",".join(b"%d" % number for number in range(1, 12_000))
    found = run(machine(State.SELECTED), b"a UID FETCH %s FLAGS\r\n" % numbers)
    assert isinstance(found[0], Request)


def test_before_login_less_is_taken() -> None:  # CVE-2025-61600
    made = machine(State.NOT_AUTHENTICATED)
    found = run(made, b"a LOGIN {%d}\r\n" % (BEFORE_LOGIN_BYTES + 1))
    assert refusals(found) == [b"a NO [TOOBIG] the literal is too large\r\n"]
    found = run(made, b"a LOGIN " + b"x" * BEFORE_LOGIN_BYTES + b" y\r\n")
    assert refusals(found) == [b"a BAD [TOOBIG] the command is too long\r\n"]


def test_many_small_literals_are_bounded() -> None:
    made = machine()
    made.receive(b"a SEARCH " + b"{1+}\r\nx " * 20_000)
    assert made.next_event() is NEED_DATA
    made.receive(b"\r\n")
    assert isinstance(made.next_event(), Refused)


@pytest.mark.parametrize("line", [b"\xff\xfe", b"{", b"(a) NOOP", b"* NOOP", b"+", b"\0", b"  "])
def test_a_line_without_a_tag(line: bytes) -> None:
    assert refusals(run(machine(), line + b"\r\n")) == [b"* BAD invalid tag\r\n"]


def test_no_bytes_of_the_client_but_the_tag_are_echoed() -> None:
    for line in (b"a \x1b[31m", b"a NO\rOP", b"a SELECT \x00", b"a FETCH \x80"):
        for reply in refusals(run(machine(State.SELECTED), line + b"\r\n")):
            assert reply.startswith(b"a BAD ")
            assert reply[:-2].decode("ascii").isprintable()


# IDLE


def test_idle_and_a_command_in_the_packet_of_done() -> None:  # stalwartlabs/stalwart#765, iOS
    made = machine()
    made.receive(b"a IDLE\r\nDONE\r\nb NOOP\r\n")
    assert made.next_event() == Request(b"a", Idle())
    idling = [made.is_idling]
    assert made.next_event() == Request(b"a", Done())
    assert [*idling, made.is_idling] == [True, False]
    assert made.next_event() is PAUSED
    made.ready()
    assert made.next_event() == Request(b"b", Noop())


@pytest.mark.parametrize("line", [b"b IDLE", b"b NOOP", b"DONE x", b"b SELECT {4+}\r\nDONE"])
def test_another_command_ends_idle_with_bad(line: bytes) -> None:  # zone-eu/wildduck#684
    made = machine()
    found = run(made, b"a IDLE\r\n", line + b"\r\n", b"c NOOP\r\n")
    assert found == [
        Request(b"a", Idle()),
        Refused(b"a BAD expected DONE\r\n"),
        Request(b"c", Noop()),
    ]
    assert not made.is_idling


def test_half_of_done_stays() -> None:
    made = machine()
    assert run(made, b"a IDLE\r\nDO") == [Request(b"a", Idle())]
    assert made.next_event() is NEED_DATA
    assert run(made, b"NE\r\n") == [Request(b"a", Done())]


# login


def test_authenticate_with_challenges() -> None:
    made = machine(State.NOT_AUTHENTICATED)
    made.receive(b"a AUTHENTICATE plain\r\n")
    assert made.next_event() == Request(b"a", Authenticate("PLAIN"))
    assert made.next_event() is PAUSED
    assert made.challenge(b"") == b"+ \r\n"
    made.receive(b64encode(b"\0bob\0pass") + b"\r\nb NOOP\r\n")
    assert made.next_event() == SaslResponse(b"a", b"\0bob\0pass")
    assert made.challenge(b"more") == b"+ bW9yZQ==\r\n"
    assert isinstance(made.next_event(), Refused)  # b NOOP is no response
    assert made.next_event() is NEED_DATA


def test_authenticate_with_initial_response() -> None:
    made = machine(State.NOT_AUTHENTICATED)
    made.receive(b"a AUTHENTICATE PLAIN AGIAcA==\r\nb NOOP\r\n")
    event = made.next_event()
    assert event == Request(b"a", Authenticate("PLAIN", b"\0b\0p"))
    assert "p" not in repr(event).replace("Request", "").lower().partition("plain")[2]
    made.accepted()
    assert made.state is State.AUTHENTICATED
    assert made.next_event() == Request(b"b", Noop())


@pytest.mark.parametrize(
    ("response", "reply"),
    [
        (b"*", b"a BAD authentication cancelled\r\n"),
        (b"?", b"a BAD the response is not in base64\r\n"),
        (b"x" * 20_000, b"a BAD invalid response\r\n"),
        (b"{6+}\r\nNOOP\r\n", b"a BAD invalid response\r\n"),
    ],
)
def test_an_invalid_response_ends_the_exchange(response: bytes, reply: bytes) -> None:
    made = machine(State.NOT_AUTHENTICATED)
    made.receive(b"a AUTHENTICATE PLAIN\r\n")
    made.next_event()
    made.challenge(b"")
    made.receive(response + b"\r\nb NOOP\r\n")
    assert made.next_event() == Refused(reply)
    assert made.next_event() == Request(b"b", Noop())


def test_no_password_is_taken_without_tls() -> None:
    made = machine(State.NOT_AUTHENTICATED, BARE)
    found = run(made, b"a LOGIN bob pass\r\nb AUTHENTICATE PLAIN\r\n")
    assert refusals(found) == [
        b"a NO [PRIVACYREQUIRED] no password is taken on an unencrypted connection: use STARTTLS first\r\n",
        b"b NO [PRIVACYREQUIRED] no password is taken on an unencrypted connection: use STARTTLS first\r\n",
    ]


def test_starttls_discards_what_was_injected_before_the_handshake() -> None:
    made = machine(State.NOT_AUTHENTICATED, BARE)
    made.receive(b"a STARTTLS\r\nb LOGIN evil x\r\n")
    assert made.next_event() == Request(b"a", StartTls())
    made.receive(b"c LOGIN evil x\r\n")
    assert made.next_event() is PAUSED
    made.secured(OPEN)
    assert made.next_event() is NEED_DATA
    assert refusals(run(made, b"d STARTTLS\r\n")) == [
        b"d BAD STARTTLS is not offered on this connection\r\n"
    ]


def test_compress_gives_back_what_is_compressed_already() -> None:
    made = machine()
    made.receive(b"a COMPRESS DEFLATE\r\n\x01\x02\r\n")
    assert made.next_event() == Request(b"a", Compress())
    assert made.compressed() == b"\x01\x02\r\n"
    made.ready()
    assert made.next_event() is NEED_DATA


def test_enable_qresync_enables_condstore() -> None:
    made = machine()
    made.enable("QRESYNC")
    assert made.enabled == {"QRESYNC", "CONDSTORE"}


# APPEND


def test_append_comes_in_pieces() -> None:
    made = machine()
    found = run(
        made,
        b'a APPEND "Sent Items" (\\seen $Forwarded) " 1-Feb-2020 10:00:00 +0000" {11}\r\n',
        b"Subject",
        b": a\n\r\nb NOOP\r\n",
    )
    options = MessageOptions(("\\Seen", "$Forwarded"), datetime(2020, 2, 1, 10, tzinfo=UTC))
    assert found == [
        AppendMessage(b"a", Target("Sent Items"), options, 11, is_binary=False, index=0),
        Content(b"Subject: a\n"),
        AppendEnd(b"a", 1),
        Request(b"b", Noop()),
    ]


@pytest.mark.parametrize("day", [b"1-Feb-2020", b" 1-Feb-2020", b"01-Feb-2020"])
def test_append_takes_days_of_one_digit(day: bytes) -> None:  # mjl-/mox#279, zm-mailbox#1101
    found = run(machine(), b'a APPEND x "' + day + b' 10:00:00 -0130" {1+}\r\nx\r\n')
    assert isinstance(found[0], AppendMessage)
    assert found[0].options.date is not None
    assert found[0].options.date.astimezone(UTC) == datetime(2020, 2, 1, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "date",
    [b"32-Feb-2020 10:00:00 +0000", b"00-Jan-2020 10:00:00 +0000", b"01-Jan-0000 10:00:00 +0000",
     b"01-Foo-2020 10:00:00 +0000", b"01-Jan-2020 25:00:00 +0000", b"01-Jan-2020 10:00:00 +9999",
     b"", b"\xff"],
)  # fmt: skip
def test_silly_dates_are_bad(date: bytes) -> None:  # dbmail/dbmail#159
    found = run(machine(), b'a APPEND x "' + date + b'" {1+}\r\nx\r\n')
    assert [reply[:6] for reply in refusals(found)] == [b"a BAD "]


def test_multiappend() -> None:
    found = run(
        machine(),
        b"a APPEND {1+}\r\nx {2+}\r\nab (\\Draft) {2}\r\ncd {1+}\r\ne\r\nb NOOP\r\n",
    )
    assert [event for event in found if isinstance(event, Content)] == [
        Content(b"ab"), Content(b"cd"), Content(b"e"),
    ]  # fmt: skip
    announced = [event for event in found if isinstance(event, AppendMessage)]
    assert [event.index for event in announced] == [0, 1, 2]
    assert [event.options.flags for event in announced] == [(), ("\\Draft",), ()]
    assert found[-2:] == [AppendEnd(b"a", 3), Request(b"b", Noop())]


def test_append_over_quota_is_refused_before_the_literal() -> None:
    found = run(machine(), b"a APPEND x {950000}\r\n", b"b NOOP\r\n")
    assert refusals(found) == [b"a NO [OVERQUOTA] the account is full\r\n"]
    assert found[-1] == Request(b"b", Noop())


def test_append_over_quota_that_comes_unasked_is_drained() -> None:
    found = run(
        machine(),
        b"a APPEND x {950000+}\r\n",
        b"c NOOP\r\n" * 118_750,
        b" {2+}\r\nxy\r\nb NOOP\r\n",
    )
    assert refusals(found) == [b"a NO [OVERQUOTA] the account is full\r\n"]
    assert found[-1] == Request(b"b", Noop())
    assert len(found) == 3


def test_append_utf8() -> None:  # Thunderbird after UTF8=ACCEPT
    line = b"a APPEND x (\\Seen) UTF8 (~{2+}\r\nab)\r\nb NOOP\r\n"
    assert refusals(run(machine(), line))[0].startswith(b"a BAD UTF8 needs")
    made = machine()
    made.enable("UTF8=ACCEPT")
    found = run(made, line)
    assert found[0] == AppendMessage(
        b"a", Target("x"), MessageOptions(("\\Seen",), None, True), 2, is_binary=True, index=0
    )
    assert found[1:] == [Content(b"ab"), AppendEnd(b"a", 1), Request(b"b", Noop())]
    assert refusals(run(made, b"a APPEND x UTF8 (~{2+}\r\nab\r\n")) == [
        b"a BAD expected ) after the message\r\n"
    ]


def test_append_without_a_message() -> None:
    for line in (
        b"a APPEND x\r\n",
        b"a APPEND\r\n",
        b'a APPEND x "y"\r\n',
        b"a APPEND x {0+}\r\n\r\n",
    ):
        assert len(refusals(run(machine(), line))) == 1


def test_replace_takes_one_message() -> None:
    made = machine(State.SELECTED)
    found = run(made, b"a UID REPLACE 7 Drafts {1+}\r\nx\r\n")
    assert isinstance(found[0], AppendMessage)
    assert found[0].target == Target("Drafts", 7, by_uid=True)
    found = run(made, b"a REPLACE 7 Drafts {1+}\r\nx {1+}\r\ny\r\n")
    assert refusals(found) == [b"a BAD REPLACE takes one message\r\n"]


# capabilities


def test_capabilities_before_and_after_login() -> None:
    before = capabilities(State.NOT_AUTHENTICATED, OPEN, append_limit=5).split()
    assert before[0] == "IMAP4rev1"
    assert {"AUTH=PLAIN", "AUTH=LOGIN", "APPENDLIMIT=5", "IMAP4rev2"} <= set(before)
    bare = capabilities(State.NOT_AUTHENTICATED, BARE, append_limit=5).split()
    assert {"STARTTLS", "LOGINDISABLED"} <= set(bare)
    assert not any(name.startswith("AUTH=") for name in bare)
    after = capabilities(State.SELECTED, OPEN, append_limit=5, hidden=["qresync", "APPENDLIMIT"])
    assert set(CAPABILITIES) - set(after.split()) == {"QRESYNC", "APPENDLIMIT"}


# fuzz

_WORDS = st.sampled_from(
    [b"a ", b"LOGIN ", b"FETCH ", b"UID ", b"SEARCH ", b"APPEND ", b"SELECT ", b"LIST ", b"IDLE",
     b"DONE", b"\r\n", b"\n", b"{3}", b"{3+}", b"~{2+}", b"\r\nabc", b"(", b")", b'"', b"\\", b"INBOX ",
     b"1:* ", b"0", b"BODY[", b"]", b"<0.5>", b"OR ", b"NOT ", b"$ ", b"RETURN (", b"STATUS ",
     b"UTF8 (", b"(\\Seen) ", b"&", b"&-", b"AUTHENTICATE PLAIN", b"=", b"*", b"STORE ", b"+FLAGS "]
)  # fmt: skip
_NOISE = st.lists(st.one_of(_WORDS, _WORDS, st.binary(max_size=6)), max_size=40).map(b"".join)


@settings(max_examples=200)
@given(_NOISE, st.sampled_from(list(State)[:3]), st.integers(1, 9))
def test_noise_never_raises_and_its_division_makes_no_difference(
    noise: bytes, state: State, size: int
) -> None:
    whole = run(machine(state), noise, b"\r\nz NOOP\r\n")
    pieces = [noise[at : at + size] for at in range(0, len(noise), size)]
    assert run(machine(state), *pieces, b"\r\nz NOOP\r\n") == whole
    for reply in refusals(whole):
        assert reply.endswith(b"\r\n")
        assert reply.count(b"\n") == 1
