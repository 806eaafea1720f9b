"""Do database, blob store and directory bucket belong together? (ADR 18)

Theory:

- An installation has an id, made by the migration that made its database. The blob store and the directory bucket each hold a
  copy of it: the mark. Two stores with different ids are of two installations.
- The database also keeps a time that only grows, the progress, and writes it to the copies afterwards. So a copy is never ahead,
  unless the database was put back to an earlier state: then the copies know of messages that the database has forgotten. A
  failover that loses seconds must stop nothing, so a copy may be ahead by the tolerance.
- "Not in Postgres" means "not wanted" only when both hold. Everything that deletes asks first.
- A database that no process has taken up yet (NEW) is taken up by itself only where that cannot be wrong: when nothing is
  anywhere, or, once, when it holds data and no store bears a mark (an upgrade from a release without marks).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from uuid import UUID

MARK_BYTES = 256
"""Size of an encoded mark: blobs are read by exact lengths."""
TOLERANCE_SECONDS = 900.0
"""How far a copy may be ahead of the database by default."""


class Stage(Enum):
    """How far the database has been taken up."""

    NEW = "new"
    """The migration has made the row; no process has compared the stores."""
    ADOPTING = "adopting"
    """Decided; the copies are being written."""
    ADOPTED = "adopted"
    """The copies were written."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Which installation, and how far it has come."""

    id: UUID
    progress: float
    """Seconds since the epoch by the database's clock; never falls."""


@dataclass(frozen=True, slots=True)
class Ours:
    """What the database says of itself."""

    mark: Mark
    stage: Stage
    holds_data: bool
    """It has accounts, domains, aliases or messages; not asked after the stage NEW."""
    holds_bodies: bool
    """It refers to bodies in the blob store."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What a store says."""

    mark: Mark | None
    holds_data: bool
    """It has bodies, or addresses; told only when there is no mark."""


class Finding(Enum):
    """What the comparison comes to."""

    OURS = "ours"
    """Serve."""
    ADOPT = "adopt"
    """Serve, once the copies are written."""
    FOREIGN = "foreign"
    """Serve nothing and delete nothing until an operator has decided."""
    UNDECIDED = "undecided"
    """A store that would have to be asked does not answer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The finding, and why."""

    finding: Finding
    reason: str = ""
    """For logs and /readyz; names ids and times, no secrets."""
    complete: bool = False
    """Both copies were read. Nothing is deleted on less."""


def judge(ours: Ours, blobs: Copy | None, directory: Copy | None, tolerance: float = TOLERANCE_SECONDS) -> Verdict:
    """Compare the database with its copies; None stands for a store that was not read. ADR 18 has the table."""
    complete = blobs is not None and directory is not None
    copies = {"blob store": blobs, "directory bucket": directory}
    for name, copy in copies.items():
        if (
            copy is not None
            and copy.mark is not None
            and (wrong := _contradicts(ours.mark, name, copy.mark, tolerance))
        ):
            return Verdict(Finding.FOREIGN, wrong, complete)
    if ours.stage is Stage.NEW and not ours.holds_data:
        for name, copy in copies.items():
            if copy is not None and copy.holds_data:
                return Verdict(Finding.FOREIGN, f"the database is new and empty, but the {name} holds data", complete)
        if blobs is None:
            return Verdict(Finding.UNDECIDED, "the database is new, and the blob store does not answer")
    if blobs is not None and blobs.mark is None and (wrong := _unmarked(ours, blobs)):
        return Verdict(Finding.FOREIGN, wrong, complete)
    if ours.stage is Stage.ADOPTED or not complete:
        return Verdict(Finding.OURS, complete=complete)
    return Verdict(Finding.ADOPT, complete=True)


def _contradicts(ours: Mark, name: str, theirs: Mark, tolerance: float) -> str:
    if theirs.id != ours.id:
        return f"the database is of installation {ours.id}, the {name} of {theirs.id}"
    if theirs.progress > ours.progress + tolerance:
        return f"the database stands at {_time(ours.progress)}, before the {name} at {_time(theirs.progress)}"
    return ""


def _unmarked(ours: Ours, blobs: Copy) -> str:
    """A blob store without a mark is another one, or has lost everything, unless the mark was never there."""
    if ours.stage is Stage.ADOPTED and blobs.holds_data:
        return "the blob store holds bodies but no mark of this installation"
    if ours.stage is not Stage.ADOPTING and ours.holds_bodies and not blobs.holds_data:
        return "the blob store is empty, but the database refers to bodies in it"
    return ""


def _time(progress: float) -> str:
    return datetime.fromtimestamp(progress, UTC).isoformat(timespec="seconds")


def encode_mark(mark: Mark) -> bytes:
    """Return the mark's form in a store: JSON of exactly MARK_BYTES."""
    return json.dumps({"installation": str(mark.id), "progress": mark.progress}).encode().ljust(MARK_BYTES - 1) + b"\n"


def decode_mark(octets: bytes) -> Mark:
    """Read a mark. Raises ValueError for anything that is none."""
    try:
        document = json.loads(octets)
        progress = float(document["progress"])
        datetime.fromtimestamp(progress, UTC)
        return Mark(UUID(document["installation"]), progress)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError) as error:
        raise ValueError("not a mark of an installation") from error
