"""Making a parcel fit for a host: no 8-bit octets without 8BITMIME, no line over 998 octets (RFC 6152 §3, RFC 5321 §4.5.3.1.6).

Rules:

- A message that is at hand whole is looked at in memory. A larger one is read once more before it is sent, since its first part may
  already have to say that it is encoded; only where it has to be converted it is laid into a file, and so is what becomes of it.
- Others' mail that is forwarded keeps its octets: its long lines are sent as they came (a stranger's signature would break), and
  are converted only for a host that has refused them. 8-bit octets are converted for a host without 8BITMIME.
- Our own signature does not hold for what is converted. What we signed is converted to its 7-bit form, for whatever reason, and
  goes with the signature over that form, which delivery has made beforehand, or with none (ADR 26). Strangers' signatures stay.
- Conversions take turns in one thread, but for small messages, which take less time than the way there.
"""

from __future__ import annotations

import asyncio
import mmap
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Container
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import replace
from typing import BinaryIO

from prometheus_client import Counter

from posthorn.ports.errors import Unavailable
from posthorn.wire.message.seven_bit import Conversion, Inconvertible, convert, is_fit
from posthorn.wire.message.transfer_encoding import MAX_LINE, Octets, is_seven_bit
from posthorn_relay.transport import Failed, Parcel, Verdict

_AT_ONCE = 32 * 1024
"""Octets of a message that is converted on the spot: about a millisecond."""
_PIECE = 256 * 1024

_CONVERTED = " (sent in another transfer encoding)"
_UNSIGNED = " (sent in another transfer encoding, without our signature)"
_ABOUT_FORM = frozenset({"5.5.2", "5.6.0", "5.6.1", "5.6.3", "5.6.11"})
_LINES = re.compile(r"\blines?\b", re.IGNORECASE)

_thread = ThreadPoolExecutor(1, "conversion")

_conversions = Counter(
    "posthorn_relay_conversions_total",
    "Messages that a host did not take as they were: sent in another encoding, or impossible to convert",
    ["outcome"],
)


async def form_for(
    parcel: Parcel, whole: bytes | None, offered: Container[str], stack: AsyncExitStack, *, long_lines: bool = False
) -> tuple[Parcel, str]:
    """Return the parcel in a form that a host takes, if it can be had so, and a remark for the trace.

    ``offered``: the host's answer to EHLO; else as ``fitted``. Raises Inconvertible for want of SMTPUTF8 alone.
    """
    lacks_utf8 = parcel.smtputf8 and "SMTPUTF8" not in offered
    eight_bit = not lacks_utf8 and ("8BITMIME" in offered or not parcel.eight_bit)
    try:
        fit = await fitted(parcel, whole, eight_bit=eight_bit, stack=stack, long_lines=long_lines)
    except Inconvertible as refusal:
        if lacks_utf8:
            raise
        return parcel, f" (sent as it is, for it cannot be converted: {refusal})"
    if fit is parcel:
        return parcel, ""
    return fit, _UNSIGNED if parcel.signature_bytes and not fit.signature_bytes else _CONVERTED


def is_about_lines(verdict: Verdict | None) -> bool:
    """Whether content was refused for its form, as far as can be told from the reply."""
    return (
        isinstance(verdict, Failed)
        and verdict.permanent
        and verdict.stage in ("data", "end")
        and (verdict.code == 500 or verdict.status in _ABOUT_FORM or _LINES.search(verdict.reply) is not None)
    )


