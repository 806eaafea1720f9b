"""Waiting until changes of the directory are published, and announcing those published later."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from posthorn.ports.changes import Change
from posthorn.ports.errors import Unavailable
from posthorn_api.pending import Pending


class Publication(Protocol):
    """Carries changes into the directory."""

    async def wait_published(self, outbox_ids: Sequence[int], timeout: float) -> bool:
        """Wait until the outbox entries are published, at most ``timeout`` seconds. Never
        raises."""
        ...

    async def announce(self, subjects: Collection[str]) -> None:
        """Say in the directory that these subjects, which are told of now, are published later.
        Never raises."""
        ...


async def settled[T](publication: Pending[Publication], change: Change[T], seconds: float) -> T:
    """Wait a little until the directory shows the change, so that an account takes mail the
    moment it is announced."""
    try:
        published = publication.get()
    except Unavailable:
        return change.value  # NATS has not come up yet; the outbox keeps the change
    await published.wait_published(change.outbox_ids, seconds)
    return change.value


async def announced(publication: Pending[Publication], subjects: Collection[str]) -> None:
    """Say of changes made in bulk that they are published later, before their success is told."""
    try:
        published = publication.get()
    except Unavailable:
        return
    await published.announce(subjects)
