"""Names in a Maildir: what a path tells of a message.

Rules:

- A message is a file in ``cur`` or ``new``. Its name begins with the seconds of its delivery and a dot, and may end in ``:2,``
  and letters for flags. Letters of lower case are a server's own keywords, whose names are elsewhere; they are passed over.
- Mailboxes are directories above these two: with their own names (``Work/2026/cur``), or as Maildir++ has them, in one
  directory and with dots for levels (``.Work.2026/cur``). The topmost directory, and ``INBOX``, are the INBOX.
"""

from __future__ import annotations

import re

from posthorn.wire.mbox import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN

INBOX = "INBOX"
DIRECTORIES = ("cur", "new", "tmp")
_LETTERS = {"D": DRAFT, "F": FLAGGED, "R": ANSWERED, "S": SEEN, "T": DELETED}  # they stand in the order of the alphabet
_INFO = re.compile(r"[:;!]2,([A-Za-z]*)\Z")
_SECONDS = re.compile(r"(\d{1,11})\.")


def file_name(number: str, at: float, flags: int) -> str:
    """Give the name of a message; ``number`` is unique, ``at`` in seconds since the epoch."""
    return f"{int(at)}.{number}.posthorn:2,{''.join(letter for letter, bit in _LETTERS.items() if flags & bit)}"


def flags_of(name: str) -> int:
    """Read the flags in a file's name."""
    found = _INFO.search(name)
    return sum(bit for letter, bit in _LETTERS.items() if found is not None and letter in found[1])


def received_at(name: str) -> float | None:
    """Read the time in a file's name, in seconds since the epoch."""
    found = _SECONDS.match(name)
    return None if found is None else float(found[1])


def place_of(path: str) -> tuple[str, str] | None:
    """Give the mailbox and the file's name that a path in an archive means; None: it is no message of a Maildir."""
    *directories, kind, name = ["", "", *_parts(path)]
    if kind not in ("cur", "new") or name.startswith("."):
        return None
    return mailbox_of([directory for directory in directories if directory]), name


def mailbox_of(directories: list[str]) -> str:
    """Give the name of the mailbox that directories mean."""
    for place, directory in enumerate(directories):
        if directory.startswith("."):
            levels = [*directory[1:].split("."), *directories[place + 1 :]]
            return "/".join(level for level in levels if level) or INBOX
    name = "/".join(directories)
    return INBOX if name.upper() in ("", INBOX, "MAILDIR") else name


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
