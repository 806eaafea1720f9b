"""SMTP replies: codes, enhanced codes and their form on the wire (RFC 5321 §4.2, RFC 2034, RFC
3463).

Rules:

- A reply never repeats what the client sent, so nothing can be injected into it, and never says
  more of a fault than its code.
- Every 2yz, 4yz and 5yz carries an enhanced code, but for the greeting and the answers to EHLO and
  HELO; 3yz has none (RFC 2034 §4).
- What is a fault of ours is a 4yz. A 5yz is about what the client sent, and is final.
- ``kind`` names an outcome for logs and metrics; it is no part of the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of one or more lines."""

    code: int
    status: str
    """Enhanced code such as ``5.1.1``; empty where RFC 2034 has none."""
    text: str
    """Printable ASCII; a line feed begins a further line of the reply."""
    kind: str = ""
    octets: bytes = field(init=False, repr=False, compare=False)
    """The reply as sent, with every line end."""

    def __post_init__(self) -> None:
        status = f"{self.status} " if self.status else ""
        first, last = "", self.text
        if "\n" in last:
            *others, last = last.split("\n")
            first = "".join(f"{self.code}-{status}{line}\r\n" for line in others)
        octets = f"{first}{self.code} {status}{last}\r\n".encode("ascii")
        object.__setattr__(self, "octets", octets)

    @property
    def is_transient(self) -> bool:
        """Whether the client should try again later (4yz)."""
        return 400 <= self.code < 500


@cache
def greeting(hostname: str) -> Reply:
    """Return the greeting of a session (RFC 5321 §4.3.1)."""
    return Reply(220, "", f"{hostname} ESMTP Posthorn")


@cache
def helo_reply(hostname: str) -> Reply:
    """Answer HELO."""
    return Reply(250, "", hostname)


@cache
def ehlo_reply(
    hostname: str,
    max_size: int,
    *,
    starttls: bool,
    mechanisms: Sequence[str] = (),
    dsn: bool = True,
) -> Reply:
    """Answer EHLO with the extensions that work: RFC 1870, 6152, 6531, 2920, 2034, 3030, 3461, 3207
    and 4954.

    Without ``dsn`` RFC 3461 is not offered: the client then tells its sender itself that the
    message went on (RFC 3461 §5.2.2).
    """
    lines = [
        hostname,
        f"SIZE {max_size}",
        "8BITMIME",
        "SMTPUTF8",
        "PIPELINING",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
    ]
    if dsn:
        lines.append("DSN")
    if starttls:
        lines.append("STARTTLS")
    if mechanisms:
        lines.append(f"AUTH {' '.join(mechanisms)}")
    return Reply(250, "", "\n".join(lines))


def accepted(message_id: object) -> Reply:
    """The promise: the message is kept."""
    return Reply(250, "2.0.0", f"{message_id} accepted", "accepted")


def chunk_taken(size: int) -> Reply:
    """Answer a BDAT that is not the last one (RFC 3030 §2)."""
    return Reply(250, "2.0.0", f"{size} octets received")


@cache
def challenge(text: str) -> Reply:
    """Ask for the next step of a login; ``text`` is base64 (RFC 4954 §4)."""
    return Reply(334, "", text)


OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "recipient OK")
BYE = Reply(221, "2.0.0", "bye")
HELP = Reply(
    214,
    "2.0.0",
    "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH\nsee RFC 5321",
)
CANNOT_VERIFY = Reply(252, "2.1.5", "addresses are not verified here; send the mail and see")
READY_FOR_TLS = Reply(220, "2.0.0", "ready to start TLS")
START_INPUT = Reply(354, "", "end data with <CR><LF>.<CR><LF>")

# The commands themselves

