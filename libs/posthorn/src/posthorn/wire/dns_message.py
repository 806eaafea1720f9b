"""DNS messages (RFC 1035 §4) as a stub resolver needs them: a question written, its answer read.

Rules:

- A name is a byte string in wire form, in lower case, so that names are compared as bytes. Length
  bytes are at most 63 and no letters, so that lower case of the whole is that of the labels.
- An answer counts only if it echoes the identifier and the question (RFC 5452 §9.1); else it is
  ``OtherAnswer`` and the true one may still come.
- Compression pointers lead backwards only, so that no name loops; nothing outside the message is
  read, whatever its counts say.
- Aliases are followed within the answer, eight at most. A recursive resolver sends the whole chain;
  where one stops short, ``Answer.alias`` is the name to ask for.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum

UDP_BYTES = 1232
"""Bytes of a UDP answer that is not fragmented on any path (EDNS, RFC 6891)."""
LONGEST_NAME_BYTES = 255
LONGEST_LABEL_BYTES = 63
MOST_ALIASES = 8
MOST_RECORDS = 400
"""Records of the answer and authority sections that are read."""
NOERROR = 0
NXDOMAIN = 3

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_QUESTION = struct.Struct("!HH")
_SOA_END = struct.Struct("!IIIII")
_EDNS = struct.pack("!BHHIH", 0, 41, UDP_BYTES, 0, 0)
_IN = 1
_SOA = 6
_CNAME = 5
_LONGEST_TTL = 0x7FFFFFFF  # RFC 2181 §8


class Kind(IntEnum):
    """Types of records that are asked for."""

    A = 1
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28


class DnsMessageError(ValueError):
    """The bytes are no answer that can be read."""


class OtherAnswer(DnsMessageError):
    """The bytes do not answer this question."""


type Value = bytes | str | tuple[int, str]
"""TXT: the joined strings; A, AAAA and PTR: a text; MX: preference and host."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name server says."""

    code: int
    """RCODE (RFC 1035 §4.1.1); only NOERROR and NXDOMAIN answer the question."""
    is_truncated: bool = False
    """It was cut; the records are to be asked for over TCP."""
    values: tuple[Value, ...] = ()
    ttl_seconds: int | None = None
    """How long it may be kept; None for an empty answer without an SOA record (RFC 2308 §5)."""
    alias: bytes = b""
    """The name that an alias leads to, of which the answer says nothing; empty without one."""


def encode_name(text: str) -> bytes | None:
    """Return a name in wire form; None if no name server can be asked for it."""
    if not text.isascii():
        return None
    labels = text.removesuffix(".").lower().encode("ascii").split(b".")
    if any(not 0 < len(label) <= LONGEST_LABEL_BYTES for label in labels):
        return None
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return wire if len(wire) <= LONGEST_NAME_BYTES else None


def encode_question(identifier: int, name: bytes, kind: Kind) -> bytes:
    """Return a question to a recursive resolver."""
    header = _HEADER.pack(identifier, 0x0100, 1, 0, 0, 1)
    return header + name + _QUESTION.pack(kind, _IN) + _EDNS


def identifier_of(message: bytes) -> int:
    """Return the identifier that a message bears; -1 if it has none."""
    return int.from_bytes(message[:2]) if len(message) >= _HEADER.size else -1


def decode_answer(message: bytes, identifier: int, name: bytes, kind: Kind) -> Answer:
    """Read the answer to a question. Raises OtherAnswer, DnsMessageError."""
    if len(message) < _HEADER.size:
        raise OtherAnswer("shorter than a header")
    found, flags, questions, answers, authorities, _ = _HEADER.unpack_from(message)
    if found != identifier or not flags & 0x8000 or flags & 0x7800:
        raise OtherAnswer("another message")
    code = flags & 0x0F
    if questions == 0 and code not in (NOERROR, NXDOMAIN):
        return Answer(code)  # some servers do not echo what they could not read
    if questions != 1:
        raise OtherAnswer("not one question")
    asked, at = _read_name(message, _HEADER.size)
    if asked != name or message[at : at + 4] != _QUESTION.pack(kind, _IN):
        raise OtherAnswer("another question")
    if flags & 0x0200:
        return Answer(code, is_truncated=True)
    if code not in (NOERROR, NXDOMAIN):
        return Answer(code)
    try:
        return _read_records(message, at + 4, answers, authorities, code, name, kind)
    except (struct.error, IndexError) as error:
        raise DnsMessageError("the message ends within a record") from error


