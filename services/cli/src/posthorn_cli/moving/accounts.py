"""The accounts to move: one from the command line, or many from a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from posthorn_cli.faults import CommandError, usage

COLUMNS = ("address", "host", "user", "password", "target")
"""Columns of the CSV file, in this order where it has no heading."""
WITH_HEADING = (*COLUMNS, "pop3_host")
"""Columns that a heading may name."""
MOST_ACCOUNTS = 100_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and port of the source."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as it is typed."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class MovingAccount:
    """An account of the source and the account here that it moves to."""

    address: str
    endpoint: Endpoint
    user: str
    """Name of the login at the source."""
    password: str = field(repr=False)
    target: str
    """Address of the account here."""
    pop3: Endpoint | None = None
    """Server that tells the unique ids of POP3; None: they are not kept."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What counts where a line of the file says nothing."""

    endpoint: Endpoint | None
    port: int
    master: str | None = None
    """User whose login opens every account (Dovecot: ``user*master``)."""
    separator: str = "*"
    password: str | None = field(default=None, repr=False)
    pop3: Endpoint | None = None
    pop3_port: int = 995

    def login_name(self, user: str) -> str:
        """Return the name of the login for a user."""
        return user if self.master is None else f"{user}{self.separator}{self.master}"


def endpoint_of(text: str, port: int) -> Endpoint:
    """Read ``host``, ``host:port`` or ``[address]:port``. Raises CommandError."""
    text = text.strip()
    host, rest = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
    elif text.count(":") == 1:
        host, _, rest = text.partition(":")
        rest = f":{rest}"
    number = rest.removeprefix(":") if rest else str(port)
    if not host or not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
        raise usage(f"{text!r} is no host: it looks like imap.example.org or imap.example.org:993")
    return Endpoint(host, int(number))


def read_accounts(content: bytes, defaults: Defaults) -> list[MovingAccount]:
    """Read a CSV file. Raises CommandError with the number of the line, never with its text: it
    holds passwords."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError("the file of accounts is no UTF-8 text") from None
    found = list(_accounts(csv.reader(io.StringIO(text, newline=""), strict=True), defaults))
    if not found:
        raise CommandError("the file of accounts names none")
    seen: dict[str, int] = {}
    for number, account in found:
        if (before := seen.setdefault(account.target.lower(), number)) != number:
            raise CommandError(f"lines {before} and {number} move to the same account")
    return [account for _, account in found]


def _accounts(
    rows: Iterable[Sequence[str]], defaults: Defaults
) -> Iterator[tuple[int, MovingAccount]]:
    names: Sequence[str] = COLUMNS
    number = 0
    try:
        for number, row in enumerate(rows, 1):
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if cells[0].lower() == COLUMNS[0]:
                names = [cell.lower() for cell in cells]
                if unknown := set(names) - set(WITH_HEADING):
                    raise CommandError(
                        f"line {number}: unknown columns {', '.join(sorted(unknown))};"
                        f" there are {', '.join(WITH_HEADING)}"
                    )
                continue
            if number > MOST_ACCOUNTS:
                raise CommandError(f"a file holds at most {MOST_ACCOUNTS} accounts")
            if len(cells) > len(names):
                raise CommandError(
                    f"line {number}: {len(cells)} columns, but there are {len(names)};"
                    " a password with a comma stands in quotation marks"
                )
            values = dict(zip(names, row, strict=False))
            yield number, _account(number, values, defaults)
    except csv.Error:
        raise CommandError(f"line {number + 1}: this is no CSV") from None


def _account(number: int, values: dict[str, str], defaults: Defaults) -> MovingAccount:
    def given(name: str) -> str:
        return values.get(name, "").strip()

    address = given("address")
    try:
        endpoint = endpoint_of(given("host"), defaults.port) if given("host") else defaults.endpoint
        pop3 = defaults.pop3
        if given("pop3_host"):
            pop3 = endpoint_of(given("pop3_host"), defaults.pop3_port)
    except CommandError as error:
        raise CommandError(f"line {number}: {error}") from None
    password = values.get("password", "") or defaults.password
    for missing, what in (
        (not address, "address"),
        (endpoint is None, "host (nor is --host given)"),
        (not password, "password"),
    ):
        if missing:
            raise CommandError(f"line {number}: no {what}")
    assert endpoint is not None
    assert password is not None
    user = defaults.login_name(given("user") or address)
    return MovingAccount(address, endpoint, user, password, given("target") or address, pop3)


def single(address: str, user: str | None, defaults: Defaults) -> MovingAccount:
    """Return the one account of the command line."""
    assert defaults.endpoint is not None
    made = MovingAccount(
        address,
        defaults.endpoint,
        user or address,
        defaults.password or "",
        address,
        defaults.pop3,
    )
    return replace(made, user=defaults.login_name(made.user))