async def fitted(
    parcel: Parcel, whole: bytes | None, *, eight_bit: bool, stack: AsyncExitStack, long_lines: bool = False
) -> Parcel:
    """Give the parcel as a host takes it: the same one where it is fit. What a new one needs lives as long as ``stack``.

    ``whole`` is its content where that is at hand; ``eight_bit``: the host takes 8-bit octets where the parcel has them;
    ``long_lines``: they are no reason to convert it. Raises Inconvertible, and what the content raises.
    """
    if eight_bit and long_lines:
        return parcel
    try:
        if whole is not None:
            if is_seven_bit(whole, 0, len(whole)) if long_lines else is_fit(whole, eight_bit=eight_bit):
                return parcel
            made = await _of_octets(parcel, whole, eight_bit and not _is_signed(parcel))
        else:
            if await _is_fit(parcel, eight_bit, long_lines):
                return parcel
            made = await _of_stream(parcel, eight_bit and not _is_signed(parcel), stack)
    except Inconvertible:
        _conversions.labels("impossible").inc()
        raise
    _conversions.labels("converted").inc()
    return made


def _is_signed(parcel: Parcel) -> bool:
    return parcel.signature_bytes > 0 or bool(parcel.seven_bit_signature)


def _converted(source: Octets, parcel: Parcel, eight_bit: bool) -> Conversion:
    made = convert(source, eight_bit=eight_bit)
    if made.has_raw_header and parcel.smtputf8:
        raise Inconvertible("its header has an address that is not ASCII")
    return made


def _as_made(parcel: Parcel, size: int, content: Callable[[], AsyncIterator[bytes]], eight_bit: bool) -> Parcel:
    return replace(
        parcel,
        size=size,
        content=content,
        eight_bit=parcel.eight_bit and eight_bit,
        smtputf8=parcel.smtputf8 and eight_bit,
        signature_at=0,
        signature_bytes=len(parcel.seven_bit_signature),
    )


async def _unsigned(parcel: Parcel) -> AsyncIterator[bytes]:
    """Give the content without our own signature."""
    begin, at = parcel.signature_at, 0
    end = begin + parcel.signature_bytes
    async with aclosing(parcel.content()) as pieces:  # type: ignore[type-var]  # it is a generator
        async for piece in pieces:
            if begin < end and at < end:
                yield piece[: max(0, begin - at)] + piece[max(0, end - at) :]
            else:
                yield piece
            at += len(piece)


async def _of_octets(parcel: Parcel, whole: bytes, eight_bit: bool) -> Parcel:
    bare = whole[: parcel.signature_at] + whole[parcel.signature_at + parcel.signature_bytes :]

    def make() -> bytes:
        return b"".join((parcel.seven_bit_signature, *_converted(bare, parcel, eight_bit).blocks()))

    made = make() if len(whole) <= _AT_ONCE else await _run(make)

    async def content() -> AsyncIterator[bytes]:
        yield made

    return _as_made(parcel, len(made), content, eight_bit)


async def _of_stream(parcel: Parcel, eight_bit: bool, stack: AsyncExitStack) -> Parcel:
    try:
        with tempfile.TemporaryFile() as laid:
            async with aclosing(_unsigned(parcel)) as pieces:  # type: ignore[type-var]  # it is a generator
                async for piece in pieces:
                    await asyncio.to_thread(laid.write, piece)
            made = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
            size = await _run(lambda: _convert_file(laid, made, parcel, eight_bit))
    except OSError as error:
        raise Unavailable("spool") from error

    async def content() -> AsyncIterator[bytes]:
        for at in range(0, size, _PIECE):
            yield await asyncio.to_thread(_read, made, at)

    return _as_made(parcel, size, content, eight_bit)


def _convert_file(laid: BinaryIO, made: BinaryIO, parcel: Parcel, eight_bit: bool) -> int:
    laid.flush()
    with closing(mmap.mmap(laid.fileno(), 0, access=mmap.ACCESS_READ)) as octets:
        size = made.write(parcel.seven_bit_signature)
        size += sum(made.write(block) for block in _converted(octets, parcel, eight_bit).blocks())
    made.flush()
    return size


def _read(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(_PIECE)


async def _is_fit(parcel: Parcel, eight_bit: bool, long_lines: bool) -> bool:
    """Look at a message as it comes, whole lines at a time."""
    if long_lines:
        async with aclosing(parcel.content()) as pieces:  # type: ignore[type-var]  # it is a generator
            async for piece in pieces:
                if not piece.isascii():
                    return False
        return True
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
