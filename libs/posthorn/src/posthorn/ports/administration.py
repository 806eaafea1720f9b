"""Administration: what the REST API asks of the metadata store.

Rules:

- Every method takes the caller's ``tenant``; None is the whole platform. What belongs to another tenant does not exist for the
  caller, so that no answer tells of it.
- Addresses and domain names are in canonical form (``wire.address``).
- A change that the directory must show writes its outbox entries in the same transaction and names them in ``Change.marks``.
- Lists are pages by key: ``after`` is the last key of the page before, so that no item is skipped or doubled while others come
  and go.
- ``expected`` are the versions of the object that the caller means to change; None: any. It is checked in the transaction of the
  change, which raises Changed, so that of two changes of one version exactly one is made.
- A creation that goes over a limit of the tenant or the domain raises Conflict, or Unfit where a smaller value would do.
- Every change leaves a line in the audit log in its own transaction (``runtime.acting``).
- Every method raises Unavailable for faults of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID


class Role(Enum):
    """What a key may do."""

    PLATFORM_ADMIN = "platform-admin"
    TENANT_ADMIN = "tenant-admin"
    READ_ONLY = "read-only"
    SEND_ONLY = "send-only"
    ACCOUNT = "account"
    """Who logs in with the password of an account; no key has this role."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is known; the key itself is kept nowhere."""

    id: UUID
    name: str
    role: Role
    tenant: UUID | None
    """None: the whole platform."""
    expires_at: datetime | None = None
    is_suspended: bool = False
    """Whether its tenant is."""
    created_at: datetime | None = None
    """Always known of a key that the store gives."""
    last_used_at: datetime | None = None
    """Exact to a minute."""
    tenant_name: str | None = None
    message_content: bool = False
    """Whether it may read the content of mailboxes, which is a right of its own beside the role."""
    account: str | None = None
    """The address of the account that is calling; None: a key or a token."""


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
    version: str = ""
    """Another one after every change through the API, and after nothing else; so of all objects."""
    tenant_sending: SendingRules = SendingRules()
    """What all domains of the tenant may send together."""
    min_password_length: int = 8
    """Characters, as the tenant says."""
    max_accounts: int | None = None
    """None: unlimited; so of the others."""
    quota_bytes: int | None = None
    """What its accounts may be promised together."""
    retention_days: int | None = None
    """None: mail is kept until it is deleted."""
    undelete_days: int = 0
    """How long deleted mail can be brought back; 0: not at all."""
    verification_token: str | None = None
    verified_at: datetime | None = None
    """None: it takes and sends no mail before its ownership is shown."""
    must_be_verified: bool = False
    """Whether its tenant's new domains must be."""


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
    version: str = ""


@dataclass(frozen=True, slots=True)
class Alias:
    """An address that leads to others."""

    address: str
    targets: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    version: str = ""
    unconfirmed: tuple[str, ...] = ()
    """Targets elsewhere that get nothing before they confirm (``ports.forwards``)."""
    suppressed: tuple[str, ...] = ()
    """Targets on the tenant's suppression list, which get nothing."""


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
    state: State = State.ACTIVE


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


class Changed(Exception):  # noqa: N818 - it names the state
    """The object is not in any of the versions that the caller means to change."""


class Unfit(Exception):  # noqa: N818 - it names the state
    """The values cannot be taken."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults


type Versions = frozenset[str] | None
"""The versions of an object that a change is meant for; None: any."""


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
        """Make a domain. Raises Conflict when the name is taken, Unfit for an unknown tenant or catch-all.

        Where another tenant has taken it without showing that it owns it, the Conflict says how it is claimed.
        """
        ...

    async def domains(self, tenant: UUID | None, after: str, limit: int) -> Sequence[Domain]:
        """List by name."""
        ...

    async def domain(self, tenant: UUID | None, name: str) -> Domain:
        """Give one. Raises Missing."""
        ...

    async def change_domain(
        self, tenant: UUID | None, name: str, changes: Mapping[str, object], expected: Versions = None
    ) -> Change[Domain]:
        """Set fields of the domain, or of SendingRules, by name. Raises Missing, Changed, Unfit."""
        ...

    async def verify_domain(self, tenant: UUID | None, name: str) -> Change[Domain]:
        """Note that its ownership has been shown: from now on it takes mail. Nothing is changed where it was noted before. Raises
        Missing."""
        ...

    async def claimable(self, tenant: UUID, name: str) -> None:
        """Raise Missing unless another tenant has this domain and has not shown that it owns it."""
        ...

    async def claim_domain(self, tenant: UUID, name: str) -> Change[Domain]:
        """Give the tenant, which has shown that it owns it, a domain as of ``claimable``: verified, with nothing in it.

        The accounts and aliases that the other tenant made there are gone. Raises Missing; Conflict while one of those accounts
        has mail, or when the tenant has as many domains as it may.
        """
        ...

    async def delete_domain(self, tenant: UUID | None, name: str, expected: Versions = None) -> Change[None]:
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

    async def change_account(
        self, tenant: UUID | None, address: str, changes: Mapping[str, object], expected: Versions = None
    ) -> Change[Account]:
        """Set ``password_hash``, ``quota_bytes``, ``state`` or the fields of SendingRules. Raises Missing, Changed, Unfit."""
        ...

    async def delete_account(self, tenant: UUID | None, address: str, expected: Versions = None) -> Change[None]:
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

    async def change_alias(
        self, tenant: UUID | None, address: str, targets: Sequence[str], expected: Versions = None
    ) -> Change[Alias]:
        """Set the targets. Raises Missing, Changed, Unfit."""
        ...

    async def delete_alias(self, tenant: UUID | None, address: str, expected: Versions = None) -> Change[None]:
        """Remove it. Raises Missing; Conflict while another alias or a catch-all leads to it."""
        ...

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version."""
        ...
