"""From claimed jobs to mail transactions: one message, one reverse-path, one transaction (RFC
5321 §3.3)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.bodies import BodyReader
from posthorn.ports.queue import TRANSACTION_RECIPIENTS, Job
from posthorn.wire.auth.dkim import by_form
from posthorn.wire.message.header import header_end
from posthorn.wire.message.tls_required import is_tls_optional
from posthorn_relay.smtp.types import MailTransaction, Recipient

WHOLE_BYTES = 1024 * 1024
"""Messages up to this size are read in one piece; larger ones are streamed."""


def groups(jobs: Iterable[Job]) -> list[list[Job]]:
    """Group jobs that may share a transaction, in the order they came."""
    found: dict[tuple[object, str, str], list[list[Job]]] = {}
    ordered: list[list[Job]] = []
    for job in jobs:
        ours = found.setdefault((job.message, job.reverse_path, job.header), [])
        if not ours or len(ours[-1]) >= TRANSACTION_RECIPIENTS:
            ours.append([])
            ordered.append(ours[-1])
        ours[-1].append(job)
    return ordered


async def _has_utf8_header(location: BodyLocation, cut: int, bodies: BodyReader) -> bool:
    """Return whether the header of a large message is not ASCII, or does not end in the first
    piece."""
    async with aclosing(bodies.stream(location)) as pieces:
        async for piece in pieces:
            end = header_end(piece[cut:])
            return end < 0 or not piece[cut : cut + end].isascii()
    return False


async def transaction_for(jobs: Sequence[Job], bodies: BodyReader) -> MailTransaction:
    """Return the transaction of a group. A small message is read here, and only such a one may say
    that it needs no TLS; raises Unavailable."""
    job = jobs[0]
    signature, other = by_form(job.signature)
    location, cut, lead = job.location, job.return_path_octets, (job.header + signature).encode()
    if bodies.whole(location):
        body = lead + (await bodies.read(location))[cut:]
        eight_bit = not body.isascii()
        # Submitted with SMTPUTF8, it needs the extension only for a non-ASCII address (checked by
        # the client) or header.
        utf8 = job.smtputf8 and eight_bit and not body[: header_end(body)].isascii()

        async def content() -> AsyncGenerator[bytes]:
            yield body

        size, tls_optional = len(body), is_tls_optional(body)
    else:
        tls_optional = False
        eight_bit, utf8 = True, job.smtputf8 and await _has_utf8_header(location, cut, bodies)
        size = len(lead) + location.size - cut

        async def content() -> AsyncGenerator[bytes]:
            if lead:
                yield lead
            left = cut
            async with aclosing(bodies.stream(location)) as pieces:
                async for piece in pieces:
                    if left < len(piece):
                        yield piece[left:] if left else piece
                    left = max(0, left - len(piece))

    return MailTransaction(
        reverse_path=job.reverse_path,
        recipients=[Recipient(one.recipient, one.notify, one.orcpt) for one in jobs],
        size=size,
        content=content,
        has_dot_lines=location.has_dot_lines,
        eight_bit=eight_bit,
        smtputf8=utf8,
        ret=job.ret,
        envid=job.envid,
        signature_at=len(job.header),
        signature_bytes=len(signature),
        seven_bit_signature=other.encode(),
        tls_optional=tls_optional,
        forwarded=bool(job.header) and not job.signature,
    )
