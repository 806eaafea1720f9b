"""What the API decides about a message that a program hands in: the checks of submission, over a
key in place of a login.

Rules:

- Who is named as sender and as author must be an account or alias in a domain that the caller's key
  reaches.
- 202 is said after the ingest stream has taken the message (promise 1). A large body is in the blob
  store before.
- A message is charged to the key, and to every account, domain and tenant in whose name it goes,
  out of what these may send by any door.
- The message is made of the request and its id alone: a repeat under the same id is the same
  bytes, which delivery knows again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.directory_entry import RecipientStatus
from posthorn.model.envelope import Body, Envelope
from posthorn.model.events import ACCEPTED, Event, head_fields
from posthorn.ports.accounts import Account, AccountState
from posthorn.ports.administration import Administration
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.blobs import Blobs
from posthorn.ports.directory import Directory, DirectoryBehind, DirectoryWithPostmasters
from posthorn.ports.domains import Domain, SendingRules
from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn.ports.events import Events
from posthorn.ports.ingest import Ingest
from posthorn.ports.sending import (
    SENDING_SECONDS,
    Charge,
    Limits,
    RateLimitSubject,
    Throttle,
    most_recipients,
    sent_message,
)
from posthorn.runtime import traces
from posthorn.runtime.bodies import BodyStore
from posthorn.runtime.postmasters import LOCAL_PART, Postmasters
from posthorn.wire.address import Address
from posthorn.wire.message.before_header import header_first
from posthorn.wire.message.header import SCAN_LIMIT, scan_header
from posthorn.wire.message.header_form import needs_utf8
from posthorn.wire.message.seven_bit import with_short_lines
from posthorn.wire.message.submission import HEADER_LIMIT, HeaderError, complete
from posthorn.wire.message.trace import Hop, mail_date, received, return_path
from posthorn_api.http.problems import RateLimited
from posthorn_api.pending import Pending
from posthorn_api.sending.compose import Draft, Mailbox, compose, crlf_lines

log = structlog.get_logger()

STORE_SECONDS = 60.0
"""How long the blob store may take for one large message."""
_MOST_HOPS = 50

_accepted = Counter("posthorn_api_sent_total", "Messages taken from programs")
_accepted_octets = Counter("posthorn_api_sent_bytes_total", "Bytes of those messages, as stored")

_REFUSALS = {
    RecipientStatus.UNKNOWN: "there is no such address",
    RecipientStatus.OVER_QUOTA: "the mailbox is full",
    RecipientStatus.SUSPENDED: "the account takes no mail now",
}


async def _standing(directory: Directory, address: Address) -> RecipientStatus:
    """Return what the directory says. Delivery asks Postgres again, so an address that may be
    elsewhere counts as elsewhere."""
    try:
        return await directory.standing(address)
    except DirectoryBehind as behind:
        if behind.standing is not RecipientStatus.FOREIGN:
            raise
        return behind.standing


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient, with the field of the request that names it."""

    where: str
    mailbox: Mailbox


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What is to be sent: a draft, or the bytes of a whole message."""

    sender: Mailbox
    recipients: Sequence[Recipient]
    content: Draft | bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is kept."""

    id: UUID
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendingLimits:
    """Bounds of what is sent, and the name it is sent by."""

    hostname: str = "localhost"
    max_size: int = 40 * 1024 * 1024
    """Bytes of the finished message."""
    max_recipients: int = 100
    messages_per_hour: int = 10_000
    """By one key."""
    inline: int = 512 * 1024
    """Stored bytes up to which a message rides in the stream."""
    account: Limits = field(default_factory=Limits)
    """Of an account that has none of its own."""
    postmaster: str | None = None
    """Address for postmasters who have none; see ``posthorn.runtime.postmasters``."""


@dataclass(frozen=True, slots=True)
class _Author:
    """Who is named as sender or author."""

    domain: Domain
    account: Account | None
    """None for an alias."""


