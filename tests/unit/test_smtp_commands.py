"""The grammar of commands: what is read, what is refused, and that nothing else can happen."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.wire import smtp
from posthorn.wire.address import parse_address
from posthorn.wire.smtp import Reply
from posthorn.wire.smtp_commands import (
    BadBdat,
    Bdat,
    Command,
    CommandError,
    Data,
    Ehlo,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    State,
    Vrfy,
    out_of_sequence,
    parse_command,
)

A = parse_address("a@example.org")


def refusal(line: bytes) -> Reply:
    with pytest.raises(CommandError) as error:
        parse_command(line)
    return error.value.reply


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"EHLO mx.example.org", Ehlo("mx.example.org")),
        (b"ehlo [192.0.2.1]", Ehlo("[192.0.2.1]")),
        (b"HELO  under_score ", Helo("under_score")),
        (b"MAIL FROM:<a@example.org>", Mail(A)),
        (b"mail from:<A@EXAMPLE.ORG>", Mail(A)),
        (b"MAIL FROM: <a@example.org>  SIZE=10 ", Mail(A, 10)),
        (b"MAIL FROM:<>", Mail(None)),
        (b"MAIL FROM:<> BODY=8BITMIME SIZE=0", Mail(None, 0, eight_bit=True)),
        (b"MAIL FROM:<> body=7bit", Mail(None)),
        (b"MAIL FROM:<a@example.org> smtputf8", Mail(A, smtputf8=True)),
        (b"MAIL FROM:<@one.example,@two.example:a@example.org>", Mail(A)),
        ("MAIL FROM:<é@example.org> SMTPUTF8".encode(), Mail(parse_address("é@example.org"), smtputf8=True)),
        (b'MAIL FROM:<"a b>\\"@c"@example.org>', Mail(parse_address('"a b>\\"@c"@example.org'))),
        (b"RCPT TO:<a@example.org>", Rcpt(A)),
        (b"rcpt to:<@relay.example:a@example.org>", Rcpt(A)),
        (b"RCPT TO:<Postmaster>", Rcpt(None)),
        (b"RCPT TO:<postmaster@example.org>", Rcpt(parse_address("postmaster@example.org"))),
        ("RCPT TO:<é@example.org>".encode(), Rcpt(parse_address("é@example.org"), is_ascii=False)),
        (b"DATA", Data()),
        (b"data  ", Data()),
        (b"BDAT 0 LAST", Bdat(0, last=True)),
        (b"bdat 86 last", Bdat(86, last=True)),
        (b"BDAT 1000000", Bdat(1_000_000)),
        (b"BDAT", BadBdat()),
        (b"BDAT -1", BadBdat()),
        (b"BDAT 5 FIRST", BadBdat()),
        (b"BDAT 5 LAST LAST", BadBdat()),
        ("BDAT ٣ LAST".encode(), BadBdat()),
        (b"STARTTLS", StartTls()),
        (b"RSET", Rset()),
        (b"NOOP anything at all", Noop()),
        (b"VRFY <alice>", Vrfy()),
        (b"HELP", Help()),
        (b"HELP MAIL", Help()),
        (b"QUIT", Quit()),
    ],
)
def test_commands_that_are_read(line: bytes, command: Command) -> None:
    assert parse_command(line + b"\r\n") == command


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"", smtp.UNKNOWN_COMMAND),
        (b" NOOP", smtp.UNKNOWN_COMMAND),
        (b"NOOPX", smtp.UNKNOWN_COMMAND),
        (b"\xff\xfe", smtp.UNKNOWN_COMMAND),
        (b"AUTH PLAIN", smtp.UNKNOWN_COMMAND),
        (b"EHLO", smtp.SYNTAX),
        (b"HELO two words", smtp.SYNTAX),
        (b"EHLO \xff", smtp.SYNTAX),
        (b"MAIL", smtp.SYNTAX),
        (b"MAIL FROM", smtp.SYNTAX),
        (b"MAIL TO:<a@example.org>", smtp.SYNTAX),
        (b"MAIL FROM:a@example.org", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org>SIZE=1", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> SIZE", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> SIZE=", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> SIZE=1k", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> SIZE=" + b"9" * 21, smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> SIZE=1 SIZE=2", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> SMTPUTF8=1", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> BODY", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> =x", smtp.SYNTAX),
        (b"MAIL FROM:<a@example.org> BODY=BINARYMIME", smtp.UNKNOWN_PARAMETER),
        (b"MAIL FROM:<a@example.org> AUTH=<>", smtp.UNKNOWN_PARAMETER),
        (b"MAIL FROM:<root>", smtp.BAD_SENDER),
        (b"MAIL FROM:<a..b@example.org>", smtp.BAD_SENDER),
        (b"MAIL FROM:<a@b@example.org>", smtp.BAD_SENDER),
        (b"MAIL FROM:<a @example.org>", smtp.BAD_SENDER),
        (b"MAIL FROM:<\xff@example.org> SMTPUTF8", smtp.BAD_SENDER),
        ("MAIL FROM:<é@example.org>".encode(), smtp.NEEDS_SMTPUTF8),
        (b"RCPT TO:<>", smtp.SYNTAX),
        (b"RCPT TO:<a@example.org> NOTIFY=NEVER", smtp.UNKNOWN_PARAMETER),
        (b"RCPT TO:<@one.example:>", smtp.SYNTAX),
        (b"RCPT TO:<alice>", smtp.BAD_RECIPIENT),
        (b"RCPT TO:<" + b"x" * 65 + b"@example.org>", smtp.BAD_RECIPIENT),
        (b"DATA now", smtp.NO_PARAMETERS),
        (b"STARTTLS now", smtp.NO_PARAMETERS),
        (b"VRFY", smtp.SYNTAX),
        (b"MAIL FROM:<a\r@example.org>", smtp.BAD_LINE),
        (b"MAIL FROM:<a\0@example.org>", smtp.BAD_LINE),
        (b"NOOP " + b"x" * 506, smtp.LINE_TOO_LONG),
        (b"MAIL FROM:<a@example.org> " + b" " * 600, smtp.LINE_TOO_LONG),
    ],
)
def test_commands_that_are_refused(line: bytes, reply: Reply) -> None:
    assert refusal(line + b"\r\n") is reply


@pytest.mark.parametrize("end", [b"\n", b"\r", b"", b"\r\r\n", b"\n\r\n"])
def test_only_crlf_ends_a_command(end: bytes) -> None:
    assert refusal(b"NOOP" + end) is smtp.BAD_LINE


_VERBS = st.sampled_from([b"EHLO ", b"MAIL FROM:<", b"RCPT TO:<", b"MAIL FROM:", b"BDAT ", b"VRFY ", b""])


@given(_VERBS, st.binary(max_size=700))
@example(b"MAIL FROM:<", b'"' + b'\\"' * 200)
@example(b"RCPT TO:<", b"@a," * 170)
def test_any_octets_are_a_command_or_an_error_with_a_reply(verb: bytes, octets: bytes) -> None:
    try:
        command = parse_command(verb + octets + b"\r\n")
    except CommandError as error:
        assert 500 <= error.reply.code < 600
        assert error.reply.status.startswith("5.")
        return
    if isinstance(command, Mail) and command.reverse_path:
        assert parse_address(str(command.reverse_path)) == command.reverse_path
        assert "\n" not in str(command.reverse_path)
    if isinstance(command, Ehlo | Helo):
        assert command.name.isprintable()


@given(
    st.sampled_from(["a", "é", "o'hara", "a+tag", '"a b"', '"<>"']), st.sampled_from(["example.org", "dvůr.example"])
)
def test_addresses_pass_through_in_canonical_form(local: str, domain: str) -> None:
    address = parse_address(f"{local}@{domain}")
    line = f"MAIL FROM:<{local}@{domain}> SMTPUTF8\r\n".encode()
    assert parse_command(line) == Mail(address, smtputf8=True)


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (Mail(None), {State.READY}),
        (Rcpt(None), {State.MAIL, State.RCPT}),
        (Data(), {State.RCPT}),
        (Bdat(1), {State.RCPT, State.CHUNKS}),
        (StartTls(), {State.FRESH, State.READY}),
        (Ehlo("x"), set(State)),
        (Rset(), set(State)),
        (Noop(), set(State)),
        (Quit(), set(State)),
    ],
)
def test_what_may_come_when(command: Command, allowed: set[State]) -> None:
    for state in State:
        reply = out_of_sequence(command, state)
        assert (reply is None) == (state in allowed), state
        assert reply is None or (reply.code, reply.status) == (503, "5.5.1")
