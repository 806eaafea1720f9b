"""Operations on domains, accounts and aliases."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from posthorn.ports.accounts import Account
from posthorn.ports.aliases import Alias
from posthorn.ports.domains import Domain, NewDomain
from posthorn_api.http.guard import receipt
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    POST_ONLY,
    AddressPath,
    Caller,
    Decisions,
    DomainPath,
    Expected,
    created,
    etag,
    problems,
    router,
)
from posthorn_api.http.pagination import Cursor, Limit, page, text_after
from posthorn_api.http.schemas import (
    AccountChange,
    AccountCreation,
    AccountView,
    AliasChange,
    AliasCreation,
    AliasView,
    DomainChange,
    DomainCreation,
    DomainView,
    Page,
)

domains = router("domains")
accounts = router("accounts")
aliases = router("aliases")

DomainFilter = Annotated[str | None, Query(max_length=1000, description="Only addresses of this domain.")]


def _made_domain(domain: Domain) -> Response:
    return created(DomainView.of(domain), "domains", domain.name, domain.version)


def _made_account(account: Account) -> Response:
    return created(AccountView.of(account), "accounts", account.address, account.version)


def _made_alias(alias: Alias) -> Response:
    return created(AliasView.of(alias), "aliases", alias.address, alias.version)


def _domain(domain: Domain, response: Response) -> DomainView:
    response.headers["ETag"] = etag(domain.version)
    return DomainView.of(domain)


def _account(account: Account, response: Response) -> AccountView:
    response.headers["ETag"] = etag(account.version)
    return AccountView.of(account)


def _alias(alias: Alias, response: Response) -> AliasView:
    response.headers["ETag"] = etag(alias.version)
    return AliasView.of(alias)


@domains.post(
    "/v1/domains",
    operation_id="createDomain",
    summary="Make a domain",
    status_code=201,
    response_model=DomainView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_domain(request: Request, body: DomainCreation, caller: Caller, service: Decisions) -> Response:
    """Mail for the domain is taken from now on, for the accounts and aliases made in it; where the tenant's domains must be
    verified, once that is done."""
    new = NewDomain(body.name, body.tenant, body.catch_all, body.plus_addressing)
    return _made_domain(await service.create_domain(caller, new, receipt(request, _made_domain)))


@domains.get("/v1/domains", operation_id="listDomains", summary="List domains", responses=problems())
async def list_domains(
    caller: Caller, service: Decisions, limit: Limit = 50, cursor: Cursor = None
) -> Page[DomainView]:
    """By name."""
    found = await service.domains(caller, text_after(cursor), limit + 1)
    return page(found, limit, DomainView.of, lambda domain: domain.name)


@domains.get("/v1/domains/{name}", operation_id="getDomain", summary="Show a domain", responses=problems(404))
async def get_domain(name: DomainPath, caller: Caller, service: Decisions, response: Response) -> DomainView:
    """One domain."""
    return _domain(await service.domain(caller, name), response)


@domains.patch(
    "/v1/domains/{name}",
    operation_id="changeDomain",
    summary="Change a domain",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def change_domain(
    name: DomainPath, body: DomainChange, caller: Caller, service: Decisions, expected: Expected, response: Response
) -> DomainView:
    """Set the fields that the body names."""
    changed = await service.change_domain(caller, name, body.model_dump(exclude_unset=True), expected)
    return _domain(changed, response)


@domains.delete(
    "/v1/domains/{name}",
    operation_id="deleteDomain",
    summary="Delete a domain",
    status_code=204,
    responses=problems(400, 404, 409, 412),
)
async def delete_domain(name: DomainPath, caller: Caller, service: Decisions, expected: Expected) -> Response:
    """Refused while it has accounts or aliases."""
    await service.delete_domain(caller, name, expected)
    return Response(status_code=204)


@accounts.post(
    "/v1/accounts",
    operation_id="createAccount",
    summary="Make an account",
    status_code=201,
    response_model=AccountView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_account(request: Request, body: AccountCreation, caller: Caller, service: Decisions) -> Response:
    """With the folders INBOX, Junk, Sent and Trash. It can receive mail when this is answered."""
    account = await service.create_account(
        caller, body.address, body.password, body.quota_bytes, receipt(request, _made_account)
    )
    return _made_account(account)


@accounts.get("/v1/accounts", operation_id="listAccounts", summary="List accounts", responses=problems())
async def list_accounts(
    caller: Caller, service: Decisions, domain: DomainFilter = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[AccountView]:
    """By address."""
    found = await service.accounts(caller, domain, text_after(cursor), limit + 1)
    return page(found, limit, AccountView.of, lambda account: account.address)


@accounts.get(
    "/v1/accounts/{address:address}", operation_id="getAccount", summary="Show an account", responses=problems(404)
)
async def get_account(address: AddressPath, caller: Caller, service: Decisions, response: Response) -> AccountView:
    """With what it uses of its quota."""
    return _account(await service.account(caller, address), response)


@accounts.patch(
    "/v1/accounts/{address:address}",
    operation_id="changeAccount",
    summary="Change an account",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def change_account(
    address: AddressPath,
    body: AccountChange,
    caller: Caller,
    service: Decisions,
    expected: Expected,
    response: Response,
) -> AccountView:
    """Set the password, the quota or the state."""
    changed = await service.change_account(caller, address, body.model_dump(exclude_unset=True), expected)
    return _account(changed, response)


@accounts.delete(
    "/v1/accounts/{address:address}",
    operation_id="deleteAccount",
    summary="Delete an account with its mail",
    status_code=204,
    responses=problems(400, 404, 409, 412),
)
async def delete_account(address: AddressPath, caller: Caller, service: Decisions, expected: Expected) -> Response:
    """Refused while an alias or a catch-all leads to it."""
    await service.delete_account(caller, address, expected)
    return Response(status_code=204)


@aliases.post(
    "/v1/aliases",
    operation_id="createAlias",
    summary="Make an alias",
    status_code=201,
    response_model=AliasView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_alias(request: Request, body: AliasCreation, caller: Caller, service: Decisions) -> Response:
    """An address that leads to accounts or other aliases."""
    alias = await service.create_alias(caller, body.address, body.targets, receipt(request, _made_alias))
    return _made_alias(alias)


@aliases.get("/v1/aliases", operation_id="listAliases", summary="List aliases", responses=problems())
async def list_aliases(
    caller: Caller, service: Decisions, domain: DomainFilter = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[AliasView]:
    """By address."""
    found = await service.aliases(caller, domain, text_after(cursor), limit + 1)
    return page(found, limit, AliasView.of, lambda alias: alias.address)


@aliases.get("/v1/aliases/{address:address}", operation_id="getAlias", summary="Show an alias", responses=problems(404))
async def get_alias(address: AddressPath, caller: Caller, service: Decisions, response: Response) -> AliasView:
    """One alias."""
    return _alias(await service.alias(caller, address), response)


@aliases.patch(
    "/v1/aliases/{address:address}",
    operation_id="changeAlias",
    summary="Change an alias",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def change_alias(
    address: AddressPath, body: AliasChange, caller: Caller, service: Decisions, expected: Expected, response: Response
) -> AliasView:
    """Set its targets."""
    return _alias(await service.change_alias(caller, address, body.targets, expected), response)


@aliases.delete(
    "/v1/aliases/{address:address}",
    operation_id="deleteAlias",
    summary="Delete an alias",
    status_code=204,
    responses=problems(400, 404, 409, 412),
)
async def delete_alias(address: AddressPath, caller: Caller, service: Decisions, expected: Expected) -> Response:
    """Refused while another alias or a catch-all leads to it."""
    await service.delete_alias(caller, address, expected)
    return Response(status_code=204)
