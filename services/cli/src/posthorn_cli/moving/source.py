"""A connection to the source, which is only read, and made again when it breaks off.

Rules:

- No command changes anything: folders are opened by EXAMINE, messages read by BODY.PEEK, and no
  other command than those of ``ImapSource`` is sent.
- A connection that breaks off, and a source that asks for patience (``[UNAVAILABLE]``, ``[INUSE]``,
  ``[LIMIT]``, RFC 5530), is tried again after a pause that grows; what comes then counts as progress
  and begins anew with the shortest. What breaks the connection off each time counts as refused.
- The UIDs of a folder are listed by sequence numbers before any other command, as no number can
  change between such FETCHes (RFC 9051 §7.5.1). After a new connection they still hold, as long as
  UIDVALIDITY is the same.
- A large message is read in pieces; small ones many at a time.
"""

from __future__ import annotations

import ssl
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import batched
from typing import Any, BinaryIO

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from posthorn_cli.moving.accounts import MovingAccount
from posthorn_cli.moving.folders import SourceFolder
from posthorn_cli.moving.pace import Pace

LISTED = 500
"""Messages that one command lists: their numbers fit in a line that every server takes."""
PIECE = 1024 * 1024
"""Bytes of a large message that are asked for at once."""
TIMEOUT_SECONDS = 120.0
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds between tries."""
MOST_BREAKS = 3
"""Times that a connection may break off at the same command: then it is the command's fault."""
FIRST_PAUSES = 2
"""How many of them a source gets that has never answered: its name or port may be wrong."""

_HEADERS = 50
_FACTS = ("FLAGS", "INTERNALDATE", "RFC822.SIZE")
_PATIENCE = ("[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[SERVERBUG]", "THROTTLED")
_SYSTEM = {
    b"\\seen": "S",
    b"\\answered": "R",
    b"\\flagged": "F",
    b"\\draft": "D",
    b"\\deleted": "T",
}


class Security(StrEnum):
    """How the connection to the source is protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"

    @property
    def port(self) -> int:
        """The usual port of IMAP."""
        return 993 if self is Security.TLS else 143

    @property
    def pop3_port(self) -> int:
        """The usual port of POP3."""
        return 995 if self is Security.TLS else 110


class SourceRefused(Exception):
    """The source answered NO or BAD, or nothing that can be understood."""


class FolderRenumbered(Exception):
    """The UIDs of the open folder became others while the connection was made again."""


class SourceLost(Exception):
    """The source cannot be reached, breaks off again and again, or refuses the login."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a message before it is read."""

    uid: int
    size: int
    """Bytes, as the source says."""
    flags: str
    """Letters of a Maildir, sorted."""
    keywords: tuple[str, ...]
    internal_date: datetime | None


@dataclass(frozen=True, slots=True)
class Way:
    """How sources are reached."""

    security: Security
    tls: ssl.SSLContext
    pace: Pace
    sleep: Callable[[float], object] = time.sleep
    oauth: bool = False
    """Whether passwords are access tokens of OAuth 2.0 (XOAUTH2)."""


