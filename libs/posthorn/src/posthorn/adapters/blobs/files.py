"""Blobs in a local directory, as durable as the disk.

Layout: the key ``segments/0190abcd…`` lies at ``<root>/segments/0190ab~/0190abcd…``. Names begin
with their time (UUIDv7), so a fan of six hexadecimal digits holds four and a half hours; keys hold
no ``~``, so a fan is never mistaken for a key.

Rules:

- A blob is written under ``<root>/.incoming``, synced, renamed to its place, and the directory
  synced; a reader sees all of it or nothing, and after a crash every acknowledged blob exists.
- A segment is renamed first, and then synced together with its directory, since the two waits are
  one then. What a crash leaves of one that was not acknowledged is an orphan (ADR 10): its name is
  new, so nobody reads it, and no other content had it.
- A directory counts as durable once this process has synced its entry in its parent, whichever
  process created it.
- Keys are checked before they become paths.
"""

from __future__ import annotations

import errno
import heapq
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from posthorn.adapters.blobs.threads import Threads
from posthorn.ports.blobs import SEGMENTS, BlobInfo, BlobMissing, check_key
from posthorn.ports.errors import Full, Unavailable

_FAN = 6
_STALE_SECONDS = 3600.0
_COPY = 1 << 20
_PAGE = 500
_SHORT = 64 * 1024
"""Bytes up to which reads share a thread."""
_PATIENCE = 30.0
_THREADS = 8


