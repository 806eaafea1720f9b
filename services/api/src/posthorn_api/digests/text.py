"""The text of a digest, plain and as HTML: a pure function of what it lists.

What strangers wrote is decoded, put on one line, cut, and escaped in HTML; both parts are
quoted-printable, so that no line is too long and nothing of a stranger's begins a field or a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from html import escape
from uuid import UUID

from posthorn.ports.digests import Digest, DigestItem
from posthorn.wire.message.header_decoding import decode_addresses, decode_text
from posthorn.wire.message.trace import mail_date
from posthorn.wire.message.transfer_encoding import quoted_printable

_LONGEST = 150
_REASONS = {
    "virus": "contains a virus",
    "dmarc": "is not shown to come from the address it names",
    "score": "looks like spam",
    "blocked": "comes from a blocked sender",
}
_STYLE = "border-collapse:collapse;font-family:sans-serif"
_CELL = "padding:4px 12px 4px 0;vertical-align:top"


def compose(digest: Digest, identity: UUID, at: float, links: Mapping[UUID, str]) -> bytes:
    """Return the message, without a Return-Path. ``links``: release links by message, or by copy
    for those in quarantine; ``at``: seconds since the epoch."""
    domain = digest.address.rpartition("@")[2]
    boundary = f"digest-{identity.hex[-16:]}"
    head = (
        f"From: Mail filter <postmaster@{domain}>\n"
        f"To: <{digest.address}>\n"
        f"Subject: {_count(digest.total)} kept from your inbox\n"
        f"Date: {mail_date(at)}\n"
        f"Message-ID: <{identity}@{domain}>\n"
        "Auto-Submitted: auto-generated\n"
        "MIME-Version: 1.0\n"
        f'Content-Type: multipart/alternative; boundary="{boundary}"\n'
    )
    parts = ((_plain(digest, links), "plain"), (_html(digest, links), "html"))
    body = b"".join(_part(boundary, text, kind) for text, kind in parts)
    return head.replace("\n", "\r\n").encode() + body + f"\r\n--{boundary}--\r\n".encode()


def _part(boundary: str, text: str, kind: str) -> bytes:
    head = (
        f"\r\n--{boundary}\r\nContent-Type: text/{kind}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    octets = text.replace("\n", "\r\n").encode("utf-8", "replace")
    return head.encode() + b"".join(quoted_printable(octets, 0, len(octets)))


def _count(total: int) -> str:
    return "1 message" if total == 1 else f"{total} messages"


def _intro(digest: Digest) -> str:
    text = f"The mail filter kept {_count(digest.total)} for {digest.address} from the inbox."
    if digest.total > len(digest.items):
        text += f" These are the newest {len(digest.items)}."
    return text


def _ways(digest: Digest, links: Mapping[UUID, str]) -> str:
    if links:
        return (
            "Release a message by its link within 7 days: it goes to your inbox, and the filter"
            " learns that it is not spam. You need not do anything about the others."
        )
    return (
        "To have a message released, ask your administrator, who can do it through the API or by"
        f" `posthorn message classify {digest.address} ID ham`, or `posthorn quarantine release ID`"
        " for one in quarantine."
    )


def _plain(digest: Digest, links: Mapping[UUID, str]) -> str:
    lines = [_intro(digest), _ways(digest, links)]
    for item in digest.items:
        lines += ["", f"{_when(item)}  {_sender(item)}", f"  {_subject(item)}", f"  {_why(item)}"]
        link = links.get(_key(item))
        lines.append(f"  Release it: {link}" if link else f"  {_place(item)}")
    return "\n".join(lines) + "\n"


def _html(digest: Digest, links: Mapping[UUID, str]) -> str:
    rows = []
    for item in digest.items:
        link = links.get(_key(item))
        action = f'<a href="{escape(link)}">Release it</a>' if link else escape(_place(item))
        texts = (_when(item), _sender(item), _subject(item), _why(item))
        cells = [*(escape(text) for text in texts), action]
        rows.append("".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Mail filter</title>'
        f"</head>\n<body>\n<p>{escape(_intro(digest))}</p>\n<p>{escape(_ways(digest, links))}</p>\n"
        f'<table style="{_STYLE}">\n'
        + "".join(f"<tr>{row}</tr>\n" for row in rows)
        + "</table>\n</body></html>\n"
    )


def _key(item: DigestItem) -> UUID:
    return item.quarantine or item.message


def _place(item: DigestItem) -> str:
    if item.quarantine is None:
        return f"In Junk, id {item.message}"
    return f"In quarantine, id {item.quarantine}"


def _when(item: DigestItem) -> str:
    return item.received_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _sender(item: DigestItem) -> str:
    return _cut(decode_addresses(item.from_)) or "(no sender)"


def _subject(item: DigestItem) -> str:
    return _cut(decode_text(item.subject)) or "(no subject)"


def _why(item: DigestItem) -> str:
    reason = _REASONS.get(item.reason, item.reason)
    found = f": {_cut(decode_text(item.detail))}" if item.reason in ("virus", "blocked") else ""
    return f"{reason}{found} ({item.score:g} points)"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
