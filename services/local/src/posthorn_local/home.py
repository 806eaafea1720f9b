"""The home directory, locked: one supervisor at a time, and none beside leftover children of
another.

Theory: two locks. ``lock`` is held by the supervisor alone, so that a second start is refused at
once with the holder's process id. ``children.lock`` is inherited by every child process and is free
only when the last of them has ended: after a ``kill -9`` of the supervisor a new one waits here
until the kernel has ended the old children, and never runs beside them.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_REMAINS_TIMEOUT = 15.0


class HomeTaken(SystemExit):
    """Another supervisor, or children of an earlier one, use this home."""


class Home:
    """The home directory, locked for this process until ``close`` or its end. Raises HomeTaken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            self.children_lock = os.open(path / "children.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise HomeTaken(
                f"refusing to start: POSTHORN_HOME: cannot use {path}: {error.strerror}"
            ) from None
        try:
            self._take()
        except HomeTaken:
            self.close()
            raise

    def close(self) -> None:
        """Release the home."""
        os.close(self._lock)
        os.close(self.children_lock)

    def _take(self) -> None:
        if not _try(self._lock):
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise HomeTaken(
                f"refusing to start: process {holder} is running with this home ({self.path}); "
                "stop it first, or give this one another POSTHORN_HOME and other ports"
            )
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        deadline = time.monotonic() + _REMAINS_TIMEOUT
        while not _try(self.children_lock):
            if time.monotonic() > deadline:
                raise HomeTaken(
                    f"refusing to start: processes of an earlier start still use {self.path}"
                )
            time.sleep(0.02)

    def __truediv__(self, name: str) -> Path:
        return self.path / name


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_secret(path: Path, text: str) -> None:
    """Write a file readable by its owner only (0600), atomically and durably."""
    new = path.with_name(path.name + ".part")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
