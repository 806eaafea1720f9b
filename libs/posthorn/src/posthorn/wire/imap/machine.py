"""The sans-I/O machine of IMAP, server side (RFC 9051, RFC 3501, RFC 7888, RFC 2177, RFC 4959).

Rules:

- Bytes go in with ``receive``; ``next_event`` returns frozen events. The division of the bytes into
  pieces makes no difference but to how the content of a message is divided.
- ``wire.imap.states`` says which commands a state permits.
- One command at a time: after an event that needs an outcome the machine returns PAUSED until it
  gets it, so that pipelined commands wait in the buffer. The caller limits memory: it stops
  reading while ``is_full``.
- The end of a command is found without its grammar: literals that were announced are read (or
  drained) whatever is wrong with the command, so that they are never taken for commands. A refusal
  waits for that end; only a synchronising literal is refused before it is sent.
- Everything is bounded: lines, literals, and less of both before login. A message of APPEND passes
  through in pieces.
- STARTTLS discards all pending input (RFC 9051 §6.2.1): bytes that an attacker injected before the
  handshake are never commands.
"""

from __future__ import annotations

from binascii import b2a_base64

from posthorn.wire.imap.append import (
    APPENDING,
    MessageOptions,
    Target,
    is_before_mailbox,
    parse_options,
    parse_target,
)
from posthorn.wire.imap.commands import Authenticate, Done, Idle, Login, Logout, StartTls
from posthorn.wire.imap.events import (
    CONTINUE,
    AppendEnd,
    AppendMessage,
    Content,
    Continue,
    Event,
    Fatal,
    Refused,
    Request,
    SaslResponse,
)
from posthorn.wire.imap.framing import (
    BEFORE_LOGIN_BYTES,
    COMMAND_BYTES,
    LITERAL_BYTES,
    MOST_DRAINED_BYTES,
    MOST_LITERALS,
    READ_AHEAD_BYTES,
    Announced,
    Framer,
    Line,
    read_verb,
)
from posthorn.wire.imap.grammar import GRAMMAR, decode_base64
from posthorn.wire.imap.phases import PAUSING, Phase
from posthorn.wire.imap.reader import BadCommand, Literal, Reader
from posthorn.wire.imap.states import COMMANDS, VERBS, Channel, State, check_channel
from posthorn.wire.signals import NEED_DATA, PAUSED, Misuse, Signal


