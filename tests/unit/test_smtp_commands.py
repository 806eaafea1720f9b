"""The grammar of commands: what is read, what is refused, and that nothing else can happen."""

from __future__ import annotations

import base64
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.wire.address import parse_address
from posthorn.wire.foreign_address import ForeignAddress, parse_sender
from posthorn.wire.message.trace import clean_name
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import (
    Auth,
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
    Vrfy,
    parse_command,
    parse_response,
)
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import SaslError, Secret, read_plain

A = parse_address("a@example.org")
FROM_A = partial(Mail, A, written="a@example.org")
TO_A = partial(Rcpt, A, written="a@example.org")


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
        (b"MAIL FROM:<a@example.org>", FROM_A()),
        (b"mail from:<A@EXAMPLE.ORG>", Mail(A, written="A@example.org")),
        (b"MAIL FROM: <a@example.org>  SIZE=10 ", FROM_A(size=10)),
        (b"MAIL FROM:<>", Mail(None)),
        (b"MAIL FROM:<> BODY=8BITMIME SIZE=0", Mail(None, 0, eight_bit=True)),
        (b"MAIL FROM:<> body=7bit", Mail(None)),
        (b"MAIL FROM:<a@example.org> smtputf8", FROM_A(smtputf8=True)),
        (
            b"MAIL FROM:<a@example.org> ret=hdrs ENVID=QQ+2B31+3D AUTH=<>",
            FROM_A(ret="HDRS", envid="QQ+31=", has_auth=True),
        ),
        (b"MAIL FROM:<> RET=FULL", Mail(None, ret="FULL")),
        (b"MAIL FROM:<@one.example,@two.example:a@example.org>", FROM_A()),
        (
            "MAIL FROM:<É@example.org> SMTPUTF8".encode(),
            Mail(parse_address("é@example.org"), smtputf8=True, written="É@example.org"),
        ),
        (
            b'MAIL FROM:<"a b>\\"@c"@example.org>',
            Mail(parse_address('"a b>\\"@c"@example.org'), written='"a b>\\"@c"@example.org'),
        ),
        (b"RCPT TO:<a@example.org>", TO_A()),
        (b"rcpt to:<@relay.example:A@Example.ORG>", Rcpt(A, written="A@example.org")),
        (
            b"RCPT TO:<a@example.org> NOTIFY=never",
            Rcpt(A, notify=("NEVER",), written="a@example.org"),
        ),
        (
            b"RCPT TO:<a@example.org> ORCPT=rfc822;Bob+2Bx@old.example NOTIFY=DELAY,success",
            Rcpt(A, True, ("SUCCESS", "DELAY"), "rfc822;Bob+x@old.example", "a@example.org"),
        ),
        (
            "RCPT TO:<a@example.org> ORCPT=utf-8;\\x{E9}ü@old.example".encode(),
            TO_A(orcpt="utf-8;éü@old.example"),
        ),
        (b"RCPT TO:<Postmaster> NOTIFY=FAILURE", Rcpt(None, notify=("FAILURE",))),
        (b"AUTH PLAIN", Auth("PLAIN")),
        (b"auth plain AGEAYg==", Auth("PLAIN", b"\0a\0b")),
        (b"AUTH LOGIN =", Auth("LOGIN", b"")),
        (b"AUTH X-OTHER YQ==", Auth("X-OTHER", b"a")),
        (b"AUTH PLAIN " + b"QUFB" * 3000, Auth("PLAIN", b"AAA" * 3000)),
        (b"RCPT TO:<Postmaster>", Rcpt(None)),
        (b"RCPT TO: Postmaster", Rcpt(None)),
        (b"MAIL FROM:<root>", Mail(ForeignAddress("root", ""), written="root")),
        (
            b"RCPT TO:<postmaster@example.org>",
            Rcpt(parse_address("postmaster@example.org"), written="postmaster@example.org"),
        ),
        (
            "RCPT TO:<é@example.org>".encode(),
            Rcpt(parse_address("é@example.org"), False, written="é@example.org"),
        ),
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
        (b"BDAT\t6 LAST", BadBdat()),
        (b"BDAT6", BadBdat()),
        (b"BDAT 6\r", BadBdat()),
        (b"bdat 6 " + b" " * 600 + b"LAST", BadBdat()),
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


