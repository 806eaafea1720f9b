"""A mail transaction with a remote host, and the connection that carries one after another (RFC 5321 §3.3, RFC 2920, RFC 3030).

Theory:

- Where PIPELINING is offered, MAIL, every RCPT and DATA go in one write and are answered in one wait; the content, its end
  and, for a message of one block, everything in between is a second write. Else each command waits for its reply.
- The first block of the content is at hand before MAIL is said, so that a fault of the store costs no connection.
- Content that the host does not take as it is, for want of 8BITMIME or for its long lines, is converted before anything is said
  (``conversion``); a remark behind the host's final reply says so. What cannot be converted is sent as it is, and the host decides;
  but for what needs SMTPUTF8 for an address (RFC 6531 §3.2).
- Long lines of forwarded mail are sent as they are. Where the host refuses them as such, they are converted and sent once more.
- BDAT is used for large messages and for those with lines that begin with a dot, only along with PIPELINING, and never before
  a recipient is accepted: a refused transaction needs no content to be thrown after it.
- 500 to 504 in reply to BDAT are about the command, not about the message. Whether the host takes the octets that follow for
  commands cannot be known, so the connection is cut; the host counts as one without CHUNKING for a while, and the message goes by
  DATA, by a new connection (``Failed.anew``).
- What a fault of the line means for the recipients without a verdict is decided in one place, by the stage it came at. From the
  last octet of the content on that is ``end``: the host may have taken the message.
- Besides the time for each reply the whole has one, so that a host that does next to nothing does not keep its place for days: the
  commands as long as the slowest host may take for one recipient, and a little for every further one; the content as long as it
  may stand still, and its octets at the least rate. The wait after the end of data is not cut short by it. Nor does it pass while
  the store is waited for.
- A connection that has carried a message may be closed by the host while idle: a parcel that meets this fails at stage ``mail``
  without a code, and nothing of it has been taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

from prometheus_client import Counter

from posthorn.model.outbound import Notify
from posthorn.wire.message.seven_bit import Inconvertible
from posthorn.wire.smtp.client_replies import HostReply
from posthorn_relay.content import Content, stuffed
from posthorn_relay.conversion import form_for, is_about_lines
from posthorn_relay.line import Fault, Line, LineBroken
from posthorn_relay.settings import EgressSettings
from posthorn_relay.transport import Accepted, Failed, Hop, Parcel, To, Verdict

CHUNKED_FROM = 128 * 1024
"""From this size on BDAT is used where it is offered."""
_FAREWELL_SECONDS = 1.0
_RECIPIENT_SECONDS = 10.0
_NO_BDAT = range(500, 505)

_parcels = Counter(
    "posthorn_relay_smtp_transactions_total", "Transactions begun, by use of the connection", ["connection"]
)
_first = _parcels.labels("new")
_reused = _parcels.labels("reused")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
_XTEXT = re.compile(r"[^!-*,-<>-~]")
_UNICODE_XTEXT = re.compile(r"[^!-*,-<>-\[\]-~]")
_NOTIFY = ((Notify.NEVER, "NEVER"), (Notify.SUCCESS, "SUCCESS"), (Notify.FAILURE, "FAILURE"), (Notify.DELAY, "DELAY"))


def refused(stage: str, reply: HostReply, host: str, tls: str) -> Failed:
    """Put a refusal of the host as it is."""
    return Failed(
        stage, reply.code, reply.status or f"{reply.code // 100}.0.0", reply.line, reply.code >= 500, host, tls
    )


def broken(stage: str, fault: Fault, host: str, tls: str) -> Failed:
    """Put a fault of the line. It is transient, but for a host that refuses in the midst of the content."""
    permanent = stage == "data" and fault.code >= 500
    status = fault.status if permanent else f"4{fault.status[1:]}"
    return Failed(stage, fault.code, status, fault.text, permanent, host, tls)


class SmtpConnection:
    """Port Connection on an open line, after EHLO, TLS and AUTH."""

    def __init__(
        self,
        hop: Hop,
        line: Line,
        offered: dict[str, str],
        tls: str,
        settings: EgressSettings,
        unable: Callable[[], None] = lambda: None,
    ) -> None:
        """``unable``: called when the host offers CHUNKING and refuses BDAT."""
        self.hop = hop
        self._unable = unable
        self.tls = tls
        """As in verdicts; empty for plain."""
        self._host = f"{hop.host} ({hop.address})"
        self._line = line
        self._offered = offered
        self._pipelining = "PIPELINING" in offered
        self._chunking = self._pipelining and "CHUNKING" in offered
        self._settings = settings
        self._count = _first
        self._open = False  # a transaction may be: RSET comes before the next MAIL
        self._stage = "mail"
        self._note = ""  # what stands behind the final reply
        self._refusal: Failed | None = None  # the answer to MAIL, which nothing that comes later can better

    @property
    def usable(self) -> bool:
        """Whether another parcel may be sent by it."""
        return self._line.fault is None and not self._line.owed

    async def close(self) -> None:
        """QUIT, and close within about two seconds."""
        await self._line.farewell(_FAREWELL_SECONDS)

    async def send(self, parcel: Parcel) -> Sequence[Verdict]:
        """Carry a parcel; see Connection.

        A fault of ``content`` before its first block is given leaves the connection as it was.
        """
        if failure := self._obstacle(parcel):
            return [failure] * len(parcel.recipients)
        verdicts: list[Verdict | None] = [
            self._ours("rcpt", "5.1.3", "this recipient cannot be named in SMTP") if _is_unsafe(to) else None
            for to in parcel.recipients
        ]
        content = Content(parcel.content)
        begun = False
        try:
            async with AsyncExitStack() as stack:
                if None in verdicts:
                    await content.advance()
                    whole = content.block if content.ended else None
                    long_lines = parcel.forwarded
                    fit, self._note = await form_for(parcel, whole, self._offered, stack, long_lines=long_lines)
                    while True:
                        if fit is not parcel:
                            await content.close()
                            if failure := self._too_large(fit):
                                return [verdict or failure for verdict in verdicts]
                            content = Content(fit.content)
                            await content.advance()
                        begun = True
                        final = await self._carry(fit, content, verdicts)
                        if not (long_lines and fit is parcel and self.usable and is_about_lines(final)):
                            break
                        long_lines = False
                        fit, self._note = await form_for(parcel, None, self._offered, stack)
                        if fit is parcel:
                            break
                        verdicts = [None if verdict is final else verdict for verdict in verdicts]
        except Inconvertible as refusal:
            why = f"the message needs SMTPUTF8, which the host does not offer, and cannot be converted: {refusal}"
            return [verdict or self._ours("mail", "5.6.7", why) for verdict in verdicts]
        except BaseException:
            if begun or not self.usable:  # whatever has been asked, its answers must not meet the next parcel
                self._line.abort()
            raise
        finally:
            self._stage = "mail"
            self._line.until = None
            await content.close()
        return [verdict for verdict in verdicts if verdict is not None]

    # Before anything is said

    def _obstacle(self, parcel: Parcel) -> Failed | None:
        """Find what makes it useless to ask this host (RFC 6531 §3.2)."""
        if _ends_early(parcel.reverse_path):
            return self._ours("mail", "5.1.7", "this sender cannot be named in SMTP")
        if "SMTPUTF8" not in self._offered and _needs_utf8(parcel) and not _is_for_header(parcel):
            return self._ours("mail", "5.6.7", "the message needs SMTPUTF8, which the host does not offer")
        return self._too_large(parcel)

    def _too_large(self, parcel: Parcel) -> Failed | None:
        """Compare with what the host takes (RFC 1870 §5)."""
        limit = self._offered.get("SIZE", "")
        if limit.isascii() and limit.isdigit() and 0 < int(limit[:20]) < parcel.size:
            return self._ours(
                "mail", "5.3.4", f"the message has {parcel.size} octets, the host takes {limit[:20]} at most"
            )
        return None

    def _ours(self, stage: str, status: str, text: str) -> Failed:
        return Failed(stage, 0, status, text, True, self._host, self.tls)

    # The commands

    def _mail(self, parcel: Parcel) -> bytes:
        words = [f"MAIL FROM:<{parcel.reverse_path}>"]
        if "SIZE" in self._offered:
            words.append(f"SIZE={parcel.size}")
        if parcel.eight_bit and "8BITMIME" in self._offered:
            words.append("BODY=8BITMIME")
        if _needs_utf8(parcel):
            words.append("SMTPUTF8")
        if "DSN" in self._offered:
            if parcel.ret:
                words.append(f"RET={parcel.ret}")
            if parcel.envid.isascii() and parcel.envid:
                words.append(f"ENVID={xtext(parcel.envid)}")
        return f"{' '.join(words)}\r\n".encode()

    def _rcpt(self, to: To) -> bytes:
        if not ("DSN" in self._offered and (to.notify or to.orcpt)):
            return f"RCPT TO:<{to.recipient}>\r\n".encode()
        words = [f"RCPT TO:<{to.recipient}>"]
        if to.notify:
            words.append("NOTIFY=" + ",".join(name for bit, name in _NOTIFY if to.notify & bit))
        kind, _, address = to.orcpt.partition(";")
        if address and not _ends_early(kind):
            words.append(f"ORCPT={kind};{xtext(address)}")
        return f"{' '.join(words)}\r\n".encode()

    # The transaction

    async def _carry(self, parcel: Parcel, content: Content, verdicts: list[Verdict | None]) -> Verdict | None:
        """Go through a transaction; returns what it gave those recipients that got no verdict of their own."""
        self._count.inc()
        self._count = _reused
        self._refusal = None
        try:
            final = await self._transact(parcel, content, verdicts)
        except LineBroken as gone:
            self._line.abort()
            final = self._refusal or broken(self._stage, gone.fault, self._host, self.tls)
        for place, verdict in enumerate(verdicts):
            if verdict is None:
                verdicts[place] = final
        return final

    async def _transact(self, parcel: Parcel, content: Content, verdicts: list[Verdict | None]) -> Verdict | None:
        """Go through it; sets the verdicts of refused recipients and gives that of all others. Raises LineBroken."""
        line, places = self._line, [place for place, verdict in enumerate(verdicts) if verdict is None]
        chunked = self._chunking and (parcel.has_dot_lines or parcel.size >= CHUNKED_FROM)
        mail, rcpts = self._mail(parcel), [self._rcpt(parcel.recipients[place]) for place in places]
        seconds = self._settings.relay_greeting_seconds
        line.until = line.time() + self._command_seconds(len(rcpts))
        if self._pipelining:
            commands = [mail, *rcpts]
            if self._open:
                commands.insert(0, b"RSET\r\n")
            if not chunked:
                commands.append(b"DATA\r\n")
            line.write(b"".join(commands), len(commands))
            await line.settle(seconds, None if chunked else self._settings.relay_data_seconds)
        if self._open:
            self._positive(await self._answer(b"RSET\r\n", seconds))
        self._open = True
        reply = await self._answer(mail, seconds)
        failure = None if self._is_positive(reply) else refused("mail", reply, self._host, self.tls)
        self._refusal = failure
        if failure and not self._pipelining:
            return failure
        self._stage = "rcpt"
        accepted = 0
        for place, rcpt in zip(places, rcpts, strict=True):
            reply = await self._answer(rcpt, seconds)
            if self._is_positive(reply):
                accepted += 1
            elif not failure:
                verdicts[place] = self._refused_recipient(reply, accepted)
        if chunked:
            return failure or (await self._chunks(parcel, content) if accepted else None)
        if not accepted and not self._pipelining:
            return failure
        self._stage = "data"
        return await self._data(parcel, content, failure, bool(accepted))

    def _command_seconds(self, recipients: int) -> float:
        settings = self._settings
        once = settings.relay_data_seconds + settings.relay_greeting_seconds * (3 if self._open else 2)
        return once + _RECIPIENT_SECONDS * (recipients - 1)

    def _begin_content(self, parcel: Parcel) -> None:
        seconds = self._settings.relay_block_seconds + parcel.size / self._settings.relay_least_rate
        self._line.until = self._line.time() + seconds

    async def _advance(self, content: Content) -> None:
        """Put the next block together; the host's time stands still meanwhile."""
        line, began = self._line, self._line.time()
        await content.advance()
        if line.until is not None:
            line.until += line.time() - began

    async def _data(self, parcel: Parcel, content: Content, failure: Failed | None, accepted: bool) -> Verdict | None:
        line = self._line
        reply = await self._answer(b"DATA\r\n", self._settings.relay_data_seconds)
        if reply.code >= 400:
            return failure or refused("data", reply, self._host, self.tls)
        if reply.code // 100 != 3:
            self._out_of_order()
        if failure or not accepted:  # pipelined, and there is nobody to send to: an empty message, which is not taken
            line.until = None
            with suppress(LineBroken):
                await line.ask(b".\r\n", self._settings.relay_end_seconds)
            return failure
        self._begin_content(parcel)
        tail = b"\r\n"
        while True:
            block = content.block
            octets = stuffed(block, tail)
            tail = (tail + block)[-2:]
            if content.ended:
                break
            line.write(octets, 0)
            await line.drain(self._settings.relay_block_seconds)
            if line.fault:
                raise LineBroken(line.fault)
            await self._advance(content)
        if line.fault:
            raise LineBroken(line.fault)
        line.write(octets + (b".\r\n" if tail == b"\r\n" else b"\r\n.\r\n"), 1)
        self._stage = "end"
        await line.drain(self._settings.relay_block_seconds)
        line.until = None
        await line.settle(self._settings.relay_end_seconds)
        return self._final(line.take())

    async def _chunks(self, parcel: Parcel, content: Content) -> Verdict | None:
        """Send the content by BDAT, a chunk for each block; the first refusal is that of the whole."""
        line, settings = self._line, self._settings
        refusal: HostReply | None = None
        self._stage = "data"
        self._begin_content(parcel)
        while True:
            block = content.block
            if content.ended:
                self._stage = "end"
                whole = block if block.endswith(b"\r\n") or not block else block + b"\r\n"
                line.write(b"BDAT %d LAST\r\n" % len(whole) + whole, 1)
                break
            line.write(b"BDAT %d\r\n" % len(block) + block, 1)
            await line.drain(settings.relay_block_seconds)
            while line.replies and not refusal:
                refusal = self._unless_positive(line.take())
            if refusal and refusal.code in _NO_BDAT:
                return self._without_chunking(refusal)
            if line.fault:
                raise LineBroken(line.fault)
            if refusal:
                break
            await self._advance(content)
        await line.drain(settings.relay_block_seconds)
        line.until = line.time() + settings.relay_end_seconds  # for all the replies that are still to come
        await line.settle(settings.relay_end_seconds)
        last: HostReply | None = None
        while not refusal and (line.replies or line.owed):
            last = line.take()
            refusal = self._unless_positive(last)
        line.replies.clear()  # what is said of chunks behind a refused one tells nothing
        if refusal and refusal.code in _NO_BDAT:
            return self._without_chunking(refusal)
        if refusal:
            return refused(self._stage, refusal, self._host, self.tls)
        assert last is not None
        return self._final(last)

    def _without_chunking(self, refusal: HostReply) -> Failed:
        self._unable()
        self._chunking = False
        self._line.abort()
        failed = refused("data", refusal, self._host, self.tls)
        failed.permanent, failed.anew, failed.status = False, True, f"4{failed.status[1:]}"
        return failed

    def _final(self, reply: HostReply) -> Verdict:
        if self._is_positive(reply):
            self._open = False
            return Accepted(reply.line + self._note, self._host, self.tls, "DSN" in self._offered)
        failed = refused("end", reply, self._host, self.tls)
        failed.reply += self._note
        return failed

    def _refused_recipient(self, reply: HostReply, accepted: int) -> Failed:
        # 552 for one more recipient than the host likes at once stands for 452 (RFC 5321 §4.5.3.1.10)
        failed = refused("rcpt", reply, self._host, self.tls)
        if accepted and reply.code == 552 and reply.status in ("", "5.5.3"):
            failed.permanent, failed.status = False, "4.5.3"
        return failed

    async def _answer(self, command: bytes, seconds: float) -> HostReply:
        """Give the reply to a command, which has been sent already where commands are pipelined."""
        return self._line.take() if self._pipelining else await self._line.ask(command, seconds)

    def _unless_positive(self, reply: HostReply) -> HostReply | None:
        return None if self._is_positive(reply) else reply

    def _is_positive(self, reply: HostReply) -> bool:
        if reply.code // 100 == 3:
            self._out_of_order()
        return reply.code < 300

    def _positive(self, reply: HostReply) -> None:
        if not self._is_positive(reply):
            self._out_of_order()

    def _out_of_order(self) -> None:
        """Host and client do not mean the same any more: nothing it says can be told apart."""
        self._line.spoil(Fault(0, "4.5.0", "the host gave a reply that does not fit the command"))
        self._line.replies.clear()
        self._line.take()


def _is_unsafe(to: To) -> bool:
    return not to.recipient or _ends_early(to.recipient)


def _ends_early(path: str) -> bool:
    """Whether a path holds what would end it early: control characters; angle brackets or a space outside of quotes."""
    return _CONTROL.search(path) is not None or not {" ", "<", ">"}.isdisjoint(_QUOTED.sub("", path))


def _needs_utf8(parcel: Parcel) -> bool:
    return (
        parcel.smtputf8
        or not parcel.reverse_path.isascii()
        or not all(to.recipient.isascii() for to in parcel.recipients)
    )


def _is_for_header(parcel: Parcel) -> bool:
    """Whether it needs SMTPUTF8 for its header alone, which may be had otherwise."""
    names = [parcel.reverse_path, *(to.recipient for to in parcel.recipients)]
    return parcel.eight_bit and all(name.isascii() for name in names)


def xtext(text: str) -> str:
    """Encode for ENVID and ORCPT (RFC 3461 §4); an address that is not ASCII as RFC 6533 §3 has it for the type utf-8."""
    if text.isascii():
        return _XTEXT.sub(lambda found: f"+{ord(found[0]):02X}", text)
    return _UNICODE_XTEXT.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", text)
