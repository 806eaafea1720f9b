"""Administration: what the REST API asks of the metadata store.

Rules:

- Every method takes the caller's ``tenant``; None is the whole platform. What belongs to another tenant does not exist for the
  caller, so that no answer tells of it.
- Addresses and domain names are in canonical form (``wire.address``).
- A change that the directory must show writes its outbox entries in the same transaction and names them in ``Change.outbox_ids``.
- Lists are pages by key: ``after`` is the last key of the page before, so that no item is skipped or doubled while others come
  and go.
- ``expected`` are the versions of the object that the caller means to change; None: any. It is checked in the transaction of the
  change, which raises PreconditionFailed, so that of two changes of one version exactly one is made.
- A creation that goes over a limit of the tenant or the domain raises Conflict, or ValidationFailed where a smaller value would do.
- Every change leaves a line in the audit log in its own transaction (``runtime.audit_context``).
- Every method raises Unavailable for faults of the store.
"""

from __future__ import annotations

from typing import Protocol

from posthorn.ports.accounts import Accounts
from posthorn.ports.aliases import Aliases
from posthorn.ports.domains import Domains


class Administration(Domains, Accounts, Aliases, Protocol):
    """Domains, accounts and aliases of one metadata store."""

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version."""
        ...
