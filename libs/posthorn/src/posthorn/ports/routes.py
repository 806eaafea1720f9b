"""Routes: smart hosts for destinations. They belong to the platform, not to a tenant."""

from __future__ import annotations

from typing import Protocol

from posthorn.ports.changes import Versions
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.queue import Route


class Routes(Protocol):
    """Every method raises Unavailable for faults of the store. Domains are in canonical form, or
    ``*``."""

    async def all(self, asked: ListQuery) -> Listed[Route]:
        """Return a page. Order: ``domain``; ``*`` comes where it sorts."""
        ...

    async def get(self, domain: str) -> Route:
        """Return one. Raises NotFound."""
        ...

    async def create(self, route: Route, receipt: Receipt[Route] | None = None) -> Route:
        """Create the route of a domain that has none. Raises Conflict when it has one: of
        concurrent creations, one succeeds."""
        ...

    async def put(self, route: Route, expected: Versions = None) -> tuple[Route, bool]:
        """Set the whole route of its domain; return it and whether it is new. Later claims use
        it. Raises PreconditionFailed unless the route is there in one of the versions."""
        ...

    async def delete(self, domain: str, expected: Versions = None) -> None:
        """Delete it: the destination uses ``*``, or its MX, again. Raises NotFound, and
        PreconditionFailed."""
        ...
