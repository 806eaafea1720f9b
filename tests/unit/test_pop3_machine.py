"""The POP3 machine: what may happen in which state, and the same events however the octets are
cut."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.pop3.events import (
    Capa,
    Challenge,
    Declined,
    Dele,
    Event,
    Lang,
    List,
    Login,
    Mechanisms,
    Named,
    Noop,
    Quit,
    Refused,
    Retr,
    Stat,
    Stls,
    TokenLogin,
    Top,
    Uidl,
    Utf8,
)
from posthorn.wire.pop3.machine import CREDENTIAL_LIMIT, LINE_LIMIT, SASL_LIMIT, Machine
from posthorn.wire.pop3.states import TRANSITIONS, Channel, State
from posthorn.wire.sasl_bearer import Bearer
from posthorn.wire.signals import NEED_DATA, PAUSED, Misuse, Signal

OPEN = Channel(passwords=True, stls=False)
BARE = Channel(passwords=False, stls=True)


def machine(*, logged_in: bool = False, channel: Channel = OPEN) -> Machine:
    made = Machine(channel)
    if logged_in:
        made.receive(b"USER a@b.test\r\nPASS x\r\n")
        assert made.next_event() == Named()
        assert isinstance(made.next_event(), Login)
        made.accepted()
    return made


def events(made: Machine) -> list[Event]:
    """All events that are there; a login is taken when the password is ``right``."""
    found: list[Event] = []
    while True:
        event = made.next_event()
        if isinstance(event, Signal):
            return found
        found.append(event)
        if isinstance(event, Login):
            if event.password == "right":
                made.accepted()
            else:
                made.rejected()


def only(made: Machine, octets: bytes) -> Event:
    made.receive(octets)
    found = events(made)
    assert len(found) == 1, found
    return found[0]


def refused(event: Event) -> str:
    assert isinstance(event, Refused), event
    assert event.reply.startswith(b"-ERR ")
    assert event.reply.endswith(b"\r\n")
    assert event.reply.count(b"\n") == 1
    return event.reply.decode()


def encoded(text: bytes) -> bytes:
    return b64encode(text)


# --- the table
# -------------------------------------------------------------------------------------------------------


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(
    "line",
    [b"STAT", b"LIST", b"UIDL", b"RETR 1", b"TOP 1 0", b"DELE 1", b"NOOP", b"RSET", b"LIST 1"],
)
def test_maildrop_commands_are_refused_before_login(line: bytes) -> None:
    made = machine()
    assert "log in first" in refused(only(made, line + b"\r\n"))
    assert made.state is State.AUTHORIZATION


@pytest.mark.parametrize("line", [b"USER a", b"PASS b", b"AUTH PLAIN", b"AUTH", b"STLS", b"UTF8"])
def test_login_commands_are_refused_after_login(line: bytes) -> None:
    made = machine(logged_in=True)
    assert "after login" in refused(only(made, line + b"\r\n"))
    assert made.state is State.TRANSACTION


def test_an_outcome_nobody_waits_for_is_misuse() -> None:
    with pytest.raises(Misuse):
        machine().accepted()


# --- lines
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"STAT", Stat()),
        (b"stat", Stat()),
        (b"NOOP ", Noop()),
        (b"LIST", List(None)),
        (b"LIST 3", List(3)),
        (b"LIST 003", List(3)),
        (b"UIDL 12", Uidl(12)),
        (b"RETR 1", Retr(1)),
        (b"RETR 0", Retr(0)),
        (b"ReTr 999999999999999999", Retr(999999999999999999)),
        (b"RETR 000000000000000000000000007", Retr(7)),
        (b"DELE 2 ", Dele(2)),
        (b"TOP 4 20", Top(4, 20)),
        (b"TOP  4  0", Top(4, 0)),
        (b"CAPA", Capa()),
    ],
)
def test_commands(line: bytes, event: Event) -> None:
    assert only(machine(logged_in=True), line + b"\r\n") == event


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\0", b"XYZZY", b"STAT 1", b"RETR", b"RETR -1", b"RETR +1", b"RETR 1 2", b"RETR 0x1", b"RETR 1_0",
        b"RETR \xb2", b"RETR 9999999999999999999", b"DELE one", b"LIST -1", b"LIST 1 2", b"UIDL x", b"TOP", b"TOP 1",
        b"TOP 1 -1", b"TOP 1 2 3", b"TOP 1 \xd9\xa3", b"NOOP now", b"\xff\xfe", b"RETR" + b" " * 40,
    ],
)  # fmt: skip
def test_bad_lines_are_refused_and_the_session_goes_on(line: bytes) -> None:
    made = machine(logged_in=True)
    refused(only(made, line + b"\r\n"))
    assert only(made, b"STAT\r\n") == Stat()


def test_a_line_of_255_octets_is_taken_and_one_of_256_is_not() -> None:
    fits = b"LIST " + b"1" * (LINE_LIMIT - 7) + b"\r\n"
    assert len(fits) == LINE_LIMIT
    assert "too long" not in refused(only(machine(logged_in=True), fits))
    assert "too long" in refused(only(machine(logged_in=True), b"LIST 1" + fits[5:]))


def test_every_password_that_the_api_takes_can_log_in() -> None:
    made = machine()
    assert only(made, b"USER alice@example.test\r\n") == Named()
    password = "\U0001f511" * 256
    assert only(made, b"PASS " + password.encode() + b"\r\n") == Login(
        "alice@example.test", password
    )
    fits = b"USER " + b"a" * (CREDENTIAL_LIMIT - 7) + b"\r\n"
    assert only(machine(), fits) == Named()
    assert "too long" in refused(only(machine(), b"USER a" + fits[5:]))


def test_an_endless_line_is_refused_once_and_swallowed() -> None:
    made = machine()
    found: list[Event] = []
    for _ in range(100):
        made.receive(b"x" * 1000)
        found += events(made)
        assert made.buffered <= 1000
    assert len(found) == 1
    made.receive(b"\r\nCAPA\r\n")
    assert events(made) == [Capa()]


def test_swaks_a_lone_line_feed_ends_a_line_too() -> None:
    made = machine(logged_in=True)
    made.receive(b"STAT\nNOOP\n")
    assert events(made) == [Stat(), Noop()]


# --- USER and PASS
# ---------------------------------------------------------------------------------------------------


def test_user_then_pass_gives_a_login_and_pauses() -> None:
    made = machine()
    made.receive(b"USER alice@example.test\r\nPASS a  secret \r\nSTAT\r\n")
    assert made.next_event() == Named()
    assert made.next_event() == Login("alice@example.test", "a  secret ")
    assert made.next_event() is PAUSED
    made.accepted()
    assert made.next_event() == Stat()
    assert made.next_event() is NEED_DATA


def test_pass_without_user_is_refused_also_after_a_failed_login() -> None:
    made = machine()
    assert "USER" in refused(only(made, b"PASS x\r\n"))
    made.receive(b"USER a\r\nPASS wrong\r\n")
    assert len(events(made)) == 2
    assert "USER" in refused(only(made, b"PASS right\r\n"))


def test_capa_between_user_and_pass_does_not_disturb() -> None:
    made = machine()
    made.receive(b"USER a\r\nCAPA\r\nPASS right\r\n")
    assert events(made) == [Named(), Capa(), Login("a", "right")]


def test_poplib_utf8_names_and_passwords_are_read_as_utf8() -> None:
    made = machine()
    made.receive("UTF8\r\nUSER grüße@exämple.test\r\nPASS pässword\r\n".encode())
    assert events(made) == [Utf8(), Named(), Login("grüße@exämple.test", "pässword")]
    assert made.utf8


def test_octets_that_are_no_utf8_make_a_name_nobody_has() -> None:
    made = machine()
    made.receive(b"USER \xff\xfe\r\nPASS \xff\r\n")
    login = events(made)[1]
    assert isinstance(login, Login)
    with pytest.raises(UnicodeEncodeError):
        login.name.encode()


def test_passwords_do_not_show_in_events() -> None:
    made = machine()
    made.receive(b"USER a\r\nPASS s3cret\r\n")
    assert "s3cret" not in repr(events(made))


# --- AUTH
# ------------------------------------------------------------------------------------------------------------

PLAIN = encoded(b"\0alice\0right")


def test_auth_plain_with_initial_response() -> None:
    assert only(machine(), b"auth plain " + PLAIN + b"\r\n") == Login("alice", "right")


def test_stalwart_continuation_is_plus_space() -> None:
    made = machine()
    assert only(made, b"AUTH PLAIN\r\n") == Challenge(b"+ \r\n")
    assert only(made, PLAIN + b"\r\n") == Login("alice", "right")


def test_auth_plain_carries_the_authorization_identity() -> None:
    assert only(machine(), b"AUTH PLAIN " + encoded(b"bob\0alice\0x") + b"\r\n") == Login(
        "alice", "x", "bob"
    )


def test_auth_login_asks_for_both() -> None:
    made = machine()
    assert only(made, b"AUTH LOGIN\r\n") == Challenge(b"+ " + encoded(b"Username:") + b"\r\n")
    assert only(made, encoded(b"alice") + b"\r\n") == Challenge(
        b"+ " + encoded(b"Password:") + b"\r\n"
    )
    assert only(made, encoded(b"right") + b"\r\n") == Login("alice", "right")


def test_auth_login_with_initial_response_asks_for_the_password_only() -> None:
    made = machine()
    assert only(made, b"AUTH LOGIN " + encoded(b"alice") + b"\r\n") == Challenge(
        b"+ " + encoded(b"Password:") + b"\r\n"
    )
    assert only(made, encoded(b"right") + b"\r\n") == Login("alice", "right")


@pytest.mark.parametrize(
    "line", [b"*", b"%%%", b"QUIT", encoded(b"no nuls"), encoded(b"\0\0x"), encoded(b"a\0b\0c\0d")]
)
def test_a_cancelled_or_broken_exchange_leads_back_to_the_start(line: bytes) -> None:
    made = machine()
    only(made, b"AUTH PLAIN\r\n")
    refused(only(made, line + b"\r\n"))
    assert made.state is State.AUTHORIZATION
    assert only(made, b"AUTH PLAIN " + PLAIN + b"\r\n") == Login("alice", "right")


def test_the_second_auth_login_does_not_remember_the_first_name() -> None:
    made = machine()
    made.receive(b"AUTH LOGIN\r\n" + encoded(b"alice") + b"\r\n*\r\nAUTH LOGIN\r\n")
    assert events(made)[-1] == Challenge(b"+ " + encoded(b"Username:") + b"\r\n")


def test_auth_with_equals_sign_is_an_empty_initial_response() -> None:
    assert "PLAIN" in refused(only(machine(), b"AUTH PLAIN =\r\n"))


def test_auth_alone_lists_the_mechanisms() -> None:
    assert only(machine(), b"AUTH\r\n") == Mechanisms(
        b"+OK mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n"
    )
    assert only(machine(channel=BARE), b"AUTH\r\n") == Mechanisms(b"+OK mechanisms follow\r\n.\r\n")


def test_thunderbird_tries_xoauth2_unasked_and_is_refused() -> None:
    made = machine()
    assert "not offered" in refused(only(made, b"AUTH XOAUTH2 " + PLAIN + b"\r\n"))
    assert made.state is State.AUTHORIZATION


def test_an_auth_line_may_be_longer_than_a_command() -> None:
    password = b"p" * 4000
    made = machine()
    assert only(made, b"AUTH PLAIN " + encoded(b"\0a\0" + password) + b"\r\n") == Login(
        "a", password.decode()
    )
    only(made, b"AUTH PLAIN\r\n")
    assert only(made, encoded(b"\0a\0" + password) + b"\r\n") == Login("a", password.decode())
    only(made, b"AUTH PLAIN\r\n")
    assert "too long" in refused(only(made, b"A" * SASL_LIMIT + b"\r\n"))
    assert made.state is State.AUTHORIZATION


# --- channel
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"USER a", b"PASS b", b"AUTH PLAIN " + PLAIN, b"AUTH LOGIN", b"AUTH PLAIN"]
)
def test_no_password_is_taken_in_the_clear(line: bytes) -> None:
    assert "[AUTH]" in (text := refused(only(machine(channel=BARE), line + b"\r\n")))
    assert "STLS" in text
    assert "STLS" not in refused(
        only(machine(channel=Channel(passwords=False, stls=False)), line + b"\r\n")
    )


def test_stls_throws_away_what_came_with_it() -> None:
    made = machine(channel=BARE)
    made.receive(b"STLS\r\nUSER mallory\r\nPASS right\r\nCAP")
    assert made.next_event() == Stls()
    assert made.next_event() is PAUSED
    assert made.buffered == 0
    made.receive(b"CAPA\r\n")  # this has come through TLS already
    assert made.next_event() is PAUSED
    made.secured(OPEN)
    assert events(made) == [Capa()]
    assert "not offered" in refused(only(made, b"STLS\r\n"))


def test_stls_forgets_utf8_and_the_name() -> None:
    made = Machine(Channel(passwords=True, stls=True))
    made.receive(b"UTF8\r\nUSER a\r\nSTLS\r\n")
    assert events(made) == [Utf8(), Named(), Stls()]
    made.secured(OPEN)
    assert not made.utf8
    assert "USER" in refused(only(made, b"PASS x\r\n"))


def capabilities(made: Machine) -> set[str]:
    lines = made.capabilities().decode().split("\r\n")
    assert lines[0].startswith("+OK")
    assert lines[-2:] == [".", ""]
    return set(lines[1:-2])


COMMON = {
    "TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "UTF8 USER", "LANG",
    "IMPLEMENTATION Posthorn",
}  # fmt: skip


def test_thunderbird_capa_before_tls_offers_stls_and_no_password() -> None:
    assert capabilities(machine(channel=BARE)) == COMMON | {"STLS"}


def test_capa_where_passwords_are_safe() -> None:
    assert capabilities(machine()) == COMMON | {"USER", "SASL PLAIN LOGIN"}
    assert capabilities(Machine(Channel(passwords=True, stls=True))) == COMMON | {
        "USER",
        "SASL PLAIN LOGIN",
        "STLS",
    }


def test_capa_after_login_offers_no_login() -> None:
    assert capabilities(machine(logged_in=True)) == COMMON | {"EXPIRE NEVER"}


def test_capa_says_how_long_mail_is_kept() -> None:
    made = Machine(OPEN)
    assert "EXPIRE" not in made.capabilities().decode(), "it differs by account"
    made.receive(b"USER a@b.test\r\nPASS x\r\n")
    assert made.next_event() == Named()
    assert isinstance(made.next_event(), Login)
    made.accepted(keep_days=30)
    assert "EXPIRE 30" in capabilities(made)


# --- LANG, QUIT
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logged_in", [False, True])
def test_lang(logged_in: bool) -> None:
    made = machine(logged_in=logged_in)
    listing = only(made, b"LANG\r\n")
    assert isinstance(listing, Lang)
    assert listing.reply == b"+OK languages follow\r\nen English\r\ni-default English\r\n.\r\n"
    for tag in (b"en", b"EN", b"*"):
        chosen = only(made, b"LANG " + tag + b"\r\n")
        assert isinstance(chosen, Lang)
        assert chosen.reply.startswith(b"+OK en ")
    unknown = only(made, b"LANG tlh\r\n")
    assert isinstance(unknown, Lang)
    assert unknown.reply.startswith(b"-ERR ")


def test_quit_before_login_closes_and_after_login_updates() -> None:
    made = machine()
    made.receive(b"QUIT\r\nCAPA\r\n")
    assert events(made) == [Quit()]
    assert made.state is State.CLOSED
    made = machine(logged_in=True)
    made.receive(b"DELE 1\r\nQUIT\r\nRETR 1\r\n")
    assert events(made) == [Dele(1), Quit()]
    assert made.state is State.UPDATE


# --- however the octets are cut
# --------------------------------------------------------------------------------------

_line = st.one_of(
    st.sampled_from(
        [
            b"USER alice", b"PASS right", b"PASS wrong", b"AUTH PLAIN", b"AUTH PLAIN " + PLAIN, PLAIN, b"*", b"AUTH",
            b"AUTH LOGIN", b"AUTH LOGIN " + PLAIN, b"CAPA", b"STAT", b"LIST", b"LIST 1", b"UIDL", b"RETR 2",
            b"TOP 1 5", b"DELE 1", b"RSET", b"NOOP", b"LANG", b"UTF8", b"STLS", b"x" * 254, b"x" * 253, b"x" * 300,
            b"AUTH PLAIN " + b"A" * 300, b"\r", b"",
        ]
    ),
    st.binary(max_size=300),
)  # fmt: skip
_octets = st.one_of(
    st.lists(st.tuples(_line, st.sampled_from([b"\r\n", b"\n"])), max_size=12).map(
        lambda lines: b"".join(line + end for line, end in lines)
    ),
    st.binary(max_size=2000),
)


@given(_octets, st.data())
def test_the_same_events_whole_byte_by_byte_and_cut_anywhere(
    octets: bytes, data: st.DataObject
) -> None:
    whole = machine()
    whole.receive(octets)
    expected = events(whole)

    single = machine()
    found: list[Event] = []
    for at in range(len(octets)):
        single.receive(octets[at : at + 1])
        found += events(single)
    assert found == expected

    cut = machine()
    found = []
    at = 0
    while at < len(octets):
        step = data.draw(st.integers(1, max(1, len(octets) - at)))
        cut.receive(octets[at : at + step])
        found += events(cut)
        at += step
    assert found == expected
    assert single.state is cut.state is whole.state


@given(st.binary(max_size=500), st.booleans())
def test_whatever_comes_in_a_refusal_is_one_line_and_nothing_raises(
    octets: bytes, logged_in: bool
) -> None:
    made = machine(logged_in=logged_in)
    made.receive(octets + b"\r\n")
    for event in events(made):
        if isinstance(event, Refused):
            refused(event)


# --- tokens (RFC 7628)


TOKENS = Channel(passwords=True, stls=False, tokens=True)
BEARER = encoded(b"n,,\1auth=Bearer abc\1\1")


def test_a_token_and_what_follows_a_refused_one() -> None:
    made = machine(channel=TOKENS)
    assert b"\r\nSASL PLAIN LOGIN OAUTHBEARER XOAUTH2\r\n" in made.capabilities()
    made.receive(b"AUTH OAUTHBEARER %b\r\nAQ==\r\nNOOP\r\n" % BEARER)
    assert made.next_event() == TokenLogin(Bearer("OAUTHBEARER", "abc"))
    assert made.next_event() is PAUSED
    assert made.explain(b"{}") == b"+ e30=\r\n"
    assert made.next_event() == Declined()
    assert refused(events(made)[0]) == "-ERR log in first\r\n"
    made.receive(b"AUTH OAUTHBEARER\r\n%b\r\n*\r\nQUIT\r\n" % BEARER)
    assert made.next_event() == Challenge(b"+ \r\n")
    assert isinstance(made.next_event(), TokenLogin)
    made.explain(b"{}")
    assert "cancelled" in refused(events(made)[0])
    assert made.state is State.CLOSED
    with pytest.raises(Misuse):
        made.explain(b"{}")


def test_tokens_are_not_taken_without_an_issuer_or_in_clear() -> None:
    line = b"AUTH OAUTHBEARER %b\r\n" % BEARER
    assert "not offered" in refused(only(machine(), line))
    bare = Channel(passwords=False, stls=True, tokens=True)
    assert "use STLS first" in refused(only(machine(channel=bare), line))
    assert b"OAUTHBEARER" not in machine(channel=bare).capabilities()
    assert "one bearer token" in refused(
        only(machine(channel=TOKENS), b"AUTH XOAUTH2 %b\r\n" % encoded(b"user=a\1x\1\1"))
    )
