"""Names of files in a cabinet ([MS-CAB]): their headers stand together near its beginning."""

from __future__ import annotations

_MOST_FILES = 100
_FIXED_BYTES = 16  # of a file's header, before its name


def cab_names(head: bytes, _tail: bytes) -> tuple[list[str], bool]:
    """Return the names in a cabinet."""
    names: list[str] = []
    at = int.from_bytes(head[16:20], "little")
    for _ in range(min(int.from_bytes(head[28:30], "little"), _MOST_FILES)):
        name, end, _ = head[at + _FIXED_BYTES : at + _FIXED_BYTES + 512].partition(b"\0")
        if not end:
            break
        names.append(name.decode("utf-8", "replace"))
        at += _FIXED_BYTES + len(name) + 1
    return names, False
