"""Verifiers for SCRAM-SHA-256 of accounts' own passwords (ADR 35).

Rules:

- A verifier is made when a password has been verified otherwise, in the background, one at a time;
  no login waits for it, and one that is lost is made at the next.
- It is bound to the stored hash of that password: once the hash changes, by whatever, it is void.
- The salt of an account is derived from its address, and the iterations are the same for all. So
  accounts with a verifier, without one, and names that are no account are answered alike, at all
  times.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from posthorn.ports.access import ScramStore, digest_of
from posthorn.ports.errors import Unavailable
from posthorn.wire.sasl_scram import Verifier, make_verifier

if TYPE_CHECKING:
    from posthorn.runtime.mail_login import LoginAccount

log = structlog.get_logger()

ITERATIONS: Final = 100_000
"""Of every verifier; ADR 35 says why not more. Verifiers with another number are void."""
_MOST_WAITING = 64
_FORM = struct.Struct(">BI16s32s32s32s")
_VERSION = 1
_SALT_BYTES = 16


def encode_verifier(verifier: Verifier, password_hash: str) -> bytes:
    """Return the stored form, bound to a password hash."""
    kept = (verifier.iterations, verifier.salt, verifier.stored_key, verifier.server_key)
    return _FORM.pack(_VERSION, *kept, digest_of(password_hash))


def decode_verifier(stored: bytes | None, password_hash: str) -> Verifier | None:
    """Return a stored verifier; None where there is none for this password hash."""
    if stored is None or len(stored) != _FORM.size:
        return None
    version, iterations, salt, stored_key, server_key, digest = _FORM.unpack(stored)
    if version != _VERSION or iterations != ITERATIONS or digest != digest_of(password_hash):
        return None
    return Verifier(iterations, salt, stored_key, server_key)


class ScramVerifiers[A: LoginAccount]:
    """Makes verifiers and finds them."""

    def __init__(self, store: ScramStore, stored: Callable[[A], bytes | None]) -> None:
        """``stored`` returns the stored form that was read with an account."""
        self._store = store
        self._stored = stored
        self._key: bytes | None = None
        self._waiting: dict[int, tuple[A, str]] = {}
        self._making: asyncio.Task[None] | None = None

    async def find(self, known: A | None, name: str) -> Verifier:
        """Return the verifier of an account, or one that no password matches; ``name``: its
        canonical address. Raises Unavailable."""
        salt = await self._salt(name)
        found = known and decode_verifier(self._stored(known), known.password_hash)
        return found or Verifier(ITERATIONS, salt, secrets.token_bytes(32), secrets.token_bytes(32))

    def note(self, known: A, password: str) -> None:
        """Make the verifier of a password that has just been verified, if there is none."""
        if decode_verifier(self._stored(known), known.password_hash) is not None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            return
        self._waiting[known.account] = known, password
        if self._making is None:
            self._making = asyncio.create_task(self._make_all())

    async def made(self) -> None:
        """Wait until no verifier is being made."""
        while self._making is not None:
            await asyncio.wait([self._making])

    async def _make_all(self) -> None:
        try:
            while self._waiting:
                _, (known, password) = self._waiting.popitem()
                await self._make(known, password)
        finally:
            self._making = None

    async def _make(self, known: A, password: str) -> None:
        try:
            salt = await self._salt(known.address)
            verifier = await asyncio.to_thread(make_verifier, password, salt, ITERATIONS)
            stored = encode_verifier(verifier, known.password_hash)
            await self._store.keep(known.account, stored, digest_of(known.password_hash))
        except ValueError as error:
            log.info("password not usable by SCRAM", account=known.address, detail=str(error))
        except Unavailable as fault:
            log.warning("a verifier for SCRAM is not stored", fault=fault)

    async def _salt(self, name: str) -> bytes:
        if self._key is None:
            self._key = await self._store.salt_key()
        text = name.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, "sha256")[:_SALT_BYTES]