def _read_records(
    message: bytes, at: int, answers: int, authorities: int, code: int, name: bytes, kind: Kind
) -> Answer:
    aliases: dict[bytes, tuple[bytes, int]] = {}
    held: dict[bytes, list[tuple[Value, int]]] = {}
    negative: int | None = None
    for place in range(min(answers + authorities, MOST_RECORDS)):
        owner, at = _read_name(message, at)
        type_, class_, ttl, length = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        end = at + length
        if end > len(message):
            raise DnsMessageError("a record ends after the message")
        ttl = ttl if ttl <= _LONGEST_TTL else 0
        if class_ == _IN:
            if place >= answers:
                if type_ == _SOA and negative is None:
                    negative = _negative_ttl(message, at, end, ttl)
            elif type_ == kind:
                value = _read_value(message, at, end, kind)
                if value is not None:
                    held.setdefault(owner, []).append((value, ttl))
            elif type_ == _CNAME:
                aliases.setdefault(owner, (_read_name(message, at)[0], ttl))
        at = end
    ttls: list[int] = []
    for _ in range(MOST_ALIASES + 1):
        if name in held or name not in aliases:
            break
        name, ttl = aliases[name]
        ttls.append(ttl)
    else:
        raise DnsMessageError("too many aliases, or a loop of them")
    records = held.get(name, ()) if code == NOERROR else ()
    ttls += [ttl for _, ttl in records]
    if not records:
        if negative is None and ttls and code == NOERROR:
            return Answer(code, ttl_seconds=min(ttls), alias=name)
        if negative is None:
            return Answer(code)
        ttls.append(negative)
    return Answer(code, values=tuple(value for value, _ in records), ttl_seconds=min(ttls))


def _read_name(message: bytes, at: int) -> tuple[bytes, int]:
    """Return the name at an offset, in wire form and lower case, and the offset after it."""
    labels: list[bytes] = []
    after = -1
    size = 1
    limit = at
    try:
        while (length := message[at]) != 0:
            if length < 0x40:
                size += length + 1
                if size > LONGEST_NAME_BYTES:
                    raise DnsMessageError("a name is too long")
                end = at + 1 + length
                if end > len(message):
                    raise DnsMessageError("a name ends after the message")
                labels.append(message[at:end])
                at = end
            elif length >= 0xC0:
                target = (length & 0x3F) << 8 | message[at + 1]
                if after < 0:
                    after = at + 2
                if target >= limit:
                    raise DnsMessageError("a name points forwards")
                at = limit = target
            else:
                raise DnsMessageError("a label of an unknown kind")
    except IndexError as error:
        raise DnsMessageError("a name ends after the message") from error
    return b"".join(labels).lower() + b"\0", at + 1 if after < 0 else after


def _read_value(message: bytes, at: int, end: int, kind: Kind) -> Value | None:
    """Return the value of a record; None for one that means nothing to mail."""
    if kind is Kind.A:
        if end - at != 4:
            raise DnsMessageError("an address is not 4 bytes long")
        return str(ipaddress.IPv4Address(message[at:end]))
    if kind is Kind.AAAA:
        if end - at != 16:
            raise DnsMessageError("an address is not 16 bytes long")
        return str(ipaddress.IPv6Address(message[at:end]))
    if kind is Kind.TXT:
        return _read_strings(message, at, end)
    if kind is Kind.PTR:
        return _text(_read_name(message, at)[0])
    if end - at < 3:
        raise DnsMessageError("an MX record is too short")
    host = _text(_read_name(message, at + 2)[0])
    return None if host is None else (int.from_bytes(message[at : at + 2]), host)


def _read_strings(message: bytes, at: int, end: int) -> bytes:
    strings = []
    while at < end:
        after = at + 1 + message[at]
        if after > end:
            raise DnsMessageError("a string ends after its record")
        strings.append(message[at + 1 : after])
        at = after
    return b"".join(strings)


def _negative_ttl(message: bytes, at: int, end: int, ttl: int) -> int:
    """Return how long the absence may be kept: the lesser of the SOA record's TTL and its last
    field (RFC 2308 §5)."""
    _, at = _read_name(message, at)
    _, at = _read_name(message, at)
    if at + _SOA_END.size != end:
        raise DnsMessageError("an SOA record has another length")
    return min(ttl, int(_SOA_END.unpack_from(message, at)[4]))


def _text(name: bytes) -> str | None:
    """Return a name as text without a final dot; None if a label holds what needs escapes."""
    labels = []
    at = 0
    while length := name[at]:
        label = name[at + 1 : at + 1 + length]
        if b"." in label or not all(0x21 <= each <= 0x7E for each in label):
            return None
        labels.append(label.decode("ascii"))
        at += 1 + length
    return ".".join(labels)
