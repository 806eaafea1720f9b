"""NOTIFY, and telling what it asked for (RFC 5465)."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING

from posthorn.ports.folders import MOST_FOLDERS, Folder, FolderList
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Notify
from posthorn.wire.imap.fetch_items import Attribute
from posthorn_imap import syncing
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.folder_tree import FolderTree, Wanted
from posthorn_imap.handlers.fetching import send_items
from posthorn_imap.notifications import Notifications

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

_ROOM_EACH = 200
"""Replies after which the client is waited for."""


async def _notify(session: ImapSession, command: Notify) -> Answer:
    if sum(len(group.mailboxes) for group in command.groups) > MOST_FOLDERS:
        raise No("too many mailboxes are named", b"NOTIFICATIONOVERFLOW")
    notify = Notifications(command.groups)
    if Attribute.MODSEQ in notify.items and "CONDSTORE" not in session.hidden:
        session.machine.enable("CONDSTORE")  # RFC 7162 §3.1
    before = session.notify
    if notify.groups:
        session.notify_by(notify)  # before the look, so that no change falls between
        try:
            listed = await session.backend.folders.list(session.account_id)
        except BaseException:
            session.notify_by(before)
            raise
        notify.take(listed)
    if command.groups and session.selected is not None:  # it implies NOOP (RFC 5465 §3.1)
        try:
            await syncing.sync(session, expunges=True)
        except BaseException:
            session.notify_by(before)
            raise
        session.selected.fetched_uid = session.selected.numbering.last_uid
    session.notify_by(notify)
    if command.status:
        for count, folder in enumerate(list(notify.folders.values()), 1):
            if folder.id in notify.watched and not _is_selected(session, folder):
                _send_status(session, notify, folder)
            await _room(session, count)
    return Answer("done", syncs=False)


async def tell_news(session: ImapSession) -> None:
    """Tell what changed while no command runs. Raises Unavailable, MailboxGone, ConnectionError."""
    notify, is_idling = session.notify, session.machine.is_idling
    if notify is None:
        if session.selected is not None and is_idling:
            await session.sync(expunges=True)
        return
    await session.out.room()  # a client that takes nothing is told nothing
    if session.selected is not None and session.selected.is_behind and notify.tells_messages:
        await session.sync(expunges=is_idling or not notify.delays_expunges)
    if not notify.is_behind or notify.is_waiting:
        return
    if seconds := notify.wait():
        notify.is_waiting = True
        asyncio.get_running_loop().call_later(seconds, session.compare_soon, notify)
    else:
        await _tell_others(session, notify)


async def _tell_others(session: ImapSession, notify: Notifications) -> None:
    """Compare the mailboxes with what the client knows, and tell the difference. Raises
    Unavailable; then they are compared again later."""
    notify.is_behind = False
    try:
        listed = await session.backend.folders.list(session.account_id)
    except BaseException:
        notify.is_behind = True
        raise
    folders, subscribed = notify.folders, notify.subscribed
    notify.take(listed)
    _tell_names(session, notify, folders, subscribed, listed)
    for count, folder in enumerate(listed.folders, 1):
        if folder.id not in notify.watched or _is_selected(session, folder):
            continue
        known = folders.get(folder.id)
        has_flags = "FlagChange" in notify.events(folder.name, listed.subscribed)
        if known is None or _shown(known, has_flags) != _shown(folder, has_flags):
            _send_status(session, notify, folder)
        await _room(session, count)


async def send_new(session: ImapSession, notify: Notifications) -> None:
    """Send of the messages of the selected mailbox that were announced since the last time what
    NOTIFY asked for. Raises Unavailable."""
    selected = session.selected
    if selected is None or not notify.items:
        return
    uids = selected.numbering.uids
    first, end = bisect_right(uids, selected.fetched_uid), len(uids)
    if first < end:
        selected.fetched_uid = uids[-1]
        await send_items(session, notify.items, [(first, end)])


def _tell_names(
    session: ImapSession,
    notify: Notifications,
    folders: Mapping[int, Folder],
    subscribed: frozenset[str],
    listed: FolderList,
) -> None:
    """Tell of mailboxes that were made, renamed and deleted, and of subscriptions."""
    now = notify.folders
    both = subscribed | listed.subscribed

    def has(event: str, *names: str) -> bool:
        return any(event in notify.events(name, both) for name in names)

    old_names: dict[str, str | None] = {}
    """Names to show, with the name before."""
    for folder in folders.values():
        if folder.id not in now and has("MailboxName", folder.name):
            old_names[folder.name] = None
    for folder in listed.folders:
        known = folders.get(folder.id)
        if known is None:
            if has("MailboxName", folder.name):
                old_names[folder.name] = None
        elif known.name != folder.name and has("MailboxName", known.name, folder.name):
            old_names[folder.name] = known.name
    for name in subscribed ^ listed.subscribed:
        if has("SubscriptionChange", name):
            old_names.setdefault(name, None)
    if not old_names:
        return
    tree = FolderTree(listed)
    shown = {
        each.name: each.attributes
        for each in tree.list_(Wanted(old_names.__contains__, tell_subscribed=True))
        if each is not None
    }
    for name in sorted(old_names):
        gone = ["\\NonExistent", "\\Noselect"]
        if name in listed.subscribed:
            gone.append("\\Subscribed")
        session.out.send(
            replies.list_(name, shown.get(name, gone), utf8=session.utf8, old_name=old_names[name])
        )


def _shown(folder: Folder, has_flags: bool) -> tuple[int, ...]:
    """Return what a STATUS would tell, with modseq where flags are told of."""
    return (
        folder.messages,
        folder.uidnext,
        folder.uidvalidity,
        folder.modseq if has_flags else 0,
    )


def _send_status(session: ImapSession, notify: Notifications, folder: Folder) -> None:
    items: list[tuple[str, int | str | None]] = [
        ("MESSAGES", folder.messages),
        ("UIDNEXT", folder.uidnext),
        ("UIDVALIDITY", folder.uidvalidity),
    ]
    if "FlagChange" in notify.events(folder.name, notify.subscribed):
        items.append(("UNSEEN", folder.unseen))
    if session.condstore:
        items.append(("HIGHESTMODSEQ", folder.modseq))
    session.out.send(replies.status(folder.name, items, utf8=session.utf8))


def _is_selected(session: ImapSession, folder: Folder) -> bool:
    return session.selected is not None and session.selected.mailbox == folder.id


async def _room(session: ImapSession, count: int) -> None:
    if count % _ROOM_EACH == 0:
        await session.out.room()


HANDLERS: dict[type, Handler] = {Notify: _notify}
"""Command to handler."""
