"""The move of one account: its folders one after the other, in batches.

What the source does not give, or the API does not take, is told of with folder, UID and reason, and
the rest goes on. Only what the API has confirmed is recorded as taken.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import batched
from threading import Event
from typing import Protocol

from posthorn_cli.client import ApiError, Client, ClientError
from posthorn_cli.moving.accounts import MovingAccount
from posthorn_cli.moving.batch import Batch, Failure
from posthorn_cli.moving.folders import INBOX, Placement, placements
from posthorn_cli.moving.pop3_source import pop3_session
from posthorn_cli.moving.record import Record
from posthorn_cli.moving.source import (
    Facts,
    FolderRenumbered,
    ImapSource,
    SourceLost,
    SourceRefused,
    Way,
)
from posthorn_cli.moving.uid_set import UidSet
from posthorn_cli.moving.unique_ids import match

LARGE = 4 * 1024 * 1024
"""Bytes of a message from which it is read in pieces."""
_PAGE = 200
_TOGETHER_BYTES = 2 * 1024 * 1024
_TOGETHER = 50
_PIECE = 256 * 1024
_FAILURES_TOLD = 1000

type Read = tuple[Facts, int, Iterator[bytes]]
"""A message, its bytes, and its content piece by piece."""


@dataclass(slots=True)
class FolderReport:
    """The result of one folder."""

    folder: str
    mailbox: str
    messages: int = 0
    """In the source."""
    bytes: int | None = None
    """Of all messages, where the source tells them without being read."""
    earlier: int = 0
    """Brought over by earlier runs."""
    imported: int = 0
    duplicates: int = 0
    """The account had them already."""
    unique_ids: int = 0
    """Of those sent, the ones whose unique id of POP3 is known."""
    failed: int = 0
    error: str = ""
    """Why the rest of the folder was not brought over."""


@dataclass(slots=True)
class MoveReport:
    """The result of one account."""

    address: str
    target: str
    folders: list[FolderReport] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    """The first ones only."""
    imported_bytes: int = 0
    error: str = ""
    """Why the rest of the account was not brought over."""

    def total(self, name: str) -> int:
        """Return the sum of a count over the folders."""
        return sum(int(getattr(folder, name) or 0) for folder in self.folders)

    @property
    def is_whole(self) -> bool:
        """Whether everything was brought over."""
        return not self.error and not any(each.failed or each.error for each in self.folders)

    def fail(self, report: FolderReport, failures: Iterable[Failure], count: int) -> None:
        """Count messages that were not brought over."""
        report.failed += count
        room = _FAILURES_TOLD - len(self.failures)
        self.failures.extend(list(failures)[: max(room, 0)])


class Watch(Protocol):
    """Sees how far a move is."""

    def planned(self, messages: int) -> None:
        """The source has so many messages in all."""
        ...

    def advanced(self, messages: int) -> None:
        """So many more are done with."""
        ...


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which folders are moved, and how."""

    only: Sequence[str] = ()
    without: Sequence[str] = ()
    with_deleted: bool = True
    dry_run: bool = False


