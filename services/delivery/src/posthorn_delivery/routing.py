"""Routing: the destinations of each recipient of a message, from what Postgres holds about the
addresses.

Rules:

- A local address leads to mailboxes here, to addresses elsewhere, or both. A message that an alias
  forwards elsewhere gets a reverse-path of the alias's domain (SRS), since SPF of its sender's
  domain does not list this host; the null reverse-path stays. A sender too long to be rewritten is
  stored, and the reverse-path names it by a token (ADR 27).
- A reverse-path rewritten here is resolved to its original (``srs_originals``).
- Recipients elsewhere are accepted only from an authenticated source.
- A recipient deleted since RCPT is bounced to the sender, unless the reverse-path is null or the
  sender wanted no DSN: then it is dropped (RFC 5321 §6.1, RFC 3461 §5.2).
- A success DSN is due for a recipient in a mailbox here if it was requested. An address that leads
  to one address elsewhere passes the DSN parameters on; one that leads to several is reported as
  expanded instead (RFC 3461 §5.2.7).
- An address that is reached twice gets one copy; the DSN parameters of the explicit recipient win.
- A message that carries the mark of an alias has been forwarded by it before (``wire.passed``): it
  loops, is not forwarded by that alias again, and is bounced, once for each original recipient.
- A target that is suppressed or has not confirmed gets nothing. A closed row in the queue records
  it for the alias's owner; the sender gets a bounce only when an address has no other destination
  and its targets have not confirmed.
- For unauthenticated senders no success is reported and no body is returned (ADR 20).
- The expansion of a message's aliases is bounded: beyond ``AT_ONCE`` addresses they are expanded
  later, in slices, and are queued meanwhile under their own addresses (ADR 19).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from uuid import UUID

from posthorn.model.envelope import Envelope
from posthorn.model.outbound import Notify, Outbound, QueueState, RecipientDsn
from posthorn.ports.mailboxes import Forward, Resolution
from posthorn.wire.message.dsn import Action
from posthorn.wire.message.passed import fields_of, has_passed
from posthorn.wire.srs import SrsError, rewrite, rewrite_long, tag_of, token_of
from posthorn_delivery.srs_originals import day_of

GONE_STATUS = "5.1.1"
GONE_REPLY = "550 5.1.1 user unknown; the mailbox does not exist any more"
LOOP_STATUS = "5.4.6"
LOOP_REPLY = "554 5.4.6 the message has been forwarded by this alias before: it loops"
_WITHHELD = {
    "suppressed": (
        "5.7.1",
        "550 5.7.1 the address is on the suppression list of the alias's owner",
    ),
    "unconfirmed": (
        "5.7.1",
        "550 5.7.1 the address has not confirmed that mail may be forwarded to it",
    ),
}
_OUTWARD = frozenset({"submission", "send", "notice"})
AT_ONCE = 200
"""Addresses that the aliases of one message are expanded to with its batch."""


@dataclass(frozen=True, slots=True)
class Routes:
    """The recipients of a message, by destination."""

    accounts: tuple[int, ...]
    local: tuple[str, ...]
    """Recipients that have mailboxes here."""
    outbound: tuple[Outbound, ...]
    tenant: UUID | None
    """Tenant that owns the outbound recipients."""
    dropped: tuple[str, ...]
    """Deleted recipients for which no DSN is sent."""
    reached: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The accounts of each of ``local``."""

    @property
    def queued(self) -> tuple[str, ...]:
        """Recipients elsewhere, as the sender addressed them: the targets of an alias are not
        disclosed."""
        queued = (
            each for each in self.outbound if each.state in (QueueState.QUEUED, QueueState.HELD)
        )
        return tuple(dict.fromkeys(each.original or each.recipient for each in queued))

    @property
    def wide(self) -> bool:
        """Whether an alias is left to be expanded."""
        return any(each.state is QueueState.HELD for each in self.outbound)

    @property
    def destinations(self) -> set[str]:
        """Where something is due now."""
        return {each.destination for each in self.outbound if each.state is QueueState.QUEUED}


