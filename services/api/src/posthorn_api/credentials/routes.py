"""Operations on DKIM keys and app passwords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import Depends, Path, Request, Response

from posthorn.ports.app_passwords import AppPassword
from posthorn.ports.sign_ins import SignInDay
from posthorn_api.credentials.schemas import (
    AppPasswordCreation,
    AppPasswordView,
    DkimKeyView,
    DkimRotation,
    DkimView,
    NewAppPasswordView,
    SignInView,
)
from posthorn_api.credentials.service import CredentialService
from posthorn_api.directory.fields import domain_in
from posthorn_api.http.idempotency import receipt
from posthorn_api.http.operations import (
    ACCOUNT_LOGIN,
    BODY_PROBLEMS,
    POST_ONLY,
    AddressPath,
    Caller,
    DomainPath,
    created,
    problems,
    router,
    service_of,
)
from posthorn_api.http.pagination import Cursor, Limit, id_in, number_in, page
from posthorn_api.http.schemas import Page

dkim = router("DKIM")
app_passwords = router("App passwords")

_PASSWORDS = "/v1/accounts/{address:address}/app-passwords"


Credentials = Annotated[CredentialService, Depends(service_of(CredentialService))]
PasswordPath = Annotated[UUID, Path(alias="id", description="Id of the app password.")]


@dkim.get(
    "/v1/domains/{name}/dkim",
    operation_id="listDkimKeys",
    summary="List the DKIM keys of a domain.",
    responses=problems(404),
)
async def list_dkim_keys(name: DomainPath, caller: Caller, identity: Credentials) -> DkimView:
    """Newest first, each with the DNS record that it needs."""
    keys = await identity.dkim(caller, name)
    return DkimView(
        domain=domain_in("name", name), keys=[DkimKeyView.from_key(key) for key in keys]
    )


@dkim.post(
    "/v1/domains/{name}/dkim/rotate",
    operation_id="rotateDkimKeys",
    summary="Rotate the DKIM keys of a domain.",
    status_code=201,
    response_model=DkimView,
    responses=problems(404, 409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def rotate_dkim_keys(
    name: DomainPath, body: DkimRotation, caller: Caller, identity: Credentials
) -> Response:
    """Creates new keys. Publish the records in the answer; the new keys replace the old ones when
    `delay_seconds` have passed.
    """
    keys = await identity.rotate(
        caller, name, body.algorithms, body.selector, body.delay_seconds, body.overlap_seconds
    )
    domain = domain_in("name", name)
    view = DkimView(domain=domain, keys=[DkimKeyView.from_key(key) for key in keys])
    return created(view, f"domains/{domain}", "dkim")


@app_passwords.post(
    _PASSWORDS,
    operation_id="createAppPassword",
    summary="Create an app password.",
    status_code=201,
    response_model=NewAppPasswordView,
    responses=problems(404, 409, *BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_app_password(
    request: Request,
    address: AddressPath,
    body: AppPasswordCreation,
    caller: Caller,
    identity: Credentials,
) -> Response:
    """A password for one mail client or program of the account's owner, valid for its scopes. It is
    shown in this answer only. An account has 100 at most.
    """
    place = f"accounts/{quote(address, safe='@')}/app-passwords"

    def render(made: AppPassword, password: str | None = None) -> Response:
        return created(NewAppPasswordView.shown(made, password), place, str(made.id))

    # What is kept for a repeat is rendered without the password, in the transaction that makes it:
    # no later answer replaces it.
    made, password = await identity.create_app_password(
        caller,
        address,
        body.name,
        body.scopes,
        receipt(request, render),
        expires_at=body.expires_at,
        networks=body.networks,
    )
    return render(made, password)


@app_passwords.get(
    _PASSWORDS,
    operation_id="listAppPasswords",
    summary="List app passwords.",
    responses=problems(404),
)
async def list_app_passwords(
    address: AddressPath,
    caller: Caller,
    identity: Credentials,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AppPasswordView]:
    """Sorted by creation time. The passwords themselves are not shown."""
    found = await identity.app_passwords(caller, address, id_in(cursor), limit + 1)
    return page(found, limit, AppPasswordView.from_app_password, lambda made: str(made.id))


@app_passwords.delete(
    f"{_PASSWORDS}/{{id}}",
    operation_id="deleteAppPassword",
    summary="Delete an app password.",
    status_code=204,
    responses=problems(404),
)
async def delete_app_password(
    address: AddressPath, number: PasswordPath, caller: Caller, identity: Credentials
) -> Response:
    """The password is refused from now on; open sessions stay open."""
    await identity.delete_app_password(caller, address, number)
    return Response(status_code=204)


@app_passwords.get(
    "/v1/accounts/{address:address}/sign-ins",
    operation_id="listSignIns",
    summary="List sign-ins to an account.",
    responses=problems(404),
    dependencies=[ACCOUNT_LOGIN],
)
async def list_sign_ins(
    address: AddressPath,
    caller: Caller,
    identity: Credentials,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[SignInView]:
    """Of the last 30 days, by any protocol, the latest first; attempts of one kind on one day are
    one item. New ones appear after a few seconds.
    """
    return sign_in_page(await identity.sign_ins(caller, address), limit, cursor)


def sign_in_page(found: Sequence[SignInDay], limit: int, cursor: str | None) -> Page[SignInView]:
    """Return a page of all sign-ins of an account, which are a bounded number."""
    begin = number_in(cursor) or 0
    numbered = list(enumerate(found[begin : begin + limit + 1], begin + 1))
    return page(numbered, limit, lambda each: SignInView.of(each[1]), lambda each: each[0])
