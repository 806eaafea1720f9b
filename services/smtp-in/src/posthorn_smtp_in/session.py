"""The commands of a session: what each does, over the grammar of ``posthorn.wire.smtp.commands``.

Rules:

- A command that cannot be obeyed is an error, and a session has few to spare. A refused recipient is no error.
- Octets that were announced are always read to their end before the next command: the content of a refused message must never be
  taken for commands. Where their end cannot be known the session ends.
- DATA is refused at its end, also where the reason was seen earlier (RFC 5321 §4.1.1.4); BDAT at each chunk.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import structlog

from posthorn.wire.message.trace import clean_name
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import (
    Auth,
    BadBdat,
    Bdat,
    CommandError,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    State,
    Vrfy,
    out_of_sequence,
    parse_command,
)
from posthorn.wire.smtp.data import DataScanner, LineEnds
from posthorn.wire.smtp.other_protocols import is_other_protocol
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.connection import Connection, Edge, HangUp
from posthorn_smtp_in.letter import Letter
from posthorn_smtp_in.pace import Pace
from posthorn_smtp_in.service import Client, Transaction

log = structlog.get_logger()


class Session(Connection):
    """One client's session."""

    def __init__(self, edge: Edge, *, secure: bool = False, client: str | None = None) -> None:
        super().__init__(edge, secure=secure, client=client)
        self._state = State.FRESH
        self._errors = 0
        self._transaction: Transaction | None = None
        self._letter: Letter | None = None
        self._chunks = LineEnds()
        self._in_data = False

    @property
    def is_receiving(self) -> bool:
        """Whether a message is coming in."""
        return self._in_data or self._state is State.CHUNKS

    async def obey(self, line: bytes) -> None:
        """Do what a command line says."""
        if self._state is State.FRESH and is_other_protocol(line):
            self.edge.reception.refused(smtp.OTHER_PROTOCOL, self.client)
            raise HangUp(smtp.OTHER_PROTOCOL)
        try:
            command = parse_command(line)
        except CommandError as error:
            self._error(error.reply)
            return
        refusal = out_of_sequence(command, self._state)
        if refusal is None:
            await self._commands[type(command)](self, command)
            return
        if isinstance(command, Data | Bdat) and refusal is smtp.RCPT_FIRST:
            refusal = self._no_recipient()
            self.reply(refusal)
        else:
            self._error(refusal)
        if isinstance(command, Bdat):
            await self._swallow(command.size)

    def forget(self) -> None:
        """Give up the transaction, if there is one."""
        if self._letter is not None:
            self._letter.discard()
            self._letter = None
        self.pace = None
        if self._transaction is not None:
            self.edge.gate.waits(self)
        self._transaction = None
        self._in_data = False
        if self._state is not State.FRESH:
            self._state = State.READY

    def _error(self, reply: Reply) -> None:
        self._errors += 1
        if self._errors >= self.settings.smtp_max_errors:
            reply = smtp.TOO_MANY_ERRORS
        self.edge.reception.refused(reply, self.client)
        if reply is smtp.TOO_MANY_ERRORS:
            raise HangUp(reply)
        self.reply(reply)

    def _no_recipient(self) -> Reply:
        # All were refused. If one of them only for now, a final reply here would make a bounce of it (promise 3).
        assert self._transaction is not None
        return smtp.NO_RECIPIENT_NOW if self._transaction.deferred else smtp.NO_RECIPIENT

    # greeting and TLS

    async def _ehlo(self, command: Ehlo) -> None:
        self._hello(command.name, extended=True)
        settings = self.settings
        starttls = self.tls_context is not None and not self.client.tls
        self.reply(
            smtp.ehlo_reply(
                settings.smtp_hostname,
                settings.smtp_max_size,
                starttls=starttls,
                auth=self._offers_login,
                dsn=self.edge.reception.offers_dsn,
            )
        )

    @property
    def _offers_login(self) -> bool:
        return False

    @property
    def _has_login(self) -> bool:
        return self.client.login is not None

    async def _helo(self, command: Helo) -> None:
        self._hello(command.name, extended=False)
        self.reply(smtp.helo_reply(self.settings.smtp_hostname))

    def _hello(self, name: str, *, extended: bool) -> None:
        self.forget()  # RFC 5321 §4.1.4: as by RSET
        self._state = State.READY
        self.client.helo = clean_name(name)
        self.client.extended = extended

    async def _starttls(self, _: StartTls) -> None:
        if self.client.tls:
            self._error(smtp.TLS_ACTIVE)
        elif self.tls_context is None:
            self._error(smtp.NOT_IMPLEMENTED)
        else:
            self.reply(smtp.READY_FOR_TLS)
            await self.start_tls()
            # nothing that was said in plain counts (RFC 3207 §4.2), but for what it has cost us
            was = self.client
            self.client = Client(was.address, introduced=was.introduced, tls=was.tls, unknown=was.unknown)
            self._state = State.FRESH

    # the transaction

    async def _mail(self, command: Mail) -> None:
        if command.has_auth and not self._offers_login:
            self._error(smtp.UNKNOWN_PARAMETER)
            return
        reply = await self.edge.reception.sender(command, self.client)
        if reply is smtp.SENDER_OK:
            self.edge.gate.began(self)
            self._transaction = Transaction(command, time.monotonic())
            self._state = State.MAIL
        else:
            self.edge.reception.refused(reply, self.client)
        self.reply(reply)

    async def _rcpt(self, command: Rcpt) -> None:
        transaction = self._transaction
        assert transaction is not None
        if not command.is_ascii and not transaction.mail.smtputf8:
            self._error(smtp.NEEDS_SMTPUTF8)
            return
        reply = await self.edge.reception.recipient(transaction, command, self.client)
        if reply.code == smtp.HARVESTING.code:
            raise HangUp(reply)
        if reply is smtp.RECIPIENT_OK:
            self._state = State.RCPT
        self.reply(reply)

    async def _rset(self, _: Rset) -> None:
        self.forget()
        self.reply(smtp.OK)

    async def _data(self, _: Data) -> None:
        transaction = self._transaction
        assert transaction is not None
        self._in_data = True
        self.reply(smtp.START_INPUT)
        self._letter = letter = self._begun(transaction)
        # from strangers a bare CR or LF is refused: it is how a second message is smuggled past one server into another
        scanner = DataScanner(whole=not self._has_login)
        ends = LineEnds(bare_cr=True, dots=True) if self._has_login else None
        while not scanner.ended:
            content = scanner.feed(await self.receive(self.settings.smtp_data_seconds))
            if ends is not None:
                content = ends.feed(content) + (ends.end() if scanner.ended else b"")
            if scanner.broken or (ends is not None and ends.broken):
                letter.fail(smtp.BARE_LINE_END)
            elif content:
                await self._add(letter, content)
            if letter.fault is not None:
                scanner.discard()
        self.put_back(scanner.rest)
        await self._keep(transaction, letter)

    def _begun(self, transaction: Transaction) -> Letter:
        self.pace = Pace(self.settings.smtp_least_rate, self.settings.smtp_least_rate_seconds)
        return self.edge.reception.letter(transaction, self.client)

    async def _bdat(self, command: Bdat) -> None:
        transaction = self._transaction
        assert transaction is not None
        if self._letter is None:
            self._state = State.CHUNKS
            self._chunks = LineEnds(bare_cr=self._has_login)
            self._letter = self._begun(transaction)
        letter = self._letter
        if not await self._refused_already(transaction, letter, command):
            await self._chunk(letter, command.size)
            if command.last and (content := self._chunks.end()):
                await self._add(letter, content)
            if self._chunks.broken:
                letter.fail(smtp.BARE_LINE_END)
            if command.last:
                await self._keep(transaction, letter)
            elif letter.fault is None:
                self.reply(smtp.chunk_taken(command.size))
            else:
                self._refuse_chunk(transaction, letter.fault)

    async def _refused_already(self, transaction: Transaction, letter: Letter, command: Bdat) -> bool:
        """Say so before the chunk is read: it may be long, and a client may stop when it hears of it."""
        if letter.fault is not None:
            self.reply(letter.fault)
        elif letter.content_octets + command.size > self.settings.smtp_max_size:
            letter.fail(smtp.TOO_BIG)
            self._refuse_chunk(transaction, smtp.TOO_BIG)
        else:
            return False
        if command.last:
            self.forget()
        await self._swallow(command.size)
        return True

    def _refuse_chunk(self, transaction: Transaction, reply: Reply) -> None:
        self.edge.reception.refused(reply, self.client, message=str(transaction.id))
        self.reply(reply)

    async def _chunk(self, letter: Letter, octets: int) -> None:
        async for piece in self._pieces(octets):
            if content := self._chunks.feed(piece):
                await self._add(letter, content)

    async def _pieces(self, octets: int) -> AsyncIterator[bytes]:
        """Give so many octets of input as they come."""
        while octets > 0:
            piece = await self.receive(self.settings.smtp_data_seconds)
            if len(piece) > octets:
                self.put_back(piece[octets:])
                piece = piece[:octets]
            octets -= len(piece)
            yield piece

    async def _bad_bdat(self, _: BadBdat) -> None:
        # what follows may be a chunk whose length nobody knows: none of it can be obeyed
        self.edge.reception.refused(smtp.SYNTAX, self.client)
        raise HangUp(smtp.SYNTAX)

    async def _add(self, letter: Letter, content: bytes) -> None:
        try:
            await letter.add(content)
        except Exception as error:
            await self.handle_exception(error)
            letter.fail(smtp.FAULT)  # and the data is read to its end all the same

    async def _keep(self, transaction: Transaction, letter: Letter) -> None:
        try:
            reply = await self.edge.reception.keep(transaction, letter, self.client)
        finally:
            self.forget()
        if reply.code == smtp.REVOKED.code:
            raise HangUp(reply)
        self.reply(reply)

    async def _swallow(self, octets: int) -> None:
        """Read a chunk that is refused. One that is absurdly long is read in part, and the session ends."""
        async for _ in self._pieces(min(octets, self.settings.smtp_max_size)):
            pass
        if octets > self.settings.smtp_max_size:
            self.edge.reception.refused(smtp.ENDLESS_CHUNK, self.client)
            raise HangUp(smtp.ENDLESS_CHUNK)

    # the rest

    async def _noop(self, _: Noop) -> None:
        self.reply(smtp.OK)

    async def _vrfy(self, _: Vrfy) -> None:
        self.reply(smtp.CANNOT_VERIFY)

    async def _expn(self, _: Expn) -> None:
        self._error(smtp.NOT_IMPLEMENTED)

    async def _help(self, _: Help) -> None:
        self.reply(smtp.HELP)

    async def _auth(self, _: Auth) -> None:
        self._error(smtp.NOT_IMPLEMENTED)

    async def _quit(self, _: Quit) -> None:
        raise HangUp(smtp.BYE)

    _commands: ClassVar[dict[type, Callable[[Session, Any], Awaitable[None]]]] = {
        Ehlo: _ehlo,
        Helo: _helo,
        Mail: _mail,
        Rcpt: _rcpt,
        Data: _data,
        Bdat: _bdat,
        BadBdat: _bad_bdat,
        StartTls: _starttls,
        Auth: _auth,
        Rset: _rset,
        Noop: _noop,
        Vrfy: _vrfy,
        Expn: _expn,
        Help: _help,
        Quit: _quit,
    }
