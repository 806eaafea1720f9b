"""Which unique id of POP3 belongs to which message of the INBOX.

IMAP has no item for it, so the messages of both listings are compared. A wrong unique id would make
a client delete a message that it has never fetched, so one that is not certain is not used:

- Messages belong together if size and header are the same; among several such, by their order if
  both listings have as many of them.
- What is left, as where the two count sizes differently, belongs together by the header alone, if
  it is the only one of its kind in both.
- Fields that servers add or hide on the way, such as ``X-UIDL`` and ``Status``, do not count.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

from posthorn_cli.moving.pop3_source import Listed

type Headers = Callable[[Sequence[int]], Iterable[tuple[int, bytes]]]
"""Yields headers of messages by number or UID; one that cannot be read is left out."""

_NOT_COUNTED = frozenset(
    (
        b"content-length",
        b"lines",
        b"status",
        b"x-imap",
        b"x-imapbase",
        b"x-keywords",
        b"x-status",
        b"x-uid",
        b"x-uidl",
    )
)


def fingerprint(header: bytes) -> bytes:
    """Return a digest of a header that is the same by POP3 and by IMAP."""
    digest = hashlib.sha256()
    counts = True
    for line in header.splitlines():
        if not line.strip():
            break
        if line[:1] not in b" \t":
            counts = line.partition(b":")[0].strip().lower() not in _NOT_COUNTED
        if counts:
            digest.update(line.rstrip() + b"\n")
    return digest.digest()


def match(
    listed: Sequence[Listed],
    held: Mapping[int, int],
    wanted: Collection[int],
    *,
    pop3_headers: Headers,
    imap_headers: Headers,
) -> dict[int, str]:
    """Return the unique ids of messages by UID. ``held``: the size of every message of the INBOX by
    UID, in their order; ``wanted``: the UIDs that unique ids are looked for."""
    sought = set(wanted)
    sizes = {held[uid] for uid in sought if uid in held}
    by_number = {each.number: each for each in listed}
    prints = _Fingerprints(pop3_headers, imap_headers)
    numbers = [each.number for each in listed if each.size in sizes]
    uids = [uid for uid, size in held.items() if size in sizes]
    prints.read(numbers, uids)

    pairs = _pairs(
        {number: (by_number[number].size, prints.pop3.get(number)) for number in numbers},
        {uid: (held[uid], prints.imap.get(uid)) for uid in uids},
    )
    used = set(pairs.values())
    left = [each.number for each in listed if each.number not in used]
    rest = [uid for uid in held if uid not in pairs]
    if left and sought.intersection(rest):
        prints.read(left, rest)
        pairs |= _pairs(
            {number: prints.pop3.get(number) for number in left},
            {uid: prints.imap.get(uid) for uid in rest},
            most=1,
        )
    return {uid: by_number[number].unique_id for uid, number in pairs.items() if uid in sought}


class _Fingerprints:
    """Fingerprints by number and by UID, each header read once."""

    def __init__(self, pop3_headers: Headers, imap_headers: Headers) -> None:
        self.pop3: dict[int, bytes | None] = {}
        self.imap: dict[int, bytes | None] = {}
        self._read = (self.pop3, pop3_headers), (self.imap, imap_headers)

    def read(self, numbers: Sequence[int], uids: Sequence[int]) -> None:
        for (found, headers), keys in zip(self._read, (numbers, uids), strict=True):
            missing = [key for key in keys if key not in found]
            found.update(dict.fromkeys(missing))
            if missing:
                found.update((key, fingerprint(header)) for key, header in headers(missing))


def _pairs[K: Hashable](
    numbers: Mapping[int, K], uids: Mapping[int, K], most: int | None = None
) -> dict[int, int]:
    """Return numbers by UID of messages with equal marks, of which both have as many."""
    by_mark: dict[K, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for place, marks in enumerate((numbers, uids)):
        for key, mark in marks.items():
            if mark is not None and not (isinstance(mark, tuple) and mark[-1] is None):
                by_mark[mark][place].append(key)
    return {
        uid: number
        for those, these in by_mark.values()
        if len(those) == len(these) and (most is None or len(those) <= most)
        for number, uid in zip(those, these, strict=True)
    }
