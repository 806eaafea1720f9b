"""Downgrading a message to what a host takes: no 8-bit data without 8BITMIME, no line over 998
bytes.

Rules (RFC 6152 §3, RFC 5321 §4.5.3.1.6):

- A message that is in memory whole is examined there. A larger one is read once more before it is
  sent, since its first part may already have to say that it is encoded; only where it has to be
  converted it is written to a file, and so is the converted form.
- Forwarded mail of others keeps its bytes: its long lines are sent as they came (a stranger's
  signature would break), and are converted only for a host that has refused them. 8-bit data is
  converted for a host without 8BITMIME.
- Our own signature does not hold for a converted message. What we signed is converted to its 7-bit
  form, for whatever reason, and sent with the signature of that form, which delivery has made
  beforehand, or without one (ADR 26). Signatures of others stay.
- Conversions take turns in one thread, except small ones, which take less time than the switch.
"""

from __future__ import annotations

import asyncio
import mmap
import re
import tempfile
from collections.abc import AsyncGenerator, Callable, Container
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import replace
from typing import BinaryIO

from prometheus_client import Counter

from posthorn.ports.errors import Unavailable
from posthorn.wire.message.content_fields import Inconvertible
from posthorn.wire.message.seven_bit import Conversion, convert, is_fit
from posthorn.wire.message.transfer_encoding import MAX_LINE, Octets, is_seven_bit
from posthorn_relay.smtp.types import Failed, MailTransaction, SmtpResult

_MAX_INLINE = 32 * 1024
"""Bytes of a message that is converted on the event loop: about a millisecond."""
_PIECE = 256 * 1024

_CONVERTED = " (sent in another transfer encoding)"
_UNSIGNED = " (sent in another transfer encoding, without our signature)"
_ABOUT_FORM = frozenset({"5.5.2", "5.6.0", "5.6.1", "5.6.3", "5.6.11"})
_LINES = re.compile(r"\blines?\b", re.IGNORECASE)

_thread = ThreadPoolExecutor(1, "conversion")

_conversions = Counter(
    "posthorn_relay_conversions_total",
    "Messages that a host does not take as they are: converted, or impossible to convert",
    ["outcome"],
)


async def acceptable_form(
    transaction: MailTransaction,
    whole: bytes | None,
    offered: Container[str],
    stack: AsyncExitStack,
    *,
    long_lines: bool = False,
) -> tuple[MailTransaction, str]:
    """Return the transaction in a form that the host takes, if possible, and a remark for the
    trace.

    ``offered``: the host's extensions; the rest as in ``downgraded``. Raises Inconvertible only
    where the host lacks SMTPUTF8.
    """
    lacks_utf8 = _lacks_utf8(transaction, offered)
    eight_bit = _takes_eight_bit(transaction, offered)
    try:
        fit = await downgraded(
            transaction, whole, eight_bit=eight_bit, stack=stack, long_lines=long_lines
        )
    except Inconvertible as refusal:
        if lacks_utf8:
            raise
        return transaction, f" (sent as it is, for it cannot be converted: {refusal})"
    if fit is transaction:
        return transaction, ""
    return fit, _UNSIGNED if transaction.signature_bytes and not fit.signature_bytes else _CONVERTED


def is_acceptable(transaction: MailTransaction, whole: bytes, offered: Container[str]) -> bool:
    """Return whether a host takes the transaction as it is. ``whole`` is its content."""
    return is_fit(whole, eight_bit=_takes_eight_bit(transaction, offered))


def is_about_lines(result: SmtpResult | None) -> bool:
    """Return whether the content was refused for its form, as far as the reply tells."""
    return (
        isinstance(result, Failed)
        and result.permanent
        and result.stage in ("data", "end")
        and (
            result.code == 500
            or result.status in _ABOUT_FORM
            or _LINES.search(result.reply) is not None
        )
    )


async def downgraded(
    transaction: MailTransaction,
    whole: bytes | None,
    *,
    eight_bit: bool,
    stack: AsyncExitStack,
    long_lines: bool = False,
) -> MailTransaction:
    """Return the transaction as a host takes it: the same one where nothing needs converting.

    ``whole`` is its content if that is in memory; ``eight_bit``: the host takes 8-bit data where
    the transaction has it; ``long_lines``: they are no reason to convert. Files of a converted one
    live as long as ``stack``. Raises Inconvertible, and what the content raises.
    """
    if eight_bit and long_lines:
        return transaction
    try:
        if whole is not None:
            if (
                is_seven_bit(whole, 0, len(whole))
                if long_lines
                else is_fit(whole, eight_bit=eight_bit)
            ):
                return transaction
            made = await _convert_bytes(
                transaction, whole, eight_bit and not _is_signed(transaction)
            )
        else:
            if await _is_acceptable(transaction, eight_bit, long_lines):
                return transaction
            made = await _convert_stream(
                transaction, eight_bit and not _is_signed(transaction), stack
            )
    except Inconvertible:
        _conversions.labels("impossible").inc()
        raise
    _conversions.labels("converted").inc()
    return made