def route(
    envelope: Envelope,
    resolution: Resolution,
    originals: Mapping[str, tuple[str, ...]],
    keys: Sequence[bytes],
    at_once: float = AT_ONCE,
    *,
    is_slice: bool = False,
) -> Routes:
    """Route the recipients. ``resolution`` covers them and the addresses in ``originals``;
    ``keys``: SRS keys, the current one first.

    ``at_once``: maximum of addresses that the message's aliases are expanded to now. ``is_slice``:
    the resolution covers only part of a recipient's targets, so that it cannot show that none is
    left.
    """
    found = _Found(sender=envelope.tenant, room=at_once)
    headers: dict[str, str] = {}
    for recipient in envelope.recipients:
        dsn = _honoured(envelope, recipient)
        address = recipient
        for behind in originals.get(recipient, ()):
            if address in resolution.elsewhere:
                break
            address = behind
        if address in resolution.elsewhere:
            if address != recipient:
                returned = Outbound(
                    address, _domain(address), envelope.reverse_path, recipient, dsn
                )
                found.enqueue(replace(returned, returns=envelope.role not in _OUTWARD))
            elif envelope.role in _OUTWARD:
                found.enqueue(Outbound(address, _domain(address), envelope.reverse_path, dsn=dsn))
            else:
                found.bounce(envelope, recipient, dsn)
            continue
        accounts, forwards = (
            resolution.accounts.get(address, ()),
            resolution.forwards.get(address, ()),
        )
        several = len(accounts) + len(forwards) if len(accounts) + len(forwards) > 1 else 0
        if address in resolution.wide or several > found.room:
            found.expand(envelope, address, recipient, dsn)
            continue
        found.room -= several
        if not accounts and not forwards:
            found.bounce(envelope, recipient, dsn)
            continue
        found.accounts |= dict.fromkeys(accounts)
        if accounts:
            found.local.append(recipient)
            found.reached[recipient] = accounts
        forwards = tuple(
            found.allowed_forwards(
                envelope, recipient, dsn, forwards, keys, alone=not (accounts or is_slice)
            )
        )
        if (
            envelope.reverse_path
            and dsn.wants(Action.DELIVERED)
            and (accounts or len(forwards) > 1)
        ):
            found.success_dsn(envelope, recipient, dsn, expanded=len(accounts) + len(forwards) > 1)
            dsn = _without_success(dsn)
        for forward in forwards:
            found.tenant = found.tenant or forward.tenant
            if keys and forward.alias not in headers:
                headers[forward.alias] = fields_of(forward.alias, keys[0])
            reverse_path, token = _rewritten(envelope, forward, keys)
            found.enqueue(
                Outbound(
                    forward.address,
                    _domain(forward.address),
                    reverse_path,
                    recipient,
                    dsn,
                    tenant=forward.tenant,
                    alias=forward.alias,
                    long_token=token,
                    header=headers.get(forward.alias, ""),
                )
            )
    return Routes(
        tuple(found.accounts),
        tuple(found.local),
        (*found.queued.values(), *found.wide.values(), *found.ended),
        envelope.tenant or found.tenant,
        tuple(found.dropped),
        found.reached,
    )


