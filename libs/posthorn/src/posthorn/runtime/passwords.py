"""Passwords: argon2id, off the event loop, few at a time, and cached briefly after a success.

- Hashing takes about 20 ms and 19 MiB (OWASP's lower argon2id setting), so that a small pod
  withstands a burst of logins.
- Imported hashes may cost more, within bounds (``check_hash``). Those are verified one at a time,
  apart from the others, so that a few accounts with expensive hashes use neither the memory nor the
  turn of all the rest.
- Hashes of other programs (``runtime.foreign_hashes``) have threads of their own as well. A wrong
  password costs what one costs for an account that does not exist, besides: that cheap hashes are
  quickly verified does not tell that the account is there.
- With ``slots`` tenants take turns (``runtime.fair_slots``).
- A success is cached under a keyed digest of password and stored hash, so a change of password
  takes effect at once: the caller reads the stored hash at every login. The key exists only in this
  process.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from prometheus_client import Counter

from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.foreign_hashes import ForeignHash, read_foreign_hash
from posthorn.runtime.holders import present_holder

REMEMBER_SECONDS = 120.0
_REMEMBERED = 10_000
_PARALLEL = 2
"""Passwords that are hashed at a time."""
_WAITING = 64
_DEAR_WAITING = 8

_foreign = Counter(
    "posthorn_foreign_password_verifications_total",
    "Passwords verified against hashes of other programs, by scheme and outcome",
    ["scheme", "outcome"],
)

_MEMORY, _TIME = 19 * 1024, 2
_MOST_MEMORY = 64 * 1024
_MOST_WORK = 4 * _MOST_MEMORY
_MOST_PARALLEL = 4
_ARGON2 = "$argon2"

_ARGON2ID_PREFIX = re.compile(r"\{(?:ARGON2ID|CRYPT)\}(?=\$argon2id\$)", re.IGNORECASE)


def check_hash(text: str, *, allow_weak: bool = False) -> str:
    """Return the form to store of a password hash: argon2id in PHC form, without Dovecot's prefix,
    or a hash of another program (``runtime.foreign_hashes``) as it is.

    Argon2id may cost at most 64 MiB, four passes over that or more over less, and 4 lanes; common
    programs stay within that by default. ``allow_weak``: whether unsalted hashes and MD5 are taken.
    Raises ValueError."""
    text = _ARGON2ID_PREFIX.sub("", text, count=1)
    if text.startswith(_ARGON2):
        _check_argon2(text)
    elif read_foreign_hash(text).is_weak and not allow_weak:
        raise ValueError("hashes without a salt and of MD5 are not taken (ADR 45)")
    return text


def is_foreign(stored: str) -> bool:
    """Return whether a stored hash is one of another program, to be replaced at a login."""
    return not stored.startswith("$argon2id$")


def _check_argon2(text: str) -> None:
    try:
        found = extract_parameters(text)
    except (InvalidHashError, ValueError):
        raise ValueError("this is no argon2id hash in PHC form") from None
    if found.type is not Type.ID or found.version != 19 or not text.isascii():
        raise ValueError("only argon2id, version 19, is taken")
    if found.salt_len < 8 or found.hash_len < 16:
        raise ValueError("the salt or the hash is too short")
    work = found.memory_cost * found.time_cost
    if found.memory_cost > _MOST_MEMORY or work > _MOST_WORK or found.parallelism > _MOST_PARALLEL:
        raise ValueError(f"at most m={_MOST_MEMORY}, m*t={_MOST_WORK}, p={_MOST_PARALLEL} is taken")


class Busy(Exception):
    """Too many verifications are waiting: a transient fault."""


class _Threads:
    """A few threads with a bounded queue."""

    def __init__(self, number: int, most: int) -> None:
        self._pool = ThreadPoolExecutor(number, "argon2")
        self._most = most
        self._waiting = 0

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run[T](self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most:
            raise Busy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def password_slots() -> FairSlots:
    """Return slots for hashing, for a service with many tenants."""
    return FairSlots(
        "password hashes", _PARALLEL, spare=0, waiting=4 * _WAITING, waiting_each=_WAITING
    )


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(
        self, parallel: int = _PARALLEL, slots: FairSlots | None = None, *, allow_weak: bool = False
    ) -> None:
        """``allow_weak``: for ``accepted``, as in ``check_hash``."""
        self._slots = slots
        self._allow_weak = allow_weak
        self._hasher = PasswordHasher(time_cost=_TIME, memory_cost=_MEMORY, parallelism=1)
        self._usual = _Threads(parallel, _WAITING)
        self._dear = _Threads(1, _DEAR_WAITING)
        self._foreign = _Threads(parallel, _WAITING)
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._decoy = self._hasher.hash(secrets.token_hex(16))

    def close(self) -> None:
        """End the threads."""
        self._usual.close()
        self._dear.close()
        self._foreign.close()

    def accepted(self, text: str) -> str:
        """Return the form to store of a hash that somebody wants to set. Raises ValueError."""
        return check_hash(text, allow_weak=self._allow_weak)

    async def hash(self, password: str) -> str:
        """Return the argon2id hash to store. Raises Busy; with ``slots``, SlotsTaken."""
        return await self._run(self._usual, lambda: self._hasher.hash(_octets(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Return whether the password matches the stored hash. None (no such account) takes as
        long and is False. Raises Busy."""
        mark = hmac.digest(self._key, f"{stored}\0".encode() + _octets(password), hashlib.sha256)
        now = time.monotonic()
        if self._remembered.get(mark, 0.0) > now:
            return True
        foreign = None if stored is None else _foreign_hash(stored)
        if foreign is not None:
            right = await self._run(self._foreign, lambda: self._verify_foreign(foreign, password))
            _foreign.labels(foreign.scheme, "right" if right else "wrong").inc()
        else:
            threads = self._dear if stored is not None and _is_dear(stored) else self._usual
            right = await self._run(threads, lambda: self._verify(stored, password))
        if right:
            self._remembered[mark] = now + REMEMBER_SECONDS
            self._remembered.move_to_end(mark)
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return right

    async def _run[T](self, threads: _Threads, work: Callable[[], T]) -> T:
        if self._slots is None:
            return await threads.run(work)
        async with self._slots.hold(present_holder()):
            return await threads.run(work)

    def _verify_foreign(self, foreign: ForeignHash, password: str) -> bool:
        return foreign.matches(_octets(password)) or self._verify(None, password)

    def _verify(self, stored: str | None, password: str) -> bool:
        try:
            return (
                self._hasher.verify(stored or self._decoy, _octets(password)) and stored is not None
            )
        except (VerificationError, InvalidHashError):
            return False


def _foreign_hash(stored: str) -> ForeignHash | None:
    """Return a stored hash of another program; None if it is argon2id or nothing."""
    if stored.startswith(_ARGON2):
        return None
    try:
        return read_foreign_hash(stored)
    except ValueError:
        return None


def _is_dear(stored: str) -> bool:
    """Return whether a hash costs more than one made here."""
    try:
        found = extract_parameters(stored)
    except (InvalidHashError, ValueError):
        return False
    return found.memory_cost > _MEMORY or found.memory_cost * found.time_cost > _MEMORY * _TIME


def _octets(password: str) -> bytes:
    """Encode a password. Input that is not UTF-8 keeps its bytes; no client input fails here."""
    try:
        return password.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return password.encode("utf-8", "surrogatepass")
