"""Idempotency-Key: a request that comes again under its key is answered as it was the first time.

Rules:

- The key is reserved for the hash of the request, the operation runs, its answer is stored. Answers
  of 500 and above, and those that say to try later, are not: the same request may be tried again.
- What has an effect outside the database (``first_attempt``) may have had it all the same: then
  each attempt works under the id of the first, which makes a repeat of the effect harmless.
- The hash is keyed with the caller's API key, for a request can hold a password, and a bare SHA-256
  of it would be worth guessing at. Tokens are renewed all the time: for those who show one it is
  keyed with a secret of ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog
from fastapi import Request, Response

from posthorn.ports.errors import Unavailable
from posthorn.ports.idempotency import Idempotency, Receipt, Reservation, StoredAnswer
from posthorn.runtime.ids import new_id
from posthorn_api.http.large_json import SMALL
from posthorn_api.http.problems import Problem, problem_of

log = structlog.get_logger()

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
_FOR_NOW = frozenset({408, 429})
"""Answers that say to try again later: kept, they would be the answer to that try."""
_KEPT_HEADERS = ("content-type", "location", "etag")

type Operation = Callable[[Request], Awaitable[Response]]


class Attempts:
    """The attempts at a request: one of those with the same key is carried out."""

    def __init__(self, idempotency: Idempotency) -> None:
        self._idempotency = idempotency

    async def run(
        self, request: Request, operation: Operation, caller: UUID, secret: bytes, body: bytes
    ) -> Response:
        """Run the operation, or return what it answered before. ``secret`` keys the hash of the
        request. Raises Problem, Unavailable, and what the operation raises without a key."""
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
            request, operation, Reservation(caller, wanted, keyed.digest(), new_id())
        )

    async def _once(
        self, request: Request, operation: Operation, reservation: Reservation
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
                await self._idempotency.complete(reservation, _answer_of(response))
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


def _answer_of(response: Response) -> StoredAnswer:
    """Return what is to be stored of an answer."""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return StoredAnswer(response.status_code, headers, bytes(response.body))


def receipt[T](request: Request, render: Callable[[T], Response]) -> Receipt[T] | None:
    """Return what has a creation store its own answer; None when no Idempotency-Key came."""
    reservation: Reservation | None = getattr(request.state, "reservation", None)
    if reservation is None:
        return None
    return Receipt(reservation, lambda made: _answer_of(render(made)))
