"""A message made from the parts a program gives: the header, the texts and the attachments (RFC
5322, RFC 2045 to 2047).

Rules:

- The same draft under the same id gives the same bytes, so that a repeat of a request is the same
  message: boundaries come from the id, and nothing here asks the clock.
- Nothing needs 8BITMIME of the next host: bodies are in ASCII, quoted-printable or base64. Only an
  address whose local part is not ASCII makes the header UTF-8, which then needs SMTPUTF8 (RFC
  6532).
- Bcc recipients stand nowhere in the message.
- A display name needs no quotes: everything before the address is the name, and is quoted or
  encoded in the header. Only what reads as a list of addresses is refused: one of them would be
  taken for the recipient, and the others for its name.
"""

from __future__ import annotations

import base64
import email.policy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from uuid import UUID

from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.wire.address import MAX_PATH_OCTETS, Address, AddressError
from posthorn.wire.foreign_address import parse_foreign, written_form
from posthorn.wire.message.header_text import WordTooLongError, address_field, text_field
from posthorn.wire.message.submission import QUOTE_IT, AuthorError, authors_of

_BETWEEN_ANGLES = re.compile(r"\s*(?P<name>.*?)\s*<(?P<address>[^<>]*)>\s*\Z", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"\Z')
_QUOTES = re.compile(r'"(?:[^"\\]|\\.)*+"')
_ADDRESS = re.compile(r"(?:\A|<)\s*[^\s<>@]+@[^\s<>@]+\s*(?:>\s*)?\Z")
_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]{1,100}\Z")
_TYPE = re.compile(r"(?P<main>[a-z0-9!#$&^_.+-]+)/(?P<sub>[a-z0-9!#$&^_.+-]+)\Z", re.IGNORECASE)
_CONTENT_ID = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~@-]{1,200}\Z")
_LARGE = 64 * 1024
"""Bytes from which a text or a file is put into the message after it was made: the email
package takes its time over such."""
_PIECE = 1024 * 1024
_BASE64_LINE = 57
"""Bytes in a line of base64 (RFC 2045 §6.8)."""

_OURS = frozenset(
    {
        "from",
        "sender",
        "to",
        "cc",
        "bcc",
        "reply-to",
        "subject",
        "mime-version",
        "received",
        "return-path",
        "authentication-results",
        "dkim-signature",
    }
)
_OURS_BY_PREFIX = ("content-", "resent-", "arc-")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with the name that goes with it."""

    name: str
    address: Address
    written: str
    """The address with its local part as it was written; its domain is canonical."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file attached to a message."""

    filename: str | None
    content_type: str
    content: bytes
    inline: bool = False
    content_id: str | None = None
    """What ``cid:`` in the HTML names; the file is then shown there."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a message is made of."""

    sender: Mailbox
    to: Sequence[Mailbox] = ()
    cc: Sequence[Mailbox] = ()
    reply_to: Sequence[Mailbox] = ()
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Sequence[Attachment] = ()


def mailbox(where: str, text: str) -> Mailbox:
    """Read ``local@domain`` or ``Name <local@domain>``. Raises ValidationFailed, naming the
    field ``where``."""
    items = [item for item in re.split("[,;]", _QUOTES.sub("_", text)) if item.strip()]
    if any(_ADDRESS.search(item) for item in items[:-1]):
        raise ValidationFailed(
            FieldError(where, f"several addresses where one should be; {QUOTE_IT}")
        )
    name, spec = "", text.strip()
    if found := _BETWEEN_ANGLES.match(text):
        name, spec = found["name"], found["address"]
        if _QUOTED.match(name):
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
    try:
        address = parse_foreign(spec)
    except AddressError as error:
        form = (
            ""
            if found or " " not in spec
            else "; an address with a name has the form Name <local@domain>"
        )
        raise ValidationFailed(FieldError(where, f"{error}{form}")) from None
    written = written_form(spec, address)
    if len(written.encode()) > MAX_PATH_OCTETS:
        raise ValidationFailed(
            FieldError(where, f"the address is longer than {MAX_PATH_OCTETS} bytes")
        )
    return Mailbox(name, address, written)


def compose(draft: Draft, number: UUID) -> bytes:
    """Make the message, with CRLF line ends, without Date and Message-ID unless its headers name
    them. Raises ValidationFailed."""
    boxes = (draft.sender, *draft.to, *draft.cc, *draft.reply_to)
    utf8 = not all(box.address.is_ascii for box in boxes)
    policy = email.policy.SMTP.clone(cte_type="7bit", utf8=utf8)
    lines = _extra_fields(draft.headers)
    for name, found in (
        ("From", [draft.sender]),
        ("To", draft.to),
        ("Cc", draft.cc),
        ("Reply-To", draft.reply_to),
    ):
        if found:
            lines.append(_address_field(name, found))
    if draft.subject is not None:
        lines.append(_text_field("subject", "Subject", draft.subject, utf8=utf8))
    message = EmailMessage(policy)
    large = _Large(number)
    _fill(message, draft, large)
    for place, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_{number.hex}_{place}")
    return b"".join((*lines, *large.put_into(message.as_bytes())))


