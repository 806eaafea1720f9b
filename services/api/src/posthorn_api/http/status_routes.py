"""The operation that tells whether what the API needs is there. The health pages themselves are on the health port alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, Field

from posthorn.runtime.health import Health
from posthorn_api.http.operations import problems, router

status = router("status")


class PartView(BaseModel):
    """A part that the API needs."""

    name: str
    state: str = Field(description="ok, or what is wrong in a word or two.")


class StatusView(BaseModel):
    """Whether this process of the API is ready, and its parts."""

    ready: bool
    parts: list[PartView]


def _health(request: Request) -> Health:
    found: Health = request.app.state.health
    return found


@status.get("/v1/status", operation_id="getStatus", summary="Show what the API needs", responses=problems())
async def get_status(health: Annotated[Health, Depends(_health)]) -> StatusView:
    """What `/readyz` on the health port says. It is answered by one of the API's processes."""
    ready, states = await health.readiness()
    return StatusView(ready=ready, parts=[PartView(name=name, state=state) for name, state in states.items()])
