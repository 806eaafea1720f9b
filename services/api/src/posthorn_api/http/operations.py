"""What all operations share: the caller, the service, paths with addresses, answers of
creations, problem documents."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Request, Response, Security
from fastapi.security import HTTPBasic, HTTPBearer
from pydantic import BaseModel
from starlette.convertors import Convertor, register_url_convertor

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.changes import Versions
from posthorn_api.directory.service import DirectoryService
from posthorn_api.http.guarded_route import GuardedRoute
from posthorn_api.http.problems import Problem


class _AddressConvertor(Convertor[str]):
    """A path segment; or more than one, when what follows an @ is the last: a local part may
    hold slashes."""

    regex = "[^/]+|.+@[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("address", _AddressConvertor())

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
_TAGS = re.compile(r'(?:\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,|\Z))+\Z')

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key (`ph_` and 43 characters) or a token of the configured OpenID Connect issuer.",
)


ACCOUNT_LOGIN = Security(
    HTTPBasic(
        auto_error=False, scheme_name="Account", description="Address and password of an account."
    )
)
"""Dependency of operations that accounts may call for themselves (``permissions.Rule.own``)."""


def service_of[T](kind: type[T]) -> Callable[[Request], Awaitable[T]]:
    """Return a dependency that finds the application's service of this class. It is a coroutine:
    others run in a thread."""

    async def find(request: Request) -> T:
        found: T = request.app.state.services[kind]
        return found

    return find


async def _caller(request: Request) -> ApiKey:
    caller: ApiKey = request.state.caller
    return caller


async def _platform(request: Request) -> ApiKey:
    caller = await _caller(request)
    if caller.tenant is not None:
        raise Problem(403, "forbidden", "only a key of the whole platform may do this")
    return caller


async def _idempotency_key(
    _key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 characters of your choice. For 24 hours a repeated request with the same key"
            " gets the answer of the first one and is not executed again.",
        ),
    ] = None,
) -> None:
    """Only for the documentation: the guard does it."""


async def _versions(request: Request) -> Versions:
    """Read If-Match (RFC 9110 §13.1.1). A weak tag is equal to none."""
    header = request.headers.getlist("if-match")
    if not header:
        return None
    text = ",".join(header).strip()
    if text == "*":
        return None
    if not _TAGS.match(text):
        raise Problem(400, "malformed", "If-Match must be * or ETags in quotation marks")
    return frozenset(tag for weak, tag in _TAG.findall(text) if not weak)


async def _if_match(
    request: Request,
    _header: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="ETags of the object as it was read. If the object has changed since, nothing is done and"
            " the answer is 412 (precondition failed).",
        ),
    ] = None,
) -> Versions:
    return await _versions(request)


Expected = Annotated[Versions, Depends(_if_match)]
"""The versions that If-Match names."""
Caller = Annotated[ApiKey, Depends(_caller)]
Platform = Annotated[ApiKey, Depends(_platform)]
Directory = Annotated[DirectoryService, Depends(service_of(DirectoryService))]
AddressPath = Annotated[
    str, Path(description="An address; it may be percent-encoded.", examples=["alice@example.test"])
]
DomainPath = Annotated[str, Path(description="Name of the domain.", examples=["example.test"])]
POST_ONLY = [Depends(_idempotency_key)]

_EXPLAINED = {
    400: "Malformed request: the body is not valid JSON, or a header is malformed.",
    401: "Unauthorized: the API key or token is missing, unknown or expired.",
    403: "Forbidden: the role of the key does not permit this operation, or the tenant is suspended.",
    404: "Not found: the object does not exist or belongs to another tenant.",
    408: "Request timeout: the body did not arrive in time.",
    409: "Conflict: the state of this object or of others does not permit the operation.",
    412: "Precondition failed: the object has changed since it was read.",
    413: "Content too large: the body exceeds the size limit.",
    415: "Unsupported media type: the body has another media type than the operation takes.",
    422: "Validation failed: `errors` names the fields.",
    429: "Too many requests: a rate limit or concurrency limit was reached. `Retry-After` says"
    " when to try again, in seconds.",
    500: "Internal error: `detail` names its id in the log.",
    503: "Service unavailable: a part of the system does not answer. Try again after `Retry-After` seconds.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of an operation that are problem documents. Their schema is added by
    ``openapi``: as models, they would be nine of ten that FastAPI makes at start."""
    always = (401, 403, 422, 429, 500, 503)
    return {status: {"description": _EXPLAINED[status]} for status in sorted({*always, *statuses})}


BODY_PROBLEMS = (400, 413, 415)


def created(view: BaseModel, collection: str, name: str, version: str | None = None) -> Response:
    """Answer 201 with the object, its place, and the ETag of its version."""
    headers = {"Location": f"/v1/{collection}/{quote(name, safe='@')}"}
    if version is not None:
        headers["ETag"] = etag(version)
    return Response(view.model_dump_json(by_alias=True), 201, headers, "application/json")


def etag(version: str) -> str:
    """Return the ETag of a version (RFC 9110 §8.8.3)."""
    return f'"{version}"'


def router(tag: str) -> APIRouter:
    """Make a router whose operations are guarded."""
    return APIRouter(route_class=GuardedRoute, tags=[tag], dependencies=[Security(_BEARER)])
