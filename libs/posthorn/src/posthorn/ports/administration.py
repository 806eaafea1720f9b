"""Administration: the metadata store as the REST API uses it.

Rules:

- Every method takes the caller's ``tenant``; None is the whole platform. Another tenant's objects
  do not exist for the caller, so that no answer discloses them.
- Addresses and domain names are in canonical form (``wire.address``).
- A change of the directory writes its outbox entries in the same transaction and names them in
  ``Change.outbox_ids``.
- Lists are paged by key: ``after`` is the last key of the previous page, so that no item is skipped
  or repeated while others are created and deleted.
- ``expected``: the versions of the object that the caller accepts; None: any. It is checked in the
  transaction of the change, which raises PreconditionFailed, so that of two changes of one version
  exactly one succeeds.
- A creation beyond a limit of the tenant or the domain raises Conflict, or ValidationFailed where a
  smaller value would fit.
- Every change writes a line to the audit log in its own transaction (``runtime.audit_context``).
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
        """Check the store by a cheap query, and the schema version."""
        ...
