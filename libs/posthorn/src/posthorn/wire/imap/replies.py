"""Replies of IMAP, byte for byte (RFC 9051 §7 and extensions).

Every line of a reply is made here or in ``wire.imap.fetch_replies``, so that nothing unescaped gets
into one. Names of mailboxes are quoted by ``mailbox_name``. A response code always has text after
it, since clients expect it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import batched

from posthorn.wire.imap.mailbox_names import DELIMITER, encode_name
from posthorn.wire.imap.sequence_set import Range, format_numbers, format_ranges
from posthorn.wire.imap.strings import NIL, astring, nstring, string, text

_FLAG = re.compile(r"(?:\\?[^\x00-\x20\x7f-\U0010ffff(){%*\"\\\]]+|\\\*)\Z")
_NUMBERS_OF_PIECE = 5000


def tagged(tag: bytes, condition: str, words: str, code: bytes = b"") -> bytes:
    """Return a tagged reply; ``condition``: OK, NO or BAD; ``code``: without its brackets."""
    return b"%s %s" % (tag, _state(condition, words, code))


def untagged(condition: str, words: str, code: bytes = b"") -> bytes:
    """Return ``* OK``, ``* NO``, ``* BAD``, ``* BYE`` or ``* PREAUTH`` with text."""
    return b"* " + _state(condition, words, code)


def continuation(words: str) -> bytes:
    """Return the request to go on, as for IDLE."""
    return b"+ %s\r\n" % text(words)


def capability(names: str) -> bytes:
    """Return the untagged CAPABILITY."""
    return b"* CAPABILITY %s\r\n" % text(names)


def enabled(names: Sequence[str]) -> bytes:
    """Return the untagged ENABLED; empty without names (RFC 5161 §3.2)."""
    return b"* ENABLED%s\r\n" % b"".join(b" " + text(name) for name in names)


def flags(names: Iterable[str]) -> bytes:
    """Return a list of flags in brackets; what is no flag is left out."""
    return b"(%s)" % b" ".join(filter(None, map(_flag, names)))


@lru_cache(maxsize=4096)
def _flag(name: str) -> bytes:
    return name.encode() if _FLAG.match(name) else b""


def mailbox_name(name: str, *, utf8: bool) -> bytes:
    """Return the name of a mailbox, quoted as its content needs."""
    return astring(encode_name(name, utf8=utf8), utf8=utf8)


def list_(
    name: str,
    attributes: Iterable[str],
    *,
    utf8: bool,
    command: str = "LIST",
    child_info: Collection[str] = (),
    old_name: str | None = None,
) -> bytes:
    """Return LIST or LSUB of a mailbox.

    ``child_info``: selection options that mailboxes below it matched (RFC 5258 §3.5);
    ``old_name``: the name before RENAME (RFC 9051 §7.3.1).
    """
    extended = []
    if child_info:
        extended.append(b'"CHILDINFO" (%s)' % b" ".join(string(o.encode()) for o in child_info))
    if old_name is not None:
        extended.append(b'"OLDNAME" (%s)' % mailbox_name(old_name, utf8=utf8))
    return b'* %s %s "%s" %s%s\r\n' % (
        command.encode(),
        flags(attributes),
        DELIMITER.encode(),
        mailbox_name(name, utf8=utf8) if name else b'""',
        b" (%s)" % b" ".join(extended) if extended else b"",
    )


def status(name: str, items: Iterable[tuple[str, int | str | None]], *, utf8: bool) -> bytes:
    """Return STATUS; a text is an object id, in brackets (RFC 8474 §4.3); None is NIL."""
    return b"* STATUS %s (%s)\r\n" % (
        mailbox_name(name, utf8=utf8),
        b" ".join(b"%s %s" % (text(item), _status_value(value)) for item, value in items),
    )


def exists(count: int) -> bytes:
    """Return EXISTS."""
    return b"* %d EXISTS\r\n" % count


def recent(count: int) -> bytes:
    """Return RECENT (RFC 3501 §7.3.2)."""
    return b"* %d RECENT\r\n" % count


def expunges(numbers: Iterable[int]) -> Iterator[bytes]:
    """Yield EXPUNGE of messages, hundreds in a piece."""
    for some in batched(numbers, 500, strict=False):
        yield b"* %d EXPUNGE\r\n" * len(some) % some


def vanished(uids: Iterable[Range], *, earlier: bool = False) -> bytes:
    """Return VANISHED (RFC 7162 §3.2.10); ``earlier``: of a time before the mailbox was
    selected."""
    return b"* VANISHED %s%s\r\n" % (b"(EARLIER) " if earlier else b"", format_ranges(uids))


def search_pieces(
    numbers: Iterable[int], *, command: str = "SEARCH", modseq: int | None = None
) -> Iterator[bytes]:
    """Yield SEARCH, or SORT (RFC 5256 §4), in pieces of a few KB; ``modseq``: the highest of the
    messages found (RFC 7162 §3.1.5)."""
    found = False
    yield b"* " + command.encode()
    for some in batched(numbers, _NUMBERS_OF_PIECE, strict=False):
        found = True
        yield b"".join([b" %d" % number for number in some])
    if found and modseq is not None:
        yield b" (MODSEQ %d)" % modseq
    yield b"\r\n"


def uid_batches(tag: bytes, batches: Iterable[Range]) -> bytes:
    """Return UIDBATCHES (RFC 9869); of each batch the highest UID comes first."""
    found = b",".join(
        [b"%d:%d" % (high, low) if low != high else b"%d" % low for low, high in batches]
    )
    return b"* UIDBATCHES (TAG %s)%s\r\n" % (string(tag), b" " + found if found else b"")


def in_progress(tag: bytes, done: int, total: int) -> bytes:
    """Return the sign of life of a long command (RFC 9585 §4); ``total`` 0: not known."""
    progress = b"%d %d" % (done, total) if total else b"NIL NIL"
    return untagged("OK", "still at it", b"INPROGRESS (%s %s)" % (string(tag), progress))


def esearch(
    tag: bytes,
    *,
    by_uid: bool,
    least: int | None = None,
    greatest: int | None = None,
    count: int | None = None,
    all_: Iterable[Range] | None = None,
    partial: tuple[int, int, Iterable[Range]] | None = None,
    modseq: int | None = None,
) -> bytes:
    """Return ESEARCH (RFC 9051 §7.3.4); results that are None are left out, and so is ``all_``
    when it is empty.

    ``partial``: the range asked for and what is in it (RFC 9394 §3.1).
    """
    parts = [b"* ESEARCH (TAG %s)" % string(tag)]
    if by_uid:
        parts.append(b"UID")
    for name, value in ((b"MIN", least), (b"MAX", greatest), (b"COUNT", count)):
        if value is not None:
            parts.append(b"%s %d" % (name, value))
    if all_ is not None and (found := format_ranges(all_)):
        parts.append(b"ALL " + found)
    if partial is not None:
        first, last, ranges = partial
        parts.append(b"PARTIAL (%d:%d %s)" % (first, last, format_ranges(ranges) or NIL))
    if modseq is not None:
        parts.append(b"MODSEQ %d" % modseq)
    return b" ".join(parts) + b"\r\n"


def append_uid(uidvalidity: int, uids: Iterable[int]) -> bytes:
    """Return the code APPENDUID (RFC 4315 §3)."""
    return b"APPENDUID %d %s" % (uidvalidity, format_numbers(uids))


def copy_uid(uidvalidity: int, sources: Iterable[int], copies: Iterable[int]) -> bytes:
    """Return the code COPYUID; the n-th copy is that of the n-th source. ``uidvalidity``: of the
    destination."""
    return b"COPYUID %d %s %s" % (uidvalidity, format_numbers(sources), format_numbers(copies))


def modified(numbers: Iterable[int]) -> bytes:
    """Return the code MODIFIED: UIDs for UID STORE, numbers for STORE (RFC 7162 §3.1.3)."""
    return b"MODIFIED " + format_numbers(numbers)


def namespace() -> bytes:
    """Return NAMESPACE: one personal namespace without prefix (RFC 2342)."""
    return b'* NAMESPACE (("" "%s")) NIL NIL\r\n' % DELIMITER.encode()


def quota(root: str, resources: Iterable[tuple[str, int, int]]) -> bytes:
    """Return QUOTA; each resource has its usage and limit, STORAGE in units of 1,024 bytes (RFC
    9208 §5)."""
    return b"* QUOTA %s (%s)\r\n" % (
        astring(root.encode("utf-8", "replace")),
        b" ".join(b"%s %d %d" % (text(name), used, limit) for name, used, limit in resources),
    )


def quota_root(mailbox: str, roots: Iterable[str], *, utf8: bool) -> bytes:
    """Return QUOTAROOT."""
    return b"* QUOTAROOT %s%s\r\n" % (
        mailbox_name(mailbox, utf8=utf8),
        b"".join(b" " + astring(root.encode("utf-8", "replace")) for root in roots),
    )


def id_(fields: Iterable[tuple[str, str | None]]) -> bytes:
    """Return ID (RFC 2971 §3.2)."""
    pairs = [
        string(name.encode()) + b" " + nstring(None if value is None else value.encode())
        for name, value in fields
    ]
    return b"* ID %s\r\n" % (b"(%s)" % b" ".join(pairs) if pairs else NIL)


def _state(condition: str, words: str, code: bytes) -> bytes:
    return b"%s %s%s\r\n" % (condition.encode(), b"[%s] " % code if code else b"", text(words))


def _status_value(value: int | str | None) -> bytes:
    if value is None:
        return NIL
    return b"%d" % value if isinstance(value, int) else b"(%s)" % text(value)
