"""A connection that carries one mail transaction after another (RFC 5321 §3.3, RFC 2920, RFC 3030).

Theory of operation:

- Where PIPELINING is offered, MAIL, every RCPT and DATA go in one write and are answered in one
  wait; the content, its end and, for a message of one block, everything in between is a second
  write, which also carries the commands of the transaction that follows, if that is known
  (``announcement``). Otherwise each command waits for its reply.
- A transaction that was announced is the next one. If another comes, or the connection is left
  then, it is cut: after DATA the host would take anything for content. A host that does not answer
  an announcement as it should gets none for a while.
- The first block of the content is read before MAIL is sent, so that a fault of the store costs no
  connection.
- Content that the host does not take as it is, for want of 8BITMIME or for its long lines, is
  converted before anything is sent (``downgrade``); a remark after the host's final reply says so.
  What cannot be converted is sent as it is, and the host decides; except what needs SMTPUTF8 for an
  address (RFC 6531 §3.2).
- Long lines of forwarded mail are sent as they are. Where the host refuses them as such, they are
  converted and sent once more.
- BDAT is used for large messages and for those with lines that begin with a dot, only together with
  PIPELINING, and never before a recipient is accepted: a refused transaction costs no content.
- 500 to 504 in reply to BDAT are about the command, not about the message. Whether the host takes
  the bytes that follow for commands cannot be known, so the connection is closed; the host counts
  as one without CHUNKING for a while, and the message is sent by DATA on a new connection
  (``Failed.reconnect``).
- What a fault of the connection means for the recipients without a result is decided in one place,
  by the stage it came at. From the last byte of the content on that is ``end``: the host may have
  taken the message.
- A connection that has carried a message may be closed by the host while idle: a transaction that
  meets this fails at stage ``mail`` without a code, and nothing of it has been taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

from prometheus_client import Counter

from posthorn.wire.message.content_fields import Inconvertible
from posthorn.wire.smtp.client_replies import HostReply
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.announcement import Announcement, announcement_of
from posthorn_relay.smtp.answers import Answers
from posthorn_relay.smtp.content import Content, stuffed
from posthorn_relay.smtp.downgrade import acceptable_form, is_about_lines
from posthorn_relay.smtp.envelope import (
    is_unsafe,
    mail_command,
    rcpt_command,
)
from posthorn_relay.smtp.failures import broken, refused, refused_recipient
from posthorn_relay.smtp.obstacles import obstacle, oversize
from posthorn_relay.smtp.protocol import ClientProtocol, ConnectionFailed
from posthorn_relay.smtp.time_limits import TimeLimits
from posthorn_relay.smtp.types import Accepted, Failed, MailTransaction, RemoteHost, SmtpResult

CHUNKED_FROM = 128 * 1024
"""From this size in bytes on BDAT is used where it is offered."""
_QUIT_SECONDS = 1.0
_NO_BDAT = range(500, 505)
_OUT_OF_STEP = range(500, 505)

_transactions = Counter(
    "posthorn_relay_smtp_transactions_total",
    "Mail transactions started, by use of the connection",
    ["connection"],
)
_first = _transactions.labels("new")
_reused = _transactions.labels("reused")


class SmtpConnection:
    """Port Connection on an open connection, after EHLO, TLS and AUTH."""

    def __init__(
        self,
        remote: RemoteHost,
        protocol: ClientProtocol,
        offered: dict[str, str],
        tls: str,
        settings: EgressSettings,
        on_bdat_refused: Callable[[], None] = lambda: None,
        on_announcement_refused: Callable[[], None] = lambda: None,
        *,
        announces: bool = True,
    ) -> None:
        """``on_bdat_refused`` is called when the host offers CHUNKING and refuses BDAT;
        ``on_announcement_refused`` when it offers PIPELINING and fails at a transaction that was
        announced. ``announces``: whether transactions are announced at all."""
        self.remote = remote
        self._on_bdat_refused = on_bdat_refused
        self._on_announcement_refused = on_announcement_refused
        self.tls = tls
        """As in results; empty for plain text."""
        self._host = f"{remote.host} ({remote.address})"
        self._protocol = protocol
        self._offered = offered
        self._pipelining = "PIPELINING" in offered
        self._limits = TimeLimits(protocol, settings)
        self._answers = Answers(protocol, pipelining=self._pipelining)
        self._chunking = self._pipelining and "CHUNKING" in offered
        self._settings = settings
        self._announces = self._pipelining and announces and settings.relay_announce
        self._following: MailTransaction | None = None
        self._announcement: Announcement | None = None
        self._is_announced = False  # the commands of this transaction have been sent
        self._count = _first
        self._open = False  # a transaction may be open: RSET comes before the next MAIL
        self._stage = "mail"
        self._note = ""  # appended to the final reply
        self._refusal: Failed | None = None  # the reply to MAIL, which decides whatever comes later

    @property
    def usable(self) -> bool:
        """Whether another transaction may be sent by this connection."""
        return self._protocol.fault is None and (
            self._announcement is not None or not self._protocol.pending_replies
        )

    @property
    def announced(self) -> MailTransaction | None:
        """See the port."""
        return None if self._announcement is None else self._announcement.transaction

    async def close(self) -> None:
        """Send QUIT, and close within about two seconds."""
        if self._announcement is not None:
            self._protocol.abort()
        await self._protocol.quit(_QUIT_SECONDS)

    async def send(
        self, transaction: MailTransaction, following: MailTransaction | None = None
    ) -> Sequence[SmtpResult]:
        """Carry out a transaction; see the port.

        An error of ``content`` before its first block leaves the connection as it was.
        """
        announced, self._announcement = self._announcement, None
        if announced is not None and announced.transaction is not transaction:
            self._protocol.abort()
            self._protocol.replies.clear()
            announced = None
        self._is_announced = announced is not None
        # what may have to be sent once more in another form is followed by nothing
        self._following = following if self._announces and not transaction.forwarded else None
        if found := obstacle(transaction, self._offered):
            return [self._ours("mail", *found)] * len(transaction.recipients)
        results: list[SmtpResult | None] = [
            self._ours("rcpt", "5.1.3", "this recipient cannot be named in SMTP")
            if is_unsafe(recipient.address)
            else None
            for recipient in transaction.recipients
        ]
        content = Content(transaction.content) if announced is None else announced.content
        begun = announced is not None
        try:
            async with AsyncExitStack() as stack:
                if None in results:
                    long_lines = transaction.forwarded
                    fit, self._note = transaction, ""
                    if announced is None:
                        await content.advance()
                        whole = content.block if content.ended else None
                        fit, self._note = await acceptable_form(
                            transaction, whole, self._offered, stack, long_lines=long_lines
                        )
                    while True:
                        if fit is not transaction:
                            await content.close()
                            if found := oversize(fit, self._offered):
                                failure = self._ours("mail", *found)
                                return [result or failure for result in results]
                            content = Content(fit.content)
                            await content.advance()
                        begun = True
                        final = await self._carry(fit, content, results)
                        if not (
                            long_lines
                            and fit is transaction
                            and self.usable
                            and is_about_lines(final)
                        ):
                            break
                        long_lines = False
                        fit, self._note = await acceptable_form(
                            transaction, None, self._offered, stack
                        )
                        if fit is transaction:
                            break
                        results = [None if result is final else result for result in results]
        except Inconvertible as refusal:
            why = f"the message needs SMTPUTF8, which the host does not offer, and cannot be converted: {refusal}"
            return [result or self._ours("mail", "5.6.7", why) for result in results]
        except BaseException:
            if begun or not self.usable:  # late replies must not meet the next transaction
                self._protocol.abort()
            raise
        finally:
            self._stage = "mail"
            self._limits.end()
            await content.close()
        return [result for result in results if result is not None]

    def _ours(self, stage: str, status: str, text: str) -> Failed:
        return Failed(stage, 0, status, text, True, self._host, self.tls)

    # The transaction

    async def _carry(
        self, transaction: MailTransaction, content: Content, results: list[SmtpResult | None]
    ) -> SmtpResult | None:
        """Carry out a transaction; return the result of those recipients without one of their
        own."""
        self._count.inc()
        self._count = _reused
        self._refusal = None
        try:
            final = await self._transact(transaction, content, results)
        except ConnectionFailed as gone:
            self._protocol.abort()
            if self._is_announced and self._stage == "mail" and gone.fault.code != 421:
                self._on_announcement_refused()
            final = self._refusal or broken(self._stage, gone.fault, self._host, self.tls)
        for place, result in enumerate(results):
            if result is None:
                results[place] = final
        return final

    async def _transact(
        self, transaction: MailTransaction, content: Content, results: list[SmtpResult | None]
    ) -> SmtpResult | None:
        """Set the results of refused recipients; return that of all others. Raises
        ConnectionFailed."""
        protocol, places = (
            self._protocol,
            [place for place, result in enumerate(results) if result is None],
        )
        chunked = self._is_chunked(transaction)
        mail = mail_command(transaction, self._offered, has_login=self.remote.login is not None)
        rcpts = [rcpt_command(transaction.recipients[place], self._offered) for place in places]
        seconds = self._settings.relay_greeting_seconds
        self._limits.begin_commands(len(rcpts), reset=self._open)
        if self._pipelining:
            if not self._is_announced:
                commands = [mail, *rcpts]
                if self._open:
                    commands.insert(0, b"RSET\r\n")
                if not chunked:
                    commands.append(b"DATA\r\n")
                protocol.write(b"".join(commands), len(commands))
            await protocol.wait_replies(
                seconds, None if chunked else self._settings.relay_data_seconds
            )
        if self._open:
            self._answers.expect_positive(await self._answers.to(b"RSET\r\n", seconds))
        self._open = True
        reply = await self._answers.to(mail, seconds)
        if self._is_announced and reply.code in _OUT_OF_STEP:
            self._answers.out_of_order()
        failure = (
            None
            if self._answers.is_positive(reply)
            else refused("mail", reply, self._host, self.tls)
        )
        self._refusal = failure
        if failure and not self._pipelining:
            return failure
        self._stage = "rcpt"
        accepted = 0
        for place, rcpt in zip(places, rcpts, strict=True):
            reply = await self._answers.to(rcpt, seconds)
            if self._answers.is_positive(reply):
                accepted += 1
            elif not failure:
                results[place] = refused_recipient(reply, accepted, self._host, self.tls)
        if chunked:
            return failure or (await self._chunks(transaction, content) if accepted else None)
        if not accepted and not self._pipelining:
            return failure
        self._stage = "data"
        return await self._data(transaction, content, failure, bool(accepted))

    async def _data(
        self, transaction: MailTransaction, content: Content, failure: Failed | None, accepted: bool
    ) -> SmtpResult | None:
        protocol = self._protocol
        reply = await self._answers.to(b"DATA\r\n", self._settings.relay_data_seconds)
        if reply.code >= 400:
            return failure or refused("data", reply, self._host, self.tls)
        if reply.code // 100 != 3:
            self._answers.out_of_order()
        # pipelined, but no recipient: an empty message, which is refused
        if failure or not accepted:
            self._limits.end()
            with suppress(ConnectionFailed):
                await protocol.request(b".\r\n", self._settings.relay_end_seconds)
            return failure
        self._limits.begin_content(transaction.size)
        tail = b"\r\n"
        while True:
            block = content.block
            data = stuffed(block, tail)
            tail = (tail + block)[-2:]
            if content.ended:
                break
            protocol.write(data, 0)
            await protocol.drain(self._settings.relay_block_seconds)
            if protocol.fault:
                raise ConnectionFailed(protocol.fault)
            await self._limits.advance(content)
        if protocol.fault:
            raise ConnectionFailed(protocol.fault)
        end = b".\r\n" if tail == b"\r\n" else b"\r\n.\r\n"
        ahead = await self._announce()
        if ahead is None:
            protocol.write(data + end, 1)
        else:
            protocol.write(b"".join((data, end, ahead.commands)), 1 + ahead.replies)
        self._stage = "end"
        await protocol.drain(self._settings.relay_block_seconds)
        self._limits.end()
        left = 0 if ahead is None else ahead.replies
        await protocol.wait_replies(self._settings.relay_end_seconds, leave=left)
        result = self._final(protocol.next_reply())
        if ahead is not None:
            self._announcement, self._open = ahead, True
        return result

    async def _announce(self) -> Announcement | None:
        """Return the announcement of the transaction that follows, if it is to be announced."""
        if self._following is None or self._is_chunked(self._following):
            return None
        return await announcement_of(
            self._following, self._offered, has_login=self.remote.login is not None
        )

    def _is_chunked(self, transaction: MailTransaction) -> bool:
        return self._chunking and (transaction.has_dot_lines or transaction.size >= CHUNKED_FROM)

    async def _chunks(self, transaction: MailTransaction, content: Content) -> SmtpResult | None:
        """Send the content by BDAT, a chunk for each block; the first refusal is that of the
        message."""
        protocol, settings = self._protocol, self._settings
        refusal: HostReply | None = None
        self._stage = "data"
        self._limits.begin_content(transaction.size)
        while True:
            block = content.block
            if content.ended:
                self._stage = "end"
                whole = block if block.endswith(b"\r\n") or not block else block + b"\r\n"
                protocol.write(b"BDAT %d LAST\r\n" % len(whole) + whole, 1)
                break
            protocol.write(b"BDAT %d\r\n" % len(block) + block, 1)
            await protocol.drain(settings.relay_block_seconds)
            while protocol.replies and not refusal:
                refusal = self._answers.unless_positive(protocol.next_reply())
            if refusal and refusal.code in _NO_BDAT:
                return self._without_chunking(refusal)
            if protocol.fault:
                raise ConnectionFailed(protocol.fault)
            if refusal:
                break
            await self._limits.advance(content)
        await protocol.drain(settings.relay_block_seconds)
        # for all replies that are still to arrive
        protocol.deadline = protocol.time() + settings.relay_end_seconds
        await protocol.wait_replies(settings.relay_end_seconds)
        last: HostReply | None = None
        while not refusal and (protocol.replies or protocol.pending_replies):
            last = protocol.next_reply()
            refusal = self._answers.unless_positive(last)
        protocol.replies.clear()  # replies to chunks after a refused one mean nothing
        if refusal and refusal.code in _NO_BDAT:
            return self._without_chunking(refusal)
        if refusal:
            return refused(self._stage, refusal, self._host, self.tls)
        assert last is not None
        return self._final(last)

    def _without_chunking(self, refusal: HostReply) -> Failed:
        self._on_bdat_refused()
        self._chunking = False
        self._protocol.abort()
        failed = refused("data", refusal, self._host, self.tls)
        failed.permanent, failed.reconnect, failed.status = False, True, f"4{failed.status[1:]}"
        return failed

    def _final(self, reply: HostReply) -> SmtpResult:
        if self._answers.is_positive(reply):
            self._open = False
            return Accepted(reply.line + self._note, self._host, self.tls, "DSN" in self._offered)
        failed = refused("end", reply, self._host, self.tls)
        failed.reply += self._note
        return failed
