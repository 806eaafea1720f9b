"""APPEND with one or several messages, and REPLACE (RFC 9051 §6.3.12, RFC 3502, RFC 8508, RFC 6855
§4, RFC 3516 §4.4).

Rules:

- Mailbox and quota are checked before the client sends a message; refused then, it is drained. Not
  so for what is held in memory, where the connection's last APPEND has gone into the same mailbox:
  placing it decides all the same.
- A small message is held in memory, a large one streamed to the blob store while it comes. All
  messages of a command are placed in one transaction, or none.
- What is not known to have been placed is answered with nothing: the connection ends, since a
  client that hears NO appends again. While placing takes long, the client hears that it goes on.
- REPLACE places the new message and removes the old one in one transaction; if the old one is gone,
  nothing is placed (RFC 8508 §3.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import NoRoom
from posthorn.ports.placing import NewMessage, Placed, ReplacedGone, Uploaded
from posthorn.runtime.tasks import cancel_and_wait
from posthorn.wire.imap import replies
from posthorn.wire.imap.append import MessageOptions, Target
from posthorn.wire.imap.events import AppendEnd, AppendMessage, Content, Refused
from posthorn_imap import syncing
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.changing import outcome_known, writable
from posthorn_imap.flags import split_flags
from posthorn_imap.incoming import Incoming

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

log = structlog.get_logger()

INLINE_BYTES = 512 * 1024
"""Bytes up to which a message is held in memory."""
MOST_HELD_BYTES = 16 * 1024 * 1024
"""Bytes of the small messages of one command."""
MOST_MEMORY_BYTES = 256 * 1024 * 1024
"""Bytes of the messages of all commands of this process that are held at once."""
MOST_LARGE = 16
"""Large messages of one command."""
MOST_MESSAGES = 10_000
"""Messages of one command."""
PATIENCE_SECONDS = 15.0
"""How often a client whose messages are being placed hears that it goes on."""
_QUEUED = 8
"""Pieces of a large message that wait for the blob store."""


class _Memory:
    """Bytes that are held by all commands under way."""

    def __init__(self) -> None:
        self.held = 0

    def take(self, size: int) -> bool:
        """Count bytes; return whether they may be held."""
        if self.held + size > MOST_MEMORY_BYTES:
            return False
        self.held += size
        return True


memory = _Memory()
"""Of this process."""


class Append:
    """An APPEND under way: messages that are complete, and the one that comes."""

    def __init__(self, session: ImapSession, target: Target) -> None:
        self._placing = session.backend.placing
        self.target = target
        self.messages: list[NewMessage] = []
        self.announced = 0
        """Bytes of all messages so far, as announced."""
        is_known = target.mailbox == session.appended_to and target.replaces is None
        self.checked = INLINE_BYTES // 2 if is_known else 0
        """Bytes for which there is room, as far as is known: asked again when there come twice as
        many."""
        self.failure: No | None = None
        """Why the command fails at its end."""
        self._held = 0  # bytes counted in memory
        self._large = 0
        self._options = MessageOptions()
        self._incoming = Incoming()
        self._left = 0
        self._body = bytearray()
        self._upload: asyncio.Task[Uploaded] | None = None
        self._queue: asyncio.Queue[bytes | None] | None = None

    def begin(self, options: MessageOptions, size_bytes: int) -> None:
        """Begin a message."""
        self._options, self._left = options, size_bytes
        self._incoming, self._body = Incoming(), bytearray()

    async def add(self, octets: bytes) -> None:
        """Take bytes of the message; at its end it is complete."""
        self._left -= len(octets)
        if self.failure is None:
            await self._put(self._incoming.feed(octets))
        if self.failure is None and not self._left:
            await self._put(self._incoming.end())
        if self._incoming.broken:
            self.fail("the message has too many bare CRs")
        if not self._left:
            await self._complete()

    def fail(self, words: str, code: bytes = b"") -> None:
        """Fail at the end of the command; what comes is discarded."""
        self.failure = self.failure or No(words, code)
        self.discard()

    def discard(self) -> None:
        """Forget the messages, and end an upload under way; what it wrote is an orphan (ADR 10)."""
        self.messages.clear()
        self._body = bytearray()
        memory.held -= self._held
        self._held = 0
        if self._upload is not None:
            self._upload.cancel()
            self._upload = self._queue = None

    async def _put(self, octets: bytes) -> None:
        if self._queue is not None:
            await self._pass_on(octets)
            return
        if not memory.take(len(octets)):
            self.fail("too many messages are being appended, try again", b"UNAVAILABLE")
            return
        self._held += len(octets)
        self._body += octets
        if len(self._body) <= INLINE_BYTES:
            return
        if self._large == MOST_LARGE:
            self.fail(f"a command takes at most {MOST_LARGE} large messages", b"LIMIT")
            return
        self._large += 1
        self._queue = asyncio.Queue(_QUEUED)
        self._upload = asyncio.create_task(self._placing.upload(_pieces(self._queue)))
        body, self._body = bytes(self._body), bytearray()
        self._held -= len(body)
        memory.held -= len(body)
        await self._pass_on(body)

    async def _pass_on(self, octets: bytes | None) -> None:
        """Hand bytes to the upload, at its pace; None: that was all."""
        upload, queue = self._upload, self._queue
        assert upload is not None and queue is not None
        if octets == b"":
            return
        put = asyncio.create_task(queue.put(octets))
        await asyncio.wait({put, upload}, return_when=asyncio.FIRST_COMPLETED)
        if not put.done():  # the upload has failed
            await cancel_and_wait(put)
        if upload.done() and upload.exception() is not None:
            self._failed(upload)

    def _failed(self, upload: asyncio.Task[Uploaded]) -> None:
        error = upload.exception()
        if not isinstance(error, Unavailable):
            assert error is not None
            raise error
        log.warning("a large message cannot be stored", fault=error)
        self.fail("the message cannot be stored at this moment, try again", b"UNAVAILABLE")

    async def _complete(self) -> None:
        uploaded = None
        if self.failure is None and self._queue is not None:
            await self._pass_on(None)
        upload = self._upload
        if self.failure is None and upload is not None:
            await asyncio.wait({upload})
            if upload.exception() is not None:
                self._failed(upload)
            else:
                uploaded = upload.result()
        self._upload = self._queue = None
        if self.failure is not None:
            return
        flags, keywords = split_flags(self._options.flags)
        content = None if uploaded is not None else bytes(self._body)
        self._body = bytearray()
        self.messages.append(
            NewMessage(content, uploaded, flags, tuple(keywords), self._options.date)
        )
        if self._held > MOST_HELD_BYTES or len(self.messages) > MOST_MESSAGES:
            self.fail("append so many messages in several commands", b"LIMIT")


async def _pieces(queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (piece := await queue.get()) is not None:
        yield piece


async def _message(session: ImapSession, event: AppendMessage) -> None:
    """Decide on a message before it is sent."""
    append = session.append
    if append is None or not event.index:
        discard(session)
        append = session.append = Append(session, event.target)
    append.announced += event.size_bytes
    refusal = b""
    if append.announced > 2 * append.checked:
        append.checked = append.announced
        refusal = await _refusal(session, append)
    if refusal:
        session.appended_to = None
        discard(session)
        session.machine.refuse(refusal)
    else:
        append.begin(event.options, event.size_bytes)
        session.out.send(session.machine.accept())
    session.out.flush()


async def _refusal(session: ImapSession, append: Append) -> bytes:
    """Return the reply, without its tag, to a message that is not accepted."""
    target = append.target
    try:
        _replaced(session, target)
        if not await session.backend.placing.check(
            session.account_id, target.mailbox, append.announced
        ):
            return b"NO [TRYCREATE] there is no such mailbox"
    except NoRoom:
        return b"NO [OVERQUOTA] the account has reached its quota"
    except No as error:
        code = b"[%s] " % error.code if error.code else b""
        return b"NO %s%s" % (code, error.words.encode())
    except Unavailable as error:
        log.warning("append refused", fault=error)
        return b"NO [UNAVAILABLE] the mailbox cannot be reached at this moment, try again"
    return b""


async def _content(session: ImapSession, event: Content) -> None:
    assert session.append is not None
    await session.append.add(event.octets)


async def _refused(session: ImapSession, _: Refused) -> None:
    session.appended_to = None
    discard(session)


def discard(session: ImapSession) -> None:
    """Discard what came of an APPEND: it was refused, or the connection has ended."""
    append, session.append = session.append, None
    if append is not None:
        append.discard()


async def _end(session: ImapSession, _: AppendEnd) -> Answer:
    append, session.append = session.append, None
    assert append is not None
    session.appended_to = None
    try:
        if append.failure is not None:
            raise append.failure
        replaced = _replaced(session, append.target)
        placed = await _place(session, append, replaced)
    finally:
        append.discard()
    if placed is None:
        raise No("there is no such mailbox", b"TRYCREATE")
    session.appended_to = append.target.mailbox
    changed = [(session.account_id, placed.mailbox, placed.modseq)]
    code = replies.append_uid(placed.uidvalidity, placed.uids)
    if replaced is None or placed.left is None:
        await session.backend.hints.send(changed)
        return Answer("appended", code)
    mailbox, uid = replaced
    if mailbox != placed.mailbox:
        changed.append((session.account_id, mailbox, placed.left))
        session.mailbox.changed_to(placed.left)
    await session.backend.hints.send(changed)
    session.out.send(replies.untagged("OK", "replaced", code))  # RFC 8508 §3.4
    session.mailbox.remove([uid])
    syncing.tell(session, expunges=True)
    return Answer("replaced")


async def _place(
    session: ImapSession, append: Append, replaced: tuple[int, int] | None
) -> Placed | None:
    task = asyncio.ensure_future(
        session.backend.placing.place(
            session.account_id, append.target.mailbox, tuple(append.messages), replaced
        )
    )
    while not (await asyncio.wait({task}, timeout=PATIENCE_SECONDS))[0]:
        session.out.send(replies.untagged("OK", "still storing"))
        session.out.flush()
    with outcome_known():
        try:
            return task.result()
        except Unavailable as error:
            if error.part != "blobs":  # bodies are written before anything is placed
                raise
            log.warning("messages not appended", fault=error)
            words = "the message cannot be stored at this moment, try again"
            raise No(words, b"UNAVAILABLE") from None
        except ReplacedGone:
            raise No("the message is gone", b"EXPUNGEISSUED") from None


def _replaced(session: ImapSession, target: Target) -> tuple[int, int] | None:
    """Return mailbox and uid of the message that is to be replaced, None for APPEND. Raises No."""
    if target.replaces is None:
        return None
    selected = writable(session)
    uid = target.replaces
    if not target.by_uid:
        if uid > len(selected.numbering):
            raise No("there is no such message")
        uid = selected.numbering.uid(uid)
    return selected.mailbox, uid


EVENT_HANDLERS: dict[type, Handler] = {
    AppendMessage: _message,
    Content: _content,
    AppendEnd: _end,
    Refused: _refused,
}
"""Event to handler."""
