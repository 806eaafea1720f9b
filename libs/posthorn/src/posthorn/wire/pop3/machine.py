"""The sans-I/O machine of POP3, server side (RFC 1939, RFC 2449, RFC 2595, RFC 5034, RFC 6856,
RFC 7628).

Rules:

- Bytes go in with ``receive``; ``next_event`` returns frozen events. The division of the bytes into
  pieces makes no difference.
- ``wire.pop3.states`` is the protocol: what may happen in which state. What may not is answered by a
  Refused event.
- The machine pauses for decisions of the caller: after Login, Stls and Quit it returns PAUSED until
  it gets the outcome, so that pipelined commands (RFC 2449 §6.6) wait. The caller limits memory: it
  stops reading while much is ``buffered``.
- Stls discards all pending input (RFC 2595 §4): bytes that an attacker injected before the
  handshake are never commands.
- Replies that do not depend on the maildrop are made here; those about messages by the session.

A line ends with CRLF; a lone LF is accepted too, as by all common servers. Passwords never appear
in a ``repr``.
"""

from __future__ import annotations

from binascii import b2a_base64

from posthorn.wire.pop3.events import (
    Challenge,
    Declined,
    Event,
    Login,
    Mechanisms,
    Named,
    Refused,
    TokenLogin,
)
from posthorn.wire.pop3.grammar import (
    GRAMMAR,
    STLS,
    UTF8,
    Auth,
    BadLine,
    Pass,
    User,
    base64_of,
    text_of,
)
from posthorn.wire.pop3.states import (
    TRANSITIONS,
    WAITING,
    Accepted,
    Channel,
    Explained,
    Rejected,
    Secured,
    State,
)
from posthorn.wire.sasl_bearer import BEARER_MECHANISMS, read_bearer
from posthorn.wire.signals import NEED_DATA, PAUSED, Misuse, Signal
from posthorn.wire.smtp.sasl import SaslError

LINE_LIMIT = 255
"""Bytes of a command line with its end (RFC 2449 §4)."""
CREDENTIAL_LIMIT = 1_100
"""Bytes of a USER or PASS line: the API accepts passwords of 256 characters, and each must work
for a login."""
SASL_LIMIT = 12_288
"""Bytes of an AUTH command or a response line of its exchange with its end (as RFC 4954 §4 for
SMTP)."""
_USERNAME_PROMPT = b2a_base64(b"Username:", newline=False)
_PASSWORD_PROMPT = b2a_base64(b"Password:", newline=False)


