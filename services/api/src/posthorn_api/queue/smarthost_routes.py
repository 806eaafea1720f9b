"""Operations on routes."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Path, Query, Request, Response

from posthorn.ports.queue import Route
from posthorn_api.http.idempotency import receipt
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    POST_ONLY,
    Expected,
    Platform,
    created,
    etag,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import SORT, AskedList, listed
from posthorn_api.http.schemas import Page
from posthorn_api.queue.probe_schemas import RouteProbeRequest, RouteProbeView
from posthorn_api.queue.probes import RouteProbeService
from posthorn_api.queue.routes import Queue
from posthorn_api.queue.schemas import RouteCreation, RouteSetting, RouteView
from posthorn_api.queue.service import route_domain_in

routes = router("Routes")

Probes = Annotated[RouteProbeService, Depends(service_of(RouteProbeService))]

Destination = Annotated[
    str, Path(alias="domain", description="Name of the domain, or `*`.", examples=["example.org"])
]


@routes.get("/v1/routes", operation_id="listRoutes", summary="List routes.", responses=problems())
async def list_routes(
    _: Platform,
    service: Queue,
    asked: AskedList,
    sort: Annotated[Literal["domain", "-domain"] | None, Query(description=SORT)] = None,
) -> Page[RouteView]:
    """Sorted by domain. `q` is part of the domain or of the host."""
    return listed(await service.routes(asked.query(sort)), RouteView.from_route, sort)


@routes.post(
    "/v1/routes",
    operation_id="createRoute",
    summary="Create a route.",
    status_code=201,
    response_model=RouteView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_route(
    request: Request, body: RouteCreation, _: Platform, service: Queue
) -> Response:
    """Mail for the domain takes this route from now on; messages that wait for the domain are
    retried at once.
    """
    return _shown(
        await service.create_route(body.route(body.domain), body.password, receipt(request, _shown))
    )


@routes.get(
    "/v1/routes/{domain}", operation_id="getRoute", summary="Get a route.", responses=problems(404)
)
async def get_route(
    domain: Destination, _: Platform, service: Queue, response: Response
) -> RouteView:
    """The password is not shown."""
    found = await service.route(domain)
    response.headers["ETag"] = etag(found.version)
    return RouteView.from_route(found)


@routes.put(
    "/v1/routes/{domain}",
    operation_id="setRoute",
    summary="Replace a route.",
    response_model=RouteView,
    responses={
        201: {"model": RouteView, "description": "Created: there was no such route."},
        **problems(412, *BODY_PROBLEMS),
    },
)
async def set_route(
    domain: Destination, body: RouteSetting, _: Platform, service: Queue, expected: Expected
) -> Response:
    """Fields that are left out get their default values. Only the password is kept if it is left
    out, as long as host and username stay the same.
    """
    made, is_new = await service.put_route(body.route(domain), body.password, expected)
    answer = _shown(made)
    answer.status_code = 201 if is_new else 200
    return answer


@routes.delete(
    "/v1/routes/{domain}",
    operation_id="deleteRoute",
    summary="Delete a route.",
    status_code=204,
    responses=problems(400, 404, 412),
)
async def delete_route(
    domain: Destination, _: Platform, service: Queue, expected: Expected
) -> Response:
    """Mail for the domain then goes to its MX hosts, or takes the route of `*`."""
    await service.delete_route(domain, expected)
    return Response(status_code=204)


@routes.post(
    "/v1/routes/{domain}/probe",
    operation_id="probeRoute",
    summary="Probe a route.",
    responses=problems(404, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def probe_route(
    domain: Destination, body: RouteProbeRequest, _: Platform, service: Probes
) -> RouteProbeView:
    """A relay connects as it would for a message: with the same hosts, TLS and login, then EHLO,
    `MAIL FROM:<>`, `RCPT` if a recipient is named, RSET and QUIT. No message is sent. It takes 25
    seconds at most. Four hosts are tried at most, the next one after a transient answer.
    """
    report = await service.probe(domain, body.recipient)
    return RouteProbeView.of(route_domain_in(domain), report)


def _shown(made: Route) -> Response:
    return created(RouteView.from_route(made), "routes", made.domain, made.version)
