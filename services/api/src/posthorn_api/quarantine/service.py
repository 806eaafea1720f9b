"""What the API decides about the quarantine."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from posthorn.model.events import DELIVERED, QUEUED, RESTORED, Event
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Conflict, FieldError, NotFound, ValidationFailed
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.quarantine import Quarantine, QuarantinedCopy, QuarantineFilter, Restored
from posthorn_api.directory.fields import address_in, domain_in
from posthorn_api.pending import PendingEvents

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Released:
    """The result for one of several copies."""

    id: UUID
    recipient: str | None
    refusal: str | None
    """Why it was not released."""


class QuarantineService:
    """Every method takes the caller's key and sees what its tenant sees.

    Raises ValidationFailed, NotFound and Conflict for the caller's faults, Unavailable for ours.
    """

    def __init__(
        self,
        quarantine: Quarantine,
        bodies: BodyReader,
        hints: PendingEvents,
    ) -> None:
        self._quarantine = quarantine
        self._bodies = bodies
        self._hints = hints

    async def items(
        self, caller: ApiKey, which: QuarantineFilter, asked: ListQuery
    ) -> Listed[QuarantinedCopy]:
        """Return a page of copies."""
        canonical = QuarantineFilter(
            None if which.account is None else address_in("account", which.account),
            None if which.domain is None else domain_in("domain", which.domain),
            which.reason,
            which.message,
            which.since,
        )
        return await self._quarantine.items(caller.tenant, canonical, asked)

    async def item(self, caller: ApiKey, number: UUID) -> QuarantinedCopy:
        """Return one."""
        return await self._quarantine.item(caller.tenant, number)

    async def raw(
        self, caller: ApiKey, number: UUID
    ) -> tuple[QuarantinedCopy, bytes, AsyncGenerator[bytes]]:
        """Return a copy, its first bytes and the rest. A fault of the store shows before anything
        is answered."""
        attempts = 2  # a collector may move the bytes between the look-up and the read
        while True:
            attempts -= 1
            copy, location = await self._quarantine.body(caller.tenant, number)
            pieces = self._bodies.stream(location)
            try:
                return copy, await anext(pieces, b""), pieces
            except BlobMissing:
                if not attempts:
                    raise

    async def release(self, caller: ApiKey, number: UUID, *, is_ham: bool) -> QuarantinedCopy:
        """Release one; return it as it was. Raises NotFound, Conflict. Accounts cannot release what
        was withheld for a virus."""
        restored = await self._quarantine.release(
            caller.tenant, number, is_ham=is_ham, viruses=caller.account is None
        )
        self._tell(caller, restored)
        return restored.copy

    async def release_all(
        self,
        caller: ApiKey,
        ids: Sequence[UUID] | None,
        message: UUID | None,
        limit: int,
        *,
        is_ham: bool,
    ) -> tuple[Sequence[Released], bool]:
        """Release several, each in a transaction of its own; return the results, and whether more
        copies of the message are left."""
        if (ids is None) == (message is None):
            raise ValidationFailed(FieldError("ids", "either ids or a message must be given"))
        more = False
        if ids is None:
            which = QuarantineFilter(message=message)
            copies = await self._quarantine.items(caller.tenant, which, ListQuery(limit))
            if not copies.items:
                raise NotFound(f"no copy of a message {message} is in quarantine")
            ids, more = [each.id for each in copies.items], copies.last is not None
        results: list[Released] = []
        for number in dict.fromkeys(ids):
            try:
                copy = await self.release(caller, number, is_ham=is_ham)
            except (NotFound, Conflict) as refusal:
                results.append(Released(number, None, str(refusal)))
            else:
                results.append(Released(number, copy.recipient, None))
        return results, more

    async def delete(self, caller: ApiKey, number: UUID) -> None:
        """Delete one."""
        copy = await self._quarantine.delete(caller.tenant, number)
        log.info("deleted from quarantine", quarantine=str(number), message=str(copy.message))

    def _tell(self, caller: ApiKey, restored: Restored) -> None:
        copy, now = restored.copy, time.time()
        about = {
            "recipient": copy.recipient,
            "quarantine": str(copy.id),
            "by": f"key:{caller.name}",
        }
        followed = QUEUED if copy.account is None else DELIVERED
        self._hints.record(
            Event(copy.message, now, RESTORED, about),
            Event(copy.message, now, followed, {"recipients": [copy.recipient]}),
        )
        if restored.destinations:
            self._hints.notify(restored.destinations)
        log.info("released from quarantine", message=str(copy.message), **about)
