r"""Transcripts of mail clients, held with a server over sockets.

A transcript is a text. Lines that begin with ``#`` are comments; the others:

=========  =====================================================================================
``C: …``   is sent with CRLF; ``\0`` in it is NUL. Lines in a row are sent in one packet.
``S: …``   a regular expression that the next reply must match as a whole, literals included
``S*: …``  replies like this may come any number of times, until the next ``C:``
=========  =====================================================================================

``${name}`` stands for a variable, or for what a group ``(?P<name>…)`` has matched before. A number
before ``C`` and ``S`` names another connection: ``2C: …``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.support.imap import ImapClient

_LINE = re.compile(r"(?P<connection>\d?)(?P<kind>C|S\*?):(?: (?P<text>.*))?\Z")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(slots=True)
class Exchange:
    """What is sent at once on a connection, and the replies to it."""

    connection: str
    sent: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)


def exchanges(text: str) -> Iterator[Exchange]:
    """Read a transcript."""
    present: Exchange | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.match(line)
        assert found, f"line {number} of a transcript: {line}"
        connection, kind, words = found["connection"] or "1", found["kind"], found["text"] or ""
        begins = kind == "C" and present is not None and bool(present.expected or present.allowed)
        if present is None or begins or present.connection != connection:
            if present is not None:
                yield present
            present = Exchange(connection)
        {"C": present.sent, "S": present.expected, "S*": present.allowed}[kind].append(words)
    if present is not None:
        yield present


async def hold(text: str, port: int, variables: Mapping[str, str]) -> None:
    """Hold a transcript with the server on a port; raises AssertionError where it differs."""
    known = dict(variables)
    clients: dict[str, ImapClient] = {}
    try:
        for exchange in exchanges(text):
            if exchange.connection not in clients:
                clients[exchange.connection] = await ImapClient.connect(port)
            await _exchange(clients[exchange.connection], exchange, known)
    finally:
        for client in clients.values():
            client.abort()


async def _exchange(client: ImapClient, exchange: Exchange, known: dict[str, str]) -> None:
    if exchange.sent:
        lines = [_filled(line, known) for line in exchange.sent]
        octets = "".join(f"{line}\r\n" for line in lines).encode()
        client.send(octets.replace(rb"\0", b"\0"))
    for expected in exchange.expected:
        pattern = _filled(expected, known, escape=True)
        others = [_filled(each, known, escape=True) for each in exchange.allowed]
        while True:
            reply = (await client.line()).decode("utf-8", "replace")
            if found := re.fullmatch(pattern, reply, re.DOTALL):
                known |= {name: value for name, value in found.groupdict().items() if value}
                break
            if not reply or not any(re.fullmatch(each, reply, re.DOTALL) for each in others):
                raise AssertionError(
                    f"after {exchange.sent}\n  expected {pattern}\n  got      {reply[:1000]}"
                )


def _filled(text: str, known: Mapping[str, str], *, escape: bool = False) -> str:
    def value(found: re.Match[str]) -> str:
        return re.escape(known[found[1]]) if escape else known[found[1]]

    return _VARIABLE.sub(value, text)
