"""One system for all end-to-end tests that leave it whole; each test has accounts of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.support.maildrop import Maildrop
from tests.support.system import System

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The local mode, in a home whose path holds a space. It ends with the last of these tests:
    even at rest it takes a part of a core."""
    running = System(tmp_path_factory.mktemp("e2e") / "post horn")
    running.start()
    yield running
    running.close()


@pytest.fixture
def new_account(system: System) -> Callable[[], Maildrop]:
    """Makes accounts: ``new_account()`` gives the maildrop of a fresh one."""
    return lambda: system.make_account(
        f"user{next(_numbers)}@example.test", f"secret number {next(_numbers)}"
    )


@pytest.fixture
def drop(new_account: Callable[[], Maildrop]) -> Maildrop:
    """A fresh account."""
    return new_account()
