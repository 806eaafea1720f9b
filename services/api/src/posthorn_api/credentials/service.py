"""What the API decides about identities: DKIM keys of domains, app passwords of accounts."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from posthorn.ports.api_keys import ApiKey
from posthorn.ports.app_passwords import AppPassword, AppPasswords
from posthorn.ports.errors import Conflict, FieldError, NotFound, ValidationFailed
from posthorn.ports.idempotency import Receipt
from posthorn.ports.secrets import Encrypter
from posthorn.ports.sending import APP_PASSWORD_PREFIX
from posthorn.ports.sign_ins import SignInDay, SignIns
from posthorn.ports.signing import DkimKey, DkimKeys
from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.holders import present_holder
from posthorn.runtime.ids import new_id
from posthorn_api.directory.fields import address_in, domain_in, networks_in, new_domain_in

PUBLISHING_SECONDS = 86_400.0
"""How long a new key waits for its DNS record to be published, where another signs meanwhile."""
ALGORITHMS = ("rsa", "ed25519")
"""A new domain gets a key of each: every verifier supports RSA, and Ed25519 (RFC 8463) is
smaller and faster."""
SELECTOR_PREFIX = "ph"
OVERLAP_SECONDS = 604_800.0
"""How long a key's record stays after it has ceased to sign: mail may wait for days before it is
verified."""


type Generate = Callable[[str], tuple[bytes, bytes]]
"""Makes a key of an algorithm: private in PKCS #8 DER, public as in DkimKey. Blocks."""


class CredentialService:
    """Every method takes the caller's key and sees what its tenant sees.

    Raises ValidationFailed, NotFound and Conflict for the caller's faults, Unavailable for ours.
    """

    def __init__(
        self,
        keys: DkimKeys,
        app_passwords: AppPasswords,
        encrypter: Encrypter,
        generate: Generate,
        sign_ins: SignIns,
    ) -> None:
        self._sign_ins = sign_ins
        self._keys = keys
        self._app_passwords = app_passwords
        self._encrypter = encrypter
        self._generate = generate
        # an RSA key takes a core for a good part of a second; one at a time, and tenants take turns
        self._generating = FairSlots("DKIM keys", 1, waiting=256, waiting_each=64)

    async def dkim(self, caller: ApiKey, domain: str) -> Sequence[DkimKey]:
        """All keys of a domain, newest first."""
        name = domain_in("name", domain)
        try:
            return await self._keys.for_domain(caller.tenant, name)
        except NotFound:
            raise NotFound(f"there is no domain {name}") from None

    async def keys_of_new(self, caller: ApiKey, domain: str) -> tuple[DkimKey, ...]:
        """Return keys for a domain that is about to be created: one of each algorithm, which sign
        at once.

        Raises Conflict when the caller sees such a domain: creating it would fail, and keys are
        dear.
        """
        name = new_domain_in("name", domain)
        try:
            await self._keys.for_domain(caller.tenant, name)
        except NotFound:
            return await self.new_keys(name)
        raise Conflict(f"the domain {name} already exists")

    async def new_keys(self, domain: str) -> tuple[DkimKey, ...]:
        """Return new keys for a domain, one of each algorithm, which sign at once. They are not
        stored."""
        now = datetime.now(UTC)
        return tuple(
            [
                await self._make(domain, algorithm, SELECTOR_PREFIX, now, now)
                for algorithm in ALGORITHMS
            ]
        )

    async def rotate(
        self,
        caller: ApiKey,
        domain: str,
        algorithms: Sequence[str],
        prefix: str,
        delay: float | None,
        overlap: float,
    ) -> Sequence[DkimKey]:
        """Make a new key of each algorithm, which begins to sign after ``delay`` seconds.

        None: at once when no key of the domain signs, else in PUBLISHING_SECONDS. A record that is
        not published yet makes receivers take a signature for a bad one.
        """
        known = await self.dkim(caller, domain)
        name = domain_in("name", domain)
        now = datetime.now(UTC)
        if delay is None:
            signing = any(state_of(key, now) == "signing" for key in known)
            delay = PUBLISHING_SECONDS if signing else 0.0
        begin = now + timedelta(seconds=delay)
        made = [await self._make(name, algorithm, prefix, now, begin) for algorithm in algorithms]
        try:
            return await self._keys.rotate(caller.tenant, name, made, overlap)
        except NotFound:
            raise NotFound(f"there is no domain {name}") from None

    async def create_app_password(
        self,
        caller: ApiKey,
        address: str,
        name: str,
        scopes: Sequence[str],
        receipt: Receipt[AppPassword] | None,
        *,
        expires_at: datetime | None = None,
        networks: Sequence[str] | None = None,
    ) -> tuple[AppPassword, str]:
        """Make an app password; returns it with the password, which nobody can be told again.
        ``networks``: those that it may be used from; None: any."""
        canonical = address_in("address", address)
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise ValidationFailed(FieldError("expires_at", "this time is in the past"))
        password = APP_PASSWORD_PREFIX + secrets.token_urlsafe(32)
        new = AppPassword(new_id(), name, tuple(sorted(set(scopes))), datetime.now(UTC))
        new = replace(new, expires_at=expires_at, networks=networks_in("networks", networks))
        try:
            made = await self._app_passwords.create(
                caller.tenant, canonical, new, hash_of(password), receipt
            )
        except NotFound:
            raise NotFound(f"there is no account {canonical}") from None
        return made, password

    async def app_passwords(
        self, caller: ApiKey, address: str, after: UUID | None, limit: int
    ) -> Sequence[AppPassword]:
        """List by time."""
        canonical = address_in("address", address)
        try:
            return await self._app_passwords.items(caller.tenant, canonical, after, limit)
        except NotFound:
            raise NotFound(f"there is no account {canonical}") from None

    async def sign_ins(self, caller: ApiKey, address: str) -> Sequence[SignInDay]:
        """List who tried to sign in to an account within 30 days, the latest first."""
        canonical = address_in("address", address)
        try:
            return await self._sign_ins.items(caller.tenant, canonical)
        except NotFound:
            raise NotFound(f"there is no account {canonical}") from None

    async def delete_app_password(self, caller: ApiKey, address: str, number: UUID) -> None:
        """Take one away."""
        await self._app_passwords.remove(caller.tenant, address_in("address", address), number)

    async def _make(
        self, domain: str, algorithm: str, prefix: str, now: datetime, begin: datetime
    ) -> DkimKey:
        number = new_id()
        async with self._generating.hold(present_holder()):
            private, public = await asyncio.to_thread(self._generate, algorithm)
        selector = f"{prefix}-{now:%Y%m%d}-{algorithm[:2]}{number.hex[-6:]}"
        encrypted = self._encrypter.encrypt(private, f"dkim:{number}")
        return DkimKey(
            number, domain, selector, algorithm, public, encrypted, begin, None, None, now
        )


def state_of(key: DkimKey, now: datetime) -> str:
    """Return whether a key is ``pending``, ``signing`` or ``retired``."""
    if key.signs_until is not None and key.signs_until <= max(now, key.signs_from):
        return "retired"
    return "pending" if key.signs_from > now else "signing"


def hash_of(password: str) -> bytes:
    """Return the form in which an app password is stored: 256 random bits need no slow hash."""
    return hashlib.sha256(password.encode()).digest()
