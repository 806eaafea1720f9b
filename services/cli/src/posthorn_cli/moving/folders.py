"""Which mailbox here a folder of the source becomes.

Rules:

- Folders with a special use (RFC 6154) become the mailbox of that role here; where the source
  marks none for a role, a usual name decides.
- ``\\All`` holds what other folders hold as well (Gmail): it comes last, into the archive, so that
  only messages of no other folder are left for it. ``\\Flagged`` and ``\\Important`` are views of
  other folders and are left out.
- The prefix of the personal namespace (``INBOX.`` of Courier, Cyrus and others) is not part of a
  name. Levels are separated by ``/`` here; a ``/`` within a level becomes ``-``. What else a name
  here cannot have is replaced by ``_``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

INBOX = "INBOX"
LONGEST_NAME = 255
"""Bytes of a mailbox's name here."""

_ROLES = {
    "\\drafts": "drafts",
    "\\sent": "sent",
    "\\junk": "junk",
    "\\spam": "junk",  # XLIST, before RFC 6154
    "\\trash": "trash",
    "\\archive": "archive",
}
_STANDARD = {
    "drafts": "Drafts",
    "sent": "Sent",
    "junk": "Junk",
    "trash": "Trash",
    "archive": "Archive",
}
_ALL = frozenset({"\\all", "\\allmail"})
_VIEWS = frozenset({"\\flagged", "\\starred", "\\important"})
_WITHOUT_MESSAGES = frozenset({"\\noselect", "\\nonexistent"})

_USUAL = {
    "drafts": "drafts|draft|entwürfe|entwurf|brouillons|borradores|bozze|concepten|kladder|utkast|rascunhos",
    "sent": "sent|sent items|sent messages|sent mail|gesendet|gesendete objekte|gesendete elemente|envoyés|éléments envoyés"
    "|enviados|elementos enviados|inviata|posta inviata|verzonden|verzonden items|sendt|skickat|itens enviados",
    "trash": "trash|deleted items|deleted messages|papierkorb|gelöscht|gelöschte objekte|gelöschte elemente|corbeille"
    "|éléments supprimés|papelera|elementos eliminados|cestino|posta eliminata|prullenbak|verwijderde items|lixeira",
    "junk": "junk|junk e-mail|junk email|junk mail|spam|bulk mail|spamverdacht|unerwünscht|courrier indésirable"
    "|correo no deseado|posta indesiderata|ongewenste e-mail|ongewenste reclame",
    "archive": "archive|archives|archiv|archivio|archivo|archief",
}
_BY_NAME = {name: role for role, names in _USUAL.items() for name in names.split("|")}
_UNFIT = re.compile(r'[*%\\"]')


@dataclass(frozen=True, slots=True)
class SourceFolder:
    """A folder as the source lists it."""

    name: str
    delimiter: str
    """Empty: the source has no hierarchy."""
    attributes: frozenset[str]
    """In lower case."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A folder of the source, and the mailbox here that gets its messages."""

    folder: SourceFolder
    mailbox: str


def placements(
    folders: Iterable[SourceFolder],
    *,
    prefix: str = "",
    foreign: Sequence[str] = (),
    standard: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> list[Placement]:
    """Return the folders to move in the order in which they are moved.

    ``prefix``: of the personal namespace; ``foreign``: prefixes of the namespaces of others;
    ``standard``: names of the account's mailboxes by role; ``only`` and ``without``: names of
    folders as the source has them, with those below them.
    """
    names = _STANDARD | dict(standard or {})
    wanted = [
        folder
        for folder in folders
        if not folder.attributes & (_WITHOUT_MESSAGES | _VIEWS)
        and not any(folder.name.startswith(each) for each in foreign if each)
        and (not only or _is_below(folder, only))
        and not _is_below(folder, without)
    ]
    roles = _roles(wanted, prefix)
    found = [
        Placement(
            folder,
            names[roles[folder.name]] if folder.name in roles else mailbox_of(folder, prefix),
        )
        for folder in wanted
    ]
    return sorted(found, key=lambda each: (_order(each.folder), each.folder.name))


def mailbox_of(folder: SourceFolder, prefix: str = "") -> str:
    """Return the name of a folder as a mailbox here has it."""
    levels = _levels(folder, prefix)
    if len(levels) == 1 and levels[0].upper() == INBOX:
        return INBOX
    fit = "/".join(_fit(level) for level in levels)
    return fit.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip("/ ")


def _roles(folders: Sequence[SourceFolder], prefix: str) -> dict[str, str]:
    """Return the roles of folders by name: those that the source marks, then by usual names."""
    found: dict[str, str] = {}
    for folder in folders:
        for attribute in folder.attributes & _ROLES.keys():
            found[folder.name] = _ROLES[attribute]
    taken = set(found.values())
    for folder in folders:
        if folder.attributes & _ALL:
            found.setdefault(folder.name, "archive")
            continue
        levels = _levels(folder, prefix)
        above = [level.lower() for level in levels[:-1]]
        role = _BY_NAME.get(unicodedata.normalize("NFC", levels[-1]).lower())
        if role and role not in taken and above in ([], ["inbox"], ["[gmail]"], ["[google mail]"]):
            found.setdefault(folder.name, role)
            taken.add(role)
    return found


def _levels(folder: SourceFolder, prefix: str) -> list[str]:
    name = folder.name
    if prefix and name.lower().startswith(prefix.lower()) and len(name) > len(prefix):
        name = name[len(prefix) :]
    return name.split(folder.delimiter) if folder.delimiter else [name]


def _fit(level: str) -> str:
    """Return a level of a name with what is not allowed here replaced."""
    plain = "".join(
        "_" if unicodedata.category(each) in ("Cc", "Cs") else each
        for each in unicodedata.normalize("NFC", level)
    )
    plain = _UNFIT.sub("_", plain.replace("/", "-")).strip()
    if not plain or plain.startswith(".") or plain in ("cur", "new", "tmp"):
        return f"_{plain}"
    return plain


def _is_below(folder: SourceFolder, names: Sequence[str]) -> bool:
    return any(
        folder.name == name
        or (folder.delimiter and folder.name.startswith(name + folder.delimiter))
        for name in names
    )


def _order(folder: SourceFolder) -> int:
    """INBOX first: what stands in several folders is found where it is looked for; all mail last."""
    if folder.name.upper() == INBOX:
        return 0
    return 2 if folder.attributes & _ALL else 1
