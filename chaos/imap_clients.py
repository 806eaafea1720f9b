"""A mail client on IMAP: it reads, flags and moves, and checks what earlier sessions did."""

from __future__ import annotations

import imaplib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from chaos.clients import ANSWER_SECONDS, MOVER, PASSWORD, Client, World

MAILBOXES = ("Archive", "INBOX")
"""In the order of reading: messages move from the last one to the first, so that one which is seen
in both is there twice."""
type Row = bytes | tuple[bytes, bytes] | None
_SIZE = re.compile(rb"RFC822\.SIZE (\d+)")
_ROW = re.compile(rb"UID (\d+)|EMAILID \(([^)]+)\)|FLAGS \(([^)]*)\)|RFC822\.SIZE (\d+)")


class ImapRefusedError(OSError):
    """The server cannot do it at this moment."""


class ImapReading(Client):
    """Reads INBOX and Archive by IMAP, flags messages and moves them from the one to the other."""

    def __init__(self, world: World, seed: str, pause: float, address: str = MOVER) -> None:
        super().__init__(world, seed, pause)
        self._address = address
        self._flagged: set[str] = set()
        """Messages whose flag was acknowledged."""
        self.moved: set[str] = set()
        """Messages whose MOVE was acknowledged."""

    def once(self) -> None:
        with suppress(OSError, imaplib.IMAP4.abort):
            self.visit(changing=True)

    def visit(self, *, changing: bool = False) -> list[int]:
        """Run one session; return the sizes of all messages. Raises OSError or IMAP4.abort."""
        with session(self.world, self._address) as connection:
            sizes: dict[str, int] = {}
            for mailbox in MAILBOXES:
                self._read(connection, mailbox, sizes, changing=changing)
            box = self.ledger.mailboxes[self._address]
            with self.ledger.lock:
                box.present = set(sizes)
            return list(sizes.values())

    def _read(
        self, connection: imaplib.IMAP4, mailbox: str, sizes: dict[str, int], *, changing: bool
    ) -> None:
        box = self.ledger.mailboxes[self._address]
        done(self.world, "SELECT", connection.select(mailbox))
        rows = self._uid(connection, "FETCH", "1:*", "(FLAGS EMAILID RFC822.SIZE)")
        self.ledger.served("imap")
        there: dict[str, bytes] = {}
        for row in rows:
            if isinstance(row, bytes) and b"EMAILID" in row:
                uid, identity, flags, size = (
                    next(found[group] for found in _ROW.finditer(row) if found[group] is not None)
                    for group in range(1, 5)
                )
                self._check(identity.decode(), mailbox, flags, sizes)
                sizes[identity.decode()] = int(size)
                there[identity.decode()] = uid
        for identity in there.keys() - box.seen.keys():
            answer = self._uid(connection, "FETCH", there[identity].decode(), "(BODY.PEEK[])")
            bodies = [part[1] for part in answer if isinstance(part, tuple)]
            if len(bodies) != 1:
                self.ledger.blame(f"FETCH of {identity} in {mailbox} had {len(bodies)} bodies")
                continue
            self.ledger.read(self._address, identity, bodies[0])
        if changing and mailbox == "INBOX" and there:
            self._change(connection, there)

    def _check(self, identity: str, mailbox: str, flags: bytes, sizes: dict[str, int]) -> None:
        if identity in sizes:
            self.ledger.blame(f"{identity} is in {mailbox} and elsewhere, or there twice")
        if identity in self._flagged and b"\\Flagged" not in flags:
            self.ledger.blame(f"{identity} in {mailbox} has lost its flag: {flags!r}")
        if identity in self.moved and mailbox == "INBOX":
            self.ledger.blame(f"{identity} was moved, and is in INBOX")

    def _change(self, connection: imaplib.IMAP4, there: dict[str, bytes]) -> None:
        chosen = [identity for identity in there if self.chance.random() < 0.5]
        if not chosen:
            return
        uids = b",".join(there[identity] for identity in chosen).decode()
        self._uid(connection, "STORE", uids, "+FLAGS.SILENT", "(\\Flagged)")
        self._flagged |= set(chosen)
        self._uid(connection, "MOVE", uids, "Archive")
        self.moved |= set(chosen)

    def _uid(self, connection: imaplib.IMAP4, command: str, *arguments: str) -> Sequence[Row]:
        return done(self.world, command, connection.uid(command, *arguments))


@contextmanager
def session(world: World, address: str) -> Iterator[imaplib.IMAP4]:
    """Log in, and log out. Raises OSError or IMAP4.abort."""
    port = world.stand.ports["imap"]
    with imaplib.IMAP4("127.0.0.1", port, timeout=ANSWER_SECONDS) as connection:
        try:
            connection.login(address, PASSWORD)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            done(world, "LOGIN", ("NO", [str(error).encode()]))
        yield connection


def done(world: World, command: str, answer: tuple[str, Sequence[Row]]) -> Sequence[Row]:
    """Return the rows of an answer that is OK. Raises ImapRefusedError; what is not a passing fault
    is one of the server."""
    status, rows = answer
    if status != "OK":
        if "[UNAVAILABLE]" not in repr(rows):
            world.ledger.blame(f"imap refused {command}: {rows!r}")
        raise ImapRefusedError(repr(rows))
    return rows


def sizes_in_inbox(world: World, address: str) -> list[int]:
    """Return the sizes of the messages in INBOX, ascending. Raises OSError or IMAP4.abort."""
    with session(world, address) as connection:
        done(world, "SELECT", connection.select("INBOX", readonly=True))
        rows = done(world, "FETCH", connection.uid("FETCH", "1:*", "(RFC822.SIZE)"))
        found = (_SIZE.search(row) for row in rows if isinstance(row, bytes))
        return sorted(int(size[1]) for size in found if size)
