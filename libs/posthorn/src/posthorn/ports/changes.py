"""What a change of an object in the metadata store takes and returns (``ports.administration``)."""

from __future__ import annotations

from dataclasses import dataclass

type Versions = frozenset[str] | None
"""The versions of an object that a change is meant for; None: any."""


@dataclass(frozen=True, slots=True)
class Change[T]:
    """What a write made."""

    value: T
    outbox_ids: tuple[int, ...] = ()
    """Its entries of the directory outbox; see DirectoryTruth.published."""
