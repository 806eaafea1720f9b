"""Operations on declarative configuration."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Response

from posthorn_api.config.plan import ACCOUNT, ALIAS, DOMAIN, ROUTE, WEBHOOK, Objects, Plan, Present
from posthorn_api.config.schemas import (
    ConfigAccount,
    ConfigAlias,
    ConfigChange,
    ConfigDocument,
    ConfigDomain,
    ConfigObject,
    ConfigOutcome,
    ConfigRoute,
    ConfigUnlisted,
    ConfigWebhook,
    ManagersView,
    ManagerView,
)
from posthorn_api.config.service import ConfigService
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    Caller,
    Expected,
    etag,
    problems,
    router,
    service_of,
)
from posthorn_api.http.schemas import Line, ManagerName

config = router("Configuration")


Config = Annotated[ConfigService, Depends(service_of(ConfigService))]
TenantName = Annotated[
    Line | None,
    Query(
        max_length=100,
        description="Name or id of the tenant; without it, the key's own, or `default` for a platform admin.",
    ),
]


@config.get(
    "/v1/config",
    operation_id="getConfig",
    summary="Get the configuration of a tenant.",
    responses=problems(404, 409),
)
async def get_config(
    caller: Caller, service: Config, response: Response, tenant: TenantName = None
) -> ConfigDocument:
    """All objects of a tenant in the form that PUT takes, without passwords and secrets, up to
    20,000 of each kind. For a key of the whole platform, routes are included. The ETag
    identifies the whole state.
    """
    present, state = await service.present(caller, await service.tenant(caller, tenant))
    response.headers["ETag"] = etag(state)
    return _document(present)


@config.put(
    "/v1/config",
    operation_id="putConfig",
    summary="Apply a configuration to a tenant.",
    responses=problems(404, 409, 412, *BODY_PROBLEMS),
)
async def put_config(
    body: ConfigDocument,
    caller: Caller,
    service: Config,
    expected: Expected,
    response: Response,
    tenant: TenantName = None,
    plan: Annotated[bool, Query(description="Only report what would be done.")] = False,
    prune: Annotated[
        bool,
        Query(
            description="Delete objects that exist and are not listed, of the kinds that the document lists."
        ),
    ] = False,
    force: Annotated[
        list[Line] | None,
        Query(
            max_length=1000,
            description="Addresses of accounts that may be deleted together with their mail.",
        ),
    ] = None,
    manager: Annotated[
        ManagerName | None,
        Query(
            description="Name of the tool that applies the document, such as `argo-cd`: it manages what the"
            " document names."
        ),
    ] = None,
    take_over: Annotated[
        bool, Query(description="With `manager`: also take objects that another manager has.")
    ] = False,
) -> ConfigOutcome:
    """Changes a tenant to the state that the document describes, and reports each change. Objects
    that already match are not touched: the same request again does nothing.

    Kinds of objects that the document leaves out are not considered, and fields that it leaves out
    stay as they are. Nothing is deleted without `prune=true`, and an account that has mail only if
    `force` names it as well. If a change fails, the others are still made.

    If an object is changed by another request meanwhile, it is left as it is and its change fails.
    With `If-Match` and the ETag of the plan or of GET, nothing is done if anything has changed
    since.

    With `manager`, the objects that the document names are marked as managed by it (`managed_by`),
    and its former marks on others are dropped. One manager has one document in a tenant. If
    another manager has an object, the answer is 409 and nothing is done, unless `take_over=true`;
    `prune` leaves such objects alone. A mark is no lock.

    The secret of a webhook that is created is shown in this answer only.
    """
    owner = await service.tenant(caller, tenant)
    done, state = await service.put(
        caller,
        owner,
        body,
        expected,
        plan_only=plan,
        prune=prune,
        force=frozenset(force or ()),
        manager=manager,
        take_over=take_over,
    )
    if plan:
        response.headers["ETag"] = etag(state)
    return _outcome(owner.name, done, manager, is_applied=not plan)


@config.get(
    "/v1/config/managers",
    operation_id="listManagers",
    summary="List the managers of a tenant.",
    responses=problems(404),
)
async def list_managers(caller: Caller, service: Config, tenant: TenantName = None) -> ManagersView:
    """Tools that applied a configuration with `manager`, and how many objects each manages."""
    found = await service.managers(caller, await service.tenant(caller, tenant))
    return ManagersView(items=[ManagerView.of(each) for each in found])


@config.delete(
    "/v1/config/managers/{manager}",
    operation_id="releaseManager",
    summary="Release all objects of a manager.",
    status_code=204,
    responses=problems(404),
)
async def release_manager(
    manager: Annotated[ManagerName, Path(description="Name of the manager.", examples=["argo-cd"])],
    caller: Caller,
    service: Config,
    tenant: TenantName = None,
) -> Response:
    """Drops its marks; the objects stay as they are. If it applies its document again, it marks
    them again.
    """
    await service.release(caller, await service.tenant(caller, tenant), manager)
    return Response(status_code=204)


def _outcome(tenant: str, plan: Plan, manager: str | None, *, is_applied: bool) -> ConfigOutcome:
    changes = [
        ConfigChange(
            kind=step.kind,  # type: ignore[arg-type]
            object=step.name,
            action=step.action,  # type: ignore[arg-type]
            fields={
                name: "changed" if name == "password_hash" else value
                for name, value in step.fields.items()
            },
            outcome=step.outcome,  # type: ignore[arg-type]
            detail=step.detail,
            secret=step.secret,
            managed_by=step.overrides,
        )
        for step in plan.steps
    ]
    unlisted = [ConfigUnlisted(kind=kind, object=name) for kind, name in plan.unlisted]  # type: ignore[arg-type]
    marked, released = (
        [ConfigObject(kind=kind, object=name) for kind, name in each]  # type: ignore[arg-type]
        for each in (plan.marked, plan.released)
    )
    failed = sum(change.outcome == "failed" for change in changes)
    return ConfigOutcome(
        tenant=tenant,
        applied=is_applied,
        changes=changes,
        failed=failed,
        unlisted=unlisted,
        manager=manager,
        marked=marked,
        released=released,
    )


def _document(present: Objects[Present]) -> ConfigDocument:
    def named(kind: str, field: str) -> list[dict[str, Any]]:
        return [{field: name, **found.values} for name, found in present[kind].items()]

    return ConfigDocument(
        domains=[ConfigDomain(**each) for each in named(DOMAIN, "name")],
        accounts=[ConfigAccount(**each) for each in named(ACCOUNT, "address")],
        aliases=[ConfigAlias(**each) for each in named(ALIAS, "address")],
        webhooks=[ConfigWebhook(**found.values) for found in present[WEBHOOK].values()],
        routes=[ConfigRoute(**each) for each in named(ROUTE, "domain")]
        if ROUTE in present
        else None,
    )
