"""Operations that sign a browser in and out, and tell who the caller is."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import RedirectResponse
from starlette.routing import Route

from posthorn.ports.api_keys import ApiKey
from posthorn.runtime.client_networks import client_key
from posthorn_api.http.callers import (
    SESSION_PREFIX,
    address_of,
    is_same_origin,
    session_cookie,
)
from posthorn_api.http.guard import Guard
from posthorn_api.http.guarded_route import GuardedRoute
from posthorn_api.http.operations import (
    ACCOUNT_LOGIN,
    BODY_PROBLEMS,
    POST_ONLY,
    Caller,
    Platform,
    problems,
    router,
    service_of,
)
from posthorn_api.http.permissions import permitted
from posthorn_api.http.problems import Problem, problem_of
from posthorn_api.login.oidc import CONSOLE, ENDED_FLOW, FLOW_COOKIE
from posthorn_api.login.schemas import (
    LoginLinkView,
    LoginMethodsView,
    LoginRequest,
    MeAccountView,
    MeTenantView,
    MeView,
    OidcMethodView,
    SessionsEnd,
    SessionsEndedView,
)
from posthorn_api.login.service import ENDED_COOKIE, LoginService, SignedIn

login = APIRouter(route_class=GuardedRoute, tags=["Sign-in"])
known = router("Sign-in")

Logins = Annotated[LoginService, Depends(service_of(LoginService))]


@login.get(
    "/v1/login/methods",
    operation_id="getLoginMethods",
    summary="Get the ways to sign in.",
    responses=problems(),
)
async def get_login_methods(service: Logins) -> LoginMethodsView:
    """For the sign-in page of a console. No key is needed."""
    oidc = None if service.oidc is None else OidcMethodView(name=service.oidc.name)
    return LoginMethodsView(key=True, account=True, oidc=oidc)


@login.post(
    "/v1/login",
    operation_id="createLogin",
    summary="Create a session by signing in.",
    response_model=MeView,
    responses=problems(*BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def create_login(body: LoginRequest, request: Request, service: Logins) -> Response:
    """With an API key, with the address and password of an account, or with a one-time link. The
    answer sets the cookie `__Host-posthorn`, which authenticates later requests of the browser.
    The session ends after 8 hours without a request, after 24 hours, with its key, and when the
    account's password changes; one by single sign-on ends earlier (`POSTHORN_OIDC_SESSION_SECONDS`).
    Requests by the cookie that change something need `Sec-Fetch-Site: same-origin`, which browsers
    send. An `Idempotency-Key` is ignored.
    """
    if "sec-fetch-site" in request.headers and not is_same_origin(request):
        raise Problem(403, "cross-site", "the sign-in must come from our own pages")
    address = address_of(request)
    if body.key is not None:
        guard: Guard = request.app.state.guard
        done = await service.begin(
            await guard.callers.identify(body.key, client_key(address), address)
        )
    elif body.account is not None and body.password is not None:
        done = await service.by_password(body.account, body.password, address)
    else:
        done = await service.by_link(body.link or "")
    return signed_in(done)


@known.delete(
    "/v1/login",
    operation_id="deleteLogin",
    summary="Delete the session by signing out.",
    status_code=204,
    responses=problems(409),
)
async def delete_login(request: Request, _caller: Caller, service: Logins) -> Response:
    """The cookie ends on the server, within two seconds on every server. Refused with 409
    (conflict) if the request is not made with a session.
    """
    token = session_cookie(request) or request.headers.get("authorization", "").partition(" ")[2]
    if not token.strip().startswith(SESSION_PREFIX):
        raise Problem(409, "conflict", "this request is not made with a session")
    await service.end(token.strip())
    guard: Guard = request.app.state.guard
    guard.callers.forget(token.strip())
    return Response(status_code=204, headers={"Set-Cookie": ENDED_COOKIE})


@known.post(
    "/v1/login/links",
    operation_id="createLoginLink",
    summary="Create a one-time link to sign in by.",
    status_code=201,
    responses=problems(400, 409),
    dependencies=POST_ONLY,
)
async def create_login_link(
    request: Request, caller: Caller, service: Logins, response: Response
) -> LoginLinkView:
    """It signs in as the calling key, once, within 10 minutes. For platform admins."""
    token, until = await service.create_link(caller)
    response.headers["Location"] = "/v1/login"
    return LoginLinkView(link=token, path=f"{CONSOLE}#link={token}", expires_at=until)


@known.post(
    "/v1/login/sessions/end",
    operation_id="endSessions",
    summary="Delete all sessions of a subject.",
    responses=problems(*BODY_PROBLEMS),
    dependencies=POST_ONLY,
)
async def end_sessions(body: SessionsEnd, _: Platform, service: Logins) -> SessionsEndedView:
    """The browsers in which the subject has signed in at the OpenID Connect issuer are refused within
    two seconds, on every server. Take its role away at the issuer first, or it signs in again.
    Tokens of the issuer itself are good until they expire. For platform admins.
    """
    return SessionsEndedView(ended=await service.end_all(body.subject))


@known.get(
    "/v1/me",
    operation_id="getMe",
    summary="Get the caller and its rights.",
    responses=problems(),
    dependencies=[ACCOUNT_LOGIN],
)
async def get_me(caller: Caller) -> MeView:
    """Who the key, token or session belongs to, and the operations that it may use."""
    return view_of(caller)


def signed_in(done: SignedIn) -> Response:
    """Answer with the caller, and set the cookie."""
    return Response(
        view_of(done.caller).model_dump_json(),
        headers={"Set-Cookie": done.cookie},
        media_type="application/json",
    )


def view_of(caller: ApiKey) -> MeView:
    """Show a caller."""
    kind = "account" if caller.account is not None else "token" if caller.is_token else "key"
    account = None
    if caller.account is not None and caller.account_id is not None:
        account = MeAccountView(id=caller.account_id, address=caller.account)
    return MeView(
        kind=kind,  # type: ignore[arg-type]
        name=caller.name,
        role=caller.role.value,
        tenant=None
        if caller.tenant is None
        else MeTenantView(id=caller.tenant, name=caller.tenant_name),
        account=account,
        expires_at=caller.expires_at,
        operations=permitted(caller),
        version=version("posthorn-api"),
    )


def oidc_pages(service: LoginService) -> list[Route]:
    """Make the two steps of the sign-in at an issuer, which browsers are led through."""

    async def begin(request: Request) -> Response:
        if service.oidc is None:
            raise Problem(404, "not-found", "there is no issuer to sign in at")
        target, cookie = await service.oidc.begin(request.query_params.get("next", CONSOLE))
        return RedirectResponse(target, 302, {"Set-Cookie": cookie})

    async def finish(request: Request) -> Response:
        if service.oidc is None:
            raise Problem(404, "not-found", "there is no issuer to sign in at")
        caller, path = await service.oidc.finish(
            request.cookies.get(FLOW_COOKIE), dict(request.query_params)
        )
        done = await service.begin(caller, seconds=service.oidc.session_seconds)
        response = RedirectResponse(path, 302)
        response.headers.append("Set-Cookie", done.cookie)
        response.headers.append("Set-Cookie", ENDED_FLOW)
        return response

    async def guarded(request: Request) -> Response:
        guard: Guard = request.app.state.guard
        try:
            guard.rates.charge(f"client {client_key(address_of(request))}", "oidcLogin")
            is_return = request.url.path.endswith("/callback")
            return await (finish if is_return else begin)(request)
        except Exception as error:
            return problem_of(error).response()

    return [
        Route("/v1/login/oidc", guarded, methods=["GET"]),
        Route("/v1/login/oidc/callback", guarded, methods=["GET"]),
    ]
