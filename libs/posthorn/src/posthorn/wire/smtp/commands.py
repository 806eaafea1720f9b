"""SMTP commands: one line in, one frozen command or the reply that refuses it (RFC 5321 §4.1.1, RFC
3461, 4954 and others).

Rules:

- Grammar only: what may come when is in ``wire.smtp.server``.
- A command ends with CRLF. A line that ends with a bare LF, or holds a control character, is
  refused and never taken apart further: what stands in it may be a smuggler's idea of a command.
- Addresses come out in canonical form, and beside it as they were written: the case of a local part
  may matter to its host (RFC 5321 §2.4). ``wire.foreign_address`` says what is taken of addresses
  that others made, ``wire.smtp.path`` how they stand.
- BDAT is a command whatever stands behind it: one that does not read is a BadBdat, since bytes may
  follow that nobody counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from posthorn.wire.address import Address, AddressError
from posthorn.wire.foreign_address import parse_foreign, parse_sender, written_form
from posthorn.wire.smtp import dsn_parameters as dsn
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.path import PathError, read_path
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import SaslError, decode_response

COMMAND_LIMIT = 512
"""Bytes of a command line with its CRLF (RFC 5321 §4.5.3.1.4)."""
MAIL_LIMIT = COMMAND_LIMIT + 26 + 17 + 10 + dsn.MAIL_ADDS + 500
"""The same for MAIL: SIZE (RFC 1870 §3), BODY (RFC 6152 §2), SMTPUTF8 (RFC 6531 §3.1), RET and
ENVID (RFC 3461) and AUTH (RFC 4954 §3) each add to it."""
RCPT_LIMIT = COMMAND_LIMIT + dsn.RCPT_ADDS
"""The same for RCPT: NOTIFY and ORCPT (RFC 3461) add to it."""
AUTH_LIMIT = 12288
"""The same for AUTH and for each further line of a login (RFC 4954 §4)."""
LONGEST_LINE = AUTH_LIMIT
"""No command line is longer; an edge need not keep more of one."""
NAME_LIMIT = 255
"""Characters kept of the name in EHLO or HELO."""

_LIMITS = {
    b"MAIL ": MAIL_LIMIT,
    b"RCPT ": RCPT_LIMIT,
    b"AUTH ": AUTH_LIMIT,
    b"EHLO ": LONGEST_LINE,
    b"HELO ": LONGEST_LINE,
}
_SIZE_DIGITS = 20


class CommandError(ValueError):
    """The line is no command that can be obeyed; ``reply`` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Ehlo:
    """EHLO."""

    name: str
    """As given, cut after NAME_LIMIT; it may hold anything but CR and LF."""


@dataclass(frozen=True, slots=True)
class Helo:
    """HELO."""

    name: str


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL."""

    reverse_path: Address | None
    """None for the null reverse-path ``<>``."""
    size: int | None = None
    """What the client says of the message's bytes (RFC 1870)."""
    eight_bit: bool = False
    smtputf8: bool = False
    ret: str = ""
    """``FULL``, ``HDRS`` or empty (RFC 3461 §4.3)."""
    envid: str = ""
    """xtext decoded (RFC 3461 §4.4)."""
    has_auth: bool = False
    """It carried ``AUTH=`` (RFC 4954 §5), which says nothing to us; without a login on offer it
    is an error."""
    written: str = ""
    """The reverse-path with its local part as written and its domain canonical; empty for the
    null reverse-path."""


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT."""

    forward_path: Address | None
    """None for ``<Postmaster>`` without a domain (RFC 5321 §4.5.1)."""
    is_ascii: bool = True
    """Whether it was written in ASCII, so that it may stand without SMTPUTF8."""
    notify: tuple[str, ...] = ()
    """``NEVER`` alone, or some of ``SUCCESS``, ``FAILURE`` and ``DELAY`` (RFC 3461 §4.1); empty
    when not said."""
    orcpt: str = ""
    """``addr-type;address``, xtext decoded (RFC 3461 §4.2); empty when not said."""
    written: str = ""
    """The forward-path with its local part as written and its domain canonical."""


@dataclass(frozen=True, slots=True)
class Data:
    """DATA."""


@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT; ``size`` bytes follow the line whatever the answer will be (RFC 3030 §2)."""

    size: int
    last: bool = False


