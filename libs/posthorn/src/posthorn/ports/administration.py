"""Administration: what the REST API asks of the metadata store.

Rules:

- Every method takes the caller's ``tenant``; None is the whole platform. What belongs to another tenant does not exist for the
  caller, so that no answer tells of it.
- Addresses and domain names are in canonical form (``wire.address``).
- A change that the directory must show writes its outbox entries in the same transaction and names them in ``Change.marks``.
- Lists are pages by key: ``after`` is the last key of the page before, so that no item is skipped or doubled while others come
  and go.
- ``expected`` are the versions of the object that the caller means to change; None: any. It is checked in the transaction of the
  change, which raises PreconditionFailed, so that of two changes of one version exactly one is made.
- A creation that goes over a limit of the tenant or the domain raises Conflict, or ValidationFailed where a smaller value would do.
- Every change leaves a line in the audit log in its own transaction (``runtime.acting``).
- Every method raises Unavailable for faults of the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from posthorn.ports.accounts import Account, NewAccount
from posthorn.ports.aliases import Alias
from posthorn.ports.changes import Change, Versions
from posthorn.ports.domains import Domain, NewDomain
from posthorn.ports.idempotency import Receipt


class Administration(Protocol):
    """Domains, accounts and aliases."""

    async def create_domain(
        self, tenant: UUID | None, new: NewDomain, receipt: Receipt[Domain] | None = None
    ) -> Change[Domain]:
        """Make a domain. Raises Conflict when the name is taken, ValidationFailed for an unknown tenant or catch-all.

        Where another tenant has taken it without showing that it owns it, the Conflict says how it is claimed.
        """
        ...

    async def domains(self, tenant: UUID | None, after: str, limit: int) -> Sequence[Domain]:
        """List by name."""
        ...

    async def domain(self, tenant: UUID | None, name: str) -> Domain:
        """Give one. Raises NotFound."""
        ...

    async def change_domain(
        self, tenant: UUID | None, name: str, changes: Mapping[str, object], expected: Versions = None
    ) -> Change[Domain]:
        """Set fields of the domain, or of SendingRules, by name. Raises NotFound, PreconditionFailed, ValidationFailed."""
        ...

    async def verify_domain(self, tenant: UUID | None, name: str) -> Change[Domain]:
        """Note that its ownership has been shown: from now on it takes mail. Nothing is changed where it was noted before. Raises
        NotFound."""
        ...

    async def claimable(self, tenant: UUID, name: str) -> None:
        """Raise NotFound unless another tenant has this domain and has not shown that it owns it."""
        ...

    async def claim_domain(self, tenant: UUID, name: str) -> Change[Domain]:
        """Give the tenant, which has shown that it owns it, a domain as of ``claimable``: verified, with nothing in it.

        The accounts and aliases that the other tenant made there are gone. Raises NotFound; Conflict while one of those accounts
        has mail, or when the tenant has as many domains as it may.
        """
        ...

    async def delete_domain(self, tenant: UUID | None, name: str, expected: Versions = None) -> Change[None]:
        """Remove it. Raises NotFound; Conflict while it has accounts or aliases: no mail is orphaned."""
        ...

    async def create_account(
        self, tenant: UUID | None, new: NewAccount, receipt: Receipt[Account] | None = None
    ) -> Change[Account]:
        """Make an account and its folders; each uidvalidity is greater than any an account of this address has had.

        Raises ValidationFailed when the domain is not there, Conflict when an account or alias has the address.
        """
        ...

    async def accounts(self, tenant: UUID | None, domain: str | None, after: str, limit: int) -> Sequence[Account]:
        """List by address, of one domain or of all."""
        ...

    async def account(self, tenant: UUID | None, address: str) -> Account:
        """Give one. Raises NotFound."""
        ...

    async def change_account(
        self, tenant: UUID | None, address: str, changes: Mapping[str, object], expected: Versions = None
    ) -> Change[Account]:
        """Set ``password_hash``, ``quota_bytes``, ``state`` or the fields of SendingRules. Raises NotFound, PreconditionFailed, ValidationFailed."""
        ...

    async def delete_account(self, tenant: UUID | None, address: str, expected: Versions = None) -> Change[None]:
        """Remove it with its mail, dropping the references exactly. Raises NotFound; Conflict while an alias or a catch-all leads
        to it."""
        ...

    async def create_alias(
        self, tenant: UUID | None, address: str, targets: Sequence[str], receipt: Receipt[Alias] | None = None
    ) -> Change[Alias]:
        """Make an alias. Raises ValidationFailed (``address``: no such domain; ``targets[i]``: nobody there, or a loop) and Conflict."""
        ...

    async def aliases(self, tenant: UUID | None, domain: str | None, after: str, limit: int) -> Sequence[Alias]:
        """List by address, of one domain or of all."""
        ...

    async def alias(self, tenant: UUID | None, address: str) -> Alias:
        """Give one. Raises NotFound."""
        ...

    async def change_alias(
        self, tenant: UUID | None, address: str, targets: Sequence[str], expected: Versions = None
    ) -> Change[Alias]:
        """Set the targets. Raises NotFound, PreconditionFailed, ValidationFailed."""
        ...

    async def delete_alias(self, tenant: UUID | None, address: str, expected: Versions = None) -> Change[None]:
        """Remove it. Raises NotFound; Conflict while another alias or a catch-all leads to it."""
        ...

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version."""
        ...
