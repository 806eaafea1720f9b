"""Facts about a message, read in one bounded walk of its header and its parts.

``BUDGET_SECONDS`` is what no message costs, of 50 MiB or of 10,000 parts; a test holds messages
made for the purpose against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from posthorn.wire.address import canonical_domain
from posthorn.wire.message.charsets import UnknownCharsetError, decode, decode_unlabelled
from posthorn.wire.message.mime_fields import ContentFields
from posthorn.wire.spam.archive_names import READ_BYTES, ArchiveNames, archive_names, is_archive
from posthorn.wire.spam.fields import Fields, Mailbox, decoded_text, read_header, read_mailboxes
from posthorn.wire.spam.markup import Markup, read_markup
from posthorn.wire.spam.parts import Leaf, Walk, decoded, decoded_end, walk_parts

BUDGET_SECONDS: Final = 1.0
"""Seconds of CPU that facts, tokens and rules of one message take at most, on one core of the
machine of docs/performance.md."""
TEXT_BYTES: Final = 256 * 1024
"""Bytes of decoded text that are read, of all parts together."""
MOST_FILES: Final = 100
MOST_ARCHIVES: Final = 20
MOST_URLS: Final = 200
_HEAD_BYTES = 1024  # of an attachment, to recognise it

# written so that the search goes by the first letter: a fifth of the time of \bhttps? without case
_URL = re.compile(
    r"[hHwW](?<!\w[hHwW])(?:(?<=[hH])[tT]{2}[pP][sS]?://|(?<=[wW])[wW]{2}\.)"
    r"[^\s<>\"'()\[\]{}\\^`|]{3,1000}"
)
_PLAIN_HOST = re.compile(r"https?://([a-zA-Z0-9.-]+)(?:[/?#]|\Z)")  # of nearly every URL
_SHOWN_URL = re.compile(r"(?:https?://|www\.)[\w.-]+\.\w{2,}", re.IGNORECASE)
_WEB = re.compile(r"(?:https?:)?//|www\.", re.IGNORECASE)
_TRAILING = ".,;:!?*_~"
_KEPT_HOSTS = 2000  # of links: one message has the same ones again and again


@dataclass(frozen=True, slots=True)
class File:
    """An attachment."""

    type: str
    """Content-Type, in lower case."""
    name: str
    """File name, cleaned; empty without one."""
    size: int
    """Bytes as transferred."""
    head: bytes
    """Its first bytes, decoded."""
    archive: ArchiveNames | None = None
    """What an archive holds; None for anything else."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a text."""

    host: str
    """Host in canonical form; an address literal as written; empty if there is none."""
    url: str
    shown_host: str = ""
    """Host of the URL that the link shows; empty if its text is no URL."""
    text: str = ""


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """What rules and the Bayes filter see of a message."""

    fields: Fields
    author: Mailbox
    """The first mailbox of From; empty without one."""
    subject: str
    text: str
    """Plain and visible text, TEXT_BYTES of bytes at most."""
    markup: Markup | None
    """What its HTML holds, taken together; None without any."""
    plain_characters: int
    """Characters of parts of plain text."""
    links: tuple[Link, ...]
    files: tuple[File, ...]
    types: tuple[str, ...]
    """Distinct types of parts."""
    charsets: tuple[str, ...]
    size: int
    parts: int
    deepest: int
    is_complete: bool
    """Whether no limit left anything of its structure out."""
    reply_to: tuple[Mailbox, ...] = ()
    authors: tuple[Mailbox, ...] = ()
    """The mailboxes of all From fields."""
    hosts: tuple[str, ...] = ()
    """Distinct hosts of the links, in order."""


@dataclass(slots=True)
class _Texts:
    left: int = TEXT_BYTES
    plain: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    charsets: dict[str, None] = field(default_factory=dict)


