"""Daily digests: accounts that do not see their Junk are told what the filter kept from INBOX, and
release it by a link (ADR 31).

Rules:

- An account gets one digest per interval at most, and only if there is something new. Which
  accounts get any is a matter of their policies (``ports.digests``).
- The id of a digest follows from the account and from what is listed, so that a digest made twice is
  kept once.
- A link leads to a page with a button; only what the button sends releases, since programs follow
  links. What was withheld for a virus has no link. Releases of an account are limited and audited,
  and the filter learns that the message is not spam.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.classification import Classification
from posthorn.model.envelope import Envelope
from posthorn.model.events import DELIVERED, RESTORED, Event
from posthorn.model.own_message import own_message
from posthorn.ports.account_mail import AccountMail
from posthorn.ports.classifications import Classifications
from posthorn.ports.digests import Digest, Digests
from posthorn.ports.errors import NotFound, Unavailable
from posthorn.ports.events import Events
from posthorn.ports.ingest import Ingest
from posthorn.ports.quarantine import Quarantine
from posthorn.ports.sending import Charge, Throttle
from posthorn_api.digests.text import compose
from posthorn_api.digests.tokens import (
    LIFETIME_SECONDS,
    Action,
    Grant,
    make_token,
    read_token,
)
from posthorn_api.mailboxes.service import classified_event
from posthorn_api.pending import Pending

log = structlog.get_logger()

PAGE_PATH = "/release/"
"""Path of the public page, before the token."""
KEY_PURPOSE = "digest release"
_LOOKS = 24
"""Times per interval that accounts are looked through."""
_SHORTEST_LOOK, _LONGEST_LOOK = 1.0, 3600.0
_RETRY_SECONDS = 5.0
_LEASE_SECONDS = 120.0
_AT_ONCE = 200
_RELEASES_PER_HOUR = 120
_PAGES_PER_HOUR = 1000
"""More than releases: programs follow all links of a digest."""
_HOUR_SECONDS = 3600.0
_BY = "digest"

_sent = Counter("posthorn_api_digests_total", "Digests of Junk and quarantine sent")
_released = Counter(
    "posthorn_api_digest_releases_total",
    "Messages released by links of digests, by result",
    ["result"],
)


class TooMany(Exception):
    """The account's links were used too often within the hour."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A message that a link may release."""

    from_: str
    subject: str


@dataclass(frozen=True, slots=True)
class DigestOptions:
    """How digests are made."""

    interval_seconds: float = 86_400.0
    base_url: str | None = None
    """Under which users reach the API; None: digests have no links."""