class SendingService:
    """Takes messages from programs. Raises ValidationFailed and RateLimited for the caller's
    faults, Unavailable for ours."""

    def __init__(
        self,
        administration: Administration,
        throttle: Throttle,
        blobs: Blobs,
        directory: Pending[DirectoryWithPostmasters],
        ingest: Pending[Ingest],
        events: Events,
        limits: SendingLimits = SendingLimits(),
    ) -> None:
        self._administration = administration
        self._throttle = throttle
        self._bodies = BodyStore(blobs, limits.inline, STORE_SECONDS)
        self._directory = directory
        self._ingest = ingest
        self._events = events
        self._limits = limits
        self._postmasters = Postmasters(limits.postmaster, limits.hostname)

    async def send(self, caller: ApiKey, number: UUID, wish: SendRequest, client: str) -> Sent:
        """Check the message and keep it under this id. ``client`` is the caller's IP address,
        for the trace."""
        ingest, directory = self._ingest.get(), self._directory.get()
        named = [await self._judge_author(caller, "from", wish.sender.address)]
        recipients = await self._judge_recipients(directory, wish.recipients)
        at = (number.int >> 80) / 1000
        made = await asyncio.to_thread(self._make, wish, number, at, recipients)
        others = [
            author for author in (*made.authors, *made.senders) if author != wish.sender.address
        ]
        named += [await self._judge_author(caller, made.field, author) for author in others]
        if wait := await self._throttle.take(self._costs(caller, named, len(recipients))):
            raise RateLimited(
                "the key or who sends by it has sent as much as it may in an hour",
                wait,
            )
        size, head = len(made.octets), made.facts.return_path_octets
        envelope = Envelope(
            id=number,
            received_at=time.time(),
            reverse_path=wish.sender.written,
            recipients=recipients,
            body=made.facts,
            summary=scan_header(made.octets[head : head + SCAN_LIMIT]).summary,
            blob=self._bodies.blob(number, size),
            client_address=client,
            protocol="HTTP",
            role="send",
            smtputf8=made.smtputf8,
            submitter=f"key:{caller.name}",
            tenant=caller.tenant or named[0].domain.tenant_id,
            signer=made.authors[0].domain,
        )
        if envelope.blob is not None:
            await self._bodies.store(envelope.blob, made.octets, size)
        await ingest.accept(envelope, None if envelope.blob else made.octets)
        self._tell(envelope)
        return Sent(number, recipients)

    def _costs(self, caller: ApiKey, named: Sequence[_Author], recipients: int) -> list[Charge]:
        """What a message is charged. Raises ValidationFailed when somebody who is named may
        never have so many recipients."""
        payers: dict[str, RateLimitSubject] = {}
        for author in named:
            domain, account = author.domain, author.account
            payers[domain.name] = RateLimitSubject("domain", domain.name, _limits(domain.sending))
            payers[str(domain.tenant_id)] = RateLimitSubject(
                "tenant", str(domain.tenant_id), _limits(domain.tenant_sending)
            )
            if account is not None:
                limits = _limits(account.sending).within(self._limits.account)
                payers[account.address] = RateLimitSubject("account", account.address, limits)
        most = most_recipients(payers.values())
        if most is not None and recipients > most[0]:
            raise ValidationFailed(
                FieldError(
                    "to",
                    f"{most[1]} may send to {most[0]} recipients an hour, and here are {recipients}",
                )
            )
        by_key = Charge(
            f"messages-key:{caller.id}", self._limits.messages_per_hour, SENDING_SECONDS
        )
        return [by_key, *sent_message(payers.values(), recipients)]

    def _tell(self, envelope: Envelope) -> None:
        if traces.tracer is not None and traces.tracer.samples(envelope.id):
            about = traces.receipt(
                envelope.role,
                envelope.body.size,
                envelope.reverse_path,
                envelope.recipients,
                202,
            )
            began = int(envelope.received_at * 1e9)
            traces.tracer.span(traces.RECEIVE, envelope.id, began, about)
        _accepted.inc()
        _accepted_octets.inc(envelope.body.size)
        log.info(
            "accepted",
            message=str(envelope.id),
            size=envelope.body.size,
            recipients=len(envelope.recipients),
            submitter=envelope.submitter,
        )
        detail = {
            "service": "api",
            "client": envelope.client_address,
            "recipients": len(envelope.recipients),
            "size": envelope.body.size,
            "account": envelope.submitter,
            "tenant": None if envelope.tenant is None else str(envelope.tenant),
            **head_fields(envelope.reverse_path, envelope.summary),
            "to": list(envelope.recipients),
        }
        self._events.record(Event(envelope.id, envelope.received_at, ACCEPTED, detail))

    async def _judge_author(self, caller: ApiKey, where: str, author: Address) -> _Author:
        """Return who it is. Raises ValidationFailed unless it is an account or alias that the
        caller may send for."""
        try:
            domain = await self._administration.domain(caller.tenant, author.domain)
        except NotFound:
            raise ValidationFailed(
                FieldError(where, f"{author.domain} is not a domain that this key may send for")
            ) from None
        if domain.verified_at is None:
            raise ValidationFailed(
                FieldError(
                    where, f"{author.domain} cannot send mail until its ownership is verified"
                )
            )
        names = [str(author)]
        if domain.plus_addressing and author.base is not None:
            names.append(str(author.base))
        for name in names:
            try:
                account = await self._administration.account(caller.tenant, name)
            except NotFound:
                try:
                    await self._administration.alias(caller.tenant, name)
                except NotFound:
                    continue
                return _Author(domain, None)
            if account.state is not AccountState.ACTIVE:
                raise ValidationFailed(
                    FieldError(
                        where, f"the account {name} may not send: it is {account.state.value}"
                    )
                )
            return _Author(domain, account)
        raise ValidationFailed(FieldError(where, f"there is no account or alias {author}"))

    async def _find(
        self, directory: DirectoryWithPostmasters, address: Address
    ) -> tuple[Address, RecipientStatus]:
        """Return whose the mail for an address is, as smtp-in has it, and the standing."""
        standing = await _standing(directory, address)
        if standing is RecipientStatus.UNKNOWN and address.local == LOCAL_PART:
            async for other in self._postmasters.candidates(directory, address.domain):
                found = await _standing(directory, other)
                if found not in (RecipientStatus.UNKNOWN, RecipientStatus.FOREIGN):
                    return other, found
        return address, standing

    async def _judge_recipients(
        self, directory: DirectoryWithPostmasters, wanted: Sequence[Recipient]
    ) -> tuple[str, ...]:
        if not wanted:
            raise ValidationFailed(FieldError("to", "at least one recipient is needed"))
        if len(wanted) > self._limits.max_recipients:
            raise ValidationFailed(
                FieldError("to", f"at most {self._limits.max_recipients} recipients are allowed")
            )
        judged = await asyncio.gather(
            *(self._find(directory, each.mailbox.address) for each in wanted)
        )
        faults = [
            FieldError(each.where, f"{each.mailbox.address}: {_REFUSALS[standing]}")
            for each, (_, standing) in zip(wanted, judged, strict=True)
            if standing in _REFUSALS
        ]
        if faults:
            raise ValidationFailed(*faults)
        found: dict[str, str] = {}
        for each, (address, standing) in zip(wanted, judged, strict=True):
            canonical = str(address)
            found.setdefault(
                canonical,
                each.mailbox.written if standing is RecipientStatus.FOREIGN else canonical,
            )
        return tuple(found.values())

    def _make(self, wish: SendRequest, number: UUID, at: float, recipients: Sequence[str]) -> _Made:
        """Bring the message into its stored form. Runs in a thread: a large one takes a good
        part of a second."""
        if isinstance(wish.content, bytes):
            content, where, bulk = crlf_lines(wish.content), "raw", "raw"
            content = header_first(content, more=False) or content
        else:
            content, where, bulk = compose(wish.content, number), "from", "attachments"
        header, _, text = content.partition(b"\r\n\r\n")
        if len(header) > HEADER_LIMIT:
            raise ValidationFailed(
                FieldError(where, f"the header is larger than {HEADER_LIMIT} bytes")
            )
        try:
            submitted = complete(
                header, date=mail_date(at), message_id=f"<{number}@{wish.sender.address.domain}>"
            )
        except HeaderError as error:
            raise ValidationFailed(FieldError(where, str(error))) from None
        if not submitted.authors:
            raise ValidationFailed(
                FieldError(where, "; ".join(filter(None, (submitted.fault, submitted.advice))))
            )
        if b"\0" in content:
            raise ValidationFailed(FieldError(where, "the message contains NUL characters"))
        if scan_header(submitted.block).received > _MOST_HOPS:
            raise ValidationFailed(
                FieldError(
                    where, f"the message has more than {_MOST_HOPS} Received fields: mail loop"
                )
            )
        if text and not text.endswith(b"\r\n"):
            text += b"\r\n"
        path = return_path(wish.sender.written)
        hop = Hop("", "", self._limits.hostname, "HTTP", withheld=True)
        only = recipients[0] if len(recipients) == 1 else None
        data = b"".join(
            (path, received(hop, str(number), only, at), submitted.block, b"\r\n", text)
        )
        if len(data) > self._limits.max_size:
            raise ValidationFailed(
                FieldError(
                    bulk,
                    f"the message has {len(data)} bytes; at most {self._limits.max_size} are allowed",
                )
            )
        data = with_short_lines(data)  # what is signed must be what travels
        names = (wish.sender.written, *recipients)
        return _Made(
            data,
            Body.from_message(data, len(path)),
            submitted.authors,
            submitted.senders,
            where,
            smtputf8=needs_utf8(submitted.block) or not all(name.isascii() for name in names),
        )


def _limits(rules: SendingRules) -> Limits:
    return Limits(rules.max_messages_per_hour, rules.max_recipients_per_hour)


@dataclass(frozen=True, slots=True)
class _Made:
    octets: bytes
    facts: Body
    authors: tuple[Address, ...]
    senders: tuple[Address, ...]
    field: str
    smtputf8: bool
