"""What stands before every operation: who is calling, and what may the key do.

Rules:

- A key may ask for so much at a time (``rate_limit``); what is done for it counts for its tenant
  (``runtime.holders``).
- Who calls is found by ``callers``.
- What a role may do stands in ``permissions``, and nowhere else.
- Content of mailboxes is shown only when its line in the audit log is written: where that fails the
  answer is 503.
- A change that succeeds has a line in the audit log. What changes things writes it in its own
  transaction; of the rest the line is written here, right after.
- A request made before is answered as it was then (``idempotency``).
- The body is read before the operation, bounded in bytes (``asgi``) and time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

import structlog
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from posthorn.ports.api_keys import ApiKey, ApiKeys
from posthorn.ports.audit import Audit
from posthorn.ports.browser_sessions import BrowserSessions
from posthorn.ports.errors import Unavailable
from posthorn.ports.idempotency import Idempotency
from posthorn.runtime.audit_context import AuditContext, enter_audit_context
from posthorn.runtime.client_networks import client_key
from posthorn.runtime.holders import work_for
from posthorn_api.auth.account_logins import AccountLogins
from posthorn_api.http.callers import Callers, account_in, bearer, refusal, session_cookie
from posthorn_api.http.idempotency import Attempts, Operation
from posthorn_api.http.large_bodies import LargeBodies
from posthorn_api.http.permissions import Rule
from posthorn_api.http.problems import Problem
from posthorn_api.http.rate_limit import RateLimit

if TYPE_CHECKING:
    from posthorn_api.auth.tokens import Tokens

log = structlog.get_logger()

_SHOWN_OF_QUERY = 200
_JSON = re.compile(r"application/(?:json|[\w.+-]+\+json)\Z", re.IGNORECASE)
_NDJSON = re.compile(r"application/(?:x-)?(?:ndjson|jsonl|jsonlines)\Z", re.IGNORECASE)
MANAGED_BY = "Posthorn-Managed-By"
"""Names the manager of what a request changed (``ports.managers``)."""


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
        self.attempts = Attempts(idempotency)
        self._audit = audit
        self.large_bodies = large_bodies or LargeBodies()

    async def handle(
        self,
        request: Request,
        operation: Operation,
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
        self.rates.charge(
            caller.id, operation_id, caller.tenant if caller.account is None else None
        )
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
        operation: Operation,
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
                raise Problem(403, "forbidden", refusal(caller, rule))
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
        self, request: Request, operation: Operation, secret: bytes, *, takes_json: bool
    ) -> Response:
        caller: ApiKey = request.state.caller
        body = await self._body(request)
        if takes_json:
            _check_media_type(request, _JSON, "JSON: Content-Type: application/json")
        return await self.attempts.run(request, operation, caller.id, secret, body)

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


def _check_media_type(request: Request, allowed: re.Pattern[str], what: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip()
    if not allowed.match(given):
        raise Problem(415, "unsupported-media-type", f"the body must be {what}")
