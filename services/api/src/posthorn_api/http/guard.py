"""What stands before every operation: who is calling, what may the key do, was this request made
before.

Rules:

- A key may ask for so much at a time (``rate_limit``); what is done for it counts for its tenant
  (``runtime.holders``).
- Who calls is found by ``callers``.
- What a role may do stands in ``permissions``, and nowhere else.
- Content of mailboxes is shown only when its line in the audit log is written: where that fails the
  answer is 503.
- A change that succeeds has a line in the audit log. What changes things writes it in its own
  transaction; of the rest the line is written here, right after.
- The body is read before the operation, bounded in bytes (``edge``) and time.
- Idempotency-Key: the key is reserved for the hash of the request, the operation runs, its answer
  is stored. Answers of 500 and above, and those that say to try later, are not: the same request
  may be tried again. What has an effect outside the database (``first_attempt``) may have had it
  all the same: then each attempt works under the id of the first, which makes a repeat of the
  effect harmless. The hash is keyed with the caller's API key, for a request can hold a password,
  and a bare SHA-256 of it would be worth guessing at. Tokens are renewed all the time: for those
  who show one it is keyed with a secret of ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import structlog
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.routing import compile_path

from posthorn.ports.api_keys import ApiKey, ApiKeys
from posthorn.ports.audit import Audit
from posthorn.ports.browser_sessions import BrowserSessions
from posthorn.ports.errors import Unavailable
from posthorn.ports.idempotency import Idempotency, Receipt, Reservation, StoredAnswer
from posthorn.runtime.audit_context import AuditContext, enter_audit_context
from posthorn.runtime.client_networks import client_key
from posthorn.runtime.holders import work_for
from posthorn.runtime.ids import new_id
from posthorn_api.auth.account_logins import AccountLogins
from posthorn_api.auth.tokens import Tokens
from posthorn_api.http.callers import Callers, account_in, bearer, refusal, session_cookie
from posthorn_api.http.large_bodies import LargeBodies
from posthorn_api.http.large_json import SMALL, DocumentRequest
from posthorn_api.http.permissions import Rule, rule_of
from posthorn_api.http.problems import Problem, problem_of
from posthorn_api.http.rate_limit import RateLimit

log = structlog.get_logger()

_SHOWN_OF_QUERY = 200
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
_JSON = re.compile(r"application/(?:json|[\w.+-]+\+json)\Z", re.IGNORECASE)
_NDJSON = re.compile(r"application/(?:x-)?(?:ndjson|jsonl|jsonlines)\Z", re.IGNORECASE)
_FOR_NOW = frozenset({408, 429})
"""Answers that say to try again later: kept, they would be the answer to that try."""
MANAGED_BY = "Posthorn-Managed-By"
"""Names the manager of what a request changed (``ports.managers``)."""
_KEPT_HEADERS = ("content-type", "location", "etag")

type _Operation = Callable[[Request], Awaitable[Response]]


class Guard:
    """Lets requests through to their operations."""

    def __init__(
        self,
        keys: ApiKeys,
        idempotency: Idempotency,
        audit: Audit,
        large_bodies: LargeBodies | None = None,
        tokens: Tokens | None = None,
        logins: AccountLogins | None = None,
        rates: RateLimit | None = None,
        sessions: BrowserSessions | None = None,
    ) -> None:
        self.rates = rates or RateLimit()
        self.callers = Callers(keys, self.rates, tokens, logins, sessions)
        self._idempotency = idempotency
        self._audit = audit
        self.large_bodies = large_bodies or LargeBodies()

    async def handle(
        self,
        request: Request,
        operation: _Operation,
        rule: Rule,
        operation_id: str | None,
        *,
        takes_json: bool,
    ) -> Response:
        """Run the operation if it may run. Raises what ``problem_of`` knows."""
        client = client_key(request.client.host) if request.client else ""
        work_for(f"client {client}")  # until it is known who asks
        if rule.public:
            return await self._public(request, operation, client, operation_id, takes_json)
        caller, secret = await self.callers.authenticate(request, rule, client)
        request.state.caller = caller
        work_for(caller.tenant or caller.id)
        structlog.contextvars.bind_contextvars(key_id=str(caller.id), key_name=caller.name)
        self.rates.charge(caller.id, operation_id)
        if not rule.admits(caller):
            raise Problem(403, "forbidden", refusal(caller, rule))
        if rule.action is None:
            async with self.large_bodies.room(request):
                return await self._let_through(request, operation, secret, takes_json=takes_json)
        number = str(structlog.contextvars.get_contextvars().get("request", ""))
        with enter_audit_context(
            AuditContext(str(caller.id), caller.name, caller.role.value, rule.action, number)
        ) as act:
            if rule.streams:
                if not rule.any_type:
                    _check_media_type(
                        request, _NDJSON, "lines of JSON: Content-Type: application/x-ndjson"
                    )
                request.state.pieces = self._pieces(request, rule)
                return await operation(request)
            async with self.large_bodies.room(request):
                response = await self._let_through(
                    request, operation, secret, takes_json=takes_json
                )
            if act.managed_by is not None and response.status_code < 400:
                response.headers[MANAGED_BY] = act.managed_by
            if rule.content and response.status_code < 400:
                await self._note_content(request, response)
            if (
                response.status_code < 400
                and "idempotency-replayed" not in response.headers
                and not act.is_written
            ):
                await self._note(request, response, caller)
            return response

    async def _public(
        self,
        request: Request,
        operation: _Operation,
        client: str,
        operation_id: str | None,
        takes_json: bool,
    ) -> Response:
        """Run an operation that anybody may call. Nothing is kept for an Idempotency-Key: a repeat
        must not be answered with the session of the first."""
        self.rates.charge(f"client {client}", operation_id)
        async with self.large_bodies.room(request):
            await self._body(request)
            if takes_json:
                _check_media_type(request, _JSON, "JSON: Content-Type: application/json")
            return await operation(request)

    async def _pieces(self, request: Request, rule: Rule) -> AsyncIterator[bytes]:
        """Yield the body as it comes, for as long as the caller may send it: it may take hours,
        and a key may be taken away."""
        shown = session_cookie(request) or bearer(request)
        async for piece in request.stream():
            caller, _ = await self.callers.of_token(shown, "", "")
            if not rule.admits(caller):
                raise Problem(403, "forbidden", f"the role {caller.role.value} may not do this")
            yield piece

    async def _note(self, request: Request, response: Response, caller: ApiKey) -> None:
        # of what was created, its own path and not that of the collection
        place = response.headers.get("Location") if response.status_code == 201 else None
        path = unquote(place) if place else request.url.path
        try:
            await self._audit.record(caller.tenant, path.removeprefix("/v1/"), {})
        except Unavailable as fault:
            log.error(
                "a change could not be written to the audit log",
                path=request.url.path,
                fault=fault,
            )

    async def _note_content(self, request: Request, response: Response) -> None:
        """Write what of whose content is shown, before it is. Raises Unavailable, and then shows
        nothing."""
        asked = {name: value[:_SHOWN_OF_QUERY] for name, value in request.query_params.items()}
        path = request.path_params
        message = {
            shown: str(path[name])[:_SHOWN_OF_QUERY]
            for name, shown in (("id", "message"), ("part", "part"))
            if name in path
        }
        try:
            await self._audit.record_content(account_in(request), {**message, **asked})
        except BaseException:
            if isinstance(response, StreamingResponse) and isinstance(
                response.body_iterator, AsyncGenerator
            ):
                await response.body_iterator.aclose()
            raise

    async def _let_through(
        self, request: Request, operation: _Operation, secret: bytes, *, takes_json: bool
    ) -> Response:
        caller: ApiKey = request.state.caller
        body = await self._body(request)
        if takes_json:
            _check_media_type(request, _JSON, "JSON: Content-Type: application/json")
        wanted = request.headers.get("idempotency-key")
        if request.method != "POST" or wanted is None:
            return await operation(request)
        if not _IDEMPOTENCY_KEY.match(wanted):
            raise Problem(
                400, "malformed", "Idempotency-Key must be 1 to 255 visible ASCII characters"
            )
        keyed = hmac.new(secret, digestmod=hashlib.sha256)
        keyed.update(
            b"\0".join((b"POST", request.url.path.encode(), request.url.query.encode(), b""))
        )
        if len(body) > SMALL:
            await asyncio.to_thread(keyed.update, body)
        else:
            keyed.update(body)
        return await self._once(
            request, operation, Reservation(caller.id, wanted, keyed.digest(), new_id())
        )

    async def _body(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self.large_bodies.patience(request)):
                return await request.body()
        except (
            TimeoutError,
            ClientDisconnect,
        ):  # who has gone reads no answer, and it is no failure of ours
            raise Problem(
                408, "timeout", "the body did not arrive in time", headers={"Connection": "close"}
            ) from None

    async def _once(
        self, request: Request, operation: _Operation, reservation: Reservation
    ) -> Response:
        kept = await self._idempotency.reserve(reservation)
        if kept is not None:
            return Response(
                kept.body, kept.status, {**kept.headers, "Idempotency-Replayed": "true"}
            )
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
            if response.status_code >= 500 or response.status_code in _FOR_NOW:
                await self._free(request, reservation)
            else:
                await self._idempotency.complete(reservation, answer_of(response))
        except Unavailable as fault:
            # what a creation answers is stored with what it made; other answers are lost with a
            # fault just now
            log.warning("an answer could not be kept", fault=fault)
        return response

    async def _free(self, request: Request, reservation: Reservation) -> None:
        if getattr(request.state, "is_anchored", False):
            await self._idempotency.suspend(reservation)
        else:
            await self._idempotency.release(reservation)

    async def first_attempt(self, request: Request) -> UUID:
        """Return an id that is the same for every attempt at this request; without an
        Idempotency-Key, a new one."""
        reservation: Reservation | None = getattr(request.state, "reservation", None)
        if reservation is None:
            return new_id()
        request.state.is_anchored = True
        return await self._idempotency.first_attempt(reservation)


class GuardedRoute(APIRoute):
    """A route whose operation runs behind the application's guard, and whose every failure is a
    problem document.

    FastAPI's analysis of the endpoint waits for the first request or description: at first there is
    only what it takes to find the route.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._options = options
        self.path, self.endpoint, self.name = path, endpoint, endpoint.__name__
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.methods = set(options["methods"])
        self.operation_id = options["operation_id"]
        rule_of(self.operation_id)  # without one the process does not start

    def __getattr__(self, name: str) -> Any:
        """Analyse the endpoint for the first attribute that is missing."""
        if name.startswith("__") or "dependant" in self.__dict__:
            raise AttributeError(name)
        super().__init__(self.path, self.endpoint, **self._options)
        return object.__getattribute__(self, name)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        operation = super().get_route_handler()
        takes_json = self.body_field is not None
        rule, operation_id = rule_of(self.operation_id), self.operation_id

        async def handle(request: Request) -> Response:
            guard: Guard = request.app.state.guard
            try:
                request = DocumentRequest(request.scope, request.receive)
                return await guard.handle(
                    request, operation, rule, operation_id, takes_json=takes_json
                )
            except Exception as error:
                return problem_of(error).response()

        return handle


def answer_of(response: Response) -> StoredAnswer:
    """Return what is to be stored of an answer."""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return StoredAnswer(response.status_code, headers, bytes(response.body))


def receipt[T](request: Request, render: Callable[[T], Response]) -> Receipt[T] | None:
    """Return what has a creation store its own answer; None when no Idempotency-Key came."""
    reservation: Reservation | None = getattr(request.state, "reservation", None)
    if reservation is None:
        return None
    return Receipt(reservation, lambda made: answer_of(render(made)))


def _check_media_type(request: Request, allowed: re.Pattern[str], what: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip()
    if not allowed.match(given):
        raise Problem(415, "unsupported-media-type", f"the body must be {what}")
