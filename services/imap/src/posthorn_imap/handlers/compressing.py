"""COMPRESS (RFC 4978)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Compress
from posthorn_imap.answering import Handler, No

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession


async def _compress(session: ImapSession, _: Compress) -> None:
    if session.is_compressed:
        raise No("both directions are compressed already", b"COMPRESSIONACTIVE")
    session.is_compressed = True
    session.out.send(replies.tagged(session.tag, "OK", "both directions are compressed from here"))
    # what has come behind the command is compressed (mox f6132bd)
    session.out.start_deflate(session.machine.compressed())
    session.machine.ready()


HANDLERS: dict[type, Handler] = {Compress: _compress}
"""Command to handler."""
