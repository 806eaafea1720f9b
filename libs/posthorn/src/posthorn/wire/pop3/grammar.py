"""The command lines of POP3 (RFC 1939 §3 to §8, RFC 2449, RFC 2595, RFC 5034, RFC 6856): verbs and
their arguments.

``GRAMMAR`` maps each verb to the parser of its argument; a missing verb *is* the error. Nothing
here depends on the state.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable
from dataclasses import dataclass, field

from posthorn.wire.pop3.events import (
    Capa,
    Dele,
    Event,
    Lang,
    List,
    Noop,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    Utf8,
)

_NUMBER_DIGITS = 18
_LANGUAGES = {"en": "English", "i-default": "English"}

UTF8 = Utf8()
STLS = Stls()


class BadLine(Exception):
    """A line that is not valid; holds the reply's text after ``-ERR``."""


@dataclass(frozen=True, slots=True)
class User:
    """USER, before the state is checked."""

    name: str


@dataclass(frozen=True, slots=True)
class Pass:
    """PASS, likewise."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH, likewise; without a mechanism it requests the list."""

    mechanism: str
    initial: bytes | None = field(repr=False)


def text_of(data: bytes) -> str:
    """Decode UTF-8; invalid bytes become lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def base64_of(data: bytes) -> bytes:
    """Decode a SASL response. Raises BadLine."""
    try:
        return a2b_base64(data, strict_mode=True)
    except Base64Error:
        raise BadLine("the response is not in base64") from None


def _number(text: bytes) -> int:
    """Parse a decimal number with any leading zeros. The session refuses zero, like any number
    without a message."""
    if not text.isdigit():
        raise BadLine("a number is expected")
    if len(text) > _NUMBER_DIGITS and len(text.lstrip(b"0")) > _NUMBER_DIGITS:
        raise BadLine("the number is too large")
    return int(text)


def _alone[E](event: E) -> Callable[[bytes], E]:
    def read(argument: bytes) -> E:
        if argument and not argument.isspace():
            raise BadLine("this command takes no argument")
        return event

    return read


def _of_one[E](make: Callable[[int], E]) -> Callable[[bytes], E]:
    def read(argument: bytes) -> E:
        return make(_number(argument if argument.isdigit() else argument.strip()))

    return read


def _of_one_or_all[E](make: Callable[[int | None], E]) -> Callable[[bytes], E]:
    def read(argument: bytes) -> E:
        number = argument.strip()
        return make(_number(number) if number else None)

    return read


def _top(argument: bytes) -> Top:
    parts = argument.split()
    if len(parts) != 2:
        raise BadLine("TOP takes a message number and a number of lines")
    return Top(_number(parts[0]), _number(parts[1]))


def _user(argument: bytes) -> User:
    name = argument.strip()
    if not name:
        raise BadLine("USER takes a name")
    return User(text_of(name))


def _pass(argument: bytes) -> Pass:
    return Pass(text_of(argument))  # spaces belong to the password (RFC 1939 §7)


def _auth(argument: bytes) -> Auth:
    parts = argument.split()
    if len(parts) > 2:
        raise BadLine("AUTH takes a mechanism and at most one initial response")
    mechanism = parts[0].decode("ascii", "replace").upper() if parts else ""
    return Auth(mechanism, parts[1] if len(parts) == 2 else None)


def _lang(argument: bytes) -> Lang:
    tag = argument.strip().decode("ascii", "replace").lower()
    if not tag:
        rows = "".join(f"{name} {said}\r\n" for name, said in _LANGUAGES.items())
        return Lang(f"+OK languages follow\r\n{rows}.\r\n".encode())
    if tag == "*":  # the server's own choice, RFC 6856 §3.1
        tag = "en"
    if tag not in _LANGUAGES:
        return Lang(b"-ERR this language is not supported: LANG lists those that are\r\n")
    return Lang(f"+OK {tag} replies are in {_LANGUAGES[tag]}\r\n".encode())


GRAMMAR: dict[bytes, Callable[[bytes], Event | User | Pass | Auth]] = {
    b"CAPA": _alone(Capa()),
    b"UTF8": _alone(UTF8),
    b"LANG": _lang,
    b"STLS": _alone(STLS),
    b"USER": _user,
    b"PASS": _pass,
    b"AUTH": _auth,
    b"QUIT": _alone(Quit()),
    b"STAT": _alone(Stat()),
    b"LIST": _of_one_or_all(List),
    b"UIDL": _of_one_or_all(Uidl),
    b"RETR": _of_one(Retr),
    b"TOP": _top,
    b"DELE": _of_one(Dele),
    b"NOOP": _alone(Noop()),
    b"RSET": _alone(Rset()),
}
"""Verb to the parser of its argument, which raises BadLine."""
