"""The operation on the system."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from posthorn_api.http.operations import Platform, problems, router, service_of
from posthorn_api.system.schemas import SystemView
from posthorn_api.system.service import SystemService

system = router("System")


@system.get(
    "/v1/system",
    operation_id="getSystem",
    summary="Get the state of the whole system.",
    responses=problems(),
)
async def get_system(
    _: Platform, service: Annotated[SystemService, Depends(service_of(SystemService))]
) -> SystemView:
    """Every process with its version and readiness, as its heartbeats show it; the messages that
    wait or are parked; how far behind work in the background is; and what of it is a problem. A
    store that does not answer is one of the problems.
    """
    return SystemView.of(await service.state())
