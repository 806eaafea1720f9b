"""Names in a Maildir: flags, time and mailbox of a message from its path.

Rules:

- A message is a file in ``cur`` or ``new``. Its name begins with the seconds of its delivery and a
  dot, and may end in ``:2,`` and letters for flags. Lower-case letters are a server's own keywords,
  whose names are elsewhere; they are ignored.
- Mailboxes are directories above these two: with their own names (``Work/2026/cur``), or as
  Maildir++ has them, in one directory and with dots for levels (``.Work.2026/cur``). The topmost
  directory, and ``INBOX``, are the INBOX.
- Names are in modified UTF-7, as IMAP servers store them on disk, except in archives written here.
- An archive may hold a Maildir some directories down. Its root is the directory named ``Maildir``,
  or the one that holds the directories with dots, or else the one that all directories have in
  common and that holds ``cur`` or ``new`` itself (``Roots``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from posthorn.wire.archive.mbox import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from posthorn.wire.archive.mutf7 import decode_mutf7

INBOX = "INBOX"
OURS = ".posthorn:2,"
"""Host part of the names of messages in archives written here."""
DIRECTORIES = ("cur", "new", "tmp")
# in alphabetical order
_LETTERS = {"D": DRAFT, "F": FLAGGED, "R": ANSWERED, "S": SEEN, "T": DELETED}
_INFO = re.compile(r"[:;!]2,([A-Za-z]*)\Z")
_SECONDS = re.compile(r"(\d{1,11})\.")


def file_name(number: str, at: float, flags: int) -> str:
    """Return the name of a message; ``number`` is unique, ``at`` in seconds since the epoch."""
    return f"{int(at)}.{number}{OURS}{''.join(letter for letter, bit in _LETTERS.items() if flags & bit)}"


def flags_of(name: str) -> int:
    """Return the flags in a file's name."""
    found = _INFO.search(name)
    return sum(bit for letter, bit in _LETTERS.items() if found is not None and letter in found[1])


def received_at(name: str) -> float | None:
    """Return the time in a file's name, in seconds since the epoch."""
    found = _SECONDS.match(name)
    return None if found is None else float(found[1])


def place_of(path: str, root: Sequence[str] = ()) -> tuple[str, str] | None:
    """Return the mailbox and the file's name of a path in an archive; None: not a message of a
    Maildir."""
    found = split(path)
    if found is None:
        return None
    directories, name = found
    own = OURS in name
    inside = list(
        directories[len(root) :] if directories[: len(root)] == tuple(root) else directories
    )
    return mailbox_of(inside if own else [decode_mutf7(directory) for directory in inside]), name


def split(path: str) -> tuple[tuple[str, ...], str] | None:
    """Return the directories above ``cur`` or ``new``, and the file's name; None: not a message
    of a Maildir."""
    *directories, kind, name = ["", "", *_parts(path)]
    if kind not in ("cur", "new") or name.startswith("."):
        return None
    return tuple(directory for directory in directories if directory), name


def holder(path: str) -> tuple[str, ...] | None:
    """Return the directories above a directory ``cur``, ``new`` or ``tmp``; None: the directory
    is another one."""
    parts = _parts(path)
    return tuple(parts[:-1]) if parts and parts[-1] in DIRECTORIES else None


class SecondRootError(ValueError):
    """A path lies outside the Maildir that the archive began with."""


class Roots:
    """Finds the root of the Maildir in an archive from the directories that hold messages, in
    the order of the archive."""

    def __init__(self) -> None:
        self.root: tuple[str, ...] | None = None
        """None while it is undetermined."""
        self._only: tuple[str, ...] | None = None
        self._is_certain = False

    def saw(self, directories: tuple[str, ...], name: str = "") -> None:
        """Record the directories above a ``cur`` or ``new``. Raises SecondRootError."""
        marked = _marked_root(directories)
        if OURS in name:
            marked = ()
        if marked is not None:
            if self._is_certain and self.root != marked:
                raise SecondRootError(
                    f"the archive holds a second Maildir ({'/'.join(marked) or '.'} beside {'/'.join(self.root or ()) or '.'});"
                    " import it by itself"
                )
            self.root, self._is_certain = marked, True
        elif self._is_certain:
            if self.root and directories[: len(self.root)] != self.root:
                raise SecondRootError(
                    f"{'/'.join(directories)} lies outside the Maildir {'/'.join(self.root)}; import it by itself"
                )
        elif self._only is None or directories == self._only:
            self._only = directories
            self.root = () if not directories else self.root
        else:
            common = _common(self._only, directories)
            self._only, self.root = common, common

    def end(self) -> None:
        """Finish: a single directory is the root itself."""
        if self.root is None:
            self.root = self._only or ()


def _marked_root(directories: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the root by names: above the first directory with a dot, or the one named Maildir;
    None: undetermined."""
    for place, directory in enumerate(directories):
        if directory.lower() == "maildir":
            return directories[: place + 1]
        if directory.startswith("."):
            return directories[:place]
    return None


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return one[:count]


def mailbox_of(directories: list[str]) -> str:
    """Return the name of the mailbox of these directories."""
    for place, directory in enumerate(directories):
        if directory.startswith("."):
            levels = [*directory[1:].split("."), *directories[place + 1 :]]
            return "/".join(level for level in levels if level) or INBOX
    name = "/".join(directories)
    return INBOX if name.upper() in ("", INBOX, "MAILDIR") else name


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
