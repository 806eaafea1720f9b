"""An end to reads of a TLS connection that do not end by themselves.

``SSL_read`` takes what is no data of the application (a TLS 1.3 KeyUpdate, an attempt to negotiate
TLS 1.2 again) and reads on. Where OpenSSL reads from the socket itself, a client that sends nothing
else holds the event loop, and every other connection, for as long as it sends: 1.2 MB a second are
enough. Nothing can stop such a read from its own thread, so another one looks at it, and puts an
empty file in the place of the socket.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

import structlog

log = structlog.get_logger()

LOOK_SECONDS = 0.1
"""From one look at the read under way to the next."""
MOST_SECONDS = 0.1
"""Seconds of CPU time that a read may take: one of data takes less than a thousandth of that."""


class ReadWatch:
    """Looks after the reads of a process: one at a time, since its event loop makes them all."""

    def __init__(self) -> None:
        self._empty = os.open(os.devnull, os.O_RDONLY)
        self._reader: Reader | None = None
        self._number = 0
        self._lock = threading.Lock()  # held while a read is cut, and while it ends
        self._thread: threading.Thread | None = None

    def reader(self, fileno: int, client: str) -> Reader:
        """Return the context of reads of a connection in this thread, and look from here on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="TLS reads", daemon=True)
            self._thread.start()
        return Reader(self, fileno, client)

    def began(self, reader: Reader) -> None:
        """Note that a read has begun."""
        self._number += 1
        self._reader = reader

    def ended(self) -> None:
        """Note that it has ended: its descriptor may be closed, and become another connection's."""
        with self._lock:
            self._reader = None

    def _look(self) -> None:
        seen, since = 0, 0.0
        while True:
            time.sleep(LOOK_SECONDS)
            with self._lock:
                reader, number = self._reader, self._number
                if reader is None or reader.is_cut:
                    continue
                if number != seen:
                    seen, since = number, reader.cpu_seconds()
                elif reader.cpu_seconds() - since >= MOST_SECONDS:
                    reader.cut(self._empty)


class Reader:
    """A context for each read of a connection. Leaving it raises ConnectionAbortedError when the
    read was cut: the descriptor is still open then, and no socket any more."""

    __slots__ = ("_client", "_fileno", "_thread", "_watch", "is_cut")

    def __init__(self, watch: ReadWatch, fileno: int, client: str) -> None:
        self._watch, self._fileno, self._client = watch, fileno, client
        self._thread = threading.get_ident()
        self.is_cut = False

    def __enter__(self) -> None:
        self._watch.began(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watch.ended()
        if self.is_cut:
            log.warning("a client that kept TLS busy was cut", stranger=self._client)
            raise ConnectionAbortedError("TLS was kept busy")

    def cpu_seconds(self) -> float:
        """Return the CPU time that its thread has taken."""
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread))

    def cut(self, empty: int) -> None:
        """Have the read find the end of its input."""
        self.is_cut = True
        os.dup2(empty, self._fileno, inheritable=False)