UNKNOWN_COMMAND = Reply(500, "5.5.2", "command not recognized", "unknown-command")
LINE_TOO_LONG = Reply(500, "5.5.2", "command line too long", "command-too-long")
BAD_LINE = Reply(
    500, "5.5.2", "a command ends with <CR><LF> and holds no control characters", "bad-line"
)
BAD_NAME = Reply(501, "5.5.4", "syntax: EHLO or HELO, and the name of your host", "syntax")
BAD_MAIL = Reply(
    501, "5.5.4", "syntax: MAIL FROM:<address>, then parameters as NAME=value", "syntax"
)
BAD_RCPT = Reply(501, "5.5.4", "syntax: RCPT TO:<address>, then parameters as NAME=value", "syntax")
BAD_VALUE = Reply(501, "5.5.4", "the value of a parameter is missing or not valid", "syntax")
BAD_AUTH = Reply(501, "5.5.4", "syntax: AUTH and the name of a mechanism that EHLO lists", "syntax")
BAD_BDAT = Reply(
    501, "5.5.4", "syntax: BDAT, a number of bytes, and LAST for the last chunk", "syntax"
)
BAD_VRFY = Reply(501, "5.5.4", "syntax: VRFY and an address", "syntax")
NO_PARAMETERS = Reply(501, "5.5.4", "this command takes no parameters", "syntax")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "command not implemented", "not-implemented")
UNKNOWN_PARAMETER = Reply(
    555, "5.5.4", "parameter not recognized or not implemented", "unknown-parameter"
)
HELLO_FIRST = Reply(503, "5.5.1", "send EHLO or HELO first", "sequence")
MAIL_FIRST = Reply(503, "5.5.1", "MAIL first", "sequence")
RCPT_FIRST = Reply(503, "5.5.1", "RCPT first", "sequence")
NESTED_MAIL = Reply(503, "5.5.1", "a transaction is open; finish it, or send RSET", "sequence")
CHUNKS_OPEN = Reply(
    503, "5.5.1", "a message is coming in by BDAT; only BDAT or RSET may follow", "sequence"
)
TLS_ACTIVE = Reply(503, "5.5.1", "TLS is active already", "sequence")
NO_RECIPIENT = Reply(554, "5.5.1", "no valid recipients", "no-recipient")
NO_RECIPIENT_NOW = Reply(
    451, "4.5.1", "no recipient could be accepted now; try again later", "no-recipient-now"
)

# Addresses

BAD_SENDER = Reply(553, "5.1.7", "invalid sender address", "bad-sender")
BAD_RECIPIENT = Reply(553, "5.1.3", "invalid mailbox address", "bad-recipient")
NEEDS_SMTPUTF8 = Reply(
    553, "5.6.7", "a non-ASCII address needs the SMTPUTF8 parameter at MAIL", "needs-smtputf8"
)
UNKNOWN_RECIPIENT = Reply(550, "5.1.1", "user unknown", "unknown-recipient")
FOREIGN_RECIPIENT = Reply(
    550, "5.7.1", "relaying denied; this domain is not served here", "relay-denied"
)
UNQUALIFIED_DOMAIN = Reply(
    554, "5.1.2", "the domain is not fully qualified; write its whole name", "unqualified-domain"
)
OVER_QUOTA = Reply(452, "4.2.2", "mailbox full", "over-quota")
NO_ROOM = Reply(452, "4.2.2", "mailbox full; no space for a message of this size", "over-quota")
SUSPENDED = Reply(450, "4.2.1", "mailbox temporarily disabled, not accepting messages", "suspended")
LIMITED = Reply(
    450,
    "4.7.1",
    "this address forwards, and its sending limit is reached; try again later",
    "limited",
)
TOO_MANY_RECIPIENTS = Reply(
    452, "4.5.3", "too many recipients; send to the rest separately", "too-many-recipients"
)
HARVESTING = Reply(421, "4.7.0", "too many unknown recipients; closing", "harvesting")

# The message

TOO_BIG = Reply(552, "5.3.4", "message size exceeds the maximum that SIZE announces", "too-big")
BARE_LINE_END = Reply(
    550, "5.5.2", "lines must end in <CR><LF>; a bare CR or LF is not accepted", "bare-line-end"
)
LOOP = Reply(554, "5.4.6", "routing loop detected: too many Received fields", "loop")
LOOPS_HERE = Reply(
    554, "5.4.6", "routing loop detected: the message has been here too often", "loop-here"
)
NO_REPORT = Reply(
    550,
    "5.7.1",
    "this address of a forwarded message takes delivery reports and automatic replies only",
    "no-report",
)

HEADER_TOO_BIG = Reply(552, "5.3.4", "message header too long", "header-too-big")

# Submission (RFC 6409, RFC 4954 §6)

