"""Operations on filter policies."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Response

from posthorn.ports.filter_policies import SYSTEM, StoredPolicy
from posthorn_api.filtering.schemas import EffectiveFilterPolicyView, FilterPolicyDocument
from posthorn_api.filtering.service import FilteringService, of_account, of_domain, of_tenant
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    AddressPath,
    Caller,
    DomainPath,
    Expected,
    Platform,
    etag,
    problems,
    router,
    service_of,
)
from posthorn_api.tenants.routes import TenantPath

policies = router("Filter policies")

Filtering = Annotated[FilteringService, Depends(service_of(FilteringService))]


def _shown(stored: StoredPolicy, response: Response) -> FilterPolicyDocument:
    response.headers["ETag"] = etag(stored.version)
    return FilterPolicyDocument.of(stored)


@policies.get(
    "/v1/filter-policy",
    operation_id="getSystemFilterPolicy",
    summary="Get the filter policy of the system.",
    responses=problems(),
)
async def get_system_policy(
    caller: Platform, service: Filtering, response: Response
) -> FilterPolicyDocument:
    """Holds for all mail; every other level may say otherwise. Lists add to those of the other
    levels.
    """
    return _shown(await service.policy(caller, SYSTEM), response)


@policies.put(
    "/v1/filter-policy",
    operation_id="setSystemFilterPolicy",
    summary="Replace the filter policy of the system.",
    responses=problems(412, *BODY_PROBLEMS),
)
async def set_system_policy(
    body: FilterPolicyDocument,
    caller: Platform,
    service: Filtering,
    expected: Expected,
    response: Response,
) -> FilterPolicyDocument:
    """Replaces the whole policy. All domains are published again in the background."""
    stored = await service.set_policy(caller, SYSTEM, body.document(), expected)
    return _shown(stored, response)


@policies.delete(
    "/v1/filter-policy",
    operation_id="unsetSystemFilterPolicy",
    summary="Delete the filter policy of the system.",
    status_code=204,
    responses=problems(400, 412),
)
async def unset_system_policy(caller: Platform, service: Filtering, expected: Expected) -> Response:
    """Every field is silent then: the defaults hold. Answered 204 also if nothing was set."""
    await service.unset_policy(caller, SYSTEM, expected)
    return Response(status_code=204)


@policies.get(
    "/v1/tenants/{tenant}/filter-policy",
    operation_id="getTenantFilterPolicy",
    summary="Get the filter policy of a tenant.",
    responses=problems(404),
)
async def get_tenant_policy(
    tenant: TenantPath, caller: Caller, service: Filtering, response: Response
) -> FilterPolicyDocument:
    """Holds for the domains of the tenant, unless a domain or an account says otherwise."""
    return _shown(await service.policy(caller, of_tenant(tenant)), response)


@policies.put(
    "/v1/tenants/{tenant}/filter-policy",
    operation_id="setTenantFilterPolicy",
    summary="Replace the filter policy of a tenant.",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def set_tenant_policy(
    tenant: TenantPath,
    body: FilterPolicyDocument,
    caller: Caller,
    service: Filtering,
    expected: Expected,
    response: Response,
) -> FilterPolicyDocument:
    """Replaces the whole policy. The domains of the tenant are published again; if they are many, in
    the background.
    """
    stored = await service.set_policy(caller, of_tenant(tenant), body.document(), expected)
    return _shown(stored, response)


@policies.delete(
    "/v1/tenants/{tenant}/filter-policy",
    operation_id="unsetTenantFilterPolicy",
    summary="Delete the filter policy of a tenant.",
    status_code=204,
    responses=problems(400, 404, 412),
)
async def unset_tenant_policy(
    tenant: TenantPath, caller: Caller, service: Filtering, expected: Expected
) -> Response:
    """Every field is silent then: the levels above decide. Answered 204 also if nothing was set."""
    await service.unset_policy(caller, of_tenant(tenant), expected)
    return Response(status_code=204)


@policies.get(
    "/v1/domains/{name}/filter-policy",
    operation_id="getDomainFilterPolicy",
    summary="Get the filter policy of a domain.",
    responses=problems(404),
)
async def get_domain_policy(
    name: DomainPath, caller: Caller, service: Filtering, response: Response
) -> FilterPolicyDocument:
    """Holds for the accounts and aliases of the domain, unless an account says otherwise."""
    return _shown(await service.policy(caller, of_domain(name)), response)


@policies.put(
    "/v1/domains/{name}/filter-policy",
    operation_id="setDomainFilterPolicy",
    summary="Replace the filter policy of a domain.",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def set_domain_policy(
    name: DomainPath,
    body: FilterPolicyDocument,
    caller: Caller,
    service: Filtering,
    expected: Expected,
    response: Response,
) -> FilterPolicyDocument:
    """Replaces the whole policy; mail that arrives from now on is filtered by it."""
    stored = await service.set_policy(caller, of_domain(name), body.document(), expected)
    return _shown(stored, response)


@policies.delete(
    "/v1/domains/{name}/filter-policy",
    operation_id="unsetDomainFilterPolicy",
    summary="Delete the filter policy of a domain.",
    status_code=204,
    responses=problems(400, 404, 412),
)
async def unset_domain_policy(
    name: DomainPath, caller: Caller, service: Filtering, expected: Expected
) -> Response:
    """Every field is silent then: the levels above decide. Answered 204 also if nothing was set."""
    await service.unset_policy(caller, of_domain(name), expected)
    return Response(status_code=204)


@policies.get(
    "/v1/domains/{name}/filter-policy/effective",
    operation_id="getEffectiveDomainFilterPolicy",
    summary="Get the filter policy that holds for a domain.",
    responses=problems(404),
)
async def get_effective_domain_policy(
    name: DomainPath, caller: Caller, service: Filtering
) -> EffectiveFilterPolicyView:
    """The policies of system, tenant and domain together, with the level that decides each field."""
    return EffectiveFilterPolicyView.of(await service.effective(caller, of_domain(name)))


@policies.get(
    "/v1/accounts/{address:address}/filter-policy",
    operation_id="getAccountFilterPolicy",
    summary="Get the filter policy of an account.",
    responses=problems(404),
)
async def get_account_policy(
    address: AddressPath, caller: Caller, service: Filtering, response: Response
) -> FilterPolicyDocument:
    """Holds for the account, and for aliases that lead only to it."""
    return _shown(await service.policy(caller, of_account(address)), response)


@policies.put(
    "/v1/accounts/{address:address}/filter-policy",
    operation_id="setAccountFilterPolicy",
    summary="Replace the filter policy of an account.",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def set_account_policy(
    address: AddressPath,
    body: FilterPolicyDocument,
    caller: Caller,
    service: Filtering,
    expected: Expected,
    response: Response,
) -> FilterPolicyDocument:
    """Replaces the whole policy; mail that arrives from now on is filtered by it."""
    stored = await service.set_policy(caller, of_account(address), body.document(), expected)
    return _shown(stored, response)


@policies.delete(
    "/v1/accounts/{address:address}/filter-policy",
    operation_id="unsetAccountFilterPolicy",
    summary="Delete the filter policy of an account.",
    status_code=204,
    responses=problems(400, 404, 412),
)
async def unset_account_policy(
    address: AddressPath, caller: Caller, service: Filtering, expected: Expected
) -> Response:
    """Every field is silent then: the levels above decide. Answered 204 also if nothing was set."""
    await service.unset_policy(caller, of_account(address), expected)
    return Response(status_code=204)


@policies.get(
    "/v1/accounts/{address:address}/filter-policy/effective",
    operation_id="getEffectiveAccountFilterPolicy",
    summary="Get the filter policy that holds for an account.",
    responses=problems(404),
)
async def get_effective_account_policy(
    address: AddressPath, caller: Caller, service: Filtering
) -> EffectiveFilterPolicyView:
    """The policies of system, tenant, domain and account together, with the level that decides each field."""
    return EffectiveFilterPolicyView.of(await service.effective(caller, of_account(address)))
