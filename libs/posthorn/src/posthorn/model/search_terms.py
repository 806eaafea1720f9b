"""Terms by which a message is found: what of it is indexed, and what a query asks for (ADR 43).

A term is

- ``<`` and an address of the sender in canonical form, or ``<@`` and its domain;
- ``>`` and the same of a recipient;
- a Message-ID without its brackets, which holds an ``@``;
- a word of the subject in lower case;
- ``=`` and a mark: a direction, outcome or reason that a search may ask for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from posthorn.wire.foreign_address import canonical

MOST_TERMS = 64
"""Terms of one entry; more are left out, the last words of the subject first."""
SENDER, RECIPIENT = "<", ">"
_WORD = re.compile(r"\w+")
_LONGEST = 320
_LONGEST_WORD = 40
_MOST_ASKED = 12

type Alternatives = tuple[tuple[str, ...], ...]
"""Sets of terms, of which an entry has all of at least one."""


def words_in(text: str) -> list[str]:
    """Return the words of a text in lower case, each once, in their order."""
    found = (each[:_LONGEST_WORD] for each in _WORD.findall(text.casefold()))
    return list(dict.fromkeys(found))


def terms_of(
    senders: Iterable[str],
    recipients: Iterable[str],
    message_id: str,
    subject: str,
    marks: Iterable[str] = (),
) -> list[str]:
    """Return the terms of an entry. Addresses are canonical, ``message_id`` is the value of the
    field, ``subject`` is decoded."""
    terms = [marked(each) for each in marks if each]
    terms += [term for each in senders for term in _of_address(SENDER, each)]
    terms += [term for each in recipients for term in _of_address(RECIPIENT, each)]
    if message_id:
        terms.append(_id_in(message_id))
    return list(dict.fromkeys(terms + words_in(subject)))[:MOST_TERMS]


def marked(mark: str) -> str:
    """Return the term of a mark."""
    return f"={mark}"[:_LONGEST]


def named(side: str, text: str) -> str:
    """Return the term of an address, or of a domain with or without its ``@``. ``side``: SENDER or
    RECIPIENT."""
    return f"{side}{_address_or_domain(text)}"[:_LONGEST]


def _of_address(side: str, address: str) -> list[str]:
    if not address:
        return []
    _, at, domain = address.rpartition("@")
    found = [f"{side}{address}", f"{side}@{domain}"] if at else [f"{side}{address}"]
    return [each[:_LONGEST] for each in found]


def asked_for(query: str) -> list[Alternatives]:
    """Return what each part of a query, parted by spaces, asks for. A part with an ``@`` is an
    address, a domain or a Message-ID; another one is words of the subject, or a domain."""
    return [
        asked
        for part in query.split()[:_MOST_ASKED]
        if (asked := _address(part) if "@" in part else _words(part))
    ]


def subject_words(text: str) -> list[Alternatives]:
    """Return what a text asks for of the subject."""
    words = words_in(text)[:_MOST_ASKED]
    return [((*words,),)] if words else []


def _address_or_domain(text: str) -> str:
    text = text.strip().strip("<>")
    if "@" not in text:
        text = f"@{text}"
    return f"@{_domain(text[1:])}" if text.startswith("@") else canonical(text)


def _address(part: str) -> Alternatives:
    return ((named(SENDER, part),), (named(RECIPIENT, part),), (_id_in(part),))


def _words(part: str) -> Alternatives:
    words = words_in(part)[:_MOST_ASKED]
    of_subject: Alternatives = ((*words,),) if words else ()
    if "." not in part.strip("."):
        return of_subject
    return (*of_subject, (named(SENDER, part),), (named(RECIPIENT, part),))


def _domain(text: str) -> str:
    return canonical(f"x@{text}").rpartition("@")[2]


def _id_in(text: str) -> str:
    found = text.strip().strip("<>").casefold()[:_LONGEST]
    return found if "@" in found else f"{found}@"