class Move:
    """The move of one account. ``stop``: when set, it ends after the batch in progress."""

    def __init__(
        self,
        account: MovingAccount,
        way: Way,
        api: Client,
        record: Record,
        wishes: Wishes,
        watch: Watch,
        stop: Event,
    ) -> None:
        self.report = MoveReport(account.address, account.target)
        self._account = account
        self._way = way
        self._source = ImapSource(account, way)
        self._api = api
        self._record = record
        self._wishes = wishes
        self._watch = watch
        self._stop = stop

    def run(self) -> MoveReport:
        """Move what can be moved. Faults stand in the report."""
        try:
            found = self._plan()
            self._watch.planned(self.report.total("messages"))
            if not self._wishes.dry_run:
                for placement, report in zip(found, self.report.folders, strict=True):
                    if self._stop.is_set():
                        break
                    self._folder(placement, report)
        except SourceRefused as error:
            self.report.error = f"the source: {error}"
        except SourceLost as error:
            self.report.error = f"the source: {error}"
        except ClientError as error:
            self.report.error = f"the API: {error}"
        finally:
            self._source.close()
        if self._stop.is_set() and not self.report.error:
            self.report.error = "stopped"
        return self.report

    def _plan(self) -> list[Placement]:
        """Find the folders and how much they hold."""
        roles = {
            str(box["role"]): box["name"]
            for box in self._api.list_mailboxes(self._account.target)["items"]
            if box["role"]
        }
        prefix, foreign = self._source.namespaces()
        found = placements(
            self._source.folders(),
            prefix=prefix,
            foreign=foreign,
            standard=roles,
            only=self._wishes.only,
            without=self._wishes.without,
        )
        for placement in found:
            report = FolderReport(placement.folder.name, placement.mailbox)
            self.report.folders.append(report)
            try:
                report.messages, report.bytes = self._source.status(placement.folder.name)
            except SourceRefused as error:
                report.error = f"the source: {error}"
        return found

    def _folder(self, placement: Placement, report: FolderReport) -> None:
        try:
            self._messages(placement, report)
        except SourceRefused as error:
            report.error = f"the source: {error}"
        except FolderRenumbered:
            report.error = "the source numbered its messages anew meanwhile"
        except ApiError as error:
            if error.status != 422:  # the mailbox; the others may be fine
                raise
            report.error = "; ".join(each.message for each in error.faults) or str(error)

    def _messages(self, placement: Placement, report: FolderReport) -> None:
        name = placement.folder.name
        report.error = ""
        validity, uids = self._source.examine(name)
        taken = self._record.taken(name, validity)
        wanted = [uid for uid in uids if uid not in taken]
        report.messages, report.earlier = len(uids), len(uids) - len(wanted)
        self._watch.advanced(report.earlier)
        unique_ids: dict[int, str] = {}
        if wanted and self._account.pop3 is not None and placement.mailbox == INBOX:
            unique_ids = self._unique_ids(uids, wanted)
        batch = Batch(name, placement.mailbox)
        try:
            for page in batched(wanted, _PAGE, strict=False):
                for facts, size, pieces in self._read(page, report):
                    unique_id = unique_ids.get(facts.uid, "")
                    batch.add(facts, size, pieces, unique_id)
                    report.unique_ids += bool(unique_id)
                    if batch.is_full:
                        self._send(batch, report, taken)
                        batch = Batch(name, placement.mailbox)
                        if self._stop.is_set():
                            return
            if batch.uids:
                self._send(batch, report, taken)
        finally:
            batch.close()

    def _unique_ids(self, uids: Sequence[int], wanted: Sequence[int]) -> dict[int, str]:
        """Return the unique ids of messages of the open folder. The session comes after the list of
        UIDs, so that it has all of them."""
        held = self._source.sizes(uids)
        with pop3_session(self._account, self._way) as session:
            return match(
                session.listed(),
                {uid: held[uid] for uid in uids if uid in held},
                wanted,
                pop3_headers=session.headers,
                imap_headers=self._source.headers,
            )

    def _read(self, page: Sequence[int], report: FolderReport) -> Iterator[Read]:
        """Yield messages in the order of their UIDs."""
        found = self._all_facts(page, report)
        together: list[Facts] = []
        held = 0
        for uid in page:
            facts = found.get(uid)
            if facts is None:
                continue
            if facts.size >= LARGE:
                yield from self._small(together, report)
                together, held = [], 0
                yield from self._large(facts, report)
                continue
            together.append(facts)
            held += facts.size
            if held >= _TOGETHER_BYTES or len(together) >= _TOGETHER:
                yield from self._small(together, report)
                together, held = [], 0
        yield from self._small(together, report)

    def _all_facts(self, page: Sequence[int], report: FolderReport) -> dict[int, Facts]:
        """Return what is known of messages; one by one where the source refuses all at once."""
        try:
            found = self._source.facts(page)
        except SourceRefused as error:
            if len(page) == 1:
                self._refused(report, page[0], str(error))
                return {}
            return {
                uid: facts
                for each in page
                for uid, facts in self._all_facts([each], report).items()
            }
        skipped = len(page) - len(found)  # gone meanwhile
        if not self._wishes.with_deleted:
            kept = {uid: facts for uid, facts in found.items() if "T" not in facts.flags}
            skipped += len(found) - len(kept)
            found = kept
        self._watch.advanced(skipped)
        return found

    def _small(self, together: Sequence[Facts], report: FolderReport) -> Iterator[Read]:
        if not together:
            return
        found: dict[int, bytes] = {}
        reason = ""
        try:
            found = self._source.contents([facts.uid for facts in together])
        except SourceRefused as error:
            reason = str(error)
        if len(together) == 1 and not found:
            self._refused(report, together[0].uid, reason or "the source sent nothing of it")
            return
        for facts in together:
            if content := found.get(facts.uid):
                yield facts, len(content), iter((content,))
            else:
                yield from self._small([facts], report)

    def _large(self, facts: Facts, report: FolderReport) -> Iterator[Read]:
        with tempfile.TemporaryFile() as file:
            try:
                size = self._source.copy(facts.uid, file)
            except SourceRefused as error:
                self._refused(report, facts.uid, str(error))
                return
            file.seek(0)
            yield facts, size, iter(lambda: file.read(_PIECE), b"")

    def _refused(self, report: FolderReport, uid: int, reason: str) -> None:
        self.report.fail(report, [Failure(report.folder, uid, f"the source: {reason}")], 1)
        self._watch.advanced(1)

    def _send(self, batch: Batch, report: FolderReport, taken: UidSet) -> None:
        try:
            summary = batch.send(self._api, self._account.target, self._stop.wait)
        finally:
            batch.close()
        failures = batch.failures(summary)
        report.imported += summary["imported"]
        report.duplicates += summary["duplicates"]
        self.report.imported_bytes += summary["imported_bytes"]
        self.report.fail(report, failures, summary["failed"])
        if summary["failed"] <= len(failures):  # else it is not known which have arrived
            failed = {failure.uid for failure in failures}
            taken.update(uid for uid in batch.uids if uid not in failed)
            self._record.save()
        self._watch.advanced(len(batch.uids))