class DigestService:
    """Sends digests and handles their links. ``keys`` make tokens, the first one now."""

    def __init__(
        self,
        digests: Digests,
        mail: AccountMail,
        classifications: Classifications,
        quarantine: Quarantine,
        throttle: Throttle,
        ingest: Pending[Ingest],
        events: Events,
        keys: Sequence[bytes],
        settings: DigestOptions,
    ) -> None:
        self._digests = digests
        self._mail = mail
        self._classifications = classifications
        self._quarantine = quarantine
        self._throttle = throttle
        self._ingest = ingest
        self._events = events
        self._keys = keys
        self._settings = settings

    async def run(self) -> None:
        """Send digests as they become due, until cancelled."""
        usual = min(max(self._settings.interval_seconds / _LOOKS, _SHORTEST_LOOK), _LONGEST_LOOK)
        while True:
            pause = usual
            try:
                if count := await self.send_due():
                    log.info("digests sent", digests=count)
            except Unavailable as fault:
                log.info("digests wait", fault=fault)
                pause = min(usual, _RETRY_SECONDS)
            await asyncio.sleep(pause)

    async def send_due(self) -> int:
        """Send what is due, unless another process does; return how many digests. Raises
        Unavailable."""
        after, sent = 0, 0
        while await self._digests.lead(_LEASE_SECONDS):
            accounts = await self._digests.due(after, self._settings.interval_seconds, _AT_ONCE)
            for account in accounts:
                sent += await self._send(account)
                after = account
            if len(accounts) < _AT_ONCE:
                await self._digests.resign()
                break
        return sent

    async def _send(self, account: int) -> bool:
        digest = await self._digests.digest(account)
        if digest is None:
            return False
        if digest.items:
            await self._ingest.get().accept(*self._message(digest))
            _sent.inc()
        await self._digests.sent(digest)
        return bool(digest.items)

    def _message(self, digest: Digest) -> tuple[Envelope, bytes]:
        now, identity = time.time(), _identity(digest)
        return own_message(
            identity,
            now,
            digest.address,
            compose(digest, identity, now, self._links(digest, now)),
            signer=digest.address.rpartition("@")[2],
            tenant=digest.tenant,
            smtputf8=not digest.address.isascii(),
        )

    def _links(self, digest: Digest, now: float) -> dict[UUID, str]:
        if self._settings.base_url is None:
            return {}
        base, expires_at = self._settings.base_url.rstrip("/"), int(now) + LIFETIME_SECONDS
        found = {}
        for item in digest.items:
            if item.reason == "virus":
                continue
            action = Action.FROM_JUNK if item.quarantine is None else Action.FROM_QUARANTINE
            target = item.quarantine or item.message
            token = make_token(self._keys[0], Grant(action, digest.account, target, expires_at))
            found[target] = f"{base}{PAGE_PATH}{token}"
        return found

    async def find(self, token: str) -> Shown | None:
        """Return the message that a token may release; None: it is not valid, or there is nothing
        to release any more. Raises TooMany, Unavailable."""
        grant = read_token(self._keys, token, time.time())
        if grant is None:
            return None
        await self._take(f"digest-page:{grant.account}", _PAGES_PER_HOUR)
        address = await self._digests.address(grant.account)
        if address is None:
            return None
        try:
            if grant.action is Action.FROM_JUNK:
                message, _ = await self._mail.message(None, address, grant.target)
                return Shown(message.from_, message.subject)
            copy = await self._quarantine.item(None, grant.target)
        except NotFound:
            return None
        is_theirs = copy.account == address and copy.reason != "virus"
        return Shown(copy.from_, copy.subject) if is_theirs else None

    async def address(self, token: str) -> str | None:
        """Return the address of the account that a valid token is for."""
        grant = read_token(self._keys, token, time.time())
        return None if grant is None else await self._digests.address(grant.account)

    async def release(self, token: str) -> bool:
        """Release the message of a token; False: it is not valid, or there is nothing to release
        any more. Raises TooMany; Conflict: the account has no room for it; Unavailable."""
        grant = read_token(self._keys, token, time.time())
        if grant is None:
            _released.labels("invalid").inc()
            return False
        await self._take(f"digest-release:{grant.account}", _RELEASES_PER_HOUR)
        address = await self._digests.address(grant.account)
        try:
            if address is None:
                raise NotFound
            if grant.action is Action.FROM_JUNK:
                await self._from_junk(address, grant.target)
            else:
                await self._from_quarantine(address, grant.target)
        except NotFound:
            _released.labels("gone").inc()
            return False
        _released.labels("released").inc()
        log.info("released by a link", account=grant.account, target=str(grant.target))
        return True

    async def _from_junk(self, address: str, message: UUID) -> None:
        done = await self._classifications.classify(None, address, message, Classification.HAM)
        self._events.record(classified_event(address, done, _BY))

    async def _from_quarantine(self, address: str, number: UUID) -> None:
        copy = await self._quarantine.item(None, number)
        if copy.account != address:
            raise NotFound
        restored = await self._quarantine.release(None, number, is_ham=True, viruses=False)
        copy, now = restored.copy, time.time()
        about = {"recipient": copy.recipient, "quarantine": str(copy.id), "by": _BY}
        self._events.record(
            Event(copy.message, now, RESTORED, about),
            Event(copy.message, now, DELIVERED, {"recipients": [copy.recipient]}),
        )

    async def _take(self, key: str, limit: int) -> None:
        if await self._throttle.take([Charge(key, limit, _HOUR_SECONDS)]):
            raise TooMany


def _identity(digest: Digest) -> UUID:
    """Return the id of a digest: a UUIDv7 of the time of its newest message, the same one for the
    same account and items."""
    items = [str(item.quarantine or item.message) for item in digest.items]
    newest = max(item.message.int >> 80 for item in digest.items)
    text = " ".join(["digest", str(digest.account), *items])
    chance = int.from_bytes(hashlib.sha256(text.encode()).digest()[:10])
    return UUID(
        int=newest << 80
        | 0x7 << 76
        | (chance >> 62 & 0xFFF) << 64
        | 0b10 << 62
        | chance & ((1 << 62) - 1)
    )