@dataclass(slots=True)
class _Found:
    accounts: dict[int, None] = field(default_factory=dict)
    local: list[str] = field(default_factory=list)
    reached: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sender: UUID | None = None
    """The submitter's tenant."""
    queued: dict[tuple[UUID | None, str], Outbound] = field(default_factory=dict)
    """By tenant and address: forwards of two tenants to one address stay separate, so that each
    can hold or cancel its own."""
    room: float = AT_ONCE
    """Addresses to which aliases may still be expanded."""
    wide: dict[str, Outbound] = field(default_factory=dict)
    """Aliases that are left to be expanded in slices."""
    ended: list[Outbound] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    tenant: UUID | None = None

    def enqueue(self, outbound: Outbound) -> None:
        key = (outbound.tenant or self.sender, outbound.recipient.lower())
        there = self.queued.get(key)
        if there is None or (there.original and not outbound.original):
            self.queued[key] = outbound

    def allowed_forwards(
        self,
        envelope: Envelope,
        recipient: str,
        dsn: RecipientDsn,
        forwards: Sequence[Forward],
        keys: Sequence[bytes],
        *,
        alone: bool,
    ) -> Sequence[Forward]:
        """Return the permitted forwards; record why others are not. ``alone``: the recipient has
        no other destination."""
        ways: list[Forward] = []
        looping, unconfirmed = None, None
        for forward in forwards:
            if forward.withheld:
                self._withhold(envelope, recipient, forward)
                unconfirmed = forward if forward.withheld == "unconfirmed" else unconfirmed
            elif has_passed(forward.alias, envelope.passed, keys):
                looping = forward
            else:
                ways.append(forward)
        if looping is not None:
            self._refuse(envelope, recipient, dsn, looping, LOOP_STATUS, LOOP_REPLY)
        elif unconfirmed is not None and alone and not ways:
            self._refuse(envelope, recipient, dsn, unconfirmed, *_WITHHELD["unconfirmed"])
        return ways

    def _withhold(self, envelope: Envelope, recipient: str, forward: Forward) -> None:
        status, reply = _WITHHELD[forward.withheld]
        self.tenant = self.tenant or forward.tenant
        self.ended.append(
            Outbound(
                forward.address,
                _domain(forward.address),
                envelope.reverse_path,
                recipient,
                state=QueueState.BOUNCED,
                status=status,
                reply=reply,
                tenant=forward.tenant,
            )
        )

    def _refuse(
        self,
        envelope: Envelope,
        recipient: str,
        dsn: RecipientDsn,
        forward: Forward,
        status: str,
        reply: str,
    ) -> None:
        """Refuse to forward a recipient. Its sender gets a bounce, if any may be sent; a closed
        row records it either way."""
        told = Action.FAILED if envelope.reverse_path and dsn.wants(Action.FAILED) else None
        self.tenant = self.tenant or forward.tenant
        self._end(envelope, recipient, dsn, QueueState.BOUNCED, status, reply, told, forward.tenant)

    def expand(self, envelope: Envelope, address: str, recipient: str, dsn: RecipientDsn) -> None:
        if envelope.reverse_path and dsn.wants(Action.DELIVERED):
            self.success_dsn(envelope, recipient, dsn, expanded=True)
            dsn = _without_success(dsn)
        original = "" if address == recipient else recipient
        waits = Outbound(
            address, _domain(address), envelope.reverse_path, original, dsn, QueueState.HELD
        )
        self.wide.setdefault(address, replace(waits, reply="to be expanded"))

    def bounce(self, envelope: Envelope, recipient: str, dsn: RecipientDsn) -> None:
        if envelope.reverse_path and dsn.wants(Action.FAILED):
            self._end(
                envelope, recipient, dsn, QueueState.BOUNCED, GONE_STATUS, GONE_REPLY, Action.FAILED
            )
        else:
            self.dropped.append(recipient)

    def success_dsn(
        self, envelope: Envelope, recipient: str, dsn: RecipientDsn, *, expanded: bool
    ) -> None:
        notice = Action.EXPANDED if expanded else Action.DELIVERED
        self._end(
            envelope,
            recipient,
            dsn,
            QueueState.DELIVERED,
            "2.1.5",
            f"250 2.1.5 {notice.value} here",
            notice,
        )

    def _end(
        self,
        envelope: Envelope,
        recipient: str,
        dsn: RecipientDsn,
        state: QueueState,
        status: str,
        reply: str,
        notice: Action | None,
        tenant: UUID | None = None,
    ) -> None:
        self.ended.append(
            Outbound(
                recipient,
                _domain(recipient),
                envelope.reverse_path,
                dsn=dsn,
                state=state,
                status=status,
                reply=reply,
                notice=notice,
                tenant=tenant,
            )
        )


def _honoured(envelope: Envelope, recipient: str) -> RecipientDsn:
    """Return the sender's DSN parameters, as far as they are honoured."""
    dsn = envelope.dsn.get(recipient, RecipientDsn())
    if envelope.role in _OUTWARD or not dsn.notify & Notify.SUCCESS:
        return dsn
    # the sender is unauthenticated: a requested DSN would go to whatever address it claims
    return _without_success(dsn)


def _without_success(dsn: RecipientDsn) -> RecipientDsn:
    """Return the DSN parameters without the success report, which is sent here."""
    return replace(dsn, notify=(dsn.notify & ~Notify.SUCCESS) or Notify.NEVER)


def _rewritten(envelope: Envelope, forward: Forward, keys: Sequence[bytes]) -> tuple[str, str]:
    """Return the reverse-path of a forward, and the token in it if the sender is to be stored."""
    sender, domain = envelope.reverse_path, _domain(forward.alias)
    if not keys:
        return "", ""
    day, tag = day_of(envelope), tag_of(envelope.id.bytes)
    try:
        return rewrite(sender, domain, keys[0], day, tag), ""
    except SrsError:
        with suppress(SrsError):
            return rewrite_long(sender, domain, keys[0], day, tag), token_of(sender)
        return "", ""


def _domain(address: str) -> str:
    return address.rpartition("@")[2]