def read_facts(content: bytes) -> MessageFacts:
    """Return the facts of a message in canonical CRLF form. Never fails."""
    fields = read_header(content)
    walk = walk_parts(content)
    texts, files = _Texts(), list[File]()
    archives = MOST_ARCHIVES
    for leaf in walk.leaves:
        if _is_text(leaf.fields):
            _add_text(texts, content, leaf)
        if _is_file(leaf.fields) and len(files) < MOST_FILES:
            found = _file(content, leaf, may_open=archives > 0)
            archives -= found.archive is not None
            files.append(found)
    markup = read_markup("\n".join(texts.html)) if texts.html else None
    plain = "\n".join(texts.plain)
    links = tuple(_links(plain, markup))
    authors = [each for value in fields.all("from") for each in read_mailboxes(value)]
    return MessageFacts(
        fields,
        authors[0] if authors else Mailbox("", ""),
        decoded_text(fields.first("subject")),
        f"{plain}\n{markup.text}" if markup else plain,
        markup,
        len(plain.strip()),
        links,
        tuple(files),
        tuple(dict.fromkeys(leaf.fields.type for leaf in walk.leaves))[:50],
        tuple(texts.charsets)[:20],
        len(content),
        walk.parts,
        walk.deepest,
        walk.is_complete and _is_whole(walk, files),
        tuple(read_mailboxes(fields.first("reply-to"))),
        tuple(authors),
        tuple(dict.fromkeys([each.host for each in links if each.host])),
    )


def host_of(url: str) -> str:
    """Return the host of a URL in canonical form, an address as written; empty without one."""
    if "://" not in url[:20]:
        url = f"http://{url}"
    if found := _PLAIN_HOST.match(url[:2000]):
        host = found[1]
    else:
        try:
            host = urlsplit(url[:2000]).hostname or ""
        except ValueError:
            return ""
    return _canonical(host)


@lru_cache(_KEPT_HOSTS)
def _canonical(host: str) -> str:
    try:
        return canonical_domain(host)
    except ValueError:
        return host[:255] if ":" in host else ""


def shown_host(text: str) -> str:
    """Return the host of the URL that a text begins with, if the text is nothing else."""
    word = text.strip().rstrip(_TRAILING)
    if " " in word or not _SHOWN_URL.match(word):
        return ""
    return host_of(word)


def _is_text(fields: ContentFields) -> bool:
    return fields.type in ("text/plain", "text/html") and fields.disposition != "attachment"


def _is_file(fields: ContentFields) -> bool:
    return (
        fields.file_name is not None
        or fields.disposition == "attachment"
        or not fields.type.startswith(("text/", "multipart/", "message/"))
    )


def _is_whole(walk: Walk, files: list[File]) -> bool:
    return len(files) < MOST_FILES or len(walk.leaves) <= MOST_FILES


def _add_text(texts: _Texts, content: bytes, leaf: Leaf) -> None:
    octets = decoded(content, leaf, texts.left)
    if not octets:
        return
    texts.left -= len(octets)
    charset = leaf.fields.charset or ""
    if charset:
        texts.charsets[charset[:40].lower()] = None
    try:
        text = decode(octets, charset) if charset else decode_unlabelled(octets)
    except UnknownCharsetError:
        text = decode_unlabelled(octets)
    (texts.html if leaf.fields.type == "text/html" else texts.plain).append(text)


def _file(content: bytes, leaf: Leaf, *, may_open: bool) -> File:
    head = decoded(content, leaf, _HEAD_BYTES)
    archive = None
    if may_open and is_archive(head):
        archive = archive_names(
            decoded(content, leaf, READ_BYTES), decoded_end(content, leaf, READ_BYTES)
        )
    name = leaf.fields.file_name or ""
    return File(leaf.fields.type, name, leaf.end - leaf.start, head, archive)


def _links(plain: str, markup: Markup | None) -> Iterator[Link]:
    count = 0
    for link in markup.links if markup else ():
        if _WEB.match(link.target):
            url = link.target if not link.target.startswith("//") else f"http:{link.target}"
            yield Link(host_of(url), url[:1000], shown_host(link.text), link.text)
            count += 1
    if "://" not in plain and "www." not in plain.lower():
        return
    for found in _URL.finditer(plain):
        if count >= MOST_URLS:
            return
        url = found[0].rstrip(_TRAILING)
        yield Link(host_of(url), url)
        count += 1
