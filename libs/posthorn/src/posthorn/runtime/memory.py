"""How the C library gets memory for a process with many connections.

uvloop keeps a buffer of 256 KiB for each TLS connection, of which an idle one touches a few KiB.
glibc maps a block of this size apart, so that the rest costs nothing, but only until the first such
block is freed: then it takes them from the heap, where they come to lie on pages that others have
touched. 12 KiB more for each of 1,000 connections were measured, and it grows as clients come and go.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
_THRESHOLD_BYTES = 128 * 1024


def map_large_blocks() -> bool:
    """Have blocks of 128 KiB and more mapped apart for as long as the process lives; return whether
    the C library can do that."""
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES))
    except AttributeError:  # not glibc
        return False