REFUSED: dict[Reply, tuple[bytes, ...]] = {
    smtp.UNKNOWN_COMMAND: (
        b"",
        b" NOOP",
        b"NOOPX",
        b"\xff\xfe",
    ),
    smtp.BAD_AUTH: (
        b"AUTH",
        b"AUTH PL@IN",
    ),
    smtp.BAD_NAME: (b"EHLO",),
    smtp.BAD_MAIL: (
        b"MAIL",
        b"MAIL FROM",
        b"MAIL TO:<a@example.org>",
        b"MAIL FROM:<a@example.org",
        b"MAIL FROM:a@example.org>",
        b"MAIL FROM: a@example.org> SIZE=1",
        b"MAIL FROM: a@example.org b@example.org",
        b"MAIL FROM: SIZE=10",
        b"MAIL FROM:",
        b"MAIL FROM :<a@example.org>",
        b"MAIL FROM:<a@exam<ple.org>",
        b'MAIL FROM:<a"@example.org>',
        b"MAIL FROM:<a@example.org>SIZE=1",
        b"MAIL FROM:<a@example.org> SIZE=",
        b"MAIL FROM:<a@example.org> SIZE=1 SIZE=2",
        b"MAIL FROM:<a@example.org> =x",
    ),
    smtp.BAD_RCPT: (
        b"RCPT TO:<a@example.org",
        b"RCPT TO:a@example.org>",
        b"RCPT TO:",
        b"RCPT TO:<>",
        b"RCPT TO:<@one.example:>",
    ),
    smtp.BAD_VALUE: (
        b"MAIL FROM:<a@example.org> SIZE",
        b"MAIL FROM:<a@example.org> SIZE=1k",
        b"MAIL FROM:<a@example.org> SIZE=" + b"9" * 21,
        b"MAIL FROM:<a@example.org> SMTPUTF8=1",
        b"MAIL FROM:<a@example.org> BODY",
        b"MAIL FROM:<a@example.org> AUTH",
        b"MAIL FROM:<a@example.org> RET=BODY",
        b"MAIL FROM:<a@example.org> RET",
        b"MAIL FROM:<a@example.org> ENVID=a+b",
        b"MAIL FROM:<a@example.org> ENVID=a+0Ab",
        b"MAIL FROM:<a@example.org> ENVID=" + b"x" * 101,
        b"RCPT TO:<a@example.org> NOTIFY",
        b"RCPT TO:<a@example.org> NOTIFY=NEVER,DELAY",
        b"RCPT TO:<a@example.org> NOTIFY=ALWAYS",
        b"RCPT TO:<a@example.org> ORCPT=a@example.org",
        b"RCPT TO:<a@example.org> ORCPT=rfc822;a+0D+0A@example.org",
        "RCPT TO:<a@example.org> ORCPT=rfc822;é@example.org".encode(),
        b"RCPT TO:<a@example.org> ORCPT=utf-8;\\x{A}@example.org",
        b"RCPT TO:<a@example.org> ORCPT=utf-8;\\x{FFFFFF}@example.org",
        b"RCPT TO:<a@example.org> ORCPT=rfc822;" + b"x" * 500,
    ),
    smtp.BAD_VRFY: (b"VRFY",),
    smtp.NOT_BASE64: (
        b"AUTH PLAIN a",
        b"AUTH PLAIN AGEAYg==AGEAYg==",
        b"AUTH PLAIN AGEA Yg==",
        b"AUTH PLAIN \xc3\xa9",
    ),
    smtp.LINE_TOO_LONG: (
        b"AUTH PLAIN " + b"A" * 12300,
        b"NOOP " + b"x" * 506,
        b"MAIL FROM:<a@example.org> " + b" " * 1300,
    ),
    smtp.BAD_SENDER: (
        b"MAIL FROM:<a@example..org>",
        b"MAIL FROM:<a@exam$ple.org>",
        b"MAIL FROM:<" + b"x" * 250 + b"@example.org>",
        b"MAIL FROM:<a@b@example.org>",
        b"MAIL FROM:<a @example.org>",
        b"MAIL FROM:<\xff@example.org> SMTPUTF8",
    ),
    smtp.BAD_RECIPIENT: (
        b"RCPT TO:alice",
        b"RCPT TO:<alice>",
    ),
    smtp.UNKNOWN_PARAMETER: (
        b"MAIL FROM:<a@example.org> BODY=BINARYMIME",
        b"MAIL FROM:<a@example.org> HOLDFOR=10",
        b"RCPT TO:<a@example.org> SIZE=1",
    ),
    smtp.NEEDS_SMTPUTF8: ("MAIL FROM:<é@example.org>".encode(),),
    smtp.NO_PARAMETERS: (
        b"DATA now",
        b"STARTTLS now",
    ),
    smtp.BAD_LINE: (
        b"MAIL FROM:<a\r@example.org>",
        b"MAIL FROM:<a\0@example.org>",
    ),
}