@dataclass(frozen=True, slots=True)
class BadBdat:
    """BDAT that does not say how much follows: the bytes behind it cannot be told from
    commands."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS."""


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH."""

    mechanism: str
    """In upper case."""
    initial: bytes | None = field(default=None, repr=False)
    """The initial response, decoded; None when there was none."""


@dataclass(frozen=True, slots=True)
class Rset:
    """RSET."""


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP."""


@dataclass(frozen=True, slots=True)
class Vrfy:
    """VRFY."""


@dataclass(frozen=True, slots=True)
class Expn:
    """EXPN."""


@dataclass(frozen=True, slots=True)
class Help:
    """HELP."""


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT."""


type Command = (
    Ehlo | Helo | Mail | Rcpt | Data | Bdat | BadBdat | StartTls | Auth | Rset | Noop | Vrfy | Expn | Help | Quit
)  # fmt: skip


_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,20}\Z")  # RFC 4422 §3.1
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def parse_command(line: bytes) -> Command:
    """Read one command line, its CRLF included. Raises CommandError."""
    try:
        return _parse(line)
    except CommandError:
        if line[:4].upper() == b"BDAT":
            return BadBdat()
        raise


def parse_response(line: bytes) -> bytes:
    """Read a line of a login, its CRLF included, and return it decoded (RFC 4954 §4). Raises
    CommandError, also for ``*``."""
    if len(line) > AUTH_LIMIT:
        raise CommandError(smtp.LOGIN_TOO_LONG)
    if not line.endswith(b"\r\n"):
        raise CommandError(smtp.BAD_LINE)
    # a blank behind it is no part of it, as behind an initial response
    answer = line[:-2].strip(b" \t")
    if answer == b"*":
        raise CommandError(smtp.LOGIN_CANCELLED)
    return _decoded(answer)


def _decoded(data: bytes) -> bytes:
    try:
        return decode_response(data)
    except SaslError:
        raise CommandError(smtp.NOT_BASE64) from None


def _parse(line: bytes) -> Command:
    if len(line) > _LIMITS.get(line[:5].upper(), COMMAND_LIMIT):
        raise CommandError(smtp.LINE_TOO_LONG)
    unfit = b"\r" if line[:5].upper() in (b"EHLO ", b"HELO ") else None
    if not line.endswith(b"\r\n") or (
        unfit in line[:-2] if unfit else _CONTROL.search(line, 0, len(line) - 2)
    ):
        raise CommandError(smtp.BAD_LINE)
    verb, _, argument = line[:-2].partition(b" ")
    name = verb.upper()
    read = _READERS.get(name)
    if read is None:
        raise CommandError(smtp.UNKNOWN_COMMAND)
    return read(argument.decode("utf-8", "surrogateescape").strip(" \t"))


def _bare[C: (Data, StartTls, Rset, Quit)](command: C) -> Callable[[str], C]:
    def read(argument: str) -> C:
        if argument:
            raise CommandError(smtp.NO_PARAMETERS)
        return command

    return read


def _name(argument: str) -> str:
    # what a host calls itself is never a reason to refuse it (RFC 5321 §4.1.4)
    if not argument:
        raise CommandError(smtp.BAD_NAME)
    return argument[:NAME_LIMIT]


def _path(argument: str, keyword: str, syntax: Reply) -> tuple[str, dict[str, str | None]]:
    try:
        return read_path(argument, keyword)
    except PathError:
        raise CommandError(syntax) from None


def _mail(argument: str) -> Mail:
    mailbox, parameters = _path(argument, "FROM:", smtp.BAD_MAIL)
    size: int | None = None
    eight_bit = smtputf8 = has_auth = False
    ret = envid = ""
    for name, value in parameters.items():
        match name:
            case "SMTPUTF8":
                if value is not None:
                    raise CommandError(smtp.BAD_VALUE)
                smtputf8 = True
                continue
            case "SIZE" | "BODY" | "RET" | "ENVID" | "AUTH":
                if value is None:
                    raise CommandError(smtp.BAD_VALUE)
            case _:
                raise CommandError(smtp.UNKNOWN_PARAMETER)
        match name:
            case "SIZE":
                if not (value.isascii() and value.isdigit()) or len(value) > _SIZE_DIGITS:
                    raise CommandError(smtp.BAD_VALUE)
                size = int(value)
            case "BODY":
                if value.upper() not in ("7BIT", "8BITMIME"):  # BINARYMIME is not offered
                    raise CommandError(smtp.UNKNOWN_PARAMETER)
                eight_bit = value.upper() == "8BITMIME"
            case "RET":
                ret = _said(dsn.read_ret, value)
            case "ENVID":
                envid = _said(dsn.read_envid, value)
            case "AUTH":
                has_auth = True
    address: Address | None = None
    if mailbox:
        if not smtputf8 and not mailbox.isascii():
            raise CommandError(smtp.NEEDS_SMTPUTF8)
        try:
            address = parse_sender(mailbox)
        except AddressError:
            raise CommandError(smtp.BAD_SENDER) from None
    return Mail(
        address,
        size,
        eight_bit,
        smtputf8,
        ret,
        envid,
        has_auth,
        written_form(mailbox, address) if address else "",
    )


def _rcpt(argument: str) -> Rcpt:
    mailbox, parameters = _path(argument, "TO:", smtp.BAD_RCPT)
    notify: tuple[str, ...] = ()
    orcpt = ""
    for name, value in parameters.items():
        match name:
            case "NOTIFY" if value is not None:
                notify = _said(dsn.read_notify, value)
            case "ORCPT" if value is not None:
                orcpt = _said(dsn.read_orcpt, value)
            case "NOTIFY" | "ORCPT":
                raise CommandError(smtp.BAD_VALUE)
            case _:
                raise CommandError(smtp.UNKNOWN_PARAMETER)
    if mailbox.lower() == "postmaster":
        return Rcpt(None, True, notify, orcpt)
    if not mailbox:
        raise CommandError(smtp.BAD_RCPT)
    try:
        address = parse_foreign(mailbox)
    except AddressError:
        raise CommandError(smtp.BAD_RECIPIENT) from None
    return Rcpt(address, mailbox.isascii(), notify, orcpt, written_form(mailbox, address))


def _said[T](read: Callable[[str], T], value: str) -> T:
    try:
        return read(value)
    except dsn.DsnError:
        raise CommandError(smtp.BAD_VALUE) from None


def _auth(argument: str) -> Auth:
    mechanism, _, response = argument.partition(" ")
    if not _MECHANISM.match(mechanism):
        raise CommandError(smtp.BAD_AUTH)
    if not response:
        return Auth(mechanism.upper())
    # a single "=" stands for a response of no bytes, as different from none (RFC 4954 §4)
    initial = b"" if response == "=" else _decoded(response.encode("utf-8", "surrogateescape"))
    return Auth(mechanism.upper(), initial)


def _bdat(argument: str) -> Bdat | BadBdat:
    words = argument.split()
    if not 1 <= len(words) <= 2 or not (words[0].isascii() and words[0].isdigit()):
        return BadBdat()
    if len(words) == 2 and words[1].upper() != "LAST":
        return BadBdat()
    return Bdat(int(words[0]), len(words) == 2)


def _vrfy(argument: str) -> Vrfy:
    if not argument:
        raise CommandError(smtp.BAD_VRFY)
    return Vrfy()


_READERS: dict[bytes, Callable[[str], Command]] = {
    b"EHLO": lambda argument: Ehlo(_name(argument)),
    b"HELO": lambda argument: Helo(_name(argument)),
    b"MAIL": _mail,
    b"RCPT": _rcpt,
    b"DATA": _bare(Data()),
    b"BDAT": _bdat,
    b"STARTTLS": _bare(StartTls()),
    b"AUTH": _auth,
    b"RSET": _bare(Rset()),
    b"NOOP": lambda _: Noop(),
    b"VRFY": _vrfy,
    b"EXPN": lambda _: Expn(),
    b"HELP": lambda _: Help(),
    b"QUIT": _bare(Quit()),
}
