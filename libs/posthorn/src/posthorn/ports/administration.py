"""Administration: what the REST API asks of the metadata store.

Rules:

- Every method takes the caller's ``tenant``; None is the whole platform. What belongs to another tenant does not exist for the
  caller, so that no answer tells of it.
- Addresses and domain names are in canonical form (``wire.address``).
- A change that the directory must show writes its outbox entries in the same transaction and names them in ``Change.marks``.
- Lists are pages by key: ``after`` is the last key of the page before, so that no item is skipped or doubled while others come
  and go.
- Every method raises Unavailable for faults of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from posthorn.ports.maildrops import Location


class Role(Enum):
    """What a key may do."""

    PLATFORM_ADMIN = "platform-admin"
    TENANT_ADMIN = "tenant-admin"
    READ_ONLY = "read-only"
    SEND_ONLY = "send-only"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is known; the key itself is kept nowhere."""

    id: UUID
    name: str
    role: Role
    tenant: UUID | None
    """None: the whole platform."""


class State(Enum):
    """What an account may do."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Takes no mail and may not log in."""
    RECEIVE_ONLY = "receive-only"
    """Takes mail and may be read, may not send."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    """What an account or a domain may send, and from where; None: as the domain, or as the settings say."""

    max_messages_per_hour: int | None = None
    max_recipients_per_hour: int | None = None
    allowed_networks: tuple[str, ...] | None = None
    """CIDR networks that mail may be submitted from."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of ours."""

    name: str
    tenant: str
    """Name of the tenant."""
    catch_all: str | None
    plus_addressing: bool
    created_at: datetime
    updated_at: datetime
    sending: SendingRules = SendingRules()
    tenant_id: UUID | None = None
    """Always known of a domain that the store gives."""


@dataclass(frozen=True, slots=True)
class Account:
    """A mailbox owner."""

    address: str
    quota_bytes: int | None
    """None: unlimited."""
    used_bytes: int
    used_messages: int
    state: State
    created_at: datetime
    updated_at: datetime
    sending: SendingRules = SendingRules()


@dataclass(frozen=True, slots=True)
class Alias:
    """An address that leads to others."""

    address: str
    targets: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """An entry of a mailbox with what listings show of its message."""

    id: UUID
    mailbox: str
    uid: int
    size: int
    """Octets, exactly as POP3 says."""
    received_at: datetime
    from_: str
    subject: str
    date: str
    message_id: str
    reverse_path: str
    flags: int
    """Bits: 1 seen, 2 answered, 4 flagged, 8 deleted, 16 draft."""
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewDomain:
    """A domain to be made."""

    name: str
    tenant: str | None = None
    """Name or id of the tenant; None: the caller's, or ``default``."""
    catch_all: str | None = None
    plus_addressing: bool = True


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made, with INBOX, Junk, Sent and Trash."""

    address: str
    password_hash: str
    quota_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of a request."""

    field: str
    """As the caller wrote it: ``address``, ``targets[1]``."""
    message: str


class Missing(Exception):  # noqa: N818 - it names the state
    """There is no such object, or none that the caller may see."""


class Conflict(Exception):  # noqa: N818 - it names the state
    """The state of other objects forbids it; the text, for the caller, names them."""


class Unfit(Exception):  # noqa: N818 - it names the state
    """The values cannot be taken."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Change[T]:
    """What a write made."""

    value: T
    marks: tuple[int, ...] = ()
    """Its entries of the directory outbox; see DirectoryTruth.published."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reservation:
    """An Idempotency-Key in use: while it runs, a repeat is refused; when it is done, a repeat gets the stored answer."""

    api_key: UUID
    key: str
    request_hash: bytes
    holder: UUID
    """This very attempt, so that one taken for dead cannot finish beside the one that took over."""


@dataclass(frozen=True, slots=True)
class Receipt[T]:
    """Has a creation store its own answer in its transaction, so that not even a crash just after it loses the answer."""

    reservation: Reservation
    render: Callable[[T], Answer]