class Machine:
    """The protocol state of one session."""

    __slots__ = (
        "_buffer",
        "_expire",
        "_mechanism",
        "_name",
        "_scanned",
        "_start",
        "_swallowing",
        "channel",
        "state",
        "utf8",
    )

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.state = State.AUTHORIZATION
        self.utf8 = False
        """Whether the client asked for UTF-8 mode."""
        self._buffer = bytearray()
        self._start = 0
        self._scanned = 0
        self._swallowing = False
        self._name: str | None = None
        self._expire = "NEVER"
        self._mechanism = ""

    @property
    def buffered(self) -> int:
        """Bytes received and not yet processed."""
        return len(self._buffer) - self._start

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes from the client."""
        self._buffer += data

    def next_event(self) -> Event | Signal:
        """Return the next event, NEED_DATA, or PAUSED while an outcome is awaited or the session
        is over."""
        if self.state in WAITING:
            return PAUSED
        try:
            line = self._line()
            if line is None:
                return NEED_DATA
            event = (
                self._challenged(line) if self.state is State.CHALLENGED else self._command(line)
            )
        except BadLine as bad:
            if self.state is State.CHALLENGED:
                self._forget_login()
            return Refused(b"-ERR %s\r\n" % str(bad).encode())
        after = TRANSITIONS[self.state].get(type(event))
        if after is None:
            return Refused(
                b"-ERR log in first\r\n"
                if self.state is not State.TRANSACTION
                else b"-ERR not after login\r\n"
            )
        if event is STLS:
            if not self.channel.stls:
                return Refused(b"-ERR STLS is not offered on this connection\r\n")
            self._buffer.clear()
            self._start = self._scanned = 0
            self._name = None
        elif event is UTF8:
            self.utf8 = True
        self.state = after
        return event

    def accepted(self, keep_days: int | None = None) -> None:
        """Report that the login succeeded and the maildrop is open. ``keep_days``: days after
        which the server removes messages; None: never."""
        self._conclude(Accepted)
        self._expire = "NEVER" if keep_days is None else str(keep_days)

    def rejected(self) -> None:
        """Report that the login failed; another may be tried."""
        self._conclude(Rejected)
        self._forget_login()

    def explain(self, reason: bytes) -> bytes:
        """Report that the token was refused; return the challenge that tells why. Declined follows
        when the client has taken it (RFC 7628 §3.2.3)."""
        self._conclude(Explained)
        self._mechanism = ""
        return b"+ %s\r\n" % b2a_base64(reason, newline=False)

    def secured(self, channel: Channel) -> None:
        """Report that the TLS handshake is done; discard what was received before it (RFC 2595
        §4)."""
        self._conclude(Secured)
        self.channel = channel
        self.utf8 = False

    def capabilities(self) -> bytes:
        """Return the whole reply to CAPA for the present state (RFC 2449 §5)."""
        lines = [
            "TOP",
            "UIDL",
            "PIPELINING",
            "RESP-CODES",
            "AUTH-RESP-CODE",
            "UTF8 USER",
            "LANG",
        ]
        if self.state is not State.TRANSACTION:
            if self.channel.passwords:
                lines += ["USER", f"SASL {' '.join(self.channel.mechanisms)}"]
            if self.channel.stls:
                lines += ["STLS"]
        else:
            lines += [f"EXPIRE {self._expire}"]  # it differs by account, so none before the login
        lines += ["IMPLEMENTATION Posthorn"]
        return ("+OK capabilities follow\r\n" + "\r\n".join(lines) + "\r\n.\r\n").encode()

    def _conclude(self, outcome: type) -> None:
        after = TRANSITIONS[self.state].get(outcome)
        if after is None:
            raise Misuse(f"{outcome.__name__} in state {self.state.value}")
        self.state = after

    def _forget_login(self) -> None:
        self.state = State.AUTHORIZATION
        self._name = None
        self._mechanism = ""

    def _line(self) -> bytes | None:
        """Return a line without its end; None when there is no complete one. A line that is too
        long is refused once, then skipped."""
        buffer = self._buffer
        while True:
            end = buffer.find(b"\n", self._scanned)
            if end < 0:
                if self._start:
                    del buffer[: self._start]
                    self._start = 0
                if self._swallowing:
                    buffer.clear()
                elif len(buffer) >= self._limit(buffer[:5]):
                    buffer.clear()
                    self._swallowing = True
                    self._scanned = 0
                    raise BadLine("the line is too long")
                self._scanned = len(buffer)
                return None
            line = bytes(buffer[self._start : end])
            self._start = self._scanned = end + 1
            if self._swallowing:
                self._swallowing = False
                continue
            if len(line) >= LINE_LIMIT and len(line) >= self._limit(line[:5]):
                raise BadLine("the line is too long")
            return line.removesuffix(b"\r")

    def _limit(self, head: bytes | bytearray) -> int:
        if self.state is State.CHALLENGED:
            return SASL_LIMIT
        return {b"AUTH ": SASL_LIMIT, b"USER ": CREDENTIAL_LIMIT, b"PASS ": CREDENTIAL_LIMIT}.get(
            bytes(head).upper(), LINE_LIMIT
        )

    def _command(self, line: bytes) -> Event:
        verb, _, argument = line.partition(b" ")
        read = GRAMMAR.get(verb) or GRAMMAR.get(verb.strip().upper())
        if read is None:
            raise BadLine("unknown command")
        event = read(argument)
        if isinstance(event, User | Pass | Auth):
            return self._authentication(event)
        return event

    def _authentication(self, command: User | Pass | Auth) -> Event:
        if self.state is State.TRANSACTION:
            raise BadLine("not after login")
        if isinstance(command, Auth) and not command.mechanism:
            lines = ["+OK mechanisms follow", *self.channel.mechanisms, ".", ""]
            return Mechanisms("\r\n".join(lines).encode())
        if not self.channel.passwords:
            way = "use STLS first" if self.channel.stls else "use a connection with TLS"
            raise BadLine(f"[AUTH] no password is taken on an unencrypted connection: {way}")
        match command:
            case User(name):
                self._name = name
                return Named()
            case Pass(password):
                if self.state is not State.NAMED or self._name is None:
                    raise BadLine("USER comes first")
                return Login(self._name, password)
            case Auth(mechanism, initial):
                self._name = None
                if mechanism not in self.channel.mechanisms:
                    raise BadLine("this mechanism is not offered")
                self._mechanism = mechanism
                if initial is None:
                    return Challenge(
                        b"+ %s\r\n" % _USERNAME_PROMPT if mechanism == "LOGIN" else b"+ \r\n"
                    )
                return self._response(b"" if initial == b"=" else base64_of(initial))

    def _challenged(self, line: bytes) -> Event:
        if line.strip() == b"*":
            raise BadLine("authentication cancelled")  # RFC 5034 §4
        return self._response(base64_of(line.strip()))

    def _response(self, data: bytes) -> Event:
        if not self._mechanism:
            return Declined()
        if self._mechanism in BEARER_MECHANISMS:
            try:
                return TokenLogin(read_bearer(self._mechanism, data))
            except SaslError as error:
                raise BadLine(str(error)) from None
        if self._mechanism == "PLAIN":  # RFC 4616 §2
            parts = data.split(b"\0")
            if len(parts) != 3 or not parts[1]:
                raise BadLine("the response is not in the form of PLAIN")
            return Login(text_of(parts[1]), text_of(parts[2]), text_of(parts[0]))
        if self._name is None:
            self._name = text_of(data)
            return Challenge(b"+ %s\r\n" % _PASSWORD_PROMPT)
        return Login(self._name, text_of(data))
