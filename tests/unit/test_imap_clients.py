"""What real clients send, as transcripts: every command is taken, whole and byte by byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from posthorn.wire.imap.commands import Authenticate, Close, Enable, Idle, Login, Select, Unselect
from posthorn.wire.imap.events import AppendEnd, AppendMessage, Content, Event, Refused, Request
from posthorn.wire.imap.machine import Machine
from posthorn.wire.imap.states import Channel, State
from posthorn.wire.signals import Signal

CLIENTS = sorted((Path(__file__).parents[1] / "data" / "imap_clients").glob("*.txt"))


def packet(session: Path) -> bytes:
    """Return a transcript as bytes; ``\\0`` in it is NUL."""
    return session.read_bytes().replace(rb"\0", b"\0").replace(b"\n", b"\r\n")


def run(pieces: list[bytes]) -> list[Event]:
    """Answer as a session would that grants everything."""
    made = Machine(Channel(passwords=True, starttls=False), append_limit=1000)
    found: list[Event] = []
    for piece in pieces:
        made.receive(piece)
        while not isinstance(event := made.next_event(), Signal):
            match event:
                case Request(_, Login() | Authenticate()):
                    made.accepted()
                case Request(_, Idle()):
                    pass
                case Request(_, Enable(names)):
                    made.enable(*names)
                    made.ready()
                case Request(_, Select()):
                    made.ready(State.SELECTED)
                case Request(_, Close() | Unselect()):
                    made.ready(State.AUTHENTICATED)
                case AppendMessage():
                    made.accept()
                case Request() | AppendEnd():
                    made.ready()
                case _:
                    pass
            if not isinstance(event, Content):
                found.append(event)
    return found


@pytest.mark.parametrize("client", CLIENTS, ids=lambda path: path.stem)
def test_every_command_of_the_client_is_taken(client: Path) -> None:
    octets = packet(client)
    found = run([octets])
    assert [event for event in found if isinstance(event, Refused)] == []
    taken = [event.tag for event in found if isinstance(event, Request | AppendEnd)]
    assert list(dict.fromkeys(taken)) == re.findall(rb"^t[0-9]+", octets, re.MULTILINE)
    assert run([octets[at : at + 1] for at in range(len(octets))]) == found


def test_there_are_transcripts() -> None:
    assert len(CLIENTS) >= 10
