"""Arguments of SELECT, LIST and STATUS (RFC 9051 §6.3, RFC 5258, RFC 5819, RFC 6154, RFC 7162)."""

from __future__ import annotations

import re

from posthorn.wire.imap.commands import List, Lsub, Qresync, Select, Status
from posthorn.wire.imap.reader import LARGEST_MODSEQ, BadCommand, Reader
from posthorn.wire.imap.sequence_set import LARGEST, SequenceSet

_STATUS_ITEMS = frozenset({
    "APPENDLIMIT", "DELETED", "DELETED-STORAGE", "HIGHESTMODSEQ", "MAILBOXID", "MESSAGES",
    "RECENT", "SIZE", "UIDNEXT", "UIDVALIDITY", "UNSEEN",
})  # fmt: skip
_SELECTION = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
_RETURNS = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE"})
_USE = re.compile(rb"\\[A-Za-z]+")
_USES = {
    use.lower(): use
    for use in ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash")
}


def parse_select(reader: Reader, *, read_only: bool) -> Select:
    """Parse the arguments of SELECT or EXAMINE. Raises BadCommand."""
    reader.space()
    mailbox = reader.mailbox()
    condstore, qresync = False, None
    if reader.take(b" ("):
        while True:
            match reader.word():
                case "CONDSTORE":
                    condstore = True
                case "QRESYNC":
                    qresync = _qresync(reader)
                case _:
                    raise BadCommand("unknown parameter of SELECT")
            if reader.take(b")"):
                break
            reader.space()
    reader.end()
    if qresync is not None and "QRESYNC" not in reader.enabled:  # RFC 7162 §3.2.5
        raise BadCommand("QRESYNC needs ENABLE QRESYNC")
    return Select(mailbox, read_only, condstore, qresync)


def parse_list(reader: Reader) -> List:
    """Parse the arguments of LIST. Raises BadCommand."""
    reader.space()
    selection: frozenset[str] = frozenset()
    returns: set[str] = set()
    status: tuple[str, ...] = ()
    is_extended = False
    if reader.peek() == b"(":
        selection = frozenset(reader.items(reader.word, may_be_empty=True))
        is_extended = True
        reader.space()
    reference = reader.reference()
    reader.space()
    if reader.peek() == b"(":
        patterns = tuple(reader.items(reader.pattern))
        is_extended = True
    else:
        patterns = (reader.pattern(),)
    if reader.take(b" ") and not reader.is_at_end():
        if reader.word() != "RETURN":
            raise BadCommand("expected RETURN")
        is_extended = True
        reader.space()
        status = _list_returns(reader, returns)
    reader.end()
    if not selection <= _SELECTION or not returns <= _RETURNS:
        raise BadCommand("unknown option of LIST")
    if "RECURSIVEMATCH" in selection and not selection - {"RECURSIVEMATCH", "REMOTE"}:
        raise BadCommand("RECURSIVEMATCH needs another selection")  # RFC 5258 §3
    return List(reference, patterns, selection, frozenset(returns), status, is_extended)


def parse_lsub(reader: Reader) -> Lsub:
    """Parse the arguments of LSUB. Raises BadCommand."""
    reader.space()
    reference = reader.reference()
    reader.space()
    pattern = reader.pattern()
    reader.end()
    return Lsub(reference, pattern)


def parse_status(reader: Reader) -> Status:
    """Parse the arguments of STATUS. Raises BadCommand."""
    reader.space()
    mailbox = reader.mailbox()
    reader.space()
    items = _status_items(reader)
    reader.end()
    return Status(mailbox, items)


def take_special_uses(reader: Reader) -> tuple[str, ...]:
    """Take a list of special uses in brackets (RFC 6154 §3). Raises BadCommand."""

    def use() -> str:
        found = _USES.get(reader.word(_USE).lower())
        if found is None:
            raise BadCommand("[USEATTR] this special use is not supported", "NO")
        return found

    return tuple(dict.fromkeys(reader.items(use)))


def _list_returns(reader: Reader, returns: set[str]) -> tuple[str, ...]:
    status: tuple[str, ...] = ()
    reader.expect(b"(")
    while not reader.take(b")"):
        if returns or status:
            reader.space()
        name = reader.word()
        if name == "STATUS":
            reader.space()
            status = _status_items(reader)
        else:
            returns.add(name)
    return status


def _status_items(reader: Reader) -> tuple[str, ...]:
    items = tuple(dict.fromkeys(reader.items(reader.word)))
    if not _STATUS_ITEMS.issuperset(items):
        raise BadCommand("unknown item of STATUS")
    return items


def _qresync(reader: Reader) -> Qresync:
    """``QRESYNC (uidvalidity modseq [known-uids] [(numbers uids)])``, RFC 7162 §3.2.5."""
    reader.space()
    reader.expect(b"(")
    uidvalidity = reader.number(LARGEST, least=1)
    reader.space()
    modseq = reader.number(LARGEST_MODSEQ)
    known = numbers = uids = None
    if reader.take(b" ") and reader.peek() != b"(":
        known = _plain_set(reader)
        reader.take(b" ")
    if reader.take(b"("):
        numbers = _plain_set(reader)
        reader.space()
        uids = _plain_set(reader)
        reader.expect(b")")
    reader.expect(b")")
    return Qresync(uidvalidity, modseq, known, numbers, uids)


def _plain_set(reader: Reader) -> SequenceSet:
    start = reader.at
    messages = reader.sequence_set()
    if messages.is_saved or b"*" in reader.text[start : reader.at]:
        raise BadCommand("QRESYNC takes numbers alone")
    return messages
