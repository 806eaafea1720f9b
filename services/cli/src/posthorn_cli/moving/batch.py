"""Messages on their way to the API: a tar archive in a temporary file, as the import reads it.

A message is a file as in a Maildir, with date and flags in its name; keywords and its unique id in
POP3 are records of its pax header. After a fault of the API or of the way to it, the same batch is
sent again: the import leaves out what has arrived.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from posthorn_cli.client import ApiError, Client, Unreachable
from posthorn_cli.client.types import ImportSummary
from posthorn_cli.moving.source import Facts

MOST_BYTES = 16 * 1024 * 1024
MOST_MESSAGES = 500
KEYWORDS = "POSTHORN.keywords"
"""Name of the record with the keywords of a message, separated by spaces."""
UNIQUE_ID = "POSTHORN.uidl"
"""Name of the record with the unique id of a message."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds between tries."""

_IN_MEMORY = 1024 * 1024
_PIECE = 256 * 1024
_END = bytes(1024)
_AGAIN = frozenset({408, 409, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that was not brought over."""

    folder: str
    uid: int
    reason: str


class Batch:
    """Messages of one folder for one mailbox."""

    def __init__(self, folder: str, mailbox: str) -> None:
        self._folder = folder
        self._mailbox = mailbox
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by close
        self.uids: list[int] = []
        self._size = 0

    def close(self) -> None:
        """Remove its file."""
        self._file.close()

    @property
    def is_full(self) -> bool:
        """Whether it should be sent."""
        return self._size >= MOST_BYTES or len(self.uids) >= MOST_MESSAGES

    def add(self, facts: Facts, size: int, pieces: Iterator[bytes], unique_id: str = "") -> None:
        """Add a message of ``size`` bytes, with its unique id in POP3 if it is to keep one."""
        date = facts.internal_date
        at = max(int(time.time() if date is None else date.timestamp()), 0)
        info = tarfile.TarInfo(f"INBOX/cur/{at}.U{facts.uid}.posthorn:2,{facts.flags}")
        info.size, info.mtime, info.mode = size, at, 0o600
        records = {KEYWORDS: " ".join(facts.keywords), UNIQUE_ID: unique_id}
        info.pax_headers = {name: value for name, value in records.items() if value}
        self._file.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        for piece in pieces:
            self._file.write(piece)
        self._file.write(bytes(-size % 512))
        self.uids.append(facts.uid)
        self._size += size

    def send(
        self, api: Client, address: str, sleep: Callable[[float], object] = time.sleep
    ) -> ImportSummary:
        """Import it. Raises ClientError."""
        self._file.write(_END)
        for pause in PAUSES:
            try:
                return self._post(api, address)
            except Unreachable:
                pass
            except ApiError as error:
                if error.status not in _AGAIN:
                    raise
            sleep(pause)
        return self._post(api, address)

    def failures(self, summary: ImportSummary) -> list[Failure]:
        """Return the messages that the API refused, with its reasons."""
        return [
            Failure(self._folder, _uid_of(failure["name"] or ""), failure["reason"])
            for failure in summary["failures"]
        ]

    def _post(self, api: Client, address: str) -> ImportSummary:
        self._file.seek(0)
        return api.import_mail(
            address,
            iter(lambda: self._file.read(_PIECE), b""),
            format_="maildir",
            mailbox=self._mailbox,
            media="application/x-tar",
        )


def _uid_of(path: str) -> int:
    """Return the UID in the name of a message of the archive."""
    _, _, rest = path.rpartition("/")[2].partition("U")
    digits = rest.partition(".")[0]
    return int(digits) if digits.isdigit() else 0
