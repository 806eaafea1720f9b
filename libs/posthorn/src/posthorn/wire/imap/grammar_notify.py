"""Arguments of NOTIFY (RFC 5465 §8)."""

from __future__ import annotations

from posthorn.wire.imap.commands import Notify, NotifyGroup
from posthorn.wire.imap.fetch_items import FetchItem
from posthorn.wire.imap.grammar_fetch import fetch_item
from posthorn.wire.imap.reader import BadCommand, Reader

NOTIFY_EVENTS = (
    "MessageNew", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange",
)  # fmt: skip
"""Events that can be asked for."""
SELECTED_SCOPES = frozenset({"SELECTED", "SELECTED-DELAYED"})
"""Scopes of the selected mailbox; all others are about the mailboxes that are not selected."""

_MESSAGE_EVENTS = frozenset(NOTIFY_EVENTS[:3])
_EVENTS = {event.upper(): event for event in NOTIFY_EVENTS}
_SCOPES = frozenset({"INBOXES", "PERSONAL", "SUBSCRIBED"})
_NAMING_SCOPES = frozenset({"SUBTREE", "MAILBOXES"})
_MOST_GROUPS = 20


def parse_notify(reader: Reader) -> Notify:
    """Parse the arguments of NOTIFY. Raises BadCommand."""
    reader.space()
    match reader.word():
        case "NONE":
            reader.end()
            return Notify()
        case "SET":
            pass
        case _:
            raise BadCommand("expected SET or NONE")
    reader.space()
    status = False
    if reader.peek() != b"(":
        if reader.word() != "STATUS":
            raise BadCommand("expected STATUS or what is to be told")
        status = True
        reader.space()
    groups = [_group(reader)]
    while not reader.is_at_end():
        reader.space()
        groups.append(_group(reader))
        if len(groups) > _MOST_GROUPS:
            raise BadCommand("[NOTIFICATIONOVERFLOW] too many groups of events", "NO")
    reader.end()
    if sum(group.scope in SELECTED_SCOPES for group in groups) > 1:  # RFC 5465 §6.1
        raise BadCommand("the selected mailbox is named twice")
    return Notify(tuple(groups), status)


def _group(reader: Reader) -> NotifyGroup:
    reader.expect(b"(")
    scope = reader.word()
    mailboxes: tuple[str, ...] = ()
    if scope in _NAMING_SCOPES:
        reader.space()
        is_list = reader.peek() == b"("
        names = reader.items(reader.mailbox) if is_list else [reader.mailbox()]
        mailboxes = tuple(dict.fromkeys(names))
    elif scope not in _SCOPES | SELECTED_SCOPES:
        raise BadCommand("unknown choice of mailboxes")
    reader.space()
    events: frozenset[str] = frozenset()
    items: list[FetchItem] = []
    if reader.peek() == b"(":
        events = frozenset(reader.items(lambda: _event(reader, items)))
    elif reader.word() != "NONE":
        raise BadCommand("expected events or NONE")
    reader.expect(b")")
    _check(scope, events, has_items=bool(items))
    return NotifyGroup(scope, events, mailboxes, tuple(dict.fromkeys(items)))


def _event(reader: Reader, items: list[FetchItem]) -> str:
    """Take an event; add the items of FETCH that follow MessageNew to ``items``."""
    event = _EVENTS.get(reader.word())
    if event is None:  # RFC 5465 §3.1: NO and not BAD
        known = " ".join(NOTIFY_EVENTS)
        raise BadCommand(f"[BADEVENT ({known})] this event is not supported", "NO")
    if event == "MessageNew" and reader.take(b" ("):
        reader.at -= 1
        items += reader.items(lambda: fetch_item(reader))
    return event


def _check(scope: str, events: frozenset[str], *, has_items: bool) -> None:
    """Check that events may stand together (RFC 5465 §5, §6.1). Raises BadCommand."""
    if ("MessageNew" in events) != ("MessageExpunge" in events):
        raise BadCommand("MessageNew and MessageExpunge belong together")
    if "FlagChange" in events and "MessageNew" not in events:
        raise BadCommand("FlagChange needs MessageNew and MessageExpunge")
    if scope in SELECTED_SCOPES:
        if not events <= _MESSAGE_EVENTS:
            raise BadCommand("the selected mailbox has events of messages alone")
    elif has_items:
        raise BadCommand("items of FETCH are for the selected mailbox alone")
