"""Operations on domains, accounts and aliases."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request, Response

from posthorn.ports.accounts import Account
from posthorn.ports.aliases import Alias
from posthorn.ports.domains import Domain, NewDomain
from posthorn_api.credentials.routes import Credentials
from posthorn_api.directory.schemas import (
    AccountChange,
    AccountCreation,
    AccountView,
    AliasChange,
    AliasCreation,
    AliasView,
    DomainChange,
    DomainCreation,
    DomainView,
)
from posthorn_api.dns.routes import Dns
from posthorn_api.dns.schemas import NewDomainView
from posthorn_api.http.idempotency import receipt
from posthorn_api.http.operations import (
    BODY_PROBLEMS,
    POST_ONLY,
    AddressPath,
    Caller,
    Directory,
    DomainPath,
    Expected,
    created,
    etag,
    problems,
    router,
)
from posthorn_api.http.pagination import SORT, AskedList, OfTenant, listed
from posthorn_api.http.schemas import Page

domains = router("Domains")
accounts = router("Accounts")
aliases = router("Aliases")

DomainFilter = Annotated[
    str | None, Query(max_length=1000, description="Only addresses of this domain.")
]


def _made_account(account: Account) -> Response:
    return created(AccountView.from_account(account), "accounts", account.address, account.version)


def _made_alias(alias: Alias) -> Response:
    return created(AliasView.from_alias(alias), "aliases", alias.address, alias.version)


def _domain(domain: Domain, response: Response) -> DomainView:
    response.headers["ETag"] = etag(domain.version)
    return DomainView.from_domain(domain)


def _account(account: Account, response: Response) -> AccountView:
    response.headers["ETag"] = etag(account.version)
    return AccountView.from_account(account)


def _alias(alias: Alias, response: Response) -> AliasView:
    response.headers["ETag"] = etag(alias.version)
    return AliasView.from_alias(alias)


@domains.post(
    "/v1/domains",
    operation_id="createDomain",
    summary="Create a domain.",
    status_code=201,
    response_model=NewDomainView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_domain(
    request: Request,
    body: DomainCreation,
    caller: Caller,
    service: Directory,
    identity: Credentials,
    names: Dns,
) -> Response:
    """Unless `dkim` is false, the domain gets two DKIM keys, RSA 2048 and Ed25519, which sign its
    mail at once. The answer holds the DNS records to publish. Mail for accounts and aliases of
    the domain is accepted as soon as they exist or, if the tenant's domains must be verified,
    once the domain is verified.
    """
    keys = await identity.keys_of_new(caller, body.name) if body.dkim else ()
    new = NewDomain(body.name, body.tenant, body.catch_all, body.plus_addressing, keys)

    def render(domain: Domain) -> Response:
        view = NewDomainView.made(domain, names.of_new(domain, keys))
        return created(view, "domains", domain.name, domain.version)

    return render(await service.create_domain(caller, new, receipt(request, render)))


DnsFilter = Annotated[
    Literal["right", "wrong", "unknown", "unchecked"] | None,
    Query(description="State of the DNS records at the last check; `unchecked`: none yet."),
]


@domains.get(
    "/v1/domains", operation_id="listDomains", summary="List domains.", responses=problems()
)
async def list_domains(
    caller: Caller,
    service: Directory,
    asked: AskedList,
    dns: DnsFilter = None,
    state: Annotated[
        Literal["verified", "unverified"] | None,
        Query(description="Whether the ownership has been verified."),
    ] = None,
    tenant: OfTenant = None,
    sort: Annotated[
        Literal["name", "-name", "created", "-created"] | None, Query(description=SORT)
    ] = None,
) -> Page[DomainView]:
    """Sorted by name. `q` is part of the name."""
    query = asked.query(sort, state=state, owner=tenant)
    return listed(await service.domains(caller, query, dns), DomainView.from_domain, sort)


@domains.get(
    "/v1/domains/{name}", operation_id="getDomain", summary="Get a domain.", responses=problems(404)
)
async def get_domain(
    name: DomainPath, caller: Caller, service: Directory, response: Response
) -> DomainView:
    """The answer includes the limits and settings of the domain."""
    return _domain(await service.domain(caller, name), response)


@domains.patch(
    "/v1/domains/{name}",
    operation_id="changeDomain",
    summary="Update a domain.",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def change_domain(
    name: DomainPath,
    body: DomainChange,
    caller: Caller,
    service: Directory,
    expected: Expected,
    response: Response,
) -> DomainView:
    """Only the fields in the body are changed."""
    changed = await service.change_domain(
        caller, name, body.model_dump(exclude_unset=True), expected
    )
    return _domain(changed, response)


@domains.delete(
    "/v1/domains/{name}",
    operation_id="deleteDomain",
    summary="Delete a domain.",
    status_code=204,
    responses=problems(400, 404, 409, 412),
)
async def delete_domain(
    name: DomainPath, caller: Caller, service: Directory, expected: Expected
) -> Response:
    """Refused with 409 (conflict) while the domain has accounts or aliases."""
    await service.delete_domain(caller, name, expected)
    return Response(status_code=204)


@accounts.post(
    "/v1/accounts",
    operation_id="createAccount",
    summary="Create an account.",
    status_code=201,
    response_model=AccountView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_account(
    request: Request, body: AccountCreation, caller: Caller, service: Directory
) -> Response:
    """The account has the standard mailboxes (INBOX, Junk, Sent, Trash, Drafts, Archive), and can
    receive mail as soon as this is answered.
    """
    account = await service.create_account(
        caller,
        body.address,
        body.password,
        body.quota_bytes,
        receipt(request, _made_account),
        body.password_hash,
    )
    return _made_account(account)


@accounts.get(
    "/v1/accounts", operation_id="listAccounts", summary="List accounts.", responses=problems()
)
async def list_accounts(
    caller: Caller,
    service: Directory,
    asked: AskedList,
    domain: DomainFilter = None,
    state: Annotated[
        Literal["active", "suspended", "receive-only"] | None,
        Query(description="Only accounts in this state."),
    ] = None,
    tenant: OfTenant = None,
    sort: Annotated[
        Literal["address", "-address", "created", "-created", "used", "-used"] | None,
        Query(description=f"{SORT} `used`: by the size of the mail."),
    ] = None,
) -> Page[AccountView]:
    """Sorted by address. `q` is part of the address."""
    query = asked.query(sort, state=state, owner=tenant)
    return listed(await service.accounts(caller, query, domain), AccountView.from_account, sort)


@accounts.get(
    "/v1/accounts/{address:address}",
    operation_id="getAccount",
    summary="Get an account.",
    responses=problems(404),
)
async def get_account(
    address: AddressPath, caller: Caller, service: Directory, response: Response
) -> AccountView:
    """The answer includes the used part of the quota."""
    return _account(await service.account(caller, address), response)


@accounts.patch(
    "/v1/accounts/{address:address}",
    operation_id="changeAccount",
    summary="Update an account.",
    responses=problems(404, 412, *BODY_PROBLEMS),
)
async def change_account(
    address: AddressPath,
    body: AccountChange,
    caller: Caller,
    service: Directory,
    expected: Expected,
    response: Response,
) -> AccountView:
    """Changes the password, the quota, the state or the sending limits."""
    changed = await service.change_account(
        caller, address, body.model_dump(exclude_unset=True), expected
    )
    return _account(changed, response)


@accounts.delete(
    "/v1/accounts/{address:address}",
    operation_id="deleteAccount",
    summary="Delete an account and its mail.",
    status_code=204,
    responses=problems(400, 404, 409, 412),
)
async def delete_account(
    address: AddressPath, caller: Caller, service: Directory, expected: Expected
) -> Response:
    """Refused with 409 (conflict) while an alias or a catch-all refers to the account."""
    await service.delete_account(caller, address, expected)
    return Response(status_code=204)


@aliases.post(
    "/v1/aliases",
    operation_id="createAlias",
    summary="Create an alias.",
    status_code=201,
    response_model=AliasView,
    responses=problems(409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_alias(
    request: Request, body: AliasCreation, caller: Caller, service: Directory
) -> Response:
    """An address that forwards to accounts, to other aliases or to addresses elsewhere."""
    alias = await service.create_alias(
        caller, body.address, body.targets, receipt(request, _made_alias)
    )
    return _made_alias(alias)


@aliases.get(
    "/v1/aliases", operation_id="listAliases", summary="List aliases.", responses=problems()
)
async def list_aliases(
    caller: Caller,
    service: Directory,
    asked: AskedList,
    domain: DomainFilter = None,
    target: Annotated[
        str | None,
        Query(max_length=1000, description="Only aliases with this address among their targets."),
    ] = None,
    tenant: OfTenant = None,
    sort: Annotated[
        Literal["address", "-address", "created", "-created"] | None, Query(description=SORT)
    ] = None,
) -> Page[AliasView]:
    """Sorted by address. `q` is part of the address or of a target."""
    query = asked.query(sort, owner=tenant)
    return listed(await service.aliases(caller, query, domain, target), AliasView.from_alias, sort)


@aliases.get(
    "/v1/aliases/{address:address}",
    operation_id="getAlias",
    summary="Get an alias.",
    responses=problems(404),
)
async def get_alias(
    address: AddressPath, caller: Caller, service: Directory, response: Response
) -> AliasView:
    """The answer includes the state of each target."""
    return _alias(await service.alias(caller, address), response)


@aliases.patch(
    "/v1/aliases/{address:address}",
    operation_id="changeAlias",
    summary="Update an alias.",
    responses=problems(404, 409, 412, *BODY_PROBLEMS),
)
async def change_alias(
    address: AddressPath,
    body: AliasChange,
    caller: Caller,
    service: Directory,
    expected: Expected,
    response: Response,
) -> AliasView:
    """Replaces its targets."""
    return _alias(await service.change_alias(caller, address, body.targets, expected), response)


@aliases.delete(
    "/v1/aliases/{address:address}",
    operation_id="deleteAlias",
    summary="Delete an alias.",
    status_code=204,
    responses=problems(400, 404, 409, 412),
)
async def delete_alias(
    address: AddressPath, caller: Caller, service: Directory, expected: Expected
) -> Response:
    """Refused with 409 (conflict) while another alias or a catch-all refers to it."""
    await service.delete_alias(caller, address, expected)
    return Response(status_code=204)