def _lacks_utf8(transaction: MailTransaction, offered: Container[str]) -> bool:
    return transaction.smtputf8 and "SMTPUTF8" not in offered


def _takes_eight_bit(transaction: MailTransaction, offered: Container[str]) -> bool:
    return not _lacks_utf8(transaction, offered) and (
        "8BITMIME" in offered or not transaction.eight_bit
    )


def _is_signed(transaction: MailTransaction) -> bool:
    return transaction.signature_bytes > 0 or bool(transaction.seven_bit_signature)


def _converted(source: Octets, transaction: MailTransaction, eight_bit: bool) -> Conversion:
    made = convert(source, eight_bit=eight_bit)
    if made.has_raw_header and transaction.smtputf8:
        raise Inconvertible("its header has an address that is not ASCII")
    return made


def _with_content(
    transaction: MailTransaction,
    size: int,
    content: Callable[[], AsyncGenerator[bytes]],
    eight_bit: bool,
) -> MailTransaction:
    return replace(
        transaction,
        size=size,
        content=content,
        eight_bit=transaction.eight_bit and eight_bit,
        smtputf8=transaction.smtputf8 and eight_bit,
        signature_at=0,
        signature_bytes=len(transaction.seven_bit_signature),
    )


async def _unsigned(transaction: MailTransaction) -> AsyncGenerator[bytes]:
    """Yield the content without our own signature."""
    begin, at = transaction.signature_at, 0
    end = begin + transaction.signature_bytes
    async with aclosing(transaction.content()) as pieces:
        async for piece in pieces:
            if begin < end and at < end:
                yield piece[: max(0, begin - at)] + piece[max(0, end - at) :]
            else:
                yield piece
            at += len(piece)


async def _convert_bytes(
    transaction: MailTransaction, whole: bytes, eight_bit: bool
) -> MailTransaction:
    bare = (
        whole[: transaction.signature_at]
        + whole[transaction.signature_at + transaction.signature_bytes :]
    )

    def make() -> bytes:
        return b"".join(
            (transaction.seven_bit_signature, *_converted(bare, transaction, eight_bit).blocks())
        )

    made = make() if len(whole) <= _MAX_INLINE else await _run(make)

    async def content() -> AsyncGenerator[bytes]:
        yield made

    return _with_content(transaction, len(made), content, eight_bit)


async def _convert_stream(
    transaction: MailTransaction, eight_bit: bool, stack: AsyncExitStack
) -> MailTransaction:
    try:
        with tempfile.TemporaryFile() as source:
            async with aclosing(_unsigned(transaction)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(source.write, piece)
            made = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
            size = await _run(lambda: _convert_file(source, made, transaction, eight_bit))
    except OSError as error:
        raise Unavailable("spool") from error

    async def content() -> AsyncGenerator[bytes]:
        for at in range(0, size, _PIECE):
            yield await asyncio.to_thread(_read, made, at)

    return _with_content(transaction, size, content, eight_bit)


def _convert_file(
    source: BinaryIO, made: BinaryIO, transaction: MailTransaction, eight_bit: bool
) -> int:
    source.flush()
    with closing(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)) as data:
        size = made.write(transaction.seven_bit_signature)
        size += sum(
            made.write(block) for block in _converted(data, transaction, eight_bit).blocks()
        )
    made.flush()
    return size


def _read(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(_PIECE)


async def _is_acceptable(transaction: MailTransaction, eight_bit: bool, long_lines: bool) -> bool:
    """Examine a message as it is read, whole lines at a time."""
    if long_lines:
        async with aclosing(transaction.content()) as pieces:
            async for piece in pieces:
                if not piece.isascii():
                    return False
        return True
    line = b""
    async with aclosing(transaction.content()) as pieces:
        async for piece in pieces:
            seen = line + piece
            cut = seen.rfind(b"\r\n") + 2 if b"\r\n" in seen else 0
            line = seen[cut:]
            if (
                not is_fit(seen[:cut], eight_bit=eight_bit)
                or len(line.removesuffix(b"\r")) > MAX_LINE
            ):
                return False
    return is_fit(line, eight_bit=eight_bit)


async def _run[T](work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_thread, work)