class FileBlobs:
    """The port Blobs over the directory ``root``, which is created when missing."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        self._durable: set[Path] = set()
        self._threads = Threads("blobs", _THREADS, _PATIENCE)
        # as many, so that none of the others waits for its turn
        self._syncs = ThreadPoolExecutor(_THREADS, "blob directories")

    async def open(self) -> None:
        """Create the directory and remove the leftovers of crashed writers. Raises Unavailable."""
        await self._run(self._open)

    def close(self) -> None:
        """End the threads."""
        self._threads.close()
        self._syncs.shutdown(wait=False)

    async def put(self, key: str, parts: Sequence[bytes]) -> None:
        store = self._store_segment if key.startswith(SEGMENTS) else self._store
        await self._run(lambda: store(key, lambda out: out.writelines(parts)))

    async def put_file(self, key: str, file: BinaryIO, size: int) -> None:
        """Raises ValueError when the file ends before ``size`` bytes."""
        await self._run(lambda: self._store(key, lambda out: _copy(file, out, size)))

    async def read(self, key: str, offset: int, length: int) -> bytes:
        work = partial(_translated, partial(self._read, key, offset, length))
        if length <= _SHORT:
            return await self._threads.run_short(work)
        return await self._threads.run(work)

    async def stream(
        self, key: str, offset: int, length: int, chunk: int = 262_144
    ) -> AsyncIterator[bytes]:
        pieces = self._threads.pieces(
            lambda: _translated(lambda: _Range(self._open_blob(key), offset, length)),
            lambda blob: _translated(lambda: blob.next(chunk)),
            lambda blob: blob.close(),
        )
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def delete(self, key: str) -> None:
        await self._run(lambda: self._path(key).unlink(missing_ok=True))

    async def move(self, key: str, to: str) -> None:
        await self._run(lambda: self._move(self._path(key), self._path(to)))

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        blobs = self._walk(self._root, "", prefix)
        while page := await self._run(lambda: list(islice(blobs, _PAGE))):
            for blob in page:
                yield blob

    async def probe(self, *, writes: bool = True) -> None:
        """Write and sync a few bytes, to detect a full or read-only disk; or only look."""
        await self._run(self._probe if writes else partial(os.listdir, self._incoming))

    async def _run[T](self, work: Callable[[], T]) -> T:
        return await self._threads.run(lambda: _translated(work))

    def _path(self, key: str) -> Path:
        room, _, name = check_key(key).rpartition("/")
        return self._root / room / f"{name[:_FAN]}~" / name

    def _open(self) -> None:
        self._make(self._root)
        self._make(self._incoming)
        with os.scandir(self._incoming) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > _STALE_SECONDS:
                        Path(entry.path).unlink()

    def _make(self, directory: Path) -> None:
        if directory in self._durable:
            return
        if not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(directory.parent)
        elif (
            self._root in directory.parents
        ):  # another process may have created it a moment ago without syncing yet
            _sync_directory(directory.parent)
        self._durable.add(directory)

    def _store(self, key: str, write: Callable[[BinaryIO], None]) -> None:
        with self._written(key, write) as (out, incoming, path):
            os.fsync(out.fileno())
            incoming.rename(path)
        _sync_directory(path.parent)

    def _store_segment(self, key: str, write: Callable[[BinaryIO], None]) -> None:
        with self._written(key, write) as (out, incoming, path):
            incoming.rename(path)
            try:
                entry = self._syncs.submit(_sync_directory, path.parent)
            except RuntimeError:  # closed meanwhile
                raise Unavailable("blobs", "closed") from None
            try:
                os.fsync(out.fileno())
            finally:
                entry.result()

    @contextmanager
    def _written(
        self, key: str, write: Callable[[BinaryIO], None]
    ) -> Iterator[tuple[BinaryIO, Path, Path]]:
        """Write a file that is not synced yet; yield it with its path and that of the blob."""
        path = self._path(key)
        self._make(path.parent)
        incoming = self._incoming / f"{path.name}.{secrets.token_hex(8)}"
        try:
            with os.fdopen(
                os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", _COPY
            ) as out:
                write(out)
                out.flush()
                yield out, incoming, path
        except BaseException:
            self._durable.clear()  # a directory that was removed is recreated
            with suppress(OSError):
                incoming.unlink()
            raise

    def _move(self, path: Path, to: Path) -> None:
        self._make(to.parent)
        try:
            os.utime(path)
            path.rename(to)
        except FileNotFoundError:
            self._durable.clear()
            raise BlobMissing("blobs", "no such blob") from None
        _sync_directory(to.parent)
        _sync_directory(path.parent)

    def _open_blob(self, key: str) -> int:
        try:
            return os.open(self._path(key), os.O_RDONLY)
        except FileNotFoundError:
            raise BlobMissing("blobs", "no such blob") from None

    def _read(self, key: str, offset: int, length: int) -> bytes:
        blob = _Range(self._open_blob(key), offset, length)
        try:
            return blob.next(length)
        finally:
            blob.close()

    def _walk(self, directory: Path, base: str, prefix: str) -> Iterator[BlobInfo]:
        """Yield blobs below a directory whose keys begin with ``base``, in key order: those of
        its fans merged with deeper ones."""
        fans: list[str] = []
        rooms: list[str] = []
        with suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                if not entry.is_dir():
                    continue
                inside = base + name[:-1] if name.endswith("~") else base + name + "/"
                if name.startswith(".") or not (
                    inside.startswith(prefix) or prefix.startswith(inside)
                ):
                    continue
                (fans if name.endswith("~") else rooms).append(name)

        def shallow() -> Iterator[BlobInfo]:
            for fan in sorted(fans, key=lambda fan: fan[:-1]):
                for name in sorted(os.listdir(directory / fan)):  # noqa: PTH208 - names only: there may be very many
                    if (base + name).startswith(prefix):
                        with suppress(FileNotFoundError):  # deleted since
                            state = (directory / fan / name).stat()
                            yield BlobInfo(
                                base + name,
                                state.st_size,
                                datetime.fromtimestamp(state.st_mtime, UTC),
                            )

        def deeper() -> Iterator[BlobInfo]:
            for room in sorted(rooms, key=lambda name: name + "/"):
                yield from self._walk(directory / room, f"{base}{room}/", prefix)

        yield from heapq.merge(shallow(), deeper(), key=lambda blob: blob.key)

    def _probe(self) -> None:
        probe = self._incoming / f"probe.{secrets.token_hex(8)}"
        try:
            with os.fdopen(
                os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
            ) as out:
                out.write(b"probe\n")
                out.flush()
                os.fsync(out.fileno())
        finally:
            probe.unlink(missing_ok=True)


class _Range:
    """Bytes of an open file, piece by piece."""

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self._descriptor = descriptor
        self._at = offset
        self._left = length

    def next(self, most: int) -> bytes:
        wanted = min(most, self._left)
        pieces: list[bytes] = []
        while wanted:
            piece = os.pread(self._descriptor, wanted, self._at)
            if not piece:
                raise Unavailable("blobs", "the blob is shorter than expected")
            pieces.append(piece)
            wanted -= len(piece)
            self._at += len(piece)
            self._left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        os.close(self._descriptor)


def _translated[T](work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "OSError")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Full("blobs", f"{code}: no space left for bodies") from None
        raise Unavailable("blobs", code) from None


def _copy(file: BinaryIO, out: BinaryIO, size: int) -> None:
    while size:
        piece = file.read(min(size, _COPY))
        if not piece:
            raise ValueError("the file ends before the size given")
        out.write(piece)
        size -= len(piece)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
