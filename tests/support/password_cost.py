"""What it costs to hash a password in the tests' own process: next to nothing, since few tests are
about that. Services in processes of their own hash as in production."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from posthorn.runtime import passwords

_PRODUCTION = (passwords._MEMORY, passwords._TIME)
_LEAST_MEMORY, _LEAST_TIME = 8, 1
"""The least that argon2 allows (RFC 9106, section 3.1)."""


def hash_cheaply() -> None:
    """Have passwords hashed at the least cost from now on."""
    passwords._MEMORY, passwords._TIME = _LEAST_MEMORY, _LEAST_TIME


@contextmanager
def production_cost() -> Iterator[None]:
    """Have passwords hashed as in production meanwhile."""
    passwords._MEMORY, passwords._TIME = _PRODUCTION
    try:
        yield
    finally:
        hash_cheaply()
