"""An import at work: what a file holds becomes batches for the stores, and a summary."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import Counter

from posthorn.model.envelope import Body, Envelope
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.transfers import Entry, Importing
from posthorn.runtime.ids import new_id
from posthorn.wire.archive import maildir
from posthorn.wire.archive.mbox import NotMboxError
from posthorn.wire.archive.tar import NotTarError
from posthorn.wire.message.header import SCAN_LIMIT, scan_header
from posthorn_api.mailboxes.service import mailbox_in
from posthorn_api.transfers.archives import Format, Incoming, reading
from posthorn_api.transfers.digests import Digests

if TYPE_CHECKING:
    from posthorn_api.transfers.service import TransferService

BATCH_OCTETS = 4 * 1024 * 1024
BATCH_MESSAGES = 256
_STAY_SECONDS = 45.0
_FAILURES_TOLD = 100
_ADOPTED_AT_ONCE = 5000
_LATEST_SECONDS = 86_400.0

_imported = Counter(
    "posthorn_api_imported_messages_total",
    "Messages of imports, by result",
    ["result"],
)


@dataclass(slots=True)
class Summary:
    """The result of an import."""

    messages: int = 0
    imported: int = 0
    duplicates: int = 0
    failed: int = 0
    octets: int = 0
    failures: list[tuple[int, str | None, str]] = field(default_factory=list)
    """Number, path and reason; the first ones only."""
    left_out: int = 0
    """Records that are no mail of their owner's."""
    leavings: list[tuple[int, str | None, str]] = field(default_factory=list)
    """Number, path and reason of those left out; the first ones only."""
    from_lines_left: int = 0
    """``From`` lines of an mbox, after an empty line, that were taken for text."""

    def fail(self, number: int, name: str | None, reason: str) -> None:
        """Count a message that was not taken."""
        self.failed += 1
        _imported.labels("failed").inc()
        if len(self.failures) < _FAILURES_TOLD:
            self.failures.append((number, name, reason))

    def leave_out(self, number: int, name: str | None, reason: str) -> None:
        """Count what is no mail of its owner's."""
        self.left_out += 1
        _imported.labels("left out").inc()
        if len(self.leavings) < _FAILURES_TOLD:
            self.leavings.append((number, name, reason))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message on its way into a segment."""

    number: int
    name: str | None
    content: bytes
    envelope: Envelope
    entry: Entry


class ImportRun:
    """An import at work. Each batch is stored before more of the file is read."""

    def __init__(
        self, transfer: TransferService, importing: Importing, form: Format, mailbox: str | None
    ) -> None:
        self.summary = Summary()
        self._transfer = transfer
        self._importing = importing
        self._reading = reading(form, transfer.max_size)
        self._mailbox = mailbox
        self._batch: list[Waiting] = []
        self._octets = 0
        self._unique_ids: dict[bytes, str] = {}  # of messages that are there already
        self._stayed = time.monotonic()

    async def run(self, pieces: AsyncIterator[bytes]) -> Summary:
        """Import a file that comes in pieces. Raises ValidationFailed for one that does not read,
        Conflict when another import has taken over, Unavailable."""
        digests = await self._transfer.known(self._importing)
        is_over = False
        while not is_over:
            piece = await anext(pieces, None)
            is_over = piece is None
            try:
                for incoming in self._reading.end() if piece is None else self._reading.feed(piece):
                    self._take(incoming, digests)
                    if self._octets >= BATCH_OCTETS or len(self._batch) >= BATCH_MESSAGES:
                        await self._store()
                    if len(self._unique_ids) >= _ADOPTED_AT_ONCE:
                        await self._adopt()
            except (NotMboxError, NotTarError) as error:
                await self._store()
                raise ValidationFailed(
                    FieldError("body", f"{self._broken(error)}; {self._so_far()}")
                ) from None
            if time.monotonic() - self._stayed > _STAY_SECONDS:
                await self._transfer.stay(self._importing)
                self._stayed = time.monotonic()
        await self._store()
        await self._adopt()
        self.summary.from_lines_left = self._reading.from_lines_left
        return self.summary

    def _broken(self, error: Exception) -> str:
        if isinstance(error, NotTarError):
            return str(error) or "this is not a tar archive"
        return "this is no mbox: its first line must be From, an address and a date (unpack it first if it is compressed)"

    def _so_far(self) -> str:
        counts = self.summary
        return f"{counts.imported} messages were imported before that, {counts.duplicates} were there already"

    def _take(self, incoming: Incoming, digests: Digests) -> None:
        summary = self.summary
        summary.messages += 1
        number, content = summary.messages, incoming.content
        fault = incoming.fault or ("" if self._mailbox else incoming.misplaced)
        if fault:
            summary.fail(number, incoming.name, fault)
            return
        if incoming.left_out:
            summary.leave_out(number, incoming.name, incoming.left_out)
            return
        if content is None or len(content) > self._transfer.max_size:
            summary.fail(
                number, incoming.name, f"it has more than {self._transfer.max_size} octets"
            )
            return
        if not content:
            summary.fail(number, incoming.name, "it is empty")
            return
        try:
            mailbox = self._mailbox or mailbox_in("mailbox", incoming.mailbox or maildir.INBOX)
        except ValidationFailed as unfit:
            summary.fail(number, incoming.name, f"its mailbox: {unfit.faults[0].message}")
            return
        facts = Body.from_message(content, incoming.return_path_octets)
        if not digests.add(facts.sha256):
            summary.duplicates += 1
            _imported.labels("duplicate").inc()
            if incoming.unique_id and mailbox == maildir.INBOX:
                self._unique_ids.setdefault(facts.sha256, incoming.unique_id)
            return
        now = time.time()
        at = (
            now
            if incoming.received_at is None
            else min(max(incoming.received_at, 0.0), now + _LATEST_SECONDS)
        )
        envelope = Envelope(
            id=new_id(),
            received_at=at,
            reverse_path=incoming.reverse_path,
            recipients=(),
            body=facts,
            summary=scan_header(content[:SCAN_LIMIT]).summary,
            role="import",
        )
        self._batch.append(
            Waiting(
                number,
                incoming.name,
                content,
                envelope,
                Entry(mailbox, incoming.flags, at, incoming.keywords, incoming.unique_id),
            )
        )
        self._octets += len(content)

    async def _adopt(self) -> None:
        unique_ids, self._unique_ids = self._unique_ids, {}
        if unique_ids:
            await self._transfer.adopt(self._importing, unique_ids)

    async def _store(self) -> None:
        batch, self._batch, self._octets = self._batch, [], 0
        if not batch:
            return
        placed = await self._transfer.store(self._importing, batch)
        for each in batch:
            if each.envelope.id in placed:
                self.summary.imported += 1
                self.summary.octets += len(each.content)
            else:
                self.summary.fail(each.number, each.name, "the account has no room for it")
        _imported.labels("imported").inc(len(placed))
