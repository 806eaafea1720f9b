"""What the API decides about the mail of accounts."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from posthorn.model.classification import Classification
from posthorn.model.events import CLASSIFIED, Event
from posthorn.ports.account_mail import (
    AccountMail,
    DeletedKey,
    DeletedMessage,
    FlagChange,
    Found,
    Mailbox,
    MailboxChange,
    Message,
    Which,
)
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.bodies import BodyReader
from posthorn.ports.classifications import Classifications, Classified
from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn.ports.events import Events
from posthorn.ports.idempotency import Receipt
from posthorn.ports.mailbox_view import MailboxView
from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.holders import present_holder
from posthorn.runtime.search_content import SearchContent
from posthorn.wire.imap.mailbox_names import InvalidNameError, normalise
from posthorn.wire.message.header_decoding import decode_addresses, decode_text
from posthorn_api.directory.fields import address_in
from posthorn_api.directory.publication import Publication, settled
from posthorn_api.mailboxes import content_search
from posthorn_api.mailboxes.structure import PartContent, Structure, content, scan
from posthorn_api.pending import Pending

LONGEST_NAME = 255
"""Bytes of a mailbox's name."""
_TAKEN = frozenset({"cur", "new", "tmp"})
_SCANS_AT_ONCE, _SCANS_AT_ONCE_EACH = 8, 4


class MailboxService:
    """Mailboxes and messages. Every method takes the caller's key and sees what its tenant sees.

    Raises ValidationFailed, NotFound and Conflict for the caller's faults, Unavailable for ours.
    """

    def __init__(
        self,
        mail: AccountMail,
        bodies: BodyReader,
        publication: Pending[Publication],
        classifications: Classifications,
        events: Events,
        view: MailboxView,
        *,
        wait_seconds: float = 2.0,
    ) -> None:
        self._mail = mail
        self._classifications = classifications
        self._events = events
        self._bodies = bodies
        self._view = view
        self._publication = publication
        self._wait_seconds = wait_seconds
        self._scans = FairSlots(
            "scans of messages", _SCANS_AT_ONCE, most_each=_SCANS_AT_ONCE_EACH, spare=2
        )

    async def mailboxes(self, caller: ApiKey, address: str) -> Sequence[Mailbox]:
        """List an account's mailboxes with their counts."""
        return await self._mail.mailboxes(caller.tenant, address_in("address", address))

    async def create_mailbox(
        self, caller: ApiKey, address: str, name: str, receipt: Receipt[Mailbox] | None
    ) -> Mailbox:
        """Make one."""
        address = address_in("address", address)
        return await self._mail.create_mailbox(
            caller.tenant, address, mailbox_in("name", name), receipt
        )

    async def change_mailbox(
        self, caller: ApiKey, address: str, name: str, change: MailboxChange
    ) -> Mailbox:
        """Rename one, or subscribe to it."""
        if change.name is not None:
            change = replace(change, name=mailbox_in("name", change.name))
        address = address_in("address", address)
        return await in_known_mailbox(
            name, lambda known: self._mail.change_mailbox(caller.tenant, address, known, change)
        )

    async def delete_mailbox(self, caller: ApiKey, address: str, name: str) -> None:
        """Remove one that is empty and the owner's own."""
        address = address_in("address", address)
        await in_known_mailbox(
            name, lambda known: self._mail.delete_mailbox(caller.tenant, address, known)
        )

    async def messages(
        self,
        caller: ApiKey,
        address: str,
        mailbox: str,
        which: Which,
        before: int | None,
        limit: int,
    ) -> Found:
        """List a mailbox, newest first: those that match, of a bounded number."""
        address = address_in("address", address)
        is_content = which.text is not None or which.body is not None
        most = content_search.EXAMINED if is_content else limit

        async def at(name: str) -> Found:
            return await self._mail.messages(caller.tenant, address, name, which, before, most)

        found = await in_known_mailbox(mailbox, at)
        found = replace(
            found, messages=[message for message in found.messages if _matches(message, which)]
        )
        if not is_content:
            return found
        async with self._scans.hold(present_holder()):
            content = SearchContent(self._view, self._bodies, *found.place)
            return await content_search.among(found, which, content, limit)

    async def message(self, caller: ApiKey, address: str, message: UUID) -> Message:
        """Return one."""
        found, _ = await self._mail.message(caller.tenant, address_in("address", address), message)
        return found

    async def raw(
        self, caller: ApiKey, address: str, message: UUID
    ) -> tuple[int, bytes, AsyncGenerator[bytes]]:
        """Return a message's size, its first bytes and the rest. A fault of the store shows
        before anything is answered."""
        address = address_in("address", address)
        attempts = 2  # a collector may move the bytes between the look-up and the read
        while True:
            attempts -= 1
            _, location = await self._mail.message(caller.tenant, address, message)
            pieces = self._bodies.stream(location)
            try:
                return location.size, await anext(pieces, b""), pieces
            except BlobMissing:
                if not attempts:
                    raise

    async def structure(self, caller: ApiKey, address: str, message: UUID) -> Structure:
        """Return what a message consists of."""
        async with self._scans.hold(present_holder()):
            size, first, rest = await self.raw(caller, address, message)
            return await scan(first, rest, size)

    async def part(
        self, caller: ApiKey, address: str, message: UUID, number: str, *, raw: bool
    ) -> PartContent:
        """Return a part of a message, decoded or ``raw``. A fault of the store shows before
        anything is answered."""
        found = (await self.structure(caller, address, message)).root.find(number)
        if found is None:
            raise NotFound(f"the message has no part {number[:80]}")
        _, first, rest = await self.raw(caller, address, message)
        return await content(first, rest, found, raw=raw)

    async def change_flags(
        self, caller: ApiKey, address: str, message: UUID, change: FlagChange
    ) -> Message:
        """Set flags and keywords."""
        return await self._mail.change_flags(
            caller.tenant, address_in("address", address), message, change
        )

    async def move_message(
        self, caller: ApiKey, address: str, message: UUID, mailbox: str
    ) -> Message:
        """Move a message into a mailbox."""
        address = address_in("address", address)
        return await in_known_mailbox(
            mailbox, lambda name: self._mail.move_message(caller.tenant, address, message, name)
        )

    async def classify(
        self,
        caller: ApiKey,
        address: str,
        message: UUID,
        wanted: Classification,
        *,
        move: bool,
    ) -> Classified:
        """Record what is said of a message, and move it accordingly."""
        address = address_in("address", address)
        done = await self._classifications.classify(
            caller.tenant, address, message, wanted, move=move
        )
        self._events.record(classified_event(address, done, caller.name))
        return done

    async def delete_message(self, caller: ApiKey, address: str, message: UUID) -> None:
        """Take a message out of an account's mailboxes."""
        change = await self._mail.delete_message(
            caller.tenant, address_in("address", address), message
        )
        await settled(self._publication, change, self._wait_seconds)

    async def deleted(
        self, caller: ApiKey, address: str, before: DeletedKey | None, limit: int
    ) -> Sequence[tuple[DeletedKey, DeletedMessage]]:
        """List what can be brought back."""
        return await self._mail.deleted(
            caller.tenant, address_in("address", address), before, limit
        )

    async def undelete_message(self, caller: ApiKey, address: str, message: UUID) -> Message:
        """Bring a message back."""
        change = await self._mail.undelete_message(
            caller.tenant, address_in("address", address), message
        )
        return await settled(self._publication, change, self._wait_seconds)


