"""Operations on tenants, API keys and the audit log."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response
from pydantic import AwareDatetime

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.audit import AuditFilter
from posthorn.ports.tenants import Tenant
from posthorn_api.http.idempotency import receipt
from posthorn_api.http.operations import (
    ACCOUNT_LOGIN,
    BODY_PROBLEMS,
    POST_ONLY,
    AddressPath,
    Caller,
    Directory,
    Expected,
    created,
    etag,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import SORT, AskedList, OfTenant, listed
from posthorn_api.http.schemas import Line, Page
from posthorn_api.tenants.schemas import (
    ROLES,
    ApiKeyCreation,
    ApiKeyView,
    AuditView,
    NewApiKeyView,
    TenantChange,
    TenantCreation,
    TenantView,
)
from posthorn_api.tenants.service import TenantService

tenants = router("Tenants")
api_keys = router("API keys")
audit = router("Audit log")


Tenants = Annotated[TenantService, Depends(service_of(TenantService))]
TenantPath = Annotated[
    Line, Path(max_length=100, description="Name or id of the tenant.", examples=["acme"])
]
KeyPath = Annotated[UUID, Path(alias="id", description="Id of the API key.")]
Moment = Annotated[AwareDatetime | None, Query(examples=["2036-01-01T00:00:00Z"])]


def _made(tenant: Tenant) -> Response:
    return created(TenantView.from_tenant(tenant), "tenants", tenant.name, tenant.version)


def _shown(tenant: Tenant, response: Response) -> TenantView:
    response.headers["ETag"] = etag(tenant.version)
    return TenantView.from_tenant(tenant)


@tenants.post(
    "/v1/tenants",
    operation_id="createTenant",
    summary="Create a tenant.",
    status_code=201,
    response_model=TenantView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_tenant(request: Request, body: TenantCreation, service: Tenants) -> Response:
    """A tenant owns domains and has limits of its own."""
    return _made(await service.create_tenant(body.name, body.rules(), receipt(request, _made)))


@tenants.get(
    "/v1/tenants", operation_id="listTenants", summary="List tenants.", responses=problems()
)
async def list_tenants(
    caller: Caller,
    service: Tenants,
    asked: AskedList,
    state: Annotated[
        Literal["active", "suspended"] | None, Query(description="Only tenants in this state.")
    ] = None,
    sort: Annotated[
        Literal["name", "-name", "created", "-created"] | None, Query(description=SORT)
    ] = None,
) -> Page[TenantView]:
    """Sorted by name. `q` is part of the name. A key of a tenant sees its own tenant only."""
    found = await service.tenants(caller, asked.query(sort, state=state))
    return listed(found, TenantView.from_tenant, sort)


@tenants.get(
    "/v1/tenants/{tenant}",
    operation_id="getTenant",
    summary="Get a tenant.",
    responses=problems(404),
)
async def get_tenant(
    tenant: TenantPath, caller: Caller, service: Tenants, response: Response
) -> TenantView:
    """The answer includes the limits of the tenant and what it uses of them."""
    return _shown(await service.tenant(caller, tenant), response)


@tenants.patch(
    "/v1/tenants/{tenant}",
    operation_id="changeTenant",
    summary="Update a tenant.",
    responses=problems(404, 409, 412, *BODY_PROBLEMS),
)
async def change_tenant(
    tenant: TenantPath,
    body: TenantChange,
    caller: Caller,
    service: Tenants,
    expected: Expected,
    response: Response,
) -> TenantView:
    """Only the fields in the body are changed. A limit below the present usage removes nothing."""
    changes = body.model_dump(exclude_unset=True)
    return _shown(await service.change_tenant(caller, tenant, changes, expected), response)


@tenants.delete(
    "/v1/tenants/{tenant}",
    operation_id="deleteTenant",
    summary="Delete a tenant.",
    status_code=204,
    responses=problems(400, 404, 409, 412),
)
async def delete_tenant(
    tenant: TenantPath, caller: Caller, service: Tenants, expected: Expected
) -> Response:
    """Refused with 409 (conflict) while the tenant has domains, API keys, webhooks or messages in
    the queue.
    """
    await service.delete_tenant(caller, tenant, expected)
    return Response(status_code=204)


@api_keys.post(
    "/v1/api-keys",
    operation_id="createApiKey",
    summary="Create an API key.",
    status_code=201,
    response_model=NewApiKeyView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_api_key(
    request: Request, body: ApiKeyCreation, caller: Caller, service: Tenants
) -> Response:
    """The key is shown in this answer only. An admin of a tenant creates keys of that tenant, but
    no key of a platform admin. Reading the content of mailboxes is a separate right
    (`message_content`), which only a key that has it can grant. A tenant has 500 keys at most.
    """

    def render(made: ApiKey, key: str | None = None) -> Response:
        return created(NewApiKeyView.shown(made, key), "api-keys", str(made.id))

    made, key = await service.create_key(
        caller,
        body.name,
        ROLES[body.role],
        body.tenant,
        body.expires_at,
        receipt(request, render),
        message_content=body.message_content,
        networks=body.networks,
    )
    return render(made, key)


@api_keys.get(
    "/v1/api-keys", operation_id="listApiKeys", summary="List API keys.", responses=problems()
)
async def list_api_keys(
    caller: Caller,
    service: Tenants,
    asked: AskedList,
    state: Annotated[
        Literal["active", "expired"] | None, Query(description="Only keys in this state.")
    ] = None,
    tenant: OfTenant = None,
    sort: Annotated[
        Literal["created", "-created", "name", "-name", "used", "-used"] | None,
        Query(description=f"{SORT} `used`: by the last use."),
    ] = None,
) -> Page[ApiKeyView]:
    """Sorted by creation time. `q` is part of the name or of the id. The keys themselves are not
    shown.
    """
    found = await service.keys(caller, asked.query(sort, state=state, owner=tenant))
    return listed(found, ApiKeyView.from_key, sort)


@api_keys.get(
    "/v1/api-keys/{id}",
    operation_id="getApiKey",
    summary="Get an API key.",
    responses=problems(404),
)
async def get_api_key(number: KeyPath, caller: Caller, service: Tenants) -> ApiKeyView:
    """The key itself is not shown."""
    return ApiKeyView.from_key(await service.key(caller, number))


@api_keys.delete(
    "/v1/api-keys/{id}",
    operation_id="deleteApiKey",
    summary="Delete an API key.",
    status_code=204,
    responses=problems(404),
)
async def delete_api_key(number: KeyPath, caller: Caller, service: Tenants) -> Response:
    """Every server refuses the key within two seconds."""
    await service.delete_key(caller, number)
    return Response(status_code=204)


@audit.get(
    "/v1/accounts/{address:address}/content-access",
    operation_id="listContentAccess",
    summary="List accesses to the content of mailboxes.",
    responses=problems(404, 429),
    dependencies=[ACCOUNT_LOGIN],
)
async def list_content_access(
    address: AddressPath,
    caller: Caller,
    service: Tenants,
    accounts: Directory,
    asked: AskedList,
) -> Page[AuditView]:
    """Every listing, search, reading and export of the account's messages through the API, newest
    first. The account itself may call this with its address and password (HTTP Basic).
    """
    account = await accounts.account(caller, address)
    found = await service.content_access(caller, account, asked.query())
    return listed(found, AuditView.from_line)


@audit.get(
    "/v1/audit", operation_id="listAudit", summary="List the audit log.", responses=problems()
)
async def list_audit(
    caller: Caller,
    service: Tenants,
    asked: AskedList,
    actor: Annotated[Line | None, Query(description="Id or name of the key.")] = None,
    action: Annotated[
        Line | None,
        Query(description="`account.change`, or `account` for all actions on accounts."),
    ] = None,
    subject: Annotated[
        Line | None, Query(alias="object", description="Name of the object.")
    ] = None,
    since: Moment = None,
    until: Moment = None,
    tenant: OfTenant = None,
    sort: Annotated[Literal["at", "-at"] | None, Query(description=SORT)] = None,
) -> Page[AuditView]:
    """Every change made through the API and every access to the content of mailboxes, newest first.
    `q` is part of the object, of the key's name or of the action. A tenant sees what was done to its own objects, by any key.
    """
    which = AuditFilter(actor, action, subject, since, until)
    found = await service.audit(caller, which, asked.query(sort, owner=tenant))
    return listed(found, AuditView.from_line, sort)
