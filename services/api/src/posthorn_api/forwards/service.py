"""Targets of aliases elsewhere are asked whether they want what is forwarded to them, and say so
(ADR 20).

Rules:

- The message to a target holds a token, which is the target's id with a keyed hash of it: nothing
  that is stored confirms anything.
- The link in the message leads to a page with a button; only what the button sends confirms.
  Programs that follow links do not.
- A target is asked once, and again only when an alias is made anew. How often one address, and one
  tenant, has messages sent is counted: else whoever makes aliases would write to anybody.
- The message goes through INGEST under the target's id: asked twice, it is the same message and
  kept once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from posthorn.model.envelope import Envelope
from posthorn.model.own_message import own_message
from posthorn.ports.changes import Change
from posthorn.ports.errors import FieldError, NotFound, Unavailable, ValidationFailed
from posthorn.ports.forwards import ForwardTargets, Unconfirmed
from posthorn.ports.ingest import Ingest
from posthorn.ports.sending import Charge, Throttle
from posthorn.wire.message.trace import mail_date
from posthorn_api.directory.publication import Publication, settled
from posthorn_api.pending import Pending

log = structlog.get_logger()

PAGE_PATH = "/forwards/confirm/"
"""Path of the public page, before the token."""
_LOOK_SECONDS = 5.0
_AT_ONCE = 20
_DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3600.0
_ASKED_PER_DAY = 3
"""Messages that ask one address, of all tenants together."""
_ASKED_PER_HOUR = 100
"""Messages that one tenant has sent to ask."""


class Confirmations:
    """Asks targets and hears them. ``keys`` make tokens, the first one now; ``web`` is the host
    of the public page."""

    def __init__(
        self,
        targets: ForwardTargets,
        throttle: Throttle,
        ingest: Pending[Ingest],
        publication: Pending[Publication],
        keys: Sequence[bytes],
        web: str,
        *,
        wait_seconds: float = 2.0,
    ) -> None:
        self._targets = targets
        self._throttle = throttle
        self._ingest = ingest
        self._publication = publication
        self._keys = keys
        self._web = web
        self._wait_seconds = wait_seconds

    async def run(self) -> None:
        """Ask what has not been asked, until cancelled."""
        while True:
            try:
                while await self.ask() >= _AT_ONCE:
                    pass
            except Unavailable as fault:
                log.info("targets of aliases are asked later", fault=fault)
            await asyncio.sleep(_LOOK_SECONDS)

    async def ask(self) -> int:
        """Ask targets that are due; returns how many were looked at. Raises Unavailable."""
        due = await self._targets.due(_AT_ONCE)
        for target in due:
            charges = [
                Charge(f"forward-target:{target.target}", _ASKED_PER_DAY, _DAY_SECONDS),
                Charge(f"forward-tenant:{target.tenant}", _ASKED_PER_HOUR, _HOUR_SECONDS),
            ]
            if wait := await self._throttle.take(charges):
                await self._targets.postpone(target.id, wait)
                continue
            await self._ingest.get().accept(*self._message(target))
            await self._targets.asked(target.id)
            log.info("a target of an alias is asked", alias=target.alias, message=str(target.id))
        return len(due)

    async def find(self, token: str) -> Unconfirmed | None:
        """Return the target that a token stands for; None when it stands for none."""
        number = self._read(token)
        return None if number is None else await self._targets.find(number)

    async def confirm(self, tenant: UUID | None, token: str) -> str:
        """Note that the target of a token wants the mail; returns the alias. ``tenant``: of the
        caller, None for anybody's.

        Raises ValidationFailed (``token``) when it stands for nothing.
        """
        number = self._read(token)
        try:
            if number is None:
                raise NotFound
            change: Change[str] = await self._targets.confirm(tenant, number)
        except NotFound:
            raise ValidationFailed(
                FieldError("token", "the token is not valid, or its target no longer exists")
            ) from None
        return await settled(self._publication, change, self._wait_seconds)

    def token(self, target: UUID) -> str:
        """Return the token of a target."""
        return f"{target.hex}.{_hash(self._keys[0], target)}"

    def _read(self, token: str) -> UUID | None:
        number, _, given = token.partition(".")
        with suppress(ValueError):
            target = UUID(hex=number)
            if any(
                hmac.compare_digest(given.encode(), _hash(key, target).encode())
                for key in self._keys
            ):
                return target
        return None

    def _message(self, target: Unconfirmed) -> tuple[Envelope, bytes]:
        now, domain = time.time(), target.alias.rpartition("@")[2]
        token = self.token(target.id)
        text = f"""\
From: Mail forwarding <postmaster@{domain}>
To: <{target.target}>
Subject: Please confirm that mail may be forwarded to you
Date: {mail_date(now)}
Message-ID: <{target.id}@{domain}>
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

The mail address {target.alias} is to forward its mail to you,
to {target.target}.

Nothing is forwarded before you confirm. If you want this mail, open

  https://{self._web}{PAGE_PATH}{token}

and press the button there, or give this token to whoever asked you to:

  {token}

If you do not want it, do nothing.
"""
        return own_message(
            target.id,
            now,
            target.target,
            text.replace("\n", "\r\n").encode(),
            signer=domain,
            tenant=target.tenant,
            smtputf8=not (target.target + target.alias).isascii(),
        )


def _hash(key: bytes, target: UUID) -> str:
    digest = hmac.digest(key, target.bytes, hashlib.sha256)[:18]
    return base64.urlsafe_b64encode(digest).decode()