@pytest.mark.parametrize(
    ("line", "reply"), [(line, reply) for reply, lines in REFUSED.items() for line in lines]
)
def test_commands_that_are_refused(line: bytes, reply: Reply) -> None:
    assert refusal(line + b"\r\n") is reply


@pytest.mark.parametrize(
    "written",
    [
        *(
            "try..this..0511@docomo.example",
            "hp-ilo.@dc.example",
            ".lead@example.org",
            "...@example.org",
        ),
        f"bounces+{'a' * 110}@em.example",
        f"msg1={'k' * 60}=bounces-1-ABC@bounce.example",
        f"{'x' * 242}@example.org",
        *(
            "root@web_1.internal",
            "cron@my-blog_craft_1.my_internal",
            "a@_dmarc.example.org",
            "a@b-.example",
        ),
        *('"a".b@example.org', "a,b;c:d@example.org", "a\\b@example.org", "(x)@example.org"),
    ],
)
def test_addresses_of_others_are_labels_kept_as_written(written: str) -> None:
    mail = parse_command(f"MAIL FROM:<{written}> SIZE=1\r\n".encode())
    rcpt = parse_command(f"RCPT TO:<{written}>\r\n".encode())
    assert isinstance(mail, Mail)
    assert isinstance(rcpt, Rcpt)
    assert (mail.written, rcpt.written) == (written, written)
    assert str(mail.reverse_path) == written.lower()


@pytest.mark.parametrize("blank", ["", " ", "\t", "  \t"])
@pytest.mark.parametrize("address", ["a@example.org", "a..b@x_y.example", '"a b"@example.org'])
def test_paths_without_brackets_end_at_the_first_blank(blank: str, address: str) -> None:
    for form in (address, f"<{address}>", f"< {address}\t>"):
        line = f"MAIL FROM:{blank}{form}{blank or ' '}SIZE=10{blank}\r\n".encode()
        mail = parse_command(line)
        assert isinstance(mail, Mail)
        assert (mail.written, mail.size) == (address, 10)
        rcpt = parse_command(f"RCPT TO:{blank}{form}{blank}\r\n".encode())
        assert isinstance(rcpt, Rcpt)
        assert rcpt.written == address


@pytest.mark.parametrize(
    "name",
    [
        "MÜLLER-PC".encode("latin1"),
        b"\xca\xe0\xf1\xf1\xe0",
        b"Bob's iPhone",
        b"pc\tone",
        b"\x01\x02",
        b"x" * 3000,
        b"<>",
    ],
)
@pytest.mark.parametrize("verb", [b"EHLO", b"HELO", b"ehlo"])
def test_no_name_in_ehlo_is_a_reason_to_refuse(verb: bytes, name: bytes) -> None:
    command = parse_command(verb + b" " + name + b"\r\n")
    assert isinstance(command, Ehlo | Helo)
    assert 0 < len(command.name) <= 255
    shown = clean_name(command.name)
    assert shown.isascii()
    assert shown.isprintable()
    assert " " not in shown


