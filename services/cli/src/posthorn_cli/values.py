"""What people type: sizes, times, spans of time, and secrets that stay off the screen and out of
the list of processes."""

from __future__ import annotations

import getpass
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from posthorn_cli.faults import CommandError, usage
from posthorn_cli.output import Output

NONE = "none"
"""Typed for a field that is to be null: without a limit, or as the level above says."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)\Z", re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)\Z")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

PasswordFile = Annotated[
    str | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Read the password from a file's first line; `-`: from stdin.",
    ),
]
PasswordInArgument = Annotated[
    str | None,
    typer.Option(
        "--password",
        metavar="TEXT",
        help="Unsafe: others see it in the list of processes.",
        hidden=True,
    ),
]


def size_of(text: str) -> int:
    """Read a number of bytes: 1048576, 500MB (of 1000) or 2GiB (of 1024). Raises CommandError."""
    found = _SIZE.match(text.strip())
    if not found:
        raise usage(f"{text!r} is no size: it looks like 500MB or 2GiB")
    number, unit, binary, _ = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def seconds_of(text: str) -> float:
    """Read a span of time: 90, 90s, 15m, 6h, 2d or 1w. Raises CommandError."""
    found = _SPAN.match(text.strip())
    if not found:
        raise usage(f"{text!r} is no span of time: it looks like 90s, 15m, 6h or 2d")
    return float(found[1]) * _SECONDS[found[2]]


def start_of(text: str) -> str:
    """Read a time in the past: a span before now, or a time (RFC 3339). Raises CommandError."""
    return _time(text, -1).isoformat()


def end_of(text: str) -> str:
    """Read a time to come: a span from now, or a time (RFC 3339). Raises CommandError."""
    return _time(text, 1).isoformat()


def _time(text: str, direction: int) -> datetime:
    if text[:4].isdigit() and "-" in text:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise usage(f"{text!r} is no time: it looks like 2036-01-31T00:00:00Z") from None
        return found if found.tzinfo else found.astimezone()
    return datetime.now(UTC) + direction * timedelta(seconds=seconds_of(text))


def whole_number(text: str) -> int:
    """Read a number. Raises CommandError."""
    if not text.isascii() or not text.isdigit():
        raise usage(f"{text!r} is no whole number")
    return int(text)


def words_of(text: str) -> list[str]:
    """Read a list with commas between its parts. Raises CommandError."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise usage("the list is empty")
    return found


def given(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def nullable(name: str, text: str | None, read: Callable[[str], object] = str) -> dict[str, Any]:
    """Return a field as it was typed: none when it was not, null for ``none`` or ``unlimited``.
    Raises CommandError."""
    if text is None:
        return {}
    return {name: None if text.strip().lower() in (NONE, "unlimited") else read(text)}


def require_change(body: dict[str, Any]) -> None:
    """Raise CommandError when a change names no field."""
    if not body:
        raise usage("nothing to change was named: --help shows what can be")


def secret(
    output: Output, what: str, file: str | None, argument: str | None = None, confirm: bool = False
) -> str:
    """Get a secret: from a file or stdin, or by asking without echo. Raises CommandError."""
    if file is not None and argument is not None:
        raise usage(f"the {what} is given twice")
    if argument is not None:
        output.note(
            f"warning: a {what} on the command line is seen by everyone who lists this machine's processes"
        )
        return argument
    if file is not None:
        return _first_line(what, file)
    if not sys.stdin.isatty():
        raise usage(
            f"there is no terminal to ask for the {what} on: give it in a file, or `-` for stdin"
        )
    try:
        text = getpass.getpass(f"{what.capitalize()}: ")
        if confirm and getpass.getpass("Once more: ") != text:
            raise CommandError("the two are not the same")
    except EOFError:
        raise CommandError(f"no {what} was given") from None
    if not text:
        raise CommandError(f"no {what} was given")
    return text


def generated() -> str:
    """Make a password of 120 bits."""
    return secrets.token_urlsafe(15)


def _first_line(what: str, file: str) -> str:
    with opened(file) as stream:
        line: bytes = stream.readline(4097)
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise CommandError(f"the {what} is no UTF-8 text") from None
    if not text:
        raise CommandError(f"there is no {what} in {'stdin' if file == '-' else file}")
    return text


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """Open a file to be read, or stdin for ``-``, as bytes. Raises CommandError."""
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream: BinaryIO = Path(file).open("rb")  # noqa: SIM115 - closed below, outside of the except
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from None
    with stream:
        yield stream
