"""The SMTP machine: what may happen in which state, and the same events however the bytes are
cut."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.sasl_bearer import Bearer
from posthorn.wire.signals import NEED_DATA, PAUSED, Misuse, Signal
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import (
    LONGEST_LINE,
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
)
from posthorn.wire.smtp.events import (
    BareLineEnd,
    Challenge,
    ChunkEnd,
    Content,
    Declined,
    Event,
    Fatal,
    Login,
    MessageEnd,
    Refused,
    TokenLogin,
)
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import PASSWORD_PROMPT, USERNAME_PROMPT, Secret
from posthorn.wire.smtp.server import Machine
from posthorn.wire.smtp.transitions import (
    TRANSITIONS,
    Accepted,
    Channel,
    Concluded,
    Explained,
    Offer,
    Rejected,
    Secured,
    State,
)

MAX_SIZE = 10_000
STRANGERS = Channel(starttls=True)
LOGINS = Channel(tls=True, auth=Offer.NOW)
EHLO = b"EHLO c\r\n"
TO_A = EHLO + b"MAIL FROM:<>\r\nRCPT TO:<a@example.test>\r\n"
COMMANDS: tuple[type, ...] = (
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    StartTls,
    Auth,
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
)


def machine(channel: Channel = STRANGERS) -> Machine:
    return Machine(channel, max_size=MAX_SIZE)


def conclude(made: Machine, event: Event) -> None:
    """Tell the outcome: recipients at ``no`` are refused, at ``later`` for now, and passwords
    that are not ``right``."""
    match event:
        case Mail() | Login(Secret(password="right")):
            made.accepted()
        case Rcpt(forward_path) if forward_path is not None and forward_path.domain in (
            "no.test",
            "later.test",
        ):
            made.rejected(deferred=forward_path.domain == "later.test")
        case Rcpt():
            made.accepted()
        case Login():
            made.rejected()
        case StartTls():
            made.secured(Channel(tls=True, auth=made.channel.auth))
        case MessageEnd():
            made.concluded()


def events(made: Machine) -> list[Event]:
    """Return all events that are there, with pieces of content that stand together joined."""
    found: list[Event] = []
    while not isinstance(event := made.next_event(), Signal):
        if isinstance(event, Content) and found and isinstance(found[-1], Content):
            event = Content(found.pop().octets + event.octets)  # type: ignore[union-attr]
        found.append(event)
        conclude(made, event)
    return found


def said(octets: bytes, channel: Channel = STRANGERS) -> list[Event]:
    made = machine(channel)
    made.receive(octets)
    return events(made)


def plain(password: bytes = b"right") -> bytes:
    return b"AUTH PLAIN " + b64encode(b"\0a@example.test\0" + password) + b"\r\n"


# --- the table
# -------------------------------------------------------------------------------------------------------


def test_every_state_has_a_row_and_each_state_of_commands_knows_all_of_them() -> None:
    assert set(TRANSITIONS) == set(State)
    for state in (State.FRESH, State.READY, State.MAIL, State.RCPT, State.CHUNKS):
        assert set(TRANSITIONS[state]) == set(COMMANDS)


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (Mail(None), {State.READY}),
        (Rcpt(None), {State.MAIL, State.RCPT}),
        (Data(), {State.RCPT}),
        (Bdat(1), {State.RCPT, State.CHUNKS}),
        (StartTls(), {State.FRESH, State.READY}),
        (Ehlo("x"), {State.FRESH, State.READY, State.MAIL, State.RCPT, State.CHUNKS}),
        (Auth("PLAIN"), {State.READY}),
        (Rset(), {State.FRESH, State.READY, State.MAIL, State.RCPT, State.CHUNKS}),
        (Noop(), {State.FRESH, State.READY, State.MAIL, State.RCPT, State.CHUNKS}),
        (Quit(), {State.FRESH, State.READY, State.MAIL, State.RCPT, State.CHUNKS}),
    ],
)
def test_what_may_come_when(command: Command, allowed: set[State]) -> None:
    for state in (State.FRESH, State.READY, State.MAIL, State.RCPT, State.CHUNKS):
        after = TRANSITIONS[state][type(command)]
        assert isinstance(after, State) is (state in allowed), state
        if isinstance(after, Reply):
            assert (after.code, after.status) == (503, "5.5.1")


def test_an_outcome_nobody_waits_for_is_misuse() -> None:
    for tell in (Machine.accepted, Machine.rejected, Machine.concluded):
        with pytest.raises(Misuse):
            tell(machine())
    with pytest.raises(Misuse):
        machine().secured(LOGINS)


def test_only_states_that_wait_for_an_outcome_pause() -> None:
    outcomes = {Accepted, Rejected, Explained, Concluded, Secured}
    for state, row in TRANSITIONS.items():
        made = machine()
        made.state = state
        if state is State.CHUNK:
            made._begin_chunk(Bdat(9))
        made.receive(b"NOOP\r\n")
        assert (made.next_event() is PAUSED) is (set(row) <= outcomes), state


# --- the transaction
# -------------------------------------------------------------------------------------------------


def test_a_pipelined_transaction_waits_for_each_outcome() -> None:
    made = machine()
    made.receive(TO_A + b"DATA\r\n")
    assert made.next_event() == Ehlo("c")
    assert made.next_event() == Mail(None)
    assert made.next_event() is PAUSED
    made.accepted()
    assert isinstance(made.next_event(), Rcpt)
    assert made.next_event() is PAUSED
    made.accepted()
    assert made.next_event() == Data()
    assert made.is_receiving and not made.awaits_line
    assert made.next_event() is NEED_DATA
    made.receive(b"A: b\r\n\r\n..x\r\n.\r\nNOOP\r\n")
    assert events(made) == [Content(b"A: b\r\n\r\n.x\r\n"), MessageEnd(), Noop()]
    assert made.state is State.READY and not made.is_receiving


@pytest.mark.parametrize(
    ("recipients", "reply"),
    [
        (b"RCPT TO:<a@no.test>\r\n", smtp.NO_RECIPIENT),
        (
            b"RCPT TO:<a@no.test>\r\nRCPT TO:<a@later.test>\r\nRCPT TO:<b@no.test>\r\n",
            smtp.NO_RECIPIENT_NOW,
        ),
    ],
)
def test_data_without_a_recipient_is_final_only_if_all_refusals_were(
    recipients: bytes, reply: Reply
) -> None:
    begun = EHLO + b"MAIL FROM:<>\r\n" + recipients
    for command in (b"DATA\r\n", b"BDAT 4 LAST\r\nQUIT"):
        assert said(begun + command + b"NOOP\r\n")[-2:] == [Refused(reply, is_error=False), Noop()]
    # another transaction knows nothing of it
    later = begun + b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@no.test>\r\nDATA\r\n"
    assert said(later)[-1] == Refused(smtp.NO_RECIPIENT, is_error=False)


def test_a_refused_recipient_takes_nothing_from_the_others() -> None:
    found = said(TO_A + b"RCPT TO:<b@no.test>\r\nDATA\r\nx: y\r\n.\r\n")
    assert found[-3:] == [Data(), Content(b"x: y\r\n"), MessageEnd()]


@pytest.mark.parametrize("command", [b"EHLO c\r\n", b"HELO c\r\n", b"RSET\r\n"])
def test_a_reset_needs_another_mail(command: bytes) -> None:
    for begun in (TO_A, TO_A + b"BDAT 1\r\nx"):
        assert said(begun + command + b"RCPT TO:<a@example.test>\r\n")[-1] == Refused(
            smtp.MAIL_FIRST
        )


def test_rset_before_a_greeting_is_no_greeting() -> None:
    assert said(b"RSET\r\nMAIL FROM:<>\r\n") == [Rset(), Refused(smtp.HELLO_FIRST)]


def test_nothing_follows_quit() -> None:
    made = machine()
    made.receive(b"QUIT\r\nNOOP\r\n")
    assert events(made) == [Quit()]
    assert made.state is State.CLOSED


def test_expn_is_not_implemented() -> None:
    assert said(b"EXPN x\r\n") == [Refused(smtp.NOT_IMPLEMENTED)]


def test_an_address_that_is_not_ascii_needs_smtputf8() -> None:
    recipient = "RCPT TO:<é@example.test>\r\n".encode()
    assert said(EHLO + b"MAIL FROM:<>\r\n" + recipient)[-1] == Refused(smtp.NEEDS_SMTPUTF8)
    assert isinstance(said(EHLO + b"MAIL FROM:<> SMTPUTF8\r\n" + recipient)[-1], Rcpt)


# --- content
# ---------------------------------------------------------------------------------------------------------

SMUGGLED = (b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\r\n.\r\r\n")


@pytest.mark.parametrize("end", SMUGGLED)
def test_a_strangers_bare_line_ends_break_the_message_to_its_true_end(end: bytes) -> None:
    found = said(TO_A + b"DATA\r\nx" + end + b"MAIL FROM:<evil@example.org>\r\n.\r\nNOOP\r\n")
    assert found[3] == Data()
    assert found[-3:] == [BareLineEnd(), MessageEnd(), Noop()]
    assert not any(isinstance(event, Mail) for event in found[3:])


def test_line_ends_of_a_client_that_logged_in_are_made_whole() -> None:
    found = said(EHLO + plain() + TO_A[len(EHLO) :] + b"DATA\r\na\nb\r..c\n..d\r\n.\r\n", LOGINS)
    assert found[-2:] == [Content(b"a\r\nb\r\n..c\r\n.d\r\n"), MessageEnd()]


def test_chunks_are_one_message_and_their_line_ends_may_be_cut() -> None:
    found = said(TO_A + b"BDAT 3\r\na\r\nBDAT 0\r\nBDAT 4 LAST\r\nb\n\r\nNOOP\r\n")
    assert found[3:] == [
        *(Bdat(3), Content(b"a"), ChunkEnd(3), Bdat(0), ChunkEnd(0)),
        *(Bdat(4, last=True), Content(b"\r\nb\r\n\r\n"), MessageEnd(), Noop()),
    ]
    cut = said(TO_A + b"BDAT 2\r\na\rBDAT 1 LAST\r\n\nNOOP\r\n")
    assert b"".join(event.octets for event in cut if isinstance(event, Content)) == b"a\r\n"
    assert cut[-2:] == [MessageEnd(), Noop()]


@pytest.mark.parametrize("last", [b"\rx", b"x\r"])
def test_a_bare_cr_breaks_a_strangers_chunk(last: bytes) -> None:
    found = said(TO_A + b"BDAT 2 LAST\r\n" + last + b"NOOP\r\n")
    assert [event for event in found[4:] if not isinstance(event, Content)] == [
        BareLineEnd(),
        MessageEnd(),
        Noop(),
    ]


def test_between_chunks_only_chunks_and_harmless_commands_may_come() -> None:
    found = said(TO_A + b"BDAT 1\r\nxDATA\r\nMAIL FROM:<>\r\nNOOP\r\nBDAT 0 LAST\r\n")
    assert found[-5:] == [
        *(Refused(smtp.CHUNKS_OPEN), Refused(smtp.CHUNKS_OPEN), Noop()),
        *(Bdat(0, last=True), MessageEnd()),
    ]


def test_a_refused_chunk_is_never_taken_for_commands() -> None:
    made = machine()
    made.receive(EHLO + b"BDAT 6 LAST\r\nQU")
    assert events(made) == [Ehlo("c"), Refused(smtp.MAIL_FIRST)]
    assert not made.awaits_line
    made.receive(b"IT\r\nNOOP\r\n")
    assert events(made) == [Noop()]


@pytest.mark.parametrize("last", [b"", b" LAST"])
def test_what_is_discarded_is_read_to_its_end(last: bytes) -> None:
    for begun, end in ((b"DATA\r\n", b"\r\n.\r\n"), (b"BDAT 4%b\r\n" % last, b"\r\n")):
        made = machine()
        made.receive(TO_A + begun)
        events(made)
        made.discard()
        made.receive(b"xx" + end + b"NOOP\r\n")
        found = events(made)
        assert not any(isinstance(event, Content) for event in found)
        assert found[-1] == Noop()


@pytest.mark.parametrize("begun", [EHLO, TO_A])
def test_an_endless_chunk_is_read_in_part(begun: bytes) -> None:
    made = machine()
    made.receive(begun + b"BDAT %d LAST\r\n" % (MAX_SIZE + 1))
    events(made)
    if made.state is State.CHUNK:
        made.discard()
    made.receive(b"x" * (MAX_SIZE - 1))
    assert events(made) == []
    made.receive(b"xNOOP\r\n")
    assert events(made) == [Fatal(smtp.ENDLESS_CHUNK)]
    assert made.state is State.CLOSED


# --- what ends a session
# ---------------------------------------------------------------------------------------------


def test_a_chunk_of_unknown_size_closes() -> None:
    assert said(TO_A + b"BDAT x LAST\r\nNOOP\r\n")[3:] == [Fatal(smtp.BAD_BDAT)]


def test_another_protocol_closes_at_its_first_line_only_before_a_greeting() -> None:
    assert said(b"GET / HTTP/1.1\r\nEHLO c\r\n") == [Fatal(smtp.OTHER_PROTOCOL)]
    assert said(EHLO + b"GET / HTTP/1.1\r\n") == [Ehlo("c"), Refused(smtp.UNKNOWN_COMMAND)]


def test_a_protocol_without_lines_closes_at_its_first_byte_only_before_a_greeting() -> None:
    client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    for cut in range(1, len(client_hello) + 1):
        assert said(client_hello[:cut]) == [Fatal(smtp.OTHER_PROTOCOL)]
    assert said(EHLO + client_hello + b"\r\n") == [Ehlo("c"), Refused(smtp.BAD_LINE)]
    assert said(b"\r\n" + EHLO) == [Refused(smtp.UNKNOWN_COMMAND), Ehlo("c")]
    # nor within a line
    made = machine()
    for octets in (b"x" * 2000, b"\x16 and so on"):
        made.receive(octets)
        assert events(made) == []


def test_a_line_without_an_end_is_refused_once_and_kept_in_part() -> None:
    made = machine()
    for _ in range(100):
        made.receive(b"x" * 1000)
        assert events(made) == []
        assert len(made._input) <= LONGEST_LINE + 1000
    made.receive(b"\r\nNOOP\r\n")
    assert events(made) == [Refused(smtp.LINE_TOO_LONG), Noop()]


# --- STARTTLS
# --------------------------------------------------------------------------------------------------------


def test_starttls_discards_what_came_with_it_and_forgets_the_greeting() -> None:
    made = machine()
    made.receive(EHLO + b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
    assert made.next_event() == Ehlo("c")
    assert made.next_event() == StartTls()
    assert made.next_event() is PAUSED
    made.secured(Channel(tls=True))
    made.receive(b"MAIL FROM:<>\r\nSTARTTLS\r\n")
    assert events(made) == [Refused(smtp.HELLO_FIRST), Refused(smtp.TLS_ACTIVE)]


def test_starttls_without_a_certificate() -> None:
    assert said(b"STARTTLS\r\n", Channel()) == [Refused(smtp.NOT_IMPLEMENTED)]


# --- AUTH
# ------------------------------------------------------------------------------------------------------------


def test_mail_needs_a_login_where_logins_are_taken() -> None:
    assert said(EHLO + b"MAIL FROM:<>\r\n", LOGINS)[-1] == Refused(smtp.LOGIN_FIRST)
    found = said(
        EHLO + plain(b"wrong") + plain() + b"MAIL FROM:<> AUTH=<>\r\n" + b"RSET\r\n" + plain(),
        LOGINS,
    )
    assert [type(event) for event in found] == [Ehlo, Login, Login, Mail, Rset, Refused]
    assert found[-1] == Refused(smtp.LOGIN_DONE)


def test_a_login_in_one_step_and_in_two() -> None:
    secret = Secret("a@example.test", "right")
    name, password = b64encode(b"a@example.test"), b64encode(b"right")
    asked, asked_name, asked_password = map(smtp.challenge, ("", USERNAME_PROMPT, PASSWORD_PROMPT))
    response = b64encode(b"\0a@example.test\0right")
    assert said(EHLO + plain(), LOGINS)[1:] == [Login(secret)]
    assert said(EHLO + b"AUTH PLAIN\r\n" + response + b"\r\n", LOGINS)[1:] == [
        Challenge(asked),
        Login(secret),
    ]
    for begun, challenges in (
        (b"AUTH LOGIN " + name, ()),
        (b"AUTH LOGIN\r\n" + name, (Challenge(asked_name),)),
    ):
        found = said(EHLO + begun + b"\r\n" + password + b"\r\n", LOGINS)
        assert found[1:] == [*challenges, Challenge(asked_password), Login(secret)]


@pytest.mark.parametrize(
    ("response", "reply"),
    [
        (b"*", smtp.LOGIN_CANCELLED),
        (b"no base64", smtp.NOT_BASE64),
        (b64encode(b"no nul"), smtp.NOT_BASE64),
        (b"A" * 12_300, smtp.LOGIN_TOO_LONG),
    ],
)
def test_a_response_that_does_not_read_ends_the_exchange(response: bytes, reply: Reply) -> None:
    found = said(EHLO + b"AUTH PLAIN\r\n" + response + b"\r\nNOOP\r\n", LOGINS)
    assert found[2:] == [Refused(reply), Noop()]


@pytest.mark.parametrize(
    ("channel", "reply"),
    [
        (STRANGERS, smtp.NOT_IMPLEMENTED),
        (Channel(auth=Offer.AFTER_TLS), smtp.NEEDS_TLS),
    ],
)
def test_auth_where_it_is_not_offered(channel: Channel, reply: Reply) -> None:
    assert said(EHLO + plain(), channel)[1:] == [Refused(reply)]
    assert said(plain(), channel) == [Refused(smtp.HELLO_FIRST)]


def test_other_mechanisms_and_auth_at_mail_are_refused() -> None:
    assert said(EHLO + b"AUTH XOAUTH2\r\n", LOGINS)[1:] == [Refused(smtp.NO_MECHANISM)]
    assert said(EHLO + b"MAIL FROM:<> AUTH=<>\r\n")[1:] == [Refused(smtp.UNKNOWN_PARAMETER)]


def test_a_token_and_what_follows_a_refused_one() -> None:
    """RFC 7628 §3.2.3: a challenge with the reason, then the refusal."""
    made = Machine(
        Channel(tls=True, auth=Offer.NOW, mechanisms=("OAUTHBEARER",)), max_size=MAX_SIZE
    )
    response = b64encode(b"n,a=a@b.test,\1auth=Bearer abc\1\1")
    made.receive(EHLO + b"AUTH PLAIN\r\nAUTH OAUTHBEARER " + response + b"\r\nAQ==\r\nNOOP\r\n")
    made.next_event()
    assert made.next_event() == Refused(smtp.NO_MECHANISM)
    assert made.next_event() == TokenLogin(Bearer("OAUTHBEARER", "abc", "a@b.test"))
    assert made.next_event() is PAUSED
    made.explained()
    assert made.next_event() == Declined()
    assert made.next_event() == Noop()
    made.receive(b"AUTH OAUTHBEARER\r\n" + response + b"\r\n*\r\n")
    assert made.next_event() == Challenge(smtp.challenge(""))
    assert isinstance(made.next_event(), TokenLogin)
    made.explained()
    assert made.next_event() == Refused(smtp.LOGIN_CANCELLED)
    made.receive(b"AUTH OAUTHBEARER " + response + b"\r\n")
    assert isinstance(made.next_event(), TokenLogin)
    made.accepted()
    assert made.authenticated


def test_passwords_do_not_show_in_events() -> None:
    assert "s3cret" not in repr(said(EHLO + plain(b"s3cret"), LOGINS))


# --- however the bytes are cut
# ---------------------------------------------------------------------------------------

_line = st.one_of(
    st.sampled_from(
        [
            b"EHLO c", b"HELO c", b"MAIL FROM:<>", b"MAIL FROM:<a@example.org> SIZE=5", b"RCPT TO:<a@example.test>",
            b"RCPT TO:<a@no.test>", b"RCPT TO:<a@later.test>", b"DATA", b".", b"..", b".x", b"A: b", b"", b"RSET",
            b"BDAT 5", b"BDAT 0 LAST", b"BDAT 9 LAST", b"BDAT 20000", b"BDAT x", b"STARTTLS", b"NOOP", b"QUIT",
            b"AUTH LOGIN", b"AUTH PLAIN", plain().strip(), plain(b"wrong").strip(), b"*", b"x" * 600, b"\r", b"GET / HTTP/1.1",
        ]
    ),
    st.binary(max_size=300),
)  # fmt: skip
_octets = st.one_of(
    st.lists(st.tuples(_line, st.sampled_from([b"\r\n", b"\r\n", b"\n"])), max_size=12).map(
        lambda lines: b"".join(line + end for line, end in lines)
    ),
    st.binary(max_size=2000),
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"x"]), max_size=40).map(
        lambda parts: TO_A + b"DATA\r\n" + b"".join(parts)
    ),
)


def _joined(found: list[Event]) -> list[Event]:
    joined: list[Event] = []
    for event in found:
        if isinstance(event, Content) and joined and isinstance(last := joined[-1], Content):
            joined[-1] = Content(last.octets + event.octets)
        else:
            joined.append(event)
    return joined


def _without_broken(found: list[Event]) -> list[Event]:
    """How much of a message is returned before it is seen to be broken depends on the cuts."""
    kept: list[Event] = []
    for event in _joined(found):
        if isinstance(event, BareLineEnd) and kept and isinstance(kept[-1], Content):
            kept.pop()
        kept.append(event)
    return kept


# STARTTLS discards what came with it
@given(_octets, st.data(), st.sampled_from([Channel(), LOGINS]))
def test_the_same_events_whole_byte_by_byte_and_cut_anywhere(
    octets: bytes, data: st.DataObject, channel: Channel
) -> None:
    whole = machine(channel)
    whole.receive(octets)
    expected = _without_broken(events(whole))

    single = machine(channel)
    found: list[Event] = []
    for at in range(len(octets)):
        single.receive(octets[at : at + 1])
        found += events(single)
    assert _without_broken(found) == expected

    cut = machine(channel)
    found = []
    at = 0
    while at < len(octets):
        step = data.draw(st.integers(1, max(1, len(octets) - at)))
        cut.receive(octets[at : at + step])
        found += events(cut)
        at += step
    assert _without_broken(found) == expected
    assert single.state is cut.state is whole.state


@given(
    st.binary(max_size=500),
    st.sampled_from([b"", EHLO, TO_A, TO_A + b"DATA\r\n", EHLO + b"AUTH LOGIN\r\n"]),
)
def test_whatever_comes_nothing_raises(octets: bytes, begun: bytes) -> None:
    for channel in (STRANGERS, LOGINS):
        for event in said(begun + octets + b"\r\n", channel):
            if isinstance(event, Refused | Fatal):
                assert 400 <= event.reply.code < 600