def crlf_lines(text: bytes) -> bytes:
    """Return the text with CRLF for each CRLF, CR and LF. Works piece by piece: the interpreter
    must not be held for long."""
    pieces = []
    for at in range(0, len(text), _PIECE):
        piece = text[at : at + _PIECE]
        if piece.endswith(b"\r") and text.startswith(b"\n", at + _PIECE):
            piece = piece[:-1]
        pieces.append(piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n"))
    return b"".join(pieces)


class _Large:
    """Large parts, each with a stand-in of one line of base64 that nobody can have written
    elsewhere in the message."""

    def __init__(self, number: UUID) -> None:
        self._number = number
        self._parts: dict[bytes, bytes] = {}

    def stand_in(self, content: bytes) -> bytes:
        """Return what stands for the content, which is the content itself unless it is large."""
        if len(content) < _LARGE:
            return content
        token = f"{self._number.hex}{len(self._parts):08}".encode()
        self._parts[base64.b64encode(token) + b"\r\n"] = content
        return token

    def put_into(self, data: bytes) -> Iterator[bytes]:
        """Yield the message with the contents in their places, in pieces."""
        at = 0
        found = sorted((data.index(line), line) for line in self._parts)
        for start, line in found:
            yield data[at:start]
            yield from _base64_lines(self._parts[line])
            at = start + len(line)
        yield data[at:]


def _base64_lines(content: bytes) -> Iterator[bytes]:
    block = _BASE64_LINE * 1024
    for at in range(0, len(content), block):
        piece = content[at : at + block]
        yield b"".join(
            base64.b64encode(piece[start : start + _BASE64_LINE]) + b"\r\n"
            for start in range(0, len(piece), _BASE64_LINE)
        )


def _address_field(name: str, boxes: Sequence[Mailbox]) -> bytes:
    """Write the addresses, and read each back: a display name must not turn into another
    address. Raises ValidationFailed."""
    for box in boxes:
        one = address_field(name, [(box.name, box.written)]).encode()
        try:
            is_same = authors_of(one) == (box.address,)
        except AuthorError:
            is_same = False
        if not is_same:
            raise ValidationFailed(
                FieldError(
                    name.lower().replace("-", "_"),
                    f"{box.written}: this name cannot be encoded in a header",
                )
            )
    return address_field(name, [(box.name, box.written) for box in boxes]).encode()


def _fill(message: EmailMessage, draft: Draft, large: _Large) -> None:
    if draft.text is not None or draft.html is None:
        _put_text(message.set_content, draft.text or "", "plain", large)
        if draft.html is not None:
            _put_text(message.add_alternative, draft.html, "html", large)
    else:
        _put_text(message.set_content, draft.html, "html", large)
    page = message.get_body(("html",)) if draft.html is not None else None
    for place, attachment in enumerate(draft.attachments):
        where = f"attachments[{place}]"
        main, sub = _type(where, attachment.content_type)
        disposition = (
            "inline" if attachment.inline or attachment.content_id is not None else "attachment"
        )
        content = large.stand_in(attachment.content)
        if attachment.content_id is None:
            message.add_attachment(
                content, main, sub, disposition=disposition, filename=attachment.filename
            )
            continue
        if not _CONTENT_ID.match(attachment.content_id):
            raise ValidationFailed(
                FieldError(
                    f"{where}.content_id",
                    "must be ASCII characters without spaces and angle brackets",
                )
            )
        if page is None:
            raise ValidationFailed(FieldError(f"{where}.content_id", "needs html"))
        cid = f"<{attachment.content_id}>"
        page.add_related(
            content, main, sub, cid=cid, disposition=disposition, filename=attachment.filename
        )


def _put_text(put: Callable[..., None], text: str, subtype: str, large: _Large) -> None:
    if len(text) < _LARGE:
        put(text, subtype=subtype)
        return
    data = crlf_lines(text.encode())
    data = data if data.endswith(b"\r\n") else data + b"\r\n"
    put(large.stand_in(data), "text", subtype, params={"charset": "utf-8"})


def _type(where: str, text: str) -> tuple[str, str]:
    found = _TYPE.match(text)
    if found is None:
        raise ValidationFailed(
            FieldError(
                f"{where}.content_type", "must be a type and subtype, such as application/pdf"
            )
        )
    if found["main"].lower() in ("multipart", "message"):
        # what they hold may not be in base64 (RFC 2045 §6.4); a message goes as
        # application/octet-stream, or raw
        raise ValidationFailed(
            FieldError(f"{where}.content_type", "multipart and message types cannot be attached")
        )
    return found["main"].lower(), found["sub"].lower()


def _extra_fields(headers: Mapping[str, str]) -> list[bytes]:
    lines: list[bytes] = []
    seen: set[str] = set()
    for name, value in headers.items():
        where, folded = f"headers.{name[:100]}", name.lower()
        if not _NAME.match(name):
            raise ValidationFailed(FieldError(where, "not a valid header field name"))
        if folded in _OURS or folded.startswith(_OURS_BY_PREFIX):
            raise ValidationFailed(FieldError(where, "this header field cannot be set here"))
        if folded in seen:
            raise ValidationFailed(FieldError(where, "this header field is given twice"))
        seen.add(folded)
        lines.append(_text_field(where, name, value))
    return lines


def _text_field(where: str, name: str, value: str, *, utf8: bool = False) -> bytes:
    try:
        return text_field(name, value, utf8=utf8).encode()
    except WordTooLongError as error:
        raise ValidationFailed(FieldError(where, str(error))) from None
