"""Making a parcel fit for a host: no 8-bit octets without 8BITMIME, no line over 998 octets (RFC 6152 §3, RFC 5321 §4.5.3.1.6).

Rules:

- A message that is at hand whole is looked at in memory. A larger one is read once more before it is sent, since its first part may
  already have to say that it is encoded; only where it has to be converted it is laid into a file, and so is what becomes of it.
- Conversions take turns in one thread, but for small messages, which take less time than the way there.
"""

from __future__ import annotations

import asyncio
import mmap
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import replace
from typing import BinaryIO

from prometheus_client import Counter

from posthorn.ports.faults import Unavailable
from posthorn.wire.seven_bit import Inconvertible, convert, is_fit
from posthorn.wire.transfer_encoding import MAX_LINE
from posthorn_relay.transport import Parcel

_AT_ONCE = 32 * 1024
"""Octets of a message that is converted on the spot: about a millisecond."""
_PIECE = 256 * 1024

_thread = ThreadPoolExecutor(1, "conversion")

_conversions = Counter(
    "posthorn_relay_conversions_total",
    "Messages that a host did not take as they were: sent in another encoding, or impossible to convert",
    ["outcome"],
)


async def fitted(parcel: Parcel, whole: bytes | None, *, eight_bit: bool, stack: AsyncExitStack) -> Parcel:
    """Give the parcel as a host takes it: the same one where it is fit. What a new one needs lives as long as ``stack``.

    ``whole`` is its content where that is at hand, ``eight_bit``: the host offers 8BITMIME. Raises Inconvertible, and what the
    content raises.
    """
    try:
        if whole is not None:
            if is_fit(whole, eight_bit=eight_bit):
                return parcel
            made = await _of_octets(parcel, whole, eight_bit)
        else:
            if await _is_fit(parcel, eight_bit):
                return parcel
            made = await _of_stream(parcel, eight_bit, stack)
    except Inconvertible:
        _conversions.labels("impossible").inc()
        raise
    _conversions.labels("converted").inc()
    return made


async def _of_octets(parcel: Parcel, whole: bytes, eight_bit: bool) -> Parcel:
    def make() -> bytes:
        return b"".join(convert(whole, eight_bit=eight_bit).blocks())

    made = make() if len(whole) <= _AT_ONCE else await _run(make)

    async def content() -> AsyncIterator[bytes]:
        yield made

    return replace(parcel, size=len(made), content=content, eight_bit=parcel.eight_bit and eight_bit)


async def _of_stream(parcel: Parcel, eight_bit: bool, stack: AsyncExitStack) -> Parcel:
    try:
        with tempfile.TemporaryFile() as laid:
            async with aclosing(parcel.content()) as pieces:  # type: ignore[type-var]  # it is a generator
                async for piece in pieces:
                    await asyncio.to_thread(laid.write, piece)
            made = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
            size = await _run(lambda: _convert_file(laid, made, eight_bit))
    except OSError as error:
        raise Unavailable("spool") from error

    async def content() -> AsyncIterator[bytes]:
        for at in range(0, size, _PIECE):
            yield await asyncio.to_thread(_read, made, at)

    return replace(parcel, size=size, content=content, eight_bit=parcel.eight_bit and eight_bit)


def _convert_file(laid: BinaryIO, made: BinaryIO, eight_bit: bool) -> int:
    laid.flush()
    with closing(mmap.mmap(laid.fileno(), 0, access=mmap.ACCESS_READ)) as octets:
        size = sum(made.write(block) for block in convert(octets, eight_bit=eight_bit).blocks())
    made.flush()
    return size


def _read(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(_PIECE)


async def _is_fit(parcel: Parcel, eight_bit: bool) -> bool:
    """Look at a message as it comes, whole lines at a time."""
    line = b""
    async with aclosing(parcel.content()) as pieces:  # type: ignore[type-var]  # it is a generator
        async for piece in pieces:
            seen = line + piece
            cut = seen.rfind(b"\r\n") + 2 if b"\r\n" in seen else 0
            line = seen[cut:]
            if not is_fit(seen[:cut], eight_bit=eight_bit) or len(line.removesuffix(b"\r")) > MAX_LINE:
                return False
    return is_fit(line, eight_bit=eight_bit)


async def _run[T](work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_thread, work)
