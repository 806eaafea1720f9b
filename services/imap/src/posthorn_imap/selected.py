"""The selected mailbox of one connection: its numbering, and what is known of it but not told."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from posthorn.ports.mailbox_view import PAGE, Changes, EntryFlags, Opened
from posthorn.wire.imap.numbering import Numbering
from posthorn.wire.imap.sequence_set import merge
from posthorn_imap.read_ahead import ReadAhead

MOST_TOLD = 20_000
"""Most messages whose flags are noted as told; beyond, the client hears of some of them twice."""

FEW_KEYWORDS = 8
"""Keywords of a message that take no more room than the rest of it."""
UNKNOWN_KEYWORDS = 64
"""So many keywords a mailbox may have got since it was last looked at."""


class Selected:
    """What a connection has selected."""

    __slots__ = (
        "account", "ahead", "fetched_uid", "heard_modseq", "keywords", "mailbox", "modseq", "name",
        "numbering",
        "pending", "read_only", "saved", "told", "uidvalidity",
    )  # fmt: skip

    def __init__(self, account: int, mailbox: int, opened: Opened, *, read_only: bool) -> None:
        self.account = account
        self.mailbox = mailbox
        self.name = opened.name
        self.read_only = read_only
        self.uidvalidity = opened.uidvalidity
        self.modseq = opened.modseq
        """Up to which everything is known (and told or pending)."""
        self.heard_modseq = opened.modseq
        """The highest that was heard of, by a hint or a poll; -1: there is a change, it is not
        known how far."""
        self.keywords = opened.keywords
        """As told in FLAGS."""
        self.numbering = Numbering(opened.uids, uidnext=opened.uidnext)
        self.fetched_uid = self.numbering.last_uid
        """The highest UID that was announced when NOTIFY last sent what it asks of new messages."""
        self.pending: dict[int, EntryFlags] = {}
        """Flags to tell, by UID; what is learned is told by the same command, and the store returns
        a bounded number of changes."""
        self.told: dict[int, int] = {}
        """Modseqs of flags that the client was told by the command that changed them, by UID:
        they are not told again."""
        self.saved: array[int] = array("I")
        """UIDs found by the last SEARCH with SAVE (RFC 5182)."""
        self.ahead = ReadAhead()

    @property
    def page(self) -> int:
        """Most messages whose flags are read at once: fewer where each may have many keywords, also
        some that are not known yet."""
        keywords = max(len(self.keywords), UNKNOWN_KEYWORDS if self.is_behind else 0)
        return max(PAGE // (1 + keywords // FEW_KEYWORDS), 1)

    @property
    def is_behind(self) -> bool:
        """Whether the mailbox is known to have changed."""
        return self.heard_modseq < 0 or self.heard_modseq > self.modseq

    def hear_of(self, modseq: int) -> bool:
        """Note that the mailbox has changed; modseq 0: it is not known how far. Return whether that
        is news."""
        if not modseq:
            self.heard_modseq = -1
        elif self.heard_modseq >= 0:
            self.heard_modseq = max(self.heard_modseq, modseq)
        return self.is_behind

    def learn(self, changes: Changes) -> None:
        """Note the changes of the mailbox."""
        known_removed = self.numbering.known(merge(list(changes.removed)))
        self.numbering.learn(changes.added, known_removed)
        for uid in known_removed:
            self.pending.pop(uid, None)
        told, added = self.told, frozenset(changes.added)
        for entry in changes.changed:
            if entry.uid in added or told.get(entry.uid) == entry.modseq:
                continue  # the client asks for what it does not know yet
            self.pending[entry.uid] = entry
        self.told = {uid: modseq for uid, modseq in told.items() if modseq > changes.modseq}
        self.modseq = changes.modseq

    def changed_to(self, modseq: int) -> None:
        """Note the modseq after a change of the connection's own, which it knows all about."""
        if modseq == self.modseq + 1:  # nobody else has changed anything in between
            self.modseq = modseq

    def note_told(self, entries: Iterable[EntryFlags]) -> None:
        """Note flags that the client is told by the command that changed them."""
        for entry in entries:
            self.pending.pop(entry.uid, None)
            if entry.modseq > self.modseq and len(self.told) < MOST_TOLD:
                self.told[entry.uid] = entry.modseq

    def remove(self, uids: Sequence[int]) -> None:
        """Note that the connection's own command has removed messages."""
        self.numbering.learn((), uids)
        for uid in uids:
            self.pending.pop(uid, None)
