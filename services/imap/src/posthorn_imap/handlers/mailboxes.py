"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, GETQUOTA, GETQUOTAROOT (RFC 9051 §6.3, RFC 6154,
RFC 9208)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from posthorn.ports.errors import Unavailable
from posthorn.ports.folders import FolderError, Quota
from posthorn.ports.mailbox_hints import FOLDERS
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import (
    Create,
    Delete,
    GetQuota,
    GetQuotaRoot,
    Rename,
    Subscribe,
    Unsubscribe,
)
from posthorn.wire.imap.mailbox_names import DELIMITER
from posthorn_imap.answering import Answer, Drop, Handler, No
from posthorn_imap.folder_tree import ROLES
from posthorn_imap.object_ids import mailbox_id

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

_ROOT = ""
"""The one quota root of an account."""


async def _create(session: ImapSession, command: Create) -> Answer:
    # a delimiter at the end says that mailboxes below it will come (RFC 9051 §6.3.4)
    name = _checked(command.mailbox.removesuffix(DELIMITER))
    uses = command.special_uses
    if len(uses) > 1 or not ROLES.keys() >= set(uses):
        raise No("this special use is not supported", b"USEATTR")
    role = ROLES[uses[0]] if uses else None
    folder = await _changed(session.backend.folders.create(session.account_id, name, role))
    await _hint_folders(session)
    code = b"MAILBOXID (%s)" % mailbox_id(session.account_id, folder.id).encode()
    return Answer("created", code)


async def _delete(session: ImapSession, command: Delete) -> Answer:
    folders = session.backend.folders
    folder = await folders.find(session.account_id, command.mailbox)
    if folder is None:
        raise No("there is no such mailbox", b"NONEXISTENT")
    await _changed(folders.delete(session.account_id, command.mailbox))
    if session.selected is not None and session.selected.mailbox == folder.id:
        session.deselect()
        session.out.send(replies.untagged("OK", "the selected mailbox is deleted", b"CLOSED"))
    await session.backend.hints.send([(session.account_id, folder.id, 0)])
    return Answer("deleted")


async def _rename(session: ImapSession, command: Rename) -> Answer:
    folders = session.backend.folders
    to = _checked(command.to.removesuffix(DELIMITER))
    before = await folders.find(session.account_id, command.mailbox)
    await _changed(folders.rename(session.account_id, command.mailbox, to))
    if before is not None:  # of INBOX the messages have moved
        await session.backend.hints.send([(session.account_id, before.id, 0)])
    return Answer("renamed")


async def _subscribe(session: ImapSession, command: Subscribe) -> Answer:
    await _changed(
        session.backend.folders.subscribe(session.account_id, command.mailbox), is_repeatable=True
    )
    await _hint_folders(session)
    return Answer("subscribed")


async def _unsubscribe(session: ImapSession, command: Unsubscribe) -> Answer:
    await _changed(
        session.backend.folders.unsubscribe(session.account_id, command.mailbox), is_repeatable=True
    )
    await _hint_folders(session)
    return Answer("unsubscribed")


async def _get_quota(session: ImapSession, command: GetQuota) -> Answer:
    if command.root != _ROOT:
        raise No("there is no such quota root", b"NONEXISTENT")
    _send_quota(session, await session.backend.folders.quota(session.account_id))
    return Answer("done", syncs=False)


async def _get_quota_root(session: ImapSession, command: GetQuotaRoot) -> Answer:
    # the mailbox need not exist (RFC 9208 §4.1.2)
    quota = await session.backend.folders.quota(session.account_id)
    session.out.send(replies.quota_root(command.mailbox, [_ROOT], utf8=session.utf8))
    _send_quota(session, quota)
    return Answer("done", syncs=False)


def _send_quota(session: ImapSession, quota: Quota) -> None:
    """Send the use and the limit, in units of 1,024 bytes (RFC 9208 §5.1)."""
    resources = []
    if quota.limit_bytes is not None:
        used = -(-quota.used_bytes // 1024)
        resources.append(("STORAGE", used, quota.limit_bytes // 1024))
    session.out.send(replies.quota(_ROOT, resources))


async def _hint_folders(session: ImapSession) -> None:
    """Hint that the account's list of mailboxes or subscriptions has changed."""
    await session.backend.hints.send([(session.account_id, FOLDERS, 0)])


def _checked(name: str) -> str:
    """Return a name that a mailbox may have. Raises No."""
    if not all(name.split(DELIMITER)):
        raise No("a mailbox name must not have an empty level", b"CANNOT")
    if "*" in name or "%" in name:  # LIST could never ask for it alone
        raise No("a mailbox name must not contain * or %", b"CANNOT")
    return name


async def _changed[T](change: Awaitable[T], *, is_repeatable: bool = False) -> T:
    """Return the result of a change of mailboxes. Raises No, or Drop when it is not known whether
    it happened; Unavailable for one that may be repeated."""
    try:
        return await change
    except FolderError as error:
        raise No(error.reason, error.code.encode()) from None
    except Unavailable as error:
        if is_repeatable:
            raise
        raise Drop("it is not known whether the mailbox was changed") from error


HANDLERS: dict[type, Handler] = {
    Create: _create,
    Delete: _delete,
    Rename: _rename,
    Subscribe: _subscribe,
    Unsubscribe: _unsubscribe,
    GetQuota: _get_quota,
    GetQuotaRoot: _get_quota_root,
}
"""Command to handler."""
