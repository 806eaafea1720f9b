"""Probes of routes: which may be asked for, and the relay's answer."""

from __future__ import annotations

from posthorn.ports.errors import FieldError, NotFound, ValidationFailed
from posthorn.ports.route_probes import ProbeReport, RouteProbe, RouteProber
from posthorn.ports.routes import Routes
from posthorn_api.directory.fields import foreign_in
from posthorn_api.pending import Pending
from posthorn_api.queue.service import ANY, route_domain_in


class RouteProbeService:
    """Asks a relay. A recipient is named only where its mail would take the route."""

    def __init__(self, routes: Routes, prober: Pending[RouteProber]) -> None:
        self._routes, self._prober = routes, prober

    async def probe(self, domain: str, recipient: str | None) -> ProbeReport:
        """Probe a route. Raises NotFound, ValidationFailed, Unavailable."""
        route = await self._routes.get(route_domain_in(domain))
        address = "" if recipient is None else foreign_in("recipient", recipient)
        destination = address.rpartition("@")[2]
        if route.domain == ANY:
            if destination:
                await self._check_own(destination)
            elif route.host is None:
                needed = "needed: without a host, the route leads to the MX hosts of its domain"
                raise ValidationFailed(FieldError("recipient", needed))
        elif destination not in ("", route.domain):
            other = f"its mail does not take the route of {route.domain}"
            raise ValidationFailed(FieldError("recipient", other))
        return await self._prober.get().probe(
            RouteProbe(route.domain, destination or route.domain, address)
        )

    async def _check_own(self, destination: str) -> None:
        try:
            await self._routes.get(destination)
        except NotFound:
            return
        own = f"its mail takes the route of {destination}"
        raise ValidationFailed(FieldError("recipient", own))
