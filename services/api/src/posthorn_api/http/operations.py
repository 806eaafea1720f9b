"""What all operations share: the caller, the service, paths with addresses, answers of creations, problem documents."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Request, Response, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.convertors import Convertor, register_url_convertor

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.changes import Versions
from posthorn_api.directory.service import DirectoryService
from posthorn_api.http.guard import GuardedRoute
from posthorn_api.http.problems import Problem
from posthorn_api.http.schemas import ProblemView


class _AddressConvertor(Convertor[str]):
    """A path segment; or more than one, when what follows an @ is the last: a local part may hold slashes."""

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
    description="An API key: `ph_` and 43 characters. Or a token of the OpenID Connect issuer, where one is configured.",
)


def _caller(request: Request) -> ApiKey:
    caller: ApiKey = request.state.caller
    return caller


def _platform(request: Request) -> ApiKey:
    caller = _caller(request)
    if caller.tenant is not None:
        raise Problem(403, "forbidden", "only a key of the whole platform may do this")
    return caller


def _service(request: Request) -> DirectoryService:
    service: DirectoryService = request.app.state.service
    return service


def _idempotency_key(
    _key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 characters of your choice. The same key with the same request gets the same answer for"
            " 24 hours, and the request is done once.",
        ),
    ] = None,
) -> None:
    """Only for the documentation: the guard does it."""


def _versions(request: Request) -> Versions:
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


def _if_match(
    request: Request,
    _header: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="ETags of the object as it was read. If it has changed since, nothing is done, and the answer is 412.",
        ),
    ] = None,
) -> Versions:
    return _versions(request)


Expected = Annotated[Versions, Depends(_if_match)]
"""The versions that If-Match names."""
Caller = Annotated[ApiKey, Depends(_caller)]
Platform = Annotated[ApiKey, Depends(_platform)]
Decisions = Annotated[DirectoryService, Depends(_service)]
AddressPath = Annotated[
    str, Path(description="An address; it may be percent-encoded.", examples=["alice@example.test"])
]
DomainPath = Annotated[str, Path(description="A domain name.", examples=["example.test"])]
POST_ONLY = [Depends(_idempotency_key)]

_EXPLAINED = {
    400: "The body does not read",
    401: "No API key, or one that is not known",
    403: "The key's role does not allow it",
    404: "There is no such object",
    408: "The body did not arrive in time",
    409: "The state of other objects forbids it",
    412: "The object has changed since it was read",
    413: "The body is too large",
    415: "The body is no JSON",
    422: "A field holds a value that cannot be taken",
    429: "The key, or its tenant, has asked for as much as it may for now; see Retry-After",
    500: "A fault of the system; the answer names its id in the log",
    503: "A part of the system does not answer now; try again",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give the responses of an operation that are problem documents."""
    always = (401, 403, 422, 429, 500, 503)
    return {
        status: {"model": ProblemView, "description": _EXPLAINED[status]} for status in sorted({*always, *statuses})
    }


BODY_PROBLEMS = (400, 413, 415)


def created(view: BaseModel, collection: str, name: str, version: str | None = None) -> Response:
    """Answer 201 with the object, its place, and the ETag of its version."""
    headers = {"Location": f"/v1/{collection}/{quote(name, safe='@')}"}
    if version is not None:
        headers["ETag"] = etag(version)
    return Response(view.model_dump_json(by_alias=True), 201, headers, "application/json")


def etag(version: str) -> str:
    """Give the ETag of a version (RFC 9110 §8.8.3)."""
    return f'"{version}"'


def router(tag: str) -> APIRouter:
    """Make a router whose operations are guarded."""
    return APIRouter(route_class=GuardedRoute, tags=[tag], dependencies=[Security(_BEARER)])
