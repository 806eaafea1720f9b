"""POP3 logins are recorded once a day and account, and no fault reaches a login."""

from __future__ import annotations

from collections.abc import Collection

from posthorn.ports.errors import Unavailable
from posthorn_pop3.login_days import LoginDays


class Logins:
    def __init__(self) -> None:
        self.seen_accounts: list[list[int]] = []
        self.fails = False

    async def seen(self, accounts: Collection[int]) -> None:
        if self.fails:
            raise Unavailable("postgres", "down")
        self.seen_accounts.append(sorted(accounts))


async def test_an_account_is_recorded_once_a_day() -> None:
    now, logins = 1e9, Logins()
    days = LoginDays(logins, lambda: now)
    for account in (1, 2, 1):
        days.note(account)
    await days.settled()
    days.note(2)
    await days.settled()
    assert logins.seen_accounts == [[1, 2]]
    now += 86_400
    days.note(2)
    await days.settled()
    assert logins.seen_accounts == [[1, 2], [2]]


async def test_what_could_not_be_recorded_is_recorded_at_the_next_login() -> None:
    logins = Logins()
    days = LoginDays(logins, lambda: 1e9)
    logins.fails = True
    days.note(1)
    await days.settled()
    logins.fails = False
    days.note(1)
    await days.settled()
    assert logins.seen_accounts == [[1]]