class Administration(Protocol):
    """Domains, accounts and aliases."""

    async def create_domain(
        self, tenant: UUID | None, new: NewDomain, receipt: Receipt[Domain] | None = None
    ) -> Change[Domain]:
        """Make a domain. Raises Conflict when the name is taken, Unfit for an unknown tenant or catch-all."""
        ...

    async def domains(self, tenant: UUID | None, after: str, limit: int) -> Sequence[Domain]:
        """List by name."""
        ...

    async def domain(self, tenant: UUID | None, name: str) -> Domain:
        """Give one. Raises Missing."""
        ...

    async def change_domain(self, tenant: UUID | None, name: str, changes: Mapping[str, object]) -> Change[Domain]:
        """Set ``catch_all``, ``plus_addressing`` or the fields of SendingRules. Raises Missing, Unfit."""
        ...

    async def delete_domain(self, tenant: UUID | None, name: str) -> Change[None]:
        """Remove it. Raises Missing; Conflict while it has accounts or aliases: no mail is orphaned."""
        ...

    async def create_account(
        self, tenant: UUID | None, new: NewAccount, receipt: Receipt[Account] | None = None
    ) -> Change[Account]:
        """Make an account and its folders; each uidvalidity is greater than any an account of this address has had.

        Raises Unfit when the domain is not there, Conflict when an account or alias has the address.
        """
        ...

    async def accounts(self, tenant: UUID | None, domain: str | None, after: str, limit: int) -> Sequence[Account]:
        """List by address, of one domain or of all."""
        ...

    async def account(self, tenant: UUID | None, address: str) -> Account:
        """Give one. Raises Missing."""
        ...

    async def change_account(self, tenant: UUID | None, address: str, changes: Mapping[str, object]) -> Change[Account]:
        """Set ``password_hash``, ``quota_bytes``, ``state`` or the fields of SendingRules. Raises Missing."""
        ...

    async def delete_account(self, tenant: UUID | None, address: str) -> Change[None]:
        """Remove it with its mail, dropping the references exactly. Raises Missing; Conflict while an alias or a catch-all leads
        to it."""
        ...

    async def create_alias(
        self, tenant: UUID | None, address: str, targets: Sequence[str], receipt: Receipt[Alias] | None = None
    ) -> Change[Alias]:
        """Make an alias. Raises Unfit (``address``: no such domain; ``targets[i]``: nobody there, or a loop) and Conflict."""
        ...

    async def aliases(self, tenant: UUID | None, domain: str | None, after: str, limit: int) -> Sequence[Alias]:
        """List by address, of one domain or of all."""
        ...

    async def alias(self, tenant: UUID | None, address: str) -> Alias:
        """Give one. Raises Missing."""
        ...

    async def change_alias(self, tenant: UUID | None, address: str, targets: Sequence[str]) -> Change[Alias]:
        """Set the targets. Raises Missing, Unfit."""
        ...

    async def delete_alias(self, tenant: UUID | None, address: str) -> Change[None]:
        """Remove it. Raises Missing; Conflict while another alias or a catch-all leads to it."""
        ...

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version."""
        ...


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A password of an account for one program; the password itself is kept nowhere."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    """``smtp`` and ``pop3``: what it may be used for."""
    created_at: datetime
    last_used_at: datetime | None = None
    """Exact to a minute."""


class AppPasswords(Protocol):
    """App passwords of accounts. Every method raises Missing when there is no such account."""

    async def create(
        self,
        tenant: UUID | None,
        address: str,
        made: AppPassword,
        key_hash: bytes,
        receipt: Receipt[AppPassword] | None = None,
    ) -> AppPassword:
        """Enter one under the SHA-256 of the password."""
        ...

    async def items(self, tenant: UUID | None, address: str, after: UUID | None, limit: int) -> Sequence[AppPassword]:
        """List by id, which is by time."""
        ...

    async def remove(self, tenant: UUID | None, address: str, number: UUID) -> None:
        """Take one away: it is refused from now on."""
        ...


class AccountMail(Protocol):
    """The mail of an account, as an administrator sees it."""

    async def messages(
        self, tenant: UUID | None, address: str, mailbox: str, before: int | None, limit: int
    ) -> Sequence[Message]:
        """List a mailbox, newest uid first, below ``before``. Raises Missing: no such account or mailbox."""
        ...

    async def message(self, tenant: UUID | None, address: str, message: UUID) -> tuple[Message, Location]:
        """Give one with the place of its octets. Raises Missing."""
        ...

    async def delete_message(self, tenant: UUID | None, address: str, message: UUID) -> Change[None]:
        """Take the message out of every mailbox of the account, dropping quota and references exactly. Raises Missing."""
        ...


class ApiKeys(Protocol):
    """Keys by the SHA-256 of what the caller shows; a key of 256 random bits needs no slow hash."""

    async def by_hash(self, key_hash: bytes) -> ApiKey | None:
        """Look a key up."""
        ...

    async def ensure_bootstrap(self, key_hash: bytes) -> None:
        """Make this the key named ``bootstrap``, a platform admin's, in the place of any earlier one."""
        ...


class IdempotencyClash(Exception):  # noqa: N818 - it names what happened
    """The Idempotency-Key cannot be used for this request."""

    def __init__(self, *, running: bool) -> None:
        super().__init__("still running" if running else "used for another request")
        self.running = running
        """True: the first request with it still runs. False: it belongs to another request."""


class Idempotency(Protocol):
    """Answers to requests that carry an Idempotency-Key, for 24 hours."""

    async def reserve(self, reservation: Reservation) -> Answer | None:
        """Take the key for a request. Gives the stored answer when the same request was answered before, else None: do it now.

        Raises IdempotencyClash. A request that was begun but not answered within a minute is taken for dead, and its key for free.
        """
        ...

    async def complete(self, reservation: Reservation, answer: Answer) -> None:
        """Store the answer, unless one is stored already."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Free the key, since the request came to nothing. An answer that is stored stays."""
        ...

    async def first_attempt(self, reservation: Reservation) -> UUID:
        """Give the ``holder`` of the first attempt at this request: the same for each attempt, whatever became of those before."""
        ...

    async def suspend(self, reservation: Reservation) -> None:
        """Free the key for another attempt at the same request, and for no other: this one may have come to something, though
        nobody can say so. The next one gets the same ``first_attempt``."""
        ...

    async def expire(self) -> int:
        """Forget what is older than 24 hours; gives how many."""
        ...
