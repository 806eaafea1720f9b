"""States of accounts and tenants, set through the API while sessions are open: felt at every
door within two seconds."""

from __future__ import annotations

import itertools
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.maildrop import Maildrop, Reader, RefusedError
from tests.support.polling import BUSY_SECONDS
from tests.support.system import System, await_that

PROMISED = 2.0

_numbers = itertools.count(1)


class Doors:
    """The doors of one account; sessions of submission and POP3 stay open."""

    def __init__(self, system: System, drop: Maildrop) -> None:
        self.system = system
        self.drop = drop
        self.changed_at = 0.0

    def change(self, path: str, **fields: object) -> None:
        """PATCH an object; from here on the time counts."""
        answer = self.system.api.patch(path, json=fields)
        assert answer.status_code == 200, answer.text
        self.changed_at = time.monotonic()

    def soon(self, what: str, found: Callable[[], bool]) -> None:
        """Wait for it, as long as was promised."""
        await_that(what, found, self.changed_at + PROMISED + BUSY_SECONDS - time.monotonic())

    def rcpt(self) -> tuple[int, str]:
        """What the MX says to a message for the account."""
        with self.system.smtp() as client:
            client.ehlo()
            client.mail("sender@example.org")
            code, text = client.rcpt(self.drop.address)
            return code, text.decode()[:5]

    @contextmanager
    def submission(self) -> Iterator[smtplib.SMTP]:
        """A session that is logged in."""
        with smtplib.SMTP(
            "localhost", self.system.ports["SUBMISSION"], "client.example.org", timeout=30
        ) as client:
            client.starttls(context=self.system.trusting())
            client.login(self.drop.address, self.drop.password)
            yield client

    def sends(self, client: smtplib.SMTP) -> int:
        """What MAIL is answered in an open session."""
        client.rset()
        return client.mail(self.drop.address)[0]

    def shut_out(self, client: smtplib.SMTP) -> bool:
        """Return whether an open session sends no more: it is refused, or has been ended (RFC
        5321 §3.8)."""
        try:
            return self.sends(client) in (421, 550)
        except smtplib.SMTPServerDisconnected:
            return True

    def reads(self) -> str:
        """What a login to POP3 comes to: nothing, or the reply that refuses it."""
        try:
            with self.drop.session():
                return ""
        except RefusedError as refusal:
            return str(refusal)

    def ended(self, reader: Reader) -> bool:
        """Return whether an open POP3 session has been ended."""
        try:
            reader.line("NOOP")
        except (RefusedError, ConnectionError):
            return True
        return False

    def login_refused(self) -> int:
        """The code that a login for submission is refused with; 0 when it goes well."""
        try:
            with self.submission():
                return 0
        except smtplib.SMTPResponseException as refusal:
            return refusal.smtp_code


@pytest.fixture
def doors(system: System, drop: Maildrop) -> Doors:
    return Doors(system, drop)


def test_a_suspended_account_is_shut_out_everywhere_and_let_in_again(
    system: System, doors: Doors
) -> None:
    path = f"/v1/accounts/{doors.drop.address}"
    with ExitStack() as open_sessions:
        sending = open_sessions.enter_context(doors.submission())
        assert doors.sends(sending) == 250
        assert doors.rcpt() == (250, "2.1.5")
        reading = _open(doors.drop, open_sessions)

        doors.change(path, state="suspended")
        doors.soon("the MX refuses for now", lambda: doors.rcpt() == (450, "4.2.1"))
        doors.soon("the open session of submission ends", lambda: doors.shut_out(sending))
        doors.soon("the open POP3 session ends", lambda: doors.ended(reading))
        assert "[SYS/PERM]" in doors.reads()
        assert doors.login_refused() == 535

        doors.change(path, state="active")
        doors.soon("the MX takes mail", lambda: doors.rcpt() == (250, "2.1.5"))
        doors.soon("submission lets in", lambda: doors.login_refused() == 0)
        doors.soon("POP3 logs in", lambda: not doors.reads())
        assert doors.login_refused() == 0


def test_an_account_that_only_receives_is_read_but_does_not_send(
    system: System, doors: Doors
) -> None:
    path = f"/v1/accounts/{doors.drop.address}"
    with doors.submission() as sending:
        assert doors.sends(sending) == 250
        doors.change(path, state="receive-only")
        doors.soon("the open session of submission ends", lambda: doors.shut_out(sending))
        assert doors.login_refused() == 550
        assert doors.rcpt() == (250, "2.1.5")
        assert not doors.reads()
        doors.change(path, state="active")
        doors.soon("submission lets in", lambda: doors.login_refused() == 0)


def test_a_suspended_tenants_accounts_neither_send_nor_read_while_mail_for_them_is_kept(
    system: System,
) -> None:
    name = f"tenant{next(_numbers)}"
    assert (
        system.api.post("/v1/tenants", json={"name": name, "verify_domains": False}).status_code
        == 201
    )
    assert (
        system.api.post("/v1/domains", json={"name": f"{name}.test", "tenant": name}).status_code
        == 201
    )
    key = system.api.post(
        "/v1/api-keys", json={"name": name, "role": "read-only", "tenant": name}
    ).json()["key"]
    doors = Doors(system, system.make_account(f"ann@{name}.test"))

    def key_opens() -> bool:
        answer = system.api.get("/v1/domains", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code in (200, 403)
        return answer.status_code == 200

    with ExitStack() as open_sessions:
        sending = open_sessions.enter_context(doors.submission())
        assert doors.sends(sending) == 250
        assert key_opens()
        reading = _open(doors.drop, open_sessions)

        doors.change(f"/v1/tenants/{name}", state="suspended")
        doors.soon("the open session of submission ends", lambda: doors.shut_out(sending))
        doors.soon("the open POP3 session ends", lambda: doors.ended(reading))
        doors.soon("the tenant's key is refused", lambda: not key_opens())
        assert "[SYS/PERM]" in doors.reads()
        assert doors.login_refused() == 535
        assert doors.rcpt() == (250, "2.1.5")
        system.send(b"Subject: meanwhile\r\n\r\nkept\r\n", doors.drop.address)

        doors.change(f"/v1/tenants/{name}", state="active")
        doors.soon("the tenant's key opens", key_opens)
        doors.soon("submission lets in", lambda: doors.login_refused() == 0)
    doors.drop.await_mail(1)


def _open(drop: Maildrop, stack: ExitStack) -> Reader:
    """A POP3 session that is not ended by the test."""
    reader = Reader(stack.enter_context(drop.connect()))
    reader.line()
    reader.line(f"USER {drop.address}")
    reader.line(f"PASS {drop.password}")
    return reader