def classified_event(address: str, done: Classified, by: str) -> Event:
    """Return the event of a classification, for the trace of its message."""
    detail = {"account": address, "classification": done.classification.value, "by": by}
    return Event(done.message, time.time(), CLASSIFIED, detail)


def known_mailbox(name: str) -> str:
    """Return the name of a mailbox that should be there, in the form that IMAP gives it; a name
    that IMAP refuses as it is, for there is no such mailbox."""
    try:
        return normalise(name)
    except InvalidNameError:
        return name


async def in_known_mailbox[T](name: str, act: Callable[[str], Awaitable[T]]) -> T:
    """Do something in a mailbox of this very name, which releases before wrote as it came, or else
    in one of its normal form. Raises as ``act`` does."""
    normal = known_mailbox(name)
    if normal != name:
        with suppress(NotFound, ValidationFailed):
            return await act(name)
    return await act(normal)


def mailbox_in(field: str, name: str) -> str:
    """Return the name of a mailbox that may be made. Raises ValidationFailed."""
    name = known_mailbox(name)
    levels = name.split("/")
    problem = None
    if len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        problem = f"a name has at most {LONGEST_NAME} octets"
    elif any(not level.strip() or level != level.strip() for level in levels):
        problem = "a level is empty, or begins or ends with a space"
    elif any(level.startswith(".") or level in _TAKEN for level in levels):
        problem = "a level begins with a dot, or is cur, new or tmp, which a Maildir could not hold"
    elif any(character in '*%\\"' for character in name) or any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name
    ):
        problem = (
            "* % \\ and quotation marks, control characters and broken Unicode are not allowed"
        )
    if problem:
        raise ValidationFailed(FieldError(field, problem))
    return name


def _matches(message: Message, which: Which) -> bool:
    """Return whether the texts match once they are decoded; the store has seen to the rest."""
    if (
        which.from_ is not None
        and which.from_.lower() not in decode_addresses(message.from_).lower()
    ):
        return False
    return which.subject is None or which.subject.lower() in decode_text(message.subject).lower()
