"""Large blocks are mapped apart, also after one was freed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes
from posthorn.runtime.memory import map_large_blocks

class Info(ctypes.Structure):  # struct mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
assert map_large_blocks()
for _ in range(3):
    ctypes.create_string_buffer(512 * 1024)
before = libc.mallinfo2().hblks
kept = [ctypes.create_string_buffer(256 * 1024) for _ in range(10)]
print(libc.mallinfo2().hblks - before)
"""


def test_blocks_like_those_of_tls_connections_do_not_lie_on_the_heap() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert found.stdout.strip() == b"10"
