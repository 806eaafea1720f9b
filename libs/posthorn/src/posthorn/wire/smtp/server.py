"""SMTP as a machine without I/O, the server's side (RFC 5321, RFC 2920, RFC 3030, RFC 3207, RFC
4954).

Rules:

- Bytes go in with ``receive``; ``next_event`` returns frozen events. How the bytes were cut into
  pieces makes no difference, but to how the content of a message is cut.
- ``wire.smtp.transitions`` is the protocol: what may happen in which state, and the state that
  follows or the reply that refuses it.
- What the machine cannot decide pauses it: MAIL, RCPT, a login, STARTTLS and the end of a message.
  It returns PAUSED until it is told the outcome, so that pipelined commands (RFC 2920) wait for it.
  Memory is the caller's affair: bytes are to be received when NEED_DATA was returned.
- Bytes that were announced are read to their end before the next command, also those of a refused
  message: they must never be taken for commands. Where their end cannot be known the machine is
  CLOSED.
- STARTTLS discards all that came in with it (RFC 3207 §4.2): what an attacker put before the
  handshake is never a command.
- From strangers a bare CR or LF breaks a message: it is how a second message is smuggled past one
  server into another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from posthorn.wire.sasl_bearer import BEARER_MECHANISMS, read_bearer
from posthorn.wire.signals import NEED_DATA, PAUSED, Misuse, Signal
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import (
    LONGEST_LINE,
    Auth,
    BadBdat,
    Bdat,
    Command,
    CommandError,
    Data,
    Expn,
    Mail,
    Rcpt,
    StartTls,
    parse_command,
    parse_response,
)
from posthorn.wire.smtp.data import DataScanner, LineEnds
from posthorn.wire.smtp.events import (
    BareLineEnd,
    Challenge,
    ChunkEnd,
    Content,
    Declined,
    Event,
    Fatal,
    Login,
    MessageEnd,
    Refused,
    TokenLogin,
)
from posthorn.wire.smtp.other_protocols import is_binary, is_other_protocol
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import (
    PASSWORD_PROMPT,
    USERNAME_PROMPT,
    SaslError,
    read_login,
    read_plain,
)
from posthorn.wire.smtp.transitions import (
    RECEIVING,
    TRANSITIONS,
    WAITING,
    Accepted,
    Channel,
    Concluded,
    Explained,
    Offer,
    Rejected,
    Secured,
    State,
)


class Machine:
    """One session's protocol state."""

    __slots__ = (
        "_at", "_beginning", "_chunk", "_deferred", "_discarding", "_endless", "_ends", "_input", "_is_broken",
        "_left", "_login", "_mail", "_max_size", "_scanner", "authenticated", "channel", "state",
    )  # fmt: skip

    def __init__(self, channel: Channel, *, max_size: int) -> None:
        """``max_size``: bytes of the largest message (SIZE); a refused chunk that is larger ends
        the session."""
        self.channel = channel
        self.state = State.FRESH
        self.authenticated = False
        """A login was accepted."""
        self._max_size = max_size
        self._input = b""
        self._at = 0
        self._beginning = b""  # of a line that is too long
        self._mail: Mail | None = None
        self._deferred = False
        self._login: tuple[str, bytes | None] = ("", None)  # the mechanism, and the name in LOGIN
        self._scanner = DataScanner()
        self._ends: LineEnds | None = None
        self._is_broken = False
        self._discarding = False
        self._chunk = Bdat(0)
        self._left = 0  # bytes of a chunk, or of a refused one, that have not come
        self._endless = False

    @property
    def is_receiving(self) -> bool:
        """Whether a message is coming in, or is complete and not answered yet."""
        return self.state in RECEIVING

    @property
    def awaits_line(self) -> bool:
        """Whether a command or a SASL response comes next, not content."""
        return not self._left and self.state is not State.DATA

    @property
    def buffered(self) -> int:
        """Bytes received and not yet turned into events."""
        return len(self._input) - self._at

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._input = data if self._at >= len(self._input) else self._input[self._at :] + data
        self._at = 0

    def next_event(self) -> Event | Signal:
        """Return the next event, NEED_DATA, or PAUSED while an outcome is awaited or all is
        over."""
        if self.state in WAITING:
            return PAUSED
        if self.state is State.DATA:
            return self._data()
        if self.state is State.CHUNK:
            return self._piece_of_chunk()
        if (self._left or self._endless) and not self._skipped():
            return self._fatal(smtp.ENDLESS_CHUNK) if not self._left else NEED_DATA
        if (
            self.state is State.FRESH
            and self._at < len(self._input)
            and not self._beginning
            and is_binary(self._input[self._at])
        ):
            return self._fatal(smtp.OTHER_PROTOCOL)
        line = self._line()
        if line is None:
            return NEED_DATA
        return self._challenged(line) if self.state is State.CHALLENGED else self._command(line)

    def accepted(self) -> None:
        """The sender, the recipient or the login is accepted."""
        if self.state is State.VERIFYING:
            self.authenticated = True
        self._conclude(Accepted)

    def rejected(self, *, deferred: bool = False) -> None:
        """It is not; ``deferred``: only for now (4yz)."""
        self._conclude(Rejected)
        self._deferred |= deferred

    def explained(self) -> None:
        """The token was refused and the client is told why in a challenge; Declined follows when
        it has taken that (RFC 7628 §3.2.3)."""
        self._conclude(Explained)
        self._login = "", None

    def concluded(self) -> None:
        """The message was answered; another transaction may follow."""
        self._conclude(Concluded)

    def secured(self, channel: Channel) -> None:
        """The TLS handshake is done. What was learnt before it is forgotten (RFC 3207 §4.2)."""
        self._conclude(Secured)
        self.channel = channel
        self.authenticated = False

    def discard(self) -> None:
        """Return no more content of the message (DATA) or chunk (BDAT) that is coming in; it is
        read to its end."""
        self._discarding = True
        self._scanner.discard()
        if self.state is State.CHUNK and self._chunk.size > self._max_size:
            self._skip(self._left)

    def _conclude(self, outcome: type) -> None:
        after = TRANSITIONS[self.state].get(outcome)
        if not isinstance(after, State):
            raise Misuse(f"{outcome.__name__} in state {self.state.value}")
        self.state = after

    def _fatal(self, reply: Reply) -> Fatal:
        self.state = State.CLOSED
        self._input, self._at = b"", 0
        return Fatal(reply)

    # lines

    def _line(self) -> bytes | None:
        """Take a line with its end; of one that is too long, only the beginning, still too long."""
        end = self._input.find(b"\n", self._at)
        if end < 0:
            rest = self._input[self._at :]
            if len(rest) > LONGEST_LINE:
                self._beginning, rest = self._beginning or rest[: LONGEST_LINE + 1], b""
            self._input, self._at = rest, 0
            return None
        line, self._at = self._input[self._at : end + 1], end + 1
        if self._beginning:
            line, self._beginning = self._beginning, b""
        return line

    def _command(self, line: bytes) -> Event:
        if self.state is State.FRESH and is_other_protocol(line):
            return self._fatal(smtp.OTHER_PROTOCOL)
        try:
            command = parse_command(line)
        except CommandError as error:
            return Refused(error.reply)
        if isinstance(command, BadBdat):
            return self._fatal(
                smtp.BAD_BDAT
            )  # what follows may be a chunk whose length nobody knows
        after = TRANSITIONS[self.state][type(command)]
        if isinstance(after, State) and (check := _CHECKS.get(type(command))) is not None:
            after = check(self, command) or after
        if isinstance(after, Reply):
            return self._refused(command, after)
        self.state = after
        if isinstance(command, Auth):
            return self._begin_login(command)
        assert not isinstance(command, Expn)
        if (begin := _BEGINNINGS.get(type(command))) is not None:
            begin(self, command)
        return command

    def _refused(self, command: Command, reply: Reply) -> Refused:
        if isinstance(command, Bdat):
            self._skip(command.size)
        if reply is smtp.RCPT_FIRST:
            # All were refused. If one of them only for now, a final reply would make a bounce of
            # it.
            return Refused(
                smtp.NO_RECIPIENT_NOW if self._deferred else smtp.NO_RECIPIENT, is_error=False
            )
        return Refused(reply)

    def _check_mail(self, command: Mail) -> Reply | None:
        if self.channel.auth is not Offer.NEVER and not self.authenticated:
            return smtp.LOGIN_FIRST
        return (
            smtp.UNKNOWN_PARAMETER
            if command.has_auth and self.channel.auth is not Offer.NOW
            else None
        )

    def _check_rcpt(self, command: Rcpt) -> Reply | None:
        assert self._mail is not None
        return None if command.is_ascii or self._mail.smtputf8 else smtp.NEEDS_SMTPUTF8

    def _check_starttls(self, _: StartTls) -> Reply | None:
        if self.channel.tls:
            return smtp.TLS_ACTIVE
        return None if self.channel.starttls else smtp.NOT_IMPLEMENTED

    def _check_auth(self, command: Auth) -> Reply | None:
        if self.authenticated:
            return smtp.LOGIN_DONE
        if self.channel.auth is not Offer.NOW:
            return smtp.NEEDS_TLS if self.channel.auth is Offer.AFTER_TLS else smtp.NOT_IMPLEMENTED
        return None if command.mechanism in self.channel.mechanisms else smtp.NO_MECHANISM

    # AUTH (RFC 4954 §4)

    def _begin_login(self, command: Auth) -> Event:
        self._login = command.mechanism, None
        if command.initial is not None:
            return self._response(command.initial)
        return Challenge(smtp.challenge(USERNAME_PROMPT if command.mechanism == "LOGIN" else ""))

    def _challenged(self, line: bytes) -> Event:
        try:
            return self._response(parse_response(line))
        except CommandError as error:
            return self._login_refused(error.reply)

    def _response(self, response: bytes) -> Event:
        mechanism, name = self._login
        if not mechanism:
            self.state = State.READY
            return Declined()
        try:
            if mechanism in BEARER_MECHANISMS:
                bearer = read_bearer(mechanism, response)
                self.state = State.VERIFYING
                return TokenLogin(bearer)
            if mechanism == "PLAIN":
                secret = read_plain(response)
            elif name is None:
                self._login = mechanism, response
                return Challenge(smtp.challenge(PASSWORD_PROMPT))
            else:
                secret = read_login(name, response)
        except SaslError:
            return self._login_refused(smtp.NOT_BASE64)
        self.state = State.VERIFYING
        return Login(secret)

    def _login_refused(self, reply: Reply) -> Refused:
        self.state = State.READY
        return Refused(reply)

    # STARTTLS and content

    def _begin_mail(self, command: Mail) -> None:
        self._mail, self._deferred, self._ends = command, False, None

    def _begin_handshake(self, _: StartTls) -> None:
        self._input, self._at = b"", 0

    def _begin_data(self, _: Data) -> None:
        self._scanner = DataScanner(whole=not self.authenticated)
        self._ends = LineEnds(bare_cr=True, dots=True) if self.authenticated else None
        self._is_broken = self._discarding = False

    def _begin_chunk(self, command: Bdat) -> None:
        if self._ends is None:
            self._ends, self._is_broken = LineEnds(bare_cr=self.authenticated), False
        self._discarding = False
        self._chunk, self._left = command, command.size

    def _data(self) -> Event | Signal:
        scanner, ends = self._scanner, self._ends
        if not scanner.ended:
            if self._at >= len(self._input):
                return NEED_DATA
            data = self._input[self._at :] if self._at else self._input
            content = scanner.feed(data)
            self._input, self._at = scanner.rest, 0
            if ends is not None:
                content = ends.feed(content) + (ends.end() if scanner.ended else b"")
            if (scanner.broken or (ends is not None and ends.broken)) and not self._is_broken:
                self._is_broken = True
                scanner.discard()
                return BareLineEnd()
            if content and not self._discarding:
                return Content(content)
            if not scanner.ended:
                return NEED_DATA
        self.state = State.COMPLETE
        return MessageEnd()

    def _piece_of_chunk(self) -> Event | Signal:
        assert self._ends is not None
        if self._left:
            piece = self._input[self._at : self._at + self._left]
            if not piece:
                return NEED_DATA
            self._at += len(piece)
            self._left -= len(piece)
            found = None if self._discarding else self._judged(self._ends.feed(piece), self._ends)
            if found is not None:
                return found
            if self._left:
                return NEED_DATA
        if self._endless:
            return self._fatal(smtp.ENDLESS_CHUNK)
        if not self._chunk.last:
            self.state = State.CHUNKS
            return ChunkEnd(self._chunk.size)
        found = None if self._discarding else self._judged(self._ends.end(), self._ends)
        if found is not None:
            return found
        self.state = State.COMPLETE
        return MessageEnd()

    def _judged(self, content: bytes, ends: LineEnds) -> Content | BareLineEnd | None:
        if ends.broken and not self._is_broken:
            self._is_broken = True
            return BareLineEnd()
        return Content(content) if content else None

    def _skip(self, size: int) -> None:
        """Read so many bytes to no purpose. Of an absurdly long chunk a part is read, and the
        session ends."""
        self._left = min(size, self._max_size)
        self._endless = size > self._max_size

    def _skipped(self) -> bool:
        """Take bytes that are to be skipped; return whether commands follow."""
        taken = min(self._left, len(self._input) - self._at)
        self._at += taken
        self._left -= taken
        return not self._left and not self._endless


_CHECKS: dict[type, Callable[[Machine, Any], Reply | None]] = {
    Mail: Machine._check_mail,
    Rcpt: Machine._check_rcpt,
    StartTls: Machine._check_starttls,
    Auth: Machine._check_auth,
}
"""What the table cannot know of a command."""

_BEGINNINGS: dict[type, Callable[[Machine, Any], None]] = {
    Mail: Machine._begin_mail,
    StartTls: Machine._begin_handshake,
    Data: Machine._begin_data,
    Bdat: Machine._begin_chunk,
}
