"""The check that database, blob store and directory bucket belong together (ADR 18).

Theory:

- An installation has an id, created by the migration of its database. The blob store and the
  directory bucket each hold a copy: the mark. Stores with different ids belong to different
  installations.
- The database also stores a monotonic time, the progress, and writes it to the copies afterwards.
  So a copy is never ahead, unless the database was restored to an earlier state: then the stores
  hold messages that the database has lost. A failover that loses seconds must not stop the system,
  so a copy may be ahead by the tolerance.
- "Not in Postgres" means "not wanted" only when both agree. Everything that deletes checks first.
- A database that no process has adopted yet (NEW) is adopted automatically only where that cannot
  be wrong: when all stores are empty, or, once, when it holds data and no store has a mark (an
  upgrade from a release without marks).
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
"""Seconds by which a copy may be ahead of the database by default."""


class Stage(Enum):
    """Stage of the database's adoption."""

    NEW = "new"
    """The migration has created the row; no process has compared the stores."""
    ADOPTING = "adopting"
    """Decided; the copies are being written."""
    ADOPTED = "adopted"
    """The copies were written."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The id of an installation and its progress."""

    id: UUID
    progress: float
    """Seconds since the epoch by the database's clock; never decreases."""


@dataclass(frozen=True, slots=True)
class Ours:
    """The database's own row."""

    mark: Mark
    stage: Stage
    holds_data: bool
    """Whether it has accounts, domains, aliases or messages; not determined after the stage NEW."""
    holds_bodies: bool
    """Whether it refers to bodies in the blob store."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A store's copy of the mark."""

    mark: Mark | None
    holds_data: bool
    """Whether it has bodies or addresses; determined only when there is no mark."""


class Finding(Enum):
    """Result of the comparison."""

    OURS = "ours"
    """Serve."""
    ADOPT = "adopt"
    """Serve, once the copies are written."""
    FOREIGN = "foreign"
    """Serve nothing and delete nothing until an operator has decided."""
    UNDECIDED = "undecided"
    """A store that is needed for the comparison does not answer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The finding, and why."""

    finding: Finding
    reason: str = ""
    """For logs and /readyz; names ids and times, no secrets."""
    complete: bool = False
    """Whether both copies were read. Nothing is deleted otherwise."""


def judge(
    ours: Ours, blobs: Copy | None, directory: Copy | None, tolerance: float = TOLERANCE_SECONDS
) -> Verdict:
    """Compare the database with its copies; None stands for a store that was not read. ADR 18
    has the table."""
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
                return Verdict(
                    Finding.FOREIGN,
                    f"the database is new and empty, but the {name} holds data",
                    complete,
                )
        if blobs is None:
            return Verdict(
                Finding.UNDECIDED, "the database is new, and the blob store does not answer"
            )
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
    """Return the contradiction of a blob store without a mark: another store, or one that lost
    its data, unless it never had a mark."""
    if ours.stage is Stage.ADOPTED and blobs.holds_data:
        return "the blob store holds bodies but no mark of this installation"
    if ours.stage is not Stage.ADOPTING and ours.holds_bodies and not blobs.holds_data:
        return "the blob store is empty, but the database refers to bodies in it"
    return ""


def _time(progress: float) -> str:
    return datetime.fromtimestamp(progress, UTC).isoformat(timespec="seconds")


def encode_mark(mark: Mark) -> bytes:
    """Return the encoding of a mark in a store: JSON of exactly MARK_BYTES."""
    return (
        json.dumps({"installation": str(mark.id), "progress": mark.progress})
        .encode()
        .ljust(MARK_BYTES - 1)
        + b"\n"
    )


def decode_mark(data: bytes) -> Mark:
    """Decode a mark. Raises ValueError."""
    try:
        document = json.loads(data)
        progress = float(document["progress"])
        datetime.fromtimestamp(progress, UTC)
        return Mark(UUID(document["installation"]), progress)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        OSError,
        RecursionError,
    ) as error:
        raise ValueError("not a mark of an installation") from error
