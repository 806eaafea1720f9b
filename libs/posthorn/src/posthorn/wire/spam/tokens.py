"""The tokens of a message for the Bayes filter: words of the text, of Subject and From, hosts of
links, kinds of mark-up and attachments.

A token is a hash of 64 bits, so that models hold no text of messages. ``VERSION`` is that of the
way from message to tokens; what was learned with another one is worth nothing and is dropped.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from posthorn.wire.spam.facts import MessageFacts

VERSION: Final = 1
MOST_TOKENS: Final = 1500
"""Distinct tokens of a message; those of the header, the links and the form come first."""
_MOST_WORDS = 20_000  # that are looked at
_LONGEST_WORD = 20
_MOST_HOSTS = 40

_WORD = re.compile(r"[^\W_][\w'$€£%!-]+|[$€£]\d[\d.,]*", re.UNICODE)
_IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
_SPLIT = re.compile(r"[^a-z0-9]+")


class TokensError(ValueError):
    """The bytes are no tokens of this version."""


def tokens_of(facts: MessageFacts) -> tuple[int, ...]:
    """Return the distinct tokens of a message, in ascending order."""
    found: dict[str, None] = {}
    for token in (*_header(facts), *_links(facts), *_form(facts)):
        found[token] = None
    for word in _words(facts.text):
        found[word] = None
        if len(found) >= MOST_TOKENS:
            break
    return tuple(sorted({_hash(token) for token in islice(found, MOST_TOKENS)}))


def encode_tokens(tokens: Iterable[int]) -> bytes:
    """Return tokens as bytes, with the version before them."""
    held = tuple(tokens)
    return struct.pack(f"<B{len(held)}Q", VERSION, *held)


def decode_tokens(octets: bytes) -> tuple[int, ...]:
    """Return the tokens that bytes hold. Raises TokensError."""
    count, rest = divmod(len(octets) - 1, 8)
    if not octets or rest or octets[0] != VERSION or count > MOST_TOKENS:
        raise TokensError("not tokens of this version")
    return struct.unpack(f"<{count}Q", octets[1:])


def _hash(token: str) -> int:
    digest = hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _words(text: str) -> Iterator[str]:
    """Return the words of a text in lower case; of scripts without spaces, pairs of characters."""
    for found in islice(_WORD.finditer(text), _MOST_WORDS):
        word = found[0]
        if len(word) <= _LONGEST_WORD:
            if not word.isascii() and _IDEOGRAPHS.search(word):
                yield from (word[at : at + 2] for at in range(len(word) - 1))
            elif len(word) >= 3:
                yield word.lower()
        elif _IDEOGRAPHS.search(word[:_LONGEST_WORD]):
            yield from (word[at : at + 2] for at in range(min(len(word), 2000) - 1))
        else:
            yield f"long {word[0]} {len(word) // 10 * 10}"


def _header(facts: MessageFacts) -> Iterator[str]:
    fields = facts.fields
    for word in islice(_words(facts.subject), 100):
        yield f"subject {word}"
    author = facts.author
    for word in islice(_words(author.name), 20):
        yield f"name {word}"
    yield f"from {author.address[:100]}"
    for domain in _parents(author.domain):
        yield f"from {domain}"
    for each in facts.reply_to[:1]:
        yield f"reply {each.domain}"
    for name in ("x-mailer", "user-agent"):
        for word in islice(_SPLIT.split(fields.first(name)[:60].lower()), 3):
            yield f"program {word}"
    yield f"type {fields.first('content-type').partition(';')[0].strip().lower()[:60]}"
    for name in ("list-id", "list-unsubscribe", "precedence", "in-reply-to", "references", "to"):
        if not fields.has(name):
            yield f"without {name}"


def _links(facts: MessageFacts) -> Iterator[str]:
    for host in facts.hosts[:_MOST_HOSTS]:
        for domain in _parents(host):
            yield f"host {domain}"
    for link in facts.links[:_MOST_HOSTS]:
        for word in _SPLIT.split(link.url.partition("://")[2].partition("/")[2][:80].lower())[:6]:
            if 3 <= len(word) <= _LONGEST_WORD:
                yield f"path {word}"
    yield f"links {min(len(facts.links), 64).bit_length()}"


def _form(facts: MessageFacts) -> Iterator[str]:
    for each in facts.types:
        yield f"part {each[:60]}"
    for each in facts.charsets:
        yield f"charset {each}"
    for file in facts.files[:20]:
        yield f"file {file.name.rpartition('.')[2].lower()[:10]}"
    markup = facts.markup
    if markup is not None:
        for flag in markup.flags:
            yield f"tag {flag}"
        yield f"images {min(markup.images, 64).bit_length()}"
        yield f"plain {bool(facts.plain_characters)}"
        yield f"hidden {min(markup.hidden_characters, 4096).bit_length() // 2}"


def _parents(domain: str) -> Iterator[str]:
    """Return a domain and those above it, down to two labels."""
    labels = domain.split(".")[-5:]
    for place in range(max(1, len(labels) - 1)):
        yield ".".join(labels[place:])[:100]
