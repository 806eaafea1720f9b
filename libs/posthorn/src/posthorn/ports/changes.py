"""Arguments and results of changes to objects in the metadata store (``ports.administration``)."""

from __future__ import annotations

from dataclasses import dataclass

type Versions = frozenset[str] | None
"""The versions of an object that a change accepts; None: any."""


@dataclass(frozen=True, slots=True)
class Change[T]:
    """Result of a write."""

    value: T
    outbox_ids: tuple[int, ...] = ()
    """Its entries of the directory outbox; see DirectorySource.published."""
