"""Records sign-ins to accounts, without delaying any.

Theory of operation: a client may sign in every few seconds, and a guesser far more often. So
sign-ins of one kind are added up in this process, and a task writes what has come together every
few seconds, in one statement. What a process that is killed has not written yet is lost. While the
store does not answer, the oldest kinds are dropped beyond a number; the end of the process waits some
seconds for it. A write of which it is not known whether it was made is made again: attempts may be
counted twice then.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from itertools import batched

import structlog
from prometheus_client import Counter

from posthorn.ports.clock import Clock
from posthorn.ports.errors import Unavailable
from posthorn.ports.sign_ins import Attempts, SignIn, SignIns
from posthorn.runtime.outage import Outage
from posthorn.runtime.tasks import LAST_WRITE_SECONDS, retry_while_unavailable
from posthorn.wire.proxy import plain_address

log = structlog.get_logger()

PAUSE_SECONDS = 2.0
"""Seconds in which sign-ins come together."""
KEPT = 20_000
"""Kinds that wait to be written at most."""
AT_ONCE = 500
"""Kinds that one statement writes."""
_DAY_SECONDS = 86_400

_sign_ins = Counter(
    "posthorn_sign_ins_total",
    "Sign-ins to accounts that exist, by protocol and result",
    ["protocol", "result"],
)


class SignInRecorder:
    """Sign-ins of this process that are not written yet."""

    def __init__(
        self,
        store: SignIns,
        *,
        pause_seconds: float = PAUSE_SECONDS,
        kept: int = KEPT,
        clock: Clock = time.time,
    ) -> None:
        self._store = store
        self._pause_seconds = pause_seconds
        self._kept = kept
        self._clock = clock
        self._waiting: dict[tuple[SignIn, int], Attempts] = {}
        self._task: asyncio.Task[None] | None = None
        self._outage = Outage("sign-ins wait to be recorded", "sign-ins are recorded again")

    def note(
        self, account: int, protocol: str, client: str, result: str, app_password: bytes = b""
    ) -> None:
        """Note a sign-in now. ``client``: its IP address; ``app_password``: the SHA-256 of one that
        was used. Never waits, never raises."""
        _sign_ins.labels(protocol, result).inc()
        now = self._clock()
        key = (
            SignIn(account, protocol, _plain(client), app_password, result),
            int(now // _DAY_SECONDS),
        )
        known = self._waiting.pop(key, None)
        if known is None:
            known = Attempts(0, now, now)
        while len(self._waiting) >= self._kept:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[key] = Attempts(known.count + 1, known.first, now)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="sign-ins")

    async def close(self) -> None:
        """Write what waits, as soon as the store takes it within some seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await retry_while_unavailable(self._write, LAST_WRITE_SECONDS)
        except Unavailable as fault:
            log.warning("sign-ins are lost", fault=fault, kinds=len(self._waiting))

    async def write(self) -> None:
        """Write what waits now; a fault is logged, and what is not written waits."""
        try:
            await self._write()
        except Unavailable as fault:
            self._outage.begin(fault=fault)
        else:
            self._outage.end()

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        left = list(waiting.items())
        try:
            for some in batched(left, AT_ONCE, strict=False):
                await self._store.record([(kind, attempts) for (kind, _), attempts in some])
                left = left[len(some) :]
        except (Unavailable, asyncio.CancelledError):
            self._put_back(left)
            raise

    def _put_back(self, left: Sequence[tuple[tuple[SignIn, int], Attempts]]) -> None:
        for key, attempts in left:
            newer = self._waiting.pop(key, None)
            if newer is not None:
                attempts = Attempts(attempts.count + newer.count, attempts.first, newer.last)
            if len(self._waiting) < self._kept:
                self._waiting[key] = attempts

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._pause_seconds)
                await self.write()
        finally:
            self._task = None


def _plain(client: str) -> str:
    try:
        return str(plain_address(ipaddress.ip_address(client.partition("%")[0])))
    except ValueError:
        return client[:64]