LOGGED_IN = Reply(235, "2.7.0", "authentication succeeded")
LOGIN_FAILED = Reply(535, "5.7.8", "authentication failed: wrong name or password", "login-failed")
LOGIN_NOT_NOW = Reply(
    454, "4.7.0", "temporary authentication failure; try again later", "login-not-now"
)
LOGIN_THROTTLED = Reply(454, "4.7.0", "too many failed logins; try again later", "login-throttled")
LOGIN_GIVEN_UP = Reply(421, "4.7.0", "too many failed logins; closing", "login-given-up")
LOGIN_CANCELLED = Reply(501, "5.7.0", "authentication cancelled", "login-cancelled")
LOGIN_FIRST = Reply(530, "5.7.0", "authentication required", "login-first")
LOGIN_DONE = Reply(503, "5.5.1", "already authenticated", "sequence")
LOGIN_TOO_LONG = Reply(500, "5.5.6", "authentication exchange line is too long", "command-too-long")
NEEDS_TLS = Reply(
    538, "5.7.11", "encryption required for authentication; send STARTTLS first", "needs-tls"
)
NO_MECHANISM = Reply(504, "5.5.4", "authentication mechanism not offered", "no-mechanism")
NOT_BASE64 = Reply(501, "5.5.2", "invalid base64, or not what the mechanism asks for", "not-base64")
REVOKED = Reply(421, "4.7.0", "authentication is not valid any more; closing", "revoked")
RECEIVE_ONLY = Reply(550, "5.7.1", "this account may receive mail but not send it", "receive-only")
NO_SENDING = Reply(550, "5.7.1", "this account may not send now", "no-sending")
NOT_THE_OWNER = Reply(
    550, "5.7.1", "the sender address is not one of this account", "not-the-owner"
)
NOT_THE_AUTHOR = Reply(
    550,
    "5.7.1",
    "From, Sender or Resent-From names an address that is not one of this account",
    "not-the-author",
)
BAD_HEADER = Reply(
    550, "5.6.0", "the header of the message is not in the form of RFC 5322", "bad-header"
)
NUL = Reply(554, "5.6.0", "the message holds NUL characters", "nul")
BAD_FROM = Reply(550, "5.6.0", "the message needs one From field with mail addresses", "bad-from")
UNQUOTED_NAME = Reply(
    550,
    "5.6.0",
    "a name in the From field holds one of , : ; @ [ ] \\ ( ) or the like: it must be quoted",
    "bad-from",
)
RATE_REACHED = Reply(452, "4.7.1", "sending limit exceeded; try again later", "rate-reached")

# Clients that misbehave

BANNED = Reply(
    421,
    "4.7.1",
    "connections from this network are refused for some time, because of errors or unknown recipients; try again later",
    "banned",
)
EARLY_TALKER = Reply(554, "5.5.1", "commands before the greeting; closing", "early-talker")
EARLY_PIPELINING = Reply(
    554, "5.5.1", "commands before the reply to EHLO or HELO; closing", "early-pipelining"
)

# Faults and limits of ours

FAULT = Reply(451, "4.3.0", "temporary system problem; try again later", "fault")
FULL = Reply(452, "4.3.1", "insufficient system storage; try again later", "full")
SCANNER_AWAY = Reply(
    451, "4.3.0", "the message cannot be scanned now; try again later", "scanner-away"
)
OTHER_PROTOCOL = Reply(421, "4.7.0", "this is SMTP; closing", "other-protocol")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "too many errors; closing", "too-many-errors")
ENDLESS_CHUNK = Reply(421, "4.7.0", "the chunk is far too large; closing", "endless-chunk")
TOO_MANY_CONNECTIONS = Reply(
    421, "4.7.0", "too many connections; try again later", "too-many-connections"
)
GAVE_WAY = Reply(421, "4.7.0", "the place is needed for others; try again later", "gave-way")
LOGIN_TOO_MANY = Reply(
    454,
    "4.7.0",
    "too many sessions of this account or its tenant; try again later",
    "too-many-sessions",
)
OVERFED = Reply(
    421, "4.3.1", "insufficient system storage for what was sent ahead; try again later", "overfed"
)
GOING_DOWN = Reply(421, "4.3.2", "service shutting down; try again later", "draining")
TIMED_OUT = Reply(421, "4.4.2", "timeout exceeded; closing", "timed-out")
