"""Standard output for log lines, several in one write.

Theory:

- Within a running event loop lines are collected and written at most ``DELAY_SECONDS`` later, all in
  one system call: under load a line for each message was one of the few that its process makes.
- A warning or an error is written at once, with the lines before it, and so is everything outside
  of a loop, or beyond ``MOST_CHARACTERS``. What is left is written at the end of the interpreter.
  Only SIGKILL, or a crash of the interpreter itself, loses the lines of that moment; the events of
  the trace, which tell the same of each message, wait longer.
- Lines keep their order, whichever thread they come from.
- A stream that takes nothing, such as a file on a full disk, fails nobody who logs: the lines are
  dropped and counted, and ``on_lost`` is told how many once it takes lines again.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable
from typing import TextIO

from prometheus_client import Counter

DELAY_SECONDS = 0.02
MOST_CHARACTERS = 64 * 1024
SHARED_CHARACTERS = 2048
"""Where several processes write to one pipe: no more than goes into it in one piece (PIPE_BUF, 4,096
bytes), so that no line is torn."""

_lost = Counter("posthorn_log_lines_lost_total", "Log lines that could not be written")


class LogStream:
    """A text stream of whole lines over another stream."""

    def __init__(
        self,
        stream: TextIO,
        most_characters: int = MOST_CHARACTERS,
        on_lost: Callable[[int], None] = lambda _: None,
    ) -> None:
        """``most_characters`` are collected; with more they are written at once."""
        self._stream = stream
        self._most = most_characters
        self._on_lost = on_lost
        self._missing = 0
        self._lines: list[str] = []
        self._characters = 0
        self._due_in: asyncio.AbstractEventLoop | None = None
        self._lock = threading.RLock()  # a signal handler may log within a write
        atexit.register(self.flush)

    def write(self, text: str) -> int:
        """Take lines, to be written soon."""
        with self._lock:
            if self._characters + len(text) > self._most:
                self.flush()
            self._lines.append(text)
            self._characters += len(text)
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # none runs in this thread: nobody would write it later
                self.flush()
            else:
                if self._characters >= self._most:
                    self.flush()
                elif self._due_in is not loop:
                    self._due_in = loop
                    loop.call_later(DELAY_SECONDS, self._due)
        return len(text)

    def flush(self) -> None:
        """Write what was collected. Nothing is written to a stream that is closed."""
        with self._lock:
            # taken out at once: a signal handler that logs meanwhile writes what is new
            lines, self._lines, self._characters = self._lines, [], 0
            if self._stream.closed:
                return
            try:
                if lines and self._missing:
                    self._stream.write("\n")  # ends a line that was cut
                if lines:
                    self._stream.write("".join(lines))
                self._stream.flush()
            except OSError:
                self._missing += len(lines)
                _lost.inc(len(lines))
                return
            if lines and self._missing:
                missing, self._missing = self._missing, 0
                self._on_lost(missing)

    def _due(self) -> None:
        with self._lock:
            self._due_in = None
            self.flush()


class LineLogger:
    """The end of structlog's chain: a line for each event."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def info(self, line: str) -> None:
        """Write a line soon."""
        self._stream.write(line + "\n")

    def error(self, line: str) -> None:
        """Write a line at once."""
        self._stream.write(line + "\n")
        self._stream.flush()

    debug = msg = log = info
    warn = warning = critical = fatal = failure = exception = err = error