class ImapSource:
    """An account of the source. Every method raises SourceRefused and SourceLost, those about
    messages FolderRenumbered too."""

    def __init__(self, account: MovingAccount, way: Way) -> None:
        self._account = account
        self._way = way
        self._client: Any = None
        self._has_answered = False
        self._opened: tuple[str, int] | None = None

    def close(self) -> None:
        """Log out."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(IMAPClientError, OSError):
                client.logout()

    def namespaces(self) -> tuple[str, list[str]]:
        """Return the prefix of the personal namespace, and those of the namespaces of others."""

        def ask(client: Any) -> tuple[str, list[str]]:
            if not client.has_capability("NAMESPACE"):
                return "", []
            personal, *others = client.namespace()
            prefixes = [str(prefix) for each in others for prefix, _ in each or ()]
            return str(personal[0][0]) if personal else "", prefixes

        return self._run(ask)

    def folders(self) -> list[SourceFolder]:
        """List all folders."""

        def ask(client: Any) -> list[SourceFolder]:
            return [
                SourceFolder(
                    name if isinstance(name, str) else name.decode("utf-8", "replace"),
                    (delimiter or b"").decode("ascii", "replace"),
                    frozenset(flag.decode("ascii", "replace").lower() for flag in flags),
                )
                for flags, delimiter, name in client.list_folders()
            ]

        return self._run(ask)

    def status(self, folder: str) -> tuple[int, int | None]:
        """Return the messages of a folder, and their bytes if the source tells them."""

        def ask(client: Any) -> tuple[int, int | None]:
            items = ("MESSAGES", "SIZE") if client.has_capability("STATUS=SIZE") else ("MESSAGES",)
            found = client.folder_status(folder, items)
            return int(found.get(b"MESSAGES", 0)), found.get(b"SIZE")

        return self._run(ask)

    def examine(self, folder: str) -> tuple[int, array[int]]:
        """Open a folder read-only; return UIDVALIDITY and the UIDs of its messages, ascending."""

        def ask(client: Any) -> tuple[int, array[int]]:
            self._opened = None
            found = client.select_folder(folder, readonly=True)
            validity = int(found.get(b"UIDVALIDITY", 0))
            uids = array("Q")
            client.use_uid = False
            try:
                count = int(found.get(b"EXISTS", 0))
                for numbers in batched(range(1, count + 1), LISTED, strict=False):
                    rows = client.fetch(numbers, ["UID"])
                    uids.extend(row[b"UID"] for row in rows.values() if b"UID" in row)
            finally:
                client.use_uid = True
            self._opened = folder, validity
            return validity, array("Q", sorted(uids))

        return self._run(ask)

    def facts(self, uids: Sequence[int]) -> dict[int, Facts]:
        """Return what is known of messages of the open folder; those that are gone are left out."""

        def ask(client: Any) -> dict[int, Facts]:
            rows = client.fetch(list(uids), _FACTS)
            return {uid: _facts(uid, row) for uid, row in rows.items() if b"RFC822.SIZE" in row}

        return self._run(ask)

    def sizes(self, uids: Sequence[int]) -> dict[int, int]:
        """Return the sizes of messages of the open folder in bytes; those that are gone are left
        out."""
        found: dict[int, int] = {}
        for some in batched(uids, LISTED, strict=False):

            def ask(client: Any, some: Sequence[int] = some) -> dict[int, int]:
                rows = client.fetch(list(some), ["RFC822.SIZE"])
                return {
                    uid: int(row[b"RFC822.SIZE"])
                    for uid, row in rows.items()
                    if b"RFC822.SIZE" in row
                }

            found |= self._run(ask)
        return found

    def headers(self, uids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield headers of messages of the open folder, some at a time; those that the source does
        not send are left out."""
        for some in batched(uids, _HEADERS, strict=False):
            yield from self._headers(some)

    def _headers(self, uids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        def ask(client: Any) -> dict[int, bytes]:
            rows = client.fetch(list(uids), ["BODY.PEEK[HEADER]"])
            return {
                uid: _bytes(row[b"BODY[HEADER]"])
                for uid, row in rows.items()
                if row.get(b"BODY[HEADER]") is not None
            }

        try:
            found = self._run(ask)
        except SourceRefused:
            if len(uids) > 1:  # one of them is why
                for uid in uids:
                    yield from self._headers([uid])
            return
        self._way.pace.spend(sum(map(len, found.values())))
        yield from found.items()

    def contents(self, uids: Sequence[int]) -> dict[int, bytes]:
        """Read messages of the open folder whole."""

        def ask(client: Any) -> dict[int, bytes]:
            rows = client.fetch(list(uids), ["BODY.PEEK[]"])
            return {uid: _bytes(row[b"BODY[]"]) for uid, row in rows.items() if row.get(b"BODY[]")}

        found = self._run(ask)
        self._way.pace.spend(sum(map(len, found.values())))
        return found

    def copy(self, uid: int, to: BinaryIO) -> int:
        """Write a large message of the open folder to a file piece by piece; return its bytes."""
        size = 0
        while True:
            piece = self._piece(uid, size)
            to.write(piece)
            size += len(piece)
            if len(piece) < PIECE:
                return size

    def _piece(self, uid: int, at: int) -> bytes:
        def ask(client: Any) -> bytes:
            rows = client.fetch([uid], [f"BODY.PEEK[]<{at}.{PIECE}>"])
            for name, value in rows.get(uid, {}).items():
                if name.startswith(b"BODY[]"):
                    return _bytes(value or b"")
            raise IMAPClientError("the source sent nothing of it")

        piece = self._run(ask)
        self._way.pace.spend(len(piece))
        return piece

    def _run[T](self, ask: Callable[[Any], T]) -> T:
        """Do something on the connection, again after a pause when it breaks off."""
        broken = 0
        for count, pause in enumerate((*PAUSES, None)):
            is_connected = False
            try:
                client = self._connected()
                is_connected = True
                return ask(client)
            except (IMAPClientAbortError, OSError) as error:
                self._drop()
                broken += is_connected
                if broken == MOST_BREAKS:
                    raise SourceRefused(f"it breaks off: {self._said(error)}") from None
                last = pause is None or (count == FIRST_PAUSES and not self._has_answered)
                if last or isinstance(error, ssl.SSLCertVerificationError):
                    raise SourceLost(self._said(error)) from None
            except (IMAPClientError, ValueError, TypeError, LookupError, AssertionError) as error:
                text = self._said(error)
                if pause is None or not any(word in text.upper() for word in _PATIENCE):
                    # after a refused login the next one would be refused too
                    kind = SourceLost if isinstance(error, LoginError) else SourceRefused
                    raise kind(text) from None
            assert pause is not None
            self._way.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._connect()
            self._has_answered = True
            if self._opened is not None:
                folder, validity = self._opened
                found = self._client.select_folder(folder, readonly=True)
                if int(found.get(b"UIDVALIDITY", 0)) != validity:
                    self._opened = None
                    raise FolderRenumbered
        return self._client

    def _connect(self) -> Any:
        account, way = self._account, self._way
        tls = way.security is Security.TLS
        client = IMAPClient(
            account.endpoint.host,
            account.endpoint.port,
            ssl=tls,
            ssl_context=way.tls if tls else None,
            timeout=TIMEOUT_SECONDS,
        )
        try:
            client.normalise_times = False
            if way.security is Security.STARTTLS:
                client.starttls(way.tls)
            if way.oauth:
                log_in = client.oauth2_login
            else:
                plain = client.has_capability("AUTH=PLAIN")
                log_in = client.plain_login if plain else client.login
            log_in(account.user, account.password)
        except LoginError as error:
            with suppress(IMAPClientError, OSError):
                client.shutdown()
            if isinstance(error.__context__, IMAPClientAbortError):  # nothing was refused
                raise error.__context__ from None
            raise
        except BaseException:
            with suppress(IMAPClientError, OSError):
                client.shutdown()
            raise
        return client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(IMAPClientError, OSError):
                client.shutdown()

    def _said(self, error: Exception) -> str:
        """Return what the source said, without the password, should it repeat it."""
        text = str(error) or type(error).__name__
        return text.replace(self._account.password, "***") if self._account.password else text


def _facts(uid: int, row: Mapping[bytes, Any]) -> Facts:
    letters, keywords = _flags(row.get(b"FLAGS") or ())
    date = row.get(b"INTERNALDATE")
    if date is not None and date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return Facts(uid, int(row[b"RFC822.SIZE"]), letters, keywords, date)


def _flags(flags: Iterable[Any]) -> tuple[str, tuple[str, ...]]:
    letters, keywords = set(), []
    for flag in flags:
        name = _bytes(flag)
        if letter := _SYSTEM.get(name.lower()):
            letters.add(letter)
        elif not name.startswith(b"\\"):
            keywords.append(name.decode("utf-8", "replace"))
    return "".join(sorted(letters)), tuple(keywords)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
