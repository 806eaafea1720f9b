"""What earlier runs have brought over, by folder and UID, so that a run goes on where one broke off.

It is an aid, not the truth: without it all is read again, and the API leaves out what the account
has. A record that cannot be read counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from posthorn_cli.moving.uid_set import UidSet


def record_path(directory: Path, *parts: str) -> Path:
    """Return where the record of a move is kept; ``parts`` say from where and to where it goes."""
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return directory / f"{name}.json"


class Record:
    """The record of one account's move, in a file for its owner alone; ``fresh``: what is in it
    does not count."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self._path = path
        self._folders: dict[str, tuple[int, UidSet]] = {}
        if not fresh:
            with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                self._folders = {
                    name: (int(each["uidvalidity"]), UidSet.parse(each["uids"]))
                    for name, each in json.loads(path.read_bytes()).items()
                }

    def taken(self, folder: str, validity: int) -> UidSet:
        """Return the UIDs of a folder that are here already; none if it was numbered anew."""
        known = self._folders.get(folder)
        if known is None or known[0] != validity:
            known = self._folders[folder] = validity, UidSet()
        return known[1]

    def save(self) -> None:
        """Write it. A disk that cannot be written to costs time at the next run, nothing else."""
        document = {
            name: {"uidvalidity": validity, "uids": str(uids)}
            for name, (validity, uids) in self._folders.items()
        }
        new = self._path.with_suffix(".part")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                json.dump(document, out)
            new.replace(self._path)
