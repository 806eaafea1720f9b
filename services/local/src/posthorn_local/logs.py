"""A child's log file: the child appends to it, the supervisor reads what is new and keeps it small.

The child never waits for the supervisor, as it would on a pipe. The file is rotated by copying and
truncating it, which works because the child appends.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

LIMIT = 32 * 1024 * 1024
"""Bytes beyond which a log is rotated to ``<name>.log.1``, replacing the former one."""
_SAME_AGAIN = 30.0
"""Seconds before the same error is shown again."""
_TAIL_BYTES = 4096
_MOST = 12
"""Most lines shown at a time."""


class Log:
    """The log of one service."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shown: dict[str, float] = {}
        path.touch(mode=0o600)
        self._position = path.stat().st_size

    def writer(self) -> BinaryIO:
        """Open the file for a child to append to."""
        return self.path.open("ab")

    def complaints(self) -> list[str]:
        """Return the new lines that a person should see: errors, and lines that are not JSON log
        entries."""
        with self.path.open("rb") as log:
            log.seek(self._position)
            data = log.read(LIMIT)
        end = data.rfind(b"\n") + 1
        self._position += end
        if self._position > LIMIT:
            self._put_aside()
        found = [
            line for line in map(_plain, data[:end].splitlines()) if line and self._is_new(line)
        ]
        hidden = len(found) - _MOST
        return found if hidden <= 0 else [*found[:_MOST], f"({hidden} more lines in {self.path})"]

    def tail(self, lines: int = 8) -> list[str]:
        """Return the last lines of the child's present run, errors as text; for a child that did
        not start."""
        found = self.complaints()
        if not found:
            # it complained before, or of nothing: what it said last is better than nothing
            with self.path.open("rb") as log:
                log.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
                found = log.read(_TAIL_BYTES).decode("utf-8", "replace").splitlines()
        return found[-lines:] if found else [f"(no output; see {self.path})"]

    def _put_aside(self) -> None:
        with suppress(OSError):  # no room for a copy: the more reason to truncate
            shutil.copyfile(self.path, self.path.with_name(self.path.name + ".1"))
        with self.path.open("r+b") as log:
            log.truncate()
        self._position = 0

    def _is_new(self, line: str) -> bool:
        now = time.monotonic()
        self._shown = {text: at for text, at in self._shown.items() if now - at < _SAME_AGAIN}
        return self._shown.setdefault(line, now) == now


def _plain(line: bytes) -> str:
    if not line.startswith(b"{"):
        return line.decode("utf-8", "replace").rstrip()
    if b'"error"' not in line and b'"critical"' not in line:
        return ""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.decode("utf-8", "replace")
    if entry.get("level") not in ("error", "critical"):
        return ""
    cause = str(entry.get("error") or entry.get("exception") or "").strip().splitlines()
    said = [entry.get("event"), *([cause[-1]] if cause else map(entry.get, ("part", "detail")))]
    return ": ".join(str(each) for each in said if each)
