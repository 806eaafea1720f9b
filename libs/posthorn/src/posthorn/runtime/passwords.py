"""Passwords: argon2id, off the event loop, few at a time, and remembered briefly after a success.

- Hashing takes about 20 ms and 19 MiB (OWASP's lower argon2id setting), so that a small pod bears a burst of logins.
- A success is remembered under a keyed digest together with the stored hash, so a changed password is forgotten at once: the
  caller reads the stored hash afresh at every login. The key lives only in this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

REMEMBER_SECONDS = 120.0
_REMEMBERED = 10_000
_WAITING = 64


_MOST_MEMORY = 256 * 1024
_MOST_TIME = 10
_MOST_PARALLEL = 16


def check_hash(text: str) -> None:
    """Raise ValueError unless the text is an argon2id hash in PHC form that a login can bear to verify: 256 MiB, 10 passes and 16
    lanes at most."""
    try:
        found = extract_parameters(text)
    except (InvalidHashError, ValueError):
        raise ValueError("this is no argon2id hash in PHC form") from None
    if found.type is not Type.ID or found.version != 19 or not text.isascii():
        raise ValueError("only argon2id, version 19, is taken")
    if found.salt_len < 8 or found.hash_len < 16:
        raise ValueError("the salt or the hash is too short")
    if found.memory_cost > _MOST_MEMORY or found.time_cost > _MOST_TIME or found.parallelism > _MOST_PARALLEL:
        raise ValueError(f"at most m={_MOST_MEMORY}, t={_MOST_TIME}, p={_MOST_PARALLEL} is taken")


class Busy(Exception):  # noqa: N818 - it names the state
    """More verifications wait than will be served in good time: a transient fault."""


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, parallel: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._pool = ThreadPoolExecutor(parallel, "argon2")
        self._waiting = 0
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._decoy = self._hasher.hash(secrets.token_hex(16))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Give the argon2id hash to store. Raises Busy."""
        return await self._run(self._hasher.hash, _octets(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether the password belongs to the stored hash. None (no such account) takes as long and is False. Raises Busy."""
        mark = hmac.digest(self._key, f"{stored}\0".encode() + _octets(password), hashlib.sha256)
        now = time.monotonic()
        if self._remembered.get(mark, 0.0) > now:
            return True
        right = await self._run(self._verify, stored, password)
        if right:
            self._remembered[mark] = now + REMEMBER_SECONDS
            self._remembered.move_to_end(mark)
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return right

    async def _run[T, **P](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._waiting >= _WAITING:
            raise Busy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))
        finally:
            self._waiting -= 1

    def _verify(self, stored: str | None, password: str) -> bool:
        try:
            return self._hasher.verify(stored or self._decoy, _octets(password)) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def _octets(password: str) -> bytes:
    """What came over a wire in another encoding than UTF-8 counts octet by octet; nothing a client can send fails here."""
    try:
        return password.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return password.encode("utf-8", "surrogatepass")