class Machine:
    """The protocol state of one connection."""

    __slots__ = (
        "_append_limit", "_at", "_framer", "_idle_tag", "_left", "_literal", "_literal_bytes",
        "_messages", "_options", "_parts", "_phase", "_refusal", "_tag", "_target",
        "_text_bytes", "_verb", "_waiting", "channel", "enabled", "state",
    )  # fmt: skip

    _parts: list[bytes | Literal]
    _literal: bytearray | None
    _target: Target | None

    def __init__(self, channel: Channel, *, append_limit: int) -> None:
        """``append_limit``: bytes of the largest message that APPEND accepts."""
        self.channel = channel
        self.state = State.NOT_AUTHENTICATED
        self.enabled: frozenset[str] = frozenset()
        """Capabilities that ENABLE enabled, in upper case; QRESYNC implies CONDSTORE."""
        self._append_limit = append_limit
        self._framer = Framer()
        self._phase = Phase.COMMAND
        self._idle_tag = b""
        self._forget()

    @property
    def buffered(self) -> int:
        """Bytes received and not processed yet."""
        return self._framer.buffered

    @property
    def is_full(self) -> bool:
        """Whether the caller should stop reading until the command that pauses the machine was
        answered. While more bytes are needed the limits of a command bound the buffer."""
        return self._phase in PAUSING and self.buffered >= READ_AHEAD_BYTES

    @property
    def is_idling(self) -> bool:
        """Whether IDLE runs: DONE comes next."""
        return bool(self._idle_tag)

    @property
    def is_in_command(self) -> bool:
        """Whether a command was begun and its end has not come."""
        return bool(self._parts) and self._phase not in PAUSING

    def receive(self, octets: bytes | bytearray | memoryview) -> None:
        """Add bytes from the client."""
        self._framer.receive(octets)

    def next_event(self) -> Event | Signal:
        """Return the next event, NEED_DATA, or PAUSED while an outcome is awaited or the session
        is over."""
        while self._phase not in PAUSING:
            if self._phase is Phase.CONTENT:
                octets = self._framer.take(self._left)
                self._left -= len(octets)
                if not self._left:
                    self._phase = Phase.COMMAND
                return Content(octets) if octets else NEED_DATA
            if self._refusal and self._waiting:  # the client never sends the message
                return self._refused()
            if self._left and not self._literal_read():
                return NEED_DATA
            line = self._framer.line(self._limit(COMMAND_BYTES))
            if line is None:
                return NEED_DATA
            event = self._sasl(line) if self._phase is Phase.RESPONSE else self._line(line)
            if event is not None:
                return event
        return PAUSED

    # outcomes

    def ready(self, state: State | None = None) -> None:
        """Report that the command was answered; ``state``: that which follows, if it changed."""
        self._conclude(Phase.BUSY)
        if state is not None:
            self.state = state
        self._phase = Phase.CLOSED if self.state is State.LOGOUT else Phase.COMMAND

    def enable(self, *names: str) -> None:
        """Report what ENABLE, or a command that implies it, enabled."""
        found = {name.upper() for name in names}
        self.enabled |= found | ({"CONDSTORE"} if "QRESYNC" in found else set())

    def challenge(self, octets: bytes) -> bytes:
        """Go on with SASL; return the continuation to send."""
        self._conclude(Phase.VERIFYING)
        self._phase = Phase.RESPONSE
        return b"+ %s\r\n" % b2a_base64(octets, newline=False)

    def accepted(self) -> None:
        """Report that the login succeeded."""
        self._conclude(Phase.VERIFYING)
        self.state, self._phase = State.AUTHENTICATED, Phase.COMMAND
        self._forget()

    def rejected(self) -> None:
        """Report that the login failed; another may be tried."""
        self._conclude(Phase.VERIFYING)
        self._phase = Phase.COMMAND
        self._forget()

    def secured(self, channel: Channel) -> None:
        """Report that the TLS handshake is done; discard what was received before it."""
        self._conclude(Phase.HANDSHAKE)
        self.channel = channel
        self._framer.clear()
        self._phase = Phase.COMMAND

    def compressed(self) -> bytes:
        """Report that what follows is compressed (RFC 4978); return the bytes that are buffered,
        which are the first of it. Call it before ``ready``."""
        self._conclude(Phase.BUSY)
        return self._framer.clear()

    def accept(self) -> bytes:
        """Take the message that was announced; return the continuation to send, which may be
        empty."""
        self._conclude(Phase.DECIDING)
        self._messages += 1
        self._phase = Phase.CONTENT
        return CONTINUE if self._waiting else b""

    def refuse(self, condition: bytes) -> None:
        """Refuse the message that was announced, and so the command; the event Refused follows at
        its end. ``condition``: the reply without tag and line end, such as ``NO [OVERQUOTA] …``."""
        self._conclude(Phase.DECIDING)
        self._phase = Phase.COMMAND
        self._refusal = condition
        self._literal = None

    def _conclude(self, phase: Phase) -> None:
        if self._phase is not phase:
            raise Misuse(f"an outcome of {phase.value} in phase {self._phase.value}")

    # lines of commands

    def _forget(self) -> None:
        self._parts = []
        self._tag, self._verb, self._at = b"", "", 0
        self._refusal = b""
        self._text_bytes = self._literal_bytes = 0
        self._left = 0  # bytes of the literal that have not come
        self._waiting = False  # whether the client waits before it sends the literal
        self._literal = None  # None while it is drained
        self._messages = 0
        self._target = None
        self._options = MessageOptions()

    def _line(self, line: Line) -> Event | None:
        is_first = not self._parts
        if is_first and not line.text and line.literal is None:
            return None  # an empty line between commands
        try:
            if is_first:
                self._begin(line)
            elif not self._refusal:
                self._parts.append(line.text)
            if not self._refusal:
                self._add(line)
            if not self._refusal and self._messages and not line.is_too_long:
                return self._after_message(line)
        except BadCommand as error:
            self._refusal = str(error).encode()
        if line.literal is not None:
            return self._announced(line.literal)
        if self._refusal:
            return self._refused()
        return self._complete()

    def _begin(self, line: Line) -> None:
        """Take the tag and the verb. Raises BadCommand, and so refuses the command."""
        self._parts.append(line.text)
        text = line.text
        if self._idle_tag:
            self._tag = self._idle_tag
            if text.strip().upper() != b"DONE" or line.literal:
                raise BadCommand("expected DONE")  # IDLE ends (RFC 2177)
            return
        self._tag, self._verb, self._at = read_verb(text)
        if not self._tag:
            self._tag = b"*"
            raise BadCommand("invalid tag")
        if self._verb not in VERBS:
            raise BadCommand("unknown command" if self._verb else "a command is missing")
        if self._verb not in COMMANDS[self.state]:
            if self.state is State.NOT_AUTHENTICATED:
                raise BadCommand("log in first")
            is_for_selected = self._verb in COMMANDS[State.SELECTED]
            raise BadCommand("select a mailbox first" if is_for_selected else "not after login")

    def _add(self, line: Line) -> None:
        """Count the text of the command. Raises BadCommand."""
        self._text_bytes += len(line.text)
        limit = self._limit(COMMAND_BYTES)
        if line.is_too_long or self._text_bytes > limit or len(self._parts) > 2 * MOST_LITERALS:
            raise BadCommand("[TOOBIG] the command is too long")

    def _announced(self, literal: Announced) -> Event | None:
        if not literal.is_synchronising and literal.size > MOST_DRAINED_BYTES:
            self._phase = Phase.CLOSED
            self._framer.clear()
            return Fatal(b"* BYE [TOOBIG] the literal has no end that could be reached\r\n")
        self._waiting = literal.is_synchronising
        if not self._refusal:
            try:
                if self._verb in APPENDING and (event := self._message(literal)) is not None:
                    return event
                self._check_literal(literal)
            except BadCommand as error:
                self._refusal = str(error).encode()
        if self._refusal:
            if literal.is_synchronising:
                return self._refused()
            self._literal, self._left = None, literal.size
            return None
        self._literal, self._left = bytearray(), literal.size
        self._literal_bytes += literal.size
        if not literal.size:
            self._literal_read()
        return Continue(CONTINUE) if literal.is_synchronising else None

    def _check_literal(self, literal: Announced) -> None:
        if self._literal_bytes + literal.size > self._limit(LITERAL_BYTES):
            raise BadCommand("[TOOBIG] the literal is too large", "NO")
        if literal.is_binary:
            raise BadCommand("a binary literal is for messages alone")

    def _literal_read(self) -> bool:
        """Read bytes of a literal, or drain them; return whether it is complete."""
        octets = self._framer.take(self._left)
        self._left -= len(octets)
        if self._literal is not None:
            self._literal += octets
            if not self._left:
                self._parts.append(Literal(bytes(self._literal)))
                self._literal = None
        return not self._left

    def _complete(self) -> Event:
        if self._idle_tag:
            event = Request(self._idle_tag, Done())
            self._idle_tag = b""
            self._forget()
            self._phase = Phase.BUSY
            return event
        if self._verb in APPENDING:
            self._refusal = b"BAD expected a message as a literal"
            return self._refused()
        try:
            command = GRAMMAR[self._verb](Reader(self._parts, self.enabled, self._at))
            check_channel(self.channel, command)
        except BadCommand as error:
            self._refusal = str(error).encode()
            return self._refused()
        tag = self._tag
        self._phase = Phase.BUSY
        match command:
            case Login():
                self._phase = Phase.VERIFYING
            case Authenticate():
                self._phase = Phase.VERIFYING
                self._forget()
                self._tag = tag
                return Request(tag, command)
            case StartTls():
                self._phase = Phase.HANDSHAKE
                self._framer.clear()
            case Idle():
                self._phase = Phase.COMMAND
                self._idle_tag = tag
            case Logout():
                self.state = State.LOGOUT
        self._forget()
        return Request(tag, command)

    def _limit(self, after_login: int) -> int:
        return BEFORE_LOGIN_BYTES if self.state is State.NOT_AUTHENTICATED else after_login

    def _refused(self) -> Refused:
        reply = b"%s %s\r\n" % (self._tag, self._refusal)
        self._idle_tag = b""
        self._forget()
        return Refused(reply)

    # APPEND and REPLACE

    def _message(self, literal: Announced) -> AppendMessage | None:
        """Return the announcement of a message; None when the literal is the mailbox's name.
        Raises BadCommand."""
        if self._messages:
            reader = Reader(self._parts[-1:], self.enabled, 1 if self._options.utf8 else 0)
            if self._verb != "APPEND":
                raise BadCommand("REPLACE takes one message")
        else:
            reader = Reader(self._parts, self.enabled, self._at)
            if is_before_mailbox(reader, self._verb):
                return None
            self._target = parse_target(reader, self._verb)
        assert self._target is not None
        self._options = parse_options(reader)
        if literal.size > self._append_limit:
            raise BadCommand("[TOOBIG] the message is too large", "NO")
        if not literal.size:  # RFC 3502 §6.3.11: that cancels the command
            raise BadCommand("the message is empty", "NO")
        self._left, self._phase = literal.size, Phase.DECIDING
        return AppendMessage(
            self._tag, self._target, self._options, literal.size, literal.is_binary, self._messages
        )

    def _after_message(self, line: Line) -> Event | None:
        """Process the line after a message: the end of the command, or another message. Raises
        BadCommand."""
        if self._options.utf8 and not line.text.startswith(b")"):
            raise BadCommand("expected ) after the message")
        del self._parts[:-1]
        self._text_bytes = len(line.text)
        if line.literal is not None:
            return self._announced(line.literal)
        if line.text[1 if self._options.utf8 else 0 :].strip(b" "):
            raise BadCommand("expected a message as a literal")
        event = AppendEnd(self._tag, self._messages)
        self._forget()
        self._phase = Phase.BUSY
        return event

    # SASL

    def _sasl(self, line: Line) -> Event | None:
        tag = self._tag
        try:
            if line.is_too_long or line.literal is not None:
                raise BadCommand("invalid response")
            if line.text.strip() == b"*":
                raise BadCommand("authentication cancelled")  # RFC 9051 §6.2.2
            octets = decode_base64(line.text.strip())
        except BadCommand as error:
            self._phase = Phase.COMMAND
            self._parts, self._refusal = [line.text], str(error).encode()
            return self._refused() if line.literal is None else self._announced(line.literal)
        self._phase = Phase.VERIFYING
        return SaslResponse(tag, octets)
