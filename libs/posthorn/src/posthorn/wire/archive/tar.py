"""Archives of ``tar`` (POSIX.1-2001, ustar and pax) as a stream: written without seeking, read
piece by piece.

Rules:

- Plain files are read; directories, links and devices are ignored. Long names come by pax headers
  or GNU's ``L`` entries.
- Nothing is ever written to a path of an archive, so paths need no check.
- IMAP keywords of a message are a record of its pax header, ``POSTHORN.keywords``, separated by
  spaces; its unique id in POP3 is another, ``POSTHORN.uidl`` (POSIX.1-2001 leaves names with a
  vendor in capitals to vendors).
- Data before a file (pax headers, long names) has a limit of its own, so that an archive cannot
  exhaust memory with it.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from posthorn.wire.archive.compressed import compression_of

BLOCK = 512
END = bytes(2 * BLOCK)
"""The end of an archive."""
KEYWORDS = "POSTHORN.keywords"
UNIQUE_ID = "POSTHORN.uidl"
_LONGEST_HEADER = 64 * 1024
_LONGEST_PATH = 4096


class NotTarError(ValueError):
    """The bytes are not an archive, or end prematurely."""


@dataclass(frozen=True, slots=True)
class TarFile:
    """A file of an archive."""

    path: str
    modified_at: float
    """Seconds since the epoch."""
    content: bytes | None
    """None when it is longer than the limit."""
    keywords: str = ""
    """Separated by spaces, as the archive has them."""
    unique_id: str = ""
    """Unique id in the POP3 server that it comes from, as the archive has it."""


def file_header(
    path: str, size: int, at: float, keywords: Sequence[str] = (), *, unique_id: str = ""
) -> bytes:
    """Return the header of a file of ``size`` bytes, last changed at ``at`` in seconds since the
    epoch."""
    info = tarfile.TarInfo(path)
    records = {KEYWORDS: " ".join(keywords), UNIQUE_ID: unique_id}
    info.pax_headers = {name: value for name, value in records.items() if value}
    info.size, info.mtime, info.mode = size, int(at), 0o600
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def directory_header(path: str) -> bytes:
    """Return the entry of a directory."""
    info = tarfile.TarInfo(path)
    info.type, info.mode = tarfile.DIRTYPE, 0o700
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """Return the padding after the ``size`` bytes of a file."""
    return bytes(-size % BLOCK)


class TarReader:
    """Reads an archive. ``limit``: bytes of one file that are kept; ``on_directory`` gets each
    directory's path."""

    def __init__(self, limit: int, on_directory: Callable[[str], None] | None = None) -> None:
        self._limit = limit
        self._on_directory = on_directory
        self._held = bytearray()
        self._info: tarfile.TarInfo | None = None
        self._skip = 0
        self._keywords = self._unique_id = ""  # of the present file
        self._over: dict[str, str] = {}  # values of pax and GNU headers for the next file
        self._is_over = False
        self._began = False

    def feed(self, data: bytes) -> Iterator[TarFile]:
        """Process a piece; return the files that are complete. Raises NotTarError."""
        self._held += data
        while not self._is_over:
            if self._skip:
                gone = min(self._skip, len(self._held))
                del self._held[:gone]
                self._skip -= gone
                if self._skip:
                    return
            if self._info is None and not self._header():
                return
            if self._info is not None:
                size = self._info.size
                if len(self._held) < size + -size % BLOCK:
                    return
                content = bytes(self._held[:size])
                del self._held[: size + -size % BLOCK]
                info, self._info = self._info, None
                found = self._taken(info, content)
                if found is not None:
                    yield found
            elif (left := self._left_out) is not None:
                self._left_out = None
                yield left
        self._held.clear()

    _left_out: TarFile | None = None

    def end(self) -> None:
        """Finish. Raises NotTarError when the archive is incomplete."""
        if not self._began and (form := compression_of(self._held)):
            raise NotTarError(f"it is compressed ({form}); unpack it first")
        if not self._began or self._held or self._info is not None or self._skip:
            raise NotTarError("the archive ends prematurely")

    def _header(self) -> bool:
        """Read the next header; False while it is not complete."""
        if len(self._held) < BLOCK:
            return False
        block = bytes(self._held[:BLOCK])
        del self._held[:BLOCK]
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            if self._began and not block.strip(b"\0"):
                self._is_over = True
                return True
            if not self._began and not block.strip(b"\0"):
                self._began = self._is_over = True  # an empty archive
                return True
            form = None if self._began else compression_of(block)
            raise NotTarError(
                f"it is compressed ({form}); unpack it first"
                if form
                else "this is not a tar archive"
            ) from None
        self._began = True
        is_header = info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
        if not is_header:
            self._apply(info)
        if info.size < 0:
            raise NotTarError("a file has a negative size")
        if is_header and info.size > _LONGEST_HEADER:
            raise NotTarError("a header is too long")
        is_kept = is_header or info.isreg()
        if is_kept and info.size <= max(self._limit, _LONGEST_HEADER if is_header else 0):
            self._info = info
            return True
        self._skip = (
            info.size + -info.size % BLOCK
            if info.isreg() or info.type not in _WITHOUT_CONTENT
            else 0
        )
        if info.isdir() and self._on_directory is not None:
            self._on_directory(info.name[:_LONGEST_PATH])
        if info.isreg():
            self._left_out = TarFile(info.name[:_LONGEST_PATH], float(info.mtime), None)
        return True

    def _apply(self, info: tarfile.TarInfo) -> None:
        over, self._over = self._over, {}
        self._keywords, self._unique_id = over.get(KEYWORDS, ""), over.get(UNIQUE_ID, "")
        info.name = over.get("path", info.name)
        try:
            info.size = int(over.get("size", info.size))
            info.mtime = float(over.get("mtime", info.mtime))
        except ValueError:
            raise NotTarError("a pax header is not valid") from None

    def _taken(self, info: tarfile.TarInfo, content: bytes) -> TarFile | None:
        if info.type == tarfile.XHDTYPE:
            self._over |= _pax(content)
            return None
        if info.type == tarfile.GNUTYPE_LONGNAME:
            self._over["path"] = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            return None
        path = info.name[:_LONGEST_PATH]
        return TarFile(path, float(info.mtime), content, self._keywords, self._unique_id)


_RECORDS = frozenset({"path", "size", "mtime", KEYWORDS, UNIQUE_ID})
_WITHOUT_CONTENT = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


def _pax(content: bytes) -> dict[str, str]:
    """Parse the records of a pax header: ``<length> <name>=<value>`` and a line feed, the length
    being that of all of it."""
    found: dict[str, str] = {}
    at = 0
    while at < len(content):
        digits, space, _ = content[at : at + 12].partition(b" ")
        if not space or not digits.isdigit() or not 0 < int(digits) <= len(content) - at:
            raise NotTarError("a pax header is not valid")
        record = content[at + len(digits) + 1 : at + int(digits) - 1]
        name, _, value = record.partition(b"=")
        found[name.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += int(digits)
    return {name: value for name, value in found.items() if name in _RECORDS}
