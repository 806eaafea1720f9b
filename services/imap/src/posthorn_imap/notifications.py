"""What a connection asked for with NOTIFY, and what its client knows of the mailboxes (RFC 5465).

Rules:

- The group of the selected mailbox is about it alone, the others about all that are not selected.
- A mailbox that several groups name has the events of all of them, up to the first with NONE.
- A hint only says that the mailboxes are to be compared with what the client knows; that is done
  once a second at most, in one statement, so no mailbox has more than one STATUS a second.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from posthorn.ports.folders import Folder, FolderList
from posthorn.wire.imap.commands import NotifyGroup
from posthorn.wire.imap.fetch_items import FetchItem
from posthorn.wire.imap.grammar_notify import SELECTED_SCOPES
from posthorn.wire.imap.mailbox_names import INBOX
from posthorn_imap.folder_tree import parents

COMPARE_SECONDS = 1.0
"""Least time from one comparison to the next."""

DELIVERY_ROLES = frozenset({"inbox", "junk"})
"""Roles of the mailboxes that mail is delivered into (RFC 5465 §6.3)."""


class Notifications:
    """What one connection is told unasked."""

    def __init__(self, groups: tuple[NotifyGroup, ...]) -> None:
        self.selected = next((each for each in groups if each.scope in SELECTED_SCOPES), None)
        """Of the selected mailbox; None: nothing of it is told."""
        self.groups = tuple(each for each in groups if each.scope not in SELECTED_SCOPES)
        """Of the others, in the order of the command."""
        self._named = [frozenset(each.mailboxes) for each in self.groups]
        self._has_subtrees = any(each.scope == "SUBTREE" for each in self.groups)
        self.folders: Mapping[int, Folder] = {}
        """Mailboxes by id, as the client knows them."""
        self.subscribed: frozenset[str] = frozenset()
        self.watched: Mapping[int, int] = {}
        """Id to modseq of the mailboxes whose messages are told of."""
        self._inboxes: frozenset[str] = frozenset({INBOX})
        self.is_behind = False
        """Whether something may have changed that the client does not know."""
        self.is_waiting = False
        """Whether a comparison is due later."""
        self._next = 0.0

    @property
    def tells_messages(self) -> bool:
        """Whether the client is told what comes and goes in the selected mailbox."""
        return self.selected is not None and bool(self.selected.events)

    @property
    def tells_flags(self) -> bool:
        """Whether it is told of flags of the selected mailbox."""
        return self.selected is not None and "FlagChange" in self.selected.events

    @property
    def delays_expunges(self) -> bool:
        """Whether messages lose their numbers during commands alone (RFC 5465 §6.1.2)."""
        return self.selected is not None and self.selected.scope == "SELECTED-DELAYED"

    @property
    def items(self) -> tuple[FetchItem, ...]:
        """What is sent of new messages of the selected mailbox."""
        return self.selected.items if self.selected is not None else ()

    def events(self, name: str, subscribed: frozenset[str]) -> frozenset[str]:
        """Return the events of a mailbox that is not selected."""
        found: frozenset[str] = frozenset()
        above = frozenset(parents([name])) if self._has_subtrees else frozenset()
        for group, named in zip(self.groups, self._named, strict=True):
            if self._is_in(group, named, name, above, subscribed):
                if not group.events:
                    break
                found |= group.events
        return found

    def take(self, listed: FolderList) -> None:
        """Note what the client knows from now on."""
        self.folders = {folder.id: folder for folder in listed.folders}
        self.subscribed = listed.subscribed
        self._inboxes = frozenset(
            {
                INBOX,
                *(folder.name for folder in listed.folders if folder.role in DELIVERY_ROLES),
            }
        )
        self.watched = {
            folder.id: folder.modseq
            for folder in listed.folders
            if "MessageNew" in self.events(folder.name, listed.subscribed)
        }

    def hear_of(self, mailbox: int, modseq: int) -> bool:
        """Note that a mailbox has changed, or the list of mailboxes (``mailbox`` 0); modseq 0: it
        is not known how far. Return whether that concerns the client."""
        if not self.groups:
            return False
        if modseq and mailbox in self.folders and self.watched.get(mailbox, modseq) >= modseq:
            return False
        self.is_behind = True
        return True

    def wait(self) -> float:
        """Return the seconds until the mailboxes may be compared; 0: now, and count it."""
        now = time.monotonic()
        if now < self._next:
            return self._next - now
        self._next = now + COMPARE_SECONDS
        return 0.0

    def _is_in(
        self,
        group: NotifyGroup,
        named: frozenset[str],
        name: str,
        above: frozenset[str],
        subscribed: frozenset[str],
    ) -> bool:
        match group.scope:
            case "INBOXES":
                return name in self._inboxes
            case "SUBSCRIBED":
                return name in subscribed
            case "MAILBOXES":
                return name in named
            case "SUBTREE":
                return name in named or not named.isdisjoint(above)
            case _:
                return True
