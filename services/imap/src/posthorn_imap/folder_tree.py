"""What LIST and LSUB show: names with their attributes (RFC 9051 §6.3.9, RFC 5258, RFC 6154).

Rules:

- A name above a mailbox that is no mailbox itself is shown as ``\\NonExistent \\Noselect``: clients
  of before RFC 5258 know the second one only.
- Special uses are shown unasked (cyrusimap/cyrus-imapd#1514).
- Subscriptions are by name: one to a mailbox that is not there is shown as ``\\NonExistent``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from posthorn.ports.folders import Folder, FolderList
from posthorn.wire.imap.mailbox_names import DELIMITER, INBOX

SPECIAL_USES = {
    "junk": "\\Junk",
    "sent": "\\Sent",
    "trash": "\\Trash",
    "drafts": "\\Drafts",
    "archive": "\\Archive",
}
"""Role to special use (RFC 6154 §2)."""
ROLES = {use: role for role, use in SPECIAL_USES.items()}
"""Special use to role."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A name to be shown."""

    name: str
    attributes: tuple[str, ...]
    folder: Folder | None
    """None: there is no such mailbox."""
    child_info: tuple[str, ...] = ()
    """Selection options that names below it match (RFC 5258 §3.5)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What LIST selects."""

    matches: Callable[[str], bool]
    subscribed: bool = False
    special_use: bool = False
    recursive: bool = False
    """RECURSIVEMATCH: also names of which only some below are selected."""
    tell_subscribed: bool = False


class FolderTree:
    """All names of an account."""

    def __init__(self, listed: FolderList) -> None:
        self._folders = {folder.name: folder for folder in listed.folders}
        self._subscribed = listed.subscribed
        self._parents = set(parents(self._folders))
        names = {*self._folders, *self._parents, INBOX}
        self._names = sorted(names, key=lambda name: (name != INBOX, name))

    def list_(self, wanted: Wanted) -> Iterable[Shown | None]:
        """Yield the names that LIST shows, and None for each other one: to look at them takes time,
        too."""
        names = self._names
        if wanted.subscribed:
            names = sorted({*names, *self._subscribed}, key=lambda name: (name != INBOX, name))
            if wanted.recursive:
                names = sorted({*names, *parents(self._subscribed)})
        above: dict[str, None] = {}
        if wanted.recursive:
            above = dict.fromkeys(
                parents(name for name in names if self._is_selected(name, wanted))
            )
        for name in names:
            is_selected = self._is_selected(name, wanted)
            if not (is_selected or name in above) or not wanted.matches(name):
                yield None
                continue
            info: tuple[str, ...] = ()
            if name in above:
                info = tuple(
                    option
                    for option, is_on in (
                        ("SUBSCRIBED", wanted.subscribed),
                        ("SPECIAL-USE", wanted.special_use),
                    )
                    if is_on
                )
            told = wanted.subscribed or wanted.tell_subscribed
            yield Shown(name, self._attributes(name, told=told), self._folders.get(name), info)

    def lsub(self, matches: Callable[[str], bool]) -> Iterable[Shown | None]:
        """Yield the names that LSUB shows, and None for each other one: with ``%`` also those above
        a subscribed one that does not match itself (RFC 3501 §6.3.9)."""
        matching: set[str] = set()
        for name in self._subscribed:
            if matches(name):
                matching.add(name)
            yield None
        above = set(parents(self._subscribed - matching)) - self._subscribed
        for name in sorted(matching | above, key=lambda name: (name != INBOX, name)):
            if name in matching:
                yield Shown(name, self._attributes(name, told=False), self._folders.get(name))
            elif matches(name):
                yield Shown(name, ("\\Noselect",), None)
            else:
                yield None

    def _is_selected(self, name: str, wanted: Wanted) -> bool:
        if wanted.subscribed and name not in self._subscribed:
            return False
        if wanted.special_use:
            folder = self._folders.get(name)
            return folder is not None and folder.role in SPECIAL_USES
        return True

    def _attributes(self, name: str, *, told: bool) -> tuple[str, ...]:
        folder = self._folders.get(name)
        attributes = []
        if folder is None:
            attributes += ["\\NonExistent", "\\Noselect"]
        attributes.append("\\HasChildren" if name in self._parents else "\\HasNoChildren")
        if told and name in self._subscribed:
            attributes.append("\\Subscribed")
        if folder is not None and folder.role in SPECIAL_USES:
            attributes.append(SPECIAL_USES[folder.role])
        return tuple(attributes)


def parents(names: Iterable[str]) -> Iterable[str]:
    """Yield every name above one of these, some more than once."""
    for name in names:
        place = name.find(DELIMITER)
        while place >= 0:
            yield name[:place]
            place = name.find(DELIMITER, place + 1)
