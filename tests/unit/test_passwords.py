"""Passwords: right ones pass, everything else does not, and a burst does not starve the process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters

from posthorn.runtime import passwords as module
from posthorn.runtime.passwords import Busy, Passwords, check_hash
from tests.support.password_cost import production_cost
from tests.support.polling import BUSY_SECONDS


@pytest.fixture(autouse=True, scope="module")
def cost() -> Iterator[None]:
    with production_cost():
        yield


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_the_right_password_passes_and_no_other(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    # OWASP's lower setting, which the documentation names
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "correct" not in stored
    assert await passwords.verify(stored, "correct horse")
    for wrong in ("correct hors", "Correct horse", "correct horse ", "", "\0"):
        assert not await passwords.verify(stored, wrong)
    assert await passwords.verify(stored, "correct horse"), "a failure changes nothing"


async def test_the_same_password_is_hashed_differently_each_time(passwords: Passwords) -> None:
    assert await passwords.hash("same") != await passwords.hash("same")


@pytest.mark.parametrize(
    "stored", ["", "plain", "$argon2id$broken", "{SHA}x", "$argon2id$v=19$m=19456,t=2,p=1$$"]
)
async def test_a_hash_that_is_none_lets_nobody_in(passwords: Passwords, stored: str) -> None:
    assert not await passwords.verify(stored, "")
    assert not await passwords.verify(stored, stored)


async def test_an_account_that_is_not_there_takes_as_long_as_one_that_is(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same work is done: a hash of the same cost is verified, on a thread of the same pool."""
    stored = await passwords.hash("x")
    done: list[tuple[object, ...]] = []
    verify = PasswordHasher.verify

    def noted(self: PasswordHasher, stored: str, password: bytes) -> Literal[True]:
        thread = threading.current_thread().name.rpartition("_")[0]
        done.append((extract_parameters(stored), thread))
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", noted)
    for target in (stored, None):
        assert not await passwords.verify(target, "wrong")
    there, missing = done
    assert there == missing
    assert there[1] == "argon2"


@pytest.mark.parametrize(
    "password",
    [
        "",
        "ä€😀",
        "nul\0inside",
        b"latin \xe4 \xff".decode("utf-8", "surrogateescape"),
        "lone \ud800",
        "x" * 5000,
    ],
)
async def test_any_password_a_client_can_send_works_and_fails_nothing(
    passwords: Passwords, password: str
) -> None:
    stored = await passwords.hash(password)
    assert await passwords.verify(stored, password)
    assert not await passwords.verify(stored, password + "x")
    assert not await passwords.verify(None, password)


async def test_a_success_is_remembered_so_that_the_next_login_is_cheap(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, changed = await passwords.hash("x"), await passwords.hash("y")
    assert await passwords.verify(stored, "x")
    checks = 0
    real = passwords._verify

    def count(stored: str | None, password: str) -> bool:
        nonlocal checks
        checks += 1
        return real(stored, password)

    monkeypatch.setattr(passwords, "_verify", count)
    for _ in range(50):
        assert await passwords.verify(stored, "x")
    assert checks == 0
    assert not await passwords.verify(changed, "x"), (
        "with another hash stored, the old password is forgotten at once"
    )
    assert not await passwords.verify(stored, "y")
    assert not await passwords.verify(None, "x")
    assert checks == 3, "failures are not remembered"
    monkeypatch.setattr(
        time, "monotonic", lambda now=time.monotonic: now() + module.REMEMBER_SECONDS + 1
    )
    assert await passwords.verify(stored, "x")
    assert checks == 4, "only for a while"


async def test_what_is_remembered_is_bounded_and_no_password(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 5)
    monkeypatch.setattr(passwords, "_verify", lambda stored, password: True)
    for number in range(20):
        assert await passwords.verify("hash", f"secret {number}")
    assert len(passwords._remembered) == 5
    assert all(b"secret" not in mark and len(mark) == 32 for mark in passwords._remembered)


async def test_a_burst_is_refused_beyond_what_can_be_served_soon(passwords: Passwords) -> None:
    results = await asyncio.gather(
        *(passwords.verify(None, f"{n}") for n in range(100)), return_exceptions=True
    )
    busy = [result for result in results if isinstance(result, Busy)]
    assert len(busy) == 36
    assert results.count(False) == 64
    assert not await passwords.verify(None, "afterwards it serves again")


async def test_the_loop_turns_while_hashes_are_made(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned, hasher = threading.Event(), passwords._hasher

    def hashed(octets: bytes) -> str:
        assert turned.wait(BUSY_SECONDS), "the loop stands still"
        return hasher.hash(octets)

    monkeypatch.setattr(passwords, "_hasher", SimpleNamespace(hash=hashed))
    work = asyncio.gather(*(passwords.hash("x") for _ in range(8)))
    for _ in range(8):
        await asyncio.sleep(0.001)
    assert not work.done()
    turned.set()
    assert len(await work) == 8


def phc(memory: int, passes: int, lanes: int = 1) -> str:
    return f"$argon2id$v=19$m={memory},t={passes},p={lanes}$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"


@pytest.mark.parametrize(
    "fits", [phc(65536, 4), phc(65536, 3, 4), phc(19456, 2), phc(47104, 1), phc(4096, 10)]
)
def test_hashes_that_common_programs_make_are_taken(fits: str) -> None:
    check_hash(fits)


@pytest.mark.parametrize(
    "dear", [phc(65537, 1), phc(262144, 1), phc(65536, 5), phc(4096, 100), phc(1024, 1, 5)]
)
def test_hashes_that_would_weigh_a_login_down_are_refused(dear: str) -> None:
    with pytest.raises(ValueError, match="at most"):
        check_hash(dear)


async def test_dear_hashes_take_a_turn_of_their_own(passwords: Passwords) -> None:
    dear = PasswordHasher(time_cost=4, memory_cost=65536, parallelism=1).hash("brought along")
    first = asyncio.create_task(passwords.verify(dear, "wrong 0"))
    many = [
        first,
        *(asyncio.create_task(passwords.verify(dear, f"wrong {n}")) for n in range(1, 6)),
    ]
    assert not await passwords.verify(None, "somebody else's")
    assert sum(task.done() for task in many) < len(many), "everybody else does not wait behind them"
    assert not any(await asyncio.gather(*many))
    assert await passwords.verify(dear, "brought along")
