"""Bodies of the operations on the defence."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from posthorn.ports.scan import Listing
from posthorn_api.defence.service import Listings, TierView
from posthorn_api.http.schemas import ApiModel


class EngineStateView(ApiModel):
    """An engine of the scanning tier."""

    name: str
    up: bool
    detail: str = Field(description="Its version, or why it is away.")


class ZoneView(ApiModel):
    """A blocklist or an allow list."""

    zone: str
    healthy: bool
    detail: str = Field(description="Why it is not in use; empty if it is.")


class DefenceView(ApiModel):
    """The scanning tier, as one of its processes sees it."""

    scanning: bool = Field(description="Whether a process of the tier answers.")
    detail: str = Field(description="Why none answers; empty if one does.")
    engines: list[EngineStateView]
    zones: list[ZoneView]
    resolver_up: bool | None = Field(description="null if nothing is known.")
    unscanned: int | None = Field(
        description="Messages that wait to be scanned; null if it is not known."
    )

    @classmethod
    def of(cls, found: TierView) -> Self:
        """Return the view."""
        state = found.state
        return cls(
            scanning=state is not None,
            detail=found.fault,
            engines=[
                EngineStateView(name=each.name, up=each.is_up, detail=each.detail)
                for each in (state.engines if state else ())
            ],
            zones=[
                ZoneView(zone=each.zone, healthy=each.is_healthy, detail=each.detail)
                for each in (state.zones if state else ())
            ],
            resolver_up=None if state is None else not state.is_dns_away,
            unscanned=found.unscanned,
        )


class ListingView(ApiModel):
    """A blocklist that holds an address or a domain of ours."""

    zone: str
    subject: str = Field(description="The address or domain that is listed.")
    code: str = Field(description="The answer of the list, such as 127.0.0.2.")
    reason: str = Field(description="What the list says about it.")

    @classmethod
    def of(cls, listing: Listing) -> Self:
        """Return the view."""
        return cls(
            zone=listing.zone, subject=listing.subject, code=listing.code, reason=listing.reason
        )


class ListingsView(ApiModel):
    """What is watched, and which lists hold it."""

    addresses: list[str]
    domains: list[str]
    zones: list[ZoneView]
    listings: list[ListingView]

    @classmethod
    def of(cls, found: Listings) -> Self:
        """Return the view."""
        return cls(
            addresses=list(found.addresses),
            domains=list(found.domains),
            zones=[
                ZoneView(zone=each.zone, healthy=each.is_healthy, detail=each.detail)
                for each in found.zones
            ],
            listings=[ListingView.of(each) for each in found.listings],
        )
