"""The operation that tells whether what the API needs is there. The health pages themselves are
on the health port alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import Field

from posthorn.runtime.health import Health
from posthorn_api.http.operations import problems, router
from posthorn_api.http.schemas import ApiModel

status = router("Status")


class PartView(ApiModel):
    """A part of the system that the API depends on."""

    name: str
    state: str = Field(description="ok, or a short description of the fault.")


class StatusView(ApiModel):
    """Whether this process of the API is ready, and the parts it depends on."""

    ready: bool
    parts: list[PartView]


async def _health(request: Request) -> Health:
    found: Health = request.app.state.health
    return found


@status.get(
    "/v1/status",
    operation_id="getStatus",
    summary="Get the status of the API.",
    responses=problems(),
)
async def get_status(health: Annotated[Health, Depends(_health)]) -> StatusView:
    """The same information as `/readyz` on the health port, from the process of the API that
    answers the request.
    """
    ready, states = await health.readiness()
    return StatusView(
        ready=ready, parts=[PartView(name=name, state=state) for name, state in states.items()]
    )
