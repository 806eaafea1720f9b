"""FETCH of UID, FLAGS and MODSEQ alone, for thousands of messages: lines made from columns.

Most of its cost is a step of the interpreter for each message, so there is one: the formatting of
the line. Flags are formatted once for each different set of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from posthorn.ports.mailbox_view import FlagColumns
from posthorn.wire.imap.fetch_items import Attribute, FetchItem
from posthorn_imap.flags import flags_form


def flag_lines(
    items: Iterable[FetchItem], numbers: Sequence[int], columns: FlagColumns
) -> list[bytes]:
    """Return a reply for each message whose number is not 0; ``numbers``: of the columns."""
    forms: list[bytes] = []
    values: list[Iterable[int | bytes]] = []
    for item in items:
        match item:
            case Attribute.UID:
                forms.append(b"UID %d")
                values.append(columns.uids)
            case Attribute.FLAGS:
                forms.append(b"%b")
                values.append(_flags(columns))
            case _:
                forms.append(b"MODSEQ (%d)")
                values.append(columns.modseqs)
    line = b"* %d FETCH (" + b" ".join(forms) + b")\r\n"
    lines = [line % row for row in zip(numbers, *values, strict=True)]
    if 0 in numbers:
        return [each for each, number in zip(lines, numbers, strict=True) if number]
    return lines


def _flags(columns: FlagColumns) -> Iterable[bytes]:
    keywords = columns.keywords
    if keywords:
        return [
            flags_form(flags, keywords.get(uid, ()))
            for uid, flags in zip(columns.uids, columns.flags, strict=True)
        ]
    known = {flags: flags_form(flags, ()) for flags in set(columns.flags)}
    return map(known.__getitem__, columns.flags)