@pytest.mark.parametrize("end", [b"\n", b"\r", b"", b"\r\r\n", b"\n\r\n"])
def test_only_crlf_ends_a_command(end: bytes) -> None:
    assert refusal(b"NOOP" + end) is smtp.BAD_LINE


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"*\r\n", smtp.LOGIN_CANCELLED),
        (b"* \r\n", smtp.LOGIN_CANCELLED),
        (b"AGEAYg\r\n", smtp.NOT_BASE64),
        (b"QUIT!\r\n", smtp.NOT_BASE64),
        (b"AGEAYg==\n", smtp.BAD_LINE),
        (b"A" * 12300 + b"\r\n", smtp.LOGIN_TOO_LONG),
    ],
)
def test_lines_of_a_login_that_are_refused(line: bytes, reply: Reply) -> None:
    with pytest.raises(CommandError) as error:
        parse_response(line)
    assert error.value.reply is reply


@pytest.mark.parametrize(
    ("line", "response"),
    [
        (b"AGEAYg==\r\n", b"\0a\0b"),
        (b"\r\n", b""),
        (b"AGEAYg== \r\n", b"\0a\0b"),
        (b"AGEAYg==\t \r\n", b"\0a\0b"),
    ],
)
def test_lines_of_a_login(line: bytes, response: bytes) -> None:
    assert parse_response(line) == response


@given(st.binary(max_size=300), st.sampled_from([b"\r\n", b""]))
def test_any_line_of_a_login_is_read_or_refused(octets: bytes, end: bytes) -> None:
    try:
        response = parse_response(octets + end)
    except CommandError as error:
        assert 500 <= error.reply.code < 600
        return
    assert base64.b64encode(response) == octets.removesuffix(b"\r\n").strip(b" \t") or not response


def test_no_secret_is_shown() -> None:
    assert "opensesame" not in repr(Auth("PLAIN", b"\0a\0opensesame"))
    assert "opensesame" not in repr(read_plain(b"\0a\0opensesame"))


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"a",
        b"a\0b",
        b"\0\0b",
        b"\0a\0",
        b"\0a\0b\0c",
        b"x" * 600 + b"\0a\0b",
        b"\0" + b"x" * 600 + b"\0b",
    ],
)
def test_what_is_no_plain_response(response: bytes) -> None:
    with pytest.raises(SaslError):
        read_plain(response)


@pytest.mark.parametrize(
    ("response", "secret"),
    [
        ("\0ü@example.test\0pässword".encode(), Secret("ü@example.test", "pässword")),
        (b"a\0b\0c", Secret("b", "c", "a")),
    ],
)
def test_a_plain_response(response: bytes, secret: Secret) -> None:
    assert read_plain(response) == secret


_VERBS = st.sampled_from(
    [
        *(
            b"EHLO ",
            b"AUTH PLAIN ",
            b"MAIL FROM:<a@b.c> ",
            b"RCPT TO:<a@b.c> ORCPT=",
            b"MAIL FROM:<",
            b"RCPT TO:<",
        ),
        *(b"MAIL FROM:", b"BDAT ", b"VRFY ", b""),
    ]
)


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
        assert parse_sender(str(command.reverse_path)) == command.reverse_path
        assert "\n" not in str(command.reverse_path)
    if isinstance(command, Ehlo | Helo):
        assert clean_name(command.name).isprintable()


@given(
    st.sampled_from(["a", "é", "o'hara", "a+tag", '"a b"', '"<>"']),
    st.sampled_from(["example.org", "dvůr.example"]),
)
def test_addresses_pass_through_in_canonical_form(local: str, domain: str) -> None:
    address = parse_address(f"{local}@{domain}")
    line = f"MAIL FROM:<{local}@{domain}> SMTPUTF8\r\n".encode()
    assert parse_command(line) == Mail(address, smtputf8=True, written=f"{local}@{address.domain}")
