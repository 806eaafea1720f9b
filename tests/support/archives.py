"""Archives for the tests of what is within them: 7z and cabinets as 7-Zip and gcab wrote them, the
others made here."""

from __future__ import annotations

import base64
import io
import lzma
import tarfile

NAMES = ("readme.txt", "run.JS")
"""Names of the files in each of them; the second one runs when it is opened."""

SEVEN_ZIP = base64.b64decode(
    "N3q8ryccAASSEA7FaAAAAAAAAAAgAAAAAAAAAEw+8FoBAARoaQp4CgAAAIEzB64P4OxyY2LTejR4Zaj6Vcx0HYlx"
    "ZRSGceKP7f8xXZDnoVq5UwNz0NuBfgacH0sM99AtWQBKRQa3/OQXZjz9yPTkb9Lk32eyEaN/PP7vyX4QPut1ywbD"
    "/w6pFBcGCQEJXwAHCwEAASMDAQEFXQAQAAAMagoBKN+qgwAA"
)
SEVEN_ZIP_ENCRYPTED = base64.b64decode(
    "N3q8ryccAAQtrVH7EAAAAAAAAABiAAAAAAAAAI3OlKuVFV7l4iWFg4Aupx6wXBU7AQQGAAEJEAAHCwEAAiQG8QcB"
    "ElMP/0w2G5O1kktOHYSo+H+JSyEhAQABAAwHAwAICgF6em/tAAAFARkBABEXAHIAZQBhAGQAbQBlAC4AdAB4AHQA"
    "AAAZABUGAQAggKSBAAA="
)
"""With readme.txt alone."""
SEVEN_ZIP_HIDDEN = base64.b64decode(
    "N3q8ryccAAQh1V9VgAAAAAAAAAAuAAAAAAAAAIrxdWYTKq7Xh5ttU/7JAWu8JInLM8V9e33z9bPJBz5VDFSnmcPD"
    "GMiCPk5kuPs6p53RLfnMXLasStzgNrDN7wUJ/x2vK7hpIg3ME2ozB+p8QN5LXvWp64G+fhu5o77xwY9nWzfjobmp"
    "oEGuK69g8dhAHSrlf6PCBlAdAlOIbESdwyc6GBcGEAEJcAAHCwEAASQG8QcBElMPV+HhYY9D9FvO11T52RGN3wxi"
    "CgGWj+oTAAA="
)
"""Its names are encrypted too."""
CABINET = base64.b64decode(
    "TVNDRgAAAABvAAAAAAAAACwAAAAAAAAAAwEBAAIAAAAAAAAAYgAAAAEAAAADAAAAAAAAAAAAfl0kEyAAcmVhZG1l"
    "LnR4dAACAAAAAwAAAAAAfl0kEyAAc3ViXHJ1bi5KUwBnaQ94BQAFAGhpCngK"
)


def rar4(*, encrypted: bool = False, hidden: bool = False) -> bytes:
    """Return a RAR archive of version 4; ``hidden``: with all its headers encrypted."""
    made = b"Rar!\x1a\x07\x00" + _block4(0x73, 0x80 if hidden else 0, bytes(6))
    for name in ("readme.txt", "sub\\run.JS"):
        content = b"content"
        fixed = b"".join(
            (
                len(content).to_bytes(4, "little") * 2,
                bytes(1 + 4 + 4 + 2),
                len(name).to_bytes(2, "little"),
                bytes(4),
            )
        )
        flags = 0x8000 | 0x04 * encrypted
        made += b"" if hidden else _block4(0x74, flags, fixed + name.encode()) + content
    return made + (bytes(40) if hidden else b"")


def _block4(kind: int, flags: int, rest: bytes) -> bytes:
    size = (7 + len(rest)).to_bytes(2, "little")
    return b"\0\0" + bytes([kind]) + flags.to_bytes(2, "little") + size + rest


def rar5(*, encrypted: bool = False, hidden: bool = False) -> bytes:
    """Return a RAR archive of version 5."""
    made = b"Rar!\x1a\x07\x01\x00"
    if hidden:
        return made + _block5(4, 0, bytes(20)) + bytes(40)
    made += _block5(1, 0, b"\0")
    for name in ("readme.txt", "sub/run.JS"):
        extra = b"\x03\x01\x00\x00" if encrypted else b""
        about = b"\x06\x07\0" + bytes(8) + b"\0\0" + bytes([len(name)]) + name.encode()
        sizes = (bytes([len(extra)]) if extra else b"") + b"\x07"
        made += _block5(2, 0x02 | 0x01 * encrypted, sizes + about + extra) + b"content"
    return made + _block5(5, 0, b"\0")


def _block5(kind: int, flags: int, rest: bytes) -> bytes:
    header = bytes([kind, flags]) + rest
    return bytes(4) + bytes([len(header)]) + header


def tar(mode: str = "") -> bytes:
    """Return a tar archive; ``mode``: ``gz`` or ``xz``."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        for name in ("readme.txt", "sub/run.JS"):
            member = tarfile.TarInfo(name)
            member.size = 700
            archive.addfile(member, io.BytesIO(bytes(700)))
    return file.getvalue()


def bomb() -> bytes:
    """Return an xz file of a few KB that unpacks to 50 MB."""
    return lzma.compress(bytes(50_000_000))
