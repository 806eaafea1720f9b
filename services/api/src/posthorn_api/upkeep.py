"""What the API does besides answering: see to the bootstrap key, and delete what is old or too
much."""

from __future__ import annotations

import asyncio
import time

import structlog

from posthorn.ports.administration import Administration
from posthorn.ports.api_keys import ApiKeys
from posthorn.ports.audit import Audit
from posthorn.ports.browser_sessions import BrowserSessions
from posthorn.ports.errors import Unavailable
from posthorn.ports.idempotency import Idempotency
from posthorn.ports.sending import Suppressions
from posthorn_api.tenants.service import hash_of_key

log = structlog.get_logger()

_RETRY_SECONDS = 0.5
_EXPIRE_SECONDS = 3600.0
_LINES_AT_ONCE, _MOST_LINES = 5_000, 500_000


class Upkeep:
    """Brings the database to what the settings say, however late it comes up."""

    def __init__(
        self,
        administration: Administration,
        keys: ApiKeys,
        idempotency: Idempotency,
        admin_key: str | None,
        sessions: BrowserSessions,
        suppressions: Suppressions,
        audit: Audit,
        audit_days: int = 0,
    ) -> None:
        """``audit_days``: for how long lines of the audit log stay; 0: for ever."""
        self._suppressions = suppressions
        self._audit = audit
        self._audit_days = audit_days
        self._sessions = sessions
        self._administration = administration
        self._keys = keys
        self._idempotency = idempotency
        self._hash = None if admin_key is None else hash_of_key(admin_key)
        self._done = False

    async def probe(self) -> None:
        """Return whether the API can serve: the schema is right and the bootstrap key holds.
        Raises Unavailable."""
        await self._administration.probe()
        if not self._done:
            raise Unavailable("postgres", "the bootstrap key is not set yet")

    async def run(self) -> None:
        """Set the key, then clear up every hour; a supervised task."""
        expire_at = 0.0
        while True:
            try:
                if not self._done:
                    await self._administration.probe()
                    if self._hash is not None:
                        await self._keys.ensure_bootstrap(self._hash)
                    self._done = True
                if time.monotonic() >= expire_at:
                    gone = await self._idempotency.expire()
                    ended = await self._sessions.expire()
                    pruned = await self._suppressions.prune()
                    lines = await self.forget_audit()
                    expire_at = time.monotonic() + _EXPIRE_SECONDS
                    log.info(
                        "old answers forgotten",
                        answers=gone,
                        sessions=ended,
                        suppressions=pruned,
                        audit_lines=lines,
                    )
            except Unavailable as fault:
                log.warning("the database does not serve yet", fault=fault)
            await asyncio.sleep(_EXPIRE_SECONDS / 60 if self._done else _RETRY_SECONDS)

    async def forget_audit(self) -> int:
        """Delete lines of the audit log that are too old, some at a time and not without end;
        return how many. Raises Unavailable."""
        gone = 0
        while self._audit_days and gone < _MOST_LINES:
            done = await self._audit.forget(self._audit_days, _LINES_AT_ONCE)
            gone += done
            if done < _LINES_AT_ONCE:
                break
        return gone
