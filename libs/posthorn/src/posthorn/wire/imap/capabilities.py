"""Names of the capabilities of IMAP (RFC 9051 §7.2.2), apart from the grammar, which programs that
only name them need not load."""

from __future__ import annotations

from typing import Final

CAPABILITIES: Final = (
    "IMAP4rev1", "IMAP4rev2", "SASL-IR", "LITERAL+", "ENABLE", "ID", "IDLE", "NAMESPACE",
    "CHILDREN", "UNSELECT", "UIDPLUS", "MOVE", "ESEARCH", "SEARCHRES", "WITHIN", "LIST-EXTENDED",
    "LIST-STATUS", "STATUS=SIZE", "SPECIAL-USE", "CREATE-SPECIAL-USE", "CONDSTORE", "QRESYNC",
    "UTF8=ACCEPT", "BINARY", "MULTIAPPEND", "APPENDLIMIT", "QUOTA", "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE", "OBJECTID", "SAVEDATE", "PREVIEW", "INPROGRESS", "PARTIAL", "UIDBATCHES",
    "SORT", "SORT=DISPLAY", "ESORT", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES", "REPLACE",
    "COMPRESS=DEFLATE", "NOTIFY",
)  # fmt: skip
"""What the grammar serves; the session hides what it does not."""
