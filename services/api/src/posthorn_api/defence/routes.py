"""Operations on the defence."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from posthorn_api.defence.schemas import DefenceView, ListingsView
from posthorn_api.defence.service import DefenceService
from posthorn_api.http.operations import Platform, problems, router, service_of

defence = router("Defence")

Defence = Annotated[DefenceService, Depends(service_of(DefenceService))]


@defence.get(
    "/v1/defence",
    operation_id="getDefence",
    summary="Get the state of the scanning tier.",
    responses=problems(),
)
async def get_defence(_: Platform, service: Defence) -> DefenceView:
    """Engines, blocklists and resolver, as one process of the tier sees them, and how many messages
    wait to be scanned. Without the tier `scanning` is false: mail is accepted unscanned.
    """
    return DefenceView.of(await service.state())


@defence.get(
    "/v1/defence/listings",
    operation_id="getListings",
    summary="List blocklists that hold our addresses and domains.",
    responses=problems(503),
)
async def get_listings(_: Platform, service: Defence) -> ListingsView:
    """Asks the blocklists of the settings for the addresses that mail leaves from, and for the host
    names and the domains that have DKIM keys, at most 200 of them.
    """
    return ListingsView.of(await service.listings())
