"""What stands before every operation: who is calling, what may the key do, was this request made before.

Rules:

- A key is looked up by its SHA-256; what was found is remembered for a few seconds. No line of any log holds a key.
- The body is read before the operation, bounded in octets (``edge``) and time.
- Idempotency-Key: the key is reserved for the hash of the request, the operation runs, its answer is stored. Answers of 500 and
  above are not: the same request may be tried again. What has an effect outside the database (``first_attempt``) may have had it
  all the same: then each attempt works under the id of the first, which makes a repeat of the effect harmless. The hash is keyed
  with the caller's API key, for a request can hold a password, and a bare SHA-256 of it would be worth guessing at.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

import structlog
from fastapi import Request, Response
from fastapi.routing import APIRoute

from posthorn.ports.administration import Answer, ApiKey, ApiKeys, Idempotency, Receipt, Reservation, Role
from posthorn.ports.faults import Unavailable
from posthorn.runtime.ids import new_id
from posthorn_api.large_bodies import SEND_PATH, LargeBodies
from posthorn_api.problems import Problem, problem_of, unauthorized

log = structlog.get_logger()

_REMEMBER_SECONDS = 5.0
_REMEMBERED = 1000
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
_JSON = re.compile(r"application/(?:json|[\w.+-]+\+json)\Z", re.IGNORECASE)
_KEPT_HEADERS = ("content-type", "location")

type _Operation = Callable[[Request], Awaitable[Response]]


def key_hash(key: str) -> bytes:
    """Give the form in which a key is stored."""
    return hashlib.sha256(key.encode()).digest()


class Guard:
    """Lets requests through to their operations."""

    def __init__(self, keys: ApiKeys, idempotency: Idempotency, large_bodies: LargeBodies | None = None) -> None:
        self._keys = keys
        self._idempotency = idempotency
        self._large_bodies = large_bodies or LargeBodies()
        self._remembered: dict[bytes, tuple[float, ApiKey]] = {}

    async def handle(self, request: Request, operation: _Operation, *, takes_json: bool) -> Response:
        """Run the operation if it may run. Raises what ``problem_of`` knows."""
        shown = _bearer(request)
        caller = await self._caller(shown)
        request.state.caller = caller
        structlog.contextvars.bind_contextvars(key_id=str(caller.id), key_name=caller.name)
        _authorise(caller, request)
        async with self._large_bodies.room(request):
            return await self._let_through(request, operation, shown, takes_json=takes_json)

    async def _let_through(self, request: Request, operation: _Operation, shown: str, *, takes_json: bool) -> Response:
        caller: ApiKey = request.state.caller
        try:
            async with asyncio.timeout(self._large_bodies.patience(request)):
                body = await request.body()
        except TimeoutError:
            raise Problem(408, "timeout", "the body did not arrive in time", headers={"Connection": "close"}) from None
        if takes_json:
            _check_media_type(request)
        wanted = request.headers.get("idempotency-key")
        if request.method != "POST" or wanted is None:
            return await operation(request)
        if not _IDEMPOTENCY_KEY.match(wanted):
            raise Problem(400, "malformed", "Idempotency-Key must be 1 to 255 visible ASCII characters")
        material = b"\0".join((b"POST", request.url.path.encode(), request.url.query.encode(), body))
        digest = hmac.digest(shown.encode(), material, hashlib.sha256)
        return await self._once(request, operation, Reservation(caller.id, wanted, digest, new_id()))

    async def _once(self, request: Request, operation: _Operation, reservation: Reservation) -> Response:
        kept = await self._idempotency.reserve(reservation)
        if kept is not None:
            return Response(kept.body, kept.status, {**kept.headers, "Idempotency-Replayed": "true"})
        request.state.reservation = reservation
        try:
            try:
                response = await operation(request)
            except Exception as error:
                response = problem_of(error).response()
        except BaseException:
            await self._free(request, reservation)
            raise
        try:
            if response.status_code >= 500:
                await self._free(request, reservation)
            else:
                await self._idempotency.complete(reservation, answer_of(response))
        except Unavailable as fault:
            # what a creation answers is stored with what it made; other answers are lost with a fault just now
            log.warning("an answer could not be kept", detail=str(fault))
        return response

    async def _free(self, request: Request, reservation: Reservation) -> None:
        if getattr(request.state, "is_anchored", False):
            await self._idempotency.suspend(reservation)
        else:
            await self._idempotency.release(reservation)

    async def first_attempt(self, request: Request) -> UUID:
        """Give an id that is the same for every attempt at this request; without an Idempotency-Key, a new one."""
        reservation: Reservation | None = getattr(request.state, "reservation", None)
        if reservation is None:
            return new_id()
        request.state.is_anchored = True
        return await self._idempotency.first_attempt(reservation)

    async def _caller(self, shown: str) -> ApiKey:
        digest = key_hash(shown)
        now = time.monotonic()
        until, known = self._remembered.get(digest, (0.0, None))
        if known is not None and until > now:
            return known
        found = await self._keys.by_hash(digest)
        if found is None:
            self._remembered.pop(digest, None)
            raise unauthorized("this API key is not known", shown=True)
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[digest] = (now + _REMEMBER_SECONDS, found)
        return found


class GuardedRoute(APIRoute):
    """A route whose operation runs behind the application's guard, and whose every failure is a problem document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        operation = super().get_route_handler()
        takes_json = self.body_field is not None

        async def handle(request: Request) -> Response:
            guard: Guard = request.app.state.guard
            try:
                return await guard.handle(request, operation, takes_json=takes_json)
            except Exception as error:
                return problem_of(error).response()

        return handle


def answer_of(response: Response) -> Answer:
    """Give what is to be stored of an answer."""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return Answer(response.status_code, headers, bytes(response.body))


def receipt[T](request: Request, render: Callable[[T], Response]) -> Receipt[T] | None:
    """Give what has a creation store its own answer; None when no Idempotency-Key came."""
    reservation: Reservation | None = getattr(request.state, "reservation", None)
    if reservation is None:
        return None
    return Receipt(reservation, lambda made: answer_of(render(made)))


def _bearer(request: Request) -> str:
    header = request.headers.get("authorization")
    if header is None:
        raise unauthorized("an API key is needed: Authorization: Bearer <key>", shown=False)
    scheme, _, key = header.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise unauthorized("the Authorization header must be: Bearer <key>", shown=False)
    return key


def _authorise(caller: ApiKey, request: Request) -> None:
    match caller.role:
        case Role.PLATFORM_ADMIN | Role.TENANT_ADMIN:
            return
        case Role.READ_ONLY if request.method == "GET":
            return
        case Role.SEND_ONLY if (request.method, request.url.path) == ("POST", SEND_PATH):
            return
    raise Problem(403, "forbidden", f"a key with the role {caller.role.value} may not do this")


def _check_media_type(request: Request) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip()
    if not _JSON.match(given):
        raise Problem(415, "unsupported-media-type", "the body must be JSON: Content-Type: application/json")
