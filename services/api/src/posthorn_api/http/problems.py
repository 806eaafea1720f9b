"""Problem documents (RFC 9457): every answer that is no success."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from posthorn.ports.errors import (
    Conflict,
    FieldError,
    Halted,
    NotFound,
    PreconditionFailed,
    Unavailable,
    ValidationFailed,
)
from posthorn.ports.idempotency import IdempotencyClash
from posthorn.runtime.fair_slots import SlotsTaken
from posthorn.runtime.fault_texts import fault_text
from posthorn.runtime.ids import new_id
from posthorn.runtime.passwords import Busy

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:posthorn:problem:"

_TITLES = {
    "changed": "Precondition failed",
    "cross-site": "Forbidden for other sites",
    "invalid": "Validation failed",
    "malformed": "Malformed request",
    "idempotency-key-reused": "Idempotency-Key reused",
    "idempotency-key-in-use": "Idempotency-Key in use",
}


class Problem(Exception):
    """An answer that is no success."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        faults: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.faults = faults
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the HTTP answer."""
        return Response(json.dumps(self.document()).encode(), self.status, self.headers, MEDIA_TYPE)

    def document(self) -> dict[str, Any]:
        """Return the problem document."""
        document: dict[str, Any] = {
            "type": _TYPE + self.slug,
            "title": _TITLES.get(self.slug, HTTPStatus(self.status).phrase),
            "status": self.status,
            "detail": self.detail,
        }
        if self.faults:
            document["errors"] = [
                {"field": fault.field, "message": fault.message} for fault in self.faults
            ]
        return document


def unauthorized(detail: str, *, shown: bool) -> Problem:
    """401 with its challenge (RFC 6750 §3); ``shown`` when a key came that is not known."""
    challenge = 'Bearer realm="posthorn"' + (', error="invalid_token"' if shown else "")
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})


def problem_of(error: Exception) -> Problem:
    """Return the problem that an exception is to a caller. What is not foreseen is logged, and
    shows an id only."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _validation(error)
        case HTTPException():
            return _http(error)
        case ValidationFailed():
            return Problem(422, "invalid", str(error), faults=error.faults)
        case NotFound():
            return Problem(404, "not-found", str(error) or "not found")
        case PreconditionFailed():
            return Problem(412, "changed", str(error))
        case Conflict():
            return Problem(409, "conflict", str(error))
        case IdempotencyClash(running=True):
            return Problem(
                409,
                "idempotency-key-in-use",
                "the first request with this Idempotency-Key is still running",
                headers={"Retry-After": "1"},
            )
        case IdempotencyClash():
            return Problem(
                422,
                "idempotency-key-reused",
                "this Idempotency-Key was used for another request; use a new one",
            )
        case RateLimited() | SlotsTaken(own=True):
            seconds = str(math.ceil(error.seconds))
            return Problem(
                429,
                "too-many-requests",
                f"{_detail(error)}; try again in {seconds} s",
                headers={"Retry-After": seconds},
            )
        case Halted():
            log.warning("halted", detail=error.detail)
            said = "service halted: the stores are not known to belong together; see posthorn-api installation"
            return Problem(503, "halted", said, headers={"Retry-After": "5"})
        case Unavailable() | Busy():
            log.warning("a request cannot be answered", fault=error)
            return Problem(
                503,
                "unavailable",
                _unavailable(error),
                headers={"Retry-After": "2"},
            )
    number = new_id()
    log.error("unexpected failure", error_id=str(number), exc_info=error)
    return Problem(500, "internal", f"internal error; logged with the id {number}")


def _unavailable(error: Unavailable | Busy) -> str:
    if isinstance(error, Busy):
        return "too many passwords are being checked; try again"
    return f"a part of the system does not answer: {error.part}; try again"


def _detail(error: RateLimited | SlotsTaken) -> str:
    return error.detail if isinstance(error, SlotsTaken) else str(error)


def _http(error: HTTPException) -> Problem:
    known = {
        400: ("malformed", "the body is not valid JSON in UTF-8"),
        404: ("not-found", "no such path; /docs lists the operations"),
        413: ("too-large", error.detail),
        405: ("method-not-allowed", "this path does not allow the method"),
    }
    slug, detail = known.get(error.status_code, ("error", HTTPStatus(error.status_code).phrase))
    return Problem(error.status_code, slug, detail, headers=error.headers)


def _validation(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(fault["type"] == "json_invalid" for fault in found):
        return Problem(
            400,
            "malformed",
            f"the body is not valid JSON: {found[0].get('ctx', {}).get('error', 'syntax error')}",
        )
    faults = [
        FieldError(_field(fault["loc"][1:]) or str(fault["loc"][0]), _message(fault))
        for fault in found
    ]
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
    return Problem(422, "invalid", detail, faults=faults)


def faults_of(found: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Return what a shape found wrong with a document that stands alone."""
    return [FieldError(_field(fault["loc"]) or "line", _message(fault)) for fault in found]


def _field(location: Sequence[int | str]) -> str:
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name[:200]


def _message(fault: Mapping[str, Any]) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            if fault["loc"] == ("body",):
                return "a JSON body is needed"
            return f"this {'parameter' if fault['loc'][0] == 'query' else 'field'} is missing"
    return fault_text(fault)


class RateLimited(Exception):
    """The key, or who sends by it, has done as much as it may for now."""

    def __init__(self, detail: str, seconds: float) -> None:
        super().__init__(detail)
        self.seconds = seconds
        """When the same would be taken. The answer says it after ``detail``."""


def answering(
    answer: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the same for a page without a key, its failures as problem documents."""

    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except Exception as error:
            return problem_of(error).response()

    return answered
